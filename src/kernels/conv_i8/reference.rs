//! The convolution as its definition says, in plain integers and one number at a time. It is
//! documentation and oracle.

use super::{ConvI8Output, ConvI8Params};
use crate::activation::Activation;
use crate::activation::curve::Curve;
use crate::kernels::KernelError;
use crate::tensor::PANEL;

/// The stored bytes, or the bits of the stored numbers.
#[derive(Clone, Debug, PartialEq)]
pub enum Stored {
    /// Of [`ConvI8Output::U8`].
    U8(Vec<u8>),
    /// Of [`ConvI8Output::F32`].
    F32(Vec<f32>),
}

/// Sums in i64, then the rule of `kernels::requantize` as it is written there.
///
/// # Errors
/// [`KernelError`] if the window does not fit its input.
///
/// # Panics
/// If `inputs` or the tensors do not have the lengths that the geometry needs.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the rule rounds where it says so, and the byte is clamped"
)]
pub fn conv_i8_reference(params: &ConvI8Params, inputs: &[&[u8]]) -> Result<Stored, KernelError> {
    let g = &params.window;
    let [out_h, out_w] = g.output()?;
    let [in_h, in_w, c] = g.input;
    let [kh, kw] = g.kernel;
    let (cg, ng) = (c / params.groups, params.filters / params.groups);
    let k = kh * kw * cg;
    let weights = params.weights.as_i8().unwrap_or_default();
    let scales = params.weight_scale.as_f32().unwrap_or_default();
    let biases = params.bias.as_i32().unwrap_or_default();
    let (mut bytes, mut numbers) = (vec![], vec![]);
    for (oy, ox) in (0..out_h).flat_map(|oy| (0..out_w).map(move |ox| (oy, ox))) {
        for filter in 0..params.filters {
            let (group, n) = (filter / ng, filter % ng);
            let panel = group * ng.div_ceil(PANEL) + n / PANEL;
            let mut sum = i64::from(biases[filter]);
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let y = (oy * g.strides[0] + ky * g.dilations[0]).wrapping_sub(g.padding[0]);
                let x = (ox * g.strides[1] + kx * g.dilations[1]).wrapping_sub(g.padding[1]);
                for i in 0..cg {
                    let value = if y < in_h && x < in_w {
                        inputs[0][(y * in_w + x) * c + group * cg + i]
                    } else {
                        params.input.zero_point
                    };
                    let t = (ky * kw + kx) * cg + i;
                    let at = ((panel * k.div_ceil(4) + t / 4) * PANEL + n % PANEL) * 4 + t % 4;
                    sum += i64::from(value) * i64::from(weights[at]);
                }
            }
            match &params.output {
                ConvI8Output::F32 { activation } => {
                    let factor = params.input.scale * scales[filter];
                    numbers.push(activation.apply(sum as f32 * factor));
                }
                ConvI8Output::U8 {
                    output,
                    activation,
                    residual,
                    table,
                } => {
                    let curve = Curve::of(*activation, output.scale);
                    let unit = if curve.is_some() { 1.0 } else { output.scale };
                    let factor = params.input.scale * scales[filter] / unit;
                    let zero_point = f32::from(output.zero_point);
                    let six = (6.0 / output.scale).round_ties_even();
                    let clamp = |x: f32, activation: &Activation| match activation {
                        Activation::Relu => x.max(0.0),
                        Activation::Relu6 => x.clamp(0.0, six),
                        _ => x,
                    };
                    let x = sum as f32 * factor;
                    let mut x = curve.map_or_else(|| clamp(x, activation), |c| c.apply(x));
                    if let Some((from, post)) = residual {
                        let steps = f32::from(inputs[1][bytes.len()]) - f32::from(from.zero_point);
                        let ratio = (f64::from(from.scale) / f64::from(output.scale)) as f32;
                        x = clamp(x + steps * ratio, post);
                    }
                    let x = x.clamp(-zero_point, 255.0 - zero_point);
                    let byte = (x.round_ties_even() + zero_point) as u8;
                    bytes.push(
                        table
                            .as_ref()
                            .map_or(byte, |t| t.values()[usize::from(byte)]),
                    );
                }
            }
        }
    }
    Ok(match params.output {
        ConvI8Output::U8 { .. } => Stored::U8(bytes),
        ConvI8Output::F32 { .. } => Stored::F32(numbers),
    })
}
