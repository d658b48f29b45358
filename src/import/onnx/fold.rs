//! Arithmetic on what is known at import: the shapes that exporters compute in the graph, and
//! weights that are scaled or joined before they are used.
//!
//! In: a node whose inputs are constants. Out: constants. Numbers are f64 and are rounded to f32
//! where the file says so; how many may be made is bounded for each node and in all.

use std::rc::Rc;

use super::call::{Call, Outputs, Value};
use super::constant::{Constant, Kind, MAX_FOLDED, kind_of, len_of, offsets, strides_of};
use super::importer::Importer;
use super::ops::part::{indices, parts, slices};
use super::ops::reduce;
use super::ops::shape::{flatten_axis, permutation, squeezed, unsqueezed};
use crate::import::error::ImportError;
use crate::import::view::{broadcast, shape_asked};

mod integers;
mod matrix;
mod scatter;
mod statistics;

/// Operators that are evaluated when all of their inputs are constants.
pub(super) const FOLDED: &[&str] = &[
    "Abs",
    "Add",
    "And",
    "BatchNormalization",
    "Cast",
    "CastLike",
    "Ceil",
    "Clip",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Cos",
    "CumSum",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "GatherND",
    "Gelu",
    "Gemm",
    "Greater",
    "GreaterOrEqual",
    "Identity",
    "IsNaN",
    "Less",
    "LessOrEqual",
    "Log",
    "MatMul",
    "Max",
    "Min",
    "Mod",
    "Mul",
    "Neg",
    "NonZero",
    "Not",
    "Or",
    "Pow",
    "QuantizeLinear",
    "Range",
    "Reciprocal",
    "ReduceL1",
    "ReduceL2",
    "ReduceMax",
    "ReduceMean",
    "ReduceMin",
    "ReduceProd",
    "ReduceSum",
    "ReduceSumSquare",
    "Relu",
    "Reshape",
    "Round",
    "ScatterND",
    "Shape",
    "Sigmoid",
    "Sign",
    "Sin",
    "Size",
    "Slice",
    "Softplus",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Tanh",
    "Tile",
    "Transpose",
    "Trilu",
    "Unsqueeze",
    "Where",
    "Xor",
];

/// A constant spelled out.
struct Array {
    dims: Vec<usize>,
    kind: Kind,
    values: Vec<f64>,
}

impl Array {
    fn constant<'a>(self) -> Constant<'a> {
        Constant::new(self.dims, self.kind, self.values)
    }
}

/// Counts what arithmetic makes.
fn spend(
    importer: &mut Importer,
    call: &Call,
    elements: Option<usize>,
) -> Result<usize, ImportError> {
    let too_many = || call.place().invalid("its constant has too many elements");
    let largest = importer.largest;
    let elements = elements.filter(|&n| n <= largest).ok_or_else(too_many)?;
    importer.foldable = importer
        .foldable
        .checked_sub(elements)
        .ok_or_else(too_many)?;
    Ok(elements)
}

fn array(importer: &mut Importer, call: &Call, index: usize) -> Result<Array, ImportError> {
    let constant = Rc::clone(call.constant(index, "input")?);
    spend(importer, call, Some(constant.len()))?;
    let values = constant.values_up_to(importer.largest).unwrap_or_default();
    Ok(Array {
        dims: constant.dims().to_vec(),
        kind: constant.kind,
        values,
    })
}

