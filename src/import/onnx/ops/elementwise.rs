//! Functions of one value, element by element.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::Kind;
use super::super::importer::{Importer, MAX_SPELLED_OUT};
use super::arithmetic::{bounded, two};
use crate::activation::Activation;
use crate::graph::{BinaryOp, Op};
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::view::View;

/// Functions whose attributes are parameters of the graph's own.
pub(super) fn function<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let attributes = &call.attributes;
    let activation = match call.op {
        "Relu" => Activation::Relu,
        "LeakyRelu" => functions::relu(None, attributes.float("alpha", 0.01)?, 0.0),
        "Elu" => Activation::Elu {
            alpha: attributes.float("alpha", 1.0)?,
        },
        "Sigmoid" => Activation::Sigmoid,
        "HardSigmoid" => Activation::HardSigmoid {
            alpha: attributes.float("alpha", 0.2)?,
            beta: attributes.float("beta", 0.5)?,
        },
        "HardSwish" => Activation::HardSwish,
        "Tanh" => Activation::Tanh,
        "Softplus" => Activation::Softplus,
        "Softsign" => Activation::Softsign,
        "Exp" => Activation::Exp,
        "Abs" => Activation::Abs,
        "Cos" => Activation::Cos,
        "Erf" => Activation::Erf,
        "Log" => Activation::Log,
        "Reciprocal" => Activation::Reciprocal,
        "Sin" => Activation::Sin,
        "Sqrt" => Activation::Sqrt,
        "Mish" => Activation::Mish,
        "ThresholdedRelu" => functions::relu(None, 0.0, attributes.float("alpha", 1.0)?),
        "Gelu" => match attributes.text("approximate")?.as_deref() {
            None | Some("none") => Activation::Gelu,
            Some("tanh") => Activation::GeluTanh,
            Some(other) => {
                return Err(call
                    .place()
                    .refused("approximate", other, "`none` or `tanh`"));
            }
        },
        "Swish" => {
            let alpha = attributes.float("alpha", 1.0)?;
            return Ok(vec![swish(importer, call, call.view(0)?, alpha)?.into()]);
        }
        _ => return Err(call.place().unsupported()),
    };
    let y = importer.activation(call, None, call.view(0)?, activation)?;
    Ok(vec![Value::View(y)])
}

/// `gamma * (x if x > 0 else alpha * (exp(x) - 1))`
pub(super) fn selu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    const ALPHA: f32 = 1.673_263_2;
    const GAMMA: f32 = 1.050_701;
    let alpha = call.attributes.float("alpha", ALPHA)?;
    let gamma = call.attributes.float("gamma", GAMMA)?;
    let x = call.view(0)?;
    // Exporters round the constants in the last digits.
    let usual = (alpha - ALPHA).abs() < 1e-6 && (gamma - GAMMA).abs() < 1e-6;
    let y = if usual {
        importer.activation(call, None, x, Activation::Selu)?
    } else {
        let y = importer.activation(call, Some("elu"), x, Activation::Elu { alpha })?;
        importer.scaled(call, None, &y, f64::from(gamma), 0.0)?
    };
    Ok(vec![Value::View(y)])
}

/// `max(0, x) + min(0, alpha * (exp(x / alpha) - 1))`
pub(super) fn celu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let alpha = f64::from(call.attributes.float("alpha", 1.0)?);
    if alpha <= 0.0 {
        return Err(call.place().refused("alpha", alpha, "a positive number"));
    }
    let x = importer.scaled(call, Some("narrowed"), call.view(0)?, 1.0 / alpha, 0.0)?;
    let y = importer.activation(call, Some("elu"), &x, Activation::Elu { alpha: 1.0 })?;
    let y = importer.scaled(call, None, &y, alpha, 0.0)?;
    Ok(vec![Value::View(y)])
}

/// Appends `x * sigmoid(alpha * x)`.
pub(super) fn swish(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    alpha: f32,
) -> Result<View, ImportError> {
    if alpha.to_bits() == 1.0f32.to_bits() {
        return importer.activation(call, None, x, Activation::Silu);
    }
    let gate = importer.scaled(call, Some("scaled"), x, f64::from(alpha), 0.0)?;
    let gate = importer.activation(call, Some("gate"), &gate, Activation::Sigmoid)?;
    two(importer, call, None, BinaryOp::Mul, x, &gate)
}

