//! Weights in 16 bits: IEEE 754 binary16 or bfloat16.
//!
//! In: a packed graph with f32 weights. Out: the same graph with the weights of convolutions and
//! dense layers rounded to the nearest half, ties to even. They stay halves in the file and in
//! memory; kernels widen them as they load, and sum in f32. Everything that is small stays f32:
//! biases, channel vectors, and the weights of depthwise convolutions, which are under 1 % of a
//! model.
//!
//! binary16 has 11 significant bits and a largest number of 65504; bfloat16 has 8 and the range of
//! f32. With weights below 65504, binary16 is eight times more precise.

use std::collections::BTreeSet;
use std::fmt;

use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};

use crate::graph::{Graph, GraphError, Kernel, KernelLayout, NodeId, Op};
use crate::tensor::{DType, Tensor, TensorError};

/// Which half.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HalfType {
    /// IEEE 754 binary16.
    F16,
    /// The upper half of an f32.
    BF16,
}

impl HalfType {
    /// The element type of tensors.
    #[must_use]
    pub fn dtype(self) -> DType {
        match self {
            Self::F16 => DType::F16,
            Self::BF16 => DType::BF16,
        }
    }

    /// The largest finite value.
    #[must_use]
    pub fn largest(self) -> f32 {
        match self {
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
        }
    }
}

impl fmt::Display for HalfType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.dtype().fmt(f)
    }
}

/// A converted graph.
#[derive(Clone, Debug)]
pub struct Half {
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
pub enum HalfError {
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
    /// A weight is larger than the half can hold.
    #[error("node `{node}`: tensor `{tensor}` holds {value}, but the largest {half} is {}", half.largest())]
    TooLarge {
        /// The node.
        node: String,
        /// Its kernel's tensor.
        tensor: String,
        /// The first such weight.
        value: f32,
        /// The half asked for.
        half: HalfType,
    },
    /// A kernel is not f32: the graph was converted before.
    #[error("node `{node}`: tensor `{tensor}` is {got} already, expected f32")]
    Converted {
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
    /// The converted graph does not check, which is a bug.
    #[error("the converted graph does not hold")]
    Graph(#[from] GraphError),
    /// A converted tensor does not fill its shape, which is a bug.
    #[error("a converted tensor does not hold")]
    Tensor(#[from] TensorError),
}

impl HalfError {
    /// A stable name of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::NotFinite { .. } => "not_finite",
            Self::TooLarge { .. } => "too_large",
            Self::Converted { .. } => "converted",
            Self::NotPacked { .. } => "not_packed",
            Self::UnknownLayer(_) => "unknown_layer",
            Self::Graph(_) => "graph",
            Self::Tensor(_) => "tensor",
        }
    }

    /// The next step.
    #[must_use]
    pub fn hint(&self) -> String {
        match self {
            Self::NotFinite { node, .. } => {
                format!("`{node}` was damaged in training or in the file; export the model again")
            }
            Self::TooLarge { node, half, .. } => {
                let other = match half {
                    HalfType::F16 => "convert to bf16, which has the range of f32, or ",
                    HalfType::BF16 => "",
                };
                format!("{other}keep `{node}` in f32")
            }
            Self::Converted { .. } => "start from the artifact with f32 weights".to_owned(),
            Self::NotPacked { .. } => "import the model again".to_owned(),
            Self::UnknownLayer(_) => "`dermal inspect` lists the layers".to_owned(),
            Self::Graph(_) | Self::Tensor(_) => "please report this with the model".to_owned(),
        }
    }
}

/// Converts the weights of all convolutions and dense layers, but those of the layers in
/// `keep_float` (names as [`Graph::find_layer`] takes them; a kernel that several nodes share stays
/// f32 if one of them is kept). One kernel at a time is held twice.
///
/// # Errors
/// [`HalfError`]; nothing is clamped or skipped silently.
pub fn to_half(graph: &Graph, half: HalfType, keep_float: &[&str]) -> Result<Half, HalfError> {
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
            return Err(HalfError::NotPacked {
                node: name(),
                tensor: tensor(),
            });
        }
        let Some(stored) = graph.tensors.get(key) else {
            continue;
        };
        let Some(weights) = stored.as_f32() else {
            return Err(HalfError::Converted {
                node: name(),
                tensor: tensor(),
                got: stored.dtype(),
            });
        };
        if let Some(&value) = weights.iter().find(|w| !w.is_finite()) {
            return Err(HalfError::NotFinite {
                node: name(),
                tensor: tensor(),
                value,
            });
        }
        if let Some(&value) = weights.iter().find(|w| w.abs() > half.largest()) {
            return Err(HalfError::TooLarge {
                node: name(),
                tensor: tensor(),
                value,
                half,
            });
        }
        let rounded = round(weights, half);
        let narrow = Tensor::from_bytes(half.dtype(), stored.shape().clone(), rounded.bytes)?;
        tensors.insert(tensor(), narrow);
        done.insert(key);
        errors.push(WeightError {
            node: name(),
            tensor: tensor(),
            sqnr_db: (rounded.noise > 0.0).then(|| 10.0 * (rounded.signal / rounded.noise).log10()),
            max_abs_error: rounded.max_abs_error,
        });
    }
    let nodes = graph.nodes().to_vec();
    let graph = Graph::from_parts(graph.name.clone(), nodes, graph.output(), tensors)?;
    Ok(Half { graph, errors })
}

