//! Builds the graph of bytes.

use std::collections::{BTreeMap, BTreeSet};

use super::calibrate::Calibration;
use super::{QuantizeError, RangeMethod};
use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Conv2d, Dense, Graph, IntegerKernel, Kernel, KernelForm, KernelLayout, Node, NodeId,
    Op, PoolKind, Stage,
};
use crate::panel;
use crate::quantization::Quantization;
use crate::tensor::{DType, PANEL, Tensor};

/// The largest weight. -128 is left out, so that scales are symmetric.
const LARGEST: f32 = 127.0;

/// Longest reduction that integer kernels sum exactly in 32 bits.
const MAX_REDUCTION: usize = 33_000;

/// Largest i32 bias that kernels take.
const MAX_BIAS: f64 = (1 << 30) as f64;

/// Pixels that a global pool may sum exactly.
const MAX_POOLED: usize = (1 << 24) / 255;

/// How to build the graph of bytes.
#[derive(Clone, Debug)]
pub struct Int8Options {
    /// How to choose the ranges of values.
    pub method: RangeMethod,
    /// Nodes (of [`Calibration::graph`]) that stay in float.
    pub keep_float: BTreeSet<String>,
    /// Whether biases compensate for the mean error that rounding the weights causes in each
    /// channel.
    pub bias_correction: bool,
}

impl Default for Int8Options {
    fn default() -> Self {
        Self {
            method: RangeMethod::Mse,
            keep_float: BTreeSet::new(),
            bias_correction: true,
        }
    }
}

/// The graph that computes in integers wherever an integer kernel exists.
///
/// Convolutions and matrix products get integer weights unless they are in `keep_float`, and the
/// ops between them follow. `Quantize` and `Dequantize` nodes stand between integers and floats.
///
/// # Errors
/// [`QuantizeError`] for weights that are not numbers.
pub fn to_int8(calibration: &Calibration, options: &Int8Options) -> Result<Graph, QuantizeError> {
    let graph = calibration.graph();
    let integer = integers(graph, options);
    let mut builder = Builder {
        graph,
        calibration,
        options,
        bytes: stored_bytes(graph, &integer),
        integer,
        users: graph.users(),
        nodes: Vec::new(),
        tensors: BTreeMap::new(),
        at: Vec::new(),
        quantized: BTreeMap::new(),
        dequantized: BTreeMap::new(),
        names: graph.nodes().iter().map(|n| n.name.clone()).collect(),
    };
    for id in graph.ids() {
        builder.node(id)?;
    }
    let mut output = builder.at[graph.output().0];
    if builder.nodes[output.0].quantization.is_some() {
        output = builder.real(output);
    }
    // Tensors that float nodes read.
    for key in builder.nodes.iter().flat_map(Node::tensors) {
        if !builder.tensors.contains_key(key)
            && let Some(tensor) = graph.tensors.get(key)
        {
            builder.tensors.insert(key.to_owned(), tensor.clone());
        }
    }
    let Builder { nodes, tensors, .. } = builder;
    let name = graph.name.clone();
    Ok(Graph::from_parts(name, nodes, output, tensors)?)
}

/// Which nodes compute in integers.
fn integers(graph: &Graph, options: &Int8Options) -> Vec<bool> {
    let mut integer = vec![false; graph.nodes().len()];
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let follows = node.inputs.iter().any(|input| integer[input.0]);
        let packed_f32 = node.op.kernel().is_some_and(|kernel| {
            kernel.layout == KernelLayout::Panel16
                && (graph.tensors.get(&kernel.tensor)).is_some_and(|t| t.dtype() == DType::F32)
        });
        let kept = options.keep_float.contains(&node.name);
        integer[id.0] = match &node.op {
            Op::Conv2d(_) | Op::Dense(_) => {
                !kept && packed_f32 && reduction(graph, node) <= MAX_REDUCTION
            }
            Op::DepthwiseConv2d(conv) => !kept && packed_f32 && conv.multiplier == 1,
            Op::Binary { kind, .. } => follows && *kind != BinaryOp::Div,
            Op::GlobalPool { .. } => {
                let input = &graph.node(node.inputs[0]).shape;
                follows && input.hwc().is_some_and(|[h, w, _]| h * w <= MAX_POOLED)
            }
            Op::Activation(activation) => follows && has_table(*activation),
            Op::Concat { .. } | Op::Pool2d { .. } | Op::Pad(_) | Op::Reshape { .. } => follows,
            _ => false,
        };
    }
    integer
}

