//! Parts of a value: slices along all axes, and elements that are named one by one.

use super::super::layout::move_ns;
use super::super::{Isa, KernelError, PreparedOp, check_len, split, vector::kernel_name};
use super::strided::Strided;
use crate::tensor::Shape;

/// What is taken along an axis: `start`, `start + step`, ... below `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stride {
    /// The first element.
    pub start: usize,
    /// One past the last that may be taken.
    pub end: usize,
    /// From an element to the next.
    pub step: usize,
}

/// A slice, ready to run.
#[derive(Clone, Debug)]
pub struct SliceF32 {
    isa: Isa,
    walk: Strided,
}

impl SliceF32 {
    /// Prepares what `strides`, one for each axis, take of a value of shape `input`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if they do not fit the input or take nothing.
    pub fn prepare(isa: Isa, input: &Shape, strides: &[Stride]) -> Result<Self, KernelError> {
        check_len("slice input", input.len())?;
        let fits = |(stride, &extent): (&Stride, &usize)| {
            stride.start < stride.end && stride.end <= extent && stride.step > 0
        };
        if strides.len() != input.rank() || !strides.iter().zip(input.dims()).all(fits) {
            return Err(KernelError::Geometry {
                what: "slice",
                got: format!("{strides:?} of {input}"),
                rule: "each axis must have the elements, and steps be positive",
            });
        }
        let mut whole = 1;
        let mut start = 0;
        let mut axes = Vec::with_capacity(strides.len());
        for (stride, &extent) in strides.iter().zip(input.dims()).rev() {
            let taken = (stride.end - stride.start).div_ceil(stride.step);
            start += stride.start * whole;
            // With one element taken, the step leads nowhere and may be any number.
            axes.push((taken, whole.saturating_mul(stride.step)));
            whole *= extent;
        }
        Ok(Self {
            isa,
            walk: Strided::new(input.len(), start, axes.into_iter()),
        })
    }
}

// SAFETY: a task writes its own rows of the output; `prepare` checked that each axis has the elements
// that are taken.
unsafe impl PreparedOp for SliceF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "slice_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.walk.input_len()]
    }

    fn output_len(&self) -> usize {
        self.walk.output_len()
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.walk.rows(), self.walk.output_len())
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        // SAFETY: the caller's contract is that of `Strided::copy`.
        unsafe { self.walk.copy([task, tasks], inputs[0], output) }
    }
}

/// Elements along an axis, ready to be taken.
#[derive(Clone, Debug)]
pub struct GatherF32 {
    isa: Isa,
    /// Product of the extents in front of the axis.
    outer: usize,
    /// The axis' extent.
    extent: usize,
    /// Product of the extents behind the axis.
    inner: usize,
    indices: Vec<usize>,
}

impl GatherF32 {
    /// Prepares the elements `indices` along `axis` of a value of shape `input`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if the axis or an element of it does not exist, or for an empty or
    /// enormous result.
    pub fn prepare(
        isa: Isa,
        input: &Shape,
        axis: usize,
        indices: &[usize],
    ) -> Result<Self, KernelError> {
        check_len("gathered input", input.len())?;
        let extent = input.dims().get(axis).copied();
        let Some(extent) = extent.filter(|&extent| indices.iter().all(|&i| i < extent)) else {
            return Err(KernelError::Geometry {
                what: "gathered axis",
                got: format!("{axis} of {input}"),
                rule: "the input must have it, and all elements that are asked for",
            });
        };
        let rest = input.len() / extent;
        check_len("gathered elements", rest.saturating_mul(indices.len()))?;
        Ok(Self {
            isa,
            outer: input.dims()[..axis].iter().product(),
            extent,
            inner: input.dims()[axis + 1..].iter().product(),
            indices: indices.to_vec(),
        })
    }
}

// SAFETY: a task writes its own chunks of the output, each from a chunk of the input that `prepare`
// checked.
unsafe impl PreparedOp for GatherF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "gather_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.outer * self.extent * self.inner]
    }

    fn output_len(&self) -> usize {
        self.outer * self.indices.len() * self.inner
    }

    fn tasks(&self, threads: usize) -> usize {
        let chunks = self.outer * self.indices.len();
        let work_ns = move_ns(self.output_len() * size_of::<f32>()) + chunks;
        split::tasks(threads, chunks, work_ns)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let taken = self.indices.len();
        for chunk in split::range(task, tasks, self.outer * taken) {
            let from = chunk / taken * self.extent + self.indices[chunk % taken];
            // SAFETY: both chunks exist, in memory that is apart; each task has its own.
            unsafe {
                output
                    .add(chunk * self.inner)
                    .copy_from_nonoverlapping(inputs[0].add(from * self.inner), self.inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{gather_reference, slice_reference};
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    fn check(shape: &Shape, strides: &[Stride]) {
        let input = harness::numbers(3, shape.len());
        let op = SliceF32::prepare(Isa::Portable, shape, strides).unwrap();
        let expected = slice_reference(&input, shape, strides);
        harness::assert_bits(&harness::run(&op, &[&input]), &expected);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100))]

        #[test]
        fn any_slice_equals_the_reference(
            axes in proptest::collection::vec((1_usize..7, 0_usize..6, 1_usize..7, 1_usize..4), 1..7),
        ) {
            let dims: Vec<_> = axes.iter().map(|axis| axis.0).collect();
            let strides: Vec<_> = axes
                .iter()
                .map(|&(extent, start, len, step)| {
                    let start = start % extent;
                    Stride { start, end: (start + len).min(extent), step }
                })
                .collect();
            check(&Shape::new(&dims), &strides);
        }

        #[test]
        fn any_gathering_equals_the_reference(
            dims in proptest::collection::vec(1_usize..6, 1..5),
            axis in 0_usize..4,
            indices in proptest::collection::vec(0_usize..100, 1..9),
        ) {
            let axis = axis % dims.len();
            let indices: Vec<_> = indices.iter().map(|i| i % dims[axis]).collect();
            let shape = Shape::new(&dims);
            let input = harness::numbers(5, shape.len());
            let op = GatherF32::prepare(Isa::Portable, &shape, axis, &indices).unwrap();
            let expected = gather_reference(&input, &shape, axis, &indices);
            harness::assert_bits(&harness::run(&op, &[&input]), &expected);
        }
    }

    #[test]
    fn one_element_may_be_taken_with_any_step() {
        let stride = |start, step| Stride {
            start,
            end: start + 1,
            step,
        };
        check(
            &[3, 5].into(),
            &[stride(2, usize::MAX), stride(4, usize::MAX)],
        );
    }

    #[test]
    fn parts_that_are_not_there_are_refused() {
        let stride = |start, end, step| Stride { start, end, step };
        for strides in [
            &[][..],
            &[stride(0, 3, 1)],
            &[stride(0, 3, 1), stride(0, 5, 1)],
            &[stride(0, 3, 1), stride(2, 2, 1)],
            &[stride(0, 3, 1), stride(0, 4, 0)],
            &[stride(0, usize::MAX, 1), stride(0, 4, 1)],
        ] {
            let error = SliceF32::prepare(Isa::Portable, &[3, 4].into(), strides);
            assert_eq!(error.unwrap_err().kind(), "geometry", "{strides:?}");
        }
        for (axis, indices) in [(2, &[0][..]), (0, &[3]), (1, &[0, 4]), (0, &[])] {
            let error = GatherF32::prepare(Isa::Portable, &[3, 4].into(), axis, indices);
            assert_eq!(error.unwrap_err().kind(), "geometry", "{axis} {indices:?}");
        }
    }
}
