//! Joining values; and the copy, which joins one value.

use super::super::layout::{Join, move_ns};
use super::super::{
    Isa, KernelError, PreparedOp, byte_words, check_len, split, vector::kernel_name,
};
use crate::tensor::Shape;

/// Values joined along an axis, ready to run.
#[derive(Clone, Debug)]
pub struct ConcatF32 {
    isa: Isa,
    join: Join,
}

impl ConcatF32 {
    /// Prepares the concatenation of values of these shapes along `axis`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if there is no input, the axis does not exist, or the other
    /// extents differ.
    pub fn prepare(isa: Isa, shapes: &[Shape], axis: usize) -> Result<Self, KernelError> {
        let shapes: Vec<_> = shapes.iter().collect();
        let join = Join::prepare(&shapes, axis, size_of::<f32>())?;
        Ok(Self { isa, join })
    }
}

// SAFETY: a task writes its own stretches of the output, each from as many bytes of an input.
unsafe impl PreparedOp for ConcatF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "concat_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        self.join.input_lens()
    }

    fn output_len(&self) -> usize {
        byte_words(self.join.output_len())
    }

    fn tasks(&self, threads: usize) -> usize {
        self.join.tasks(threads, move_ns(self.join.output_len()))
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        self.join.for_each([task, tasks], |stretch| {
            // SAFETY: the stretch lies in the output and in its input, which are apart; each task
            // has its own stretches.
            unsafe {
                let from = inputs[stretch.input].cast::<u8>().add(stretch.from);
                let to = output.cast::<u8>().add(stretch.to);
                to.copy_from_nonoverlapping(from, stretch.len);
            }
        });
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
        let work_ns = move_ns(self.len * size_of::<f32>());
        split::tasks(threads, split::lines(self.len), work_ns)
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
    use crate::hint::Hint;
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
