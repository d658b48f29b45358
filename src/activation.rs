//! Scalar activation functions, with the formulas of Keras 3.

pub mod curve;

use serde::{Deserialize, Serialize};

/// An elementwise function. [`Activation::apply`] is the definition; kernels approximate it.
///
/// Source: <https://keras.io/api/layers/activations/>.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Activation {
    /// `x`
    #[default]
    Linear,
    /// `max(x, 0)`
    Relu,
    /// `min(max(x, 0), 6)`
    Relu6,
    /// Keras `ReLU(max_value, negative_slope, threshold)`:
    /// `min(x, max_value)` if `x > threshold`, else `slope * (x - threshold)`. At the threshold
    /// itself that is 0, as Keras computes it; its documentation says `x`.
    ReluGeneral {
        /// Upper bound; infinite when absent in Keras.
        max_value: Option<f32>,
        /// Slope below the threshold.
        negative_slope: f32,
        /// Where the linear part starts.
        threshold: f32,
    },
    /// `x` if `x > 0`, else `slope * x`
    LeakyRelu {
        /// Slope of the negative part.
        slope: f32,
    },
    /// `1 / (1 + exp(-x))`
    Sigmoid,
    /// `clamp(alpha * x + beta, 0, 1)`: 1/6 and 0.5 in Keras 3, 0.2 and 0.5 in Keras 2.
    HardSigmoid {
        /// Slope.
        alpha: f32,
        /// Offset.
        beta: f32,
    },
    /// `x * sigmoid(x)`, also called swish.
    Silu,
    /// `x * clamp(x / 6 + 0.5, 0, 1)`
    HardSwish,
    /// `tanh(x)`
    Tanh,
    /// `x` if `x > 0`, else `alpha * (exp(x) - 1)`
    Elu {
        /// Scale of the negative part.
        alpha: f32,
    },
    /// `scale * elu(x, alpha)` with the constants of Klambauer et al. 2017.
    Selu,
    /// `x * Phi(x)`, exact (erf).
    Gelu,
    /// GELU's tanh approximation.
    GeluTanh,
    /// `ln(1 + exp(x))`
    Softplus,
    /// `x / (1 + |x|)`
    Softsign,
    /// `exp(x)`
    Exp,
    /// `x * tanh(softplus(x))`
    Mish,
    /// The error function.
    Erf,
    /// The square root; NaN below 0.
    Sqrt,
    /// `1 / x`
    Reciprocal,
    /// `x` to a constant power; NaN below 0, unless the exponent is an integer.
    Pow {
        /// The power.
        exponent: f32,
    },
    /// `-x`
    Neg,
    /// `|x|`
    Abs,
    /// The natural logarithm; NaN below 0.
    Log,
    /// `sin(x)`, of radians.
    Sin,
    /// `cos(x)`, of radians.
    Cos,
}

impl Activation {
    /// Whether it only bounds its argument by 0 and 6, so that integer kernels clamp their sums.
    #[must_use]
    pub fn is_clamp(self) -> bool {
        matches!(self, Self::Linear | Self::Relu | Self::Relu6)
    }

    /// Its name, as artifacts write it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Relu => "relu",
            Self::Relu6 => "relu6",
            Self::ReluGeneral { .. } => "relu_general",
            Self::LeakyRelu { .. } => "leaky_relu",
            Self::Sigmoid => "sigmoid",
            Self::HardSigmoid { .. } => "hard_sigmoid",
            Self::Silu => "silu",
            Self::HardSwish => "hard_swish",
            Self::Tanh => "tanh",
            Self::Elu { .. } => "elu",
            Self::Selu => "selu",
            Self::Gelu => "gelu",
            Self::GeluTanh => "gelu_tanh",
            Self::Softplus => "softplus",
            Self::Softsign => "softsign",
            Self::Exp => "exp",
            Self::Mish => "mish",
            Self::Erf => "erf",
            Self::Sqrt => "sqrt",
            Self::Reciprocal => "reciprocal",
            Self::Pow { .. } => "pow",
            Self::Neg => "neg",
            Self::Abs => "abs",
            Self::Log => "log",
            Self::Sin => "sin",
            Self::Cos => "cos",
        }
    }

    /// The function's value at `x`, computed in f64: the oracle of every kernel.
    #[must_use]
    pub fn apply(self, x: f32) -> f32 {
        let v = f64::from(x);
        let sigmoid = |t: f64| 1.0 / (1.0 + (-t).exp());
        let softplus = |t: f64| t.max(0.0) + (-t.abs()).exp().ln_1p();
        let y = match self {
            Self::Linear => return x,
            Self::Relu => return x.max(0.0),
            Self::Relu6 => return x.clamp(0.0, 6.0),
            Self::ReluGeneral {
                max_value,
                negative_slope,
                threshold,
            } => {
                let below = f64::from(negative_slope) * (v - f64::from(threshold));
                let y = if v > f64::from(threshold) { v } else { below };
                max_value.map_or(y, |m| y.min(f64::from(m)))
            }
            Self::LeakyRelu { slope } => {
                if v > 0.0 {
                    v
                } else {
                    f64::from(slope) * v
                }
            }
            Self::Sigmoid => sigmoid(v),
            Self::HardSigmoid { alpha, beta } => {
                (f64::from(alpha) * v + f64::from(beta)).clamp(0.0, 1.0)
            }
            Self::Silu => v * sigmoid(v),
            Self::HardSwish => v * (v / 6.0 + 0.5).clamp(0.0, 1.0),
            Self::Tanh => v.tanh(),
            Self::Elu { alpha } => {
                if v > 0.0 {
                    v
                } else {
                    f64::from(alpha) * v.exp_m1()
                }
            }
            Self::Selu => {
                const ALPHA: f64 = 1.673_263_242_354_377_2;
                const SCALE: f64 = 1.050_700_987_355_480_5;
                SCALE * if v > 0.0 { v } else { ALPHA * v.exp_m1() }
            }
            // `erfc` and not `1 + erf`, which cancels in the left tail.
            Self::Gelu => 0.5 * v * libm::erfc(-v / std::f64::consts::SQRT_2),
            Self::GeluTanh => {
                let inner = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044_715 * v.powi(3));
                // (1 + tanh(t)) / 2, without its cancellation in the left tail.
                v * sigmoid(2.0 * inner)
            }
            Self::Softplus => softplus(v),
            Self::Softsign => v / (1.0 + v.abs()),
            Self::Exp => v.exp(),
            Self::Mish => v * softplus(v).tanh(),
            Self::Erf => libm::erf(v),
            Self::Sqrt => v.sqrt(),
            Self::Reciprocal => 1.0 / v,
            Self::Pow { exponent } => v.powf(f64::from(exponent)),
            Self::Neg => -v,
            Self::Abs => v.abs(),
            Self::Log => v.ln(),
            Self::Sin => v.sin(),
            Self::Cos => v.cos(),
        };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounding to f32 is the definition"
        )]
        {
            y as f32
        }
    }
}
