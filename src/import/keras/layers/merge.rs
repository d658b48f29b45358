//! Layers of several inputs.

use super::super::attributes::Attributes;
use super::super::call::{Builder, LayerCall};
use super::super::order::Order;
use crate::activation::Activation;
use crate::graph::{BinaryOp, NodeId, Op};
use crate::import::affine::Affine;
use crate::import::error::ImportError;

/// `((a op b) op c) op ...`; the last node has the layer's name unless more follows.
fn chain(
    builder: &mut Builder,
    call: &LayerCall,
    kind: BinaryOp,
    last: Option<&str>,
) -> Result<NodeId, ImportError> {
    let inputs = call.inputs();
    let [first, rest @ ..] = inputs.as_slice() else {
        return Err(too_few(call, 0));
    };
    if rest.is_empty() || (kind == BinaryOp::Sub && rest.len() != 1) {
        return Err(too_few(call, inputs.len()));
    }
    let mut value = *first;
    for (i, &next) in rest.iter().enumerate() {
        let partial = i.to_string();
        let suffix = if i + 1 == rest.len() {
            last
        } else {
            Some(partial.as_str())
        };
        let op = Op::Binary {
            kind,
            activation: Activation::Linear,
        };
        value = builder.push(call, suffix, op, &[value, next])?;
    }
    Ok(value)
}

fn too_few(call: &LayerCall, got: usize) -> ImportError {
    call.site
        .place
        .invalid(format!("expected 2 inputs or more, got {got}"))
}

pub(super) fn binary(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    Attributes::new(call.layer).finish()?;
    let kind = match call.layer.class.as_str() {
        "Add" => BinaryOp::Add,
        "Subtract" => BinaryOp::Sub,
        "Multiply" => BinaryOp::Mul,
        "Maximum" => BinaryOp::Max,
        _ => BinaryOp::Min,
    };
    chain(builder, call, kind, None)
}

pub(super) fn average(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    Attributes::new(call.layer).finish()?;
    let n = call.inputs().len();
    let sum = chain(builder, call, BinaryOp::Add, Some("sum"))?;
    builder.affine(call, sum, &Affine::scalar(1.0 / n as f64, 0.0))
}

pub(super) fn concatenate(builder: &mut Builder, call: &LayerCall) -> Result<NodeId, ImportError> {
    let inputs = builder.in_one_order(call, &call.inputs())?;
    let Some(&first) = inputs.first() else {
        return Err(too_few(call, 0));
    };
    // Positions in vectors are the file's.
    let inputs = match builder.order(first) {
        Order::Flat(_) => inputs
            .iter()
            .map(|&id| builder.in_file_order(&call.site, id))
            .collect::<Result<Vec<_>, _>>()?,
        _ => inputs,
    };
    let first = inputs[0];
    let attributes = Attributes::new(call.layer);
    let rank = builder.shape(first).rank();
    let axis = match attributes.get("axis") {
        None => rank.saturating_sub(1),
        Some(_) => attributes.axis("axis", rank)?,
    };
    attributes.finish()?;
    if inputs.len() == 1 {
        return Ok(first);
    }
    // The file's axes of a map are the channels, the rows and the columns.
    let axis = if builder.is_map(first) {
        (axis + 2) % 3
    } else {
        axis
    };
    let id = builder.push(call, None, Op::Concat { axis }, &inputs)?;
    builder.set_order(id, builder.order(first));
    Ok(id)
}
