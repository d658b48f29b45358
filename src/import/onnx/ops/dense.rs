//! `Gemm` and `MatMul`: with a matrix of weights, or of two values.

use std::rc::Rc;

use super::super::call::{Call, Outputs, Value};
use super::super::constant::{Constant, offsets};
use super::super::importer::Importer;
use super::arithmetic;
use crate::graph::{BinaryOp, Dense, Epilogue, Op};
use crate::import::error::ImportError;
use crate::import::view::{View, broadcast};
use crate::tensor::Shape;

/// The node's own name, and what its weights are called.
const PLAIN: (Option<&str>, &str) = (None, "kernel");

/// Appends `x W` over the last axis, times `alpha`. The rows of the weights are put in the order
/// in which that axis lies in the graph, so that a flattened map is not transposed.
pub(super) fn product<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    (suffix, name): (Option<&str>, &str),
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
    let (id, x) = importer.innermost(call, x, &[last])?;
    let stored = x.stored();
    let inner = &stored[stored.len() - x.atoms(last).len()..];
    let extents: Vec<usize> = inner.iter().map(|s| s.atom.extent).collect();
    let steps: Vec<usize> = inner.iter().map(|s| s.index).collect();
    let order = offsets(&extents, &steps);
    let kernel = importer.kernel(call, name, weights, Some(&order), alpha)?;
    let m = x.len() / k;
    let shape = if m == 1 {
        Shape::new(&[k])
    } else {
        Shape::new(&[m, k])
    };
    let input = importer
        .graph
        .reshape(&call.site, Some("rows"), id, shape)?;
    let op = Op::Dense(Dense {
        units: n,
        kernel,
        bias,
        epilogue: Epilogue::default(),
    });
    let id = importer.push(call, suffix, op, &[input])?;
    Ok(x.with_innermost(id, last, n))
}

/// Appends the product of two values over the last axis of the first and the last but one of the
/// second. Axes in front of those are broadcast.
pub(super) fn product_of_values(
    importer: &mut Importer,
    call: &Call,
    suffix: Option<&str>,
    a: &View,
    b: &View,
) -> Result<View, ImportError> {
    let wrong = || {
        let message = format!(
            "shapes {:?} and {:?} cannot be multiplied",
            a.dims(),
            b.dims()
        );
        call.place().invalid(message)
    };
    let rank = a.rank().max(b.rank());
    if a.rank().min(b.rank()) < 2 {
        return Err(wrong());
    }
    let (a, b) = (a.with_rank(rank), b.with_rank(rank));
    let (of_a, of_b) = (a.dims(), b.dims());
    let outer = rank - 2;
    let mut dims = broadcast(&of_a[..outer], &of_b[..outer]).ok_or_else(wrong)?;
    if of_a[rank - 1] != of_b[outer] {
        return Err(wrong());
    }
    // The batch axis, and others of one element in front.
    let first = dims.iter().take_while(|&&d| d == 1).count();
    let axes: Vec<usize> = (first..rank).collect();
    let groups: Vec<&[usize]> = axes.chunks(1).collect();
    let left = importer.arrange(&call.site, &a, &groups)?;
    let right = importer.arrange(&call.site, &b, &groups)?;
    let id = importer.push(call, suffix, Op::MatMul, &[left, right])?;
    dims.extend([of_a[outer], of_b[rank - 1]]);
    Ok(View::row_major(id, &dims))
}

