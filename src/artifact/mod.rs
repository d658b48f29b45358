//! The project's own file: one `.safetensors` with weights, graph and everything needed to use
//! them. `docs/artifact-format.md` specifies it.
//!
//! [`write()`] makes one. [`load`] opens one, mapped, without copying weights. A file that loads is
//! complete: every shape is inferred again, every tensor lies inside the file on a 64-byte boundary
//! and is read by a node, and inputs, labels and head fit the graph. Like every file, it is written
//! by [`crate::file::atomic`].

mod embedded;
mod error;
pub mod fields;
mod file;
mod foreign;
mod header;
mod model;
mod preprocessing;
mod preprocessing_yaml;
mod presets;
mod source;
mod validate;

#[cfg(test)]
mod tests;

pub use embedded::{embedded, embedded_bytes};
pub use error::{ArtifactError, ByteCount};
pub use fields::{FieldMapping, FieldMappingError, FieldPart, VectorInput};
pub use file::{encoded_bytes, load, load_bytes, load_static, write, write_with_progress};
pub use foreign::Foreign;
pub use header::{FORMAT_VERSION, MAX_HEADER_BYTES, MAX_NODES};
pub use model::{
    ComparisonRecord, EvidenceRecord, Head, ImportWarning, InputKind, InputSpec, Manifest, Model,
    Provenance, QuantizationRecord, SelfTest, defaults_from_json, vector_inputs,
};
pub use preprocessing::{ChannelOrder, Filter, Preprocessing, PreprocessingError, Resize};
pub use presets::{PRESETS, Preset};
pub use source::{LoadError, ModelSource};
