//! Pooling, literally.

use super::{Pooling, SlidingWindow};

/// The pooled values in f64.
///
/// # Panics
/// If the window does not fit.
#[must_use]
pub fn pool_f32_reference(pooling: Pooling, window: &SlidingWindow, input: &[f32]) -> Vec<f64> {
    let [height, width, channels] = window.input;
    let [rows, columns] = window.output().expect("a window that fits");
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
                            inside.push(f64::from(input[(y * width + x) * channels + channel]));
                        }
                    }
                }
                output.push(match pooling {
                    Pooling::Max => inside.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                    Pooling::Average => inside.iter().sum::<f64>() / inside.len() as f64,
                });
            }
        }
    }
    output
}
