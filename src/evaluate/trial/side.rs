//! One of the models of a trial, ready for photos.

use super::{DatasetError, NamedModel, TrialError, TrialOptions};
use crate::artifact::{FieldMapping, Head, Model};
use crate::engine::{self, Engine};
use crate::evaluate::dataset::RowInputs;
use crate::explain::{self, Method, Score, Target};
use crate::predict::{ExtraInput, PhotoInput, Predictor};

/// Whether a model's heat maps are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum HeatMaps {
    None,
    /// A model without a feature map is judged all the same.
    WherePossible,
}

pub(super) struct Side {
    pub(super) name: String,
    pub(super) model: Model,
    mapping: Option<FieldMapping>,
    /// Values of extra inputs, the same for all photos.
    given: Vec<ExtraInput>,
    pub(super) predictor: Predictor<Engine>,
    pub(super) photo: PhotoInput,
    target: Option<Target>,
    /// For each label of the base the index of this model's.
    pub(super) order: Vec<usize>,
}

impl Side {
    pub(super) fn new(
        named: NamedModel,
        options: &TrialOptions,
        heat_maps: HeatMaps,
    ) -> Result<Self, TrialError> {
        let NamedModel {
            name,
            model,
            mapping,
        } = named;
        if model.manifest.head == Head::MultiLabelSigmoid {
            return Err(TrialError::ClassesOverlap { model: name });
        }
        let target = match heat_maps {
            HeatMaps::None => None,
            HeatMaps::WherePossible => Target::find(&model.graph, None).ok(),
        };
        let (graph, keep) = match &target {
            Some(target) => (target.graph(), target.keep()),
            None => (&model.graph, Vec::new()),
        };
        let settings = engine::Options {
            keep,
            ..options.engine.clone()
        };
        let engine = Engine::new(graph, &settings)?;
        Ok(Self {
            photo: PhotoInput::of(&model)?,
            predictor: Predictor::new(&model, engine)?,
            order: (0..model.manifest.labels.len()).collect(),
            name,
            model,
            mapping,
            given: options.inputs.clone(),
            target,
        })
    }

    pub(super) fn rows(&self) -> RowInputs<'_> {
        RowInputs::new(&self.model, self.mapping.as_ref(), self.given.clone())
    }

    /// The table's rows do not give this model its inputs.
    pub(super) fn does_not_fit(&self, source: DatasetError) -> TrialError {
        TrialError::Rows {
            model: self.name.clone(),
            source,
        }
    }

    /// The heat map of a class (index of the base's labels) after a prediction.
    pub(super) fn heat_map(&self, class: usize) -> Option<Vec<f32>> {
        let target = self.target.as_ref()?;
        let score = Score::of_class(self.order[class], self.model.manifest.head);
        let engine = self.predictor.runner();
        let map = explain::explain(target, Method::GradCam, score, &|id| engine.value(id));
        map.ok().map(|map| map.raw)
    }

    /// Brings this model's classes into the base's order.
    pub(super) fn order_like(&mut self, base: &Self) -> Result<(), TrialError> {
        let (ours, theirs) = (&self.model.manifest.labels, &base.model.manifest.labels);
        let order: Option<Vec<usize>> = theirs
            .iter()
            .map(|label| ours.iter().position(|other| other == label))
            .collect();
        match order {
            Some(order) if ours.len() == theirs.len() => {
                self.order = order;
                Ok(())
            }
            _ => {
                let only = |these: &[String], others: &[String]| {
                    let rest = these.iter().filter(|label| !others.contains(label));
                    rest.cloned().collect()
                };
                Err(TrialError::OtherClasses {
                    base: base.name.clone(),
                    only_base: only(theirs, ours),
                    candidate: self.name.clone(),
                    only_candidate: only(ours, theirs),
                })
            }
        }
    }
}
