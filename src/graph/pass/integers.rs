//! Computes in integers where a quantized file does.
//!
//! An importer writes down what the file says, in real numbers: each value that the file rounds
//! goes through `Quantize` and `Dequantize`, and weights are i8 with a scale for each channel
//! (plain layout). Where the nodes around an operation say so, and an integer kernel computes it,
//! this pass joins `Dequantize`, operation and `Quantize` to one node on bytes; scales and zero
//! points are the file's. Everything else keeps computing real numbers between the two, as the file
//! does. Moving bytes (reshapes, padding, maxima) needs no rounding, so `Dequantize` moves behind
//! it; where only real numbers can be moved (transposes, slices), they become the same bytes again.
//!
//! Not here: choosing scales (`quantize`).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::activation::Activation;
use crate::graph::{
    BinaryOp, Epilogue, Graph, GraphError, IntegerKernel, Kernel, KernelForm, KernelLayout, Node,
    NodeId, Op, PoolKind, Stage,
};
use crate::quantization::Quantization;
use crate::tensor::Tensor;

/// Longest reduction of an integer kernel.
const MAX_REDUCTION: usize = 33_000;

/// Largest i32 bias that kernels take.
const MAX_BIAS: f64 = (1 << 30) as f64;

/// How often the steps of a channel's weights may be doubled.
const MAX_DOUBLINGS: u32 = 8;

/// How far that may move an output, in its own steps.
const MAX_MOVE: f64 = 1.0 / 256.0;

/// Least step of a result that an activation's curve may give. A curve is up to 1/1000 away from
/// its function (`activation::curve`), which is then two and a half steps.
const LEAST_CURVED_STEP: f32 = 4e-4;

/// Pixels that a pool may sum exactly.
const MAX_POOLED: usize = (1 << 24) / 255;

/// Gives the operations that a quantized file computes in bytes their integer form. A graph without
/// `Quantize` and `Dequantize`, and one that computes in integers already, stays as it is.
///
/// # Errors
/// [`GraphError`] if the rewritten graph is not valid.
pub fn compute_integers(graph: Graph) -> Result<Graph, GraphError> {
    let is_step = |node: &Node| matches!(node.op, Op::Quantize | Op::Dequantize);
    let converted = |node: &Node| node.quantization.is_some() && !matches!(node.op, Op::Quantize);
    if !graph.nodes().iter().any(is_step) || graph.nodes().iter().any(converted) {
        return Ok(graph);
    }
    let mut readers: HashMap<&str, usize> = HashMap::new();
    for key in graph.nodes().iter().flat_map(Node::tensors) {
        *readers.entry(key).or_default() += 1;
    }
    let mut builder = Builder {
        graph: &graph,
        users: graph.users(),
        readers,
        nodes: Vec::new(),
        tensors: BTreeMap::new(),
        values: Vec::new(),
        real: HashMap::new(),
        names: graph.nodes().iter().map(|n| n.name.clone()).collect(),
    };
    for id in graph.ids() {
        let value = builder.value(id);
        builder.values.push(value);
    }
    let output = builder.real(graph.output());
    let Builder {
        nodes, mut tensors, ..
    } = builder;
    for key in nodes.iter().flat_map(Node::tensors) {
        if let Some(tensor) = graph.tensors.get(key)
            && !tensors.contains_key(key)
        {
            tensors.insert(key.to_owned(), tensor.clone());
        }
    }
    Graph::from_parts(graph.name.clone(), nodes, output, tensors)
}

struct Builder<'a> {
    graph: &'a Graph,
    users: Vec<Vec<NodeId>>,
    /// How many nodes read a tensor.
    readers: HashMap<&'a str, usize>,
    nodes: Vec<Node>,
    tensors: BTreeMap<String, Tensor>,
    /// The new node of each old one. If it is stored in bytes, it stands for the real numbers that
    /// they represent.
    values: Vec<NodeId>,
    /// Real numbers made of new bytes.
    real: HashMap<NodeId, NodeId>,
    names: BTreeSet<String>,
}

/// The tensors of a node with integer weights.
struct IntegerWeights {
    kernel: Kernel,
    bias: String,
    tensors: Vec<(String, Tensor)>,
}

