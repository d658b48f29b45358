//! `FULLY_CONNECTED` and `BATCH_MATMUL`.

use super::super::call::{Call, Outputs, Value};
use super::super::constant::Constant;
use super::super::importer::Importer;
use crate::graph::{Dense, Epilogue, Op};
use crate::import::error::ImportError;
use crate::import::view::{View, offsets};
use crate::tensor::Shape;

/// Appends `x W + bias` over the last axis. The rows of the weights are put in the order in which
/// that axis lies in the graph, so that a flattened map is not transposed. `is_turned` if the weights
/// are `[out, in]`.
fn product<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
    x: &View,
    (weights, is_turned): (&Constant<'a>, bool),
    bias: Option<String>,
) -> Result<View, ImportError> {
    let last = x.rank().saturating_sub(1);
    let k = x.extent(last);
    let (rows, n) = match (weights.dims(), is_turned) {
        (&[n, rows], true) | (&[rows, n], false) => (rows, n),
        (dims, _) => {
            let shown = format!("{dims:?}");
            return Err(call.place().refused("weights", shown, "two axes"));
        }
    };
    if rows != k || n == 0 {
        let expected = if is_turned { [n, k] } else { [k, n] };
        return Err(ImportError::WeightShape {
            place: call.place().clone(),
            weight: "weights".into(),
            expected: Shape::new(&expected),
            got: Shape::new(weights.dims()),
        });
    }
    // The axis must be the innermost one; in which order its own parts lie does not matter.
    let mut x = x.clone();
    let stored = x.stored();
    let count = x.atoms(last).len();
    if stored[stored.len() - count..]
        .iter()
        .any(|s| s.axis != last)
    {
        x = importer.in_file_order(call, &x)?;
    }
    let stored = x.stored();
    let inner = &stored[stored.len() - x.atoms(last).len()..];
    let extents: Vec<usize> = inner.iter().map(|s| s.atom.extent).collect();
    let steps: Vec<usize> = inner.iter().map(|s| s.index).collect();
    let order = offsets(&extents, &steps);
    let form = format!("[in, out] {extents:?} {steps:?} {is_turned}");
    let source = |i: usize| {
        let (row, column) = (order[i / n], i % n);
        if is_turned {
            column * k + row
        } else {
            row * n + column
        }
    };
    let kernel = importer.kernel(call, (weights, &form), &[k, n], &source)?;
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
        kernel,
        bias,
        epilogue: Epilogue::default(),
    });
    let id = importer.push(call, None, op, &[input])?;
    Ok(x.with_innermost(id, last, n))
}

/// The input is flattened to rows as long as those of the weights.
pub(super) fn fully_connected<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    call.options.must_be_off(1, "weights_format")?;
    let keeps_axes = call.options.flag(2)?;
    // How weights of integers meet real numbers, and the type of a bias that is an integer.
    call.options.ignore(&[3, 4]);
    let weights = call.constant(1, "weights")?.clone();
    let &[n, k] = weights.dims() else {
        let shown = format!("{:?}", weights.dims());
        return Err(call.place().refused("weights", shown, "two axes"));
    };
    let mut x = call.view(0)?.clone();
    if !keeps_axes || x.extent(x.rank().saturating_sub(1)) != k {
        let rows = x.len().checked_div(k).filter(|rows| rows * k == x.len());
        let Some(rows) = rows else {
            return Err(ImportError::WeightShape {
                place: call.place().clone(),
                weight: "weights".into(),
                expected: Shape::new(&[n, x.len()]),
                got: Shape::new(weights.dims()),
            });
        };
        x = importer.reshape(call, &x, &[rows, k])?;
    }
    let bias = match call.optional_constant(2, "bias")?.cloned() {
        Some(bias) => Some(importer.vector(call, "bias", &bias, n)?),
        None => None,
    };
    let y = product(importer, call, &x, (&weights, true), bias)?;
    let y = importer.fused(call, &y, call.fused(0)?)?;
    Ok(vec![Value::View(y)])
}

/// The product over the last axis of the first and the last but one of the second.
pub(super) fn batch_mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'a>,
) -> Result<Outputs<'a>, ImportError> {
    // How weights of integers meet real numbers.
    call.options.ignore(&[2]);
    let turned = |slot: usize, x: &View| {
        let mut order: Vec<usize> = (0..x.rank()).collect();
        match order.as_mut_slice() {
            [.., a, b] if call.options.flag(slot)? => std::mem::swap(a, b),
            _ => {}
        }
        Ok::<_, ImportError>(x.transposed(&order))
    };
    let a = turned(0, call.view(0)?)?;
    if let Value::Constant(weights) = call.input(1)? {
        let dims = weights.dims();
        let at = dims.len().saturating_sub(2);
        let matrix = weights.reshaped(&dims[at..]);
        if let Some(matrix) = matrix.filter(|m| m.dims().len() == 2 && dims.len() <= a.rank()) {
            let is_turned = call.options.flag(1)?;
            let y = product(importer, call, &a, (&matrix, is_turned), None)?;
            return Ok(vec![Value::View(y)]);
        }
    }
    let b = match call.input(1)? {
        Value::Constant(weights) => importer.stored(call, weights)?,
        _ => call.view(1)?.clone(),
    };
    let b = turned(1, &b)?;
    let rank = a.rank().max(b.rank());
    if a.rank().min(b.rank()) < 2 {
        let shown = format!("{:?} and {:?}", a.dims(), b.dims());
        return Err(call.place().refused("shapes", shown, "at least two axes"));
    }
    let (a, b) = (a.with_rank(rank), b.with_rank(rank));
    let mut dims = Vec::new();
    for axis in 0..rank - 2 {
        dims.push(a.extent(axis).max(b.extent(axis)));
    }
    dims.extend([a.extent(rank - 2), b.extent(rank - 1)]);
    // The batch is left out, if there is one.
    let first = usize::from(rank > 2 && dims[0] == 1);
    let order: Vec<usize> = (first..rank).collect();
    let inputs = [
        importer.arrange(call, &a, &order)?,
        importer.arrange(call, &b, &order)?,
    ];
    let id = importer.push(call, None, Op::MatMul, &inputs)?;
    Ok(vec![Value::View(View::row_major(id, &dims))])
}
