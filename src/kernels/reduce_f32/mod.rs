//! Mean, sum, largest element and Euclidean norm over any axes, in f32.
//!
//! Sums are f64, from front to back, and are rounded once: the same bits on every tier and for every
//! number of tasks. Up to sixteen neighbouring elements of the result are computed side by side,
//! where the last axis stays. Not here: the mean of an image's rows and columns, which
//! `global_pool_f32` computes faster.

mod reference;

pub use reference::reduce_f32_reference;

use super::{Isa, KernelError, PreparedOp, check_len, split, vector::kernel_name};
use crate::tensor::Shape;

/// Elements of the result that are computed side by side.
const BLOCK: usize = 16;

/// What becomes of the elements that are joined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduction {
    /// Their mean.
    Mean,
    /// Their sum.
    Sum,
    /// The largest; NaN if any is.
    Max,
    /// The square root of the sum of their squares.
    L2,
}

/// An axis, or neighbouring ones that are walked as one.
#[derive(Clone, Copy, Debug)]
struct Axis {
    extent: usize,
    /// Floats of the input from an element to the next.
    stride: usize,
}

/// A reduction, ready to run.
#[derive(Clone, Debug)]
pub struct ReduceF32 {
    isa: Isa,
    reduction: Reduction,
    input_len: usize,
    output_len: usize,
    /// Neighbouring elements of the result that are neighbours in the input.
    inner: usize,
    /// The other axes that stay, innermost first.
    kept: Vec<Axis>,
    /// The axes that go, innermost first.
    joined: Vec<Axis>,
    /// Elements that one of the result is made of.
    count: usize,
}

impl ReduceF32 {
    /// Prepares the reduction of a value of shape `input` over `axes`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if an axis does not exist, or for an empty or enormous value.
    pub fn prepare(
        isa: Isa,
        reduction: Reduction,
        input: &Shape,
        axes: &[usize],
    ) -> Result<Self, KernelError> {
        check_len("reduction", input.len())?;
        if axes.iter().any(|&axis| axis >= input.rank()) {
            return Err(KernelError::Geometry {
                what: "reduced axes",
                got: format!("{axes:?} of {input}"),
                rule: "the input must have them",
            });
        }
        let (mut kept, mut joined): (Vec<Axis>, Vec<Axis>) = (Vec::new(), Vec::new());
        let mut stride = 1;
        let mut inner = 1;
        for (axis, &extent) in input.dims().iter().enumerate().rev() {
            let goes = axes.contains(&axis);
            if extent == 1 {
                continue;
            }
            if !goes && stride == inner {
                // Only axes that stay are further in.
                inner *= extent;
            } else {
                let list = if goes { &mut joined } else { &mut kept };
                match list.last_mut() {
                    Some(last) if last.extent * last.stride == stride => last.extent *= extent,
                    _ => list.push(Axis { extent, stride }),
                }
            }
            stride *= extent;
        }
        let count = joined.iter().map(|axis| axis.extent).product();
        Ok(Self {
            isa,
            reduction,
            input_len: input.len(),
            output_len: input.len() / count,
            inner,
            kept,
            joined,
            count,
        })
    }
}

/// How far an element is from the first one.
#[inline(always)]
fn offset(axes: &[Axis], mut index: usize) -> usize {
    if let [axis] = axes {
        return index * axis.stride;
    }
    let mut offset = 0;
    for axis in axes {
        offset += index % axis.extent * axis.stride;
        index /= axis.extent;
    }
    offset
}

// SAFETY: a task writes its own elements of the output; indices below the extents, times strides,
// stay in the input.
unsafe impl PreparedOp for ReduceF32 {
    fn kernel_name(&self) -> &'static str {
        match self.reduction {
            Reduction::Mean => kernel_name!(self.isa, "reduce_mean_f32_16"),
            Reduction::Sum => kernel_name!(self.isa, "reduce_sum_f32_16"),
            Reduction::Max => kernel_name!(self.isa, "reduce_max_f32_16"),
            Reduction::L2 => kernel_name!(self.isa, "reduce_l2_f32_16"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.input_len]
    }

