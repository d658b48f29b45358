//! Cross-layer equalization: brings channels that share one scale to one range.
//!
//! It needs a convolution whose output only one other op with weights reads, and between the two
//! only functions that pass factors through (nothing, or ReLU). Then channel `c` of the first op
//! may be divided by any positive `s[c]`, and the second op's weights for it multiplied by it: the
//! function stays the same. Nagel et al. 2019 balance weights against weights. Here each channel of
//! the first op's weights has its own scale anyway, so the ranges of its values are balanced
//! against the second op's weights: `s = reach_x^a / reach_w^(1 - a)`, as Xiao et al. 2023
//! (arXiv:2211.10438) do for transformers.
//! al. 2023 (arXiv:2211.10438) do for transformers.

use super::Calibration;
use crate::activation::Activation;
use crate::graph::{Epilogue, Graph, GraphError, KernelLayout, Node, NodeId, Op, Stage};
use crate::tensor::{AlignedF32, DType, PANEL, Tensor};

/// Factors are limited to this range: larger ones would only trade one range for another.
const MOST: f64 = 32.0;

/// The graph with balanced channels. `strength` (0 to 1) is the part of the values' differences
/// that moves to the next op's weights. Run it on the calibrated graph, then calibrate again.
///
/// # Errors
/// [`GraphError`] if the rewritten graph does not check, which is a bug.
pub fn equalize(calibration: &Calibration, strength: f64) -> Result<Graph, GraphError> {
    let graph = calibration.graph();
    let mut tensors = graph.tensors.clone();
    let users = graph.users();
    let mut scaled = Vec::new();
    // A kernel that two nodes share cannot be scaled for one of them.
    let readers = |key: &str| {
        let nodes = graph.nodes().iter();
        nodes.filter(|n| n.tensors().contains(&key)).count()
    };
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let Some((bias, epilogue)) = producer(node) else {
            continue;
        };
        let [user] = users[id.0].as_slice() else {
            continue;
        };
        let passes = epilogue.residual.is_none()
            && matches!(epilogue.activation, Activation::Linear | Activation::Relu)
            && epilogue.activation.is_clamp()
            && id != graph.output();
        let next = graph.node(*user);
        let Some(kernel) = node.op.kernel() else {
            continue;
        };
        let (Some(next_kernel), Some(stats)) = (next.op.kernel(), calibration.value(&node.name))
        else {
            continue;
        };
        let alone = readers(&kernel.tensor) == 1
            && readers(&next_kernel.tensor) == 1
            && bias.is_none_or(|key| readers(key) == 1);
        if !passes || !alone || next.inputs[0] != id || !balanceable(graph, node, next, id) {
            continue;
        }
        let (Some(first), Some(second)) = (
            tensors.get(&kernel.tensor).and_then(Tensor::as_f32),
            tensors.get(&next_kernel.tensor).and_then(Tensor::as_f32),
        ) else {
            continue;
        };
        let n = node.shape.channels();
        let behind = input_reach(next, second, n);
        let factors = factors(stats.channel_reach(), &behind, strength);
        let scaled_first = scale_outputs(node, first, n, &factors);
        let scaled_second = scale_inputs(next, second, n, &factors);
        let scaled_bias = bias.and_then(|key| {
            let values = tensors.get(key)?.as_f32()?;
            let mut values = values.to_vec();
            for (v, f) in values.iter_mut().zip(&factors) {
                *v /= f;
            }
            Some((key.to_owned(), values))
        });
        scaled.extend([id, *user]);
        let made = [
            (kernel.tensor.clone(), scaled_first),
            (next_kernel.tensor.clone(), scaled_second),
        ];
        for (key, values) in made.into_iter().chain(scaled_bias) {
            let shape = tensors[&key].shape().clone();
            let mut buffer = AlignedF32::zeroed(values.len());
            buffer.as_mut_slice().copy_from_slice(&values);
            if let Ok(tensor) = Tensor::from_aligned(shape, buffer) {
                tensors.insert(key, tensor);
            }
        }
    }
    let mut nodes = graph.nodes().to_vec();
    for id in scaled {
        // After scaling, the folded affine map of a kernel can no longer be recovered.
        for layer in &mut nodes[id.0].layers {
            if matches!(layer.stage, Stage::BeforeAffine { .. }) {
                layer.stage = Stage::Folded;
            }
        }
    }
    Graph::from_parts(graph.name.clone(), nodes, graph.output(), tensors)
}

