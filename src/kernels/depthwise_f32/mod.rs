//! Depthwise convolution of an `HWC` image in f32: each channel has its own filters.
//!
//! The lanes of a vector are channels. A tile is one vector of channels of up to eight neighbouring
//! output pixels: its sums stay in registers for all taps, and a weight is loaded once for all of
//! its pixels. Square kernels of 3 and 5 taps with stride 1 or 2 have their own tiles, which also
//! load each input pixel only once for each row of taps. Taps outside the input are skipped, never
//! read: nothing is padded or copied.
//!
//! Every sum adds the bias first, then taps by row and column. The order is the same in every tile,
//! so neither the number of tasks nor the tile of a pixel changes a bit.
//!
//! Weights: `[kh, kw, n]` f32 with `n = c * multiplier` output channels rounded up to 16, output
//! channel `c * multiplier + m` as Keras orders them.

mod reference;
mod tile;

pub use reference::depthwise_f32_reference;

use super::activation_f32::{self, Clamp, split_clamp};
use super::vector::kernel_name;
use super::{Isa, KernelError, PreparedOp, SlidingWindow, check_tensor, split};
use crate::activation::Activation;
use crate::tensor::{AlignedF32, PANEL, Tensor};
use tile::Rows;

/// The parameters of a depthwise convolution.
#[derive(Clone, Debug)]
pub struct DepthwiseParams {
    /// The input and the taps.
    pub window: SlidingWindow,
    /// Output channels for each input channel.
    pub multiplier: usize,
    /// `[kh, kw, c * multiplier rounded up to 16]` f32.
    pub weights: Tensor,
    /// `[c * multiplier rounded up to 16]` f32.
    pub bias: Option<Tensor>,
    /// Applied to each input element as it is loaded: `Linear` or `Relu` (Xception puts the
    /// activation before the convolution).
    pub input_activation: Activation,
    /// Applied to the biased sum.
    pub activation: Activation,
}

/// A depthwise convolution, ready to run.
pub struct DepthwiseF32 {
    isa: Isa,
    window: SlidingWindow,
    multiplier: usize,
    output: [usize; 2],
    weights: Tensor,
    bias: Tensor,
    input_low: f32,
    clamp: Clamp,
    rest: Activation,
}

impl DepthwiseF32 {
    /// Prepares a depthwise convolution. Weights are used in place.
    ///
    /// # Errors
    /// [`KernelError`] if the window does not fit the input, weights or bias do not fit the
    /// window, or the input activation is not `Linear` or `Relu`.
    pub fn prepare(isa: Isa, params: &DepthwiseParams) -> Result<Self, KernelError> {
        let window = params.window;
        let refuse = |what, got: String, rule| KernelError::Geometry { what, got, rule };
        let input_low = match params.input_activation {
            Activation::Linear => f32::NEG_INFINITY,
            Activation::Relu => 0.0,
            other => {
                return Err(refuse(
                    "input activation",
                    format!("{other:?}"),
                    "a depthwise convolution applies only `Linear` or `Relu` on load",
                ));
            }
        };
        let [rows, columns] = window.output()?;
        let n = window.input[2]
            .checked_mul(params.multiplier)
            .filter(|&n| n > 0 && n < usize::MAX - PANEL);
        let len = n.and_then(|n| rows.checked_mul(columns)?.checked_mul(n));
        let (Some(n), Some(len)) = (n, len) else {
            return Err(refuse(
                "channel multiplier",
                params.multiplier.to_string(),
                "it is at least 1 and the output fits into memory",
            ));
        };
        super::check_len("depthwise output", len)?;
        let padded = n.next_multiple_of(PANEL);
        let [kh, kw] = window.kernel;
        check_tensor("weights", &params.weights, &[kh, kw, padded])?;
        let bias = match &params.bias {
            Some(bias) => bias.clone(),
            None => Tensor::from_aligned([padded], AlignedF32::zeroed(padded))
                .map_err(|e| refuse("bias", e.to_string(), "zeros fill it"))?,
        };
        check_tensor("bias", &bias, &[padded])?;
        let (clamp, rest) = split_clamp(params.activation);
        Ok(Self {
            isa,
            window,
            multiplier: params.multiplier,
            output: [rows, columns],
            weights: params.weights.clone(),
            bias,
            input_low,
            clamp,
            rest,
        })
    }

    /// Rows, columns and channels of the output.
    #[must_use]
    pub fn output(&self) -> [usize; 3] {
        let [rows, columns] = self.output;
        [rows, columns, self.window.input[2] * self.multiplier]
    }

    /// Computes `n_rows` output rows from row `first_row` on and writes them tightly packed to
    /// `output`, so that a following operation can use them while they are in the cache.
    ///
    /// # Safety
    /// `input` is valid for reads of the whole input, `output` for reads and writes of `n_rows`
    /// output rows; they do not overlap; `first_row + n_rows` is at most the output's rows.
    pub unsafe fn rows(
        &self,
        first_row: usize,
        n_rows: usize,
        input: *const f32,
        output: *mut f32,
    ) {
        let [_, columns, n] = self.output();
        debug_assert!(first_row + n_rows <= self.output[0]);
        let (Some(weights), Some(bias)) = (self.weights.as_f32(), self.bias.as_f32()) else {
            unreachable!("`prepare` checked the dtype")
        };
        let rows = Rows {
            window: &self.window,
            multiplier: self.multiplier,
            columns,
            weights: weights.as_ptr(),
            bias: bias.as_ptr(),
            input_low: self.input_low,
            clamp: self.clamp,
            first_row,
            count: n_rows,
            input,
            output,
        };
        // SAFETY: the caller promises input and output; `prepare` checked weights and bias.
        unsafe { rows.run(self.isa) };
        if self.rest != Activation::Linear {
            // SAFETY: these floats were just written.
            let written = unsafe { std::slice::from_raw_parts_mut(output, n_rows * columns * n) };
            activation_f32::apply(self.isa, self.rest, written);
        }
    }
}

// SAFETY: `prepare` checked window and weights; a task writes its own rows of the output.
unsafe impl PreparedOp for DepthwiseF32 {
    fn kernel_name(&self) -> &'static str {
        let isa = self.isa;
        match tile::form(&self.window, self.multiplier) {
            tile::Form::Square3 => kernel_name!(isa, "depthwise_f32_3x3"),
            tile::Form::Square5 => kernel_name!(isa, "depthwise_f32_5x5"),
            tile::Form::Any => kernel_name!(isa, "depthwise_f32_any"),
            tile::Form::Multiplied => kernel_name!(isa, "depthwise_f32_multiplied"),
        }
    }

    fn input_lens(&self) -> Vec<usize> {
        vec![self.window.input.iter().product()]
    }

    fn output_len(&self) -> usize {
        self.output().iter().product()
    }

    fn tasks(&self, threads: usize) -> usize {
        let taps: usize = self.window.kernel.iter().product();
        // About 0.06 ns a tap, and 0.4 ns an element for memory.
        let work_ns = self.output_len().saturating_mul(taps + 6) / 16;
        split::tasks(threads, self.output[0], work_ns)
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
        // A row at a time, so that it is still in the cache for the rest of the activation.
        for row in split::range(task, tasks, rows) {
            // SAFETY: the row lies in the output, and each task has its own rows.
            unsafe { self.rows(row, 1, inputs[0], output.add(row * columns * n)) }
        }
    }
}

#[cfg(test)]
mod tests;
