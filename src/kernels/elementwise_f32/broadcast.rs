//! The order in which two operands are read under NumPy's broadcasting.

use super::super::{KernelError, check_len};
use crate::tensor::Shape;

/// Two operands and their result as rows and outer axes. A row is `inner` neighbouring elements of
/// the result; in it an operand advances by 1 or stands still. Axes that one step covers are
/// merged, so that equal shapes are one row, and `[H, W, C]` with `[C]` is one axis of rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::kernels) struct Broadcast {
    /// Elements of the operands.
    pub(in crate::kernels) lens: [usize; 2],
    /// Elements of the result.
    pub(in crate::kernels) len: usize,
    /// Whether operand 0 has the result's shape.
    pub(in crate::kernels) first_is_whole: bool,
    /// Result elements of a row.
    pub(in crate::kernels) inner: usize,
    /// By how much an operand advances in a row.
    pub(in crate::kernels) steps: [usize; 2],
    /// Outer axes, innermost first: extent, and by how much each operand advances.
    outer: Vec<(usize, [usize; 2])>,
}

impl Broadcast {
    pub(in crate::kernels) fn new(a: &Shape, b: &Shape) -> Result<Self, KernelError> {
        let rank = a.rank().max(b.rank());
        let extent = |s: &Shape, i: usize| (i + s.rank()).checked_sub(rank).map(|j| s.dims()[j]);
        // Innermost first.
        let mut axes: Vec<(usize, [usize; 2])> = Vec::new();
        let mut strides = [1_usize; 2];
        let mut len = 1_usize;
        let lens = [a, b].map(Shape::len);
        check_len("operand 0", lens[0])?;
        check_len("operand 1", lens[1])?;
        for i in (0..rank).rev() {
            let extents = [a, b].map(|s| extent(s, i).unwrap_or(1));
            let whole = extents[0].max(extents[1]);
            if extents.iter().any(|&e| e != 1 && e != whole) {
                return Err(KernelError::Geometry {
                    what: "pair of shapes",
                    got: format!("{a} and {b}"),
                    rule: "extents must be equal or 1, counted from the last axis",
                });
            }
            let mut step = [0; 2];
            for side in 0..2 {
                if extents[side] == whole {
                    step[side] = strides[side];
                    strides[side] *= whole;
                }
            }
            len = len.saturating_mul(whole);
            if whole == 1 {
                continue;
            }
            match axes.last_mut() {
                Some((inner, steps)) if (0..2).all(|s| step[s] == steps[s] * *inner) => {
                    *inner *= whole;
                }
                _ => axes.push((whole, step)),
            }
        }
        check_len("broadcast result", len)?;
        let (inner, steps) = if axes.is_empty() {
            (1, [1, 1])
        } else {
            axes.remove(0)
        };
        Ok(Self {
            lens,
            len,
            first_is_whole: lens[0] == len,
            inner,
            steps,
            outer: axes,
        })
    }

    /// The start of row `row` in each operand.
    #[inline(always)]
    pub(in crate::kernels) fn starts(&self, row: usize) -> [usize; 2] {
        if let [(_, steps)] = self.outer[..] {
            // The usual case, without a division.
            return steps.map(|step| step * row);
        }
        let mut rest = row;
        let mut starts = [0; 2];
        for &(extent, steps) in &self.outer {
            let at = rest % extent;
            rest /= extent;
            starts[0] += at * steps[0];
            starts[1] += at * steps[1];
        }
        starts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_merged_where_one_step_covers_them() {
        let of = |a: &[usize], b: &[usize]| Broadcast::new(&Shape::new(a), &Shape::new(b)).unwrap();
        let same = of(&[4, 5, 6], &[4, 5, 6]);
        assert_eq!((same.inner, same.steps, same.outer.len()), (120, [1, 1], 0));
        for channels in [&[6][..], &[1, 1, 6]] {
            let gate = of(&[4, 5, 6], channels);
            assert_eq!((gate.inner, gate.steps), (6, [1, 1]));
            assert_eq!(gate.outer, [(20, [6, 0])]);
        }
        let pixel = of(&[4, 5, 6], &[4, 5, 1]);
        assert_eq!((pixel.inner, pixel.steps), (6, [1, 0]));
        assert_eq!(pixel.outer, [(20, [6, 1])]);
        let scalar = of(&[], &[4, 5]);
        assert_eq!((scalar.inner, scalar.steps), (20, [0, 1]));
        assert!(!scalar.first_is_whole);
        assert_eq!(of(&[1], &[1, 1]).len, 1);
        assert!(Broadcast::new(&[4, 5].into(), &[4].into()).is_err());
        assert!(Broadcast::new(&[usize::MAX, 2].into(), &[1].into()).is_err());
        assert!(Broadcast::new(&[1 << 40, 1].into(), &[1, 1 << 40].into()).is_err());
    }
}
