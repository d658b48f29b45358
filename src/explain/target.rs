//! The feature map that a heat map shows, and the other values that the layers after it read.

use super::ExplainError;
use crate::graph::{Graph, NodeId, Op, Stage, expose};
use crate::text::edit_distance;

/// A feature map of a graph, as a node that can be kept and read.
#[derive(Clone, Debug)]
pub struct Target {
    graph: Graph,
    node: NodeId,
    layer: String,
    size: [usize; 2],
    frontier: Vec<NodeId>,
}

impl Target {
    /// The feature map of `layer` (a name, or the end of one), or of [`default_layer`].
    ///
    /// # Errors
    /// [`ExplainError`] if there is no such layer, or it has no rows and columns.
    pub fn find(graph: &Graph, layer: Option<&str>) -> Result<Self, ExplainError> {
        let (graph, node, layer) = match layer {
            None => {
                let node = default_layer(graph).ok_or(ExplainError::NoMap)?;
                (graph.clone(), node, display_name(graph, node))
            }
            Some(name) => {
                let (id, stage) = one_layer(graph, name)?;
                check_spatial(graph, id, name)?;
                let (graph, node) =
                    expose(graph, id, &stage).map_err(|source| ExplainError::Expose {
                        name: name.to_owned(),
                        source,
                    })?;
                (graph, node, name.to_owned())
            }
        };
        let [h, w, _] = check_spatial(&graph, node, &layer)?;
        let frontier =
            frontier(&graph, node).ok_or_else(|| ExplainError::NotUpstream(layer.clone()))?;
        Ok(Self {
            graph,
            node,
            layer,
            size: [h, w],
            frontier,
        })
    }

    /// The graph to run: the model's, with the requested layer as a separate node.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The feature map's node.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// The layer's name.
    #[must_use]
    pub fn layer(&self) -> &str {
        &self.layer
    }

    /// Rows and columns.
    #[must_use]
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// Values besides the feature map that the head reads: side branches.
    #[must_use]
    pub fn frontier(&self) -> &[NodeId] {
        &self.frontier
    }

    /// The values that the engine must keep: the feature map and the frontier.
    #[must_use]
    pub fn keep(&self) -> Vec<NodeId> {
        std::iter::once(self.node)
            .chain(self.frontier.iter().copied())
            .collect()
    }
}

/// The last convolutional feature map: the last value with rows and columns that the answer depends
/// on. Values that only pool, pad, crop or resize another one do not count, and neither do those
/// whose first two axes are not the photo's rows and columns, such as the scores of attention. It is
/// what Keras' users choose by hand: `top_activation`, `block14_sepconv2_act`, `conv5_block3_out`.
#[must_use]
pub fn default_layer(graph: &Graph) -> Option<NodeId> {
    let upstream = upstream(graph);
    let maps = maps(graph);
    graph.ids().rev().find(|&id| {
        let node = graph.node(id);
        let moved_only = matches!(
            node.op,
            Op::Input
                | Op::Quantize
                | Op::Dequantize
                | Op::Pool2d { .. }
                | Op::GlobalPool { .. }
                | Op::Pad(_)
                | Op::Crop(_)
                | Op::Reshape { .. }
                | Op::Transpose { .. }
                | Op::Slice(_)
                | Op::Gather { .. }
                | Op::Reduce { .. }
                | Op::Resize { .. }
        );
        let spatial = node.shape.hwc().is_some_and(|[h, w, _]| h * w > 1);
        upstream[id.0] && spatial && maps[id.0] && !moved_only
    })
}

