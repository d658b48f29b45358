//! Weights in fewer bits, activations in f32: IEEE 754 binary16, bfloat16, or i8.
//!
//! In: a packed graph with f32 weights. Out: the same graph with the weights of convolutions and
//! dense layers rounded, ties to even. They stay small in the file and in memory; kernels widen
//! them as they load, and sum in f32. Small tensors stay f32: biases, channel vectors, and the
//! weights of depthwise convolutions, which are under 1 % of a model. No photos are needed.
//!
//! binary16 has 11 significant bits and a largest number of 65504; bfloat16 has 8 and the range of
//! f32. For weights below 65504, binary16 is eight times as precise. i8 has a scale for each output
//! channel, chosen for the least squared error of its weights.

use std::collections::BTreeSet;
use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use super::int8::{to_weight, weight_scales};
use crate::graph::{Graph, GraphError, Kernel, KernelLayout, NodeId, Op};
use crate::hint::{Arguments, Hint, named};
use crate::tensor::{DType, PANEL, Shape, Tensor, TensorError};

/// What weights are rounded to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightType {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an f32.
    BF16,
    /// Integers of -127 to 127 times a scale for each output channel.
    I8,
}

impl WeightType {
    /// The element type of tensors.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
            Self::I8 => DType::I8,
        }
    }

    /// The largest finite value.
    #[must_use]
    pub fn largest(self) -> f32 {
        match self {
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
            Self::I8 => f32::MAX,
        }
    }
}

impl fmt::Display for WeightType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}

/// A converted graph.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The graph, ready to be stored or run.
    pub graph: Graph,
    /// One entry for each converted kernel, in the order of the graph.
    pub errors: Vec<WeightError>,
}

/// What rounding did to the weights of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct WeightError {
    /// The node.
    pub node: String,
    /// Its kernel's tensor.
    pub tensor: String,
    /// Signal to quantization noise, `10 log10(Σ w² / Σ (w - q)²)`; `None` if every weight was kept
    /// exactly.
    pub sqnr_db: Option<f64>,
    /// `max |w - q|`.
    pub max_abs_error: f32,
}

/// Why a graph cannot be converted.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A weight is NaN or infinite.
    #[error("node `{node}`: tensor `{tensor}` holds {value}, expected finite numbers")]
    NotFinite {
        /// The node.
        node: String,
        /// Its kernel's tensor.
        tensor: String,
        /// The first such weight.
        value: f32,
    },
    /// A weight is larger than the type can hold.
    #[error("node `{node}`: tensor `{tensor}` holds {value}, but the largest {to} is {}", to.largest())]
    TooLarge {
        /// The node.
        node: String,
        /// Its kernel's tensor.
        tensor: String,
        /// The first such weight.
        value: f32,
        /// The type asked for.
        to: WeightType,
    },
    /// A kernel is not f32: the graph was converted before.
    #[error("node `{node}`: tensor `{tensor}` is {got} already, expected f32")]
    AlreadyConverted {
        /// The node.
        node: String,
        /// Its kernel's tensor.
        tensor: String,
        /// Its element type.
        got: DType,
    },
    /// A kernel is not in the packed layout.
    #[error("node `{node}`: tensor `{tensor}` is not in the packed layout")]
    NotPacked {
        /// The node.
        node: String,
        /// Its kernel's tensor.
        tensor: String,
    },
    /// A layer to keep does not exist, or has no weights.
    #[error("no layer with weights is named `{0}`")]
    UnknownLayer(String),
    /// The converted graph is invalid, which is a bug.
    #[error("the converted graph is not valid")]
    Graph(#[from] GraphError),
    /// A converted tensor does not fill its shape, which is a bug.
    #[error("a converted tensor is not valid")]
    Tensor(#[from] TensorError),
}

impl Hint for WeightsError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "not_finite",
            Self::TooLarge { .. } => "too_large",
            Self::AlreadyConverted { .. } => "converted",
            Self::NotPacked { .. } => "not_packed",
            Self::UnknownLayer(_) => "unknown_layer",
            Self::Graph(_) => "graph",
            Self::Tensor(_) => "tensor",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::NotFinite { node, .. } => {
                format!("`{node}` was damaged in training or in the file; export the model again")
            }
            Self::TooLarge { node, to, .. } => {
                let other = match to {
                    WeightType::F16 => "convert to bf16, which has the range of f32, or ",
                    WeightType::BF16 | WeightType::I8 => "",
                };
                format!("{other}keep `{node}` in f32")
            }
            Self::AlreadyConverted { .. } => "start from the artifact with f32 weights".to_owned(),
            Self::NotPacked { .. } => "import the model again".to_owned(),
            Self::UnknownLayer(_) => "`dermal inspect` lists the layers".to_owned(),
            Self::Graph(_) | Self::Tensor(_) => "please report this with the model".to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NotFinite {
                node,
                tensor,
                value,
            } => named!(node, tensor, value),
            Self::TooLarge {
                node,
                tensor,
                value,
                to,
            } => named!(node, tensor, value, %to).with("largest", &to.largest()),
            Self::AlreadyConverted { node, tensor, got } => named!(node, tensor, %got),
            Self::NotPacked { node, tensor } => named!(node, tensor),
            Self::UnknownLayer(layer) => named!(layer),
            Self::Graph(_) | Self::Tensor(_) => named!(),
        }
    }
}

