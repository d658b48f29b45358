//! The gradient of a pooled head in closed form.
//!
//! Most classifiers end in a global mean and one dense layer. The gradient of class `c` with
//! respect to the feature map `A [H, W, K]` is then the same at every place: `W[k, c] / (H * W)`
//! (Zhou et al. 2016, arXiv:1512.04150). With more dense layers after the mean it is still the same
//! at every place, and the chain rule gives it: each layer contributes its weights times the slope
//! of its activation.
//!
//! In: a [`Target`] whose value passes through a global mean, dense layers, and ops that only move
//! numbers. Out: the gradient, or the node that prevents it. If the closed form applies, neither
//! candle nor its copies of the weights are needed.

use std::borrow::Cow;

use super::target::Target;
use crate::activation::Activation;
use crate::graph::{Dense, Graph, NodeId, Op, PoolKind, WeightError, Weights};

/// What the backward pass needs to know about a layer after the mean.
struct Layer {
    /// `[k, n]`.
    weights: Vec<f32>,
    /// The slope of the activation at each of the `n` outputs.
    slopes: Vec<f32>,
}

/// Why the closed form does not apply.
pub(super) enum Obstacle {
    /// The closed form does not know this node.
    Node(NodeId),
    /// A weight cannot be read.
    Weight(WeightError),
}

impl From<WeightError> for Obstacle {
    fn from(error: WeightError) -> Self {
        Self::Weight(error)
    }
}

/// The gradient of element `element` of the output with respect to the target's value: one number
/// for each element of `[H, W, K]`.
pub(super) fn gradient<'v>(
    target: &Target,
    element: usize,
    values: &dyn Fn(NodeId) -> Cow<'v, [f32]>,
) -> Result<Vec<f32>, Obstacle> {
    let graph = target.graph();
    let path = path(graph, target)?;
    let [height, width] = target.size();
    let channels = graph.node(target.node()).shape.channels();
    let mut row = mean(&values(target.node()), channels);
    let mut layers = Vec::new();
    for id in path {
        let Op::Dense(dense) = &graph.node(id).op else {
            continue;
        };
        let layer = forward(graph, id, dense, &mut row)?;
        layers.push(layer);
    }
    let mut gradient = vec![0.0; row.len()];
    gradient[element] = 1.0;
    for layer in layers.iter().rev() {
        gradient = layer.backward(&gradient);
    }
    // As candle computes it: the mean is a sum times this.
    #[expect(clippy::cast_possible_truncation, reason = "gradients are f32")]
    let share = (1.0 / (height * width) as f64) as f32;
    let one: Vec<f32> = gradient.iter().map(|g| g * share).collect();
    Ok(one.repeat(height * width))
}

/// Whether the closed form knows all nodes after the target.
pub(super) fn applies(target: &Target) -> bool {
    path(target.graph(), target).is_ok()
}

/// The nodes from after the target to the output, if they are a chain that the closed form knows.
fn path(graph: &Graph, target: &Target) -> Result<Vec<NodeId>, Obstacle> {
    let mut path = Vec::new();
    let mut at = graph.output();
    while at != target.node() {
        let node = graph.node(at);
        let [before] = node.inputs.as_slice() else {
            return Err(Obstacle::Node(at));
        };
        let is_vector = graph.node(*before).shape.len() == graph.node(*before).shape.channels();
        let known = match &node.op {
            Op::Quantize | Op::Dequantize => true,
            Op::Reshape { .. } => is_vector,
            Op::GlobalPool { .. } | Op::Pool2d { .. } => is_global_mean(graph, at),
            Op::Dense(dense) => is_vector && dense.epilogue.residual.is_none(),
            _ => false,
        };
        if !known {
            return Err(Obstacle::Node(at));
        }
        path.push(at);
        at = *before;
    }
    path.reverse();
    // The mean must come first: a dense layer at each place would need another formula.
    let moves = |id: &&NodeId| !matches!(graph.node(**id).op, Op::Quantize | Op::Dequantize);
    match path.iter().find(moves) {
        Some(&first) if is_global_mean(graph, first) => Ok(path),
        Some(&first) => Err(Obstacle::Node(first)),
        None => Err(Obstacle::Node(target.node())),
    }
}

