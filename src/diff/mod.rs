//! What two models have in common and in what they differ: graph, weights, recipe, labels, sizes.
//!
//! In: two [`Model`]s. Out: a [`Difference`], whose lists are empty for equal models. Nodes are
//! matched by name. Weights are compared as the real numbers that they represent, so a quantized
//! model shows by how much each layer was rounded; equal numbers in another type are a difference,
//! too. Origin, evidence and self-test do not count: they say how a model was made, not what it is.
//!
//! Not here: accuracy. `evaluate` compares the answers of two models.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::artifact::{InputKind, Model};
use crate::graph::{Conv2d, Dense, DepthwiseConv2d, Graph, Node, Op, Weights};
use crate::tensor::DType;

/// How two models differ.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Difference {
    /// Nodes that only one of them has, or that compute something else.
    pub graph: Vec<Change>,
    /// Nodes whose weights differ, the largest difference first.
    pub weights: Vec<WeightChange>,
    /// Fields of the recipe, names and defaults of inputs, the mapping of fields.
    pub inputs: Vec<Change>,
    /// Class names, by position.
    pub labels: Vec<Change>,
    /// How the output becomes probabilities.
    pub head: Vec<Change>,
    /// Parameters and bytes. They differ as a consequence, and do not count.
    pub sizes: [Sizes; 2],
    /// Nodes that were compared by their weights.
    pub weighted: usize,
}

/// A fact that is not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// What it is about: a node, a field of the recipe, the position of a label.
    pub what: String,
    /// In the first model; `None` if it has none.
    pub first: Option<String>,
    /// In the second model; `None` if it has none.
    pub second: Option<String>,
}

/// Weights of one node that are not the same.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WeightChange {
    /// The node.
    pub node: String,
    /// Its operator.
    pub op: &'static str,
    /// `kernel`, `bias`, `scale`, `shift`, `alpha` or `constant`.
    pub part: &'static str,
    /// How many numbers differ; all, if their counts do.
    pub differing: usize,
    /// How many there are in the first model.
    pub numbers: usize,
    /// The largest distance of two numbers; `None` if their counts differ.
    pub largest: Option<f64>,
    /// The same, as a share of the largest number of the first model.
    pub relative: Option<f64>,
    /// Types in which they are stored.
    pub stored: [Option<DType>; 2],
}

/// How large a model is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Nodes of the graph.
    pub nodes: usize,
    /// Parameters.
    pub parameters: u64,
    /// Multiply-adds for one photo.
    pub macs: u64,
    /// Bytes of the stored weights.
    pub weight_bytes: u64,
}

impl Difference {
    /// Whether the models are the same.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.count() == 0
    }

    /// How many differences there are.
    #[must_use]
    pub fn count(&self) -> usize {
        let Self {
            graph,
            weights,
            inputs,
            labels,
            head,
            sizes: _,
            weighted: _,
        } = self;
        graph.len() + weights.len() + inputs.len() + labels.len() + head.len()
    }
}

/// Compares two models.
#[must_use]
pub fn diff(first: &Model, second: &Model) -> Difference {
    let graphs = [&first.graph, &second.graph];
    let (weights, weighted) = weights(graphs);
    let heads = [first, second].map(|model| model.manifest.head.option().to_owned());
    Difference {
        graph: nodes(graphs),
        weights,
        inputs: inputs([first, second]),
        labels: labels([&first.manifest.labels, &second.manifest.labels]),
        head: change("head", heads.map(Some)).into_iter().collect(),
        sizes: graphs.map(sizes),
        weighted,
    }
}

/// A change, if there is one.
fn change(what: &str, sides: [Option<String>; 2]) -> Option<Change> {
    let [first, second] = sides;
    (first != second).then(|| Change {
        what: what.to_owned(),
        first,
        second,
    })
}

fn by_name(graph: &Graph) -> BTreeMap<&str, &Node> {
    let nodes = graph.nodes().iter();
    nodes.map(|node| (node.name.as_str(), node)).collect()
}

