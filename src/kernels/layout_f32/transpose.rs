//! Permuting axes.

use super::super::{Isa, KernelError, PreparedOp, check_len, split, vector::kernel_name};
use super::strided::Strided;
use crate::tensor::Shape;

/// A transposition, ready to run.
#[derive(Clone, Debug)]
pub struct TransposeF32 {
    isa: Isa,
    walk: Strided,
}

impl TransposeF32 {
    /// Prepares a transposition: output axis `i` is input axis `permutation[i]`.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] if `permutation` is not one of the input's axes, or for an empty
    /// or enormous value.
    pub fn prepare(isa: Isa, input: &Shape, permutation: &[usize]) -> Result<Self, KernelError> {
        let mut sorted = permutation.to_vec();
        sorted.sort_unstable();
        if sorted != (0..input.rank()).collect::<Vec<_>>() {
            return Err(KernelError::Geometry {
                what: "permutation",
                got: format!("{permutation:?} of {input}"),
                rule: "it must name each axis once",
            });
        }
        check_len("transposition", input.len())?;
        let stride = |axis: usize| input.dims()[axis + 1..].iter().product::<usize>();
        let axes = permutation.iter().rev();
        let axes = axes.map(|&axis| (input.dims()[axis], stride(axis)));
        Ok(Self {
            isa,
            walk: Strided::new(input.len(), 0, axes),
        })
    }
}

// SAFETY: a task writes its own elements; a permutation of the axes stays inside the input.
unsafe impl PreparedOp for TransposeF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "transpose_f32_row")
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

#[cfg(test)]
mod tests {
    use super::super::transpose_reference;
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;

    #[test]
    fn every_permutation_of_small_shapes() {
        let permutations: [&[usize]; 14] = [
            &[],
            &[0],
            &[1, 0],
            &[0, 1],
            &[0, 1, 2],
            &[0, 2, 1],
            &[1, 0, 2],
            &[1, 2, 0],
            &[2, 0, 1],
            &[2, 1, 0],
            &[3, 1, 0, 2],
            &[2, 3, 0, 1],
            &[4, 0, 2, 1, 3],
            &[0, 3, 5, 2, 1, 4],
        ];
        for permutation in permutations {
            for dims in [[4, 3, 5, 2, 3, 2], [1, 7, 1, 3, 2, 1], [2; 6]] {
                let shape = Shape::new(&dims[..permutation.len()]);
                let input = harness::numbers(8, shape.len());
                let op = TransposeF32::prepare(Isa::Portable, &shape, permutation).unwrap();
                let expected = transpose_reference(&input, &shape, permutation);
                harness::assert_bits(&harness::run(&op, &[&input]), &expected);
            }
        }
    }

    #[test]
    fn what_is_no_permutation_is_refused() {
        for bad in [&[0][..], &[0, 0], &[0, 2], &[0, 1, 2]] {
            let error = TransposeF32::prepare(Isa::Portable, &[3, 4].into(), bad).unwrap_err();
            assert_eq!(error.kind(), "geometry");
        }
    }
}