/// Whether a node is the mean of all rows and columns.
fn is_global_mean(graph: &Graph, id: NodeId) -> bool {
    let node = graph.node(id);
    match &node.op {
        Op::GlobalPool { kind, .. } => *kind == PoolKind::Average,
        Op::Pool2d {
            kind: PoolKind::Average,
            window,
        } => {
            let input = graph.node(node.inputs[0]).shape.hwc();
            input.is_some_and(|[h, w, _]| window.kernel == [h, w])
                && window.dilations == [1, 1]
                && window.padding.is_zero()
        }
        _ => false,
    }
}

fn mean(activation: &[f32], channels: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; channels];
    for pixel in activation.chunks_exact(channels) {
        for (sum, &value) in sums.iter_mut().zip(pixel) {
            *sum += f64::from(value);
        }
    }
    let pixels = (activation.len() / channels).max(1) as f64;
    sums.iter().map(|sum| round(sum / pixels)).collect()
}

#[expect(clippy::cast_possible_truncation, reason = "values are f32")]
fn round(value: f64) -> f32 {
    value as f32
}

/// Replaces `row` by the layer's output.
fn forward(
    graph: &Graph,
    id: NodeId,
    dense: &Dense,
    row: &mut Vec<f32>,
) -> Result<Layer, Obstacle> {
    let node = graph.node(id);
    let (k, n) = (row.len(), dense.units);
    let plain = Weights::of(graph, node).matrix(&dense.kernel, [1, k, n], dense.bias.as_ref())?;
    let mut sums = vec![0.0_f64; n];
    for (&x, weights) in row.iter().zip(plain.weights.chunks_exact(n)) {
        for (sum, &w) in sums.iter_mut().zip(weights) {
            *sum += f64::from(x) * f64::from(w);
        }
    }
    let bias = plain.bias.unwrap_or_else(|| vec![0.0]);
    let biased = sums.iter().zip(bias.iter().cycle());
    let biased: Vec<f32> = biased.map(|(sum, &b)| round(sum + f64::from(b))).collect();
    let activation = dense.epilogue.activation;
    let slopes: Option<Vec<f32>> = biased.iter().map(|&x| slope(activation, x)).collect();
    let slopes = slopes.ok_or(Obstacle::Node(id))?;
    *row = biased.iter().map(|&x| activation.apply(x)).collect();
    Ok(Layer {
        weights: plain.weights,
        slopes,
    })
}

impl Layer {
    /// The gradient with respect to the layer's input, from the gradient with respect to its
    /// output.
    fn backward(&self, gradient: &[f32]) -> Vec<f32> {
        let through: Vec<f64> = gradient
            .iter()
            .zip(&self.slopes)
            .map(|(&g, &slope)| f64::from(g) * f64::from(slope))
            .collect();
        let rows = self.weights.chunks_exact(through.len().max(1));
        rows.map(|weights| {
            let products = weights.iter().zip(&through).map(|(&w, g)| f64::from(w) * g);
            round(products.sum())
        })
        .collect()
    }
}

/// The derivative of an activation that is common in dense layers; `None` for others. At the kink
/// of a rectifier it is 0, as in TensorFlow; candle uses 1 there.
fn slope(activation: Activation, x: f32) -> Option<f32> {
    let step = |on: bool| if on { 1.0 } else { 0.0 };
    Some(match activation {
        Activation::Linear => 1.0,
        Activation::Relu => step(x > 0.0),
        Activation::Tanh => {
            let y = activation.apply(x);
            1.0 - y * y
        }
        Activation::Sigmoid => {
            let y = activation.apply(x);
            y * (1.0 - y)
        }
        _ => return None,
    })
}