/// What a node computes, without the names and the storage of its weights.
fn described(graph: &Graph, node: &Node) -> String {
    let mut op = node.op.clone();
    match &mut op {
        Op::Conv2d(Conv2d { bias, .. })
        | Op::DepthwiseConv2d(DepthwiseConv2d { bias, .. })
        | Op::Dense(Dense { bias, .. }) => *bias = None,
        Op::ScaleShift { scale, shift } | Op::LayerNormalization { scale, shift, .. } => {
            (*scale, *shift) = (String::new(), String::new());
        }
        Op::Constant { tensor: key } | Op::PRelu { alpha: key } => *key = String::new(),
        _ => {}
    }
    if let Some(kernel) = op.kernel_mut() {
        *kernel = crate::graph::Kernel::plain("");
    }
    let inputs = node.inputs.iter().map(|&id| graph.node(id).name.as_str());
    let inputs: Vec<&str> = inputs.collect();
    let mut text = serde_json::to_string(&op).unwrap_or_default();
    text.push_str(&format!(" of {} as {}", inputs.join(", "), node.shape));
    if let Some(map) = node.quantization {
        text.push_str(&format!(
            " in bytes of {} from {}",
            map.scale, map.zero_point
        ));
    }
    text
}

/// Both names of a match, in the order of the first graph, then what only the second one has.
fn all_names(graphs: [&Graph; 2]) -> Vec<&str> {
    let mut seen = BTreeSet::new();
    let nodes = graphs.into_iter().flat_map(Graph::nodes);
    let names = nodes.map(|node| node.name.as_str());
    names.filter(|name| seen.insert(*name)).collect()
}

fn nodes(graphs: [&Graph; 2]) -> Vec<Change> {
    let known = graphs.map(by_name);
    let mut changes = Vec::new();
    for name in all_names(graphs) {
        let sides = [0, 1].map(|i| {
            let node = known[i].get(name)?;
            Some(described(graphs[i], node))
        });
        changes.extend(change(&format!("node `{name}`"), sides));
    }
    let answers = graphs.map(|graph| Some(graph.node(graph.output()).name.clone()));
    changes.extend(change("the answer", answers));
    changes
}

/// A part of a node's weights: real numbers, and how they are stored.
struct Numbers {
    part: &'static str,
    values: Vec<f32>,
    stored: Option<DType>,
}

/// The weights of a node. Parts that cannot be read are left out: a loaded model has none.
fn numbers(graph: &Graph, node: &Node) -> Vec<Numbers> {
    let weights = Weights::of(graph, node);
    let stored = |key: &str| graph.tensors.get(key).map(crate::tensor::Tensor::dtype);
    let channels = node
        .inputs
        .first()
        .map_or(1, |&id| graph.node(id).shape.channels());
    let weighted = match &node.op {
        Op::Conv2d(conv) => {
            let groups = conv.groups.max(1);
            let k = conv.window.kernel[0] * conv.window.kernel[1] * channels / groups;
            let sizes = [groups, k, conv.filters / groups];
            Some(weights.matrix(&conv.kernel, sizes, conv.bias.as_ref()))
        }
        Op::DepthwiseConv2d(conv) => {
            let rows = conv.window.kernel[0] * conv.window.kernel[1];
            let sizes = [rows, node.shape.channels()];
            Some(weights.rows(&conv.kernel, sizes, conv.bias.as_ref()))
        }
        Op::Dense(dense) => {
            let sizes = [1, channels, dense.units];
            Some(weights.matrix(&dense.kernel, sizes, dense.bias.as_ref()))
        }
        _ => None,
    };
    let mut parts = Vec::new();
    if let (Some(Ok(plain)), Some(kernel)) = (weighted, node.op.kernel()) {
        parts.push(Numbers {
            part: "kernel",
            values: plain.weights,
            stored: stored(&kernel.tensor),
        });
        // The type of the bias follows from that of the kernel.
        parts.extend(plain.bias.map(|values| Numbers {
            part: "bias",
            values,
            stored: None,
        }));
        return parts;
    }
    let n = node.shape.channels();
    let mut list = |part, key: &str| {
        let values = match part {
            "alpha" | "constant" => weights.floats(key),
            _ => weights.vector(key, n),
        };
        parts.extend(values.ok().map(|values| Numbers {
            part,
            values,
            stored: stored(key),
        }));
    };
    match &node.op {
        Op::ScaleShift { scale, shift } | Op::LayerNormalization { scale, shift, .. } => {
            list("scale", scale);
            list("shift", shift);
        }
        Op::PRelu { alpha } => list("alpha", alpha),
        Op::Constant { tensor } => list("constant", tensor),
        _ => {}
    }
    parts
}