impl Builder<'_> {
    fn push(&mut self, node: Node) -> NodeId {
        self.nodes.push(node);
        NodeId(self.nodes.len() - 1)
    }

    fn unique(&mut self, mut name: String) -> String {
        while !self.names.insert(name.clone()) {
            name.push('_');
        }
        name
    }

    fn stored(&self, old: NodeId) -> Option<Quantization> {
        self.nodes[self.values[old.0].0].quantization
    }

    /// The real numbers of an old node.
    fn real(&mut self, old: NodeId) -> NodeId {
        let id = self.values[old.0];
        if self.nodes[id.0].quantization.is_none() {
            return id;
        }
        if let Some(&real) = self.real.get(&id) {
            return real;
        }
        let source = self.nodes[id.0].clone();
        let name = self.unique(format!("{}/real", source.name));
        let real = self.push(Node {
            name,
            op: Op::Dequantize,
            inputs: vec![id],
            shape: source.shape,
            quantization: None,
            layers: Vec::new(),
        });
        self.real.insert(id, real);
        real
    }

    /// Appends what an old node becomes.
    fn value(&mut self, id: NodeId) -> NodeId {
        let old = self.graph.node(id);
        match old.op {
            Op::Dequantize => return self.with_layers(self.values[old.inputs[0].0], old),
            Op::Quantize if self.stored(old.inputs[0]) == old.quantization => {
                return self.with_layers(self.values[old.inputs[0].0], old);
            }
            _ => {}
        }
        if let Some(node) = self.in_bytes(id) {
            return self.push(node);
        }
        let mut node = old.clone();
        for (to, &from) in node.inputs.iter_mut().zip(&old.inputs) {
            *to = self.real(from);
        }
        let shape = node.shape.clone();
        let real = self.push(node);
        let Some(map) = self.only_moved(id) else {
            return real;
        };
        let name = self.unique(format!("{}/bytes", old.name));
        let bytes = self.push(Node {
            name,
            op: Op::Quantize,
            inputs: vec![real],
            shape,
            quantization: Some(map),
            layers: Vec::new(),
        });
        self.real.insert(bytes, real);
        bytes
    }

    /// The map of bytes that an old node only moves, if a product reads them. The numbers that it
    /// moves are rounded to the same bytes again, so that the product computes on these: there is
    /// no kernel that moves bytes in this way.
    fn only_moved(&self, id: NodeId) -> Option<Quantization> {
        let old = self.graph.node(id);
        let moves = |op: &Op| {
            matches!(
                op,
                Op::Transpose { .. } | Op::Crop(_) | Op::Slice(_) | Op::Gather { .. }
            )
        };
        let mut waiting = vec![id];
        while let Some(at) = waiting.pop().filter(|_| moves(&old.op)) {
            for &user in &self.users[at.0] {
                let op = &self.graph.node(user).op;
                if op.kernel().is_some() {
                    return self.stored(old.inputs[0]);
                }
                if moves(op) || matches!(op, Op::Reshape { .. } | Op::Pad(_)) {
                    waiting.push(user);
                }
            }
        }
        None
    }

    /// A node that stands for another one as well, which has the same value.
    fn with_layers(&mut self, id: NodeId, gone: &Node) -> NodeId {
        self.nodes[id.0].layers.extend(gone.layers.iter().cloned());
        id
    }

    /// The bytes that everything that reads a value makes of it, if that is one kind of bytes.
    fn rounded_to(&self, id: NodeId) -> Option<Quantization> {
        let mut readers = self.users[id.0].iter().map(|&user| self.graph.node(user));
        let first = readers.next()?.quantization;
        let same = |node: &Node| matches!(node.op, Op::Quantize) && node.quantization == first;
        let all = self.users[id.0].iter().all(|&u| same(self.graph.node(u)));
        first.filter(|_| all && id != self.graph.output())
    }

    /// The node on bytes that computes what an old node does, up to the rounding of its value.
    fn in_bytes(&mut self, id: NodeId) -> Option<Node> {
        let old = self.graph.node(id);
        let maps: Option<Vec<Quantization>> = old.inputs.iter().map(|&i| self.stored(i)).collect();
        let maps = maps.filter(|maps| !maps.is_empty())?;
        let first = maps[0];
        let rounded = self.rounded_to(id);
        let mut weights = None;
        let result = match &old.op {
            Op::Reshape { .. } | Op::Pad(_) => Some(first),
            Op::Activation(Activation::Relu) => Some(rounded.unwrap_or(first)),
            Op::Activation(_) => Some(rounded?),
            Op::Pool2d { kind, window } => match kind {
                PoolKind::Max => Some(rounded.unwrap_or(first)),
                PoolKind::Average if window.kernel[0] * window.kernel[1] <= MAX_POOLED => {
                    Some(rounded.filter(|to| is_ratio(first.scale, to.scale))?)
                }
                PoolKind::Average => return None,
            },
            Op::GlobalPool { .. } => {
                let [h, w, _] = self.graph.node(old.inputs[0]).shape.hwc()?;
                let fits = h * w <= MAX_POOLED;
                rounded
                    .filter(|to| is_ratio(first.scale, to.scale) && fits)
                    .map(Some)
                    .or(fits.then_some(None))?
            }
            Op::Concat { .. } => {
                let same = maps.iter().all(|&map| map == first);
                Some(rounded.or(same.then_some(first))?)
            }
            Op::Binary { kind, activation } => {
                let to = rounded?;
                let product = maps.iter().map(|map| map.scale).product::<f32>();
                let fits = match kind {
                    BinaryOp::Div => false,
                    BinaryOp::Mul => is_ratio(product, to.scale),
                    _ => maps.iter().all(|map| is_ratio(map.scale, to.scale)),
                };
                if !fits || !activation.is_clamp() {
                    return None;
                }
                Some(to)
            }
            Op::Conv2d(_) | Op::DepthwiseConv2d(_) | Op::Dense(_) => {
                if !self.is_product_of_integers(old, rounded) {
                    return None;
                }
                weights = Some(self.weights(old, &maps, rounded)?);
                rounded
            }
            _ => return None,
        };
        let mut node = Node {
            quantization: result,
            inputs: old.inputs.iter().map(|&i| self.values[i.0]).collect(),
            ..old.clone()
        };
        for layer in node.layers.iter_mut().filter(|l| l.stage != Stage::Output) {
            layer.stage = Stage::Folded;
        }
        if let Some(weights) = weights {
            set_weights(&mut node.op, weights.kernel, weights.bias);
            self.tensors.extend(weights.tensors);
        }
        Some(node)
    }

    /// Whether an integer kernel computes a product whose sums become bytes `to`. Otherwise they
    /// stay real numbers.
    fn is_product_of_integers(&self, node: &Node, to: Option<Quantization>) -> bool {
        let channels = self.graph.node(node.inputs[0]).shape.channels();
        let (reduction, epilogue, may_be_real) = match &node.op {
            Op::Conv2d(conv) => {
                let [kh, kw] = conv.window.kernel;
                (kh * kw * channels / conv.groups, conv.epilogue, true)
            }
            Op::Dense(dense) => (channels, dense.epilogue, true),
            Op::DepthwiseConv2d(conv) if conv.multiplier == 1 => {
                let [kh, kw] = conv.window.kernel;
                let epilogue = Epilogue {
                    activation: conv.activation,
                    residual: None,
                };
                (kh * kw, epilogue, false)
            }
            _ => return false,
        };
        let (activation, post) = (epilogue.activation, epilogue.residual);
        // The kernel adds a residual, or leaves real numbers, only behind a clamp.
        let is_curve = activation.is_curve()
            && post.is_none()
            && to.is_some_and(|to| to.scale >= LEAST_CURVED_STEP);
        let is_clamp = activation.is_clamp() && post.is_none_or(Activation::is_clamp);
        let ends = to.is_some() || (may_be_real && post.is_none());
        (is_clamp || is_curve) && reduction <= MAX_REDUCTION && ends
    }

    /// The packed weights of a node, if integer kernels can sum them exactly.
    fn weights(
        &self,
        node: &Node,
        maps: &[Quantization],
        to: Option<Quantization>,
    ) -> Option<IntegerWeights> {
        let (bias, groups) = match &node.op {
            Op::Conv2d(conv) => (&conv.bias, conv.groups),
            Op::DepthwiseConv2d(conv) => (&conv.bias, 1),
            Op::Dense(dense) => (&dense.bias, 1),
            _ => return None,
        };
        let kernel = node
            .op
            .kernel()
            .filter(|k| k.layout == KernelLayout::Plain)?;
        let stored = self.graph.tensors.get(&kernel.tensor)?;
        let weights = stored.as_i8()?;
        let scale_key = kernel.scale.as_deref()?;
        let scales = self.graph.tensors.get(scale_key)?.as_f32()?;
        let (n, input) = (scales.len(), maps[0]);
        let unit = to.map_or(1.0, |to| to.scale);
        let residual = maps.get(1).is_none_or(|map| is_ratio(map.scale, unit));
        if !residual || !scales.iter().all(|&s| is_ratio(input.scale * s, unit)) {
            return None;
        }
        let real = match bias {
            Some(key) => self.graph.tensors.get(key)?.as_f32()?,
            None => &[],
        };
        let (mut weights, mut scales) = (weights.to_vec(), scales.to_vec());
        let mut biases = Vec::with_capacity(n);
        for (channel, scale) in scales.iter_mut().enumerate() {
            let column = Column {
                weights: weights.iter().skip(channel).step_by(n).copied().collect(),
                unit: f64::from(input.scale) * f64::from(*scale),
                bias: f64::from(real.get(channel).copied().unwrap_or(0.0)),
                zero_point: f64::from(input.zero_point),
            };
            let (column, bias) = column.fitted(to.map(|to| to.scale))?;
            biases.push(bias);
            #[expect(
                clippy::cast_possible_truncation,
                reason = "a scale times a power of 2"
            )]
            {
                *scale = (column.unit / f64::from(input.scale)) as f32;
            }
            for (to, from) in weights
                .iter_mut()
                .skip(channel)
                .step_by(n)
                .zip(column.weights)
            {
                *to = from;
            }
        }
        let form = match (&node.op, stored.shape().dims()) {
            (Op::DepthwiseConv2d(_), &[kh, kw, _]) => KernelForm::Depthwise { taps: [kh, kw] },
            _ => KernelForm::Matrix { groups },
        };
        let packed = IntegerKernel {
            weights: &weights,
            scales: &scales,
            biases: &biases,
            zero_point: input.zero_point,
            form,
        };
        let packed = packed.pack().ok()?;
        // Another node may read the same weights as real numbers.
        let own = |key: &str, what: &str| match self.readers.get(key) {
            Some(1) => key.to_owned(),
            _ => format!("{}/integer_{what}", node.name),
        };
        let key = own(&kernel.tensor, "kernel");
        let scale = own(scale_key, "scale");
        let bias = match bias {
            Some(bias) => own(bias, "bias"),
            None => format!("{}/integer_bias", node.name),
        };
        Some(IntegerWeights {
            kernel: Kernel {
                tensor: key.clone(),
                layout: KernelLayout::Panel16x4,
                scale: Some(scale.clone()),
            },
            bias: bias.clone(),
            tensors: vec![
                (key, packed.weights),
                (scale, packed.scales),
                (bias, packed.biases),
            ],
        })
    }
}

