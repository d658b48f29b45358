//! The intermediate representation: a list of nodes in execution order, each making one value.
//!
//! An importer pushes nodes through [`Graph::push`], which infers and checks every shape. So an
//! existing graph has known shapes throughout, and every input comes before its use. Passes
//! (`pass`) are functions from graph to graph. `Node::layers` records which layers of the source
//! model a node stands for, also after folding and fusing, so that people can name the layers that
//! they trained.
//!
//! Not here: execution (`engine`, `reference`), files (`artifact`, `import`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::hint::{Arguments, Hint, named};
use crate::quantization::Quantization;
use crate::tensor::{DType, Shape, Tensor};

mod dump;
mod expose;
#[cfg(test)]
mod format_tests;
mod integer;
mod op;
pub mod pass;
mod range;
mod shape;
mod stats;
mod storage;
mod weights;

pub use dump::{Dump, dump};
pub use expose::{ExposeError, expose};
pub use integer::{IntegerKernel, KernelForm, PackedKernel};
pub use op::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Kernel, KernelLayout, Op, Padding,
    PoolKind, ReduceKind, ResizeKind, Slice, Window,
};
pub use range::Range;
pub use shape::ShapeError;
pub use stats::NodeStats;
pub use storage::StorageError;
pub use weights::{PlainKernel, WeightError, Weights};

/// Index of a node, and of the value it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub usize);

/// The point inside a fused node where a source layer's own output is, in the order of evaluation.
/// Only at `Output` is it the stored value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "at")]
pub enum Stage {
    /// The node's value is the layer's output.
    Output,
    /// Before the activation that follows the residual add.
    BeforePostActivation,
    /// Before the residual add.
    BeforeResidual,
    /// Before the epilogue's activation: the biased sum.
    BeforeActivation,
    /// Before a folded `ScaleShift`: the biased sum is `scale * output + shift`.
    BeforeAffine {
        /// Key of the scale.
        scale: String,
        /// Key of the shift.
        shift: String,
    },
    /// Inside a node that computes in integers; its bytes do not allow it to be recovered.
    Folded,
}

/// A layer of the source model.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceLayer {
    /// Its path, names of enclosing models first: `backbone/block1a_expand_conv`.
    pub name: String,
    /// Its class in the source framework: `Conv2D`.
    pub class: String,
    /// Where its output is in the node.
    pub stage: Stage,
}

/// One operation and the value it makes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Unique in the graph. For `Op::Input` the input's name.
    pub name: String,
    /// The operation.
    #[serde(flatten)]
    pub op: Op,
    /// The nodes whose values it reads.
    pub inputs: Vec<NodeId>,
    /// Shape of the result.
    pub shape: Shape,
    /// The quantization of its value, if it is stored in bytes; absent for f32.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<Quantization>,
    /// Source layers it stands for, in order of evaluation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<SourceLayer>,
}

impl Node {
    /// Keys of the tensors it needs: those its op reads, then those that bring folded layers back.
    #[must_use]
    pub fn tensors(&self) -> Vec<&str> {
        let stages = self.layers.iter().flat_map(|layer| match &layer.stage {
            Stage::BeforeAffine { scale, shift } => vec![scale.as_str(), shift.as_str()],
            _ => vec![],
        });
        self.op.tensors().into_iter().chain(stages).collect()
    }
}

/// A classifier as data: nodes, weights, and which value is the answer.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The model's name in its source.
    pub name: String,
    nodes: Vec<Node>,
    output: NodeId,
    /// Weights by key.
    pub tensors: BTreeMap<String, Tensor>,
}

/// Why a node cannot be part of a graph.
#[derive(Debug, thiserror::Error)]
pub enum GraphError {
    /// Its inputs do not fit its op.
    #[error("node `{node}` ({op}): {source}")]
    Shape {
        /// The node.
        node: String,
        /// Its op.
        op: &'static str,
        /// What does not fit.
        source: ShapeError,
    },
    /// The storage forms of its value, inputs and weights do not match.
    #[error("node `{node}` ({op}): {source}")]
    Storage {
        /// The node.
        node: String,
        /// Its op.
        op: &'static str,
        /// What does not match.
        source: StorageError,
    },
    /// Another node has the same name.
    #[error("two nodes are named `{0}`")]
    DuplicateName(String),
    /// An input is not an earlier node.
    #[error("node `{node}` reads node {input}, which does not come before it")]
    Order {
        /// The node.
        node: String,
        /// The index it reads.
        input: usize,
    },
    /// A stored shape contradicts the inferred one.
    #[error("node `{node}`: expected shape {expected}, got {got}")]
    StoredShape {
        /// The node.
        node: String,
        /// The shape inferred from its inputs.
        expected: Shape,
        /// The stored shape.
        got: Shape,
    },
    /// The graph has no nodes.
    #[error("the graph has no nodes")]
    Empty,
    /// The output is not the index of a node.
    #[error("the output is node {output}, but there are {len} nodes")]
    Output {
        /// The index.
        output: usize,
        /// Number of nodes.
        len: usize,
    },
}

