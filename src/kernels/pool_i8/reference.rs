//! Pooling of quantized values, literally.

use super::{PoolI8Params, Pooling, mean_multiplier};
use crate::kernels::requantize::ToByte;

/// The pooled bytes.
///
/// # Panics
/// If the window does not fit.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "sums are below 2^31")]
pub fn pool_i8_reference(params: &PoolI8Params, input: &[u8]) -> Vec<u8> {
    let window = &params.window;
    let [height, width, channels] = window.input;
    let [rows, columns] = window.output().expect("a window that fits");
    let to_byte = ToByte::of(Default::default(), params.output).expect("a valid scale");
    let mut output = Vec::with_capacity(rows * columns * channels);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..channels {
                let mut inside = Vec::new();
                for ky in 0..window.kernel[0] {
                    for kx in 0..window.kernel[1] {
                        let y = row * window.strides[0] + ky * window.dilations[0];
                        let x = column * window.strides[1] + kx * window.dilations[1];
                        let y = y.checked_sub(window.padding[0]).filter(|&y| y < height);
                        let x = x.checked_sub(window.padding[1]).filter(|&x| x < width);
                        if let (Some(y), Some(x)) = (y, x) {
                            inside.push(input[(y * width + x) * channels + channel]);
                        }
                    }
                }
                let (from, to) = (params.input, params.output);
                output.push(match params.pooling {
                    Pooling::Max => {
                        let largest = inside.iter().copied().max().expect("a tap");
                        if from == to {
                            largest
                        } else {
                            to.quantize(from.dequantize(largest))
                        }
                    }
                    Pooling::Average => {
                        let zero_point = i64::from(from.zero_point);
                        let sum: i64 = inside.iter().map(|&q| i64::from(q) - zero_point).sum();
                        let multiplier = mean_multiplier(from.scale, to.scale, inside.len());
                        to_byte.one(sum as i32 as f32 * multiplier)
                    }
                });
            }
        }
    }
    output
}
