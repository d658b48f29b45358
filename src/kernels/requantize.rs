//! The one rule by which sums become bytes, the same bit for bit on every tier.
//!
//! ```text
//! x = clamp(float(sum) * multiplier)              sum: an exact integer; multiplier: per channel
//! x = clamp(x + float(residual - residual_zero) * residual_multiplier)        if there is one
//! q = round_half_even(x) + zero_point
//! ```
//!
//! Each line is separate IEEE operations, never a fused multiply-add, whose rounding would depend
//! on the tier. The bounds are those of ReLU and ReLU6, the last ones also the byte's range, so
//! that rounding never leaves 0..=255. `x` counts in steps of the result's scale.

use super::KernelError;
use super::vector::Vector;
use crate::activation::Activation;
use crate::quantization::Quantization;

/// Bounds in steps of the result's scale, the zero point being 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Bounds {
    /// What `activation` leaves, before a residual is added.
    pub(super) fn unlimited(
        activation: Activation,
        output: Quantization,
    ) -> Result<Self, KernelError> {
        let Self { low, high } = Self::of(activation, output)?;
        Ok(match activation {
            Activation::Linear => Self {
                low: f32::NEG_INFINITY,
                high: f32::INFINITY,
            },
            Activation::Relu => Self {
                low,
                high: f32::INFINITY,
            },
            _ => Self {
                low,
                high: high.max((6.0 / output.scale).round_ties_even()),
            },
        })
    }

    /// What `activation` and the byte's range leave. An activation that is not a clamp is refused:
    /// it is a table on the result.
    pub(super) fn of(activation: Activation, output: Quantization) -> Result<Self, KernelError> {
        let zero_point = f32::from(output.zero_point);
        let (low, high) = (-zero_point, 255.0 - zero_point);
        match activation {
            Activation::Linear => Ok(Self { low, high }),
            // Zero is the zero point, and at least `low`.
            Activation::Relu => Ok(Self { low: 0.0, high }),
            Activation::Relu6 => Ok(Self {
                low: 0.0,
                high: high.min((6.0 / output.scale).round_ties_even()),
            }),
            other => Err(KernelError::Geometry {
                what: "activation",
                got: format!("{other:?}"),
                rule: "integer sums are clamped; every other activation is a table",
            }),
        }
    }

    /// `min(high, max(low, x))`.
    #[inline(always)]
    pub(super) fn clamp<V: Vector>(self, x: V) -> V {
        x.max(x.like(self.low)).min(x.like(self.high))
    }

    /// The same for one number.
    pub(super) fn clamp_one(self, x: f32) -> f32 {
        x.max(self.low).min(self.high)
    }
}

/// The factor from one quantized value's steps to another's: rounded once, from `f64`.
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
pub(super) fn ratio(from: f32, to: f32) -> f32 {
    (f64::from(from) / f64::from(to)) as f32
}

/// Refuses scales that cannot be calculated with.
pub(super) fn check(what: &'static str, value: Quantization) -> Result<(), KernelError> {
    if value.is_valid() {
        return Ok(());
    }
    Err(KernelError::Geometry {
        what,
        got: format!("{value:?}"),
        rule: "a scale is a positive normal number",
    })
}
