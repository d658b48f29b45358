//! The one rule that turns sums into bytes, the same on every tier, bit for bit.
//!
//! ```text
//! x = clamp(float(sum) * multiplier)              sum: an exact integer; multiplier: per channel,
//!                                                 (scale_in * scale_weight) / scale_out
//! x = clamp(x + float(residual - residual_zero) * residual_multiplier)        if there is one
//! q = round_half_even(x) + zero_point
//! ```
//!
//! Each line is separate IEEE operations, never a fused multiply-add, whose rounding would depend
//! on the tier. The bounds are those of ReLU and ReLU6; the last ones also include the byte's
//! range, so that rounding never leaves 0..=255. `x` is in steps of the result's scale.

use super::KernelError;
use super::vector::Vector;
use crate::activation::Activation;
use crate::activation::curve::{Curve, SEGMENTS};
use crate::quantization::Quantization;

/// Bounds in steps of the result's scale, the zero point being 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: f32,
    pub(super) high: f32,
}

impl Bounds {
    /// The bounds of `activation`, before a residual is added.
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

    /// The bounds of `activation` and the byte's range. An activation that is not a clamp is
    /// refused: it must be a table on the result.
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

/// Refuses scales that are not usable numbers.
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

/// A curve in registers.
pub(super) struct Curved<V: Vector> {
    place: [f32; 2],
    coefficients: [V::Choices; 3],
}

impl<V: Vector> Curved<V> {
    /// # Safety
    /// The CPU has the instructions of `V`.
    #[inline(always)]
    pub(super) unsafe fn of(curve: Option<&Curve>) -> Option<Self> {
        let curve = curve?;
        let [c0, c1, c2] = curve.coefficients();
        // Not `map`: its closure would be compiled without the instructions of `V`.
        // SAFETY: the caller's promise.
        let coefficients = unsafe { [V::choices(c0), V::choices(c1), V::choices(c2)] };
        Some(Self {
            place: curve.place(),
            coefficients,
        })
    }

    /// [`Curve::apply`] in each lane: the same operations, none of them fused.
    #[inline(always)]
    pub(super) fn apply(&self, x: V) -> V {
        let [factor, addend] = self.place;
        let place = x.mul(x.like(factor)).add(x.like(addend));
        let last = SEGMENTS as f32 - 1.0;
        let place = place.max(x.like(0.0)).min(x.like(last));
        let [c0, c1, c2] = self.coefficients;
        let bent = place.choose(c2).mul(x).add(place.choose(c1));
        bent.mul(x).add(place.choose(c0))
    }
}

/// Turns `x` into a byte: through a curve if there is one, clamped, rounded half to even, moved by
/// the zero point.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ToByte {
    curve: Option<Box<Curve>>,
    /// The unit of `x`: steps of the result or, before a curve, 1.
    unit: f32,
    bounds: Bounds,
    zero_point: f32,
}

/// Adding this leaves no bits for a fraction, so the sum is rounded half to even.
const WHOLE: f32 = 12_582_912.0;

impl ToByte {
    /// Like [`Bounds::of`], for a result with this quantization.
    pub(super) fn of(activation: Activation, output: Quantization) -> Result<Self, KernelError> {
        check("output quantization", output)?;
        Ok(Self {
            curve: None,
            unit: output.scale,
            bounds: Bounds::of(activation, output)?,
            zero_point: f32::from(output.zero_point),
        })
    }

    /// The same, also for activations that are curves.
    pub(super) fn through(
        activation: Activation,
        output: Quantization,
    ) -> Result<Self, KernelError> {
        let Some(curve) = Curve::of(activation, output.scale) else {
            return Self::of(activation, output);
        };
        Ok(Self {
            curve: Some(Box::new(curve)),
            unit: 1.0,
            ..Self::of(Activation::Linear, output)?
        })
    }

    /// The unit of `x`.
    pub(super) fn unit(&self) -> f32 {
        self.unit
    }

    /// The curve that `x` goes through first.
    pub(super) fn curve(&self) -> Option<&Curve> {
        self.curve.as_deref()
    }

