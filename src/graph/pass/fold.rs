//! Folding: arithmetic that is done once, at import, and not for every photo.

use super::draft::Draft;
use crate::activation::Activation;
use crate::graph::{
    Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, GraphError, Kernel, KernelLayout, NodeId, Op,
    PoolKind, Stage,
};
use crate::tensor::{AlignedF32, Tensor};

/// Moves a `Pad` into the padding of a convolution, if that is its only reader, and into a max
/// pooling of values that are never negative (there a zero of the padding never wins against a real
/// element). The padding layer's name moves to its input, which differs only in the border.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn fold_padding(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        let Some(&pad) = draft.node(id).inputs.first() else {
            continue;
        };
        let Op::Pad(padding) = draft.node(pad).op else {
            continue;
        };
        let x = draft.node(pad).inputs[0];
        if !draft.only_feeds(pad, id) {
            continue;
        }
        let max_pool_of_non_negative = non_negative(&draft, x);
        let window = match &mut draft.node_mut(id).op {
            Op::Conv2d(Conv2d { window, .. })
            | Op::DepthwiseConv2d(DepthwiseConv2d { window, .. }) => window,
            Op::Pool2d {
                kind: PoolKind::Max,
                window,
            } if max_pool_of_non_negative => window,
            _ => continue,
        };
        let mut sum = window.padding;
        sum.top += padding.top;
        sum.left += padding.left;
        sum.bottom += padding.bottom;
        sum.right += padding.right;
        // A window that lies wholly inside the padding would have no element to take the maximum
        // of.
        let [kh, kw] = window.kernel;
        if max_pool_of_non_negative
            && (sum.top >= kh || sum.bottom >= kh || sum.left >= kw || sum.right >= kw)
        {
            continue;
        }
        window.padding = sum;
        draft.node_mut(id).inputs[0] = x;
        draft.append_layers(pad, x);
    }
    draft.finish()
}

fn non_negative(draft: &Draft, id: NodeId) -> bool {
    let node = draft.node(id);
    match node.op {
        Op::Activation(Activation::Relu | Activation::Relu6 | Activation::Sigmoid) => true,
        Op::Pool2d { .. } | Op::Reshape { .. } | Op::Crop(_) => non_negative(draft, node.inputs[0]),
        _ => false,
    }
}

/// Folds `ScaleShift` (batch normalization) into the convolution or dense layer before it:
/// `s * (W x + b) + t = (s W) x + (s b + t)`, in f64 and rounded once.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn fold_scale_shift(graph: Graph) -> Result<Graph, GraphError> {
    let mut draft = Draft::new(graph);
    for id in draft.ids() {
        let Op::ScaleShift { scale, shift } = &draft.node(id).op else {
            continue;
        };
        let (scale_key, shift_key) = (scale.clone(), shift.clone());
        let producer = draft.node(id).inputs[0];
        if !draft.only_feeds(producer, id) {
            continue;
        }
        let Some((kernel, bias)) = plain_weights(&draft, producer) else {
            continue;
        };
        let n = draft.node(id).shape.channels();
        let (Some(scale), Some(shift)) = (
            channel_values(&draft, &scale_key, n),
            channel_values(&draft, &shift_key, n),
        ) else {
            continue;
        };
        // A second affine map on top of a folded one would make the stages of the inner layers
        // wrong, so these are composed. Sums of integers are scaled, then moved by a bias.
        let folded_before = draft
            .node(producer)
            .layers
            .iter()
            .any(|layer| matches!(layer.stage, Stage::BeforeAffine { .. }));
        if folded_before && kernel.scale.is_none() {
            continue;
        }
        let name = draft.node(producer).name.clone();
        let Some((new_kernel, new_bias)) = scaled(&draft, &kernel, bias.as_deref(), &scale, &shift)
        else {
            continue;
        };
        // Integers stay as they are: their scales are multiplied.
        let what = match kernel.scale {
            Some(_) => "scale",
            None => "kernel",
        };
        let stored = draft.store(producer, &format!("{name}.{what}"), new_kernel);
        let bias = draft.store(producer, &format!("{name}.bias"), new_bias);
        match &mut draft.node_mut(producer).op {
            Op::Conv2d(Conv2d {
                kernel: k, bias: b, ..
            })
            | Op::DepthwiseConv2d(DepthwiseConv2d {
                kernel: k, bias: b, ..
            })
            | Op::Dense(Dense {
                kernel: k, bias: b, ..
            }) => {
                match &mut k.scale {
                    Some(scale) => *scale = stored,
                    None => k.tensor = stored,
                }
                *b = Some(bias);
            }
            _ => {}
        }
        compose(&mut draft, producer, &scale, &shift);
        let stage = Stage::BeforeAffine {
            scale: scale_key,
            shift: shift_key,
        };
        Draft::demote_layers(&mut draft.node_mut(producer).layers, &stage);
        draft.append_layers(id, producer);
        draft.redirect(id, producer);
    }
    draft.finish()
}

