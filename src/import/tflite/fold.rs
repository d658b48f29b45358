//! Arithmetic on numbers that are known at import: shapes, and weights that a converter has left in
//! parts.

use super::call::{Call, Outputs, Value};
use super::constant::{Constant, Element, MAX_FOLDED};
use super::importer::Importer;
use super::ops::arithmetic::kind_of;
use super::ops::{part, shape};
use crate::graph::BinaryOp;
use crate::import::error::ImportError;
use crate::import::view::{broadcast, len_of, offsets, strides_of};

/// Operators that are evaluated if all their inputs are known. `SHAPE` is always.
pub(super) const FOLDED: [&str; 22] = [
    "ADD",
    "CAST",
    "CONCATENATION",
    "DENSIFY",
    "DEQUANTIZE",
    "DIV",
    "EXPAND_DIMS",
    "GATHER",
    "MAXIMUM",
    "MINIMUM",
    "MUL",
    "NEG",
    "PACK",
    "REDUCE_PROD",
    "RESHAPE",
    "RSQRT",
    "SHAPE",
    "SLICE",
    "SQUEEZE",
    "STRIDED_SLICE",
    "SUB",
    "TRANSPOSE",
];

/// Evaluates an operator.
pub(super) fn fold<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    let result = evaluate(call)?;
    // Whatever is stored as it is costs nothing.
    if !matches!(
        call.op,
        "DEQUANTIZE" | "DENSIFY" | "RESHAPE" | "SQUEEZE" | "EXPAND_DIMS"
    ) {
        let left = importer.foldable.checked_sub(result.len());
        importer.foldable = left.ok_or_else(|| too_many(call))?;
    }
    Ok(vec![result.into()])
}

fn too_many(call: &Call) -> ImportError {
    call.place()
        .invalid("arithmetic on constants makes too many elements")
}

fn evaluate<'a>(call: &Call<'a>) -> Result<Constant<'a>, ImportError> {
    if call.op == "SHAPE" {
        call.options.ignore(&[0]);
        return Ok(Constant::list(&call.input(0)?.dims()));
    }
    if matches!(call.op, "CONCATENATION" | "PACK") {
        return joined(call);
    }
    let x = call.constant(0, "input")?;
    let dims = x.dims();
    let reshaped = |dims: Vec<usize>| x.reshaped(&dims).ok_or_else(|| too_many(call));
    match call.op {
        // The numbers behind a scale are the real ones already.
        "DEQUANTIZE" if x.is_real() => Ok(x.dequantized()),
        "DENSIFY" => Ok((**x).clone()),
        "RESHAPE" => reshaped(shape::target(call, dims)?),
        "SQUEEZE" => reshaped(shape::squeezed(call, dims)?),
        "EXPAND_DIMS" => reshaped(shape::expanded(call, dims)?),
        "TRANSPOSE" => {
            let order = shape::permutation(call, dims.len())?;
            x.transposed(&order).ok_or_else(|| too_many(call))
        }
        "STRIDED_SLICE" => {
            let (cuts, kept) = part::strided(call, dims)?;
            taken(call, x, &cuts)?
                .reshaped(&kept)
                .ok_or_else(|| too_many(call))
        }
        "SLICE" => taken(call, x, &part::sliced(call, dims)?),
        "GATHER" => gathered(call, x),
        "CAST" => cast(call, x),
        "REDUCE_PROD" => {
            let keeps = call.options.flag(0)?;
            let given = call.ints(1, "axes")?;
            if call.axes(&given, dims.len())?.len() != dims.len() {
                return Err(call.place().refused("axes", "some", "all axes"));
            }
            let product: f64 = values(call, x)?.iter().product();
            let dims = if keeps { vec![1; dims.len()] } else { vec![] };
            Ok(Constant::new(dims, x.element, &[product]))
        }
        "RSQRT" | "NEG" => {
            let is_negated = call.op == "NEG";
            let of = |v: &f64| if is_negated { -v } else { 1.0 / v.sqrt() };
            let made: Vec<f64> = values(call, x)?.iter().map(of).collect();
            Ok(Constant::new(dims.to_vec(), x.element, &made).with_reality_of(x))
        }
        _ => binary(call, x),
    }
}

