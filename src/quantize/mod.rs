//! From a graph with f32 weights to one that takes less memory, and what that costs each layer.
//!
//! In: a packed [`crate::graph::Graph`]. Out: a graph with the same nodes, layers and names whose
//! kernels are stored in fewer bits, and the error of each. A given graph always gives the same bits.
//!
//! Not here: files (`artifact`), photos (`predict`), verdicts about accuracy.

pub mod half;