    fn output_len(&self) -> usize {
        self.output_len
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, split::lines(self.output_len), self.input_len)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let range = split::elements(task, tasks, self.output_len);
        let mut at = range.start;
        while at < range.end {
            let (row, column) = (at / self.inner, at % self.inner);
            let len = BLOCK.min(self.inner - column).min(range.end - at);
            // SAFETY: the block's elements lie side by side in the output, and those that they are
            // made of side by side in the input; each task has its own.
            unsafe {
                let from = inputs[0].add(offset(&self.kept, row) + column);
                let to = std::slice::from_raw_parts_mut(output.add(at), len);
                match self.reduction {
                    Reduction::Mean => {
                        let count = self.count as f64;
                        self.block(from, to, 0.0, |sum, x| sum + x, |sum| sum / count);
                    }
                    Reduction::Sum => self.block(from, to, 0.0, |sum, x| sum + x, |sum| sum),
                    Reduction::L2 => {
                        self.block(from, to, 0.0, |sum, x| sum + x * x, f64::sqrt);
                    }
                    Reduction::Max => {
                        let most =
                            |most: f64, x: f64| if most >= x || most.is_nan() { most } else { x };
                        self.block(from, to, f64::NEG_INFINITY, most, |most| most);
                    }
                }
            }
            at += len;
        }
    }
}

impl ReduceF32 {
    /// Up to sixteen neighbouring elements of the result.
    ///
    /// # Safety
    /// `from` is where the first element of the first one lies in the input, and `to.len()`
    /// neighbours of each of its elements do as well.
    #[inline(always)]
    unsafe fn block(
        &self,
        from: *const f32,
        to: &mut [f32],
        start: f64,
        join: impl Fn(f64, f64) -> f64,
        finish: impl Fn(f64) -> f64,
    ) {
        let mut sums = [start; BLOCK];
        for i in 0..self.count {
            // SAFETY: the caller's bounds.
            let row =
                unsafe { std::slice::from_raw_parts(from.add(offset(&self.joined, i)), to.len()) };
            for (sum, &x) in sums.iter_mut().zip(row) {
                *sum = join(*sum, f64::from(x));
            }
        }
        for (to, sum) in to.iter_mut().zip(sums) {
            #[expect(clippy::cast_possible_truncation, reason = "rounded once")]
            {
                *to = finish(sum) as f32;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    const ALL: [Reduction; 4] = [
        Reduction::Mean,
        Reduction::Sum,
        Reduction::Max,
        Reduction::L2,
    ];

    fn check(reduction: Reduction, shape: &Shape, axes: &[usize]) {
        let input = harness::numbers(4, shape.len());
        let expected = reduce_f32_reference(reduction, &input, shape, axes);
        let op = ReduceF32::prepare(Isa::Portable, reduction, shape, axes).unwrap();
        let got = harness::run(&op, &[&input]);
        // Rounded once; sums in f64 lose nothing that counts.
        harness::assert_close(&got, &expected, |i| {
            2.0_f64.powi(-24) * (expected[i].abs() + 1e-6)
        });
    }

    #[test]
    fn every_set_of_axes_equals_the_reference() {
        for dims in [[4, 3, 5, 2], [1, 7, 1, 33], [3, 1, 18, 1]] {
            for set in 0..16_usize {
                let axes: Vec<usize> = (0..4).filter(|axis| set >> axis & 1 == 1).collect();
                for reduction in ALL {
                    check(reduction, &dims.into(), &axes);
                }
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(60))]

        #[test]
        fn any_shape_equals_the_reference(
            dims in proptest::collection::vec(1_usize..6, 1..7),
            set in 0_usize..64,
            which in 0_usize..4,
        ) {
            let axes: Vec<usize> = (0..dims.len()).filter(|axis| set >> axis & 1 == 1).collect();
            check(ALL[which], &Shape::new(&dims), &axes);
        }
    }

    #[test]
    fn nan_shows_and_axes_that_are_not_there_are_refused() {
        for reduction in ALL {
            for at in 0..3 {
                let mut input = [1.0, 2.0, 3.0];
                input[at] = f32::NAN;
                let op = ReduceF32::prepare(Isa::Portable, reduction, &[3].into(), &[0]).unwrap();
                assert!(
                    harness::run(&op, &[&input])[0].is_nan(),
                    "{reduction:?} {at}"
                );
            }
            for (dims, axes) in [(&[3][..], &[1][..]), (&[0], &[0]), (&[usize::MAX, 2], &[0])] {
                let shape = Shape::new(dims);
                let error = ReduceF32::prepare(Isa::Portable, reduction, &shape, axes);
                assert_eq!(error.unwrap_err().kind(), "geometry");
            }
        }
    }
}
