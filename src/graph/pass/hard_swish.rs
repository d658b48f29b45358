//! Recognises hard sigmoid and hard swish if they are written out as in MobileNetV3, namely as `x *
//! relu6(x + 3) * (1 / 6)`.

use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{BinaryOp, Graph, GraphError, NodeId, Op};

/// One sixth as MobileNetV3 rounds it.
const SIXTH: f32 = 1.0 / 6.0;

/// Replaces `relu6(x + 3) / 6` by hard sigmoid, and its product with `x` by hard swish.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn recognize_hard_swish(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        if let Some(x) = hard_sigmoid_input(&draft, id) {
            let node = draft.node_mut(id);
            node.op = Op::Activation(Activation::HardSigmoid {
                alpha: SIXTH,
                beta: 0.5,
            });
            node.inputs = vec![x];
        } else if let Some(x) = hard_swish_input(&draft, id) {
            let node = draft.node_mut(id);
            node.op = Op::Activation(Activation::HardSwish);
            node.inputs = vec![x];
        }
    }
    draft.finish()
}

fn hard_sigmoid_input(draft: &Draft, id: NodeId) -> Option<NodeId> {
    let clamp = scaled_by(draft, id, SIXTH, 0.0)?;
    let shifted = match draft.node(clamp).op {
        Op::Activation(
            Activation::Relu6
            | Activation::ReluGeneral {
                max_value: Some(6.0),
                negative_slope: 0.0,
                threshold: 0.0,
            },
        ) => draft.node(clamp).inputs[0],
        _ => return None,
    };
    let x = scaled_by(draft, shifted, 1.0, 3.0)?;
    (draft.only_feeds(clamp, id) && draft.only_feeds(shifted, clamp)).then_some(x)
}

/// The input of a `ScaleShift` with these constants.
fn scaled_by(draft: &Draft, id: NodeId, scale: f32, shift: f32) -> Option<NodeId> {
    let Op::ScaleShift { scale: s, shift: t } = &draft.node(id).op else {
        return None;
    };
    let all = |key: &str, expected: f32| {
        let values = draft.tensors.get(key)?.as_f32()?;
        // A literal 0.16666667 in a config may differ from 1/6 in the last bit.
        values
            .iter()
            .all(|v| (v - expected).abs() <= f32::EPSILON)
            .then_some(())
    };
    all(s, scale)?;
    all(t, shift)?;
    draft.node(id).inputs.first().copied()
}

fn hard_swish_input(draft: &Draft, id: NodeId) -> Option<NodeId> {
    let Op::Binary {
        kind: BinaryOp::Mul,
        activation: Activation::Linear,
    } = draft.node(id).op
    else {
        return None;
    };
    let [a, b] = *draft.node(id).inputs.as_slice() else {
        return None;
    };
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let Op::Activation(Activation::HardSigmoid { alpha, beta }) = draft.node(gate).op else {
            return None;
        };
        let keras3 = (alpha - SIXTH).abs() <= f32::EPSILON && beta == 0.5;
        (keras3 && draft.node(gate).inputs[0] == x && draft.only_feeds(gate, id)).then_some(x)
    })
}