/// The bias and epilogue of an op whose output channels have scales of their own.
fn producer(node: &Node) -> Option<(Option<&str>, Epilogue)> {
    match &node.op {
        Op::Conv2d(conv) if conv.groups == 1 => Some((conv.bias.as_deref(), conv.epilogue)),
        Op::DepthwiseConv2d(conv) => Some((
            conv.bias.as_deref(),
            Epilogue {
                activation: conv.activation,
                residual: None,
            },
        )),
        _ => None,
    }
}

/// Whether both kernels are packed floats, and each input channel of `next` is a channel of `node`.
fn balanceable(graph: &Graph, node: &Node, next: &Node, id: NodeId) -> bool {
    let packed = |node: &Node| {
        node.op.kernel().is_some_and(|kernel| {
            kernel.layout == KernelLayout::Panel16
                && graph
                    .tensors
                    .get(&kernel.tensor)
                    .is_some_and(|t| t.dtype() == DType::F32)
        })
    };
    let reads = match &next.op {
        Op::Conv2d(conv) => conv.groups == 1,
        Op::DepthwiseConv2d(conv) => conv.multiplier == 1,
        Op::Dense(_) => true,
        _ => false,
    };
    packed(node) && packed(next) && reads && !next.inputs[1..].contains(&id)
}

fn factors(reach: &[f32], behind: &[f32], strength: f64) -> Vec<f32> {
    let raw: Vec<f64> = reach
        .iter()
        .zip(behind)
        .map(|(&x, &w)| {
            if x > 0.0 && w > 0.0 {
                f64::from(x).powf(strength) / f64::from(w).powf(1.0 - strength)
            } else {
                0.0
            }
        })
        .collect();
    // Only ratios matter: the geometric mean of those in use becomes 1.
    let used: Vec<f64> = raw.iter().copied().filter(|&f| f > 0.0).collect();
    let mean = (used.iter().map(|f| f.ln()).sum::<f64>() / used.len().max(1) as f64).exp();
    #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
    raw.iter()
        .map(|&f| {
            if f > 0.0 {
                (f / mean).clamp(1.0 / MOST, MOST) as f32
            } else {
                1.0
            }
        })
        .collect()
}

/// The largest weight for each input channel of `next`.
fn input_reach(next: &Node, weights: &[f32], n: usize) -> Vec<f32> {
    let mut reach = vec![0.0_f32; n];
    for_each_input(next, n, weights.len(), |at, channel| {
        reach[channel] = reach[channel].max(weights[at].abs());
    });
    reach
}

fn scale_inputs(next: &Node, weights: &[f32], n: usize, factors: &[f32]) -> Vec<f32> {
    let mut scaled = weights.to_vec();
    for_each_input(next, n, weights.len(), |at, channel| {
        scaled[at] *= factors[channel];
    });
    scaled
}

/// Every weight of an ungrouped packed kernel with its input channel.
fn for_each_input(next: &Node, n: usize, len: usize, mut f: impl FnMut(usize, usize)) {
    if matches!(next.op, Op::DepthwiseConv2d(_)) {
        let padded = n.next_multiple_of(PANEL);
        for at in (0..len).filter(|at| at % padded < n) {
            f(at, at % padded);
        }
        return;
    }
    // `[panels, k, 16]` with `k` over taps, then input channels: `k mod n` is the channel, as
    // the rows of a panel are a multiple of `n`.
    for at in 0..len {
        f(at, at / PANEL % n);
    }
}

fn scale_outputs(node: &Node, weights: &[f32], n: usize, factors: &[f32]) -> Vec<f32> {
    let mut scaled = weights.to_vec();
    if matches!(node.op, Op::DepthwiseConv2d(_)) {
        let padded = n.next_multiple_of(PANEL);
        for (at, w) in scaled.iter_mut().enumerate() {
            if at % padded < n {
                *w /= factors[at % padded];
            }
        }
        return scaled;
    }
    let rows = weights.len() / (n.div_ceil(PANEL) * PANEL);
    for (at, w) in scaled.iter_mut().enumerate() {
        let channel = at / (rows * PANEL) * PANEL + at % PANEL;
        if channel < n {
            *w /= factors[channel];
        }
    }
    scaled
}
