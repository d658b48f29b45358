//! Memory: what processes use ([`measure`]) and may use ([`limit`], [`budget`]), by the kernel's own
//! counters; what a model will take ([`estimate`]); and a [`sandbox`] that holds a child to a limit.
//!
//! A counter that cannot be read (another operating system, a hidden `/proc`) is `None`, never 0.

pub mod budget;
mod cgroup;
pub mod estimate;
pub mod limit;
pub mod measure;
pub mod sandbox;
