//! Conversions between f32 values and the bytes that represent them.
//!
//! Quantizing divides by the scale, as ONNX's `QuantizeLinear` does: `round_half_even(x / scale)`,
//! moved by the zero point, saturating; NaN becomes the zero point. Dequantizing is `scale * (q -
//! zero_point)`. Both equal [`Quantization::quantize`] and [`Quantization::dequantize`] bit for bit
//! on every tier; those are the reference.

use super::requantize::{ToByte, check};
use super::vector::{Kernel, Vector, dispatch, kernel_name};
use super::{Isa, KernelError, PreparedOp, byte_words, check_len, split};
use crate::activation::Activation;
use crate::quantization::Quantization;

/// f32 to u8, ready to run.
#[derive(Clone, Debug)]
pub struct QuantizeI8 {
    isa: Isa,
    len: usize,
    scale: f32,
    to_byte: ToByte,
    zero_point: f32,
}

impl QuantizeI8 {
    /// Prepares the quantization of `len` numbers.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value, or an impossible scale.
    pub fn prepare(isa: Isa, len: usize, output: Quantization) -> Result<Self, KernelError> {
        check_len("quantized value", len)?;
        Ok(Self {
            isa,
            len,
            scale: output.scale,
            to_byte: ToByte::of(Activation::Linear, output)?,
            zero_point: f32::from(output.zero_point),
        })
    }
}

// SAFETY: a task reads and writes its own elements of `len`.
unsafe impl PreparedOp for QuantizeI8 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "quantize_i8_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.len]
    }

    fn output_len(&self) -> usize {
        byte_words(self.len)
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, split::byte_lines(self.len), self.len / 2)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = split::bytes(task, tasks, self.len);
        // SAFETY: the part lies in both, and each task has its own.
        unsafe {
            let row = QuantizeRow {
                op: self,
                from: inputs[0].add(part.start),
                to: output.cast::<u8>().add(part.start),
                len: part.len(),
            };
            dispatch(self.isa, row);
        }
    }
}

/// `len` numbers to read and bytes to write.
struct QuantizeRow<'a> {
    op: &'a QuantizeI8,
    from: *const f32,
    to: *mut u8,
    len: usize,
}

impl Kernel for QuantizeRow<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let op = self.op;
        let mut at = 0;
        // SAFETY: what is read and written lies in the row; `V` fits the CPU.
        unsafe {
            let scale = V::broadcast(op.scale);
            let (zero, low) = (V::broadcast(0.0), V::broadcast(-op.zero_point));
            let least = V::broadcast(f32::NEG_INFINITY);
            while at < self.len {
                let lanes = V::LANES.min(self.len - at);
                let whole = lanes == V::LANES;
                let x = if whole {
                    V::load(self.from.add(at))
                } else {
                    V::load_first(self.from.add(at), lanes)
                };
                let steps = x.div(scale);
                // NaN is not above anything, so it becomes 0. Any other number that is not above
                // `low` becomes `low`.
                let not_above = low.where_greater(zero.sub(steps), least, zero);
                let bytes = op
                    .to_byte
                    .numbers(steps.where_greater(steps, low, not_above));
                if whole {
                    bytes.store_u8(self.to.add(at));
                } else {
                    bytes.store_first_u8(self.to.add(at), lanes);
                }
                at += lanes;
            }
        }
    }
}

/// u8 to f32, ready to run.
#[derive(Clone, Debug)]
pub struct DequantizeI8 {
    isa: Isa,
    len: usize,
    input: Quantization,
}

impl DequantizeI8 {
    /// Prepares the dequantization of `len` bytes.
    ///
    /// # Errors
    /// [`KernelError::Geometry`] for an empty or enormous value, or an impossible scale.
    pub fn prepare(isa: Isa, len: usize, input: Quantization) -> Result<Self, KernelError> {
        check_len("dequantized value", len)?;
        check("input quantization", input)?;
        Ok(Self { isa, len, input })
    }
}

// SAFETY: a task reads and writes its own elements of `len`.
unsafe impl PreparedOp for DequantizeI8 {
    fn kernel_name(&self) -> &'static str {
        kernel_name!(self.isa, "dequantize_i8_row")
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.len)]
    }

    fn output_len(&self) -> usize {
        self.len
    }

    fn tasks(&self, threads: usize) -> usize {
        split::tasks(threads, split::lines(self.len), self.len / 4)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let part = split::elements(task, tasks, self.len);
        // SAFETY: the part lies in both, and each task has its own.
        unsafe {
            let row = DequantizeRow {
                input: self.input,
                from: inputs[0].cast::<u8>().add(part.start),
                to: output.add(part.start),
                len: part.len(),
            };
            dispatch(self.isa, row);
        }
    }
}

/// `len` bytes to read and numbers to write.
struct DequantizeRow {
    input: Quantization,
    from: *const u8,
    to: *mut f32,
    len: usize,
}

impl Kernel for DequantizeRow {
    type Output = ();

    #[inline(always)]
    unsafe fn run<V: Vector>(self) {
        let mut at = 0;
        // SAFETY: what is read and written lies in the row; `V` fits the CPU.
        unsafe {
            let scale = V::broadcast(self.input.scale);
            let zero_point = V::broadcast(f32::from(self.input.zero_point));
            while at + V::LANES <= self.len {
                let q = V::load_u8(self.from.add(at));
                scale.mul(q.sub(zero_point)).store(self.to.add(at));
                at += V::LANES;
            }
            if at < self.len {
                let q = V::load_first_u8(self.from.add(at), self.len - at);
                let x = scale.mul(q.sub(zero_point));
                x.store_first(self.to.add(at), self.len - at);
            }
        }
    }
}

#[cfg(test)]
mod tests;
