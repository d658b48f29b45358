//! The file under construction: nodes, constants, names, and values in the order in which an
//! operator needs them.

use std::collections::{HashMap, HashSet};

use super::placed::{Part, Placed};
use super::tensor::{Data, Element, Initializer};
use super::wire::Message;

/// Rows, columns, channels of the graph as a file has them: NCHW.
pub(super) const IMAGE: [usize; 3] = [2, 0, 1];

/// The value of an attribute.
pub(super) enum Attribute {
    Int(i64),
    Float(f32),
    Ints(Vec<i64>),
    Text(&'static str),
}

/// An operator of the file.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) op: &'static str,
    pub(super) inputs: Vec<String>,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
}

impl Node {
    /// Its `NodeProto`. The value is named as the node is.
    pub(super) fn message(&self) -> Message {
        let mut message = Message::default();
        for input in &self.inputs {
            message.bytes(1, input.as_bytes());
        }
        message.bytes(2, self.name.as_bytes());
        message.bytes(3, self.name.as_bytes());
        message.bytes(4, self.op.as_bytes());
        for (name, value) in &self.attributes {
            let mut attribute = Message::default();
            attribute.bytes(1, name.as_bytes());
            // The last field is the kind of value.
            match value {
                Attribute::Float(value) => {
                    attribute.float(2, *value);
                    attribute.int(20, 1);
                }
                Attribute::Int(value) => {
                    attribute.int(3, *value);
                    attribute.int(20, 2);
                }
                Attribute::Text(value) => {
                    attribute.bytes(4, value.as_bytes());
                    attribute.int(20, 3);
                }
                Attribute::Ints(values) => {
                    attribute.ints(8, values);
                    attribute.int(20, 7);
                }
            }
            message.message(5, &attribute);
        }
        message
    }
}

/// A list of extents or positions as ONNX has it.
pub(super) fn ints(values: &[usize]) -> Vec<i64> {
    values
        .iter()
        .map(|&v| i64::try_from(v).unwrap_or(i64::MAX))
        .collect()
}

/// Nodes and constants so far.
#[derive(Default)]
pub(super) struct Builder<'g> {
    pub(super) nodes: Vec<Node>,
    pub(super) initializers: Vec<Initializer<'g>>,
    names: HashSet<String>,
    /// Values that have been put into another order, by name, order and extents.
    arranged: HashMap<(String, Vec<Part>, Vec<usize>), Placed>,
    /// Small constants by type, extents and bytes.
    constants: HashMap<(Element, Vec<usize>, Vec<u8>), String>,
}

impl<'g> Builder<'g> {
    /// A name that nothing in the file has.
    pub(super) fn unique(&mut self, name: &str) -> String {
        let mut free = name.to_owned();
        while free.is_empty() || !self.names.insert(free.clone()) {
            free.push('_');
        }
        free
    }

    /// Appends an operator and returns the name of its value.
    pub(super) fn push(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) -> String {
        let name = self.unique(name);
        self.push_named(&name, op, inputs, attributes);
        name
    }

    /// Appends an operator under a name that is reserved for it.
    pub(super) fn push_named(
        &mut self,
        name: &str,
        op: &'static str,
        inputs: &[&str],
        attributes: Vec<(&'static str, Attribute)>,
    ) {
        self.nodes.push(Node {
            name: name.to_owned(),
            op,
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            attributes,
        });
    }

    /// A constant of a few elements. Equal ones are stored once, under the name of the first.
    pub(super) fn constant(
        &mut self,
        name: &str,
        element: Element,
        dims: &[usize],
        bytes: Vec<u8>,
    ) -> String {
        let key = (element, dims.to_vec(), bytes);
        if let Some(name) = self.constants.get(&key) {
            return name.clone();
        }
        let name = self.unique(name);
        self.initializers.push(Initializer {
            name: name.clone(),
            dims: dims.to_vec(),
            element,
            data: Data::Inline(key.2.clone()),
        });
        self.constants.insert(key, name.clone());
        name
    }

    /// A list of whole numbers.
    pub(super) fn int_list(&mut self, name: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, Element::I64, &[values.len()], bytes)
    }

    /// Floats of the given extents.
    pub(super) fn floats(&mut self, name: &str, dims: &[usize], values: &[f32]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.constant(name, Element::F32, dims, bytes)
    }

    /// One float.
    pub(super) fn scalar(&mut self, name: &str, value: f32) -> String {
        self.floats(name, &[], &[value])
    }

    /// A weight of the graph, in a type and order of the file.
    pub(super) fn weight(
        &mut self,
        name: &str,
        element: Element,
        dims: &[usize],
        data: Data<'g>,
    ) -> String {
        let name = self.unique(name);
        self.initializers.push(Initializer {
            name: name.clone(),
            dims: dims.to_vec(),
            element,
            data,
        });
        name
    }

    /// Appends a `Reshape` to these extents.
    pub(super) fn reshape(&mut self, name: &str, value: &str, dims: &[usize]) -> String {
        let shape = self.int_list(&format!("{name}/extents"), &ints(dims));
        self.push(name, "Reshape", &[value, &shape], vec![])
    }

    /// The value as a tensor whose axes behind the batch are the graph's in this order.
    pub(super) fn arrange(&mut self, value: &Placed, order: &[usize]) -> Placed {
        let parts = value.parts_of(order);
        self.in_order(
            value,
            &Placed::ordered(String::new(), &value.shape, order),
            parts,
        )
    }

    /// As [`arrange`](Self::arrange), with the last axis of the graph innermost in any order of
    /// its elements if no transpose is needed for that.
    pub(super) fn last_axis_inside(&mut self, value: &Placed) -> Placed {
        if let Some(wanted) = value.with_last_axis_inside() {
            let parts = value.parts();
            self.in_order(value, &wanted, parts)
        } else {
            let order: Vec<usize> = (0..value.shape.rank()).collect();
            self.arrange(value, &order)
        }
    }

    fn in_order(&mut self, value: &Placed, wanted: &Placed, parts: Vec<Part>) -> Placed {
        let dims = wanted.dims();
        let stored = value.parts();
        if stored == parts && value.dims() == dims {
            return wanted.named(value.name.clone());
        }
        let key = (value.name.clone(), parts, dims);
        if let Some(arranged) = self.arranged.get(&key) {
            // The shape may have other axes of one element.
            return wanted.named(arranged.name.clone());
        }
        let (_, parts, dims) = &key;
        let mut name = value.name.clone();
        let mut now = value.dims();
        if stored != *parts {
            let extents = |parts: &[Part]| -> Vec<usize> {
                std::iter::once(1)
                    .chain(parts.iter().map(|p| p.extent))
                    .collect()
            };
            if now != extents(&stored) {
                name = self.reshape(&format!("{}/parts", value.name), &name, &extents(&stored));
            }
            let place = |part: &Part| stored.iter().position(|p| p == part).map_or(0, |i| i + 1);
            let permutation: Vec<usize> =
                std::iter::once(0).chain(parts.iter().map(place)).collect();
            let permutation = Attribute::Ints(ints(&permutation));
            let transpose = format!("{}/transpose", value.name);
            name = self.push(
                &transpose,
                "Transpose",
                &[&name],
                vec![("perm", permutation)],
            );
            now = extents(parts);
        }
        if now != *dims {
            name = self.reshape(&format!("{}/shape", value.name), &name, dims);
        }
        let arranged = wanted.named(name);
        self.arranged.insert(key, arranged.clone());
        arranged
    }
}
