//! From a photo's bytes to probabilities: decode, orient, resize, normalise, run.
//!
//! Goes in: a file or bytes ([`decode`]), a [`crate::artifact::Model`]. Comes out: a
//! [`Prediction`]. Not here: heat maps (`explain`), metrics (`evaluate`), printing.

pub mod decode;
mod geometry;
mod jpeg;
mod orient;
mod preprocess;
mod resample_pillow;
mod resample_tensorflow;
mod source;

pub use decode::{DecodeError, Limits, Photo};
pub use preprocess::preprocess;