fn weights(graphs: [&Graph; 2]) -> (Vec<WeightChange>, usize) {
    let known = graphs.map(by_name);
    let mut changes = Vec::new();
    let mut weighted = 0;
    for (name, node) in graphs[0]
        .nodes()
        .iter()
        .map(|node| (node.name.as_str(), node))
    {
        // A node that only one of them has is a difference of the graph.
        let Some(other) = known[1].get(name) else {
            continue;
        };
        let first = numbers(graphs[0], node);
        let second = numbers(graphs[1], other);
        weighted += usize::from(!first.is_empty());
        let parts: BTreeSet<&str> = first.iter().chain(&second).map(|p| p.part).collect();
        for part in parts {
            let sides = [&first, &second].map(|list| list.iter().find(|p| p.part == part));
            changes.extend(weight_change(node, sides));
        }
    }
    // What has other numbers of weights first; then by share.
    changes.sort_by(|a, b| {
        let size = |c: &WeightChange| c.relative.unwrap_or(f64::INFINITY);
        size(b).total_cmp(&size(a))
    });
    (changes, weighted)
}

fn weight_change(node: &Node, sides: [Option<&Numbers>; 2]) -> Option<WeightChange> {
    let part = sides.iter().flatten().next()?.part;
    let values = sides.map(|side| side.map_or(&[][..], |numbers| &numbers.values));
    let stored = sides.map(|side| side.and_then(|numbers| numbers.stored));
    let [a, b] = values;
    let same_count = a.len() == b.len();
    let pairs = || a.iter().zip(b);
    let differing = if same_count {
        pairs().filter(|(x, y)| x.to_bits() != y.to_bits()).count()
    } else {
        a.len().max(b.len())
    };
    if differing == 0 && stored[0] == stored[1] {
        return None;
    }
    let apart = |(x, y): (&f32, &f32)| (f64::from(*x) - f64::from(*y)).abs();
    let largest = same_count.then(|| pairs().map(apart).fold(0.0, f64::max));
    let most = a
        .iter()
        .fold(0.0, |most, v| f64::max(most, f64::from(v.abs())));
    let relative = largest.map(|largest| if most > 0.0 { largest / most } else { largest });
    Some(WeightChange {
        node: node.name.clone(),
        op: node.op.name(),
        part,
        differing,
        numbers: a.len(),
        largest,
        relative,
        stored,
    })
}

/// Facts about the inputs as text, by name.
fn facts(model: &Model) -> BTreeMap<String, String> {
    let mut facts = BTreeMap::new();
    let json = |value: &serde_json::Value| match value {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    for (i, spec) in model.manifest.inputs.iter().enumerate() {
        facts.insert(format!("input {}", i + 1), spec.name.clone());
        match &spec.kind {
            InputKind::Image { preprocessing } => {
                let recipe = serde_json::to_value(preprocessing).unwrap_or_default();
                for (field, value) in recipe.as_object().into_iter().flatten() {
                    // A preset is a name; its numbers are compared.
                    if field != "preset" {
                        facts.insert(format!("preprocessing `{field}`"), json(value));
                    }
                }
            }
            InputKind::Vector { default } => {
                let default = serde_json::to_value(default).unwrap_or_default();
                facts.insert(format!("default of `{}`", spec.name), json(&default));
            }
        }
    }
    if let Some(fields) = &model.manifest.fields {
        let fields = serde_json::to_value(fields).unwrap_or_default();
        facts.insert("mapping of fields".to_owned(), json(&fields));
    }
    facts
}

fn inputs(models: [&Model; 2]) -> Vec<Change> {
    let facts = models.map(facts);
    let names: BTreeSet<&String> = facts.iter().flat_map(BTreeMap::keys).collect();
    let sides = |name: &String| [0, 1].map(|i: usize| facts[i].get(name).cloned());
    let changes = names
        .into_iter()
        .filter_map(|name| change(name, sides(name)));
    changes.collect()
}

fn labels(lists: [&[String]; 2]) -> Vec<Change> {
    let len = lists[0].len().max(lists[1].len());
    let changes = (0..len).filter_map(|i| {
        let sides = lists.map(|list| list.get(i).cloned());
        change(&format!("label {i}"), sides)
    });
    changes.collect()
}

fn sizes(graph: &Graph) -> Sizes {
    let stats = graph.total_stats();
    let bytes = graph
        .tensors
        .values()
        .map(|tensor| tensor.bytes().len() as u64);
    Sizes {
        nodes: graph.nodes().len(),
        parameters: stats.parameters,
        macs: stats.macs,
        weight_bytes: bytes.sum(),
    }
}
