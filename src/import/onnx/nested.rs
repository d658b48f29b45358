//! Nodes inside of nodes: functions that the file defines, and branches of `If`.
//!
//! A call of a function is its nodes with the values of the call; torch's newer exporter may leave
//! some. `If` is the branch that its condition picks, if the condition is known at import: torch's
//! older exporter writes it around `Squeeze`, where the condition is about a shape. A condition that
//! depends on the photo is refused, as are loops.
//!
//! Source: <https://github.com/onnx/onnx/blob/main/docs/IR.md>, "Functions" and "Static vs Dynamic
//! Attribute Values".

use super::call::{Attributes, Value};
use super::constant::Constant;
use super::proto::{self, Attribute, Function, Node};
use super::wire::Slice;
use super::{Block, OPSETS, Reader, order};
use crate::import::error::{ImportError, Place};
use crate::text::shorten;

/// How deep functions may call each other, branches included.
const MAX_DEPTH: usize = 16;

impl<'a> Reader<'a, '_> {
    /// What a node with nodes inside makes; `None` for any other node.
    pub(super) fn nested(
        &mut self,
        node: &Node<'a>,
        place: &Place,
        inputs: &[Option<Value<'a>>],
        is_answer: bool,
    ) -> Result<Option<Vec<Value<'a>>>, ImportError> {
        let model = self.model;
        let function = model.functions.iter().find(|function| {
            (function.name, function.domain, function.overload)
                == (node.op, node.domain, node.overload)
        });
        let is_default = matches!(node.domain, "" | "ai.onnx");
        let condition = match inputs.first() {
            Some(Some(Value::Constant(constant))) => constant.single(),
            _ => None,
        };
        if function.is_none() && !(is_default && node.op == "If" && condition.is_some()) {
            return Ok(None);
        }
        if self.depth >= MAX_DEPTH {
            let message =
                format!("functions and branches call each other more than {MAX_DEPTH} deep");
            return Err(place.invalid(message));
        }
        self.depth += 1;
        let made = if let Some(function) = function {
            self.called(function, node, place, inputs, is_answer)
        } else {
            let attributes = Attributes::new(place.clone(), &node.attributes);
            let [yes, no] = ["then_branch", "else_branch"].map(|name| attributes.graph(name));
            attributes.finish()?;
            let body = if condition == Some(0.0) { no? } else { yes? };
            self.branch(body, place, is_answer)
        };
        self.depth -= 1;
        made.map(Some)
    }

    /// The outputs of a function's nodes, which see the values of the call and no others.
    fn called(
        &mut self,
        function: &Function<'a>,
        node: &Node<'a>,
        place: &Place,
        inputs: &[Option<Value<'a>>],
        is_answer: bool,
    ) -> Result<Vec<Value<'a>>, ImportError> {
        if inputs.len() > function.inputs.len() || node.outputs.len() > function.outputs.len() {
            return Err(place.invalid("its function has fewer inputs or outputs"));
        }
        let default = |domain: &str| domain.is_empty() || domain == "ai.onnx";
        let mut opsets = function.opsets.iter().filter(|(domain, _)| default(domain));
        let opset = opsets
            .next()
            .map_or(self.importer.opset, |(_, version)| *version);
        if !OPSETS.contains(&opset) {
            let message = format!("the operators of its function are of opset {opset}");
            return Err(place.invalid(message));
        }
        if let Some(redefined) = (function.nodes.iter())
            .filter(|node| default(node.domain))
            .find_map(|node| redefined(node.op, opset, self.importer.opset))
        {
            let message = format!(
                "`{redefined}` is not the same in opset {opset} of its function and in opset {} of the model",
                self.importer.opset
            );
            return Err(place.invalid(message));
        }
        // Names of inputs that the call leaves out stand for nothing.
        let given = |name: &str| {
            let at = function.inputs.iter().position(|input| *input == name);
            at.and_then(|at| inputs.get(at)?.as_ref())
        };
        self.count(function.nodes.iter().map(weight).sum())?;
        let mut nodes = Vec::with_capacity(function.nodes.len());
        for inner in &function.nodes {
            let mut inner = Node {
                name: inner.name,
                op: inner.op,
                domain: inner.domain,
                overload: inner.overload,
                inputs: inner.inputs.clone(),
                outputs: inner.outputs.clone(),
                attributes: bound(inner, function, node),
            };
            for input in &mut inner.inputs {
                if function.inputs.contains(input) && given(input).is_none() {
                    *input = "";
                }
            }
            nodes.push(inner);
        }
        let outputs = &function.outputs[..node.outputs.len()];
        let order = order::sorted(&nodes, outputs, &|name| function.inputs.contains(&name))?;
        if let Some(&index) = order
            .iter()
            .find(|&&i| nodes[i].op == "DynamicQuantizeLinear")
        {
            return Err(order::place_of(&nodes[index], index)
                .invalid("it finds a scale for each photo, inside of a function"));
        }
        let own = function.inputs.iter().copied().zip(inputs);
        let values = own.filter_map(|(name, value)| Some((name, value.clone()?)));
        let outer = std::mem::replace(&mut self.importer.values, values.collect());
        let names = function
            .inputs
            .iter()
            .copied()
            .zip(node.inputs.iter().copied());
        let whole = self.whole.within(names);
        let outer_whole = std::mem::replace(&mut self.whole, whole);
        let outer_opset = std::mem::replace(&mut self.importer.opset, opset);
        let block = Block {
            nodes: &nodes,
            order: &order,
            outputs,
            prefix: &place.name,
            is_answer,
        };
        let made = self.block(block);
        self.importer.values = outer;
        self.importer.opset = outer_opset;
        let inner_whole = std::mem::replace(&mut self.whole, outer_whole);
        let names = node.outputs.iter().copied().zip(outputs.iter().copied());
        self.whole.left(&inner_whole, names);
        made
    }

    /// The outputs of a branch, which also sees the values around it.
    fn branch(
        &mut self,
        body: Slice<'a>,
        place: &Place,
        is_answer: bool,
    ) -> Result<Vec<Value<'a>>, ImportError> {
        // A function may call the same branch again and again: its bytes count, too.
        self.count(body.bytes.len() / 4096)?;
        let graph = proto::branch(body)?;
        self.count(graph.nodes.len())?;
        let mut own = Vec::new();
        for tensor in &graph.initializers {
            let name = tensor.name;
            let is_known =
                self.importer.values.contains_key(name) || self.initializers.contains_key(name);
            if is_known || graph.sparse_initializers > 0 {
                let message = format!("weight `{}` of its branch is given twice", shorten(name));
                return Err(place.invalid(message));
            }
            let external = self.external;
            let constant = Constant::of_tensor(tensor, &mut |name, entries, expected| {
                external.bytes(name, entries, expected)
            })?;
            self.importer.values.insert(name, constant.into());
            own.push(name);
        }
        let outputs: Vec<&str> = graph.outputs.iter().map(|output| output.name).collect();
        let order = order::sorted(&graph.nodes, &outputs, &|name| {
            self.importer.values.contains_key(name) || self.initializers.contains_key(name)
        })?;
        if let Some(&index) = order
            .iter()
            .find(|&&i| graph.nodes[i].op == "DynamicQuantizeLinear")
        {
            return Err(order::place_of(&graph.nodes[index], index)
                .invalid("it finds a scale for each photo, inside of a branch"));
        }
        let made = self.block(Block {
            nodes: &graph.nodes,
            order: &order,
            outputs: &outputs,
            prefix: "",
            is_answer,
        })?;
        // Another branch may use the same names.
        own.extend(graph.nodes.iter().flat_map(|node| &node.outputs));
        for name in own {
            self.importer.values.remove(name);
        }
        Ok(made)
    }

    /// Reads the nodes of a function or branch, and returns the values of its outputs.
    fn block(&mut self, block: Block<'_, 'a>) -> Result<Vec<Value<'a>>, ImportError> {
        let reads = block.reads();
        for &index in block.order {
            self.node(block, index, &reads)?;
        }
        block.outputs.iter().map(|name| self.value(name)).collect()
    }
}

