//! Fusing: computing what follows a sum while the sum is still in registers.

use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, GraphError, NodeId, Op, Stage,
};

/// Moves an activation into the weighted or elementwise op before it, if no other node reads that
/// op.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn fuse_activation(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        let Op::Activation(activation) = draft.node(id).op else {
            continue;
        };
        let producer = draft.node(id).inputs[0];
        if !draft.only_feeds(producer, id) {
            continue;
        }
        #[expect(clippy::manual_let_else, reason = "a match of four forms reads better")]
        let slot = match &mut draft.node_mut(producer).op {
            Op::Conv2d(Conv2d {
                epilogue:
                    Epilogue {
                        activation,
                        residual: None,
                    },
                ..
            })
            | Op::Dense(Dense {
                epilogue:
                    Epilogue {
                        activation,
                        residual: None,
                    },
                ..
            })
            | Op::DepthwiseConv2d(DepthwiseConv2d { activation, .. })
            | Op::Binary { activation, .. } => activation,
            _ => continue,
        };
        if *slot != Activation::Linear {
            continue;
        }
        *slot = activation;
        Draft::demote_layers(
            &mut draft.node_mut(producer).layers,
            &Stage::BeforeActivation,
        );
        draft.append_layers(id, producer);
        draft.redirect(id, producer);
    }
    draft.finish()
}

/// Moves the addition of two equal shapes into a convolution or dense layer before it, if no other
/// node reads that layer. The fused node takes the place of the addition, so both operands come
/// before it.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn fuse_residual(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        let Op::Binary {
            kind: BinaryOp::Add,
            activation,
        } = draft.node(id).op
        else {
            continue;
        };
        let (a, b) = (draft.node(id).inputs[0], draft.node(id).inputs[1]);
        if draft.node(a).shape != draft.node(b).shape {
            continue;
        }
        // The later operand is computed last: the other one has left the cache by then anyway, and
        // the arena needs no value for the later one.
        let (later, earlier) = if a > b { (a, b) } else { (b, a) };
        let candidates = [(later, earlier), (earlier, later)];
        let Some((weighted, other)) = candidates
            .into_iter()
            .find(|&(w, _)| takes_residual(&draft, w, id))
        else {
            continue;
        };
        fuse(&mut draft, weighted, other, id, activation);
    }
    draft.finish()
}

fn takes_residual(draft: &Draft, weighted: NodeId, add: NodeId) -> bool {
    let free = match &draft.node(weighted).op {
        Op::Conv2d(Conv2d { epilogue, .. }) | Op::Dense(Dense { epilogue, .. }) => {
            epilogue.residual.is_none()
        }
        _ => false,
    };
    free && draft.only_feeds(weighted, add)
}

fn fuse(draft: &mut Draft, weighted: NodeId, other: NodeId, add: NodeId, post: Activation) {
    let mut node = draft.node(weighted).clone();
    match &mut node.op {
        Op::Conv2d(Conv2d { epilogue, .. }) | Op::Dense(Dense { epilogue, .. }) => {
            epilogue.residual = Some(post);
        }
        _ => return,
    }
    node.inputs.push(other);
    Draft::demote_layers(&mut node.layers, &Stage::BeforeResidual);
    let mut sum_layers = std::mem::take(&mut draft.node_mut(add).layers);
    for layer in &mut sum_layers {
        if layer.stage == Stage::BeforeActivation {
            layer.stage = Stage::BeforePostActivation;
        }
    }
    node.layers.extend(sum_layers);
    // The old slot keeps a dead node; its name must not collide with the moved one.
    let dead = draft.node_mut(weighted);
    dead.name.push_str("/moved");
    dead.layers.clear();
    draft.nodes[add.0] = node;
}
