//! Replaces the reference in a build without the feature `gradients`: without candle there are no
//! gradients.

use std::borrow::Cow;

use crate::graph::{Graph, NodeId};
use crate::hint::{Arguments, Hint, named};

/// Whether this build can compute gradients.
pub const AVAILABLE: bool = false;

/// Why there is no gradient.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The build cannot compute any.
    #[error("this build computes no gradients (feature `gradients`)")]
    Absent,
}

impl Hint for ReferenceError {
    fn kind(&self) -> &'static str {
        "absent"
    }

    fn hint(&self) -> String {
        "choose `eigencam`, which needs none, or build with the feature `gradients`".to_owned()
    }

    fn arguments(&self) -> Arguments {
        named!()
    }
}

/// No gradient.
///
/// # Errors
/// [`ReferenceError::Absent`], always.
pub fn gradient<'v>(
    _graph: &Graph,
    _start: NodeId,
    _others: &[NodeId],
    _element: usize,
    _values: &dyn Fn(NodeId) -> Cow<'v, [f32]>,
) -> Result<Vec<f32>, ReferenceError> {
    Err(ReferenceError::Absent)
}
