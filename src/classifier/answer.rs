//! The answer of a classifier to one photo.

use super::Classifier;
use crate::explain::{self, ExplainError, HeatMap, Method, Overlay, Picture, Score, Target};
use crate::predict::{Photo, Prediction, Region};

/// The answer to the photo that was classified last. It borrows the classifier, because the arena
/// still holds the feature map. So a heat map always belongs to this photo.
pub struct Answer<'a> {
    classifier: &'a Classifier,
    prediction: Prediction,
}

impl std::fmt::Debug for Answer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.ranked()).finish()
    }
}

impl<'a> Answer<'a> {
    pub(super) fn new(classifier: &'a Classifier, prediction: Prediction) -> Self {
        Self {
            classifier,
            prediction,
        }
    }

    /// The names of the classes, in the order of the prediction's probabilities.
    #[must_use]
    pub fn labels(&self) -> &'a [String] {
        self.classifier.labels()
    }

    /// The layer that heat maps show, if the classifier keeps its feature map.
    #[must_use]
    pub fn layer(&self) -> Option<&'a str> {
        self.classifier.target().map(Target::layer)
    }

    /// The name of the likeliest class.
    #[must_use]
    pub fn label(&self) -> &'a str {
        &self.classifier.labels()[self.prediction.top1()]
    }

    /// The probability of the likeliest class, 0 to 1.
    #[must_use]
    pub fn probability(&self) -> f32 {
        self.prediction.probabilities[self.prediction.top1()]
    }

    /// Every class with its probability, likeliest first.
    #[must_use]
    pub fn ranked(&self) -> Vec<(&'a str, f32)> {
        let labels = self.classifier.labels();
        let ranked = self.prediction.ranked().into_iter();
        ranked
            .map(|(class, probability)| (labels[class].as_str(), probability))
            .collect()
    }

    /// Probabilities, logits, and the time of each part.
    #[must_use]
    pub fn prediction(&self) -> &Prediction {
        &self.prediction
    }

    /// Like [`Answer::prediction`], but owned, so that it outlives the answer.
    #[must_use]
    pub fn into_prediction(self) -> Prediction {
        self.prediction
    }

    /// The heat map of `class` (an index of the labels) or of the likeliest class: where the model
    /// looked. [`Method::EigenCam`] does not depend on a class and ignores it.
    ///
    /// # Errors
    /// [`ExplainError::NoMap`] if the classifier keeps no feature map, [`ExplainError::Class`] if
    /// there is no such class, and other kinds if the gradient cannot be computed.
    pub fn heat_map(&self, method: Method, class: Option<usize>) -> Result<HeatMap, ExplainError> {
        let target = self.classifier.target().ok_or(ExplainError::NoMap)?;
        let class = class.unwrap_or_else(|| self.prediction.top1());
        let classes = self.classifier.labels().len();
        if class >= classes {
            return Err(ExplainError::Class { class, classes });
        }
        let score = Score::of_class(class, self.classifier.model().manifest.head);
        let engine = self.classifier.engine();
        explain::explain(target, method, score, &|id| engine.value(id))
    }

    /// The part of `photo` that the model saw, in the photo's pixels.
    #[must_use]
    pub fn region(&self, photo: &Photo) -> Region {
        self.classifier.predictor.region(photo)
    }

    /// The photo with a heat map over the part that the model saw.
    #[must_use]
    pub fn draw(&self, photo: Photo, map: &HeatMap, style: Overlay) -> Picture {
        let region = self.region(&photo);
        explain::draw(photo, region, map, style, None)
    }

    /// As [`Answer::draw`], with at most `most_side` pixels on the picture's long side.
    #[must_use]
    pub fn draw_at_most(
        &self,
        photo: Photo,
        map: &HeatMap,
        style: Overlay,
        most_side: usize,
    ) -> Picture {
        let region = self.region(&photo);
        explain::draw(photo, region, map, style, Some(most_side))
    }
}