/// For each node whether its first two axes may be the photo's rows and columns.
///
/// Convolutions and the like make maps, and what is done to each element of a map leaves it one.
/// Products of values make none: their axes are heads and tokens. Tokens that are reshaped to rows
/// and columns that a map had before are a map again.
fn maps(graph: &Graph) -> Vec<bool> {
    let mut maps: Vec<bool> = Vec::with_capacity(graph.nodes().len());
    let mut sizes: Vec<[usize; 2]> = Vec::new();
    for node in graph.nodes() {
        let inputs = || node.inputs.iter();
        let of_map = || inputs().any(|input| maps[input.0]);
        let is_map = node.shape.rank() == 3
            && match &node.op {
                Op::Input
                | Op::Conv2d(_)
                | Op::DepthwiseConv2d(_)
                | Op::Pool2d { .. }
                | Op::GlobalPool { .. }
                | Op::Pad(_)
                | Op::Crop(_)
                | Op::Resize { .. } => true,
                Op::MatMul | Op::Constant { .. } => false,
                Op::Reshape { shape } => {
                    let same = |input: &NodeId| maps[input.0] && graph.node(*input).shape == *shape;
                    inputs().any(same)
                        || shape.hwc().is_some_and(|[h, w, _]| sizes.contains(&[h, w]))
                }
                _ => of_map(),
            };
        if let Some([h, w, _]) = node.shape.hwc().filter(|_| is_map) {
            sizes.push([h, w]);
        }
        maps.push(is_map);
    }
    maps
}

/// The name that people know a node's value by: that of the first source layer whose output it is, or
/// else the node's own. Later source layers with the same output are models that end in it, and
/// layers that do nothing.
fn display_name(graph: &Graph, id: NodeId) -> String {
    let node = graph.node(id);
    let mut layers = node.layers.iter();
    let layer = layers.find(|layer| layer.stage == Stage::Output);
    layer.map_or_else(|| node.name.clone(), |layer| layer.name.clone())
}

fn one_layer(graph: &Graph, name: &str) -> Result<(NodeId, Stage), ExplainError> {
    let mut found = graph.find_layer(name);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => Err(ExplainError::UnknownLayer {
            name: name.to_owned(),
            nearest: nearest(graph, name),
        }),
        _ => {
            let found = found.iter().flat_map(|(id, _)| &graph.node(*id).layers);
            let ends = found.filter(|l| l.name == name || l.name.ends_with(&format!("/{name}")));
            let found = ends.map(|layer| format!("`{}`", layer.name)).collect();
            Err(ExplainError::AmbiguousLayer {
                name: name.to_owned(),
                found,
            })
        }
    }
}

fn check_spatial(graph: &Graph, id: NodeId, name: &str) -> Result<[usize; 3], ExplainError> {
    let shape = &graph.node(id).shape;
    let spatial = shape.hwc().filter(|[h, w, _]| h * w > 1);
    spatial.ok_or_else(|| ExplainError::NotSpatial {
        name: name.to_owned(),
        shape: shape.clone(),
    })
}

/// For each node, whether the output depends on it.
fn upstream(graph: &Graph) -> Vec<bool> {
    let mut upstream = vec![false; graph.nodes().len()];
    upstream[graph.output().0] = true;
    for id in graph.ids().rev() {
        if upstream[id.0] {
            for input in &graph.node(id).inputs {
                upstream[input.0] = true;
            }
        }
    }
    upstream
}

/// Values that the nodes between `target` and the output read from elsewhere; `None` if the
/// output does not depend on `target`.
fn frontier(graph: &Graph, target: NodeId) -> Option<Vec<NodeId>> {
    let upstream = upstream(graph);
    let mut downstream = vec![false; graph.nodes().len()];
    downstream[target.0] = true;
    let mut frontier = Vec::new();
    for id in graph.ids().filter(|&id| id > target) {
        let inputs = &graph.node(id).inputs;
        if inputs.iter().any(|input| downstream[input.0]) {
            downstream[id.0] = true;
            if upstream[id.0] {
                frontier.extend(inputs.iter().copied());
            }
        }
    }
    frontier.retain(|input| !downstream[input.0]);
    frontier.sort_unstable();
    frontier.dedup();
    downstream[graph.output().0].then_some(frontier)
}

/// Up to three layers with names similar to `name`.
fn nearest(graph: &Graph, name: &str) -> Vec<String> {
    let layers = graph.nodes().iter().flat_map(|node| &node.layers);
    let mut scored: Vec<(usize, String)> = layers
        .map(|layer| {
            let short = layer.name.rsplit('/').next().unwrap_or(&layer.name);
            (edit_distance(short, name), format!("`{}`", layer.name))
        })
        .filter(|(distance, _)| *distance <= name.len() / 2 + 1)
        .collect();
    scored.sort();
    scored.dedup();
    scored.truncate(3);
    scored.into_iter().map(|(_, name)| name).collect()
}