/// `alpha * A * B + beta * C`
pub(super) fn gemm<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let (first, second) = (call.input(0)?.dims(), call.input(1)?.dims());
    if first.len() != 2 || second.len() != 2 {
        let shown = format!("{first:?} and {second:?}");
        return Err(call.place().refused("shapes", shown, "two matrices"));
    }
    let alpha = call.attributes.float("alpha", 1.0)?;
    let beta = call.attributes.float("beta", 1.0)?;
    let turned = |view: View, turn: bool| if turn { view.transposed(&[1, 0]) } else { view };
    let turn_first = call.attributes.flag("transA", false)?;
    let turn_second = call.attributes.flag("transB", false)?;
    let (Value::View(x), Value::Constant(weights)) = (call.input(0)?, call.input(1)?) else {
        let a = turned(importer.value(call, 0)?, turn_first);
        let b = turned(importer.value(call, 1)?, turn_second);
        let y = product_of_values(importer, call, Some("product"), &a, &b)?;
        let y = importer.scaled(call, Some("alpha"), &y, f64::from(alpha), 0.0)?;
        return added(importer, call, y, beta);
    };
    let x = turned(x.clone(), turn_first);
    let mut weights = Rc::clone(weights);
    if turn_second {
        weights = Rc::new(weights.transposed(&[1, 0]));
    }
    let n = weights.dims()[1];
    let plain = match call.optional(2) {
        Some(Value::Constant(bias)) => Some(bias).filter(|bias| {
            let (long, others) = bias.dims().split_last().unwrap_or((&1, &[]));
            *long == n && others.iter().all(|&d| d == 1)
        }),
        _ => None,
    };
    if let Some(bias) = plain
        && beta == 1.0
    {
        let bias = importer.vector(call, "bias", bias, n)?;
        let y = product(importer, call, PLAIN, &x, &weights, (alpha, Some(bias)))?;
        return Ok(vec![Value::View(y)]);
    }
    let y = product(importer, call, PLAIN, &x, &weights, (alpha, None))?;
    added(importer, call, y, beta)
}

/// Appends the third input, times `beta`, to a product.
fn added<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
    y: View,
    beta: f32,
) -> Result<Outputs<'a>, ImportError> {
    let y = match call.optional(2) {
        Some(_) if beta == 0.0 => y,
        None => y,
        Some(Value::Constant(bias)) => {
            let values = bias.values().ok_or_else(|| {
                call.place()
                    .invalid("its third input has too many elements")
            })?;
            let value = |at: usize| values[at] * f64::from(beta);
            importer.affine(call, Some("bias"), &y, (bias.dims(), &|_| 1.0, &value))?
        }
        Some(Value::View(bias)) => {
            let bias = importer.scaled(call, Some("beta"), bias, f64::from(beta), 0.0)?;
            arithmetic::two(importer, call, None, BinaryOp::Add, &y, &bias)?
        }
        Some(Value::Missing) => return Err(call.place().unsupported()),
    };
    Ok(vec![Value::View(y)])
}

/// Over the last axis of the first and the last but one of the second.
pub(super) fn mat_mul<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let y = match (call.input(0)?, call.input(1)?) {
        (Value::View(x), Value::Constant(w)) => {
            let (Some(w), 1..) = (matrix(w, x.rank()), x.rank()) else {
                return of_values(importer, call);
            };
            product(importer, call, PLAIN, x, &w, (1.0, None))?
        }
        (Value::Constant(w), Value::View(x)) => {
            let (Some(w), 2..) = (matrix(w, x.rank()), x.rank()) else {
                return of_values(importer, call);
            };
            // The turned product is that of the turned factors.
            let mut turn: Vec<usize> = (0..x.rank()).collect();
            turn.swap(x.rank() - 1, x.rank() - 2);
            let w = w.transposed(&[1, 0]);
            product(importer, call, PLAIN, &x.transposed(&turn), &w, (1.0, None))?.transposed(&turn)
        }
        _ => return of_values(importer, call),
    };
    Ok(vec![Value::View(y)])
}

/// A constant as a matrix, if its other axes have one element and the product gets no more axes
/// than the value it meets has.
fn matrix<'a>(constant: &Constant<'a>, rank: usize) -> Option<Constant<'a>> {
    let dims = constant.dims();
    let at = dims.len().checked_sub(2)?;
    let single = dims[..at].iter().all(|&d| d == 1);
    (single && dims.len() <= rank.max(2)).then(|| constant.reshaped(&dims[at..]))?
}

/// The product of two values, of which a list stands for a row or a column.
fn of_values<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    let mut a = importer.value(call, 0)?;
    let mut b = importer.value(call, 1)?;
    let (row, column) = (a.rank() == 1, b.rank() == 1);
    if row {
        a = a.with_rank(2);
    }
    if column {
        b = b.with_rank(2).transposed(&[1, 0]);
    }
    let mut y = product_of_values(importer, call, None, &a, &b)?;
    if row || column {
        let mut dims = y.dims();
        if column {
            dims.pop();
        }
        if row {
            dims.remove(dims.len() - usize::from(!column) - 1);
        }
        y = importer.reshape(&call.site, &y, &dims)?;
    }
    Ok(vec![Value::View(y)])
}
