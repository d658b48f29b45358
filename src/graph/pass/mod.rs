//! Passes: functions from graph to graph that do not change any output.
//!
//! [`optimize`] runs them in the order that `import` uses; [`rewrite`] stops after any of them
//! ([`Level`]), so that each can be inspected. Each keeps `Node::layers` correct, so a layer that
//! was folded or fused can still be named and, through its [`super::Stage`], recovered.

mod chain;
mod draft;
mod fold;
mod fuse;
mod gelu;
mod hard_swish;
mod head;
mod integers;
mod layer_norm;
mod pack;

pub use fold::{fold_padding, fold_scale_shift};
pub use fuse::{fuse_activation, fuse_residual};
pub use gelu::recognize_gelu;
pub use hard_swish::recognize_hard_swish;
pub use head::{Answer, answer, flatten_output, split_head};
pub use integers::compute_integers;
pub use layer_norm::recognize_layer_norm;
pub use pack::pack_weights;

use super::{Graph, GraphError};

/// How far a graph has been rewritten between a source and an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As the importer built it: a node for each step of each layer.
    Imported,
    /// Ends in logits, and arithmetic on constants is done: functions that are written out are
    /// recognised, padding moved into windows, batch normalization multiplied into weights.
    Folded,
    /// Activations and residual additions are part of the node before them.
    Fused,
    /// What a quantized source computes in integers does so here, and weights are in the kernels'
    /// layout: the content of the artifact.
    Packed,
}

impl Level {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Imported, Self::Folded, Self::Fused, Self::Packed];

    /// Its name for `dermal import --dump`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Folded => "folded",
            Self::Fused => "fused",
            Self::Packed => "packed",
        }
    }

    /// The level with this name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// The passes on an importer's graph, up to `level`.
///
/// # Errors
/// [`GraphError`] if a pass makes an invalid graph, which is a bug in the pass.
pub fn rewrite(imported: Graph, level: Level) -> Result<Graph, GraphError> {
    match level {
        Level::Imported => Ok(imported),
        _ => optimize_to(split_head(imported)?.0, level),
    }
}

/// All passes on a graph that ends in logits (see [`split_head`]), in their order: patterns come
/// before folding, which would break them up; folding comes before fusing, since a fused activation
/// would stand between a convolution and its batch normalization; packing comes last, and before it
/// what a quantized file computes in integers gets its integer form.
///
/// # Errors
/// [`GraphError`] if a pass makes an invalid graph, which is a bug in the pass.
pub fn optimize(graph: Graph) -> Result<Graph, GraphError> {
    optimize_to(graph, Level::Packed)
}

fn optimize_to(mut graph: Graph, level: Level) -> Result<Graph, GraphError> {
    if level >= Level::Folded {
        graph = recognize_hard_swish(graph)?;
        graph = recognize_gelu(graph)?;
        graph = recognize_layer_norm(graph)?;
        graph = fold_padding(graph)?;
        graph = fold_scale_shift(graph)?;
    }
    if level >= Level::Fused {
        graph = fuse_activation(graph)?;
        graph = fuse_residual(graph)?;
    }
    if level >= Level::Packed {
        graph = compute_integers(graph)?;
        graph = pack_weights(graph)?;
    }
    Ok(graph)
}