impl Hint for GraphError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Shape { source, .. } => source.kind(),
            Self::Storage { source, .. } => source.kind(),
            Self::DuplicateName(_) => "duplicate_name",
            Self::Order { .. } => "node_order",
            Self::StoredShape { .. } => "stored_shape",
            Self::Empty => "empty_graph",
            Self::Output { .. } => "output_index",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Storage { source, .. } => source.hint(),
            _ => "check that the model loads in the program that made it, and save it again"
                .to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Shape { node, op, source } => named!(node, op).and(source),
            Self::Storage { node, op, source } => named!(node, op).and(source),
            Self::DuplicateName(node) => named!(node),
            Self::Order { node, input } => named!(node, input),
            Self::StoredShape {
                node,
                expected,
                got,
            } => named!(node, %expected, %got),
            Self::Output { output, len } => named!(output, len),
            Self::Empty => named!(),
        }
    }
}

impl Graph {
    /// An empty graph. Its output is the node pushed last, until [`Graph::set_output`].
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            nodes: Vec::new(),
            output: NodeId(0),
            tensors: BTreeMap::new(),
        }
    }

    /// Rebuilds a graph from stored parts, checking order, names, tensors and every shape.
    ///
    /// # Errors
    /// [`GraphError`] for the first thing that does not fit.
    pub fn from_parts(
        name: String,
        nodes: Vec<Node>,
        output: NodeId,
        tensors: BTreeMap<String, Tensor>,
    ) -> Result<Self, GraphError> {
        let len = nodes.len();
        if len == 0 {
            return Err(GraphError::Empty);
        }
        let mut graph = Self {
            name,
            nodes: Vec::with_capacity(len),
            output,
            tensors,
        };
        for node in nodes {
            graph.push_node(node)?;
        }
        graph.set_output(output)?;
        Ok(graph)
    }

    /// Appends an input of the given shape.
    ///
    /// # Errors
    /// [`GraphError::DuplicateName`], or a shape with zero or too many elements.
    pub fn push_input(
        &mut self,
        name: impl Into<String>,
        shape: Shape,
    ) -> Result<NodeId, GraphError> {
        let node = Node {
            name: name.into(),
            op: Op::Input,
            inputs: vec![],
            shape,
            quantization: None,
            layers: vec![],
        };
        self.push_node(node)
    }

    /// Appends a node, inferring its shape. Tensors the op names must be in `self.tensors`.
    ///
    /// # Errors
    /// [`GraphError`] if inputs, attributes and tensors do not fit together.
    pub fn push(
        &mut self,
        name: impl Into<String>,
        op: Op,
        inputs: &[NodeId],
    ) -> Result<NodeId, GraphError> {
        let name = name.into();
        let shape = self.infer(&name, &op, inputs)?;
        self.push_node(Node {
            name,
            op,
            inputs: inputs.to_vec(),
            shape,
            quantization: None,
            layers: vec![],
        })
    }

    /// Appends a node that already has a shape, which is checked against the inferred one.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push_node(&mut self, node: Node) -> Result<NodeId, GraphError> {
        // A linear scan makes large graphs quadratic; models have a few hundred nodes.
        if self.nodes.iter().any(|n| n.name == node.name) {
            return Err(GraphError::DuplicateName(node.name));
        }
        let expected = if matches!(node.op, Op::Input) {
            shape::check_size(&node.shape).map_err(|source| GraphError::Shape {
                node: node.name.clone(),
                op: node.op.name(),
                source,
            })?;
            node.shape.clone()
        } else {
            self.infer(&node.name, &node.op, &node.inputs)?
        };
        storage::check(self, &node).map_err(|source| GraphError::Storage {
            node: node.name.clone(),
            op: node.op.name(),
            source,
        })?;
        if expected != node.shape {
            return Err(GraphError::StoredShape {
                node: node.name,
                expected,
                got: node.shape,
            });
        }
        let id = NodeId(self.nodes.len());
        self.nodes.push(node);
        self.output = id;
        Ok(id)
    }

    fn infer(&self, name: &str, op: &Op, inputs: &[NodeId]) -> Result<Shape, GraphError> {
        let mut shapes = Vec::with_capacity(inputs.len());
        for &NodeId(input) in inputs {
            let node = self.nodes.get(input).ok_or_else(|| GraphError::Order {
                node: name.to_owned(),
                input,
            })?;
            shapes.push(&node.shape);
        }
        shape::infer(op, &shapes, &self.tensors).map_err(|source| GraphError::Shape {
            node: name.to_owned(),
            op: op.name(),
            source,
        })
    }

    /// The same graph for an input of another shape; every shape after it is inferred again.
    ///
    /// # Errors
    /// [`GraphError`] for the first node that does not fit the shape, such as a dense layer after a
    /// flattened map.
    pub fn with_input_shape(&self, input: NodeId, shape: &Shape) -> Result<Self, GraphError> {
        let mut graph = Self {
            name: self.name.clone(),
            nodes: Vec::with_capacity(self.nodes.len()),
            output: NodeId(0),
            tensors: self.tensors.clone(),
        };
        for (id, node) in self.ids().zip(&self.nodes) {
            let mut node = node.clone();
            if id == input {
                node.shape = shape.clone();
            } else if !matches!(node.op, Op::Input) {
                node.shape = graph.infer(&node.name, &node.op, &node.inputs)?;
            }
            graph.push_node(node)?;
        }
        graph.set_output(self.output)?;
        Ok(graph)
    }

    /// Sets which value is the answer.
    ///
    /// # Errors
    /// [`GraphError::Output`] if there is no such node.
    pub fn set_output(&mut self, output: NodeId) -> Result<(), GraphError> {
        if output.0 >= self.nodes.len() {
            return Err(GraphError::Output {
                output: output.0,
                len: self.nodes.len(),
            });
        }
        self.output = output;
        Ok(())
    }

    /// Nodes in execution order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// One node. Panics on an id of another graph, as slice indexing does.
    #[must_use]
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.0]
    }

    /// A node's source layers, to append to.
    pub fn layers_mut(&mut self, id: NodeId) -> &mut Vec<SourceLayer> {
        &mut self.nodes[id.0].layers
    }

    /// The answer's node.
    #[must_use]
    pub fn output(&self) -> NodeId {
        self.output
    }

    /// Ids in execution order.
    pub fn ids(&self) -> impl DoubleEndedIterator<Item = NodeId> + use<> {
        (0..self.nodes.len()).map(NodeId)
    }

    /// The inputs, in the order of the graph.
    pub fn inputs(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| matches!(node.op, Op::Input))
            .map(|(i, node)| (NodeId(i), node))
    }

    /// The node that stands for a source layer or has this name, with the layer's stage. A path
    /// matches as a whole, or by its last segments (`block14_sepconv2_act` finds
    /// `backbone/block14_sepconv2_act`) if only one layer matches.
    #[must_use]
    pub fn find_layer(&self, name: &str) -> Vec<(NodeId, Stage)> {
        let suffix = format!("/{name}");
        let mut exact = Vec::new();
        let mut partial = Vec::new();
        for (id, node) in self.ids().zip(&self.nodes) {
            for layer in &node.layers {
                if layer.name == name {
                    exact.push((id, layer.stage.clone()));
                } else if layer.name.ends_with(&suffix) {
                    partial.push((id, layer.stage.clone()));
                }
            }
        }
        if !exact.is_empty() {
            return exact;
        }
        if partial.is_empty() {
            let named = self.ids().filter(|&id| self.node(id).name == name);
            return named.map(|id| (id, Stage::Output)).collect();
        }
        partial
    }

    /// Words of four bytes that a node's value takes: one for each element in f32, a quarter in
    /// bytes.
    #[must_use]
    pub fn stored_words(&self, id: NodeId) -> usize {
        let node = self.node(id);
        match node.quantization {
            None => node.shape.len(),
            Some(_) => node.shape.len().div_ceil(4),
        }
    }

    /// Whether any value is stored in bytes.
    #[must_use]
    pub fn is_quantized(&self) -> bool {
        self.nodes.iter().any(|node| node.quantization.is_some())
    }

    /// The narrowest type of its weights, as `dermal quantize --to` names it, or `f32`.
    #[must_use]
    pub fn precision(&self) -> &'static str {
        let kernels = self.nodes.iter().filter_map(|node| node.op.kernel());
        let types = kernels.filter_map(|kernel| Some(self.tensors.get(&kernel.tensor)?.dtype()));
        let narrow = types.min_by_key(|dtype| dtype.bytes());
        match narrow {
            Some(DType::I8) => "int8",
            Some(DType::F16) => "fp16",
            Some(DType::BF16) => "bf16",
            Some(DType::F32 | DType::I32) | None => "f32",
        }
    }

    /// For each node, the nodes that read it.
    #[must_use]
    pub fn users(&self) -> Vec<Vec<NodeId>> {
        let mut users = vec![Vec::new(); self.nodes.len()];
        for (id, node) in self.ids().zip(&self.nodes) {
            for input in &node.inputs {
                users[input.0].push(id);
            }
        }
        users
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::activation::Activation;
    use crate::tensor::DType;

    #[test]
    fn every_op_survives_json() {
        let window = Window {
            kernel: [3, 5],
            strides: [2, 1],
            dilations: [1, 2],
            padding: Padding {
                top: 1,
                left: 2,
                bottom: 3,
                right: 4,
            },
        };
        let kernel = Kernel {
            tensor: "k".into(),
            layout: KernelLayout::Panel16,
            scale: Some("s".into()),
        };
        let relu = Activation::ReluGeneral {
            max_value: None,
            negative_slope: 0.1,
            threshold: 0.0,
        };
        let epilogue = Epilogue {
            activation: relu,
            residual: Some(Activation::Silu),
        };
        let bias = Some("b".to_owned());
        let key = || "t".to_owned();
        let ops = [
            Op::Input,
            Op::Conv2d(Conv2d {
                window,
                groups: 2,
                filters: 8,
                kernel: kernel.clone(),
                bias: bias.clone(),
                epilogue,
            }),
            Op::DepthwiseConv2d(DepthwiseConv2d {
                window,
                multiplier: 2,
                kernel: kernel.clone(),
                bias: None,
                activation: Activation::HardSigmoid {
                    alpha: 0.2,
                    beta: 0.5,
                },
            }),
            Op::Dense(Dense {
                units: 3,
                kernel,
                bias,
                epilogue: Epilogue::default(),
            }),
            Op::ScaleShift {
                scale: key(),
                shift: key(),
            },
            Op::Activation(Activation::LeakyRelu { slope: 0.3 }),
            Op::Activation(Activation::Linear),
            Op::PRelu { alpha: key() },
            Op::Softmax { axis: None },
            Op::Softmax { axis: Some(1) },
            Op::MatMul,
            Op::LayerNormalization {
                scale: key(),
                shift: key(),
                epsilon: 1e-6,
            },
            Op::Reduce {
                kind: ReduceKind::L2,
                axes: vec![0, 2],
                keep_dims: true,
            },
            Op::Slice(Slice::whole(&[3, 5].into()).along(1, 2, 4)),
            Op::Gather {
                axis: 1,
                indices: vec![2, 0, 2],
            },
            Op::Constant { tensor: key() },
            Op::Activation(Activation::Pow { exponent: 1.5 }),
            Op::Binary {
                kind: BinaryOp::Div,
                activation: Activation::Relu6,
            },
            Op::Concat { axis: 2 },
            Op::Pool2d {
                kind: PoolKind::Average,
                window,
            },
            Op::GlobalPool {
                kind: PoolKind::Max,
                keep_dims: true,
            },
            Op::Pad(window.padding),
            Op::Crop(window.padding),
            Op::Reshape {
                shape: [4, 2].into(),
            },
            Op::Transpose {
                permutation: vec![1, 0],
            },
            Op::Resize {
                kind: ResizeKind::Bilinear,
                size: [7, 9],
            },
            Op::Quantize,
            Op::Dequantize,
        ];
        for op in ops {
            let stage = Stage::BeforeAffine {
                scale: key(),
                shift: key(),
            };
            let layers = vec![SourceLayer {
                name: "a/b".into(),
                class: "C".into(),
                stage,
            }];
            let (name, inputs) = ("n".to_owned(), vec![NodeId(3)]);
            let node = Node {
                name,
                op,
                inputs,
                shape: [4, 2].into(),
                quantization: Some(Quantization {
                    scale: 0.1,
                    zero_point: 3,
                }),
                layers,
            };
            let json = serde_json::to_string(&node).unwrap();
            let back: Node = serde_json::from_str(&json).unwrap_or_else(|e| panic!("{json}: {e}"));
            assert_eq!(back, node, "{json}");
        }
    }

    #[test]
    fn a_softmax_of_before_is_along_the_last_axis() {
        let old = r#"{"name":"n","op":"softmax","inputs":[0],"shape":[3]}"#;
        let node: Node = serde_json::from_str(old).unwrap();
        assert_eq!(node.op, Op::softmax(0, 1));
        assert_eq!(serde_json::to_string(&node).unwrap(), old);
        assert_eq!(Op::softmax(0, 2), Op::Softmax { axis: Some(0) });
    }

    #[test]
    fn constants_and_norms_are_f32() {
        let mut graph = Graph::new("test");
        let half = Tensor::from_bytes(DType::F16, [2], vec![0; 4]).unwrap();
        graph.tensors.insert("half".into(), half);
        let x = graph.push_input("x", [2].into()).unwrap();
        let key = || "half".to_owned();
        let norm = Op::LayerNormalization {
            scale: key(),
            shift: key(),
            epsilon: 0.0,
        };
        let constant = Op::Constant { tensor: key() };
        for (op, inputs) in [(norm, &[x][..]), (constant, &[])] {
            let error = graph.push("y", op, inputs).unwrap_err();
            assert!(
                error
                    .to_string()
                    .ends_with("tensor `half`: expected f32, got f16"),
                "{error}"
            );
        }
    }
}
