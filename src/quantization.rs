//! The affine map between real numbers and the 8-bit integers that represent them.
//!
//! `real = scale * (q - zero_point)` with `q` in 0..=255: asymmetric, with one map for a whole
//! value ("per tensor"), as ONNX's `QuantizeLinear` defines it. Zero is always one of the integers,
//! so padding is exact.

use serde::{Deserialize, Serialize};

/// How a value's elements are stored in 8 bits.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quantization {
    /// Distance between neighbouring integers in real units; positive and finite.
    pub scale: f32,
    /// The integer that represents 0.
    pub zero_point: u8,
}

impl Quantization {
    /// The finest map whose integers cover `low` to `high` (widened to include 0).
    ///
    /// A range without extent (a value that is always 0) gets a scale of 1. `None` for bounds
    /// that are not finite.
    #[must_use]
    pub fn covering(low: f32, high: f32) -> Option<Self> {
        if !low.is_finite() || !high.is_finite() {
            return None;
        }
        let (low, high) = (f64::from(low).min(0.0), f64::from(high).max(0.0));
        #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
        let scale = ((high - low) / 255.0) as f32;
        if scale < f32::MIN_POSITIVE {
            return Some(Self {
                scale: 1.0,
                zero_point: 0,
            });
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "clamped to 0..=255"
        )]
        let zero_point = (-low / f64::from(scale))
            .round_ties_even()
            .clamp(0.0, 255.0) as u8;
        Some(Self { scale, zero_point })
    }

    /// The nearest integer, ties to even, saturating. NaN becomes the zero point.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to 0..=255"
    )]
    pub fn quantize(self, real: f32) -> u8 {
        let zero_point = f32::from(self.zero_point);
        let steps = real / self.scale;
        if steps.is_nan() {
            return self.zero_point;
        }
        (steps
            .clamp(-zero_point, 255.0 - zero_point)
            .round_ties_even()
            + zero_point) as u8
    }

    /// The real number that an integer represents.
    #[must_use]
    pub fn dequantize(self, q: u8) -> f32 {
        self.scale * (f32::from(q) - f32::from(self.zero_point))
    }

    /// Whether scale and zero point are usable numbers.
    #[must_use]
    pub fn is_valid(self) -> bool {
        self.scale.is_normal() && self.scale > 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_covered_to_half_a_scale() {
        for (low, high) in [
            (-1.0, 3.0),
            (0.0, 6.0),
            (-5.0, 0.0),
            (2.0, 4.0),
            (-4.0, -2.0),
        ] {
            let map = Quantization::covering(low, high).unwrap();
            assert!(map.is_valid());
            assert_eq!(map.dequantize(map.zero_point), 0.0);
            for i in 0..=100 {
                let x = low + (high - low) * i as f32 / 100.0;
                let error = (map.dequantize(map.quantize(x)) - x).abs();
                // Rounding the zero point moves the ends by up to half a scale more.
                assert!(error <= map.scale * 1.0001, "{x} in {low}..{high}: {error}");
            }
        }
    }

    #[test]
    fn a_range_without_extent_is_all_zeros() {
        let map = Quantization::covering(0.0, 0.0).unwrap();
        assert_eq!((map.scale, map.zero_point), (1.0, 0));
        assert_eq!(map.quantize(0.0), 0);
        assert_eq!(Quantization::covering(f32::NAN, 1.0), None);
        assert_eq!(Quantization::covering(0.0, f32::INFINITY), None);
    }

    #[test]
    fn ties_go_to_even_and_ends_saturate() {
        let map = Quantization {
            scale: 2.0,
            zero_point: 10,
        };
        assert_eq!(map.quantize(1.0), 10, "0.5 to 0");
        assert_eq!(map.quantize(3.0), 12, "1.5 to 2");
        assert_eq!(map.quantize(-1e9), 0);
        assert_eq!(map.quantize(1e9), 255);
        assert_eq!(map.quantize(f32::NAN), 10);
    }
}
