//! Splits the last softmax or sigmoid off the graph.

use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{Graph, GraphError, Node, NodeId, Op, SourceLayer};
use crate::tensor::Shape;

/// What a graph's output was before [`split_head`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A softmax, which is now gone: the output is its input.
    Softmax,
    /// A sigmoid for each output, now gone.
    Sigmoid,
    /// No function that makes probabilities: taken for logits.
    Logits,
    /// A softmax or sigmoid followed by other arithmetic, left as it is.
    Probabilities,
}

/// Makes the graph end in logits: removes a final softmax or sigmoid (also below reshapes), and
/// flattens the output to `[classes]`. The removed layer's name stays, on the logits.
///
/// # Errors
/// [`GraphError`] if the rewritten graph does not check.
pub fn split_head(graph: Graph) -> Result<(Graph, Answer), GraphError> {
    let mut draft = Draft::new(graph);
    let mut last = draft.output;
    while matches!(draft.node(last).op, Op::Reshape { .. }) {
        last = draft.node(last).inputs[0];
    }
    let answer = match draft.node(last).op {
        Op::Softmax => Answer::Softmax,
        Op::Activation(Activation::Sigmoid) => Answer::Sigmoid,
        _ if normalized(&draft, last) => Answer::Probabilities,
        _ => Answer::Logits,
    };
    if matches!(answer, Answer::Softmax | Answer::Sigmoid) {
        let logits = draft.node(last).inputs[0];
        draft.append_layers(last, logits);
        draft.redirect(last, logits);
    }
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
    Ok((draft.finish()?, answer))
}

/// Whether a softmax lies upstream through ops that keep probabilities recognisable.
fn normalized(draft: &Draft, from: NodeId) -> bool {
    let node = draft.node(from);
    match &node.op {
        Op::Softmax => true,
        Op::Reshape { .. }
        | Op::GlobalPool { .. }
        | Op::Pool2d { .. }
        | Op::ScaleShift { .. }
        | Op::Binary { .. }
        | Op::Concat { .. } => node.inputs.iter().any(|&input| normalized(draft, input)),
        _ => false,
    }
}

fn unique_name(draft: &Draft, base: &str) -> String {
    let mut name = base.to_owned();
    while draft.nodes.iter().any(|node| node.name == name) {
        name.push('_');
    }
    name
}
