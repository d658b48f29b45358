//! `Reduce*`: all elements along some axes become one.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use super::arithmetic::two;
use super::part::cut;
use crate::activation::Activation;
use crate::graph::{BinaryOp, Op, PoolKind, ReduceKind};
use crate::import::error::ImportError;
use crate::import::view::View;
use crate::tensor::Shape;

/// The axes of a reduction: an attribute before opset 13 or 18, an input since, or all. `None` if
/// nothing is reduced.
pub(in crate::import::onnx) fn axes(
    call: &Call,
    rank: usize,
) -> Result<Option<Vec<usize>>, ImportError> {
    let nothing = call.attributes.flag("noop_with_empty_axes", false)?;
    Ok(match call.list("axes", 1)? {
        Some(axes) if !axes.is_empty() => Some(call.axes(&axes, rank)?),
        _ if nothing => None,
        _ => Some((0..rank).collect()),
    })
}

pub(super) fn reduce<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let x = call.view(0)?.clone();
    let dims = x.dims();
    let keep = call.attributes.flag("keepdims", true)?;
    let Some(axes) = axes(call, dims.len())? else {
        return Ok(vec![Value::View(x)]);
    };
    let kind = match call.op {
        "ReduceMax" => ReduceKind::Max,
        "ReduceMean" => ReduceKind::Mean,
        "ReduceL2" => ReduceKind::L2,
        _ => ReduceKind::Sum,
    };
    let mut y = match call.op {
        "ReduceMin" => {
            let turned = importer.scaled(call, Some("turned"), &x, -1.0, 0.0)?;
            let most = joined(
                importer,
                call,
                Some("most"),
                &turned,
                &axes,
                ReduceKind::Max,
            )?;
            importer.scaled(call, None, &most, -1.0, 0.0)?
        }
        "ReduceL1" => {
            let size = importer.activation(call, Some("size"), &x, Activation::Abs)?;
            joined(importer, call, None, &size, &axes, kind)?
        }
        "ReduceSumSquare" => {
            let square = two(importer, call, Some("square"), BinaryOp::Mul, &x, &x)?;
            joined(importer, call, None, &square, &axes, kind)?
        }
        "ReduceLogSum" => {
            let sum = joined(importer, call, Some("sum"), &x, &axes, kind)?;
            importer.activation(call, None, &sum, Activation::Log)?
        }
        "ReduceProd" => multiplied(importer, call, &x, &axes)?,
        "ReduceLogSumExp" => log_sum_exp(importer, call, "joined", &x, &axes)?,
        _ => joined(importer, call, None, &x, &axes, kind)?,
    };
    if !keep {
        let rest: Vec<usize> = (0..dims.len())
            .filter(|a| !axes.contains(a))
            .map(|a| dims[a])
            .collect();
        y = importer.reshape(&call.site, &y, &rest)?;
    }
    Ok(vec![Value::View(y)])
}

/// Most elements that are multiplied with each other, a node each.
const MAX_FACTORS: usize = 64;

/// Appends the product of the elements along some axes, which stay, with one element.
fn multiplied(
    importer: &mut Importer,
    call: &Call,
    x: &View,
    axes: &[usize],
) -> Result<View, ImportError> {
    let mut y = x.clone();
    let count: usize = axes.iter().map(|&a| x.extent(a)).product();
    if count > MAX_FACTORS {
        let expected = format!("at most {MAX_FACTORS} elements to multiply");
        return Err(call.place().refused("axes", count, expected));
    }
    for &axis in axes {
        let all = y.clone();
        for i in 0..all.extent(axis) {
            let name = format!("axis{axis}/{i}");
            let part = cut(importer, call, Some(&name), &all, (axis, i, 1))?;
            y = if i == 0 {
                part
            } else {
                let name = format!("axis{axis}/product{i}");
                two(importer, call, Some(&name), BinaryOp::Mul, &y, &part)?
            };
        }
    }
    Ok(y)
}

/// Appends the logarithm of the sum of `e^x`; the axes stay, with one element.
pub(super) fn log_sum_exp(
    importer: &mut Importer,
    call: &Call,
    suffix: &str,
    x: &View,
    axes: &[usize],
) -> Result<View, ImportError> {
    let name = |part: &str| format!("{suffix}/{part}");
    // Exponents up to 0, which do not overflow.
    let most = joined(
        importer,
        call,
        Some(&name("most")),
        x,
        axes,
        ReduceKind::Max,
    )?;
    let less = two(importer, call, Some(&name("less")), BinaryOp::Sub, x, &most)?;
    let powers = importer.activation(call, Some(&name("powers")), &less, Activation::Exp)?;
    let sum = joined(
        importer,
        call,
        Some(&name("sum")),
        &powers,
        axes,
        ReduceKind::Sum,
    )?;
    let log = importer.activation(call, Some(&name("log")), &sum, Activation::Log)?;
    two(importer, call, Some(suffix), BinaryOp::Add, &log, &most)
}

/// Appends a reduction; the axes stay, with one element.
pub(super) fn joined(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    x: &View,
    axes: &[usize],
    kind: ReduceKind,
) -> Result<View, ImportError> {
    let dims = x.dims();
    let count: usize = axes.iter().map(|&a| dims[a]).product();
    if count == 1 {
        return match kind {
            ReduceKind::L2 => importer.activation(call, suffix, x, Activation::Abs),
            _ => Ok(x.clone()),
        };
    }
    if dims.len() == 4 && dims[0] == 1 && axes == [2, 3] && kind != ReduceKind::L2 {
        // A global pool, which heat maps and integer kernels know.
        let (id, _) = importer.image(call, x)?;
        let op = Op::GlobalPool {
            kind: match kind {
                ReduceKind::Max => PoolKind::Max,
                _ => PoolKind::Average,
            },
            keep_dims: true,
        };
        let is_sum = kind == ReduceKind::Sum;
        let pool = if is_sum { Some("mean") } else { suffix };
        let id = importer.push(call, pool, op, &[id])?;
        let y = View::ordered(id, &[1, dims[1], 1, 1], &[1]);
        let factor = if is_sum { count as f64 } else { 1.0 };
        return importer.scaled(call, suffix, &y, factor, 0.0);
    }
    let steps = x.stored();
    let extents: Vec<usize> = steps.iter().map(|step| step.atom.extent).collect();
    let shape = importer.graph.shape(x.id).clone();
    let long = shape.dims().iter().copied().filter(|&extent| extent != 1);
    // The value's own axes, if they are the parts of which the tensor's axes are made.
    let (id, over) = if long.eq(extents.iter().copied()) {
        let mut next = steps.iter();
        let mut over = Vec::new();
        for (axis, &extent) in shape.dims().iter().enumerate() {
            if extent != 1 && next.next().is_some_and(|step| axes.contains(&step.axis)) {
                over.push(axis);
            }
        }
        (x.id, over)
    } else {
        let shape = Shape::new(&extents);
        let id = importer
            .graph
            .reshape(&call.site, Some("axes"), x.id, shape)?;
        let over = (0..steps.len()).filter(|&i| axes.contains(&steps[i].axis));
        (id, over.collect())
    };
    let op = Op::Reduce {
        kind,
        axes: over,
        keep_dims: true,
    };
    let id = importer.push(call, suffix, op, &[id])?;
    let kept = steps.iter().filter(|step| !axes.contains(&step.axis));
    Ok(x.kept(id, kept))
}