/// The weights of one output channel, with what their sums become.
struct Column {
    weights: Vec<i8>,
    /// The real number that 1 of a sum represents.
    unit: f64,
    /// As a real number.
    bias: f64,
    zero_point: f64,
}

impl Column {
    /// The column and its bias in units, so that no sum leaves 32 bits.
    ///
    /// A converter gives a channel that hardly depends on its input such fine steps that the bias
    /// alone takes all bits. Its steps are doubled as often as it takes, if that moves no output,
    /// with steps of `step`, by more than [`MAX_MOVE`].
    fn fitted(mut self, step: Option<f32>) -> Option<(Self, i64)> {
        if let Some(bias) = self.bias_in_units() {
            return Some((self, bias));
        }
        let step = f64::from(step?);
        let own = std::mem::take(&mut self.weights);
        for doublings in 1..=MAX_DOUBLINGS {
            self.unit *= 2.0;
            let by = f64::from(1 << doublings);
            #[expect(clippy::cast_possible_truncation, reason = "smaller than before")]
            let coarser = |&w: &i8| (f64::from(w) / by).round_ties_even() as i8;
            self.weights = own.iter().map(coarser).collect();
            // Each weight is off by half a unit at most.
            let moved = 0.5 * 255.0 * own.len() as f64 * self.unit;
            if moved > MAX_MOVE * step {
                return None;
            }
            if let Some(bias) = self.bias_in_units() {
                return Some((self, bias));
            }
        }
        None
    }