/// Rounds the weights of all convolutions and dense layers, except those in `keep_float` (names as
/// [`Graph::find_layer`] takes them). A kernel that several nodes share stays f32 if one of them is
/// kept. Only one kernel at a time exists twice in memory.
///
/// # Errors
/// [`WeightsError`]; nothing is clamped or skipped silently.
pub fn convert(
    graph: &Graph,
    to: WeightType,
    keep_float: &[&str],
) -> Result<Converted, WeightsError> {
    let kept = kept_tensors(graph, keep_float)?;
    let mut tensors = graph.tensors.clone();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    let mut errors = Vec::new();
    for node in graph.nodes() {
        let Some(kernel) = matrix_kernel(&node.op) else {
            continue;
        };
        let key = kernel.tensor.as_str();
        if kept.contains(key) || done.contains(key) {
            continue;
        }
        let (name, tensor) = (|| node.name.clone(), || kernel.tensor.clone());
        if kernel.layout != KernelLayout::Panel16 {
            return Err(WeightsError::NotPacked {
                node: name(),
                tensor: tensor(),
            });
        }
        let Some(stored) = graph.tensors.get(key) else {
            continue;
        };
        let Some(weights) = stored.as_f32() else {
            return Err(WeightsError::AlreadyConverted {
                node: name(),
                tensor: tensor(),
                got: stored.dtype(),
            });
        };
        if let Some(&value) = weights.iter().find(|w| !w.is_finite()) {
            return Err(WeightsError::NotFinite {
                node: name(),
                tensor: tensor(),
                value,
            });
        }
        if let Some(&value) = weights.iter().find(|w| w.abs() > to.largest()) {
            return Err(WeightsError::TooLarge {
                node: name(),
                tensor: tensor(),
                value,
                to,
            });
        }
        let rounded = match to {
            WeightType::I8 => {
                let outputs = outputs(&node.op).unwrap_or([1, 1]);
                let (rounded, scale) = scale_and_round(weights, stored.shape(), outputs);
                tensors.insert(scale_key(key), scale_tensor(&scale)?);
                rounded
            }
            WeightType::F16 => round(weights, round_f16),
            WeightType::BF16 => round(weights, round_bf16),
        };
        let narrow = Tensor::from_bytes(to.dtype(), stored.shape().clone(), rounded.bytes)?;
        tensors.insert(tensor(), narrow);
        done.insert(key);
        errors.push(WeightError {
            node: name(),
            tensor: tensor(),
            sqnr_db: (rounded.noise > 0.0).then(|| 10.0 * (rounded.signal / rounded.noise).log10()),
            max_abs_error: rounded.max_abs_error,
        });
    }
    let mut nodes = graph.nodes().to_vec();
    if to == WeightType::I8 {
        for kernel in nodes.iter_mut().filter_map(|node| node.op.kernel_mut()) {
            if done.contains(kernel.tensor.as_str()) {
                kernel.scale = Some(scale_key(&kernel.tensor));
            }
        }
    }
    let graph = Graph::from_parts(graph.name.clone(), nodes, graph.output(), tensors)?;
    Ok(Converted { graph, errors })
}

