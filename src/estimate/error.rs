//! Why there is no estimate.

use crate::artifact::LoadError;
use crate::classifier::ClassifierError;
use crate::engine::EngineError;
use crate::explain::ExplainError;
use crate::graph::GraphError;
use crate::hint::{Arguments, Hint, named};
use crate::predict::PredictError;
use crate::readiness::platforms::PlatformError;

/// Why there is no estimate.
#[derive(Debug, thiserror::Error)]
pub enum EstimateError {
    /// The artifact cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The layers do not work on photos of another size.
    #[error("the model does not work on photos of {height} x {width}")]
    ImageSize {
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// The first layer that does not.
        source: GraphError,
    },
    /// The model cannot be run.
    #[error("cannot run the model")]
    Engine(#[from] EngineError),
    /// The model does not classify photos.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The model cannot be prepared to answer.
    #[error(transparent)]
    Classifier(#[from] ClassifierError),
    /// A heat map cannot be drawn, although the model has a feature map.
    #[error(transparent)]
    Explain(#[from] ExplainError),
    /// The generated photo cannot be encoded.
    #[error("cannot make a photo to measure with")]
    Photo(#[source] std::io::Error),
    /// The platforms' profiles cannot be read.
    #[error(transparent)]
    Platforms(#[from] PlatformError),
}

impl Hint for EstimateError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Load(error) => error.kind(),
            Self::ImageSize { .. } => "image_size_fixed",
            Self::Engine(_) => "engine",
            Self::Predict(error) => error.kind(),
            Self::Classifier(error) => error.kind(),
            Self::Explain(error) => error.kind(),
            Self::Photo(_) => "sample_photo",
            Self::Platforms(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Load(error) => error.hint(),
            Self::ImageSize { .. } => {
                "its layers fix the size; train it for a smaller one".to_owned()
            }
            Self::Engine(error) => error.hint(),
            Self::Predict(error) => error.hint(),
            Self::Classifier(error) => error.hint(),
            Self::Explain(error) => error.hint(),
            Self::Photo(_) => "give a smaller `--max-pixels`".to_owned(),
            Self::Platforms(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Load(error) => error.arguments(),
            Self::ImageSize { height, width, .. } => named!(height, width),
            Self::Predict(error) => error.arguments(),
            Self::Classifier(error) => error.arguments(),
            Self::Explain(error) => error.arguments(),
            Self::Platforms(error) => error.arguments(),
            Self::Engine(_) | Self::Photo(_) => named!(),
        }
    }
}
