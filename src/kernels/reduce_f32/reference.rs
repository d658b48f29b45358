//! Reductions, literally.

use super::Reduction;
use crate::tensor::Shape;

/// The elements along `axes` joined to one, in f64; the other axes keep their order.
#[must_use]
pub fn reduce_f32_reference(
    reduction: Reduction,
    input: &[f32],
    shape: &Shape,
    axes: &[usize],
) -> Vec<f64> {
    let dims = shape.dims();
    let kept = |axis: usize| !axes.contains(&axis);
    let len = (0..dims.len())
        .filter(|&axis| kept(axis))
        .map(|axis| dims[axis]);
    let mut joined: Vec<Vec<f64>> = vec![Vec::new(); len.product()];
    for (flat, &x) in input.iter().enumerate() {
        let mut rest = flat;
        let mut index = vec![0; dims.len()];
        for axis in (0..dims.len()).rev() {
            index[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        let axes = (0..dims.len()).filter(|&axis| kept(axis));
        let at = axes.fold(0, |at, axis| at * dims[axis] + index[axis]);
        joined[at].push(f64::from(x));
    }
    let result = joined.iter().map(|all| match reduction {
        Reduction::Mean => all.iter().sum::<f64>() / all.len() as f64,
        Reduction::Sum => all.iter().sum(),
        Reduction::Max => all.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        Reduction::L2 => all.iter().map(|x| x * x).sum::<f64>().sqrt(),
    });
    result.collect()
}