/// The same graph with f32 weights: exactly the numbers that the 16-bit weights represent.
///
/// # Errors
/// [`WeightsError`] if the rewritten graph does not check, which is a bug.
pub fn widen(graph: &Graph) -> Result<Graph, WeightsError> {
    let mut tensors = graph.tensors.clone();
    for tensor in tensors.values_mut() {
        let halves = tensor.bytes().as_chunks::<2>().0;
        let wide: Vec<f32> = match tensor.dtype() {
            DType::F16 => halves
                .iter()
                .map(|&b| f16::from_le_bytes(b).to_f32())
                .collect(),
            DType::BF16 => halves
                .iter()
                .map(|&b| bf16::from_le_bytes(b).to_f32())
                .collect(),
            _ => continue,
        };
        *tensor = Tensor::from_f32(tensor.shape().clone(), &wide)?;
    }
    let nodes = graph.nodes().to_vec();
    let name = graph.name.clone();
    Ok(Graph::from_parts(name, nodes, graph.output(), tensors)?)
}

/// The kernel of an op whose weights are read by the matrix kernels.
fn matrix_kernel(op: &Op) -> Option<&Kernel> {
    match op {
        Op::Conv2d(conv) => Some(&conv.kernel),
        Op::Dense(dense) => Some(&dense.kernel),
        _ => None,
    }
}

/// Tensors of the layers to keep.
fn kept_tensors<'a>(graph: &'a Graph, names: &[&str]) -> Result<BTreeSet<&'a str>, WeightsError> {
    let mut kept = BTreeSet::new();
    for &name in names {
        let nodes = graph.find_layer(name);
        let has_weights = |id: NodeId| {
            let op = &graph.node(id).op;
            matrix_kernel(op).is_some() || matches!(op, Op::DepthwiseConv2d(_))
        };
        if !nodes.iter().any(|(id, _)| has_weights(*id)) {
            return Err(WeightsError::UnknownLayer(name.to_owned()));
        }
        let kernels = nodes
            .iter()
            .filter_map(|(id, _)| matrix_kernel(&graph.node(*id).op));
        kept.extend(kernels.map(|kernel| kernel.tensor.as_str()));
    }
    Ok(kept)
}

/// Groups and output channels of a group.
fn outputs(op: &Op) -> Option<[usize; 2]> {
    match op {
        Op::Conv2d(conv) => Some([conv.groups, conv.filters / conv.groups]),
        Op::Dense(dense) => Some([1, dense.units]),
        _ => None,
    }
}

fn scale_key(tensor: &str) -> String {
    format!("{tensor}.scale")
}

/// Padded with zeros to a multiple of 16, as kernels read it.
fn scale_tensor(scale: &[f32]) -> Result<Tensor, TensorError> {
    let mut padded = scale.to_vec();
    padded.resize(scale.len().next_multiple_of(PANEL), 0.0);
    Tensor::from_f32([padded.len()], &padded)
}

struct Rounded {
    /// Little endian.
    bytes: Vec<u8>,
    /// `Σ w²`.
    signal: f64,
    /// `Σ (w - q)²`.
    noise: f64,
    max_abs_error: f32,
}

/// Rounds packed weights to integers, and gives the scale of each output channel. A panel is a
/// matrix `[k, 16]` of 16 channels.
fn scale_and_round(weights: &[f32], shape: &Shape, [groups, n]: [usize; 2]) -> (Rounded, Vec<f32>) {
    let panel_len = shape.dims()[1..].iter().product();
    let panels = n.div_ceil(PANEL);
    let mut scale = vec![0.0; groups * n];
    let mut rounded = Rounded::with_capacity(weights.len());
    for (i, panel) in weights.chunks_exact(panel_len).enumerate() {
        let scales = weight_scales(panel, PANEL);
        let (group, first) = (i / panels, i % panels * PANEL);
        let used = PANEL.min(n - first);
        scale[group * n + first..][..used].copy_from_slice(&scales[..used]);
        for row in panel.chunks_exact(PANEL) {
            for (&weight, &scale) in row.iter().zip(&scales) {
                let integer = to_weight(weight, scale);
                rounded.bytes.push(integer.cast_unsigned());
                rounded.add(weight, f32::from(integer) * scale);
            }
        }
    }
    (rounded, scale)
}

