//! Global pooling of quantized values, literally.

use super::{GlobalPoolI8Params, Output, Pooling, mean_multiplier};
use crate::kernels::requantize::ToByte;

/// The pooled values as they lie in memory: one byte each, or the four bytes of an f32.
///
/// # Panics
/// If the output's scale is impossible.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "sums are below 2^31")]
pub fn global_pool_i8_reference(params: &GlobalPoolI8Params, input: &[u8]) -> Vec<u8> {
    let [height, width, channels] = params.shape;
    let (n, from) = (height * width, params.input);
    let mut output = Vec::new();
    for channel in 0..channels {
        let bytes = (0..n).map(|pixel| input[pixel * channels + channel]);
        let largest = bytes.clone().max().unwrap_or(0);
        let sum: i64 = bytes
            .map(|q| i64::from(q) - i64::from(from.zero_point))
            .sum();
        let sum = sum as i32 as f32;
        match (params.pooling, params.output) {
            (Pooling::Max, Output::U8(to)) => output.push(to.quantize(from.dequantize(largest))),
            (Pooling::Max, Output::F32) => output.extend(from.dequantize(largest).to_ne_bytes()),
            (Pooling::Average, Output::U8(to)) => {
                let to_byte = ToByte::of(Default::default(), to).expect("a valid scale");
                output.push(to_byte.one(sum * mean_multiplier(from.scale, to.scale, n)));
            }
            (Pooling::Average, Output::F32) => {
                output.extend((sum * mean_multiplier(from.scale, 1.0, n)).to_ne_bytes());
            }
        }
    }
    output
}