/// The same graph with f32 weights: what the halves stand for, exactly.
///
/// # Errors
/// [`HalfError`] if the rewritten graph does not check, which is a bug.
pub fn widen(graph: &Graph) -> Result<Graph, HalfError> {
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
fn kept_tensors<'a>(graph: &'a Graph, names: &[&str]) -> Result<BTreeSet<&'a str>, HalfError> {
    let mut kept = BTreeSet::new();
    for &name in names {
        let nodes = graph.find_layer(name);
        let has_weights = |id: NodeId| {
            let op = &graph.node(id).op;
            matrix_kernel(op).is_some() || matches!(op, Op::DepthwiseConv2d(_))
        };
        if !nodes.iter().any(|(id, _)| has_weights(*id)) {
            return Err(HalfError::UnknownLayer(name.to_owned()));
        }
        let kernels = nodes
            .iter()
            .filter_map(|(id, _)| matrix_kernel(&graph.node(*id).op));
        kept.extend(kernels.map(|kernel| kernel.tensor.as_str()));
    }
    Ok(kept)
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

/// Rounds to the nearest half, ties to even.
fn round(weights: &[f32], half: HalfType) -> Rounded {
    /// Weights at a time: a block stays in the first-level cache.
    const BLOCK: usize = 1024;
    let mut rounded = Rounded {
        bytes: Vec::with_capacity(weights.len() * 2),
        signal: 0.0,
        noise: 0.0,
        max_abs_error: 0.0,
    };
    let mut wide = [0.0; BLOCK];
    for block in weights.chunks(BLOCK) {
        let wide = &mut wide[..block.len()];
        match half {
            HalfType::F16 => {
                let mut narrow = [f16::ZERO; BLOCK];
                let narrow = &mut narrow[..block.len()];
                narrow.convert_from_f32_slice(block);
                narrow.convert_to_f32_slice(wide);
                rounded
                    .bytes
                    .extend(narrow.iter().flat_map(|h| h.to_le_bytes()));
            }
            HalfType::BF16 => {
                let mut narrow = [bf16::ZERO; BLOCK];
                let narrow = &mut narrow[..block.len()];
                narrow.convert_from_f32_slice(block);
                narrow.convert_to_f32_slice(wide);
                rounded
                    .bytes
                    .extend(narrow.iter().flat_map(|h| h.to_le_bytes()));
            }
        }
        for (&w, &q) in block.iter().zip(&*wide) {
            let error = w - q;
            rounded.signal += f64::from(w) * f64::from(w);
            rounded.noise += f64::from(error) * f64::from(error);
            rounded.max_abs_error = rounded.max_abs_error.max(error.abs());
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
        let half = to_half(&graph(weights), HalfType::F16, &[]).unwrap();
        let got = bits(&half.graph, "a.kernel");
        assert_eq!(got[..2], [0x3c00, 0x3c02]);
        assert_eq!(got[16..18], [0xae66, 0x7bff]);
        assert_eq!(got[32..34], [0x0000, 0xc000]);
        assert!(got[2..16].iter().all(|&b| b == 0), "padding");
        // bfloat16 has three bits less: the same ties at 2^-8.
        let ulp = f32::exp2(-8.0);
        let weights = [1.0 + ulp, 1.0 + 3.0 * ulp, -0.1, 70000.0, 1e-9, -2.0];
        let half = to_half(&graph(weights), HalfType::BF16, &[]).unwrap();
        let got = bits(&half.graph, "a.kernel");
        assert_eq!(got[..2], [0x3f80, 0x3f82]);
        assert_eq!(got[16..18], [0xbdcd, 0x4789]);
        assert_eq!(got[32..34], [0x3089, 0xc000]);
    }

    #[test]
    fn the_error_of_a_layer_is_summed_by_hand() {
        let half = to_half(&graph([1.0, 2.0, 0.5, 4.0, -1.0, 0.25]), HalfType::F16, &[]).unwrap();
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
            let half = to_half(&graph, HalfType::F16, &[name]).unwrap();
            assert_eq!(half.graph.tensors["a.kernel"].dtype(), DType::F32);
            assert_eq!(half.graph.tensors["b.kernel"].dtype(), DType::F16);
            assert_eq!(half.errors.len(), 1);
        }
    }

    #[test]
    fn what_cannot_be_converted_is_refused_by_name() {
        let refused = |graph: &Graph, half, keep: &[&str]| {
            let error = to_half(graph, half, keep).unwrap_err();
            (error.kind(), format!("{error}; {}", error.hint()))
        };
        let large = graph([0.0, -65505.0, 0.0, 0.0, 0.0, 0.0]);
        let (kind, text) = refused(&large, HalfType::F16, &[]);
        assert_eq!(kind, "too_large");
        assert_eq!(
            text,
            "node `a`: tensor `a.kernel` holds -65505, but the largest f16 is 65504; \
             convert to bf16, which has the range of f32, or keep `a` in f32"
        );
        let largest = graph([f32::MAX, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(refused(&largest, HalfType::BF16, &[]).0, "too_large");
        for value in [f32::NAN, f32::INFINITY] {
            let broken = graph([0.0, 0.0, value, 0.0, 0.0, 0.0]);
            let (kind, text) = refused(&broken, HalfType::BF16, &[]);
            assert_eq!(kind, "not_finite");
            assert!(text.contains("`a.kernel`"), "{text}");
        }
        let good = graph([1.0; 6]);
        for name in ["c", "x"] {
            assert_eq!(refused(&good, HalfType::F16, &[name]).0, "unknown_layer");
        }
        let converted = to_half(&good, HalfType::F16, &[]).unwrap().graph;
        let (kind, text) = refused(&converted, HalfType::BF16, &[]);
        assert_eq!(kind, "converted");
        assert!(text.contains("is f16 already"), "{text}");
    }
}
