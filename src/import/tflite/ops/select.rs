//! `SELECT` by the sign of a value: activations that a converter has taken apart.
//!
//! `x > 0 ? a x : b x` is a leaky ReLU, `x > 0 ? a x : b (exp(x) - 1)` an ELU or SELU. In the graph
//! the branches stand as nodes already; they are recognized there, whatever arithmetic made them.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use crate::activation::Activation;
use crate::graph::{NodeId, Op};
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::view::View;

/// Marks where a value is above 0. At 0 itself the branches of all activations are equal, so it does
/// not matter whether that counts.
pub(super) fn greater<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let zero = call.constant(1, "bound")?.single();
    if zero != Some(0.0) {
        let shown = zero.map_or_else(|| "a list".to_owned(), |v| v.to_string());
        return Err(call.place().refused("bound", shown, "0"));
    }
    Ok(vec![Value::Positive(call.view(0)?.clone())])
}

pub(super) fn select<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let refused = || {
        call.refused(
            "it chooses between two values in a way that no activation does",
            "only ELU, SELU and leaky ReLU are recognized: build the model with a layer such as \
             `LeakyReLU`",
        )
    };
    let Value::Positive(x) = call.input(0)? else {
        return Err(refused());
    };
    let (above, below) = (call.view(1)?, call.view(2)?);
    if !above.lies_as(x) || !below.lies_as(x) {
        return Err(refused());
    }
    let line = Line::back(importer, above.id, x.id).ok_or_else(refused)?;
    if line.end != x.id || line.shift != 0.0 || line.scale <= 0.0 {
        return Err(refused());
    }
    let y = branch(importer, call, x, below.id, line.scale)?.ok_or_else(refused)?;
    Ok(vec![Value::View(y)])
}

/// Appends the activation that is `scale x` above 0, and `below` elsewhere.
fn branch(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    below: NodeId,
    scale: f64,
) -> Result<Option<View>, ImportError> {
    let Some(line) = Line::back(importer, below, x.id) else {
        return Ok(None);
    };
    let ratio = line.scale / scale;
    let node = importer.graph.node(line.end);
    let is_exp = matches!(node.op, Op::Activation(Activation::Exp)) && node.inputs == [x.id];
    let mut scale = scale;
    let function = if line.end == x.id && line.shift == 0.0 {
        functions::relu(None, functions::narrow(ratio), 0.0)
    } else if is_exp && (line.scale + line.shift).abs() < 1e-6 * line.scale.abs() {
        let selu = [1.673_263_242_354_377_2, 1.050_700_987_355_480_5];
        if (ratio - selu[0]).abs() < 1e-5 && (scale - selu[1]).abs() < 1e-5 {
            scale = 1.0;
            Activation::Selu
        } else {
            let alpha = functions::narrow(ratio);
            Activation::Elu { alpha }
        }
    } else {
        return Ok(None);
    };
    let suffix = (scale != 1.0).then_some("activation");
    let y = importer.activation(call, suffix, x, function)?;
    importer.scaled(call, None, &y, scale, 0.0).map(Some)
}

/// A value as `scale * end + shift`.
struct Line {
    end: NodeId,
    scale: f64,
    shift: f64,
}

impl Line {
    /// Follows a value back through scalings by one number each, to `until` or to any other operation.
    fn back(importer: &Importer, from: NodeId, until: NodeId) -> Option<Self> {
        let mut line = Self {
            end: from,
            scale: 1.0,
            shift: 0.0,
        };
        while line.end != until {
            let node = importer.graph.node(line.end);
            match (&node.op, node.inputs.as_slice()) {
                (Op::ScaleShift { scale, shift }, &[x]) => {
                    let scale = importer.graph.number(scale)?;
                    let shift = importer.graph.number(shift)?;
                    line.shift += line.scale * shift;
                    line.scale *= scale;
                    line.end = x;
                }
                (Op::Activation(Activation::Neg), &[x]) => {
                    line.scale = -line.scale;
                    line.end = x;
                }
                _ => break,
            }
        }
        Some(line)
    }
}
