//! How photos become the input of one model: the recipe and the input's shape. This type is
//! separate from the memory in which the model runs, so photos can be prepared on other threads and
//! for several models.

use super::decode::Photo;
use super::predictor::PredictError;
use super::preprocess;
use crate::artifact::{InputKind, Model, Preprocessing};
use crate::graph::NodeId;

/// The input of a model that takes the photo.
#[derive(Clone, Debug, PartialEq)]
pub struct PhotoInput {
    pub(super) node: NodeId,
    pub(super) shape: [usize; 3],
    pub(super) recipe: Preprocessing,
}

impl PhotoInput {
    /// The photo's input of `model`.
    ///
    /// # Errors
    /// [`PredictError::Model`] or [`PredictError::Preprocessing`] if the manifest does not fit
    /// the graph; a loaded artifact always does.
    pub fn of(model: &Model) -> Result<Self, PredictError> {
        let manifest = &model.manifest;
        let in_graph = model.graph.inputs().count();
        if manifest.inputs.len() != in_graph {
            return Err(PredictError::Model(format!(
                "{} inputs are described, the graph has {in_graph}",
                manifest.inputs.len()
            )));
        }
        let mut photos =
            manifest
                .inputs
                .iter()
                .zip(model.graph.inputs())
                .filter_map(|(spec, (id, node))| match &spec.kind {
                    InputKind::Image { preprocessing } => Some((id, node, preprocessing)),
                    InputKind::Vector { .. } => None,
                });
        let (Some((node_id, node, recipe)), None) = (photos.next(), photos.next()) else {
            return Err(PredictError::Model("it needs exactly one photo".to_owned()));
        };
        let Some(shape) = node.shape.hwc() else {
            return Err(PredictError::Model(format!(
                "input `{}` has shape {}, expected [height, width, channels]",
                node.name, node.shape
            )));
        };
        recipe
            .validate(shape)
            .map_err(|source| PredictError::Preprocessing {
                input: node.name.clone(),
                source,
            })?;
        Ok(Self {
            node: node_id,
            shape,
            recipe: recipe.clone(),
        })
    }

    /// The node that takes the photo.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Floats of the input.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "an input is never empty")]
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Rows, columns and channels of the input.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Whether every photo becomes the same floats for `other`. The preset's name does not matter,
    /// because it changes no number.
    #[must_use]
    pub fn makes_the_same_as(&self, other: &Self) -> bool {
        let numbers = |input: &Self| Preprocessing {
            preset: None,
            ..input.recipe.clone()
        };
        self.shape == other.shape && numbers(self) == numbers(other)
    }

    /// Writes the input for `photo` into `output`, [`PhotoInput::len`] floats: the same ones that
    /// [`super::Predictor::predict`] computes.
    ///
    /// # Errors
    /// [`PredictError::Preprocessing`].
    ///
    /// # Panics
    /// If `output` has another length.
    pub fn prepare(&self, photo: &Photo, output: &mut [f32]) -> Result<(), PredictError> {
        preprocess(photo, &self.recipe, self.shape, output).map_err(|source| {
            PredictError::Preprocessing {
                input: format!("of shape {:?}", self.shape),
                source,
            }
        })
    }
}
