//! Depthwise convolution of quantized values, literally.

use super::{Activation, DepthwiseI8Params};
use crate::kernels::requantize::ToByte;

/// The sum of each output element, with its bias.
///
/// # Panics
/// If the parameters do not fit together.
#[expect(clippy::cast_possible_wrap, reason = "weights are stored as bytes")]
pub(super) fn depthwise_i8_sums(params: &DepthwiseI8Params, input: &[u8]) -> Vec<i32> {
    let w = &params.window;
    let [height, width, channels] = w.input;
    let [rows, columns] = w.output().expect("a window that fits");
    let padded = channels.next_multiple_of(16);
    let zero_point = params.input.zero_point;
    let mut sums = Vec::with_capacity(rows * columns * channels);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..channels {
                let bias = &params.bias.bytes()[4 * channel..][..4];
                let mut sum = i32::from_le_bytes(bias.try_into().expect("four bytes"));
                for ky in 0..w.kernel[0] {
                    for kx in 0..w.kernel[1] {
                        let y = row * w.strides[0] + ky * w.dilations[0];
                        let x = column * w.strides[1] + kx * w.dilations[1];
                        let y = y.checked_sub(w.padding[0]).filter(|&y| y < height);
                        let x = x.checked_sub(w.padding[1]).filter(|&x| x < width);
                        let mut value = match (y, x) {
                            (Some(y), Some(x)) => input[(y * width + x) * channels + channel],
                            _ => zero_point,
                        };
                        if params.input_activation == Activation::Relu {
                            value = value.max(zero_point);
                        }
                        let tap = (ky * w.kernel[1] + kx) * padded + channel;
                        sum += i32::from(value) * i32::from(params.weights.bytes()[tap] as i8);
                    }
                }
                sums.push(sum);
            }
        }
    }
    sums
}

/// The result's bytes.
///
/// # Panics
/// If the parameters do not fit together.
#[must_use]
pub fn depthwise_i8_reference(params: &DepthwiseI8Params, input: &[u8]) -> Vec<u8> {
    let to_byte = ToByte::through(params.activation, params.output).expect("a clamp or a curve");
    let scales = params.weight_scale.as_f32().expect("f32 scales");
    let channels = params.window.input[2];
    let byte = |(i, sum): (usize, i32)| {
        let multiplier = params.input.scale * scales[i % channels] / to_byte.unit();
        let byte = to_byte.one(sum as f32 * multiplier);
        let table = params.table.as_ref();
        table.map_or(byte, |table| table.values()[usize::from(byte)])
    };
    let sums = depthwise_i8_sums(params, input).into_iter();
    sums.enumerate().map(byte).collect()
}
