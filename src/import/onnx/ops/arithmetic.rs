//! Arithmetic of two values, or of a value and a constant.

use std::rc::Rc;

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, Kind};
use super::super::importer::Importer;
use crate::activation::Activation;
use crate::graph::{BinaryOp, NodeId, Op};
use crate::import::error::ImportError;
use crate::import::functions;
use crate::import::view::{View, broadcast};

/// `Add`, `Sub`, `Mul`, `Div`
pub(super) fn binary<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let kind = match call.op {
        "Add" => BinaryOp::Add,
        "Sub" => BinaryOp::Sub,
        "Mul" => BinaryOp::Mul,
        _ => BinaryOp::Div,
    };
    let y = match (call.input(0)?, call.input(1)?) {
        (Value::View(a), Value::View(b)) => two(importer, call, None, kind, a, b)?,
        (Value::View(x), Value::Constant(c)) => constant(importer, call, None, kind, x, c, false)?,
        (Value::Constant(c), Value::View(x)) => constant(importer, call, None, kind, x, c, true)?,
        _ => return Err(call.place().unsupported()),
    };
    Ok(vec![Value::View(y)])
}

/// `Sum`, `Mean`, `Max`, `Min` of any number of values.
pub(super) fn variadic<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let kind = match call.op {
        "Max" => BinaryOp::Max,
        "Min" => BinaryOp::Min,
        _ => BinaryOp::Add,
    };
    let n = call.inputs.len();
    let mut views = Vec::new();
    let mut constants = Vec::new();
    for i in 0..n {
        match call.input(i)? {
            Value::View(view) => views.push(view),
            Value::Constant(constant) => constants.push(constant),
            Value::Missing => return Err(call.place().unsupported()),
        }
    }
    let Some((&first, rest)) = views.split_first() else {
        return Err(call.place().unsupported());
    };
    let mut y = first.clone();
    let mut left = n - 1;
    let is_mean = call.op == "Mean";
    for &next in rest {
        left -= 1;
        let suffix = (left > 0 || is_mean).then(|| format!("step{left}"));
        y = two(importer, call, suffix.as_deref(), kind, &y, next)?;
    }
    for next in constants {
        left -= 1;
        let suffix = (left > 0 || is_mean).then(|| format!("step{left}"));
        y = constant(importer, call, suffix.as_deref(), kind, &y, next, false)?;
    }
    if is_mean {
        y = importer.scaled(call, None, &y, 1.0 / n as f64, 0.0)?;
    }
    Ok(vec![Value::View(y)])
}

/// Appends an operation of two values.
pub(super) fn two(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    kind: BinaryOp,
    a: &View,
    b: &View,
) -> Result<View, ImportError> {
    if let Some(y) = silu(importer, call, suffix, kind, a, b)? {
        return Ok(y);
    }
    let (inputs, lies) = paired(importer, call, a, b)?;
    let op = Op::Binary {
        kind,
        activation: Activation::Linear,
    };
    let id = importer.push(call, suffix, op, &inputs)?;
    Ok(lies.of(id))
}

/// `x * sigmoid(x)`, which has a function of its own. The sigmoid is left for other readers.
fn silu(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    kind: BinaryOp,
    a: &View,
    b: &View,
) -> Result<Option<View>, ImportError> {
    if kind != BinaryOp::Mul || !a.lies_as(b) {
        return Ok(None);
    }
    for (x, gate) in [(a, b), (b, a)] {
        let node = importer.graph.node(gate.id);
        let is_sigmoid = matches!(node.op, Op::Activation(Activation::Sigmoid));
        if is_sigmoid && node.inputs == [x.id] {
            return importer
                .activation(call, suffix, x, Activation::Silu)
                .map(Some);
        }
    }
    Ok(None)
}

/// Two values of the graph that broadcast to each other as the tensors do, and how the result
/// lies.
fn paired(
    importer: &mut Importer,
    call: &Call,
    a: &View,
    b: &View,
) -> Result<([NodeId; 2], View), ImportError> {
    let same_shape = importer.graph.shape(a.id) == importer.graph.shape(b.id);
    if a.lies_as(b) && same_shape {
        return Ok(([a.id, b.id], a.clone()));
    }
    let dims = broadcast(&a.dims(), &b.dims()).ok_or_else(|| {
        let message = format!(
            "shapes {:?} and {:?} do not go together",
            a.dims(),
            b.dims()
        );
        call.place().invalid(message)
    })?;
    let (a, b) = (a.with_rank(dims.len()), b.with_rank(dims.len()));
    if a.dims() == dims {
        let [x, y] = follow(importer, call, &a, &b)?;
        return Ok(([x, y], a));
    }
    if b.dims() == dims {
        let [y, x] = follow(importer, call, &b, &a)?;
        return Ok(([x, y], b));
    }
    // Both are stretched: images lie as images do, all else as in the file.
    let order: Vec<usize> = match dims.len() {
        4 => vec![0, 2, 3, 1],
        rank => (0..rank).collect(),
    };
    let groups: Vec<&[usize]> = order.chunks(1).collect();
    let x = importer.arrange(&call.site, &a, &groups)?;
    let y = importer.arrange(&call.site, &b, &groups)?;
    Ok(([x, y], View::ordered(x, &dims, &order)))
}

