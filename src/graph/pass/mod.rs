//! Passes: functions from graph to graph that leave every output as it was.
//!
//! [`optimize`] is the order in which `import` runs them; [`rewrite`] stops after any of them
//! ([`Level`]), so that each can be looked at. Each keeps `Node::layers` true, so a layer that was
//! folded or fused away can still be named and, through its [`super::Stage`], brought back.

mod draft;
mod fold;
mod fuse;
mod hard_swish;
mod head;
mod pack;

pub use fold::{fold_padding, fold_scale_shift};
pub use fuse::{fuse_activation, fuse_residual};
pub use hard_swish::recognize_hard_swish;
pub use head::{Answer, answer, flatten_output, split_head};
pub use pack::pack_weights;

use super::{Graph, GraphError};

/// How far a graph has been rewritten on its way from a source to an artifact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// As the importer built it: a node for each step of each layer.
    Imported,
    /// Ends in logits, and arithmetic on constants is done: hard swish recognised, padding moved
    /// into windows, batch normalization multiplied into weights.
    Folded,
    /// Activations and residual additions are part of the node in front of them.
    Fused,
    /// Weights lie as the kernels read them: what the artifact holds.
    Packed,
}

impl Level {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Imported, Self::Folded, Self::Fused, Self::Packed];

    /// Its name, as `dermal import --dump` takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Imported => "imported",
            Self::Folded => "folded",
            Self::Fused => "fused",
            Self::Packed => "packed",
        }
    }

    /// The level of a name.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// The passes on an importer's graph, up to `level`.
///
/// # Errors
/// [`GraphError`] if a pass makes a graph that does not check, which is a bug of the pass.
pub fn rewrite(imported: Graph, level: Level) -> Result<Graph, GraphError> {
    match level {
        Level::Imported => Ok(imported),
        _ => optimize_to(split_head(imported)?.0, level),
    }
}

/// All passes on a graph that ends in logits (see [`split_head`]), in their order: patterns
/// before folding, which would take their parts; folding before fusing, since a fused activation
/// stands between a convolution and its batch normalization; packing last.
///
/// # Errors
/// [`GraphError`] if a pass makes a graph that does not check, which is a bug of the pass.
pub fn optimize(graph: Graph) -> Result<Graph, GraphError> {
    optimize_to(graph, Level::Packed)
}

fn optimize_to(mut graph: Graph, level: Level) -> Result<Graph, GraphError> {
    if level >= Level::Folded {
        graph = recognize_hard_swish(graph)?;
        graph = fold_padding(graph)?;
        graph = fold_scale_shift(graph)?;
    }
    if level >= Level::Fused {
        graph = fuse_activation(graph)?;
        graph = fuse_residual(graph)?;
    }
    if level >= Level::Packed {
        graph = pack_weights(graph)?;
    }
    Ok(graph)
}
