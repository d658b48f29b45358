//! Permuting axes.

use super::super::{Isa, KernelError, PreparedOp, check_len, split, vector::kernel_name};
use crate::tensor::Shape;

/// A transposition, ready to run.
///
/// Axes that stay next to each other are merged, so that a permutation that keeps the last axis
/// copies whole rows.
#[derive(Clone, Debug)]
pub struct TransposeF32 {
    isa: Isa,
    len: usize,
    /// Extent and input stride of each merged output axis, innermost first.
    axes: Vec<(usize, usize)>,
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
        let mut axes: Vec<(usize, usize)> = Vec::new();
        for &axis in permutation.iter().rev() {
            let (extent, step) = (input.dims()[axis], stride(axis));
            match axes.last_mut() {
                Some((inner, inner_step)) if step == *inner * *inner_step => *inner *= extent,
                _ => axes.push((extent, step)),
            }
        }
        if axes.is_empty() {
            axes.push((1, 1));
        }
        Ok(Self {
            isa,
            len: input.len(),
            axes,
        })
    }

    /// Rows: elements along the innermost axis of the output.
    fn rows(&self) -> usize {
        self.len / self.axes[0].0
    }
}

// SAFETY: a task writes its own elements; a permutation of the axes stays inside the input.
unsafe impl PreparedOp for TransposeF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "transpose_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.len]
    }

    fn output_len(&self) -> usize {
        self.len
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, self.rows(), self.len)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let (inner, step) = self.axes[0];
        for row in split::range(task, tasks, self.rows()) {
            let mut rest = row;
            let mut start = 0;
            for &(extent, step) in &self.axes[1..] {
                start += rest % extent * step;
                rest /= extent;
            }
            // SAFETY: indices below the extents, times strides, stay in the input; the row lies
            // in the output, and each task has its own rows.
            unsafe {
                let from = inputs[0].add(start);
                let to = output.add(row * inner);
                if step == 1 {
                    to.copy_from_nonoverlapping(from, inner);
                } else {
                    for i in 0..inner {
                        *to.add(i) = *from.add(i * step);
                    }
                }
            }
        }
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
        let permutations: [&[usize]; 12] = [
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
        ];
        for permutation in permutations {
            for dims in [[4, 3, 5, 2], [1, 7, 1, 3], [2, 2, 2, 2]] {
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
