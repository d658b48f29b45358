//! Convolution of an `HWC` image in f32, as an implicit matrix product. Weights may be halves or
//! scaled bytes.
//!
//! Row `m` of A is the window under output pixel `m`, column `n` of B one filter. No copy of the
//! windows is made: tiles read the image through pointers, and padded taps read a row of zeros. A
//! 1x1 convolution with stride 1 reads its pixels in place, one run each.
//!
//! Not here: depthwise convolution. There each channel has its own filter and there is no matrix.

mod reference;
#[cfg(test)]
mod tests;

pub use reference::conv_f32_reference;

use super::gemm_f32::{Epilogue, Gemm, Matrix, MatrixOp, Source};
use super::{Isa, KernelError, SlidingWindow};
use crate::activation::Activation;
use crate::tensor::Tensor;

/// The parameters of a convolution.
#[derive(Clone, Debug)]
pub struct ConvParams {
    /// The input and the window over it.
    pub window: SlidingWindow,
    /// Channel groups, which divide the channels of input and output.
    pub groups: usize,
    /// Output channels, a multiple of the groups.
    pub filters: usize,
    /// `[groups * ceil(n / 16), k, 16]` in f32, f16, bf16 or i8, where `n` is the output channels of a
    /// group and `k` runs over taps, then input channels of the group.
    pub weights: Tensor,
    /// Only for i8 weights: their scales, `[filters rounded up to 16]` f32.
    pub scale: Option<Tensor>,
    /// `[filters rounded up to 16]` f32.
    pub bias: Option<Tensor>,
    /// Applied to the biased sum.
    pub activation: Activation,
    /// If present, input 1 (of the output's shape) is added, then this is applied.
    pub residual: Option<Activation>,
}

/// A convolution, ready to run.
pub struct ConvF32(Gemm);

impl ConvF32 {
    /// Prepares a convolution. Weights are used in place.
    ///
    /// # Errors
    /// [`KernelError`] if the window does not fit the input, or weights or bias do not fit the
    /// geometry.
    pub fn prepare(isa: Isa, params: &ConvParams) -> Result<Self, KernelError> {
        let epilogue = Epilogue {
            activation: params.activation,
            residual: params.residual,
        };
        let matrix = Matrix {
            filters: params.filters,
            weights: &params.weights,
            scale: params.scale.as_ref(),
            bias: params.bias.as_ref(),
        };
        Gemm::prepare(
            isa,
            Source::new(params.window, params.groups)?,
            matrix,
            epilogue,
        )
        .map(Self)
    }
}

impl MatrixOp for ConvF32 {
    fn gemm(&self) -> &Gemm {
        &self.0
    }

    fn name(&self) -> &'static str {
        let [conv, pointwise, _, _] = self.0.tier().names;
        if self.0.source().is_pointwise() {
            pointwise
        } else {
            conv
        }
    }
}
