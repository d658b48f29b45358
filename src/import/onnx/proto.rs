//! The messages of `onnx.proto` that an import needs, as slices of the file.
//!
//! In: the bytes of a `ModelProto`. Out: [`Model`], whose texts and weights are the file's own
//! bytes. Counts are bounded before a list grows ([`MAX_RECORDS`]). Of graphs inside of attributes
//! only the branches of `If` are opened, and not deeper than [`MAX_NESTING`]; training information
//! never is.
//!
//! Source: <https://github.com/onnx/onnx/blob/main/onnx/onnx.proto>. Field numbers are in the
//! matches below.

use std::collections::BTreeSet;

use super::wire::{Field, Slice, damaged};
use crate::import::error::ImportError;

/// Nodes, weights, inputs, outputs, attributes and their names together. The largest export of 43
/// architectures (Swin, with its shape arithmetic) has 40,000.
const MAX_RECORDS: usize = 400_000;

/// Axes of a tensor. Swin and ShuffleNet have six.
const MAX_AXES: usize = 16;

/// How deep a graph may lie inside of other graphs: `If` in a branch of `If`.
pub(super) const MAX_NESTING: usize = 8;

/// Numbers in a list of an attribute.
const MAX_LIST: usize = 1 << 16;

/// A file's `ModelProto`.
#[derive(Debug)]
pub(super) struct Model<'a> {
    pub(super) ir_version: i64,
    pub(super) producer: &'a str,
    pub(super) producer_version: &'a str,
    /// Domains and versions of their operators.
    pub(super) opsets: Vec<(&'a str, i64)>,
    pub(super) metadata: Vec<(&'a str, &'a str)>,
    pub(super) functions: Vec<Function<'a>>,
    pub(super) graph: Graph<'a>,
}

/// A `GraphProto`.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    pub(super) name: &'a str,
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) initializers: Vec<Tensor<'a>>,
    pub(super) inputs: Vec<ValueInfo<'a>>,
    pub(super) outputs: Vec<ValueInfo<'a>>,
    pub(super) sparse_initializers: usize,
}

/// A `FunctionProto`: an operator that the file defines itself.
#[derive(Debug, Default)]
pub(super) struct Function<'a> {
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) overload: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    /// Attributes with the values they have if a call gives none.
    pub(super) defaults: Vec<Attribute<'a>>,
    pub(super) nodes: Vec<Node<'a>>,
    /// Domains and versions of the operators of its nodes.
    pub(super) opsets: Vec<(&'a str, i64)>,
}

/// A `NodeProto`.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) op: &'a str,
    pub(super) domain: &'a str,
    /// Which of several functions of one name, for a function of the file.
    pub(super) overload: &'a str,
    /// Names of values; empty for one that is left out. Those of `If` end in the values that its
    /// branches read.
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// An `AttributeProto`, opened when its value is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    /// The attribute of the function around it whose value it has; empty for one of its own.
    pub(super) refers_to: &'a str,
    body: Slice<'a>,
}

