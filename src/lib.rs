//! `dermal` takes a trained image classifier to a small server without Python.
//!
//! `ARCHITECTURE.md` has the map: stages, rooms, and which may use which.

pub mod activation;
pub mod artifact;
pub mod graph;
pub mod kernels;
pub mod predict;
pub mod tensor;
