//! Chooses the kernel that computes a step of the plan.
//!
//! A step that reads or makes bytes gets an integer kernel, any other one an f32 kernel.

mod bytes;
mod context;
mod floats;

pub use context::LowerError;

use super::plan::Step;
use crate::graph::Graph;
use crate::kernels::{Isa, PreparedOp};
use context::Context;

/// The kernel of a step on a tier.
pub(super) fn prepare(
    graph: &Graph,
    step: &Step,
    isa: Isa,
) -> Result<Box<dyn PreparedOp>, LowerError> {
    let context = Context::new(graph, step, isa);
    let mut values = step.inputs.iter().chain([&step.node]);
    if values.any(|&id| graph.node(id).quantization.is_some()) {
        bytes::prepare(&context)
    } else {
        floats::prepare(&context)
    }
}
