//! The kind of a graph's output, and the split of the last softmax or sigmoid from it.

use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{Graph, GraphError, Node, NodeId, Op, Range, SourceLayer};
use crate::tensor::Shape;

/// The kind of a graph's output.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Answer {
    /// A softmax over all outputs.
    Softmax,
    /// A sigmoid for each output.
    Sigmoid,
    /// Probabilities (always from 0 to 1) by other arithmetic.
    Probabilities,
    /// Any number: the output of a model that leaves softmax or sigmoid to its loss.
    Logits,
    /// Numbers with another bound, such as those of tanh or ReLU: neither probabilities nor logits.
    Bounded(Range),
}

/// The kind of the graph's output, seen through reshapes and through rounding to bytes.
#[must_use]
pub fn answer(graph: &Graph) -> Answer {
    let last = graph.node(below_formatting(graph.nodes(), graph.output()));
    let range = Range::of(graph, graph.output());
    match last.op {
        // With other axes beside its own there are several groups.
        Op::Softmax { axis } if extent(&last.shape, axis) == last.shape.len() => Answer::Softmax,
        Op::Activation(Activation::Sigmoid) => Answer::Sigmoid,
        _ if range.is_probability() => Answer::Probabilities,
        _ if range.is_unbounded() => Answer::Logits,
        _ => Answer::Bounded(range),
    }
}

/// The extent of an axis, or of the last one.
fn extent(shape: &Shape, axis: Option<usize>) -> usize {
    match axis {
        Some(axis) => shape.dims().get(axis).copied().unwrap_or(1),
        None => shape.channels(),
    }
}

/// The last value that is not another one in other axes, or rounded to bytes.
fn below_formatting(nodes: &[Node], from: NodeId) -> NodeId {
    let mut last = from;
    while matches!(
        nodes[last.0].op,
        Op::Reshape { .. } | Op::Quantize | Op::Dequantize
    ) {
        last = nodes[last.0].inputs[0];
    }
    last
}

/// Makes the graph end in logits: removes a final softmax or sigmoid (also below reshapes), and
/// flattens the output to `[classes]`. The removed layer's name stays, on the logits. If a file
/// rounds its probabilities to bytes, that is removed as well: its steps are not those of logits.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn split_head(graph: Graph) -> Result<(Graph, Answer), GraphError> {
    let answer = answer(&graph);
    let mut draft = Draft::new(graph);
    if matches!(answer, Answer::Softmax | Answer::Sigmoid) {
        let last = below_formatting(&draft.nodes, draft.output);
        let mut id = draft.output;
        while id != last {
            let below = draft.node(id).inputs[0];
            if matches!(draft.node(id).op, Op::Quantize | Op::Dequantize) {
                draft.redirect(id, below);
            }
            id = below;
        }
        let logits = draft.node(last).inputs[0];
        draft.append_layers(last, logits);
        draft.redirect(last, logits);
    }
    Ok((flatten_output(draft.finish()?)?, answer))
}

/// Makes the output `[classes]`, if it has more axes.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn flatten_output(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    let output = draft.output;
    let shape = draft.node(output).shape.clone();
    if shape.rank() != 1 {
        let node = Node {
            name: unique_name(&draft, "logits"),
            op: Op::Reshape {
                shape: [shape.len()].into(),
            },
            inputs: vec![output],
            shape: Shape::new(&[shape.len()]),
            quantization: None,
            layers: Vec::<SourceLayer>::new(),
        };
        draft.nodes.push(node);
        draft.output = NodeId(draft.nodes.len() - 1);
    }
    draft.finish()
}

fn unique_name(draft: &Draft, base: &str) -> String {
    let mut name = base.to_owned();
    while draft.nodes.iter().any(|node| node.name == name) {
        name.push('_');
    }
    name
}
