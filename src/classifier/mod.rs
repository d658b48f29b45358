//! A model that is ready to answer: its artifact, the engine that runs it, and the feature map for
//! its heat maps.
//!
//! In: an artifact (a path, bytes, the embedded demo, or a [`Model`] in memory) and [`Options`].
//! Photos go in as a [`Photo`] or as prepared floats. Out: an [`Answer`] with probabilities, and from
//! it a [`HeatMap`](crate::HeatMap) and a [`Picture`](crate::Picture) that shows it over the photo.
//!
//! **Memory.** An artifact is mapped, so its weights use address space, and a page becomes resident
//! when a kernel first reads it. Besides the weights a classifier holds the description of the
//! graph and one arena; [`Engine::memory_bytes`] is its size. Running the model allocates nothing.
//!
//! **Threads.** A prediction needs `&mut self`, because it writes into the arena. A classifier can
//! be sent to another thread. To answer on several threads at once, give each thread its own
//! classifier, made from a clone of the same [`Model`]: clones share the weights.
//! [`Options::threads`] is the number of threads that share the work of *one* photo; it does not
//! change the result.
//!
//! Not here: files of heat maps, HTTP, metrics.

use std::path::Path;

use crate::artifact::Model;
use crate::engine::Engine;
use crate::explain::{ExplainError, Target};
use crate::graph::NodeId;
use crate::predict::{
    ExtraInput, InputError, InputValues, Photo, PhotoInput, PredictError, Predictor,
    resolve_inputs, selftest,
};

mod answer;
mod error;
mod options;

pub use answer::Answer;
pub use error::ClassifierError;
pub use options::{HeatMaps, Options};

/// A model that is ready to answer. See the module's documentation.
///
/// ```
/// use dermal::{Classifier, Method, Overlay, Photo};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut classifier = Classifier::embedded()?; // or `Classifier::open("model.safetensors")?`
/// let photo = Photo::open("fixtures/images/bcc_03.jpg")?;
/// let answer = classifier.predict(&photo)?;
/// assert_eq!(answer.label(), "bcc");
/// assert!(answer.probability() > 0.9);
///
/// let map = answer.heat_map(Method::GradCam, None)?;
/// let png = answer.draw(photo, &map, Overlay::default()).png()?;
/// assert!(png.starts_with(b"\x89PNG"));
/// # Ok(())
/// # }
/// ```
pub struct Classifier {
    model: Model,
    predictor: Predictor<Engine>,
    target: Option<Target>,
}

impl Classifier {
    /// The options to set before a model is loaded: threads, instruction set, heat maps.
    #[must_use]
    pub fn options() -> Options {
        Options::default()
    }

