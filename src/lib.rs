//! `dermal` takes a trained image classifier to a small server without Python.
//!
//! `ARCHITECTURE.md` has the map: stages, rooms, and which may use which.

pub mod activation;
pub mod artifact;
pub mod cli;
pub mod commands;
pub mod engine;
pub mod evaluate;
pub mod explain;
pub mod file;
pub mod graph;
pub mod import;
pub mod kernels;
pub mod memory;
pub mod panel;
pub mod predict;
pub mod probe;
pub mod quantization;
pub mod quantize;
pub mod readiness;
pub mod reference;
pub mod report;
pub mod serve;
mod suggest;
pub mod tensor;
pub mod units;