    /// The least and the largest byte within the bounds.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds are in 0..=255"
    )]
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only vector tiers use it")
    )]
    pub(super) fn byte_bounds(&self) -> [u8; 2] {
        let byte = |bound: f32| (bound + self.zero_point) as u8;
        [byte(self.bounds.low), byte(self.bounds.high)]
    }

    /// The byte of 0.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was made of a byte"
    )]
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "only vector tiers use it")
    )]
    pub(super) fn zero_point(&self) -> u8 {
        self.zero_point as u8
    }

    /// Whole numbers from 0 to 255, of `x` after the curve.
    #[inline(always)]
    pub(super) fn numbers<V: Vector>(&self, x: V) -> V {
        // Both are whole and below 2^24, so the difference is exact.
        let whole = self.bounds.clamp(x).add(x.like(WHOLE));
        whole.sub(x.like(WHOLE - self.zero_point))
    }

    /// The byte of one number.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the bounds keep it in 0..=255"
    )]
    pub(super) fn one(&self, x: f32) -> u8 {
        let x = self.curve.as_ref().map_or(x, |curve| curve.apply(x));
        (self.bounds.clamp_one(x).round_ties_even() + self.zero_point) as u8
    }

    /// Writes `float(sums[i]) * multipliers[i]` of the first `n` of sixteen as bytes.
    ///
    /// # Safety
    /// The CPU has the instructions of `V`; `n <= 16` rounded up to whole vectors are the floats
    /// that can be read at `multipliers`, and `n` bytes can be written at `to`.
    #[inline(always)]
    pub(super) unsafe fn sums<V: Vector>(
        &self,
        sums: &[i32; 16],
        multipliers: *const f32,
        to: *mut u8,
        n: usize,
    ) {
        // SAFETY: the caller's promise.
        let curved = unsafe { Curved::<V>::of(self.curve()) };
        let mut at = 0;
        while at < n {
            // SAFETY: `at + LANES <= 16`, since lanes divide 16; the rest is the caller's.
            unsafe {
                let x = V::load_i32(sums.as_ptr().add(at)).mul(V::load(multipliers.add(at)));
                let x = match &curved {
                    Some(curved) => curved.apply(x),
                    None => x,
                };
                let bytes = self.numbers(x);
                if at + V::LANES <= n {
                    bytes.store_u8(to.add(at));
                } else {
                    bytes.store_first_u8(to.add(at), n - at);
                }
            }
            at += V::LANES;
        }
    }
}

/// What 1 of a sum of products is in steps of the result: `(a * b) / step`, for the scales of the
/// factors.
///
/// Rounded after each operation, because ONNX Runtime and XNNPACK do so: a quotient that is rounded
/// once differs in its last bit, and among a million sums one then falls on the other side of a half.
/// Through 60 layers that byte becomes most bytes. Only if the product leaves the range of f32 is
/// the quotient rounded once.
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
pub(super) fn of_product(a: f32, b: f32, step: f32) -> f32 {
    let product = a * b;
    if product.is_normal() {
        return product / step;
    }
    (f64::from(a) * f64::from(b) / f64::from(step)) as f32
}

/// The quotient of the products of `numerators` and `denominators`, rounded once; refused if it is
/// not a normal number.
#[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
pub(super) fn multiplier(
    what: &'static str,
    numerators: &[f32],
    denominators: &[f32],
) -> Result<f32, KernelError> {
    let product = |factors: &[f32]| factors.iter().map(|&f| f64::from(f)).product::<f64>();
    let value = (product(numerators) / product(denominators)) as f32;
    if value.is_normal() && value > 0.0 {
        return Ok(value);
    }
    Err(KernelError::Geometry {
        what,
        got: format!("{numerators:?} by {denominators:?}"),
        rule: "scales must be so close that their quotient is a normal number",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multipliers_of_sums_are_rounded_after_each_operation() {
        // Rounded once it is the number above or below.
        let (input, weight, output) = (0.023_529_412_f32, 0.001_234_567_f32, 0.520_552_3_f32);
        let mut differs = 0;
        for i in 0..100_u8 {
            let weight = weight * (1.0 + f32::from(i) / 64.0);
            let own = of_product(input, weight, output);
            assert_eq!(own.to_bits(), (input * weight / output).to_bits());
            let once = multiplier("scales", &[input, weight], &[output]).unwrap();
            assert!((own / once - 1.0).abs() < 2e-7);
            differs += usize::from(own.to_bits() != once.to_bits());
        }
        assert!(differs > 0);
        // A product below the range of f32.
        let small = of_product(1e-30, 1e-20, 1e-30);
        assert!((small / 1e-20 - 1.0).abs() < 1e-6, "{small}");
        assert_eq!(of_product(0.5, 0.0, 0.1), 0.0);
    }
}