    /// The model of an artifact file, with the default [`Options`].
    ///
    /// The file is mapped: it must not be shortened or overwritten in place while the classifier
    /// lives. Replacing it by a rename is safe.
    ///
    /// # Errors
    /// [`ClassifierError`] if the file is not a valid artifact, or its model cannot be run.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ClassifierError> {
        Options::default().open(path)
    }

    /// The model of an artifact in memory, with the default [`Options`]. The bytes are copied once.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClassifierError> {
        Options::default().from_bytes(bytes)
    }

    /// The demo model that is part of the program: seven classes of synthetic pictures.
    ///
    /// # Errors
    /// As [`Classifier::open`].
    pub fn embedded() -> Result<Self, ClassifierError> {
        Options::default().embedded()
    }

    /// A loaded or imported model, with the default [`Options`].
    ///
    /// # Errors
    /// [`ClassifierError`] if the model cannot be run.
    pub fn new(model: Model) -> Result<Self, ClassifierError> {
        Options::default().build(model)
    }

    /// Classifies a photo. If the model takes numbers beside the photo, their defaults are used;
    /// [`Classifier::predict_with`] takes others.
    ///
    /// # Errors
    /// [`PredictError::Input`] if such a number has no default, [`PredictError::NotFinite`] if the
    /// model's output is not a number.
    pub fn predict(&mut self, photo: &Photo) -> Result<Answer<'_>, PredictError> {
        let inputs = self.inputs(&[])?;
        self.predict_with(photo, &inputs)
    }

    /// Classifies a photo with other `inputs` beside it, which [`Classifier::inputs`] made.
    ///
    /// # Errors
    /// [`PredictError::NotFinite`] if the model's output is not a number.
    ///
    /// # Panics
    /// If `inputs` was made for another model.
    pub fn predict_with(
        &mut self,
        photo: &Photo,
        inputs: &[(NodeId, Vec<f32>)],
    ) -> Result<Answer<'_>, PredictError> {
        let prediction = self.predictor.predict(photo, inputs)?;
        Ok(Answer::new(self, prediction))
    }

    /// Like [`Classifier::predict_with`], for floats that [`PhotoInput::prepare`] made from a
    /// photo: `[height, width, channels]`, row by row.
    ///
    /// # Errors
    /// [`PredictError::NotFinite`] if the model's output is not a number.
    ///
    /// # Panics
    /// If `prepared` does not have [`PhotoInput::len`] floats, or `inputs` was made for another
    /// model.
    pub fn predict_prepared(
        &mut self,
        prepared: &[f32],
        inputs: &[(NodeId, Vec<f32>)],
    ) -> Result<Answer<'_>, PredictError> {
        let prediction = self.predictor.predict_prepared(prepared, inputs)?;
        Ok(Answer::new(self, prediction))
    }

    /// The values of every input beside the photo: those given by name, or else the model's
    /// defaults.
    ///
    /// # Errors
    /// [`InputError`] if a name or a length is wrong, or an input without a default is not given.
    pub fn inputs(&self, given: &[ExtraInput]) -> Result<InputValues, InputError> {
        resolve_inputs(&self.model, given)
    }

    /// The index of a class in the labels.
    ///
    /// # Errors
    /// [`ExplainError::UnknownClass`] if the model has no class of this name.
    pub fn class_index(&self, name: &str) -> Result<usize, ExplainError> {
        let labels = self.labels();
        let found = labels.iter().position(|label| label == name);
        found.ok_or_else(|| ExplainError::UnknownClass {
            name: name.to_owned(),
            classes: labels.to_vec(),
        })
    }

    /// Runs the artifact's self-test: compares the answer to a generated photo with the answer that
    /// was stored when the artifact was made. `Ok(false)` if the artifact has no self-test: then the
    /// model only answers the photo, because a model that gives no number for it gives none for any
    /// photo.
    ///
    /// # Errors
    /// [`selftest::SelfTestError`] if the answer differs, or is not a number.
    pub fn self_test(&mut self) -> Result<bool, selftest::SelfTestError> {
        let Some(expected) = &self.model.manifest.self_test else {
            return match selftest::record(&self.model, &mut self.predictor) {
                Err(error @ PredictError::NotFinite { .. }) => Err(error.into()),
                _ => Ok(false),
            };
        };
        selftest::check(&self.model, &mut self.predictor, expected)?;
        Ok(true)
    }

    /// The model: graph, labels, preprocessing, origin. If heat maps show a layer that was fused
    /// into another, the graph has it as a separate node.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The names of the classes, in the order of [`Prediction`](crate::Prediction)'s probabilities.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.model.manifest.labels
    }

    /// The feature map for heat maps; `None` if there is none, because the model has no such map or
    /// [`HeatMaps::Off`] was chosen.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.target.as_ref()
    }

    /// How photos become the model's input, for preparing them on other threads.
    #[must_use]
    pub fn photo_input(&self) -> &PhotoInput {
        self.predictor.photo_input()
    }

    /// The engine that runs the graph.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        self.predictor.runner()
    }
}

impl std::fmt::Debug for Classifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Classifier")
            .field("name", &self.model.graph.name)
            .field("labels", &self.labels())
            .field("layer", &self.target().map(Target::layer))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
