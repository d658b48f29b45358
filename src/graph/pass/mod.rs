//! Passes: functions from graph to graph that leave every output as it was.
//!
//! [`optimize`] is the order in which `import` runs them. Each keeps `Node::layers` true, so a
//! layer that was folded or fused away can still be named and, through its [`super::Stage`],
//! brought back.

mod draft;
mod fold;
mod fuse;
mod hard_swish;
mod head;
mod pack;

pub use fold::{fold_padding, fold_scale_shift};
pub use fuse::{fuse_activation, fuse_residual};
pub use hard_swish::recognize_hard_swish;
pub use head::{Answer, split_head};
pub use pack::pack_weights;

use super::{Graph, GraphError};

/// All passes on a graph that ends in logits (see [`split_head`]), in their order: patterns
/// before folding, which would take their parts; folding before fusing, since a fused activation
/// stands between a convolution and its batch normalization; packing last.
///
/// # Errors
/// [`GraphError`] if a pass makes a graph that does not check, which is a bug of the pass.
pub fn optimize(graph: Graph) -> Result<Graph, GraphError> {
    let graph = recognize_hard_swish(graph)?;
    let graph = fold_padding(graph)?;
    let graph = fold_scale_shift(graph)?;
    let graph = fuse_activation(graph)?;
    let graph = fuse_residual(graph)?;
    pack_weights(graph)
}