impl Rounded {
    fn with_capacity(bytes: usize) -> Self {
        Self {
            bytes: Vec::with_capacity(bytes),
            signal: 0.0,
            noise: 0.0,
            max_abs_error: 0.0,
        }
    }

    /// Counts a weight and what it was rounded to.
    fn add(&mut self, weight: f32, rounded: f32) {
        let error = weight - rounded;
        self.signal += f64::from(weight) * f64::from(weight);
        self.noise += f64::from(error) * f64::from(error);
        self.max_abs_error = self.max_abs_error.max(error.abs());
    }
}

/// Weights that are rounded at a time: a block stays in the first-level cache.
const BLOCK: usize = 1024;

/// Appends the nearest 16-bit numbers of a block, ties to even, and writes their values as f32.
type RoundBlock = fn(&[f32], &mut Vec<u8>, &mut [f32]);

fn round_f16(block: &[f32], bytes: &mut Vec<u8>, wide: &mut [f32]) {
    let mut narrow = [f16::ZERO; BLOCK];
    let narrow = &mut narrow[..block.len()];
    narrow.convert_from_f32_slice(block);
    narrow.convert_to_f32_slice(wide);
    bytes.extend(narrow.iter().flat_map(|h| h.to_le_bytes()));
}

fn round_bf16(block: &[f32], bytes: &mut Vec<u8>, wide: &mut [f32]) {
    let mut narrow = [bf16::ZERO; BLOCK];
    let narrow = &mut narrow[..block.len()];
    narrow.convert_from_f32_slice(block);
    narrow.convert_to_f32_slice(wide);
    bytes.extend(narrow.iter().flat_map(|h| h.to_le_bytes()));
}