/// Whether a byte of the argument tells enough of the function's value. Roots, logarithms and
/// reciprocals are steepest where a byte is coarsest, and what transformers compute beside them stays
/// in f32 as well.
fn has_table(activation: Activation) -> bool {
    !matches!(
        activation,
        Activation::Erf
            | Activation::Sqrt
            | Activation::Reciprocal
            | Activation::Pow { .. }
            | Activation::Neg
            | Activation::Abs
            | Activation::Log
            | Activation::Sin
            | Activation::Cos
    )
}

fn reduction(graph: &Graph, node: &Node) -> usize {
    let channels = graph.node(node.inputs[0]).shape.channels();
    match &node.op {
        Op::Conv2d(conv) => {
            conv.window.kernel[0] * conv.window.kernel[1] * channels / conv.groups.max(1)
        }
        _ => channels,
    }
}

/// Which values are stored in bytes: all that integer kernels compute, except sums and means that
/// only float nodes (or no node) read. Those are stored as real numbers, unrounded.
fn stored_bytes(graph: &Graph, integer: &[bool]) -> Vec<bool> {
    let users = graph.users();
    let mut bytes = integer.to_vec();
    for (id, node) in graph.ids().zip(graph.nodes()) {
        let ends_in_float = match &node.op {
            // Curves end in bytes, so that no tier needs an exact exponential function.
            Op::Conv2d(Conv2d { epilogue, .. }) | Op::Dense(Dense { epilogue, .. }) => {
                node.inputs.len() == 1 && !epilogue.activation.is_curve()
            }
            Op::GlobalPool { .. } => true,
            _ => false,
        };
        let read_as_bytes = users[id.0].iter().any(|user| integer[user.0]);
        if ends_in_float && !read_as_bytes {
            bytes[id.0] = false;
        }
    }
    bytes
}

struct Builder<'a> {
    graph: &'a Graph,
    calibration: &'a Calibration,
    options: &'a Int8Options,
    integer: Vec<bool>,
    bytes: Vec<bool>,
    users: Vec<Vec<NodeId>>,
    nodes: Vec<Node>,
    tensors: BTreeMap<String, Tensor>,
    /// The new node of each old one.
    at: Vec<NodeId>,
    /// Bytes made from new float values, and floats made from new bytes.
    quantized: BTreeMap<NodeId, NodeId>,
    dequantized: BTreeMap<NodeId, NodeId>,
    names: BTreeSet<String>,
}

