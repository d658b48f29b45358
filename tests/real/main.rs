//! Real models on real photos, and estimates in groups that the kernel limits. These tests take
//! minutes and wait a lot, so that the gate runs them beside all others.

#[path = "../common/mod.rs"]
mod common;
mod estimate_proof;
mod models;
mod quantized;
