//! Depthwise convolution of a quantized `HWC` image: each channel has its own filter.
//!
//! Sums are exact 32-bit integers, whatever the tile and the instruction set, so that every tier
//! gives the same bytes:
//!
//! ```text
//! sum = bias[c] + sum over all taps of x * w[tap, c]     x: the input's byte, the zero point outside
//! q   = round_half_even(clamp(float(sum) * multiplier[c])) + zero_point,
//!       multiplier[c] = scale_in * weight_scale[c] / scale_out
//! ```
//!
//! The bias includes the correction for the input's zero point, `-zero_in * sum of w[.., c]`. It is
//! also right for taps outside, because `x` is the zero point there. ReLU on load takes the larger
//! of byte and zero point. If the activation is a curve, `q` is the byte of the curve's value at
//! `float(sum) * scale_in * weight_scale[c]`. If it is neither a curve nor a clamp, a table maps
//! the byte afterwards.
//!
//! Weights: `[kh, kw, c rounded up to 16]` i8, symmetric, with a scale for each channel.

mod any;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod reference;
#[cfg(target_arch = "x86_64")]
mod square;

pub use reference::depthwise_i8_reference;

use super::requantize::{ToByte, check, of_product};
use super::table_i8::{self, Table};
use super::vector::{dispatch, kernel_name};
use super::{
    Isa, KernelError, PreparedOp, SlidingWindow, byte_words, check_tensor, check_typed, split,
};
use crate::activation::Activation;
use crate::quantization::Quantization;
use crate::tensor::{DType, PANEL, Tensor};

/// The parameters of a depthwise convolution of a quantized image.
#[derive(Clone, Debug)]
pub struct DepthwiseI8Params {
    /// The input and the taps.
    pub window: SlidingWindow,
    /// `[kh, kw, c rounded up to 16]` i8.
    pub weights: Tensor,
    /// `[c rounded up to 16]` f32: the value of one step of a channel's weights.
    pub weight_scale: Tensor,
    /// `[c rounded up to 16]` i32, in steps of `input.scale * weight_scale`, with the correction
    /// for the input's zero point.
    pub bias: Tensor,
    /// Quantization of the input.
    pub input: Quantization,
    /// Applied to each input element as it is loaded: `Linear` or `Relu`.
    pub input_activation: Activation,
    /// Quantization of the requantized sums: the result's, or that of the table's input.
    pub output: Quantization,
    /// A clamp (`Linear`, `Relu` or `Relu6`) or a [`crate::activation::curve::Curve`].
    pub activation: Activation,
    /// Applied to the requantized bytes.
    pub table: Option<Table>,
}

/// A depthwise convolution of a quantized image, ready to run.
pub struct DepthwiseI8 {
    isa: Isa,
    window: SlidingWindow,
    output: [usize; 2],
    weights: Tensor,
    bias: Vec<i32>,
    multipliers: Vec<f32>,
    /// The pixel that is read outside the input: all zero points.
    outside: Vec<u8>,
    /// Smaller bytes are raised to this one on load.
    low: u8,
    to_byte: ToByte,
    table: Option<Table>,
    /// The packed weights, if the tier has tiles for the window.
    packed: Option<Box<dyn PackedWindow>>,
}

/// A window's weights in the order in which a tier's own tiles read them.
trait PackedWindow: Send + Sync {
    /// See [`PreparedOp::kernel_name`].
    fn kernel_name(&self, op: &DepthwiseI8) -> &'static str;

    /// Computes output row `row` of `op` up to its table.
    ///
    /// # Safety
    /// The row exists; the contract is that of [`DepthwiseI8::rows`], and `op` is the operation
    /// that the weights were packed for.
    unsafe fn row(&self, op: &DepthwiseI8, row: usize, input: *const u8, output: *mut u8);
}

