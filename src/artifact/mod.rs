//! The project's own file: one `.safetensors` with weights, graph and everything needed to use
//! them.

mod model;
mod preprocessing;
mod preprocessing_yaml;
mod presets;
mod suggest;

pub use model::{Head, InputKind, InputSpec, Manifest, Model, Provenance};
pub use preprocessing::{ChannelOrder, Filter, Preprocessing, PreprocessingError, Resize};
pub use presets::{PRESETS, Preset};
pub(crate) use suggest::nearest;
