//! Arithmetic of two values, or of a value and a constant.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Element};
use super::super::importer::Importer;
use super::elementwise::function_of;
use super::part::reduced;
use crate::activation::Activation;
use crate::graph::{BinaryOp, Op, ReduceKind};
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::view::{View, broadcast};

/// What an operator computes.
pub(in crate::import::tflite) fn kind_of(op: &str) -> Option<BinaryOp> {
    Some(match op {
        "ADD" => BinaryOp::Add,
        "SUB" | "SQUARED_DIFFERENCE" => BinaryOp::Sub,
        "MUL" => BinaryOp::Mul,
        "DIV" => BinaryOp::Div,
        "MAXIMUM" => BinaryOp::Max,
        "MINIMUM" => BinaryOp::Min,
        _ => return None,
    })
}

/// `ADD`, `SUB`, `MUL`, `DIV`, `MAXIMUM`, `MINIMUM`
pub(super) fn binary<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let kind = kind_of(call.op).ok_or_else(|| call.place().unsupported())?;
    let y = of_two(importer, call, None, kind)?;
    if matches!(call.op, "MAXIMUM" | "MINIMUM") {
        return Ok(vec![Value::View(y)]);
    }
    if matches!(call.op, "ADD" | "SUB") {
        // How 16-bit integers are scaled.
        call.options.ignore(&[1]);
    }
    let y = importer.fused(call, &y, call.fused(0)?)?;
    Ok(vec![Value::View(y)])
}

fn of_two<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    suffix: Option<&str>,
    kind: BinaryOp,
) -> Result<View, ImportError> {
    match (call.input(0)?, call.input(1)?) {
        (Value::View(x), Value::Constant(c)) => {
            constant(importer, call, suffix, kind, (x, c), false)
        }
        (Value::Constant(c), Value::View(x)) => {
            constant(importer, call, suffix, kind, (x, c), true)
        }
        _ => two(importer, call, suffix, kind, [call.view(0)?, call.view(1)?]),
    }
}

/// `x * x`
pub(super) fn square<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let y = two(importer, call, None, BinaryOp::Mul, [x, x])?;
    Ok(vec![Value::View(y)])
}

/// `(a - b) * (a - b)`
pub(super) fn squared_difference<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = of_two(importer, call, Some("difference"), BinaryOp::Sub)?;
    let y = two(importer, call, None, BinaryOp::Mul, [&x, &x])?;
    Ok(vec![Value::View(y)])
}

/// The sum of any number of values.
pub(super) fn sum_of_many<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let n = call.inputs.len();
    let mut y = call.view(0)?.clone();
    for i in 1..n {
        let suffix = (i + 1 < n).then(|| format!("step{i}"));
        y = two(
            importer,
            call,
            suffix.as_deref(),
            BinaryOp::Add,
            [&y, call.view(i)?],
        )?;
    }
    Ok(vec![Value::View(y)])
}

/// The smallest length by which LiteRT divides.
const LEAST_LENGTH: f64 = 1e-6;

/// Each list of channels divided by its length.
pub(super) fn l2_normalization<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let last = x.rank().saturating_sub(1);
    let square = two(importer, call, Some("square"), BinaryOp::Mul, [&x, &x])?;
    let kind = ReduceKind::Sum;
    let sum = reduced(importer, call, Some("sum"), &square, (kind, &[last]))?;
    let least = Constant::new(vec![], Element::F32, &[LEAST_LENGTH * LEAST_LENGTH]);
    let least = importer.stored(call, &least)?;
    let sum = two(
        importer,
        call,
        Some("bounded"),
        BinaryOp::Max,
        [&sum, &least],
    )?;
    let inverse = Activation::Pow { exponent: -0.5 };
    let inverse = importer.activation(call, Some("inverse"), &sum, inverse)?;
    let y = two(importer, call, None, BinaryOp::Mul, [&x, &inverse])?;
    let y = importer.fused(call, &y, call.fused(0)?)?;
    Ok(vec![Value::View(y)])
}

