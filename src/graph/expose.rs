//! Splits a folded or fused layer's own output off as a node, so that it can be read.

use super::{
    BinaryOp, Conv2d, Dense, DepthwiseConv2d, Epilogue, Graph, GraphError, Node, NodeId, Op, Stage,
};
use crate::activation::Activation;
use crate::hint::{Arguments, Hint, named};
use crate::tensor::Tensor;

/// Why a layer inside a fused node cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ExposeError {
    /// The folded scale has a zero, so the value before it cannot be recovered.
    #[error(
        "the output of this layer was multiplied by zero in channel {channel} when `{scale}` was \
         folded into it, and cannot be recovered"
    )]
    Zero {
        /// Key of the scale.
        scale: String,
        /// The channel.
        channel: usize,
    },
    /// The scale or shift of a folded layer is not stored.
    #[error("tensor `{0}`, which was folded, is missing or not f32")]
    MissingTensor(String),
    /// The node computes in integers; no value exists between a sum and the stored byte.
    #[error(
        "in this quantized model the layer is part of `{0}`, and only that node's bytes are stored"
    )]
    Quantized(String),
    /// The rewritten graph is not valid.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl Hint for ExposeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Zero { .. } => "folded_zero",
            Self::MissingTensor(_) => "missing_tensor",
            Self::Quantized(_) => "layer_quantized",
            Self::Graph(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Zero { .. } | Self::MissingTensor(_) | Self::Quantized(_) => {
                "choose the layer after it".to_owned()
            }
            Self::Graph(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Zero { scale, channel } => named!(scale, channel),
            Self::MissingTensor(tensor) => named!(tensor),
            Self::Quantized(node) => named!(node),
            Self::Graph(error) => error.arguments(),
        }
    }
}

/// Rewrites `graph` so that the value at `stage` of node `id` is a node of its own; returns that
/// node. The other values, the output and all names stay as they were.
///
/// # Errors
/// [`ExposeError`] if the value cannot be recovered.
pub fn expose(graph: &Graph, id: NodeId, stage: &Stage) -> Result<(Graph, NodeId), ExposeError> {
    if *stage == Stage::Output {
        return Ok((graph.clone(), id));
    }
    let mut tensors = graph.tensors.clone();
    let node = graph.node(id);
    if node.quantization.is_some() || *stage == Stage::Folded {
        return Err(ExposeError::Quantized(node.name.clone()));
    }
    let (bare, epilogue) = split(&node.op);
    let mut chain = Chain {
        node,
        first: id.0,
        nodes: Vec::new(),
        exposed: None,
    };
    let operands = match epilogue.residual {
        Some(_) => &node.inputs[..node.inputs.len() - 1],
        None => &node.inputs[..],
    };
    chain.push("sum", bare, operands);
    if let Stage::BeforeAffine { scale, shift } = stage {
        let n = node.shape.channels();
        let (s, t) = (folded(graph, scale, n)?, folded(graph, shift, n)?);
        if let Some(channel) = s.iter().position(|&s| s == 0.0) {
            return Err(ExposeError::Zero {
                scale: scale.clone(),
                channel,
            });
        }
        let inverse: Vec<f32> = s.iter().map(|s| 1.0 / s).collect();
        let back: Vec<f32> = s.iter().zip(&t).map(|(s, t)| -t / s).collect();
        let mut store = |what: &str, values: &[f32]| {
            let key = format!("{}/{what}", node.name);
            let tensor = Tensor::from_f32([n], values);
            let tensor = tensor.map_err(|_| ExposeError::MissingTensor(key.clone()))?;
            tensors.insert(key.clone(), tensor);
            Ok::<_, ExposeError>(key)
        };
        let (inverse, back) = (store("unscale", &inverse)?, store("unshift", &back)?);
        let (s, t) = (store("scale", &s)?, store("shift", &t)?);
        chain.then(
            "before",
            Op::ScaleShift {
                scale: inverse,
                shift: back,
            },
        );
        chain.expose();
        chain.then("affine", Op::ScaleShift { scale: s, shift: t });
    }
    if *stage == Stage::BeforeActivation {
        chain.expose();
    }
    if epilogue.activation != Activation::Linear {
        chain.then("activation", Op::Activation(epilogue.activation));
    }
    if *stage == Stage::BeforeResidual {
        chain.expose();
    }
    if let (Some(post), Some(&residual)) = (epilogue.residual, node.inputs.last()) {
        let add = Op::Binary {
            kind: BinaryOp::Add,
            activation: Activation::Linear,
        };
        let sum = chain.last();
        chain.push("add", add, &[sum, residual]);
        if *stage == Stage::BeforePostActivation {
            chain.expose();
        }
        if post != Activation::Linear {
            chain.then("post", Op::Activation(post));
        }
    }
    let exposed = chain.exposed.unwrap_or(id);
    Ok((splice(graph, id, chain.nodes, tensors)?, exposed))
}

