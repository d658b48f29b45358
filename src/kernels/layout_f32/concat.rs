//! Joining values, and the copy, which joins one.

use super::super::{Isa, KernelError, PreparedOp, check_len, split, vector::kernel_name};
use super::move_ns;
use crate::tensor::Shape;

/// Values joined along an axis, ready to run.
#[derive(Clone, Debug)]
pub struct ConcatF32 {
    isa: Isa,
    /// Chunks of each input: the product of the axes before.
    outer: usize,
    /// Floats of one chunk of each input.
    chunks: Vec<usize>,
    /// Their sum.
    row: usize,
}

impl ConcatF32 {
    /// Prepares the concatenation of values of these shapes along `axis`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if there is no input, the axis does not exist, or the other
    /// extents differ.
    pub fn prepare(isa: Isa, shapes: &[Shape], axis: usize) -> Result<Self, KernelError> {
        let refuse = |rule| KernelError::Geometry {
            what: "concatenation",
            got: format!("{shapes:?} along axis {axis}"),
            rule,
        };
        let Some(first) = shapes.first() else {
            return Err(refuse("it needs an input"));
        };
        if axis >= first.rank() {
            return Err(refuse("the inputs must have the axis"));
        }
        let mut total = 0_usize;
        for shape in shapes {
            let same = shape.rank() == first.rank()
                && (0..first.rank()).all(|i| i == axis || shape.dims()[i] == first.dims()[i]);
            if !same {
                return Err(refuse("extents must be equal on the other axes"));
            }
            check_len("concatenation input", shape.len())?;
            total = total.saturating_add(shape.len());
        }
        check_len("concatenation", total)?;
        let outer = first.dims()[..axis].iter().product();
        let chunks: Vec<_> = shapes.iter().map(|s| s.len() / outer).collect();
        Ok(Self {
            isa,
            outer,
            row: chunks.iter().sum(),
            chunks,
        })
    }
}

// SAFETY: a task writes its own elements, each from the input's element of the same place.
unsafe impl PreparedOp for ConcatF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "concat_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        self.chunks.iter().map(|chunk| chunk * self.outer).collect()
    }

    fn output_len(&self) -> usize {
        self.outer * self.row
    }

    fn tasks(&self, threads: usize) -> usize {
        let len = self.output_len();
        split::tasks(threads, split::lines(len), move_ns(len))
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = split::elements(task, tasks, self.output_len());
        let (start, end) = (part.start, part.end);
        for row in start / self.row..end.div_ceil(self.row) {
            let mut at = row * self.row;
            for (&chunk, &input) in self.chunks.iter().zip(inputs) {
                // The part of this chunk in `start..end`.
                let (from, to) = (at.max(start), (at + chunk).min(end));
                if from < to {
                    // SAFETY: the part lies in the output and in the input's chunk `row`; each
                    // task has its own elements.
                    unsafe {
                        let source = input.add(row * chunk + (from - at));
                        output.add(from).copy_from_nonoverlapping(source, to - from);
                    }
                }
                at += chunk;
            }
        }
    }
}

/// A copy (a reshape that is not elided), ready to run.
#[derive(Clone, Debug)]
pub struct CopyF32 {
    isa: Isa,
    len: usize,
}

impl CopyF32 {
    /// Prepares the copy of `len` elements.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value.
    pub fn prepare(isa: Isa, len: usize) -> Result<Self, KernelError> {
        check_len("copy", len)?;
        Ok(Self { isa, len })
    }
}

// SAFETY: a task reads and writes its own elements of `len`.
unsafe impl PreparedOp for CopyF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "copy_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.len]
    }

    fn output_len(&self) -> usize {
        self.len
    }

    fn in_place(&self) -> bool {
        true
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, split::lines(self.len), move_ns(self.len))
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        if inputs[0] == output.cast_const() {
            return;
        }
        let part = split::elements(task, tasks, self.len);
        // SAFETY: the part lies in both, which are apart; each task has its own.
        unsafe {
            output
                .add(part.start)
                .copy_from_nonoverlapping(inputs[0].add(part.start), part.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::concat_reference;
    use super::*;
    use crate::kernels::harness;

    #[test]
    fn any_axis_and_number_of_inputs() {
        for axis in 0..3 {
            for extents in [&[1][..], &[3, 1], &[2, 40, 7], &[5, 5, 5, 5]] {
                let shapes: Vec<_> = extents
                    .iter()
                    .map(|&e| {
                        let mut dims = [4, 3, 19];
                        dims[axis] = e;
                        Shape::new(&dims)
                    })
                    .collect();
                let inputs: Vec<_> = shapes
                    .iter()
                    .enumerate()
                    .map(|(i, s)| harness::numbers(i as u64, s.len()))
                    .collect();
                let inputs: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
                let op = ConcatF32::prepare(Isa::Portable, &shapes, axis).unwrap();
                let expected = concat_reference(&shapes, &inputs, axis);
                harness::assert_bits(&harness::run(&op, &inputs), &expected);
            }
        }
    }

    #[test]
    fn inputs_that_do_not_join_are_refused() {
        let shape = |dims: &[usize]| Shape::new(dims);
        for (shapes, axis) in [
            (vec![], 0),
            (vec![shape(&[2, 3])], 2),
            (vec![shape(&[2, 3]), shape(&[3, 3])], 1),
            (vec![shape(&[2, 3]), shape(&[2, 3, 1])], 1),
            (vec![shape(&[2, 0])], 1),
            (vec![shape(&[usize::MAX, 2])], 1),
        ] {
            let error = ConcatF32::prepare(Isa::Portable, &shapes, axis).unwrap_err();
            assert_eq!(error.kind(), "geometry", "{shapes:?}");
        }
    }

    #[test]
    fn a_copy_is_the_same() {
        for len in [1, 15, 16, 17, 1000] {
            let x = harness::numbers(1, len);
            let op = CopyF32::prepare(Isa::Portable, len).unwrap();
            harness::assert_bits(&harness::run(&op, &[&x]), &x);
        }
    }
}