/// Evaluates a node of [`FOLDED`] whose inputs are constants (of `Shape` and `Size` any).
pub(super) fn fold<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let constant = match call.op {
        "Constant" => literal(call)?,
        "ConstantOfShape" => filled(importer, call)?,
        "Shape" => shape(call)?,
        "Size" => {
            let dims = call.input(0)?.dims();
            let n = len_of(&dims).ok_or_else(|| call.place().unsupported())?;
            Constant::list(&[n])
                .reshaped(&[])
                .unwrap_or_else(|| Constant::list(&[n]))
        }
        "Identity" | "Dropout" => {
            call.attributes.ignore(&["ratio", "seed"]);
            return Ok(vec![Value::Constant(Rc::clone(call.constant(0, "input")?))]);
        }
        "Cast" | "CastLike" => cast(importer, call)?,
        "Reshape" | "Flatten" | "Squeeze" | "Unsqueeze" => reshaped(importer, call)?,
        "Transpose" => {
            let x = call.constant(0, "input")?;
            x.transposed(&permutation(call, x.dims().len())?)
        }
        "Gather" => gather(importer, call)?,
        "NonZero" => scatter::non_zero(importer, call)?,
        "Concat" => concat(importer, call)?,
        "Slice" => {
            let x = Rc::clone(call.constant(0, "input")?);
            let cuts = slices(call, x.dims())?;
            picked(importer, call, &x, &cuts)?
        }
        "Split" => return split(importer, call),
        "Expand" | "Tile" => expanded(importer, call)?,
        "Range" => range(importer, call)?,
        "Where" => choose(importer, call)?,
        "Clip" => clip(importer, call)?,
        "MatMul" => matrix::mat_mul(importer, call)?,
        "Gemm" => matrix::gemm(importer, call)?,
        "ScatterND" => scatter::scatter(importer, call)?,
        "GatherND" => scatter::gather(importer, call)?,
        "Trilu" => scatter::triangle(importer, call)?,
        "CumSum" => statistics::cumulative(importer, call)?,
        "BatchNormalization" => statistics::batch_norm(importer, call)?,
        "DequantizeLinear" => integers::dequantized(call)?,
        "QuantizeLinear" => integers::quantized(importer, call)?,
        op if op.starts_with("Reduce") => reduced(importer, call)?,
        _ if call.inputs.len() == 1 && !matches!(call.op, "Max" | "Min") => unary(importer, call)?,
        _ => binary(importer, call)?,
    };
    Ok(vec![constant.into()])
}

fn literal<'a>(call: &Call<'_, 'a>) -> Result<Constant<'a>, ImportError> {
    let attributes = &call.attributes;
    if let Some(tensor) = attributes.tensor("value")? {
        return Constant::of_tensor(&tensor, &mut |_, _, _| {
            Err(call
                .place()
                .invalid("a constant's numbers are in another file"))
        });
    }
    let of = |list: Vec<i64>| list.into_iter().map(|v| v as f64).collect::<Vec<f64>>();
    if let Some(value) = attributes.optional_int("value_int")? {
        return Ok(Constant::new(vec![], Kind::Int, of(vec![value])));
    }
    if let Some(list) = attributes.ints("value_ints")? {
        return Ok(Constant::new(vec![list.len()], Kind::Int, of(list)));
    }
    if let Some(value) = attributes.optional_float("value_float")? {
        return Ok(Constant::scalar(Kind::Float, f64::from(value)));
    }
    if let Some(list) = attributes.floats("value_floats")? {
        let values: Vec<f64> = list.into_iter().map(f64::from).collect();
        return Ok(Constant::new(vec![values.len()], Kind::Float, values));
    }
    Err(call.place().invalid("it has no value that is read"))
}

/// Extents as a list says them.
fn extents(call: &Call, list: &[i64]) -> Result<Vec<usize>, ImportError> {
    let dims: Option<Vec<usize>> = list.iter().map(|&d| d.try_into().ok()).collect();
    dims.ok_or_else(|| {
        call.place()
            .refused("shape", format!("{list:?}"), "numbers from 0 up")
    })
}

fn filled<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let (kind, value) = match call.attributes.tensor("value")? {
        None => (Kind::Float, 0.0),
        Some(tensor) => {
            let one = Constant::of_tensor(&tensor, &mut |_, _, _| {
                Err(call
                    .place()
                    .invalid("a constant's numbers are in another file"))
            })?;
            let value = one
                .single()
                .ok_or_else(|| call.place().invalid("its value is not one number"))?;
            (one.kind, value)
        }
    };
    let list = call.constant(0, "shape")?.ints().unwrap_or_default();
    let dims = extents(call, &list)?;
    let n = spend(importer, call, len_of(&dims))?;
    Ok(Constant::new(dims, kind, vec![value; n]))
}

