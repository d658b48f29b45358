//! What this process uses and what it may use, read from the kernel's own counters.
//!
//! A counter that cannot be read (another operating system, a hidden `/proc`) is `None`, never 0.

pub mod budget;
pub mod limit;
pub mod measure;