fn values(call: &Call, constant: &Constant) -> Result<Vec<f64>, ImportError> {
    constant.values().ok_or_else(|| too_many(call))
}

fn binary<'a>(call: &Call<'a>, a: &Constant<'a>) -> Result<Constant<'a>, ImportError> {
    let kind = kind_of(call.op).ok_or_else(|| call.place().unsupported())?;
    if !matches!(kind, BinaryOp::Max | BinaryOp::Min) {
        if call.fused(0)? != super::call::Fused::Function(crate::activation::Activation::Linear) {
            let message = "it applies an activation to constants";
            return Err(call.refused(message, "convert the model again with a newer converter"));
        }
        call.options.ignore(&[1]);
    }
    let b = call.constant(1, "second input")?;
    let wrong = || {
        let (a, b) = (a.dims(), b.dims());
        let message = format!("shapes {a:?} and {b:?} do not go together");
        call.place().invalid(message)
    };
    let dims = broadcast(a.dims(), b.dims()).ok_or_else(wrong)?;
    if len_of(&dims).is_none_or(|n| n > MAX_FOLDED) {
        return Err(too_many(call));
    }
    let steps = |of: &[usize]| {
        let missing = dims.len() - of.len();
        let strides = strides_of(of);
        let step = |i: usize| match i.checked_sub(missing) {
            Some(i) if of[i] != 1 => strides[i],
            _ => 0,
        };
        (0..dims.len()).map(step).collect::<Vec<_>>()
    };
    let pairs = offsets(&dims, &steps(a.dims()))
        .into_iter()
        .zip(offsets(&dims, &steps(b.dims())));
    let is_whole = !a.is_real() && !b.is_real();
    let made: Vec<f64> = pairs
        .map(|(i, j)| {
            let (a, b) = (a.at(i), b.at(j));
            match kind {
                BinaryOp::Add => a + b,
                BinaryOp::Sub => a - b,
                BinaryOp::Mul => a * b,
                BinaryOp::Div if is_whole => (a / b).trunc(),
                BinaryOp::Div => a / b,
                BinaryOp::Max => a.max(b),
                BinaryOp::Min => a.min(b),
            }
        })
        .collect();
    Ok(Constant::new(dims, a.element, &made).with_reality_of(a))
}

fn cast<'a>(call: &Call<'a>, x: &Constant<'a>) -> Result<Constant<'a>, ImportError> {
    call.options.ignore(&[0]);
    let to = call.options.byte(1)?;
    let Some(element) = Element::of(to) else {
        let shown = super::schema::element_name(to);
        return Err(call.place().refused("out_data_type", shown, "numbers"));
    };
    let mut made = values(call, x)?;
    if !element.is_float() {
        made = made.into_iter().map(f64::trunc).collect();
    }
    Ok(Constant::new(x.dims().to_vec(), element, &made))
}

fn taken<'a>(
    call: &Call<'a>,
    x: &Constant<'a>,
    cuts: &[part::Cut],
) -> Result<Constant<'a>, ImportError> {
    let strides = strides_of(x.dims());
    let mut dims = x.dims().to_vec();
    let mut from = vec![0];
    for axis in 0..dims.len() {
        let cut = cuts.iter().find(|cut| cut.axis == axis);
        let positions: Vec<usize> = match cut {
            Some(cut) => cut.positions().collect(),
            None => (0..dims[axis]).collect(),
        };
        dims[axis] = positions.len();
        if from.len().saturating_mul(positions.len()) > MAX_FOLDED {
            return Err(too_many(call));
        }
        let stride = strides[axis];
        let step = |at: usize| positions.iter().map(move |p| at + p * stride);
        from = from.into_iter().flat_map(step).collect();
    }
    let made: Vec<f64> = from.into_iter().map(|i| x.at(i)).collect();
    Ok(Constant::new(dims, x.element, &made).with_reality_of(x))
}

