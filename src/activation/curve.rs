//! Smooth activations as parabolas between evenly spaced knots, for integer kernels.
//!
//! A quantized convolution with an activation could round its sum to a byte and look the byte up in
//! a table. That rounds twice, and the first rounding has coarse steps: the table must cover the
//! whole range of the sums, and SiLU flattens most of it. A curve is applied to the unrounded sum
//! instead, so that only the result is rounded. It consists of multiplications and additions, each
//! rounded on its own, and a choice among 32 segments. This gives the same bits on every
//! instruction set; their exponential functions would not.
//!
//! ```text
//! segment = trunc(clamp(x * per_x + offset, 0, 31))
//! y       = (c2[segment] * x + c1[segment]) * x + c0[segment]
//! ```
//!
//! Segments 1 to 30 are the inner ones. Each is a parabola through the function at the three
//! Chebyshev nodes, with an error of at most `h^3 max|f'''| / 192`. Segments 0 and 31 are the
//! function's asymptotes. If a function has a kink (LeakyReLU, ELU, hard swish), a knot lies there,
//! so that both sides are exact. The tests hold every curve to 1/1000.
//!
//! Not here: functions that have kinks elsewhere or no straight tails (`ReluGeneral`, `Softsign`,
//! `Exp`), which stay tables; functions that are clamps; and those that integer graphs leave in f32.

use super::Activation;

/// Segments of a curve: one AVX-512 instruction chooses among that many.
pub const SEGMENTS: usize = 32;

/// Segments that are not asymptotes.
const INNER: usize = SEGMENTS - 2;

/// An activation's approximation, scaled.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    per_x: f32,
    offset: f32,
    /// For each power of `x`, a number for each segment.
    coefficients: [[f32; SEGMENTS]; 3],
}

/// The range in which a function bends, and the straight lines (value at 0, slope) outside it.
struct Shape {
    middle: f64,
    reach: f64,
    left: [f64; 2],
    right: [f64; 2],
}

impl Activation {
    /// Whether it has a [`Curve`].
    #[must_use]
    pub fn is_curve(self) -> bool {
        shape(self).is_some()
    }
}

/// The reach balances the error of the parabolas against that of the asymptotes.
fn shape(activation: Activation) -> Option<Shape> {
    let at_zero = |reach, left, right| {
        Some(Shape {
            middle: 0.0,
            reach,
            left,
            right,
        })
    };
    let (zero, one, identity) = ([0.0, 0.0], [1.0, 0.0], [0.0, 1.0]);
    match activation {
        Activation::Sigmoid => at_zero(9.0, zero, one),
        Activation::Silu | Activation::Mish => at_zero(10.0, zero, identity),
        Activation::Gelu | Activation::GeluTanh => at_zero(5.0, zero, identity),
        Activation::Softplus => at_zero(9.0, zero, identity),
        Activation::Tanh => at_zero(4.5, [-1.0, 0.0], one),
        Activation::HardSwish => at_zero(3.0, zero, identity),
        Activation::LeakyRelu { slope } => at_zero(1.0, [0.0, slope.into()], identity),
        Activation::Elu { alpha } => at_zero(8.0, [-f64::from(alpha), 0.0], identity),
        Activation::Selu => {
            let far = f64::from(Activation::Selu.apply(-100.0));
            let slope = f64::from(Activation::Selu.apply(1.0));
            at_zero(7.5, [far, 0.0], [0.0, slope])
        }
        Activation::HardSigmoid { alpha, beta } if alpha > 0.0 => {
            let (alpha, beta) = (f64::from(alpha), f64::from(beta));
            Some(Shape {
                middle: (0.5 - beta) / alpha,
                reach: 0.5 / alpha,
                left: zero,
                right: one,
            })
        }
        _ => None,
    }
}

impl Curve {
    /// `activation(x) / step` as a function of `x`; `None` if it has no curve.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "rounded once, at the end")]
    pub fn of(activation: Activation, step: f32) -> Option<Self> {
        let Shape {
            middle,
            reach,
            left,
            right,
        } = shape(activation)?;
        let width = 2.0 * reach / INNER as f64;
        // `apply` ends in an f32, whose rounding is far below a parabola's error.
        let f = |x: f64| f64::from(activation.apply(x as f32));
        let mut coefficients = [[0.0; SEGMENTS]; 3];
        for segment in 0..SEGMENTS {
            let powers = match segment {
                0 => [left[0], left[1], 0.0],
                s if s == SEGMENTS - 1 => [right[0], right[1], 0.0],
                _ => {
                    let centre = middle - reach + width * (segment as f64 - 0.5);
                    // Chebyshev's nodes of degree 3: 0 and +-cos(30 degrees), of half a width.
                    parabola(centre, width / 2.0 * 0.75_f64.sqrt(), f)
                }
            };
            for (all, power) in coefficients.iter_mut().zip(powers) {
                all[segment] = (power / f64::from(step)) as f32;
            }
        }
        Some(Self {
            per_x: (1.0 / width) as f32,
            // The middle of the function is the knot between segments 15 and 16.
            offset: (SEGMENTS as f64 / 2.0 - middle / width) as f32,
            coefficients,
        })
    }