impl Builder<'_> {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn free_name(&mut self, base: &str, what: &str) -> String {
        let mut name = format!("{base}/{what}");
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    /// The real numbers of a new node.
    fn real(&mut self, id: NodeId) -> NodeId {
        if self.nodes[id.0].quantization.is_none() {
            return id;
        }
        if let Some(&real) = self.dequantized.get(&id) {
            return real;
        }
        let source = self.nodes[id.0].clone();
        let name = self.free_name(&source.name, "real");
        let real = self.push(Node {
            name,
            op: Op::Dequantize,
            inputs: vec![id],
            shape: source.shape,
            quantization: None,
            layers: Vec::new(),
        });
        self.dequantized.insert(id, real);
        real
    }

    /// The bytes of a new node; `old` is its node in the calibrated graph.
    fn in_bytes(&mut self, id: NodeId, old: NodeId) -> Result<NodeId, QuantizeError> {
        if self.nodes[id.0].quantization.is_some() {
            return Ok(id);
        }
        if let Some(&bytes) = self.quantized.get(&id) {
            return Ok(bytes);
        }
        let quantization = self.observed(old)?;
        let source = self.nodes[id.0].clone();
        let name = self.free_name(&source.name, "bytes");
        let bytes = self.push(Node {
            name,
            op: Op::Quantize,
            inputs: vec![id],
            shape: source.shape,
            quantization: Some(quantization),
            layers: Vec::new(),
        });
        self.quantized.insert(id, bytes);
        Ok(bytes)
    }

    /// The map that calibration found for an old node's value.
    fn observed(&self, old: NodeId) -> Result<Quantization, QuantizeError> {
        let node = self.graph.node(old);
        let stats = self.calibration.value(&node.name);
        // Bytes that are only looked up in one table are as fine as the table's result needs.
        let then = match self.users[old.0].as_slice() {
            [user] if self.integer[user.0] => match self.graph.node(*user).op {
                Op::Activation(activation) if old != self.graph.output() => activation,
                _ => Activation::Linear,
            },
            _ => Activation::Linear,
        };
        let map = stats.map(|stats| stats.quantization(self.options.method, then));
        match (map, node.inputs.first()) {
            (Some(map), _) => map.ok_or_else(|| QuantizeError::Value {
                layer: node.name.clone(),
            }),
            // Only renamed, or computed in place: the bytes are those of the input.
            (None, Some(&input)) => self.observed(input),
            (None, None) => Err(QuantizeError::NothingObserved),
        }
    }

    fn node(&mut self, id: NodeId) -> Result<(), QuantizeError> {
        let mut node = self.graph.node(id).clone();
        let old_inputs = node.inputs.clone();
        for (input, &old) in node.inputs.iter_mut().zip(&old_inputs) {
            let new = self.at[old.0];
            *input = if self.integer[id.0] {
                self.in_bytes(new, old)?
            } else {
                self.real(new)
            };
        }
        if self.integer[id.0] {
            if self.bytes[id.0] {
                let input = self.nodes[node.inputs[0].0].quantization;
                node.quantization = match (&node.op, input) {
                    // These ops only move or bound bytes: another map would round once more.
                    (
                        Op::Reshape { .. }
                        | Op::Pad(_)
                        | Op::Activation(Activation::Relu)
                        | Op::Pool2d {
                            kind: PoolKind::Max,
                            ..
                        },
                        Some(input),
                    ) => Some(input),
                    _ => Some(self.observed(id)?),
                };
            }
            for layer in &mut node.layers {
                if layer.stage != Stage::Output {
                    layer.stage = Stage::Folded;
                }
            }
            if node.op.kernel().is_some() {
                self.weights(&mut node, old_inputs[0])?;
            }
        }
        let new = self.push(node);
        self.at.push(new);
        Ok(())
    }

    /// Gives a convolution or matrix product its integer weights, scales and biases.
    fn weights(&mut self, node: &mut Node, old_input: NodeId) -> Result<(), QuantizeError> {
        let input = self.nodes[node.inputs[0].0].quantization;
        let input = input.ok_or(QuantizeError::NothingObserved)?;
        let channels = self.graph.node(old_input).shape.channels();
        let n_total = node.shape.channels();
        let depthwise = matches!(node.op, Op::DepthwiseConv2d(_));
        let (kernel, bias, groups) = match &mut node.op {
            Op::Conv2d(conv) => (&mut conv.kernel, &mut conv.bias, conv.groups),
            Op::DepthwiseConv2d(conv) => (&mut conv.kernel, &mut conv.bias, 1),
            Op::Dense(dense) => (&mut dense.kernel, &mut dense.bias, 1),
            _ => return Ok(()),
        };
        let stored = self.floats(&kernel.tensor)?;
        let plain = if depthwise {
            let padded = n_total.next_multiple_of(PANEL);
            let rows = stored.chunks_exact(padded);
            rows.flat_map(|row| &row[..n_total]).copied().collect()
        } else {
            let k = stored.len() / (groups * (n_total / groups).div_ceil(PANEL) * PANEL);
            panel::unpack(&stored, groups, k, n_total / groups)
        };
        let rows = plain.len() / n_total;
        let real_bias = match bias {
            Some(key) => self.floats(key)?,
            None => vec![0.0; n_total],
        };
        let mut scales = weight_scales(&plain, n_total);
        for (scale, &b) in scales.iter_mut().zip(&real_bias) {
            // A channel whose weights are (nearly) zero must not make its bias leave 32 bits.
            let least = f64::from(b.abs()) / f64::from(input.scale) / (MAX_BIAS / 4.0);
            #[expect(clippy::cast_possible_truncation, reason = "rounds to the nearest f32")]
            {
                *scale = scale.max(least as f32).max(f32::MIN_POSITIVE);
            }
        }
        let integers: Vec<i8> = plain
            .iter()
            .enumerate()
            .map(|(i, &w)| to_weight(w, scales[i % n_total]))
            .collect();
        let means = self
            .calibration
            .value(&self.graph.node(old_input).name)
            .filter(|_| self.options.bias_correction)
            .map(super::calibrate::ValueStats::channel_means);
        let mut biases = Vec::with_capacity(n_total);
        for channel in 0..n_total {
            let scale = f64::from(scales[channel]);
            let mut drift = 0.0;
            for row in 0..rows {
                if let Some(means) = &means {
                    let at = row * n_total + channel;
                    let from = if depthwise {
                        channel
                    } else {
                        let of_group = channels / groups;
                        channel / (n_total / groups) * of_group + row % of_group
                    };
                    let error = f64::from(integers[at]) * scale - f64::from(plain[at]);
                    drift += error * means.get(from).copied().unwrap_or(0.0);
                }
            }
            let real = f64::from(real_bias[channel]) - drift;
            let units = (real / (f64::from(input.scale) * scale)).round_ties_even();
            let units = units.clamp(-MAX_BIAS / 2.0, MAX_BIAS / 2.0);
            #[expect(clippy::cast_possible_truncation, reason = "an integer of 30 bits")]
            biases.push(units as i64);
        }
        let key = kernel.tensor.clone();
        let form = match self.graph.tensors[&key].shape().dims() {
            [kh, kw, _] if depthwise => KernelForm::Depthwise { taps: [*kh, *kw] },
            _ => KernelForm::Matrix { groups },
        };
        let packed = IntegerKernel {
            weights: &integers,
            scales: &scales,
            biases: &biases,
            zero_point: input.zero_point,
            form,
        };
        let packed = packed.pack().map_err(|_| QuantizeError::Weight {
            tensor: key.clone(),
            index: 0,
            value: f32::NAN,
        })?;
        let bias_key = match bias.take() {
            Some(key) if !self.tensors.contains_key(&key) => key,
            _ => format!("{}/bias_i32", node.name),
        };
        let scale_key = format!("{key}/scale");
        for (key, tensor) in [
            (&key, packed.weights),
            (&scale_key, packed.scales),
            (&bias_key, packed.biases),
        ] {
            self.tensors.insert(key.clone(), tensor);
        }
        *kernel = Kernel {
            tensor: key,
            layout: KernelLayout::Panel16x4,
            scale: Some(scale_key),
        };
        *bias = Some(bias_key);
        Ok(())
    }

    /// A tensor's finite numbers.
    fn floats(&self, key: &str) -> Result<Vec<f32>, QuantizeError> {
        let values = self.graph.tensors.get(key).and_then(Tensor::as_f32);
        let values = values.unwrap_or_default();
        match values.iter().position(|v| !v.is_finite()) {
            None => Ok(values.to_vec()),
            Some(index) => Err(QuantizeError::Weight {
                tensor: key.to_owned(),
                index,
                value: values[index],
            }),
        }
    }
}

