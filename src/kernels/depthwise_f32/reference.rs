//! Depthwise convolution, literally.

use super::DepthwiseParams;

/// The sum of each output element before its activation, and the sum of the magnitudes of its
/// terms, which bounds the rounding of any order of summation.
///
/// # Panics
/// If the parameters do not fit together.
#[must_use]
pub fn depthwise_f32_reference(params: &DepthwiseParams, input: &[f32]) -> Vec<(f64, f64)> {
    let w = &params.window;
    let [height, width, channels] = w.input;
    let [rows, columns] = w.output().expect("a window that fits");
    let n = channels * params.multiplier;
    let padded = n.next_multiple_of(16);
    let weights = params.weights.as_f32().expect("f32 weights");
    let bias = params.bias.as_ref().map(|b| b.as_f32().expect("f32 bias"));
    let mut output = Vec::with_capacity(rows * columns * n);
    for row in 0..rows {
        for column in 0..columns {
            for channel in 0..n {
                let start = bias.map_or(0.0, |b| f64::from(b[channel]));
                let (mut sum, mut size) = (start, start.abs());
                for ky in 0..w.kernel[0] {
                    for kx in 0..w.kernel[1] {
                        let y = row * w.strides[0] + ky * w.dilations[0];
                        let x = column * w.strides[1] + kx * w.dilations[1];
                        let above = y < w.padding[0] || y >= w.padding[0] + height;
                        let beside = x < w.padding[1] || x >= w.padding[1] + width;
                        if above || beside {
                            continue;
                        }
                        let pixel = (y - w.padding[0]) * width + x - w.padding[1];
                        let value = input[pixel * channels + channel / params.multiplier];
                        let value = params.input_activation.apply(value);
                        let weight = weights[(ky * w.kernel[1] + kx) * padded + channel];
                        sum += f64::from(value) * f64::from(weight);
                        size += (f64::from(value) * f64::from(weight)).abs();
                    }
                }
                output.push((sum, size));
            }
        }
    }
    output
}
