//! Dense layers in f32: `y[rows, n] = x[rows, k] W[k, n] + bias`. Weights may be halves or
//! scaled bytes.
//!
//! It uses the tiles of `gemm_f32`. A single row (a classifier's head, squeeze-and-excite) has its
//! own kernel, because its limit is how fast weights arrive, not arithmetic.

use super::gemm_f32::{Epilogue, Gemm, Matrix, MatrixOp, Source};
use super::{Isa, KernelError, SlidingWindow};
use crate::activation::Activation;
use crate::tensor::Tensor;

/// The parameters of a dense layer.
#[derive(Clone, Debug)]
pub struct DenseParams {
    /// Rows of the input: the product of all extents but the last.
    pub rows: usize,
    /// Input features, `k`.
    pub features: usize,
    /// Output features, `n`.
    pub units: usize,
    /// `[ceil(n / 16), k, 16]` in f32, f16, bf16 or i8.
    pub weights: Tensor,
    /// Only for i8 weights: their scales, `[n rounded up to 16]` f32.
    pub scale: Option<Tensor>,
    /// `[n rounded up to 16]` f32.
    pub bias: Option<Tensor>,
    /// Applied to the biased sum.
    pub activation: Activation,
    /// If present, input 1 (of the output's shape) is added, then this is applied.
    pub residual: Option<Activation>,
}

/// A dense layer, ready to run.
pub struct DenseF32(Gemm);

impl DenseF32 {
    /// Prepares a dense layer. Weights are used in place.
    ///
    /// # Errors
    /// [`KernelError`] if an extent is zero, or weights or bias do not match the others.
    pub fn prepare(isa: Isa, params: &DenseParams) -> Result<Self, KernelError> {
        let window = SlidingWindow {
            input: [params.rows, 1, params.features],
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            padding: [0; 4],
        };
        let epilogue = Epilogue {
            activation: params.activation,
            residual: params.residual,
        };
        let matrix = Matrix {
            filters: params.units,
            weights: &params.weights,
            scale: params.scale.as_ref(),
            bias: params.bias.as_ref(),
        };
        Gemm::prepare(isa, Source::new(window, 1)?, matrix, epilogue).map(Self)
    }
}

impl MatrixOp for DenseF32 {
    fn gemm(&self) -> &Gemm {
        &self.0
    }

    fn name(&self) -> &'static str {
        let [_, _, matrix, single_row] = self.0.tier().names;
        if self.0.is_single_row() {
            single_row
        } else {
            matrix
        }
    }
}
