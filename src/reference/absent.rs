//! Replaces the reference in a build without the feature `gradients`: without candle there are no
//! gradients.

use std::borrow::Cow;

use crate::graph::{Graph, NodeId};

/// Whether this build can compute gradients.
pub const AVAILABLE: bool = false;

/// Why there is no gradient.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The build cannot compute any.
    #[error("this build computes no gradients (feature `gradients`)")]
    Absent,
}

impl ReferenceError {
    /// A stable name of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        "absent"
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