/// The values of a leader as it lies, and of a follower that is put in the leader's order.
fn follow(
    importer: &mut Importer,
    call: &Call,
    leader: &View,
    follower: &View,
) -> Result<[NodeId; 2], ImportError> {
    // The follower gets an axis for each part of the leader's.
    let mut parts = Vec::new();
    for axis in 0..leader.rank() {
        let atoms = leader.atoms(axis);
        if follower.extent(axis) == 1 {
            parts.extend(atoms.iter().map(|atom| (atom.stride, 1, atom.extent)));
        } else {
            parts.extend(atoms.iter().map(|a| (a.stride, a.extent, a.extent)));
        }
    }
    let split: Vec<usize> = parts.iter().map(|&(_, extent, _)| extent).collect();
    let follower = importer.reshape(&call.site, follower, &split)?;
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(parts[i].0));
    // Neighbours that are both whole or both stretched, and follow each other in the follower as
    // in the leader, could be one axis; kernels find that out.
    let groups: Vec<&[usize]> = order.chunks(1).collect();
    let shape = importer.graph.shape(leader.id).clone();
    let full: Vec<usize> = order.iter().map(|&i| parts[i].2).collect();
    let mut x = leader.id;
    let mut y = importer.arrange(&call.site, &follower, &groups)?;
    if shape.dims() != full {
        // Axes of one element stay where the leader has them.
        let long = |d: &[usize]| d.iter().copied().filter(|&n| n != 1).collect::<Vec<_>>();
        if long(shape.dims()) == long(&full) {
            let mut extents = order.iter().map(|&i| parts[i].1);
            let mut next = |d: &usize| {
                if *d == 1 {
                    1
                } else {
                    extents.next().unwrap_or(1)
                }
            };
            let dims: Vec<usize> = shape.dims().iter().map(&mut next).collect();
            let shape = crate::tensor::Shape::new(&dims);
            y = importer
                .graph
                .reshape(&call.site, Some("shape"), y, shape)?;
        } else {
            let shape = crate::tensor::Shape::new(&full);
            x = importer.graph.reshape(&call.site, Some("axes"), x, shape)?;
        }
    }
    Ok([x, y])
}

/// Appends `x op constant`, or `constant op x` if the constant is `first`.
fn constant<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    suffix: Option<&str>,
    kind: BinaryOp,
    x: &View,
    constant: &Rc<Constant<'a>>,
    first: bool,
) -> Result<View, ImportError> {
    let dims = broadcast(&x.dims(), constant.dims());
    let rank = constant.dims().len().max(x.rank());
    let x = x.with_rank(rank);
    let stretches = dims.as_deref() != Some(&x.dims()[..]);
    let bounds = matches!(kind, BinaryOp::Max | BinaryOp::Min) && constant.len() != 1;
    if stretches || bounds || (kind == BinaryOp::Div && first && constant.len() != 1) {
        let name = suffix.map_or("constant".to_owned(), |s| format!("{s}/constant"));
        let constant = importer.stored(call, &name, constant)?;
        let (a, b) = if first {
            (&constant, &x)
        } else {
            (&x, &constant)
        };
        return two(importer, call, suffix, kind, a, b);
    }
    let flat = constant
        .reshaped(&[constant.len()])
        .ok_or_else(|| call.place().invalid("its constant has too many elements"))?;
    let value = |at: usize| flat.at(&[at]);
    let one = |_: usize| 1.0;
    let none = |_: usize| 0.0;
    let minus = |_: usize| -1.0;
    let negated = |at: usize| -value(at);
    let inverse = |at: usize| 1.0 / value(at);
    let (scale, shift): (&dyn Fn(usize) -> f64, &dyn Fn(usize) -> f64) = match (kind, first) {
        (BinaryOp::Add, _) => (&one, &value),
        (BinaryOp::Sub, false) => (&one, &negated),
        (BinaryOp::Sub, true) => (&minus, &value),
        (BinaryOp::Mul, _) => (&value, &none),
        (BinaryOp::Div, false) => (&inverse, &none),
        (BinaryOp::Div, true) => {
            let y = importer.activation(call, Some("inverse"), &x, Activation::Reciprocal)?;
            return importer.scaled(call, suffix, &y, value(0), 0.0);
        }
        (BinaryOp::Max | BinaryOp::Min, _) => {
            let bound = value(0);
            let (low, high) = match kind {
                BinaryOp::Max => (Some(bound), None),
                _ => (None, Some(bound)),
            };
            return bounded(importer, call, &x, low, high);
        }
    };
    importer.affine(call, suffix, &x, (constant.dims(), scale, shift))
}

