//! Global pooling, literally.

use super::Pooling;

/// The pooled values in f64.
#[must_use]
pub fn global_pool_f32_reference(
    pooling: Pooling,
    [height, width, channels]: [usize; 3],
    input: &[f32],
) -> Vec<f64> {
    let of_channel = |channel: usize| {
        let values = (0..height * width).map(|p| f64::from(input[p * channels + channel]));
        match pooling {
            Pooling::Max => values.fold(f64::NEG_INFINITY, f64::max),
            Pooling::Average => values.sum::<f64>() / (height * width) as f64,
        }
    };
    (0..channels).map(of_channel).collect()
}
