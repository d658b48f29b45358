//! Convolution and dense layers in 8-bit integers: exact sums, one rule from sums to bytes.
//!
//! Activations are u8 with one [`Quantization`] for each value. Weights are i8 with a scale for
//! each channel and no zero point. Biases are i32 in units of `input scale * weight scale`. A dense
//! layer is a 1x1 convolution of an image of `rows x 1` pixels. The arithmetic is that of
//! `kernels::requantize`.
//!
//! Not here: depthwise convolution.

mod reference;
#[cfg(test)]
mod tests;

pub use reference::conv_i8_reference;

use super::gemm_f32::Source;
use super::gemm_i8::{Finish, Gemm, GemmParams};
use super::table_i8::Table;
use super::{Isa, KernelError, PreparedOp, SlidingWindow};
use crate::activation::Activation;
use crate::quantization::Quantization;
use crate::tensor::Tensor;

/// The result that is stored.
#[derive(Clone, Debug)]
pub enum ConvI8Output {
    /// Bytes.
    U8 {
        /// The quantization of the requantized sum.
        output: Quantization,
        /// A clamp (`Linear`, `Relu` or `Relu6`) or, without a residual, an activation that is a
        /// [`crate::activation::curve::Curve`].
        activation: Activation,
        /// If present, input 1 (bytes of the output's shape with this quantization) is added to the
        /// clamped sum, then this clamp is applied.
        residual: Option<(Quantization, Activation)>,
        /// If present, each byte is looked up here before it is stored. The table computes any
        /// activation, from `output`'s integers to those of another quantization.
        table: Option<Box<Table>>,
    },
    /// Real numbers, after any activation.
    F32 {
        /// The activation.
        activation: Activation,
    },
}

/// The parameters of a convolution.
#[derive(Clone, Debug)]
pub struct ConvI8Params {
    /// The input and the window over it.
    pub window: SlidingWindow,
    /// Channel groups, which divide the channels of input and output.
    pub groups: usize,
    /// Output channels, a multiple of the groups.
    pub filters: usize,
    /// The input's quantization.
    pub input: Quantization,
    /// `[groups * ceil(n / 16), ceil(k / 4), 16, 4]` i8, where `n` is the output channels of a
    /// group and `k` runs over taps, then input channels of the group.
    pub weights: Tensor,
    /// `[filters rounded up to 16]` f32: real weight = scale * integer.
    pub weight_scale: Tensor,
    /// `[filters rounded up to 16]` i32: `bias / (input scale * weight scale)`, minus the input's
    /// zero point times the channel's sum of weights.
    pub bias: Tensor,
    /// The result that is stored.
    pub output: ConvI8Output,
}

/// A convolution, ready to run.
pub struct ConvI8(Gemm);

impl ConvI8 {
    /// Prepares a convolution. Weights are used in place.
    ///
    /// # Errors
    /// [`KernelError`] if the window does not fit the input, tensors do not fit the geometry,
    /// sums could leave 32 bits, or a scale is not a positive number.
    pub fn prepare(isa: Isa, params: &ConvI8Params) -> Result<Self, KernelError> {
        let finish = match params.output.clone() {
            ConvI8Output::U8 {
                output,
                activation,
                residual,
                table,
            } => Finish::U8 {
                output,
                activation,
                residual,
                table,
            },
            ConvI8Output::F32 { activation } => Finish::F32 { activation },
        };
        let source = Source::padded_with(params.window, params.groups, params.input.zero_point)?;
        Gemm::prepare(
            isa,
            GemmParams {
                source,
                input_scale: params.input.scale,
                filters: params.filters,
                weights: &params.weights,
                weight_scale: &params.weight_scale,
                bias: &params.bias,
                finish,
            },
        )
        .map(Self)
    }
}

// SAFETY: `Gemm::prepare` checked the geometry; a task is a rectangle of the grid, which covers
// the output once.
unsafe impl PreparedOp for ConvI8 {
    fn kernel_name(&self) -> &'static str {
        self.0.kernel_name()
    }

    fn input_lens(&self) -> Vec<usize> {
        self.0.input_lens()
    }

    fn output_len(&self) -> usize {
        self.0.output_len()
    }

    fn scratch_len(&self) -> usize {
        self.0.scratch_len()
    }

    fn tasks(&self, threads: usize) -> usize {
        self.0.tasks(threads)
    }

    unsafe fn run(
        &self,
        task: usize,
        tasks: usize,
        inputs: &[*const f32],
        output: *mut f32,
        scratch: *mut f32,
    ) {
        // SAFETY: the caller keeps the trait's contract, which is that of `Gemm::run`.
        unsafe { self.0.run(task, tasks, inputs, output, scratch) }
    }
}