/// The nearest integer to a weight in units of `scale`, ties to even.
pub(super) fn to_weight(w: f32, scale: f32) -> i8 {
    #[expect(clippy::cast_possible_truncation, reason = "clamped to 8 bits")]
    {
        (w / scale).round_ties_even().clamp(-LARGEST, LARGEST) as i8
    }
}

/// For each column of a row-major matrix of `n` columns, the scale whose integers have the least
/// mean squared error. It is at most the scale that covers the largest weight.
pub(super) fn weight_scales(plain: &[f32], n: usize) -> Vec<f32> {
    let mut largest = vec![0.0_f32; n];
    for row in plain.chunks_exact(n) {
        for (largest, w) in largest.iter_mut().zip(row) {
            *largest = largest.max(w.abs());
        }
    }
    let mut best: Vec<f32> = largest.iter().map(|l| l / LARGEST).collect();
    let mut least = vec![f64::INFINITY; n];
    // Clipping an outlier costs little if it makes all other steps finer.
    for share in [1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7] {
        let scales: Vec<f32> = largest.iter().map(|l| l * share / LARGEST).collect();
        let mut errors = vec![0.0_f64; n];
        for row in plain.chunks_exact(n) {
            for ((error, &w), &scale) in errors.iter_mut().zip(row).zip(&scales) {
                if scale > 0.0 {
                    let off = f32::from(to_weight(w, scale)) * scale - w;
                    *error += f64::from(off) * f64::from(off);
                }
            }
        }
        for (((best, least), error), scale) in
            best.iter_mut().zip(&mut least).zip(errors).zip(scales)
        {
            if error < *least {
                *least = error;
                *best = scale;
            }
        }
    }
    best
}