/// `Shape`, from `start` to `end` since opset 15.
fn shape<'a>(call: &Call<'_, 'a>) -> Result<Constant<'a>, ImportError> {
    let dims = call.input(0)?.dims();
    let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
    let bound = |v: i64| {
        let from_front = if v < 0 { v.saturating_add(rank) } else { v };
        usize::try_from(from_front.clamp(0, rank)).unwrap_or(0)
    };
    let start = bound(call.attributes.int("start", 0)?);
    let end = bound(call.attributes.int("end", rank)?);
    Ok(Constant::list(dims.get(start..end).unwrap_or_default()))
}

fn cast<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    call.attributes.ignore(&["saturate", "round_mode"]);
    let kind = if call.op == "CastLike" {
        match call.input(1)? {
            Value::Constant(like) => Some(like.kind),
            _ => Some(Kind::Float),
        }
    } else {
        kind_of(call.attributes.int("to", 0)?)
    };
    let to = call.attributes.int("to", 0)?;
    let Some(kind) = kind else {
        return Err(call.place().refused("to", to, "a type of numbers"));
    };
    let x = call.constant(0, "input")?;
    // Numbers that do not fit stand in lists of positions ("to the end"), not in weights.
    let narrows = kind == Kind::Int && !matches!(to, 0 | 7 | 13) && x.len() <= 4096;
    if (kind == x.kind && !narrows)
        || (kind == Kind::Float && x.kind != Kind::Float && x.len() > MAX_FOLDED)
    {
        return Ok(x.as_kind(kind));
    }
    let mut array = array(importer, call, 0)?;
    for value in &mut array.values {
        *value = match kind {
            Kind::Float => *value,
            Kind::Int => wrapped(value.trunc(), to),
            Kind::Bool => f64::from(u8::from(*value != 0.0)),
        };
    }
    array.kind = kind;
    Ok(array.constant())
}

/// A whole number in the type of that number in `TensorProto`: of others the lower bits stay.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "what a cast between integers does"
)]
fn wrapped(value: f64, to: i64) -> f64 {
    let whole = value as i64;
    match to {
        2 => f64::from(whole as u8),
        3 => f64::from(whole as i8),
        4 => f64::from(whole as u16),
        5 => f64::from(whole as i16),
        6 => f64::from(whole as i32),
        12 => f64::from(whole as u32),
        _ => value,
    }
}

fn reshaped<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = call.constant(0, "input")?;
    let from = x.dims();
    let dims = match call.op {
        "Reshape" => {
            let allow_zero = call.attributes.flag("allowzero", false)?;
            let asked = call.list("shape", 1)?.unwrap_or_default();
            shape_asked(from, &asked, allow_zero).ok_or_else(|| {
                let expected = format!("a shape that fits {from:?}");
                call.place()
                    .refused("shape", format!("{asked:?}"), expected)
            })?
        }
        "Flatten" => {
            let at = flatten_axis(call, from.len())?;
            let product = |dims: &[usize]| len_of(dims).unwrap_or(usize::MAX);
            vec![product(&from[..at]), product(&from[at..])]
        }
        "Squeeze" => squeezed(call, from)?,
        _ => unsqueezed(call, from)?,
    };
    spend(importer, call, Some(0))?;
    x.reshaped(&dims).ok_or_else(|| {
        call.place()
            .invalid(format!("its constant cannot become {dims:?}"))
    })
}

/// The elements at some positions of some axes.
fn picked<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    x: &Constant<'a>,
    cuts: &[(usize, Vec<usize>)],
) -> Result<Constant<'a>, ImportError> {
    let mut lists: Vec<Vec<usize>> = Vec::new();
    for (axis, &extent) in x.dims().iter().enumerate() {
        if let Some((_, list)) = cuts.iter().find(|(a, _)| *a == axis) {
            lists.push(list.clone());
        } else {
            spend(importer, call, Some(extent))?;
            lists.push((0..extent).collect());
        }
    }
    let dims: Vec<usize> = lists.iter().map(Vec::len).collect();
    let n = spend(importer, call, len_of(&dims))?;
    let strides = strides_of(&dims);
    let mut values = Vec::with_capacity(n);
    let mut at = vec![0; dims.len()];
    for i in 0..n {
        for (axis, list) in lists.iter().enumerate() {
            at[axis] = list[i / strides[axis] % dims[axis]];
        }
        values.push(x.at(&at));
    }
    Ok(Constant::new(dims, x.kind, values))
}