/// The op without the part after its sum, and that part.
fn split(op: &Op) -> (Op, Epilogue) {
    let bare = Epilogue::default();
    match op {
        Op::Conv2d(conv) => (
            Op::Conv2d(Conv2d {
                epilogue: bare,
                ..conv.clone()
            }),
            conv.epilogue,
        ),
        Op::Dense(dense) => (
            Op::Dense(Dense {
                epilogue: bare,
                ..dense.clone()
            }),
            dense.epilogue,
        ),
        Op::DepthwiseConv2d(conv) => {
            let activation = Activation::Linear;
            let plain = DepthwiseConv2d {
                activation,
                ..conv.clone()
            };
            let epilogue = Epilogue {
                activation: conv.activation,
                residual: None,
            };
            (Op::DepthwiseConv2d(plain), epilogue)
        }
        Op::Binary { kind, activation } => {
            let plain = Op::Binary {
                kind: *kind,
                activation: Activation::Linear,
            };
            (
                plain,
                Epilogue {
                    activation: *activation,
                    residual: None,
                },
            )
        }
        other => (other.clone(), bare),
    }
}

fn folded(graph: &Graph, key: &str, n: usize) -> Result<Vec<f32>, ExposeError> {
    let missing = || ExposeError::MissingTensor(key.to_owned());
    let values = graph
        .tensors
        .get(key)
        .and_then(Tensor::as_f32)
        .ok_or_else(missing)?;
    match values.len() {
        1 => Ok(vec![values[0]; n]),
        _ => values.get(..n).map(<[f32]>::to_vec).ok_or_else(missing),
    }
}

/// The nodes that replace a fused node.
struct Chain<'a> {
    node: &'a Node,
    first: usize,
    nodes: Vec<Node>,
    exposed: Option<NodeId>,
}

impl Chain<'_> {
    fn last(&self) -> NodeId {
        NodeId(self.first + self.nodes.len() - 1)
    }

    fn push(&mut self, what: &str, op: Op, inputs: &[NodeId]) {
        self.nodes.push(Node {
            name: format!("{}/{what}", self.node.name),
            op,
            inputs: inputs.to_vec(),
            shape: self.node.shape.clone(),
            quantization: None,
            layers: Vec::new(),
        });
    }

    fn then(&mut self, what: &str, op: Op) {
        let last = self.last();
        self.push(what, op, &[last]);
    }

    fn expose(&mut self) {
        self.exposed = Some(self.last());
    }
}

fn splice(
    graph: &Graph,
    id: NodeId,
    mut chain: Vec<Node>,
    tensors: std::collections::BTreeMap<String, Tensor>,
) -> Result<Graph, GraphError> {
    let more = chain.len() - 1;
    let moved = |old: NodeId| if old >= id { NodeId(old.0 + more) } else { old };
    if let Some(last) = chain.last_mut() {
        last.name.clone_from(&graph.node(id).name);
        last.layers.clone_from(&graph.node(id).layers);
    }
    let before = graph.nodes()[..id.0].iter().cloned();
    let after = graph.nodes()[id.0 + 1..].iter().cloned().map(|mut node| {
        for input in &mut node.inputs {
            *input = moved(*input);
        }
        node
    });
    let nodes = before.chain(chain).chain(after).collect();
    Graph::from_parts(graph.name.clone(), nodes, moved(graph.output()), tensors)
}
