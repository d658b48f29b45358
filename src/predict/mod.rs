//! From a photo's bytes to probabilities: decode, orient, resize, normalise, run.
//!
//! In: a file or bytes ([`decode`]), a [`crate::artifact::Model`], and a runner of its graph
//! ([`Run`]). Out: a [`Prediction`]. Not here: heat maps ([`crate::explain`]), both together
//! ([`crate::classifier`]), metrics, printing.

mod bmp;
pub mod decode;
mod decode_error;
mod exif;
pub mod fields;
mod geometry;
pub mod head;
pub mod inputs;
mod jpeg;
mod orient;
mod photo_input;
mod predictor;
mod preprocess;
mod resample_pillow;
mod resample_tensorflow;
pub mod selftest;
mod source;

pub use decode::{DecodeError, Limits, Photo};
pub use fields::{FieldError, FieldInputs};
pub use geometry::Region;
pub use inputs::{ExtraInput, InputError, InputValues, resolve as resolve_inputs};
pub use photo_input::PhotoInput;
pub use predictor::{PredictError, Prediction, Predictor, Run, Timing};
pub use preprocess::preprocess;