fn round(weights: &[f32], round_block: RoundBlock) -> Rounded {
    let mut rounded = Rounded::with_capacity(weights.len() * 2);
    let mut wide = [0.0; BLOCK];
    for block in weights.chunks(BLOCK) {
        let wide = &mut wide[..block.len()];
        round_block(block, &mut rounded.bytes, wide);
        for (&weight, &value) in block.iter().zip(&*wide) {
            rounded.add(weight, value);
        }
    }
    rounded
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dense, Epilogue, SourceLayer, Stage};

    /// Two dense layers, 3 -> 2 -> 1, with the first one's weights given.
    fn graph(weights: [f32; 6]) -> Graph {
        let mut graph = Graph::new("g");
        let pack = |k, n, plain: &[f32]| {
            Tensor::from_aligned([1, k, 16], crate::panel::pack(plain, 1, k, n)).unwrap()
        };
        graph
            .tensors
            .insert("a.kernel".into(), pack(3, 2, &weights));
        graph
            .tensors
            .insert("b.kernel".into(), pack(2, 1, &[1.0, 0.1]));
        let mut x = graph.push_input("x", [3].into()).unwrap();
        for (name, units) in [("a", 2), ("b", 1)] {
            let kernel = Kernel {
                tensor: format!("{name}.kernel"),
                layout: KernelLayout::Panel16,
                scale: None,
            };
            let op = Op::Dense(Dense {
                units,
                kernel,
                bias: None,
                epilogue: Epilogue::default(),
            });
            x = graph.push(name, op, &[x]).unwrap();
            graph.layers_mut(x).push(SourceLayer {
                name: format!("net/{name}"),
                class: "Dense".into(),
                stage: Stage::Output,
            });
        }
        graph
    }

    fn bits(graph: &Graph, key: &str) -> Vec<u16> {
        let pairs = graph.tensors[key].bytes().as_chunks::<2>().0;
        pairs.iter().map(|&b| u16::from_le_bytes(b)).collect()
    }

    #[test]
    fn weights_are_rounded_to_the_nearest_ties_to_even() {
        // 1 + 2^-11 and 1 + 3 * 2^-11 lie between two binary16, 65504 is the largest.
        let ulp = f32::exp2(-11.0);
        let weights = [1.0 + ulp, 1.0 + 3.0 * ulp, -0.1, 65504.0, 1e-9, -2.0];
        let half = convert(&graph(weights), WeightType::F16, &[]).unwrap();
        let got = bits(&half.graph, "a.kernel");
        assert_eq!(got[..2], [0x3c00, 0x3c02]);
        assert_eq!(got[16..18], [0xae66, 0x7bff]);
        assert_eq!(got[32..34], [0x0000, 0xc000]);
        assert!(got[2..16].iter().all(|&b| b == 0), "padding");
        // bfloat16 has three bits less: the same ties at 2^-8.
        let ulp = f32::exp2(-8.0);
        let weights = [1.0 + ulp, 1.0 + 3.0 * ulp, -0.1, 70000.0, 1e-9, -2.0];
        let half = convert(&graph(weights), WeightType::BF16, &[]).unwrap();
        let got = bits(&half.graph, "a.kernel");
        assert_eq!(got[..2], [0x3f80, 0x3f82]);
        assert_eq!(got[16..18], [0xbdcd, 0x4789]);
        assert_eq!(got[32..34], [0x3089, 0xc000]);
    }

    #[test]
    fn the_error_of_a_layer_is_summed_by_hand() {
        let half = convert(
            &graph([1.0, 2.0, 0.5, 4.0, -1.0, 0.25]),
            WeightType::F16,
            &[],
        )
        .unwrap();
        let [a, b] = &half.errors[..] else {
            panic!("{:?}", half.errors)
        };
        assert_eq!(
            (a.node.as_str(), a.sqnr_db, a.max_abs_error),
            ("a", None, 0.0)
        );
        // The weights of b are 1, which is exact, and 0.1, whose nearest binary16 is 0x2e66.
        let error = f64::from(0.1_f32) - 1638.0 / 16384.0;
        let tenth = f64::from(0.1_f32);
        let sqnr_db = 10.0 * ((1.0 + tenth * tenth) / (error * error)).log10();
        assert!((b.sqnr_db.unwrap() - sqnr_db).abs() < 1e-9, "{b:?}");
        assert!((f64::from(b.max_abs_error) - error).abs() < 1e-12, "{b:?}");
    }

    #[test]
    fn layers_to_keep_stay_f32() {
        let graph = graph([1e6, 0.0, 0.0, 0.0, 0.0, 0.0]);
        for name in ["a", "net/a"] {
            let half = convert(&graph, WeightType::F16, &[name]).unwrap();
            assert_eq!(half.graph.tensors["a.kernel"].dtype(), DType::F32);
            assert_eq!(half.graph.tensors["b.kernel"].dtype(), DType::F16);
            assert_eq!(half.errors.len(), 1);
        }
    }

    #[test]
    fn what_cannot_be_converted_is_refused_by_name() {
        let refused = |graph: &Graph, half, keep: &[&str]| {
            let error = convert(graph, half, keep).unwrap_err();
            (error.kind(), format!("{error}; {}", error.hint()))
        };
        let large = graph([0.0, -65505.0, 0.0, 0.0, 0.0, 0.0]);
        let (kind, text) = refused(&large, WeightType::F16, &[]);
        assert_eq!(kind, "too_large");
        assert_eq!(
            text,
            "node `a`: tensor `a.kernel` holds -65505, but the largest f16 is 65504; \
             convert to bf16, which has the range of f32, or keep `a` in f32"
        );
        let largest = graph([f32::MAX, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(refused(&largest, WeightType::BF16, &[]).0, "too_large");
        for value in [f32::NAN, f32::INFINITY] {
            let broken = graph([0.0, 0.0, value, 0.0, 0.0, 0.0]);
            let (kind, text) = refused(&broken, WeightType::BF16, &[]);
            assert_eq!(kind, "not_finite");
            assert!(text.contains("`a.kernel`"), "{text}");
        }
        let good = graph([1.0; 6]);
        for name in ["c", "x"] {
            assert_eq!(refused(&good, WeightType::F16, &[name]).0, "unknown_layer");
        }
        let converted = convert(&good, WeightType::F16, &[]).unwrap().graph;
        let (kind, text) = refused(&converted, WeightType::BF16, &[]);
        assert_eq!(kind, "converted");
        assert!(text.contains("is f16 already"), "{text}");
    }
}