    /// Factor and addend that turn `x` into its place among the segments.
    #[must_use]
    pub fn place(&self) -> [f32; 2] {
        [self.per_x, self.offset]
    }

    /// For `1`, `x` and `x * x`, a number for each segment.
    #[must_use]
    pub fn coefficients(&self) -> &[[f32; SEGMENTS]; 3] {
        &self.coefficients
    }

    /// The curve at `x`. Every kernel must give these bits.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to the segments"
    )]
    pub fn apply(&self, x: f32) -> f32 {
        let place = (x * self.per_x + self.offset).clamp(0.0, SEGMENTS as f32 - 1.0);
        let [c0, c1, c2] = self.coefficients.map(|all| all[place as usize]);
        (c2 * x + c1) * x + c0
    }
}

/// Coefficients of `1`, `x` and `x * x` of the parabola through `f` at `centre` and `away` on
/// either side.
fn parabola(centre: f64, away: f64, f: impl Fn(f64) -> f64) -> [f64; 3] {
    let [low, mid, high] = [centre - away, centre, centre + away].map(f);
    let slope = (high - low) / (2.0 * away);
    let bend = (high - 2.0 * mid + low) / (2.0 * away * away);
    // From powers of `x - centre` to powers of `x`.
    [
        mid - slope * centre + bend * centre * centre,
        slope - 2.0 * bend * centre,
        bend,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    const CURVES: [Activation; 13] = [
        Activation::Sigmoid,
        Activation::Silu,
        Activation::Mish,
        Activation::Gelu,
        Activation::GeluTanh,
        Activation::Softplus,
        Activation::Tanh,
        Activation::HardSwish,
        Activation::LeakyRelu { slope: 0.3 },
        Activation::Elu { alpha: 0.7 },
        Activation::Selu,
        Activation::HardSigmoid {
            alpha: 1.0 / 6.0,
            beta: 0.5,
        },
        Activation::HardSigmoid {
            alpha: 0.2,
            beta: 0.4,
        },
    ];

    #[test]
    fn a_curve_is_within_a_thousandth_of_its_function() {
        for activation in CURVES {
            let curve = Curve::of(activation, 1.0).unwrap();
            let mut worst = (0.0, 0.0);
            for i in -40_000..=40_000 {
                let x = i as f32 / 1000.0;
                let off = (curve.apply(x) - activation.apply(x)).abs();
                // Far out, the asymptote's own rounding counts.
                let off = off - 4.0 * f32::EPSILON * x.abs();
                if off > worst.0 {
                    worst = (off, x);
                }
            }
            assert!(worst.0 < 1e-3, "{activation:?}: {worst:?}");
        }
    }

    #[test]
    fn functions_of_straight_pieces_are_met_exactly() {
        for activation in CURVES {
            let straight = matches!(
                activation,
                Activation::HardSwish
                    | Activation::LeakyRelu { .. }
                    | Activation::HardSigmoid { .. }
            );
            if !straight {
                continue;
            }
            let curve = Curve::of(activation, 1.0).unwrap();
            for i in -10_000..=10_000 {
                let x = i as f32 / 1000.0;
                let off = (curve.apply(x) - activation.apply(x)).abs();
                assert!(off < 3e-6, "{activation:?} at {x}: {off}");
            }
        }
    }

    #[test]
    fn steps_scale_the_curve() {
        let [one, tenth] = [1.0, 0.1].map(|step| Curve::of(Activation::Silu, step).unwrap());
        for x in [-20.0, -3.0, -0.1, 0.0, 2.5, 30.0] {
            let (one, tenth) = (one.apply(x), tenth.apply(x));
            assert!((tenth - 10.0 * one).abs() <= 1e-5 * tenth.abs().max(1.0));
        }
    }

    #[test]
    fn what_a_curve_would_miss_has_none() {
        for activation in [
            Activation::Linear,
            Activation::Relu,
            Activation::Relu6,
            Activation::Exp,
            Activation::Softsign,
            Activation::ReluGeneral {
                max_value: None,
                negative_slope: 0.1,
                threshold: 1.0,
            },
            Activation::HardSigmoid {
                alpha: -0.2,
                beta: 0.5,
            },
        ] {
            assert!(!activation.is_curve(), "{activation:?}");
            assert_eq!(Curve::of(activation, 1.0), None);
        }
        for activation in CURVES {
            assert!(activation.is_curve(), "{activation:?}");
        }
    }
}
