//! Splits activations that become tables off the ops that they are fused into.
//!
//! A table maps the bytes before the activation, so their range must be known too: the value before
//! the activation becomes a value of its own. ReLU and ReLU6 stay fused (they are the bounds of a
//! clamp), and so do curves, which take unrounded sums.

use crate::activation::Activation;
use crate::graph::{BinaryOp, Epilogue, Graph, GraphError, Node, NodeId, Op, SourceLayer, Stage};

/// Whether the integer kernel of `op` computes it on its own sums.
fn is_fused(op: &Op, activation: Activation) -> bool {
    let weighted = op.kernel().is_some();
    activation.is_clamp() || (weighted && activation.is_curve())
}

/// The same function with every activation that becomes a table as a separate node, and every
/// residual that follows anything but a clamp as an addition.
///
/// # Errors
/// [`GraphError`] if the rewritten graph does not check, which is a bug.
pub fn separate_tables(graph: &Graph) -> Result<Graph, GraphError> {
    let mut nodes: Vec<Node> = Vec::with_capacity(graph.nodes().len() * 2);
    let mut moved: Vec<NodeId> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        let mut node = node.clone();
        for input in &mut node.inputs {
            *input = moved[input.0];
        }
        let Epilogue {
            activation,
            residual: post,
        } = epilogue(&node.op);
        let whole = match post {
            Some(post) => activation.is_clamp() && post.is_clamp(),
            None => is_fused(&node.op, activation),
        };
        if whole {
            moved.push(NodeId(nodes.len()));
            nodes.push(node);
            continue;
        }
        let mut parts = Parts {
            name: node.name.clone(),
            layers: node.layers.clone(),
            template: node.clone(),
            nodes: &mut nodes,
        };
        let residual = match (post, node.inputs.last()) {
            (Some(_), Some(&last)) if !activation.is_clamp() => {
                node.inputs.pop();
                Some(last)
            }
            _ => None,
        };
        // Where the activation's own value is.
        let activated = match residual {
            Some(_) => Stage::BeforeResidual,
            None => Stage::Output,
        };
        let inputs = std::mem::take(&mut node.inputs);
        let fused = |activation, residual| Epilogue {
            activation,
            residual,
        };
        if activation.is_clamp() {
            // A residual after a clamp stays fused; what follows it does not.
            let epilogue = fused(activation, Some(Activation::Linear));
            let op = with_epilogue(node.op, epilogue);
            parts.push("sum", op, &inputs, &Stage::BeforePostActivation);
        } else if is_fused(&node.op, activation) {
            let op = with_epilogue(node.op, fused(activation, None));
            parts.push("activation", op, &inputs, &activated);
        } else {
            let op = with_epilogue(node.op, Epilogue::default());
            parts.push("sum", op, &inputs, &Stage::BeforeActivation);
            parts.then("activation", Op::Activation(activation), &activated);
        }
        let post = post.unwrap_or_default();
        if let Some(residual) = residual {
            let (activation, stage) = if post.is_clamp() {
                (post, Stage::Output)
            } else {
                (Activation::Linear, Stage::BeforePostActivation)
            };
            let kind = BinaryOp::Add;
            let sum = parts.last();
            let add = Op::Binary { kind, activation };
            parts.push("add", add, &[sum, residual], &stage);
        }
        if !post.is_clamp() {
            parts.then("post", Op::Activation(post), &Stage::Output);
        }
        parts.finish();
        moved.push(NodeId(nodes.len() - 1));
    }
    Graph::from_parts(
        graph.name.clone(),
        nodes,
        moved[graph.output().0],
        graph.tensors.clone(),
    )
}

fn epilogue(op: &Op) -> Epilogue {
    match op {
        Op::Conv2d(conv) => conv.epilogue,
        Op::Dense(dense) => dense.epilogue,
        Op::DepthwiseConv2d(conv) => Epilogue {
            activation: conv.activation,
            residual: None,
        },
        Op::Binary { activation, .. } => Epilogue {
            activation: *activation,
            residual: None,
        },
        _ => Epilogue::default(),
    }
}

fn with_epilogue(mut op: Op, epilogue: Epilogue) -> Op {
    match &mut op {
        Op::Conv2d(conv) => conv.epilogue = epilogue,
        Op::Dense(dense) => dense.epilogue = epilogue,
        Op::DepthwiseConv2d(conv) => conv.activation = epilogue.activation,
        Op::Binary { activation, .. } => *activation = epilogue.activation,
        _ => {}
    }
    op
}

/// The nodes that replace a fused one. Each gets the layers whose output it is.
struct Parts<'a> {
    name: String,
    layers: Vec<SourceLayer>,
    template: Node,
    nodes: &'a mut Vec<Node>,
}

impl Parts<'_> {
    fn last(&self) -> NodeId {
        NodeId(self.nodes.len() - 1)
    }

    fn then(&mut self, what: &str, op: Op, stage: &Stage) {
        let last = self.last();
        self.push(what, op, &[last], stage);
    }

    /// `stage` says where the part's value was in the fused node.
    fn push(&mut self, what: &str, op: Op, inputs: &[NodeId], stage: &Stage) {
        let order = |stage: &Stage| match stage {
            Stage::BeforeAffine { .. } | Stage::Folded => 0,
            Stage::BeforeActivation => 1,
            Stage::BeforeResidual => 2,
            Stage::BeforePostActivation => 3,
            Stage::Output => 4,
        };
        // Layers before the part's own value stay folded in it.
        let (mut own, rest): (Vec<_>, Vec<_>) = std::mem::take(&mut self.layers)
            .into_iter()
            .partition(|layer| order(&layer.stage) <= order(stage));
        self.layers = rest;
        for layer in own.iter_mut().filter(|layer| layer.stage == *stage) {
            layer.stage = Stage::Output;
        }
        self.nodes.push(Node {
            name: format!("{}/{what}", self.name),
            op,
            inputs: inputs.to_vec(),
            shape: self.template.shape.clone(),
            quantization: None,
            layers: own,
        });
    }

    /// For all other nodes, the last part is the node itself.
    fn finish(self) {
        if let Some(last) = self.nodes.last_mut() {
            last.name = self.name;
        }
    }
}
