//! The convolution as its definition says, in f64. It is documentation and oracle.

use super::ConvParams;
use crate::kernels::KernelError;
use crate::tensor::{DType, PANEL, Tensor};

/// The stored numbers of weights of any type.
pub(super) fn floats(tensor: &Tensor) -> Vec<f32> {
    let halves = tensor.bytes().as_chunks::<2>().0.iter().copied();
    match tensor.dtype() {
        DType::F16 => halves
            .map(|b| half::f16::from_le_bytes(b).to_f32())
            .collect(),
        DType::BF16 => halves
            .map(|b| half::bf16::from_le_bytes(b).to_f32())
            .collect(),
        DType::I8 => (tensor.as_i8().unwrap_or_default().iter())
            .map(|&w| f32::from(w))
            .collect(),
        _ => tensor.as_f32().unwrap_or_default().to_vec(),
    }
}

/// Sums in f64; the activations are [`crate::activation::Activation::apply`]. Returns each
/// output with `Σ|x * w| + |bias|`, from which the error bound of a sum in f32 follows.
///
/// # Errors
/// [`KernelError`] if the window does not fit its input.
///
/// # Panics
/// If `inputs` or the tensors do not have the lengths that the geometry needs.
pub fn conv_f32_reference(
    params: &ConvParams,
    inputs: &[&[f32]],
) -> Result<Vec<(f32, f64)>, KernelError> {
    let g = &params.window;
    let [out_h, out_w] = g.output()?;
    let [in_h, in_w, c] = g.input;
    let [kh, kw] = g.kernel;
    let (cg, ng) = (c / params.groups, params.filters / params.groups);
    let k = kh * kw * cg;
    let weights = floats(&params.weights);
    let bias = params.bias.as_ref().and_then(|b| b.as_f32());
    let scale = params.scale.as_ref().and_then(|s| s.as_f32());
    let mut output = Vec::with_capacity(out_h * out_w * params.filters);
    for (oy, ox) in (0..out_h).flat_map(|oy| (0..out_w).map(move |ox| (oy, ox))) {
        for filter in 0..params.filters {
            let (group, n) = (filter / ng, filter % ng);
            let panel = group * ng.div_ceil(PANEL) + n / PANEL;
            let scale = scale.map_or(1.0, |s| f64::from(s[filter]));
            let mut sum = bias.map_or(0.0, |b| f64::from(b[filter]));
            let mut magnitude = sum.abs();
            for (ky, kx) in (0..kh).flat_map(|ky| (0..kw).map(move |kx| (ky, kx))) {
                let y = (oy * g.strides[0] + ky * g.dilations[0]).checked_sub(g.padding[0]);
                let x = (ox * g.strides[1] + kx * g.dilations[1]).checked_sub(g.padding[1]);
                let (Some(y), Some(x)) = (y, x) else { continue };
                if y >= in_h || x >= in_w {
                    continue;
                }
                for i in 0..cg {
                    let value = inputs[0][(y * in_w + x) * c + group * cg + i];
                    let t = (ky * kw + kx) * cg + i;
                    let weight = weights[(panel * k + t) * PANEL + n % PANEL];
                    let product = f64::from(value) * f64::from(weight) * scale;
                    sum += product;
                    magnitude += product.abs();
                }
            }
            #[expect(clippy::cast_possible_truncation, reason = "rounded once, at the end")]
            let mut value = params.activation.apply(sum as f32);
            if let Some(post) = params.residual {
                value = post.apply(value + inputs[1][output.len()]);
            }
            output.push((value, magnitude));
        }
    }
    Ok(output)
}