/// Lets the layers of `id` that come before a folded affine map come before that map and another
/// one that follows it.
fn compose(draft: &mut Draft, id: NodeId, scale: &[f32], shift: &[f32]) {
    let n = scale.len();
    for index in 0..draft.node(id).layers.len() {
        let layer = &draft.node(id).layers[index];
        let Stage::BeforeAffine { scale: s, shift: t } = &layer.stage else {
            continue;
        };
        let (key, name) = (layer.name.clone(), draft.node(id).name.clone());
        let (Some(s), Some(t)) = (channel_values(draft, s, n), channel_values(draft, t, n)) else {
            continue;
        };
        let both = |x: f32, c: usize| f64::from(x) * f64::from(scale[c]);
        let s: Vec<f32> = (0..n).map(|c| round(both(s[c], c))).collect();
        let t: Vec<f32> = (0..n)
            .map(|c| round(both(t[c], c) + f64::from(shift[c])))
            .collect();
        let [s, t] = [("scale", s), ("shift", t)].map(|(what, values)| {
            let tensor = Tensor::from_f32([n], &values).ok()?;
            Some(draft.store(id, &format!("{name}/{key}/{what}"), tensor))
        });
        if let (Some(scale), Some(shift)) = (s, t) {
            draft.node_mut(id).layers[index].stage = Stage::BeforeAffine { scale, shift };
        }
    }
}

/// Kernel and key of the bias of a node that stores the biased sum and nothing else.
fn plain_weights(draft: &Draft, id: NodeId) -> Option<(Kernel, Option<String>)> {
    let bare = Epilogue::default();
    let (kernel, bias) = match &draft.node(id).op {
        Op::Conv2d(conv) if conv.epilogue == bare => (&conv.kernel, &conv.bias),
        Op::Dense(dense) if dense.epilogue == bare => (&dense.kernel, &dense.bias),
        Op::DepthwiseConv2d(conv) if conv.activation == Activation::Linear => {
            (&conv.kernel, &conv.bias)
        }
        _ => return None,
    };
    (kernel.layout == KernelLayout::Plain).then(|| (kernel.clone(), bias.clone()))
}

fn channel_values(draft: &Draft, key: &str, n: usize) -> Option<Vec<f32>> {
    let values = draft.tensors.get(key)?.as_f32()?;
    match values.len() {
        1 => Some(vec![values[0]; n]),
        len if len == n => Some(values.to_vec()),
        _ => None,
    }
}

/// `kernel * scale` and `bias * scale + shift`; the output channel is the kernel's last axis. Of
/// integer weights it is their scales that are multiplied, if they stay positive. Weights of 16 bits
/// would be rounded again, so they are left alone.
fn scaled(
    draft: &Draft,
    kernel: &Kernel,
    bias: Option<&str>,
    scale: &[f32],
    shift: &[f32],
) -> Option<(Tensor, Tensor)> {
    let n = scale.len();
    if kernel.scale.is_some() && scale.iter().any(|s| !(s.is_normal() && *s > 0.0)) {
        return None;
    }
    let key = kernel.scale.as_ref().unwrap_or(&kernel.tensor);
    let tensor = draft.tensors.get(key)?;
    let mut weights = AlignedF32::zeroed(tensor.shape().len());
    let rows = weights.as_mut_slice().chunks_exact_mut(n);
    for (to, from) in rows.zip(tensor.as_f32()?.chunks_exact(n)) {
        for ((to, &from), &s) in to.iter_mut().zip(from).zip(scale) {
            // One rounding: the product of two f32 is exact in f64.
            *to = round(f64::from(from) * f64::from(s));
        }
    }
    let old = match bias {
        Some(key) => draft.tensors.get(key)?.as_f32()?.to_vec(),
        None => vec![0.0; n],
    };
    let sums = old.iter().zip(scale).zip(shift);
    let sums: Vec<f32> = sums
        .map(|((&b, &s), &t)| round(f64::from(b) * f64::from(s) + f64::from(t)))
        .collect();
    let weights = Tensor::from_aligned(tensor.shape().clone(), weights).ok()?;
    Some((weights, Tensor::from_f32([n], &sums).ok()?))
}

#[expect(clippy::cast_possible_truncation, reason = "weights are stored as f32")]
fn round(value: f64) -> f32 {
    value as f32
}