/// 0 from `-lambd` to `lambd`; outside the value, moved by `bias` towards 0.
#[expect(clippy::float_cmp, reason = "attributes are exact values")]
pub(super) fn shrink<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let bound = call.attributes.float("lambd", 0.5)?;
    let bias = call.attributes.float("bias", 0.0)?;
    if bound < 0.0 || (bias != 0.0 && bias != bound) {
        let expected = "0, or `lambd`, which is not negative";
        return Err(call.place().refused("bias", bias, expected));
    }
    let x = call.view(0)?.clone();
    // The part above the bound, and that below it turned round.
    let mut parts = Vec::new();
    for (name, sign) in [("above", 1.0), ("below", -1.0)] {
        let name = |part: &str| format!("{name}/{part}");
        let shift = if bias == 0.0 { 0.0 } else { -f64::from(bound) };
        let part = importer.scaled(call, Some(&name("moved")), &x, sign, shift)?;
        let threshold = if bias == 0.0 { bound } else { 0.0 };
        let function = functions::relu(None, 0.0, threshold);
        parts.push(importer.activation(call, Some(&name("part")), &part, function)?);
    }
    let y = two(importer, call, None, BinaryOp::Sub, &parts[0], &parts[1])?;
    Ok(vec![y.into()])
}

/// As the type of the second value: between real numbers the value stays as it is.
pub(super) fn cast_like<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.attributes.ignore(&["saturate", "round_mode"]);
    match call.input(1)? {
        Value::Constant(like) if like.kind != Kind::Float => Err(call.refused(
            "values of the photo become whole numbers",
            "only real numbers are computed from a photo: rebuild this part of the model",
        )),
        _ => identity(importer, call),
    }
}

/// `-x`
pub(super) fn neg<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let y = importer.scaled(call, None, call.view(0)?, -1.0, 0.0)?;
    Ok(vec![Value::View(y)])
}

/// The value as it is: training only, or of another element type.
pub(super) fn identity<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    Ok(vec![Value::View(call.view(0)?.clone())])
}

/// Nothing at inference.
pub(super) fn dropout<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    if call.outputs_read > 1 {
        return Err(call.refused(
            "the mask of what was dropped is used",
            "export the model for inference: `model.eval()` before `torch.onnx.export`",
        ));
    }
    call.attributes.ignore(&["ratio", "seed"]);
    let training = call.optional_constant(2, "training mode")?;
    if training.and_then(|c| c.single()).is_some_and(|v| v != 0.0) {
        return Err(call.refused(
            "it drops values at random, as in training",
            "export the model for inference: `model.eval()` before `torch.onnx.export`",
        ));
    }
    identity(importer, call)
}

/// Between real numbers the values stay as they are: the graph computes in f32.
pub(super) fn cast<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.attributes.ignore(&["saturate", "round_mode"]);
    let Some(to) = call.attributes.optional_int("to")? else {
        return Err(call.place().invalid("it has no `to`"));
    };
    match to {
        1 | 10 | 11 | 16 => identity(importer, call),
        other => Err(call.refused(
            format!(
                "values of the photo become {}",
                super::super::constant::element_name(other)
            ),
            "only real numbers are computed from a photo: rebuild this part of the model",
        )),
    }
}

/// Bounds: attributes before opset 11, inputs since.
pub(super) fn clip<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let bound = |name: &'static str, index: usize| -> Result<Option<f64>, ImportError> {
        if let Some(value) = call.attributes.optional_float(name)? {
            return Ok(Some(f64::from(value)));
        }
        match call.optional_constant(index, name)? {
            None => Ok(None),
            Some(constant) => match constant.single() {
                Some(value) => Ok(Some(value)),
                None => Err(call.place().refused(name, "a list", "one number")),
            },
        }
    };
    // The least and greatest f32 stand for no bound.
    let most = f64::from(f32::MAX);
    let low = bound("min", 1)?.filter(|&v| v > -most);
    let high = bound("max", 2)?.filter(|&v| v < most);
    let y = bounded(importer, call, call.view(0)?, low, high)?;
    Ok(vec![Value::View(y)])
}

/// A slope for negative values: one for all, one a channel, or one an element.
pub(super) fn prelu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let slopes = call.constant(1, "slope")?.clone();
    if let Some(slope) = slopes.single() {
        let function = functions::relu(None, functions::narrow(slope), 0.0);
        let y = importer.activation(call, None, &x, function)?;
        return Ok(vec![Value::View(y)]);
    }
    let positions = x.positions(slopes.dims(), MAX_SPELLED_OUT);
    let (Some(positions), Some(flat)) = (positions, slopes.reshaped(&[slopes.len()])) else {
        let shown = format!("{:?}", slopes.dims());
        let expected = format!("a shape that is broadcast to {:?}", x.dims());
        return Err(call.place().refused("slope", shown, expected));
    };
    let len = positions.len();
    let id = importer.rows(call, &x, len)?;
    let form = format!("slopes {:?}", x.atoms(1));
    let alpha = importer.weight(call, "alpha", (&flat, &form), &[len], &mut |into| {
        for (to, &at) in into.iter_mut().zip(&positions) {
            *to = flat.weight(&[at]);
        }
    })?;
    let id = importer.push(call, None, Op::PRelu { alpha }, &[id])?;
    Ok(vec![Value::View(x.of(id))])
}
