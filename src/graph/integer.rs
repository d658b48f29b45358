//! Kernels of integers: how weights, scales and biases become the tensors that integer kernels read
//! ([`KernelLayout::Panel16x4`](super::KernelLayout)).
//! In: plain integers with a scale for each output channel. Out: packed tensors. The quantizer
//! rounds its own integers; a format that stores integers brings its own.

use crate::panel;
use crate::tensor::{AlignedF32, DType, PANEL, Shape, Tensor, TensorError};

/// Integer weights as the rows of a matrix, and the bias of each column.
#[derive(Clone, Copy, Debug)]
pub struct IntegerKernel<'a> {
    /// Row-major. For a matrix: taps and input channels of a group by the output channels of all
    /// groups. For a depthwise kernel: taps by channels.
    pub weights: &'a [i8],
    /// For each output channel, the real number that 1 represents.
    pub scales: &'a [f32],
    /// The bias of each output channel, in units of the input's scale times the channel's own.
    pub biases: &'a [i64],
    /// The input's integer that represents 0.
    pub zero_point: u8,
    /// The kind of the kernel.
    pub form: KernelForm,
}

/// How a kernel's rows and columns are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KernelForm {
    /// A convolution in groups, or a matrix product (one group).
    Matrix {
        /// Channel groups.
        groups: usize,
    },
    /// One filter for each channel.
    Depthwise {
        /// Rows and columns.
        taps: [usize; 2],
    },
}

/// The tensors of a node that computes in integers.
#[derive(Clone, Debug)]
pub struct PackedKernel {
    /// The weights in panels.
    pub weights: Tensor,
    /// Their scales, one for each output channel, padded with zeros.
    pub scales: Tensor,
    /// The biases as i32, minus the input's zero point times the channel's sum of weights: the
    /// kernel adds this product without knowing it. Padded with zeros.
    pub biases: Tensor,
}

impl IntegerKernel<'_> {
    /// Packs the weights. A bias that does not fit 32 bits is clamped.
    ///
    /// # Errors
    /// [`TensorError`] if the parts do not match.
    ///
    /// # Panics
    /// If `weights` is not whole rows with as many channels as there are scales.
    pub fn pack(&self) -> Result<PackedKernel, TensorError> {
        let n_total = self.scales.len();
        let rows = self.weights.len() / n_total.max(1);
        let padded = n_total.next_multiple_of(PANEL);
        let weights = match self.form {
            KernelForm::Depthwise { taps: [kh, kw] } => {
                let mut packed = vec![0; rows * padded];
                for (to, from) in packed
                    .chunks_exact_mut(padded)
                    .zip(self.weights.chunks_exact(n_total))
                {
                    to[..n_total].copy_from_slice(from);
                }
                i8_tensor([kh, kw, padded].into(), &packed)
            }
            KernelForm::Matrix { groups } => {
                let n = n_total / groups;
                let shape = [groups * n.div_ceil(PANEL), rows.div_ceil(4), PANEL, 4];
                let packed = panel::pack_i8(self.weights, groups, rows, n);
                i8_tensor(shape.into(), &packed)
            }
        }?;
        let mut sums = vec![0_i64; n_total];
        for row in self.weights.chunks_exact(n_total) {
            for (sum, &weight) in sums.iter_mut().zip(row) {
                *sum += i64::from(weight);
            }
        }
        let biases = self.biases.iter().zip(&sums);
        let mut biases: Vec<i32> = biases
            .map(|(&bias, sum)| saturated(bias - i64::from(self.zero_point) * sum))
            .collect();
        biases.resize(padded, 0);
        let bytes = biases.iter().flat_map(|b| b.to_le_bytes()).collect();
        let mut aligned = AlignedF32::zeroed(padded);
        aligned.as_mut_slice()[..n_total].copy_from_slice(self.scales);
        Ok(PackedKernel {
            weights,
            scales: Tensor::from_aligned([padded], aligned)?,
            biases: Tensor::from_bytes(DType::I32, [padded], bytes)?,
        })
    }
}

fn saturated(bias: i64) -> i32 {
    i32::try_from(bias).unwrap_or(if bias < 0 { i32::MIN } else { i32::MAX })
}

fn i8_tensor(shape: Shape, values: &[i8]) -> Result<Tensor, TensorError> {
    Tensor::from_bytes(DType::I8, shape, bytemuck::cast_slice(values).to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_packed_with_what_the_zero_point_takes_away() {
        // Two inputs, three outputs.
        let kernel = IntegerKernel {
            weights: &[1, 2, 3, 4, 5, -6],
            scales: &[0.5, 0.25, 2.0],
            biases: &[10, i64::from(i32::MAX), 0],
            zero_point: 2,
            form: KernelForm::Matrix { groups: 1 },
        };
        let packed = kernel.pack().unwrap();
        assert_eq!(packed.weights.shape().dims(), [1, 1, 16, 4]);
        let weights = packed.weights.as_i8().unwrap();
        assert_eq!(weights[..8], [1, 4, 0, 0, 2, 5, 0, 0]);
        assert_eq!(panel::unpack_i8(weights, 1, 2, 3), kernel.weights);
        let biases = packed.biases.as_i32().unwrap();
        assert_eq!(biases[..4], [10 - 2 * 5, i32::MAX - 2 * 7, 6, 0]);
        assert_eq!(packed.scales.as_f32().unwrap()[..4], [0.5, 0.25, 2.0, 0.0]);
    }

    #[test]
    fn a_depthwise_kernel_keeps_its_taps_and_biases_saturate() {
        let kernel = IntegerKernel {
            weights: &[1, -2, 3, -4],
            scales: &[1.0, 1.0],
            biases: &[i64::MAX / 2, i64::MIN / 2],
            zero_point: 255,
            form: KernelForm::Depthwise { taps: [1, 2] },
        };
        let packed = kernel.pack().unwrap();
        assert_eq!(packed.weights.shape().dims(), [1, 2, 16]);
        let weights = packed.weights.as_i8().unwrap();
        assert_eq!((weights[..3].to_vec(), weights[17]), (vec![1, -2, 0], -4));
        let biases = packed.biases.as_i32().unwrap();
        assert_eq!(biases[..2], [i32::MAX, i32::MIN]);
    }
}