/// What a call copies of a node, in nodes of the usual size.
fn weight(node: &Node) -> usize {
    1 + (node.inputs.len() + node.outputs.len() + node.attributes.len()) / 8
}

/// The attributes of a function's node: those that refer to one of the function's have the value
/// that the call gives, or the function's default. Without either they are left out.
fn bound<'a>(inner: &Node<'a>, function: &Function<'a>, call: &Node<'a>) -> Vec<Attribute<'a>> {
    let find = |list: &[Attribute<'a>], name: &str| list.iter().find(|a| a.name == name).copied();
    let value = |attribute: &Attribute<'a>| match attribute.refers_to {
        "" => Some(*attribute),
        name => find(&call.attributes, name)
            .or_else(|| find(&function.defaults, name))
            .map(|found| found.named(attribute.name)),
    };
    inner.attributes.iter().filter_map(value).collect()
}

/// An operator if a new version gave it another meaning between two opsets. ONNX wants the operators
/// of functions to have one version in both, and ONNX Runtime takes the model's.
fn redefined(op: &str, one: i64, other: i64) -> Option<&str> {
    let since = match op {
        "Softmax" | "LogSoftmax" => 13,
        "Resize" => 11,
        _ => return None,
    };
    ((one < since) != (other < since)).then_some(op)
}