    fn bias_in_units(&self) -> Option<i64> {
        let (mut sum, mut largest) = (0_i64, 0_i64);
        for &w in &self.weights {
            sum += i64::from(w);
            largest += i64::from(w.unsigned_abs());
        }
        let units = self.bias / self.unit;
        let moved = units - self.zero_point * sum as f64;
        // Not `>`, which would let a NaN pass.
        let fits =
            moved.abs() <= MAX_BIAS && moved.abs() + 255.0 * largest as f64 <= f64::from(i32::MAX);
        #[expect(clippy::cast_possible_truncation, reason = "an integer of 31 bits")]
        fits.then(|| units.round_ties_even() as i64)
    }
}

fn set_weights(op: &mut Op, kernel: Kernel, bias: String) {
    let (own, slot) = match op {
        Op::Conv2d(conv) => (&mut conv.kernel, &mut conv.bias),
        Op::DepthwiseConv2d(conv) => (&mut conv.kernel, &mut conv.bias),
        Op::Dense(dense) => (&mut dense.kernel, &mut dense.bias),
        _ => return,
    };
    *own = kernel;
    *slot = Some(bias);
}

/// Whether the quotient of two scales is a multiplier that kernels take.
fn is_ratio(scale: f32, by: f32) -> bool {
    let quotient = scale / by;
    scale.is_normal() && quotient.is_normal() && quotient > 0.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Conv2d, Dense, Padding, SourceLayer, Window};
    use crate::tensor::{DType, Shape};

    const INPUT: Quantization = Quantization {
        scale: 0.5,
        zero_point: 10,
    };
    const OUTPUT: Quantization = Quantization {
        scale: 2.0,
        zero_point: 0,
    };

    /// A file's graph under construction.
    struct File {
        graph: Graph,
        last: NodeId,
    }

    impl File {
        fn new(shape: &[usize]) -> Self {
            let mut graph = Graph::new("file");
            let last = graph.push_input("x", Shape::new(shape)).unwrap();
            Self { graph, last }
        }

        fn then(mut self, name: &str, op: Op) -> Self {
            let id = self.graph.push(name, op, &[self.last]).unwrap();
            self.graph.layers_mut(id).push(SourceLayer {
                name: name.into(),
                class: "op".into(),
                stage: Stage::Output,
            });
            self.last = id;
            self
        }

        fn rounded(mut self, name: &str, map: Quantization) -> Self {
            let shape = self.graph.node(self.last).shape.clone();
            let node = Node {
                name: format!("{name}/q"),
                op: Op::Quantize,
                inputs: vec![self.last],
                shape,
                quantization: Some(map),
                layers: Vec::new(),
            };
            let bytes = self.graph.push_node(node).unwrap();
            let real = format!("{name}/dq");
            self.last = self.graph.push(real, Op::Dequantize, &[bytes]).unwrap();
            self
        }

        fn dense(mut self, name: &str, weights: &[i8], scales: &[f32], bias: &[f32]) -> Self {
            let units = scales.len();
            let rows = weights.len() / units;
            let bytes = bytemuck::cast_slice(weights).to_vec();
            let tensor = Tensor::from_bytes(DType::I8, [rows, units], bytes).unwrap();
            self.graph.tensors.insert(format!("{name}.w"), tensor);
            for (what, values) in [("s", scales), ("b", bias)] {
                let tensor = Tensor::from_f32([units], values).unwrap();
                self.graph.tensors.insert(format!("{name}.{what}"), tensor);
            }
            let op = Op::Dense(Dense {
                units,
                kernel: Kernel {
                    scale: Some(format!("{name}.s")),
                    ..Kernel::plain(format!("{name}.w"))
                },
                bias: Some(format!("{name}.b")),
                epilogue: Epilogue::default(),
            });
            self.then(name, op)
        }

        fn converted(self) -> Graph {
            compute_integers(self.graph).unwrap()
        }
    }

    fn shown(graph: &Graph) -> Vec<(&str, &'static str, bool)> {
        let nodes = graph.nodes().iter();
        nodes
            .map(|n| (n.name.as_str(), n.op.name(), n.quantization.is_some()))
            .collect()
    }

    #[test]
    fn a_product_between_bytes_is_computed_in_integers() {
        let graph = File::new(&[2])
            .rounded("x", INPUT)
            .dense("d", &[1, -2, 3, 4], &[0.25, 0.5], &[1.0, -1.0])
            .rounded("d", OUTPUT)
            .converted();
        assert_eq!(
            shown(&graph),
            [
                ("x", "Input", false),
                ("x/q", "QuantizeLinear", true),
                ("d", "Gemm", true),
                ("d/real", "DequantizeLinear", false),
            ]
        );
        let dense = &graph.nodes()[2];
        assert_eq!(dense.quantization, Some(OUTPUT));
        // 1 / (0.5 * 0.25) - 10 * (1 + 3), and -1 / (0.5 * 0.5) - 10 * (-2 + 4).
        assert_eq!(
            graph.tensors["d.b"].as_i32().unwrap()[..2],
            [8 - 40, -4 - 20]
        );
        assert_eq!(graph.tensors["d.w"].shape().dims(), [1, 1, 16, 4]);
        assert_eq!(dense.layers[0].stage, Stage::Output);
    }

    #[test]
    fn sums_that_nobody_rounds_stay_real_numbers() {
        let graph = File::new(&[2])
            .rounded("x", INPUT)
            .dense("d", &[1, -2, 3, 4], &[0.25, 0.5], &[0.0, 0.0])
            .converted();
        let names: Vec<&str> = graph.nodes().iter().map(|n| n.name.as_str()).collect();
        assert_eq!(names, ["x", "x/q", "d"]);
        assert_eq!(graph.nodes()[2].quantization, None);
        let layout = graph.nodes()[2].op.kernel().unwrap().layout;
        assert_eq!(layout, KernelLayout::Panel16x4);
    }

    #[test]
    fn what_has_no_integer_kernel_computes_between_the_two() {
        let graph = File::new(&[2])
            .rounded("x", INPUT)
            .then("softmax", Op::softmax(0, 1))
            .rounded("y", OUTPUT)
            .converted();
        assert_eq!(
            shown(&graph)[2..],
            [
                ("x/q/real", "DequantizeLinear", false),
                ("softmax", "Softmax", false),
                ("y/q", "QuantizeLinear", true),
                ("y/q/real", "DequantizeLinear", false),
            ]
        );
    }

    #[test]
    fn moving_bytes_needs_no_rounding() {
        let to = Op::Reshape { shape: [4].into() };
        let graph = File::new(&[2, 2, 1])
            .rounded("x", INPUT)
            .then("relu", Op::Activation(Activation::Relu))
            .then("flat", to)
            .dense("d", &[1, 2, 3, 4], &[1.0], &[0.0])
            .converted();
        assert_eq!(
            shown(&graph)[1..],
            [
                ("x/q", "QuantizeLinear", true),
                ("relu", "Activation", true),
                ("flat", "Reshape", true),
                ("d", "Gemm", false),
            ]
        );
        assert!(
            graph.nodes()[1..4]
                .iter()
                .all(|n| n.quantization == Some(INPUT))
        );
    }

    #[test]
    fn what_is_moved_as_real_numbers_becomes_the_same_bytes_again() {
        let transpose = Op::Transpose {
            permutation: vec![1, 0],
        };
        let graph = File::new(&[2, 3])
            .rounded("x", INPUT)
            .then("t", transpose.clone())
            .dense("d", &[1, 2], &[1.0], &[0.0])
            .converted();
        assert_eq!(
            shown(&graph)[1..],
            [
                ("x/q", "QuantizeLinear", true),
                ("x/q/real", "DequantizeLinear", false),
                ("t", "Transpose", false),
                ("t/bytes", "QuantizeLinear", true),
                ("d", "Gemm", false),
            ]
        );
        assert_eq!(graph.nodes()[4].quantization, Some(INPUT));
        let layout = graph.nodes()[5].op.kernel().unwrap().layout;
        assert_eq!(layout, KernelLayout::Panel16x4);
        // Nobody needs them here.
        let graph = File::new(&[2, 3])
            .rounded("x", INPUT)
            .then("t", transpose)
            .then("exp", Op::Activation(Activation::Exp))
            .converted();
        assert_eq!(shown(&graph).len(), 5);
    }

    #[test]
    fn a_product_with_a_curve_is_one_node_if_its_steps_are_not_too_fine() {
        for (scale, layout) in [(0.01, KernelLayout::Panel16x4), (1e-4, KernelLayout::Plain)] {
            let mut file = File::new(&[2])
                .rounded("x", INPUT)
                .dense("d", &[1, 2], &[0.25], &[0.0]);
            let dense = file.last;
            let mut nodes = file.graph.nodes().to_vec();
            if let Op::Dense(dense) = &mut nodes[dense.0].op {
                dense.epilogue.activation = Activation::Silu;
            }
            let tensors = file.graph.tensors.clone();
            file.graph = Graph::from_parts("file".into(), nodes, dense, tensors).unwrap();
            let graph = file
                .rounded("d", Quantization { scale, ..OUTPUT })
                .converted();
            let dense = graph.nodes().iter().find(|n| n.name == "d").unwrap();
            assert_eq!(dense.op.kernel().unwrap().layout, layout, "{scale}");
        }
    }

    #[test]
    fn a_sum_that_could_leave_32_bits_is_computed_in_real_numbers() {
        for bias in [1e12, f32::MAX] {
            let graph = File::new(&[2])
                .rounded("x", INPUT)
                .dense("d", &[1, 2], &[1.0], &[bias])
                .rounded("d", OUTPUT)
                .converted();
            assert_eq!(
                graph.nodes()[3].op.kernel().unwrap().layout,
                KernelLayout::Plain
            );
        }
        // The same for a scale that makes no multiplier.
        let graph = File::new(&[2])
            .rounded("x", INPUT)
            .dense("d", &[1, 2], &[1e-38], &[0.0])
            .rounded("d", OUTPUT)
            .converted();
        assert_eq!(
            graph.nodes()[3].op.kernel().unwrap().layout,
            KernelLayout::Plain
        );
    }

    #[test]
    fn a_channel_that_is_hardly_more_than_its_bias_gets_coarser_steps() {
        let graph = File::new(&[2])
            .rounded("x", INPUT)
            .dense("d", &[1, 3, 40, -120], &[0.25, 1e-8], &[1.0, 10.0])
            .rounded("d", OUTPUT)
            .converted();
        let dense = &graph.nodes()[2];
        assert_eq!(dense.quantization, Some(OUTPUT));
        // 10 / (0.5 * 1e-8) is more than 2^30, half of it is not; minus 10 * (2 - 60).
        let biases = graph.tensors["d.b"].as_i32().unwrap();
        assert_eq!(biases[0], 8 - 10 * 41);
        assert!((biases[1] - 1_000_000_580).abs() < 100, "{}", biases[1]);
        let scales = graph.tensors["d.s"].as_f32().unwrap();
        assert_eq!(scales[..2], [0.25, 2e-8]);
    }

    #[test]
    fn weights_that_real_numbers_meet_as_well_are_kept_for_them() {
        let file = File::new(&[2]).rounded("x", INPUT).dense(
            "d",
            &[1, -2, 3, 4],
            &[0.25, 0.5],
            &[0.0, 0.0],
        );
        let op = file.graph.node(file.last).op.clone();
        let mut graph = file.then("exp", Op::Activation(Activation::Exp)).graph;
        let exp = graph.output();
        graph.push("again", op, &[exp]).unwrap();
        let graph = compute_integers(graph).unwrap();
        let kernels: Vec<&Kernel> = graph.nodes().iter().filter_map(|n| n.op.kernel()).collect();
        assert_eq!(kernels[0].layout, KernelLayout::Panel16x4);
        assert_eq!(kernels[1].layout, KernelLayout::Plain);
        assert_ne!(kernels[0].tensor, kernels[1].tensor);
        assert!(crate::graph::pass::pack_weights(graph).is_ok());
    }

    #[test]
    fn a_graph_of_real_numbers_stays_as_it_is() {
        let window = Window {
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            padding: Padding::default(),
        };
        let mut file = File::new(&[2, 2, 1]);
        let kernel = Tensor::from_f32([1, 1, 1, 1], &[2.0]).unwrap();
        file.graph.tensors.insert("c.w".into(), kernel);
        let op = Op::Conv2d(Conv2d {
            window,
            groups: 1,
            filters: 1,
            kernel: Kernel::plain("c.w"),
            bias: None,
            epilogue: Epilogue::default(),
        });
        let graph = file.then("c", op).converted();
        assert_eq!(shown(&graph).len(), 2);
    }
}