/// The value of an attribute.
#[derive(Clone, Debug)]
pub(super) enum AttributeValue<'a> {
    Int(i64),
    Float(f32),
    Text(&'a [u8]),
    Ints(Vec<i64>),
    Floats(Vec<f32>),
    Tensor(Box<Tensor<'a>>),
    Texts(Vec<&'a [u8]>),
    Graph(Slice<'a>),
    /// A list of tensors or graphs, a type: what it is.
    Other(&'static str),
}

/// A `ValueInfoProto`: an input or output.
#[derive(Clone, Debug, Default)]
pub(super) struct ValueInfo<'a> {
    pub(super) name: &'a str,
    /// Element type as `TensorProto` numbers them; `None` for what is not a tensor.
    pub(super) element: Option<i64>,
    /// Extents, `None` where open; `None` if the file does not say the rank.
    pub(super) dims: Option<Vec<Option<i64>>>,
}

/// A `TensorProto`.
#[derive(Clone, Debug)]
pub(super) struct Tensor<'a> {
    pub(super) name: &'a str,
    pub(super) dims: Vec<i64>,
    pub(super) element: i64,
    pub(super) data: TensorData<'a>,
    /// Of the message, from the start of the file.
    pub(super) offset: usize,
}

/// Where a tensor's elements are.
#[derive(Clone, Debug)]
pub(super) enum TensorData<'a> {
    /// Little-endian, in the file.
    Raw(Slice<'a>),
    /// The tensor's message, whose typed fields hold them.
    Typed(Slice<'a>),
    /// In another file: keys and values such as `location`.
    External(Vec<(&'a str, &'a str)>),
}

/// Counts what is put into lists.
struct Records(usize);

impl Records {
    fn add<T>(&mut self, list: &mut Vec<T>, item: T, at: usize) -> Result<(), ImportError> {
        self.0 += 1;
        if self.0 > MAX_RECORDS {
            return Err(damaged(
                at,
                format!(
                    "the model has more than {MAX_RECORDS} nodes, attributes, names and weights"
                ),
            ));
        }
        list.push(item);
        Ok(())
    }
}

/// Reads a whole file.
pub(super) fn model(bytes: &[u8]) -> Result<Model<'_>, ImportError> {
    let mut records = Records(0);
    let mut model = Model {
        ir_version: 0,
        producer: "",
        producer_version: "",
        opsets: Vec::new(),
        metadata: Vec::new(),
        functions: Vec::new(),
        graph: Graph::default(),
    };
    let mut graph = None;
    for field in Slice::whole(bytes).fields() {
        let field = field?;
        let at = field.offset;
        match field.number {
            1 => model.ir_version = field.int()?,
            2 => model.producer = field.text()?,
            3 => model.producer_version = field.text()?,
            7 => {
                let before = graph.replace(field.slice()?);
                if before.is_some() {
                    return Err(damaged(at, "the model has two graphs"));
                }
            }
            8 => {
                let opset = opset(field.slice()?)?;
                records.add(&mut model.opsets, opset, at)?;
            }
            14 => {
                let entry = entry(field.slice()?)?;
                records.add(&mut model.metadata, entry, at)?;
            }
            25 => {
                let function = function(field.slice()?, &mut records)?;
                records.add(&mut model.functions, function, at)?;
            }
            _ => {}
        }
    }
    let Some(body) = graph else {
        return Err(damaged(
            bytes.len(),
            "the file ends, and there was no graph",
        ));
    };
    model.graph = read_graph(body, &mut records)?;
    Ok(model)
}

/// Reads a branch of `If`.
pub(super) fn branch(body: Slice<'_>) -> Result<Graph<'_>, ImportError> {
    read_graph(body, &mut Records(0))
}

fn function<'a>(body: Slice<'a>, records: &mut Records) -> Result<Function<'a>, ImportError> {
    let mut function = Function::default();
    for field in body.fields() {
        let field = field?;
        let at = field.offset;
        match field.number {
            1 => function.name = field.text()?,
            4 => records.add(&mut function.inputs, field.text()?, at)?,
            5 => records.add(&mut function.outputs, field.text()?, at)?,
            7 => {
                let node = node(field.slice()?, records)?;
                records.add(&mut function.nodes, node, at)?;
            }
            9 => {
                let opset = opset(field.slice()?)?;
                records.add(&mut function.opsets, opset, at)?;
            }
            10 => function.domain = field.text()?,
            11 => {
                let attribute = attribute(field.slice()?)?;
                records.add(&mut function.defaults, attribute, at)?;
            }
            13 => function.overload = field.text()?,
            _ => {}
        }
    }
    Ok(function)
}

fn opset(body: Slice<'_>) -> Result<(&str, i64), ImportError> {
    let mut opset = ("", 0);
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => opset.0 = field.text()?,
            2 => opset.1 = field.int()?,
            _ => {}
        }
    }
    Ok(opset)
}

/// A `StringStringEntryProto`.
fn entry(body: Slice<'_>) -> Result<(&str, &str), ImportError> {
    let mut entry = ("", "");
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => entry.0 = field.text()?,
            2 => entry.1 = field.text()?,
            _ => {}
        }
    }
    Ok(entry)
}

