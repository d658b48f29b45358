//! Means and maxima over axes.
//!
//! Over rows and columns of an image, this is a global pool. Any other run of neighbouring axes
//! becomes one axis of a reshaped value, with a window as wide as that axis.

use super::builder::{GraphBuilder, Site};
use super::error::ImportError;
use crate::graph::{NodeId, Op, Padding, PoolKind, Window};
use crate::tensor::Shape;

/// Appends the reduction of `x` over `axes`, which are sorted and do not count the batch axis. At
/// least one axis must remain.
pub(super) fn reduce(
    builder: &mut GraphBuilder,
    site: &Site,
    x: NodeId,
    (kind, axes): (PoolKind, &[usize]),
    keep_dims: bool,
) -> Result<NodeId, ImportError> {
    let from = builder.shape(x).clone();
    if from.rank() == 3 && axes == [0, 1] {
        return builder.push(site, None, Op::GlobalPool { kind, keep_dims }, &[x]);
    }
    let mut kept = from.dims().to_vec();
    for &axis in axes {
        kept[axis] = 1;
    }
    let target: Vec<usize> = if keep_dims {
        kept.clone()
    } else {
        let left = (0..from.rank()).filter(|axis| !axes.contains(axis));
        left.map(|axis| kept[axis]).collect()
    };
    if target.is_empty() {
        return Err(site
            .place
            .refused("axis", "all axes", "at least one axis that remains"));
    }
    let mut value = x;
    let mut dims = from.dims().to_vec();
    // Runs of neighbouring axes, the last first. The counts are equal, so the mean of means is the
    // mean.
    for (step, run) in runs(axes).into_iter().rev().enumerate() {
        let outer: usize = dims[..run.start].iter().product();
        let middle: usize = dims[run.clone()].iter().product();
        let inner: usize = dims[run.end..].iter().product();
        let name = |what: &str| format!("{what}{step}");
        let shape = Shape::new(&[outer, middle, inner]);
        value = builder.reshape(site, Some(&name("rows")), value, shape)?;
        let window = Window {
            kernel: [1, middle],
            strides: [1, middle],
            dilations: [1, 1],
            padding: Padding::default(),
        };
        let op = Op::Pool2d { kind, window };
        value = builder.push(site, Some(&name("pool")), op, &[value])?;
        dims[run].fill(1);
    }
    builder.push(
        site,
        None,
        Op::Reshape {
            shape: Shape::new(&target),
        },
        &[value],
    )
}

/// Sorted axes as runs of neighbours.
fn runs(axes: &[usize]) -> Vec<std::ops::Range<usize>> {
    let mut runs: Vec<std::ops::Range<usize>> = Vec::new();
    for &axis in axes {
        match runs.last_mut() {
            Some(run) if run.end == axis => run.end += 1,
            _ => runs.push(axis..axis + 1),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_axes_are_one_run() {
        let bounds = |axes: &[usize]| -> Vec<[usize; 2]> {
            runs(axes).iter().map(|run| [run.start, run.end]).collect()
        };
        assert_eq!(bounds(&[0, 1]), [[0, 2]]);
        assert_eq!(bounds(&[0, 2]), [[0, 1], [2, 3]]);
        assert_eq!(bounds(&[2]), [[2, 3]]);
    }
}
