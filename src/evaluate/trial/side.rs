//! One of the models of a trial, ready for photos.

use super::{DatasetError, NamedModel, TrialError, TrialOptions};
use crate::artifact::{FieldMapping, Head, Model};
use crate::classifier::{Answer, Classifier, HeatMaps};
use crate::evaluate::dataset::RowInputs;
use crate::explain::Method;
use crate::predict::ExtraInput;

pub(super) struct Side {
    pub(super) name: String,
    pub(super) classifier: Classifier,
    mapping: Option<FieldMapping>,
    /// Values of extra inputs, the same for all photos.
    given: Vec<ExtraInput>,
    /// For each label of the base, the index of the same label in this model.
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
        let classifier = Classifier::options()
            .threads(options.engine.threads)
            .isa(options.engine.isa)
            .heat_maps(heat_maps)
            .build(model)?;
        Ok(Self {
            order: (0..classifier.labels().len()).collect(),
            name,
            classifier,
            mapping,
            given: options.inputs.clone(),
        })
    }

    pub(super) fn model(&self) -> &Model {
        self.classifier.model()
    }

    pub(super) fn rows(&self) -> RowInputs<'_> {
        RowInputs::new(self.model(), self.mapping.as_ref(), self.given.clone())
    }

    /// The table's rows do not give this model its inputs.
    pub(super) fn does_not_fit(&self, source: DatasetError) -> TrialError {
        TrialError::Rows {
            model: self.name.clone(),
            source,
        }
    }

    /// Puts this model's classes into the base's order.
    pub(super) fn order_like(&mut self, base: &Self) -> Result<(), TrialError> {
        let (ours, theirs) = (self.classifier.labels(), base.classifier.labels());
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

/// The heat map of a class.
pub(super) fn heat_map(answer: &Answer<'_>, class: usize) -> Option<Vec<f64>> {
    let map = answer.heat_map(Method::GradCam, Some(class)).ok()?;
    Some(map.raw.into_iter().map(f64::from).collect())
}
