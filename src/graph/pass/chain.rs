//! What the recognisers of written-out functions look for: steps backwards along a chain of nodes.

use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{BinaryOp, NodeId, Op};

/// The value behind reshapes, which change no element.
pub(super) fn plain(draft: &Draft, mut id: NodeId) -> NodeId {
    while let Op::Reshape { .. } = draft.node(id).op {
        id = draft.node(id).inputs[0];
    }
    id
}

/// The input of a map `x * scale + shift` with one number each, and those numbers.
pub(super) fn scaled(draft: &Draft, id: NodeId) -> Option<(NodeId, f32, f32)> {
    let Op::ScaleShift { scale, shift } = &draft.node(id).op else {
        return None;
    };
    let single = |key: &str| {
        let values = draft.tensors.get(key)?.as_f32()?;
        let (&first, rest) = values.split_first()?;
        let bits = first.to_bits();
        rest.iter().all(|v| v.to_bits() == bits).then_some(first)
    };
    Some((draft.node(id).inputs[0], single(scale)?, single(shift)?))
}

/// The input of a function, and which one it is.
pub(super) fn function(draft: &Draft, id: NodeId) -> Option<(NodeId, Activation)> {
    match draft.node(id).op {
        Op::Activation(function) => Some((draft.node(id).inputs[0], function)),
        _ => None,
    }
}

/// The operands of an operation of two values.
pub(super) fn two(draft: &Draft, id: NodeId, wanted: BinaryOp) -> Option<[NodeId; 2]> {
    match draft.node(id).op {
        Op::Binary {
            kind,
            activation: Activation::Linear,
        } if kind == wanted => draft.node(id).inputs.as_slice().try_into().ok(),
        _ => None,
    }
}

/// The operands of an operation of two values in both orders.
pub(super) fn either(draft: &Draft, id: NodeId, wanted: BinaryOp) -> [Option<[NodeId; 2]>; 2] {
    let pair = two(draft, id, wanted);
    [pair, pair.map(|[a, b]| [b, a])]
}

/// Whether two numbers are the same but for the last digits that exporters print.
pub(super) fn close(value: f32, expected: f64) -> bool {
    (f64::from(value) - expected).abs() <= 1e-5 * expected.abs()
}
