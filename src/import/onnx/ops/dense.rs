//! `Gemm` and `MatMul` with a matrix of weights.

use std::rc::Rc;

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, offsets};
use super::super::importer::Importer;
use super::super::view::View;
use crate::graph::{Dense, Epilogue, Kernel, Op};
use crate::import::error::ImportError;
use crate::tensor::Shape;

/// Appends `x W` over the last axis, times `alpha`. The rows of the weights are put in the order
/// in which that axis lies in the graph, so that a flattened map is not transposed.
fn product<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    x: &View,
    weights: &Constant<'a>,
    (alpha, bias): (f32, Option<String>),
) -> Result<View, ImportError> {
    let last = x.rank().saturating_sub(1);
    let k = x.extent(last);
    let &[rows, n] = weights.dims() else {
        let shown = format!("{:?}", weights.dims());
        return Err(call.place().refused("weights", shown, "two axes"));
    };
    if rows != k || n == 0 {
        return Err(ImportError::WeightShape {
            place: call.place().clone(),
            weight: "weights".into(),
            expected: Shape::new(&[k, n]),
            got: Shape::new(weights.dims()),
        });
    }
    // The axis must be the innermost one; in which order its own parts lie does not matter.
    let count = x.atoms(last).len();
    let mut x = x.clone();
    let stored = x.stored();
    if stored[stored.len() - count..]
        .iter()
        .any(|s| s.axis != last)
    {
        x = importer.in_file_order(&call.site, &x)?;
    }
    let stored = x.stored();
    let inner = &stored[stored.len() - x.atoms(last).len()..];
    let extents: Vec<usize> = inner.iter().map(|s| s.atom.extent).collect();
    let steps: Vec<usize> = inner.iter().map(|s| s.index).collect();
    let order = offsets(&extents, &steps);
    let form = format!("[in, out] {extents:?} {steps:?} {alpha}");
    let kernel = importer.weight(call, "kernel", (weights, &form), &[k, n], &mut |into| {
        for (&row, to) in order.iter().zip(into.chunks_exact_mut(n)) {
            for (column, to) in to.iter_mut().enumerate() {
                *to = weights.weight(&[row, column]) * alpha;
            }
        }
    })?;
    let m = x.len() / k;
    let shape = if m == 1 {
        Shape::new(&[k])
    } else {
        Shape::new(&[m, k])
    };
    let input = importer
        .graph
        .reshape(&call.site, Some("rows"), x.id, shape)?;
    let op = Op::Dense(Dense {
        units: n,
        kernel: Kernel::plain(kernel),
        bias,
        epilogue: Epilogue::default(),
    });
    let id = importer.push(call, None, op, &[input])?;
    Ok(x.with_innermost(id, last, n))
}

/// `alpha * A * B + beta * C`
pub(super) fn gemm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut x = call.view(0)?.clone();
    let mut weights = Rc::clone(call.constant(1, "matrix")?);
    if x.rank() != 2 || weights.dims().len() != 2 {
        let shown = format!("{:?} and {:?}", x.dims(), weights.dims());
        return Err(call.place().refused("shapes", shown, "two matrices"));
    }
    let alpha = call.attributes.float("alpha", 1.0)?;
    let beta = call.attributes.float("beta", 1.0)?;
    if call.attributes.flag("transA", false)? {
        x = x.transposed(&[1, 0]);
    }
    if call.attributes.flag("transB", false)? {
        weights = Rc::new(weights.transposed(&[1, 0]));
    }
    let n = weights.dims()[1];
    let added = call.optional_constant(2, "bias")?.cloned();
    let plain = added.as_ref().filter(|bias| {
        let (long, others) = bias.dims().split_last().unwrap_or((&1, &[]));
        *long == n && others.iter().all(|&d| d == 1)
    });
    if let Some(bias) = plain
        && beta == 1.0
    {
        let bias = importer.vector(call, "bias", bias, n)?;
        let y = product(importer, call, &x, &weights, (alpha, Some(bias)))?;
        return Ok(vec![Value::View(y)]);
    }
    let mut y = product(importer, call, &x, &weights, (alpha, None))?;
    if let Some(added) = added
        && beta != 0.0
    {
        let values = added.values().ok_or_else(|| {
            call.place()
                .invalid("its third input has too many elements")
        })?;
        let value = |at: usize| values[at] * f64::from(beta);
        y = importer.affine(call, Some("bias"), &y, (added.dims(), &|_| 1.0, &value))?;
    }
    Ok(vec![Value::View(y)])
}

/// The product over the last axis of the first and the last but one of the second.
pub(super) fn mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let two = || {
        call.refused(
            "both sides of the product are not a value and a matrix of weights",
            "attention is not supported: use a convolutional network",
        )
    };
    let (Value::View(x), Value::Constant(weights)) = (call.input(0)?, call.input(1)?) else {
        return Err(two());
    };
    // Leading axes of one element change nothing, except the rank of the result.
    let dims = weights.dims();
    let Some(at) = dims.len().checked_sub(2) else {
        return Err(two());
    };
    if dims[..at].iter().any(|&d| d != 1) || x.rank() == 0 || dims.len() > x.rank().max(2) {
        return Err(two());
    }
    let weights = weights.reshaped(&dims[at..]).ok_or_else(two)?;
    let y = product(importer, call, x, &weights, (1.0, None))?;
    Ok(vec![Value::View(y)])
}
