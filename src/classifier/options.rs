//! Options to set before a model is loaded.

use std::path::Path;

use super::{Classifier, ClassifierError};
use crate::artifact::{self, Model, ModelSource};
use crate::engine::{self, Engine};
use crate::explain::{ExplainError, Target};
use crate::kernels::{Isa, Threads};
use crate::predict::Predictor;

/// Which heat maps a classifier can draw. The arena must have room for the feature map, so this is
/// chosen before the model is loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HeatMaps {
    /// None. The arena is as small as it can be.
    Off,
    /// At the last feature map. A model without one is loaded, too; a request for a heat map then
    /// fails with [`ExplainError::NoMap`].
    #[default]
    IfPossible,
    /// At this layer (its name, or the end of it), or at the last feature map. A model without it
    /// is refused.
    At(Option<String>),
}

/// How a [`Classifier`] is made. Each method returns the options with one of them changed.
///
/// ```
/// use dermal::{Classifier, HeatMaps};
///
/// # fn main() -> Result<(), dermal::ClassifierError> {
/// let classifier = Classifier::options()
///     .threads(1)
///     .heat_maps(HeatMaps::Off)
///     .embedded()?;
/// assert!(classifier.target().is_none());
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Options {
    threads: Option<usize>,
    isa: Option<Isa>,
    heat_maps: HeatMaps,
}

impl Options {
    /// Threads that share the work of one photo, including the caller's. The default is every CPU
    /// that this process may use. The number does not change the result.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// The instruction set of the kernels. The default is the best that this CPU has.
    #[must_use]
    pub fn isa(mut self, isa: Isa) -> Self {
        self.isa = Some(isa);
        self
    }

    /// Which heat maps can be drawn. The default is [`HeatMaps::IfPossible`].
    #[must_use]
    pub fn heat_maps(mut self, heat_maps: HeatMaps) -> Self {
        self.heat_maps = heat_maps;
        self
    }

    /// See [`Classifier::open`].
    ///
    /// # Errors
    /// [`ClassifierError`] if the file is not a valid artifact, or its model cannot be run.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Classifier, ClassifierError> {
        let source = ModelSource::File(path.as_ref().to_owned());
        self.build(source.load()?)
    }

    /// See [`Classifier::from_bytes`].
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn from_bytes(self, bytes: &[u8]) -> Result<Classifier, ClassifierError> {
        self.build(artifact::load_bytes(bytes).map_err(ClassifierError::Bytes)?)
    }

    /// See [`Classifier::embedded`].
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn embedded(self) -> Result<Classifier, ClassifierError> {
        self.build(ModelSource::Embedded.load()?)
    }

    /// See [`Classifier::new`].
    ///
    /// # Errors
    /// [`ClassifierError`] if the model cannot be run, or has no feature map although one is
    /// required.
    pub fn build(self, model: Model) -> Result<Classifier, ClassifierError> {
        let target = match &self.heat_maps {
            HeatMaps::Off => None,
            HeatMaps::IfPossible => match Target::find(&model.graph, None) {
                Ok(target) => Some(target),
                Err(ExplainError::NoMap) => None,
                Err(error) => return Err(error.into()),
            },
            HeatMaps::At(layer) => Some(Target::find(&model.graph, layer.as_deref())?),
        };
        let graph = match &target {
            Some(target) => target.graph().clone(),
            None => model.graph,
        };
        let model = Model {
            graph,
            manifest: model.manifest,
        };
        let options = engine::Options {
            threads: self.threads.unwrap_or_else(Threads::available),
            isa: self.isa.unwrap_or_else(Isa::detect),
            keep: target.as_ref().map_or_else(Vec::new, Target::keep),
        };
        let engine = Engine::new(&model.graph, &options).map_err(ClassifierError::Engine)?;
        let predictor = Predictor::new(&model, engine)?;
        Ok(Classifier {
            model,
            predictor,
            target,
        })
    }
}