fn gather<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = Rc::clone(call.constant(0, "input")?);
    let rank = x.dims().len();
    let axis = call.axis(call.attributes.int("axis", 0)?, rank)?;
    let named = call.constant(1, "indices")?;
    let given = named
        .ints()
        .ok_or_else(|| call.place().invalid("its indices are too many"))?;
    let list = indices(call, &given, x.dims()[axis])?;
    let flat = picked(importer, call, &x, &[(axis, list)])?;
    let mut dims = x.dims().to_vec();
    dims.splice(axis..=axis, named.dims().iter().copied());
    flat.reshaped(&dims)
        .ok_or_else(|| call.place().unsupported())
}

fn concat<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let mut parts = Vec::new();
    for i in 0..call.inputs.len() {
        parts.push(array(importer, call, i)?);
    }
    let Some(first) = parts.first() else {
        return Err(call.place().invalid("it has no inputs"));
    };
    let rank = first.dims.len();
    let axis = call.axis(call.attributes.int("axis", 1)?, rank)?;
    let mut dims = first.dims.clone();
    let kind = first.kind;
    for part in &parts[1..] {
        let same = |a: usize| a == axis || part.dims[a] == dims[a];
        if part.dims.len() != rank || !(0..rank).all(same) {
            return Err(call.place().invalid("its inputs do not join"));
        }
    }
    let lengths: Vec<usize> = parts
        .iter()
        .map(|p| p.dims[axis..].iter().product())
        .collect();
    dims[axis] = parts.iter().map(|p| p.dims[axis]).sum();
    let outer: usize = dims[..axis].iter().product();
    let n = spend(importer, call, len_of(&dims))?;
    spend(importer, call, Some(outer))?;
    let mut values = Vec::with_capacity(n);
    for i in 0..outer {
        for (part, &len) in parts.iter().zip(&lengths) {
            values.extend_from_slice(&part.values[i * len..(i + 1) * len]);
        }
    }
    Ok(Constant::new(dims, kind, values))
}

fn split<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = Rc::clone(call.constant(0, "input")?);
    let axis = call.axis(call.attributes.int("axis", 0)?, x.dims().len())?;
    let mut start = 0;
    let mut outputs = Vec::new();
    for len in parts(call, x.dims()[axis])? {
        let list = (start..start + len).collect();
        outputs.push(picked(importer, call, &x, &[(axis, list)])?.into());
        start += len;
    }
    Ok(outputs)
}

fn expanded<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = Rc::clone(call.constant(0, "input")?);
    let list = call.constant(1, "shape")?.ints().unwrap_or_default();
    let asked = extents(call, &list)?;
    if call.op == "Tile" {
        if asked.len() != x.dims().len() {
            return Err(call.place().invalid("its repeats do not fit"));
        }
        let mut cuts = Vec::new();
        for (axis, (&n, &extent)) in asked.iter().zip(x.dims()).enumerate() {
            spend(importer, call, n.checked_mul(extent))?;
            cuts.push((axis, (0..n).flat_map(|_| 0..extent).collect()));
        }
        return picked(importer, call, &x, &cuts);
    }
    let dims = broadcast(x.dims(), &asked).ok_or_else(|| {
        let expected = format!("one that fits {:?}", x.dims());
        call.place()
            .refused("shape", format!("{asked:?}"), expected)
    })?;
    stretched(importer, call, 0, &dims).map(|values| Constant::new(dims, x.kind, values))
}

/// An input's elements, broadcast to `dims`.
fn stretched(
    importer: &mut Importer,
    call: &Call,
    index: usize,
    dims: &[usize],
) -> Result<Vec<f64>, ImportError> {
    spend(importer, call, len_of(dims))?;
    let array = array(importer, call, index)?;
    let missing = dims.len().saturating_sub(array.dims.len());
    let own = strides_of(&array.dims);
    let strides: Vec<usize> = (0..dims.len())
        .map(|i| match i.checked_sub(missing) {
            Some(j) if array.dims[j] != 1 => own[j],
            _ => 0,
        })
        .collect();
    let at = offsets(dims, &strides).into_iter();
    Ok(at
        .map(|i| array.values.get(i).copied().unwrap_or(0.0))
        .collect())
}