/// A value to a constant power.
pub(super) fn pow<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?;
    let Some(exponent) = call.constant(1, "exponent")?.single() else {
        return Err(call.place().refused("exponent", "a list", "one number"));
    };
    let exponent = functions::narrow(exponent);
    let y = match exponent {
        1.0 => x.clone(),
        2.0 => two(importer, call, None, BinaryOp::Mul, [x, x])?,
        _ => importer.activation(call, None, x, Activation::Pow { exponent })?,
    };
    Ok(vec![Value::View(y)])
}

/// Appends an operation of two values.
pub(super) fn two(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    kind: BinaryOp,
    [a, b]: [&View; 2],
) -> Result<View, ImportError> {
    if let Some(x) = gated(importer, kind, a, b) {
        return importer.activation(call, suffix, &x, Activation::Silu);
    }
    let op = Op::Binary {
        kind,
        activation: Activation::Linear,
    };
    if a.lies_as(b) && importer.graph.shape(a.id) == importer.graph.shape(b.id) {
        let id = importer.push(call, suffix, op, &[a.id, b.id])?;
        return Ok(a.of(id));
    }
    let Some(dims) = broadcast(&a.dims(), &b.dims()) else {
        let (a, b) = (a.dims(), b.dims());
        let message = format!("shapes {a:?} and {b:?} do not go together");
        return Err(call.place().invalid(message));
    };
    let (a, b) = (a.with_rank(dims.len()), b.with_rank(dims.len()));
    let first = usize::from(dims.len() > 1 && dims[0] == 1);
    let order: Vec<usize> = (first..dims.len()).collect();
    let inputs = [
        importer.arrange(call, &a, &order)?,
        importer.arrange(call, &b, &order)?,
    ];
    let id = importer.push(call, suffix, op, &inputs)?;
    Ok(View::row_major(id, &dims))
}

/// The `x` of `x * sigmoid(x)`, which has a function of its own.
fn gated(importer: &Importer, kind: BinaryOp, a: &View, b: &View) -> Option<View> {
    if kind != BinaryOp::Mul || !a.lies_as(b) {
        return None;
    }
    [(a, b), (b, a)].into_iter().find_map(|(x, gate)| {
        let (function, of) = function_of(importer, gate)?;
        (function == Activation::Sigmoid && of.id == x.id).then(|| x.clone())
    })
}

/// Appends `x op constant`, or `constant op x` if the constant is `first`.
fn constant<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    suffix: Option<&str>,
    kind: BinaryOp,
    (x, constant): (&View, &Constant<'a>),
    first: bool,
) -> Result<View, ImportError> {
    if !constant.is_real() {
        let message = "it has whole numbers without a scale beside values of the photo";
        return Err(call.place().invalid(message));
    }
    let dims = broadcast(&x.dims(), constant.dims());
    let x = x.with_rank(constant.dims().len().max(x.rank()));
    let is_stretched = dims.as_deref() != Some(&x.dims()[..]);
    let value = |at: usize| constant.at(at);
    let one = |_: usize| 1.0;
    let none = |_: usize| 0.0;
    let minus = |_: usize| -1.0;
    let negated = |at: usize| -value(at);
    let inverse = |at: usize| 1.0 / value(at);
    let (scale, shift): (&dyn Fn(usize) -> f64, &dyn Fn(usize) -> f64) = match (kind, first) {
        (BinaryOp::Max, _) if constant.single() == Some(0.0) => {
            return importer.activation(call, suffix, &x, Activation::Relu);
        }
        (BinaryOp::Max | BinaryOp::Min, _) => {
            let stored = importer.stored(call, constant)?;
            return two(importer, call, suffix, kind, [&x, &stored]);
        }
        _ if is_stretched => {
            let stored = importer.stored(call, constant)?;
            let both = if first { [&stored, &x] } else { [&x, &stored] };
            return two(importer, call, suffix, kind, both);
        }
        (BinaryOp::Add, _) => (&one, &value),
        (BinaryOp::Sub, false) => (&one, &negated),
        (BinaryOp::Sub, true) => (&minus, &value),
        (BinaryOp::Mul, _) => (&value, &none),
        (BinaryOp::Div, false) => (&inverse, &none),
        (BinaryOp::Div, true) => {
            let below = importer.activation(call, Some("inverse"), &x, Activation::Reciprocal)?;
            return importer.affine(call, suffix, &below, (constant.dims(), &value, &none));
        }
    };
    importer.affine(call, suffix, &x, (constant.dims(), scale, shift))
}