/// Bounds farther from 0 are compared with: moving a value there and back would round it.
const FAR: f64 = 8.0;

/// Appends `min(max(x, low), high)` as comparisons with stored numbers.
fn compared(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    low: Option<f64>,
    high: Option<f64>,
) -> Result<View, ImportError> {
    // What begins at 0 has a function of its own.
    if low == Some(0.0)
        && let Some(function) = functions::clip(low, high)
    {
        return importer.activation(call, None, x, function);
    }
    let mut y = x.clone();
    for (name, bound, kind) in [("low", low, BinaryOp::Max), ("high", high, BinaryOp::Min)] {
        if let Some(bound) = bound {
            let constant = Constant::scalar(Kind::Float, bound);
            let constant = importer.stored(call, name, &constant)?;
            let suffix = (name == "low" && high.is_some()).then_some("bounded");
            y = two(importer, call, suffix, kind, &y, &constant)?;
        }
    }
    Ok(y)
}

/// Appends `min(max(x, low), high)`.
pub(super) fn bounded(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    low: Option<f64>,
    high: Option<f64>,
) -> Result<View, ImportError> {
    if [low, high].iter().flatten().any(|bound| bound.abs() > FAR) {
        return compared(importer, call, x, low, high);
    }
    if let (Some(low), Some(high)) = (low, high)
        && low > high
    {
        let shown = format!("{low} to {high}");
        return Err(call.place().refused("bounds", shown, "the lower one first"));
    }
    match (low, high) {
        (None, None) => Ok(x.clone()),
        (Some(low), high) => {
            let shifted = importer.scaled(call, Some("from_low"), x, 1.0, -low)?;
            let width = high.map(|high| high - low);
            let function = functions::clip(Some(0.0), width)
                .ok_or_else(|| call.place().refused("bounds", low, "a range"))?;
            let suffix = (low != 0.0).then_some("bounded");
            let y = importer.activation(call, suffix, &shifted, function)?;
            importer.scaled(call, None, &y, 1.0, low)
        }
        (None, Some(high)) => {
            let below = importer.scaled(call, Some("below_high"), x, -1.0, high)?;
            let y = importer.activation(call, Some("bounded"), &below, Activation::Relu)?;
            importer.scaled(call, None, &y, -1.0, high)
        }
    }
}

/// A value to a constant power, or a constant to the power of a value.
#[expect(clippy::float_cmp, reason = "exponents are exact values")]
pub(super) fn pow<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    if let (Value::Constant(base), Value::View(x)) = (call.input(0)?, call.input(1)?) {
        let fits = base.dims().len() <= x.rank();
        let Some(base) = base.single().filter(|&base| base > 0.0 && fits) else {
            return Err(call
                .place()
                .refused("base", "a list", "one positive number"));
        };
        let x = importer.scaled(call, Some("scaled"), x, base.ln(), 0.0)?;
        let y = importer.activation(call, None, &x, Activation::Exp)?;
        return Ok(vec![y.into()]);
    }
    let x = call.view(0)?;
    let Some(exponent) = call.constant(1, "exponent")?.single() else {
        return Err(call.place().refused("exponent", "a list", "one number"));
    };
    let exponent = functions::narrow(exponent);
    let y = if exponent == 1.0 {
        x.clone()
    } else if exponent == 2.0 {
        two(importer, call, None, BinaryOp::Mul, x, x)?
    } else if exponent == 3.0 {
        let square = two(importer, call, Some("square"), BinaryOp::Mul, x, x)?;
        two(importer, call, None, BinaryOp::Mul, &square, x)?
    } else {
        let function = if exponent == 0.5 {
            Activation::Sqrt
        } else if exponent == -1.0 {
            Activation::Reciprocal
        } else {
            Activation::Pow { exponent }
        };
        importer.activation(call, None, x, function)?
    };
    Ok(vec![Value::View(y)])
}