fn range<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let number = |i: usize| -> Result<f64, ImportError> {
        let single = call.constant(i, "bound")?.single();
        single.ok_or_else(|| call.place().invalid("a bound is not one number"))
    };
    let (start, limit, delta) = (number(0)?, number(1)?, number(2)?);
    let kind = call.constant(0, "start")?.kind;
    let steps = ((limit - start) / delta).ceil().max(0.0);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "at most MAX_FOLDED, and what is not finite is refused"
    )]
    {
        let n = Some(steps).filter(|s| s.is_finite() && *s <= MAX_FOLDED as f64);
        let n = spend(importer, call, n.map(|s| s as usize))?;
        let values = (0..n).map(|i| start + i as f64 * delta).collect();
        Ok(Constant::new(vec![n], kind, values))
    }
}

fn choose<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let mut dims = Vec::new();
    for i in 0..3 {
        dims = broadcast(&dims, call.constant(i, "input")?.dims())
            .ok_or_else(|| call.place().invalid("its shapes do not go together"))?;
    }
    let condition = stretched(importer, call, 0, &dims)?;
    let (yes, no) = (
        stretched(importer, call, 1, &dims)?,
        stretched(importer, call, 2, &dims)?,
    );
    let picks = condition.iter().zip(yes).zip(no);
    let values = picks
        .map(|((c, yes), no)| if *c == 0.0 { no } else { yes })
        .collect();
    Ok(Constant::new(dims, call.constant(1, "input")?.kind, values))
}

fn clip<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let mut x = array(importer, call, 0)?;
    let bound = |name: &str, index: usize| -> Result<Option<f64>, ImportError> {
        if let Some(value) = call.attributes.optional_float(name)? {
            return Ok(Some(f64::from(value)));
        }
        Ok(call
            .optional_constant(index, "bound")?
            .and_then(|c| c.single()))
    };
    let (low, high) = (bound("min", 1)?, bound("max", 2)?);
    for value in &mut x.values {
        *value = value
            .max(low.unwrap_or(f64::MIN))
            .min(high.unwrap_or(f64::MAX));
    }
    Ok(x.constant())
}

fn reduced<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = array(importer, call, 0)?;
    let rank = x.dims.len();
    let keep = call.attributes.flag("keepdims", true)?;
    let Some(axes) = reduce::axes(call, rank)? else {
        return Ok(x.constant());
    };
    let over = |a: &usize| axes.contains(a);
    let strides = strides_of(&x.dims);
    let part = |wanted: bool| {
        let axes: Vec<usize> = (0..rank).filter(|a| over(a) == wanted).collect();
        let dims: Vec<usize> = axes.iter().map(|&a| x.dims[a]).collect();
        let strides: Vec<usize> = axes.iter().map(|&a| strides[a]).collect();
        offsets(&dims, &strides)
    };
    let kept = (0..rank).filter(|a| !over(a)).map(|a| x.dims[a]);
    let kept: Vec<usize> = kept.collect();
    spend(importer, call, len_of(&kept))?;
    let (kept, inner) = (part(false), part(true));
    let count = inner.len() as f64;
    let values = kept.iter().map(|&from| {
        let values = inner.iter().map(|i| x.values[from + i]);
        match call.op {
            "ReduceProd" => values.product(),
            "ReduceSum" => values.sum(),
            "ReduceMean" => values.sum::<f64>() / count,
            "ReduceMin" => values.fold(f64::INFINITY, f64::min),
            "ReduceL1" => values.map(f64::abs).sum(),
            "ReduceL2" => values.map(|v| v * v).sum::<f64>().sqrt(),
            "ReduceSumSquare" => values.map(|v| v * v).sum(),
            _ => values.fold(f64::NEG_INFINITY, f64::max),
        }
    });
    let values: Vec<f64> = values.collect();
    let axes = (0..rank).filter(|a| keep || !over(a));
    let dims = axes.map(|a| if over(&a) { 1 } else { x.dims[a] }).collect();
    Ok(rounded(dims, x.kind, values))
}

