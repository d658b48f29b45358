//! Why a model cannot be loaded into a classifier.

use crate::artifact::{ArtifactError, LoadError};
use crate::engine::EngineError;
use crate::explain::ExplainError;
use crate::hint::{Arguments, Hint};
use crate::predict::PredictError;

/// Why a model cannot be prepared to answer.
#[derive(Debug, thiserror::Error)]
pub enum ClassifierError {
    /// The file is not a valid artifact.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The bytes are not a valid artifact.
    #[error("cannot load the model")]
    Bytes(#[source] ArtifactError),
    /// The graph cannot be run.
    #[error("cannot run the model")]
    Engine(#[source] EngineError),
    /// The model does not classify photos.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The model has no such feature map.
    #[error(transparent)]
    Explain(#[from] ExplainError),
}

impl Hint for ClassifierError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Load(error) => error.kind(),
            Self::Bytes(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::Predict(error) => error.kind(),
            Self::Explain(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Load(error) => error.hint(),
            Self::Bytes(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::Predict(error) => error.hint(),
            Self::Explain(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Load(error) => error.arguments(),
            Self::Bytes(error) => error.arguments(),
            Self::Engine(error) => error.arguments(),
            Self::Predict(error) => error.arguments(),
            Self::Explain(error) => error.arguments(),
        }
    }
}
