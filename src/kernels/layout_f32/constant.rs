//! A stored tensor as a value.

use super::super::layout::move_ns;
use super::super::{
    Isa, KernelError, PreparedOp, check_len, check_tensor, split, vector::kernel_name,
};
use crate::tensor::Tensor;

/// A copy of a stored tensor, ready to run. It has no inputs.
#[derive(Clone, Debug)]
pub struct ConstantF32 {
    isa: Isa,
    tensor: Tensor,
}

impl ConstantF32 {
    /// Prepares a value that is `tensor`, which must be f32.
    ///
    /// # Errors
    /// [`KernelError`] for a tensor of another type, or an empty one.
    pub fn prepare(isa: Isa, tensor: &Tensor) -> Result<Self, KernelError> {
        check_len("constant", tensor.shape().len())?;
        check_tensor("constant", tensor, tensor.shape().dims())?;
        let tensor = tensor.clone();
        Ok(Self { isa, tensor })
    }
}

// SAFETY: a task writes its own elements, of as many as the tensor has.
unsafe impl PreparedOp for ConstantF32 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "constant_f32_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        Vec::new()
    }

    fn output_len(&self) -> usize {
        self.tensor.shape().len()
    }

    fn tasks(&self, threads: usize) -> usize {
        let work_ns = move_ns(self.output_len() * size_of::<f32>());
        split::tasks(threads, split::lines(self.output_len()), work_ns)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        _inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let Some(values) = self.tensor.as_f32() else {
            unreachable!("`prepare` checked the dtype")
        };
        let part = split::elements(task, tasks, values.len());
        let values = &values[part.clone()];
        // SAFETY: the part lies in the output; each task has its own.
        unsafe {
            output
                .add(part.start)
                .copy_from_nonoverlapping(values.as_ptr(), values.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::kernels::harness;
    use crate::tensor::DType;

    #[test]
    fn a_constant_is_its_tensor() {
        for len in [1, 15, 16, 17, 1000] {
            let x = harness::numbers(1, len);
            let tensor = Tensor::from_f32([len], &x).unwrap();
            let op = ConstantF32::prepare(Isa::Portable, &tensor).unwrap();
            harness::assert_bits(&harness::run(&op, &[]), &x);
        }
        let integers = Tensor::from_bytes(DType::I32, [1], vec![0; 4]).unwrap();
        let error = ConstantF32::prepare(Isa::Portable, &integers).unwrap_err();
        assert_eq!(error.kind(), "tensor_dtype");
    }
}