/// Real numbers are f32 in the file, whole numbers whole: what is left of a quotient is cut off.
fn rounded<'a>(dims: Vec<usize>, kind: Kind, mut values: Vec<f64>) -> Constant<'a> {
    #[expect(clippy::cast_possible_truncation, reason = "the file computes in f32")]
    if kind == Kind::Float {
        for value in &mut values {
            *value = f64::from(*value as f32);
        }
    } else {
        for value in &mut values {
            *value = value.trunc();
        }
    }
    Constant::new(dims, kind, values)
}

fn unary<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let x = array(importer, call, 0)?;
    let function: fn(f64) -> f64 = match call.op {
        "Abs" => f64::abs,
        "Ceil" => f64::ceil,
        "Cos" => f64::cos,
        "Erf" => libm::erf,
        "Exp" => f64::exp,
        "Floor" => f64::floor,
        "Log" => f64::ln,
        "IsNaN" => |v| f64::from(u8::from(v.is_nan())),
        "Neg" => |v| -v,
        "Not" => |v| f64::from(u8::from(v == 0.0)),
        "Reciprocal" => |v| 1.0 / v,
        "Relu" => |v| v.max(0.0),
        "Round" => f64::round_ties_even,
        "Sign" => |v| if v == 0.0 { 0.0 } else { v.signum() },
        "Sigmoid" => |v| 1.0 / (1.0 + (-v).exp()),
        "Sin" => f64::sin,
        "Softplus" => |v| v.max(0.0) + (-v.abs()).exp().ln_1p(),
        "Sqrt" => f64::sqrt,
        "Tanh" => f64::tanh,
        "Gelu"
            if call
                .attributes
                .text("approximate")?
                .is_none_or(|a| a == "none") =>
        {
            |v| 0.5 * v * libm::erfc(-v / std::f64::consts::SQRT_2)
        }
        _ => return Err(call.place().unsupported()),
    };
    let values = x.values.into_iter().map(function).collect();
    let kind = match call.op {
        "IsNaN" | "Not" => Kind::Bool,
        _ => x.kind,
    };
    Ok(rounded(x.dims, kind, values))
}

/// Of two values, or of any number of them from left to right.
fn binary<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Constant<'a>, ImportError> {
    let remainder_of_c = call.op == "Mod" && call.attributes.flag("fmod", false)?;
    let kind = call.constant(0, "input")?.kind;
    let truth = |v: bool| f64::from(u8::from(v));
    let whole = kind != Kind::Float;
    let of = |a: f64, b: f64| -> Option<f64> {
        Some(match call.op {
            "Add" => a + b,
            "Sub" => a - b,
            "Mul" => a * b,
            "Div" if whole && b == 0.0 => return None,
            "Div" if whole => (a / b).trunc(),
            "Div" => a / b,
            "Mod" if b == 0.0 => return None,
            "Mod" if remainder_of_c => a % b,
            "Mod" => a - (a / b).floor() * b,
            "Pow" => a.powf(b),
            "Max" => a.max(b),
            "Min" => a.min(b),
            "Equal" => truth(a == b),
            "Greater" => truth(a > b),
            "GreaterOrEqual" => truth(a >= b),
            "Less" => truth(a < b),
            "LessOrEqual" => truth(a <= b),
            "And" => truth(a != 0.0 && b != 0.0),
            "Or" => truth(a != 0.0 || b != 0.0),
            "Xor" => truth((a != 0.0) != (b != 0.0)),
            _ => return None,
        })
    };
    let mut dims = call.constant(0, "input")?.dims().to_vec();
    for i in 1..call.inputs.len() {
        dims = broadcast(&dims, call.constant(i, "input")?.dims())
            .ok_or_else(|| call.place().invalid("its shapes do not go together"))?;
    }
    let mut values = stretched(importer, call, 0, &dims)?;
    for i in 1..call.inputs.len() {
        let others = stretched(importer, call, i, &dims)?;
        for (a, b) in values.iter_mut().zip(others) {
            *a = of(*a, b).ok_or_else(|| call.place().invalid("it divides by 0"))?;
        }
    }
    let kind = match call.op {
        "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "And" | "Or" | "Xor" => {
            Kind::Bool
        }
        _ => kind,
    };
    Ok(rounded(dims, kind, values))
}