fn read_graph<'a>(body: Slice<'a>, records: &mut Records) -> Result<Graph<'a>, ImportError> {
    let mut graph = Graph::default();
    for field in body.fields() {
        let field = field?;
        let at = field.offset;
        match field.number {
            1 => {
                let node = node(field.slice()?, records)?;
                records.add(&mut graph.nodes, node, at)?;
            }
            2 => graph.name = field.text()?,
            5 => {
                let tensor = tensor(field.slice()?)?;
                records.add(&mut graph.initializers, tensor, at)?;
            }
            11 => {
                let info = value_info(field.slice()?)?;
                records.add(&mut graph.inputs, info, at)?;
            }
            12 => {
                let info = value_info(field.slice()?)?;
                records.add(&mut graph.outputs, info, at)?;
            }
            15 => graph.sparse_initializers += 1,
            _ => {}
        }
    }
    Ok(graph)
}

fn node<'a>(body: Slice<'a>, records: &mut Records) -> Result<Node<'a>, ImportError> {
    let mut node = shallow_node(body, records)?;
    if node.op == "If" && matches!(node.domain, "" | "ai.onnx") {
        let mut read = BTreeSet::new();
        for body in node.graphs()? {
            read_in_branch(body, 1, &mut read, records)?;
        }
        for name in read {
            records.add(&mut node.inputs, name, body.offset)?;
        }
    }
    Ok(node)
}

/// Collects the values from outside that a branch of `If` reads, and those that it gives.
fn read_in_branch<'a>(
    body: Slice<'a>,
    depth: usize,
    read: &mut BTreeSet<&'a str>,
    records: &mut Records,
) -> Result<(), ImportError> {
    if depth > MAX_NESTING {
        let message = format!("graphs lie inside of each other more than {MAX_NESTING} deep");
        return Err(damaged(body.offset, message));
    }
    let (mut own, mut all) = (BTreeSet::new(), BTreeSet::new());
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => {
                let node = shallow_node(field.slice()?, records)?;
                own.extend(node.outputs.iter().copied());
                all.extend(node.inputs.iter().copied());
                if node.op == "If" {
                    for body in node.graphs()? {
                        read_in_branch(body, depth + 1, &mut all, records)?;
                    }
                }
            }
            5 => {
                own.insert(tensor(field.slice()?)?.name);
            }
            12 => {
                all.insert(value_info(field.slice()?)?.name);
            }
            _ => {}
        }
    }
    read.extend(all.difference(&own).filter(|name| !name.is_empty()));
    Ok(())
}

fn shallow_node<'a>(body: Slice<'a>, records: &mut Records) -> Result<Node<'a>, ImportError> {
    let mut node = Node::default();
    for field in body.fields() {
        let field = field?;
        let at = field.offset;
        match field.number {
            1 => records.add(&mut node.inputs, field.text()?, at)?,
            2 => records.add(&mut node.outputs, field.text()?, at)?,
            3 => node.name = field.text()?,
            4 => node.op = field.text()?,
            5 => {
                let attribute = attribute(field.slice()?)?;
                records.add(&mut node.attributes, attribute, at)?;
            }
            7 => node.domain = field.text()?,
            8 => node.overload = field.text()?,
            _ => {}
        }
    }
    Ok(node)
}

impl<'a> Node<'a> {
    /// The graphs in its attributes.
    fn graphs(&self) -> Result<Vec<Slice<'a>>, ImportError> {
        let mut graphs = Vec::new();
        for attribute in &self.attributes {
            if let AttributeValue::Graph(body) = attribute.value()? {
                graphs.push(body);
            }
        }
        Ok(graphs)
    }
}

fn attribute(body: Slice<'_>) -> Result<Attribute<'_>, ImportError> {
    let (mut name, mut refers_to) = ("", "");
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => name = field.text()?,
            21 => refers_to = field.text()?,
            _ => {}
        }
    }
    Ok(Attribute {
        name,
        refers_to,
        body,
    })
}

impl<'a> Attribute<'a> {
    /// The same value under another name.
    pub(super) fn named(self, name: &'a str) -> Self {
        Self {
            name,
            refers_to: "",
            ..self
        }
    }