impl DepthwiseI8 {
    /// Prepares a depthwise convolution.
    ///
    /// # Errors
    /// [`KernelError`] if the window does not fit the input; weights, scales or bias do not fit
    /// the window; a sum could leave 32 bits; a scale is impossible; or [`DepthwiseI8Params`] does
    /// not allow an activation.
    pub fn prepare(isa: Isa, params: &DepthwiseI8Params) -> Result<Self, KernelError> {
        let window = params.window;
        let refuse = |what, got: String, rule| KernelError::Geometry { what, got, rule };
        check("input quantization", params.input)?;
        let low = match params.input_activation {
            Activation::Linear => 0,
            Activation::Relu => params.input.zero_point,
            other => {
                return Err(refuse(
                    "input activation",
                    format!("{other:?}"),
                    "a depthwise convolution applies only `Linear` or `Relu` on load",
                ));
            }
        };
        let output = window.output()?;
        let channels = window.input[2];
        let padded = channels.next_multiple_of(PANEL);
        let [kh, kw] = window.kernel;
        check_typed("weights", &params.weights, DType::I8, &[kh, kw, padded])?;
        check_tensor("weight scale", &params.weight_scale, &[padded])?;
        check_typed("bias", &params.bias, DType::I32, &[padded])?;
        let bias: Vec<i32> = params
            .bias
            .bytes()
            .chunks_exact(4)
            .map(|four| i32::from_le_bytes([four[0], four[1], four[2], four[3]]))
            .collect();
        let largest = bias.iter().map(|b| b.unsigned_abs()).max().unwrap_or(0);
        let taps = kh.saturating_mul(kw);
        if taps
            .saturating_mul(255 * 128)
            .saturating_add(largest as usize)
            > i32::MAX as usize
        {
            return Err(refuse(
                "bias",
                format!("up to {largest} beside {taps} taps"),
                "every sum must fit into 32 bits",
            ));
        }
        let Some(scales) = params.weight_scale.as_f32() else {
            unreachable!("its dtype was checked")
        };
        let to_byte = ToByte::through(params.activation, params.output)?;
        let mut multipliers = vec![0.0; padded];
        for (multiplier, &scale) in multipliers.iter_mut().zip(scales).take(channels) {
            let value = of_product(params.input.scale, scale, to_byte.unit());
            // A channel that is always zero may have a scale of zero.
            if !value.is_finite() || value < 0.0 {
                return Err(refuse(
                    "weight scale",
                    format!("{scale:e}"),
                    "it is not negative, and finite as a multiple of the other scales",
                ));
            }
            *multiplier = value;
        }
        let mut op = Self {
            isa,
            window,
            output,
            weights: params.weights.clone(),
            bias,
            multipliers,
            outside: vec![params.input.zero_point; padded],
            low,
            to_byte,
            table: params.table,
            packed: None,
        };
        op.packed = op.pack();
        Ok(op)
    }

    /// The weights for the tier's tiles, if it has any for the window.
    fn pack(&self) -> Option<Box<dyn PackedWindow>> {
        match self.isa {
            Isa::Portable => None,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(token) => avx2::Packed::pack(token, self),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(token) => match token.vnni() {
                Some(vnni) => avx512::Packed::pack(vnni, self),
                None => avx2::Packed::pack(token.avx2(), self),
            },
        }
    }

    /// Rows, columns and channels of the output.
    #[must_use]
    pub fn output(&self) -> [usize; 3] {
        let [rows, columns] = self.output;
        [rows, columns, self.window.input[2]]
    }

    /// Computes `n_rows` output rows from row `first_row` on and writes them tightly packed to
    /// `output`, so that a following operation can use them while they are in the cache.
    ///
    /// # Safety
    /// `input` is valid for reads of the whole input, `output` for reads and writes of `n_rows`
    /// output rows; they do not overlap; `first_row + n_rows` is at most the output's rows.
    pub unsafe fn rows(&self, first_row: usize, n_rows: usize, input: *const u8, output: *mut u8) {
        let [rows, columns, channels] = self.output();
        debug_assert!(first_row + n_rows <= rows);
        let row_len = columns * channels;
        for i in 0..n_rows {
            // SAFETY: the row lies in the output; the caller promises the memory.
            unsafe {
                let to = output.add(i * row_len);
                self.row(first_row + i, input, to);
                if let Some(table) = &self.table {
                    table_i8::map(self.isa, table, to.cast_const(), to, row_len);
                }
            }
        }
    }
}

impl DepthwiseI8 {
    /// Computes output row `row` up to its table.
    ///
    /// # Safety
    /// As [`DepthwiseI8::rows`].
    unsafe fn row(&self, row: usize, input: *const u8, output: *mut u8) {
        if let Some(packed) = &self.packed {
            // SAFETY: the caller's contract.
            return unsafe { packed.row(self, row, input, output) };
        }
        let row = any::Row {
            op: self,
            y: row,
            input,
            output,
        };
        // SAFETY: the caller's contract.
        unsafe { dispatch(self.isa, row) }
    }
}

// SAFETY: `prepare` checked window and weights; a task writes its own rows of the output.
unsafe impl PreparedOp for DepthwiseI8 {
    fn kernel_name(&self) -> &'static str {
        match &self.packed {
            Some(packed) => packed.kernel_name(self),
            None => kernel_name!(self.isa, "depthwise_i8_any"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![byte_words(self.window.input.iter().product())]
    }

    fn output_len(&self) -> usize {
        byte_words(self.output().iter().product())
    }

    fn tasks(&self, threads: usize) -> usize {
        let taps: usize = self.window.kernel.iter().product();
        // About 0.04 ns a tap, and 0.2 ns an element for the rest.
        let len: usize = self.output().iter().product();
        split::tasks(threads, self.output[0], len.saturating_mul(taps + 5) / 24)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        _scratch: *mut f32,
    ) {
        let [rows, columns, n] = self.output();
        let part = split::range(task, tasks, rows);
        // SAFETY: the rows lie in the output, and each task has its own.
        unsafe {
            let to = output.cast::<u8>().add(part.start * columns * n);
            self.rows(part.start, part.len(), inputs[0].cast(), to);
        }
    }
}

#[cfg(test)]
mod tests;
