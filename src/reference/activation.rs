//! Activations from candle operations that have a gradient.

use candle_core::{Result, Tensor};
use candle_nn::ops::sigmoid;

use crate::activation::Activation;

pub(super) fn apply(activation: Activation, x: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Linear => Ok(x.clone()),
        Activation::Relu => x.relu(),
        Activation::Relu6 => x.clamp(0f32, 6f32),
        Activation::ReluGeneral {
            max_value,
            negative_slope,
            threshold,
        } => {
            let capped = match max_value {
                Some(max) => x.minimum(f64::from(max))?,
                None => x.clone(),
            };
            let below = x.affine(
                f64::from(negative_slope),
                -f64::from(negative_slope) * f64::from(threshold),
            )?;
            x.gt(f64::from(threshold))?.where_cond(&capped, &below)
        }
        Activation::LeakyRelu { slope } => x.relu()? - (x.neg()?.relu()? * f64::from(slope))?,
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid { alpha, beta } => x
            .affine(f64::from(alpha), f64::from(beta))?
            .clamp(0f32, 1f32),
        Activation::Silu => x * sigmoid(x)?,
        Activation::HardSwish => x * x.affine(1.0 / 6.0, 0.5)?.clamp(0f32, 1f32)?,
        Activation::Tanh => x.tanh(),
        Activation::Elu { alpha } => x.elu(f64::from(alpha)),
        Activation::Selu => x.elu(1.673_263_242_354_377_2)? * 1.050_700_987_355_480_5,
        Activation::Gelu => x.gelu_erf(),
        Activation::GeluTanh => x.gelu(),
        Activation::Softplus => softplus(x),
        Activation::Softsign => x / (x.abs()? + 1.0)?,
        Activation::Exp => x.exp(),
        Activation::Mish => x * softplus(x)?.tanh()?,
        Activation::Erf => x.erf(),
        Activation::Sqrt => x.sqrt(),
        Activation::Reciprocal => x.recip(),
        Activation::Pow { exponent } => x.powf(f64::from(exponent)),
        Activation::Neg => x.neg(),
        Activation::Abs => x.abs(),
        Activation::Log => x.log(),
        Activation::Sin => x.sin(),
        Activation::Cos => x.cos(),
    }
}

/// `max(x, 0) + ln(1 + exp(-|x|))`, which does not overflow.
fn softplus(x: &Tensor) -> Result<Tensor> {
    x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?
}