    /// Its value. Files from before `type` was required are told by the field that is there.
    pub(super) fn value(&self) -> Result<AttributeValue<'a>, ImportError> {
        let mut kind = 0;
        let (mut int, mut float, mut text, mut tensor) = (None, None, None, None);
        let (mut ints, mut floats) = (Vec::new(), Vec::new());
        let (mut graph, mut texts) = (None, Vec::new());
        let mut other = None;
        for field in self.body.fields() {
            let field = field?;
            match field.number {
                2 => float = Some(field.float()?),
                3 => int = Some(field.int()?),
                4 => text = Some(field.slice()?.bytes),
                5 => tensor = Some(field.slice()?),
                6 => {
                    graph = Some(field.slice()?);
                    other = Some("a graph");
                }
                11 => other = Some("a list of graphs"),
                7 => field.floats(&mut floats, MAX_LIST)?,
                8 => field.ints(&mut ints, MAX_LIST)?,
                9 => {
                    if texts.len() >= MAX_LIST {
                        return Err(damaged(field.offset, "a list of texts is too long"));
                    }
                    texts.push(field.slice()?.bytes);
                    other = Some("a list of texts");
                }
                10 => other = Some("a list of tensors"),
                14 | 15 => other = Some("a type"),
                20 => kind = field.int()?,
                21 => other = Some("a function's parameter"),
                22 | 23 => other = Some("a sparse tensor"),
                _ => {}
            }
        }
        let list = !ints.is_empty() || !floats.is_empty();
        Ok(match kind {
            // A field that holds 0 or nothing is not written.
            1 => AttributeValue::Float(float.unwrap_or_default()),
            2 => AttributeValue::Int(int.unwrap_or_default()),
            3 => AttributeValue::Text(text.unwrap_or_default()),
            4 => match tensor {
                Some(body) => AttributeValue::Tensor(Box::new(self::tensor(body)?)),
                None => AttributeValue::Other("a tensor that is not there"),
            },
            6 => AttributeValue::Floats(floats),
            7 => AttributeValue::Ints(ints),
            0 if other.is_none() => match (int, float, text, tensor) {
                (Some(int), None, None, None) if !list => AttributeValue::Int(int),
                (None, Some(float), None, None) if !list => AttributeValue::Float(float),
                (None, None, Some(text), None) if !list => AttributeValue::Text(text),
                (None, None, None, Some(body)) if !list => {
                    AttributeValue::Tensor(Box::new(self::tensor(body)?))
                }
                (None, None, None, None) if floats.is_empty() => AttributeValue::Ints(ints),
                (None, None, None, None) if ints.is_empty() => AttributeValue::Floats(floats),
                _ => AttributeValue::Other("values of several types"),
            },
            5 => graph.map_or(
                AttributeValue::Other("a graph that is not there"),
                AttributeValue::Graph,
            ),
            8 => AttributeValue::Texts(texts),
            10 => AttributeValue::Other("a list of graphs"),
            _ => AttributeValue::Other(other.unwrap_or("of an unknown type")),
        })
    }
}

fn value_info(body: Slice<'_>) -> Result<ValueInfo<'_>, ImportError> {
    let mut info = ValueInfo::default();
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => info.name = field.text()?,
            2 => {
                for field in field.slice()?.fields() {
                    let field = field?;
                    // The other fields are sequences, maps, optionals and sparse tensors.
                    if field.number == 1 {
                        tensor_type(field.slice()?, &mut info)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(info)
}

fn tensor_type(body: Slice, info: &mut ValueInfo) -> Result<(), ImportError> {
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => info.element = Some(field.int()?),
            2 => {
                let mut dims = Vec::new();
                for field in field.slice()?.fields() {
                    let field = field?;
                    if field.number == 1 {
                        if dims.len() >= MAX_AXES {
                            return Err(too_many_axes(&field));
                        }
                        dims.push(dimension(field.slice()?)?);
                    }
                }
                info.dims = Some(dims);
            }
            _ => {}
        }
    }
    Ok(())
}

fn too_many_axes(field: &Field) -> ImportError {
    damaged(
        field.offset,
        format!("a tensor has more than {MAX_AXES} axes"),
    )
}

/// An extent; names stand for open ones, and so do old exporters' 0 and -1.
fn dimension(body: Slice) -> Result<Option<i64>, ImportError> {
    let mut extent = None;
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => extent = Some(field.int()?),
            2 => extent = None,
            _ => {}
        }
    }
    Ok(extent.filter(|&n| n > 0))
}

