//! Why a model cannot be made smaller.

use std::path::PathBuf;

use crate::engine::EngineError;
use crate::evaluate::dataset::DatasetError;
use crate::evaluate::pass::PassError;
use crate::graph::GraphError;
use crate::hint::{Arguments, Hint, named};
use crate::predict::PredictError;
use crate::quantize::QuantizeError;
use crate::quantize::weights::WeightsError;
use crate::units::Bytes;

/// Why a model cannot be made smaller.
#[derive(Debug, thiserror::Error)]
pub enum CompressError {
    /// Its weights are integers.
    #[error("the model is INT8 already")]
    AlreadyInt8,
    /// Its weights have 16 bits.
    #[error("the model has 16-bit weights already")]
    HalfWeights,
    /// The dataset is empty.
    #[error("there are no photos")]
    NoPhotos,
    /// A limit on accuracy needs labels.
    #[error("photo `{photo}` has no label, so its accuracy cannot be held")]
    NoLabel {
        /// As the dataset names it.
        photo: String,
    },
    /// A layer in the list of float layers does not exist.
    #[error("there is no layer `{name}`")]
    UnknownLayer {
        /// As asked for.
        name: String,
        /// A layer with a similar name.
        nearest: Option<String>,
    },
    /// A layer in the list of float layers has no weights.
    #[error("there are no weights in layer `{name}`")]
    LayerWithoutWeights {
        /// As asked for.
        name: String,
        /// A layer with weights and a similar name.
        nearest: Option<String>,
    },
    /// More memory may be needed than is allowed.
    #[error(
        "calibration may need {} and `--max-memory` is {} ({}; decoding {} a thread)",
        Bytes(*needed_bytes),
        Bytes(*allowed_bytes),
        list(parts),
        Bytes(*decode_bytes)
    )]
    Memory {
        /// All of it.
        needed_bytes: u64,
        /// What is allowed.
        allowed_bytes: u64,
        /// The parts of it, except decoding.
        parts: Vec<(&'static str, u64)>,
        /// What decoding a photo needs on each thread.
        decode_bytes: u64,
    },
    /// The table's rows do not give the model its inputs.
    #[error("cannot use the photos")]
    Rows(#[source] DatasetError),
    /// A pass over the photos ended early.
    #[error(transparent)]
    Pass(#[from] PassError),
    /// The model cannot be run for calibration on a photo.
    #[error("photo `{}`", photo.display())]
    Photo {
        /// Its file.
        photo: PathBuf,
        /// Why.
        source: QuantizeError,
    },
    /// The graph cannot be quantized.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// The weights cannot be rounded.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The model does not classify photos.
    #[error(transparent)]
    Model(#[from] PredictError),
    /// A candidate of the search cannot be run.
    #[error("cannot run the candidate")]
    Engine(#[from] EngineError),
}

impl From<GraphError> for CompressError {
    fn from(error: GraphError) -> Self {
        Self::Quantize(error.into())
    }
}

fn list(parts: &[(&'static str, u64)]) -> String {
    let list: Vec<String> = parts
        .iter()
        .map(|(what, bytes)| format!("{what} {}", Bytes(*bytes)))
        .collect();
    list.join(", ")
}

impl Hint for CompressError {
    fn kind(&self) -> &'static str {
        match self {
            Self::AlreadyInt8 => "already_int8",
            Self::HalfWeights => "half_weights",
            Self::NoPhotos => "no_photos",
            Self::NoLabel { .. } => "no_label",
            Self::UnknownLayer { .. } => "unknown_layer",
            Self::LayerWithoutWeights { .. } => "layer_without_weights",
            Self::Memory { .. } => "memory",
            Self::Rows(error) => error.kind(),
            Self::Pass(error) => error.kind(),
            Self::Photo { source, .. } => source.kind(),
            Self::Quantize(error) => error.kind(),
            Self::Weights(error) => error.kind(),
            Self::Model(error) => error.kind(),
            Self::Engine(_) => "engine",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::AlreadyInt8 => {
                "quantize the f32 file it was made from; `dermal inspect` shows its origin"
                    .to_owned()
            }
            Self::HalfWeights => {
                "quantize the f32 file it was made from, which loses less; or add `--again`"
                    .to_owned()
            }
            Self::NoPhotos => "give typical photos with `--calibrate`".to_owned(),
            Self::NoLabel { .. } => "label every photo, or leave the accuracy limit out".to_owned(),
            Self::UnknownLayer { nearest, .. } | Self::LayerWithoutWeights { nearest, .. } => {
                let nearest = nearest
                    .as_ref()
                    .map_or(String::new(), |near| format!("did you mean `{near}`? "));
                format!("{nearest}`dermal inspect MODEL --layers` lists all")
            }
            Self::Memory { needed_bytes, .. } => format!(
                "allow {} or more, or quantize on a larger machine: the file runs anywhere",
                Bytes(*needed_bytes)
            ),
            Self::Rows(error) => error.hint(),
            Self::Pass(error) => error.hint(),
            Self::Photo { source, .. } => source.hint(),
            Self::Quantize(error) => error.hint(),
            Self::Weights(error) => error.hint(),
            Self::Model(error) => error.hint(),
            Self::Engine(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NoLabel { photo } => named!(photo),
            Self::UnknownLayer { name, .. } | Self::LayerWithoutWeights { name, .. } => {
                named!(name)
            }
            Self::Memory {
                needed_bytes,
                allowed_bytes,
                parts,
                decode_bytes,
            } => parts.iter().fold(
                named!(needed_bytes, allowed_bytes, decode_bytes),
                |made, (what, bytes)| made.with(what, bytes),
            ),
            Self::Rows(error) => error.arguments(),
            Self::Pass(error) => error.arguments(),
            Self::Photo { photo, source } => named!(photo).and(source),
            Self::Quantize(error) => error.arguments(),
            Self::Weights(error) => error.arguments(),
            Self::Model(error) => error.arguments(),
            Self::AlreadyInt8 | Self::HalfWeights | Self::NoPhotos | Self::Engine(_) => named!(),
        }
    }
}
