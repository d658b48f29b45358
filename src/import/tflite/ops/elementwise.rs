//! Functions of one value, element by element.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::Element;
use super::super::importer::{Importer, lying};
use crate::activation::Activation;
use crate::graph::Op;
use crate::import::arrange::MAX_SPELLED_OUT;
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::view::View;

/// A function without parameters, by the name of its operator.
pub(in crate::import::tflite) fn by_name(op: &str) -> Option<Activation> {
    Some(match op {
        "ABS" => Activation::Abs,
        "COS" => Activation::Cos,
        "ELU" => Activation::Elu { alpha: 1.0 },
        "EXP" => Activation::Exp,
        "HARD_SWISH" => Activation::HardSwish,
        "LOG" => Activation::Log,
        "LOGISTIC" => Activation::Sigmoid,
        "NEG" => Activation::Neg,
        "RELU" => Activation::Relu,
        "RELU6" => Activation::Relu6,
        "RELU_0_TO_1" => functions::relu(Some(1.0), 0.0, 0.0),
        "RSQRT" => Activation::Pow { exponent: -0.5 },
        "SIN" => Activation::Sin,
        "SQRT" => Activation::Sqrt,
        "TANH" => Activation::Tanh,
        _ => return None,
    })
}

pub(super) fn function<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let function = by_name(call.op).ok_or_else(|| call.place().unsupported())?;
    let y = importer.activation(call, None, call.view(0)?, function)?;
    Ok(vec![Value::View(y)])
}

pub(super) fn relu_n1_to_1<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let y = importer.minus_one_to_one(call, None, call.view(0)?)?;
    Ok(vec![Value::View(y)])
}

pub(super) fn leaky_relu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let function = functions::relu(None, call.options.float(0)?, 0.0);
    let y = importer.activation(call, None, call.view(0)?, function)?;
    Ok(vec![Value::View(y)])
}

pub(super) fn gelu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let function = if call.options.flag(0)? {
        Activation::GeluTanh
    } else {
        Activation::Gelu
    };
    let y = importer.activation(call, None, call.view(0)?, function)?;
    Ok(vec![Value::View(y)])
}

/// Between real numbers the values stay as they are: the graph computes in f32. So do pixels, which
/// are real numbers in the graph.
pub(super) fn cast<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let from = call.options.byte(0)?;
    let to = call.options.byte(1)?;
    let is_real = |element: i8| Element::of(element).is_some_and(Element::is_float);
    if let Value::Pixels(pixels) = call.input(0)?
        && is_real(to)
    {
        return Ok(vec![Value::View(pixels.clone())]);
    }
    if !is_real(from) || !is_real(to) {
        return Err(call.refused(
            "values of the photo become whole numbers, or are such",
            "only real numbers are computed from a photo: rebuild this part of the model",
        ));
    }
    Ok(vec![Value::View(call.view(0)?.clone())])
}

/// `QUANTIZE` and `DEQUANTIZE`: the value stays as it is. Whether it is rounded is up to the types of
/// input and output, as with every operator.
pub(super) fn converted<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    Ok(vec![Value::View(call.view(0)?.clone())])
}

/// `DENSIFY` of weights is evaluated; no value of the photo is sparse.
pub(super) fn weights_only<'a>(
    _: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    Err(call.refused(
        "its input is computed from the photo",
        "only weights may be sparse: convert the model again without it",
    ))
}

/// A slope for negative values: one for all, one a channel, or one an element.
pub(super) fn prelu<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let slopes = call.constant(1, "slope")?.clone();
    if let Some(slope) = slopes.single() {
        let function = functions::relu(None, functions::narrow(slope), 0.0);
        let y = importer.activation(call, None, &x, function)?;
        return Ok(vec![Value::View(y)]);
    }
    let Some(positions) = x.positions(slopes.dims(), MAX_SPELLED_OUT) else {
        let shown = format!("{:?}", slopes.dims());
        let expected = format!("a shape that is broadcast to {:?}", x.dims());
        return Err(call.place().refused("slope", shown, expected));
    };
    let len = positions.len();
    let id = importer.rows(call, &x, len)?;
    let form = format!("slopes {:?}", lying(&x));
    let alpha = importer.weight(call, "alpha", (&slopes, &form), &[len], &mut |into| {
        for (to, &at) in into.iter_mut().zip(&positions) {
            *to = slopes.weight(at);
        }
    })?;
    let id = importer.push(call, None, Op::PRelu { alpha }, &[id])?;
    Ok(vec![Value::View(x.of(id))])
}

/// Over the last axis.
pub(super) fn softmax<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = call.view(0)?.clone();
    if call.op == "LOG_SOFTMAX" {
        if !call.is_answer {
            return Err(call.refused(
                "logarithms of probabilities are used inside of the model",
                "they are supported at the end only, where they stand for the probabilities",
            ));
        }
    } else {
        let beta = f64::from(call.options.float(0)?);
        if beta <= 0.0 {
            return Err(call.place().refused("beta", beta, "a positive number"));
        }
        x = importer.scaled(call, Some("beta"), &x, beta, 0.0)?;
    }
    let last = x.rank().saturating_sub(1);
    let stored = x.stored();
    let parts = x.atoms(last).len();
    let is_innermost = stored[stored.len() - parts..]
        .iter()
        .all(|step| step.axis == last);
    if !is_innermost {
        x = importer.in_file_order(call, &x)?;
    }
    let id = importer.last_axis(call, &x, x.extent(last))?;
    let id = importer.push(call, None, Op::Softmax { axis: None }, &[id])?;
    Ok(vec![Value::View(x.of(id))])
}

/// Whether a value is the function of another one, and which.
pub(super) fn function_of(importer: &Importer, y: &View) -> Option<(Activation, View)> {
    let node = importer.graph.node(y.id);
    match (&node.op, node.inputs.as_slice()) {
        (Op::Activation(function), &[x]) => Some((*function, y.of(x))),
        _ => None,
    }
}
