//! What this process uses and what it may use, read from the kernel's own counters; what a model
//! will take ([`estimate`]); and a [`cage`] that holds a child to a limit.
//!
//! A counter that cannot be read (another operating system, a hidden `/proc`) is `None`, never 0.

pub mod budget;
pub mod cage;
mod cgroup;
pub mod estimate;
pub mod limit;
pub mod measure;