fn gathered<'a>(call: &Call<'a>, x: &Constant<'a>) -> Result<Constant<'a>, ImportError> {
    let axis = call.axis(i64::from(call.options.int(0, 0)?), x.dims().len())?;
    match call.options.int(1, 0)? {
        0 => {}
        other => return Err(call.place().refused("batch_dims", other, "0")),
    }
    let indices = call.constant(1, "indices")?;
    let extent = x.dims()[axis];
    let given = call.ints(1, "indices")?;
    let picked: Result<Vec<usize>, _> = given.iter().map(|&i| call.axis(i, extent)).collect();
    let picked = picked?;
    let outer: usize = x.dims()[..axis].iter().product();
    let inner: usize = x.dims()[axis + 1..].iter().product();
    let len = outer
        .checked_mul(picked.len())
        .and_then(|n| n.checked_mul(inner));
    if len.is_none_or(|n| n > MAX_FOLDED) {
        return Err(too_many(call));
    }
    let mut made = Vec::new();
    for row in 0..outer {
        for &at in &picked {
            made.extend((0..inner).map(|i| x.at((row * extent + at) * inner + i)));
        }
    }
    let mut dims = x.dims().to_vec();
    dims.splice(axis..=axis, indices.dims().iter().copied());
    Ok(Constant::new(dims, x.element, &made).with_reality_of(x))
}

/// `CONCATENATION`, and `PACK`, which joins along a new axis.
fn joined<'a>(call: &Call<'a>) -> Result<Constant<'a>, ImportError> {
    let is_pack = call.op == "PACK";
    let slot = usize::from(is_pack);
    if is_pack {
        call.options.ignore(&[0]);
    } else {
        call.fused(1)?;
    }
    let mut parts = Vec::new();
    for i in 0..call.inputs.len() {
        parts.push(call.constant(i, "input")?.clone());
    }
    let Some(first) = parts.first().cloned() else {
        return Err(call.place().invalid("it has no inputs"));
    };
    let rank = first.dims().len();
    let given = i64::from(call.options.int(slot, 0)?);
    let axis = call.axis(given, rank + usize::from(is_pack))?;
    let mut dims = first.dims().to_vec();
    let along = |part: &Constant| if is_pack { 1 } else { part.dims()[axis] };
    let fits = |part: &Constant| {
        let same = |i: usize| (i == axis && !is_pack) || part.dims()[i] == first.dims()[i];
        part.dims().len() == rank && (0..rank).all(same)
    };
    if !parts.iter().all(|part| fits(part)) {
        return Err(call.place().invalid("its inputs do not join"));
    }
    let total: usize = parts.iter().map(|part| along(part)).sum();
    if is_pack {
        dims.insert(axis, total);
    } else {
        dims[axis] = total;
    }
    if len_of(&dims).is_none_or(|n| n > MAX_FOLDED) {
        return Err(too_many(call));
    }
    let outer: usize = dims[..axis].iter().product();
    let inner: usize = dims[axis + 1..].iter().product();
    let mut made = Vec::new();
    for row in 0..outer {
        for part in &parts {
            let len = along(part) * inner;
            made.extend((0..len).map(|i| part.at(row * len + i)));
        }
    }
    Ok(Constant::new(dims, first.element, &made).with_reality_of(&first))
}

/// Whether an operator is evaluated, given its inputs.
pub(super) fn is_known(call_op: &str, inputs: &[Option<Value>]) -> bool {
    let constant = |v: &Option<Value>| matches!(v, None | Some(Value::Constant(_)));
    call_op == "SHAPE" || (FOLDED.contains(&call_op) && inputs.iter().all(constant))
}