fn tensor(body: Slice<'_>) -> Result<Tensor<'_>, ImportError> {
    let mut tensor = Tensor {
        name: "",
        dims: Vec::new(),
        element: 0,
        data: TensorData::Typed(body),
        offset: body.offset,
    };
    let (mut raw, mut external, mut is_external) = (None, Vec::new(), false);
    for field in body.fields() {
        let field = field?;
        match field.number {
            1 => {
                field
                    .ints(&mut tensor.dims, MAX_AXES)
                    .map_err(|_| too_many_axes(&field))?;
            }
            2 => tensor.element = field.int()?,
            3 => return Err(damaged(field.offset, "a tensor is stored in segments")),
            8 => tensor.name = field.text()?,
            9 => raw = Some(field.slice()?),
            13 => {
                // Five keys are defined.
                if external.len() >= 16 {
                    return Err(damaged(
                        field.offset,
                        "a tensor has more than 16 entries of external data",
                    ));
                }
                external.push(entry(field.slice()?)?);
            }
            14 => is_external = field.int()? == 1,
            _ => {}
        }
    }
    if is_external {
        tensor.data = TensorData::External(external);
    } else if let Some(raw) = raw {
        tensor.data = TensorData::Raw(raw);
    }
    Ok(tensor)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field that is a message: tag, length, bytes.
    fn message(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag];
        let mut n = body.len();
        while n >= 0x80 {
            out.push(u8::try_from(n & 0x7f).unwrap() | 0x80);
            n >>= 7;
        }
        out.push(u8::try_from(n).unwrap());
        out.extend_from_slice(body);
        out
    }

    #[test]
    fn nested_graphs_are_passed_over() {
        // GraphProto.node (1) > NodeProto.attribute (5) > AttributeProto.g (6), innermost first.
        let mut graph: Vec<u8> = Vec::new();
        for _ in 0..3000 {
            graph = message(0x0a, &message(0x2a, &message(0x32, &graph)));
        }
        let file = message(0x3a, &graph);
        let model = model(&file).unwrap();
        assert_eq!(model.graph.nodes.len(), 1);
        let value = model.graph.nodes[0].attributes[0].value().unwrap();
        assert!(matches!(value, AttributeValue::Other(_)), "{value:?}");
    }

    #[test]
    fn branches_of_if_are_opened_but_not_without_end() {
        // An `If` that reads `c`, around the graph; its attribute `then_branch` is of type 5.
        let around = |graph: &[u8]| {
            let mut attribute = message(0x0a, b"then_branch");
            attribute.extend(message(0x32, graph));
            attribute.extend([0xa0, 0x01, 5]);
            let mut node = message(0x0a, b"c");
            node.extend(message(0x22, b"If"));
            node.extend(message(0x2a, &attribute));
            message(0x0a, &node)
        };
        // Innermost a node that makes `inner` of `x`.
        let mut node = message(0x0a, b"x");
        node.extend(message(0x12, b"inner"));
        let innermost = message(0x0a, &node);
        let read = |depth: usize| {
            let graph = (0..depth).fold(innermost.clone(), |graph, _| around(&graph));
            let file = message(0x3a, &graph);
            model(&file)
                .map(|model| model.graph.nodes[0].inputs.join(","))
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(1).unwrap(), "c,x");
        assert_eq!(read(3).unwrap(), "c,c,x");
        assert!(read(50).unwrap_err().contains("more than 8 deep"));
    }

    #[test]
    fn records_are_counted() {
        let mut file = vec![0x3a, 0x80, 0x80, 0x40];
        // A million empty nodes.
        file.extend(std::iter::repeat_n([0x0a, 0x00], 1 << 19).flatten());
        let error = model(&file).unwrap_err().to_string();
        assert!(error.contains("more than 400000 nodes"), "{error}");
    }

    #[test]
    fn open_extents_are_those_without_a_positive_number() {
        for (body, expected) in [
            (&b"\x08\x03"[..], Some(3)),
            (b"\x12\x01N", None),
            (b"\x08\x00", None),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", None),
            (b"", None),
        ] {
            assert_eq!(dimension(Slice::whole(body)).unwrap(), expected);
        }
    }
}
