//! The extra inputs of each sample, from the columns of the table.

use super::{Dataset, DatasetError, Sample};
use crate::artifact::{FieldMapping, Model};
use crate::graph::NodeId;
use crate::predict::{ExtraInput, fields, resolve_inputs};

/// What a mapping needs that the table does not have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldCoverage {
    /// Fields of the mapping without a column. They are missing for every sample.
    pub absent: Vec<String>,
    /// Fields that are missing in some samples, with the number of these samples. Fields without a
    /// column are not listed here.
    pub missing: Vec<(String, usize)>,
    /// Columns that no input reads.
    pub unused_columns: Vec<String>,
}

/// Makes the other inputs, beside the photo, for one sample at a time.
pub struct RowInputs<'a> {
    model: &'a Model,
    mapping: Option<&'a FieldMapping>,
    given: Vec<ExtraInput>,
}

impl<'a> RowInputs<'a> {
    /// For `model`, by `mapping` or, without one, by the model's own. Inputs in `given` are the
    /// same for all samples and override the mapping.
    #[must_use]
    pub fn new(
        model: &'a Model,
        mapping: Option<&'a FieldMapping>,
        given: Vec<ExtraInput>,
    ) -> Self {
        Self {
            model,
            mapping: mapping.or(model.manifest.fields.as_ref()),
            given,
        }
    }

    /// The inputs of one sample, as [`crate::predict::Predictor::predict`] takes them.
    ///
    /// # Errors
    /// [`DatasetError::Fields`] with the sample's line, or [`DatasetError::Inputs`].
    pub fn of(
        &self,
        dataset: &Dataset,
        sample: &Sample,
    ) -> Result<Vec<(NodeId, Vec<f32>)>, DatasetError> {
        Ok(self.make(dataset, sample)?.0)
    }

    /// Makes the inputs of every sample once and counts missing fields, so that a mistake in the
    /// last row is found before the first photo is read.
    ///
    /// # Errors
    /// As [`RowInputs::of`].
    pub fn check(&self, dataset: &Dataset) -> Result<FieldCoverage, DatasetError> {
        let known = self.mapping.map_or(Vec::new(), FieldMapping::fields);
        let is_column = |field: &str| dataset.columns.iter().any(|column| column == field);
        let mut counts = vec![0; known.len()];
        let mut used = vec![false; known.len()];
        for sample in &dataset.samples {
            let (_, made) = self.make(dataset, sample)?;
            for (i, field) in known.iter().enumerate() {
                let missing = made.missing.iter().any(|m| m == field);
                counts[i] += usize::from(missing);
                used[i] |= missing || made.used.iter().any(|u| u == field);
            }
        }
        let fields = || known.iter().zip(&counts).zip(&used);
        let absent = fields().filter(|((field, _), used)| **used && !is_column(field));
        let missing = fields().filter(|((field, n), _)| **n > 0 && is_column(field));
        let unused = dataset.columns.iter().filter(|column| {
            let mut of_use = fields().filter(|(_, used)| **used);
            !of_use.any(|((field, _), _)| field == column)
        });
        Ok(FieldCoverage {
            absent: absent.map(|((field, _), _)| (*field).to_owned()).collect(),
            missing: missing
                .map(|((field, n), _)| ((*field).to_owned(), *n))
                .collect(),
            unused_columns: unused.cloned().collect(),
        })
    }

    #[expect(clippy::type_complexity, reason = "a pair that only this file sees")]
    fn make(
        &self,
        dataset: &Dataset,
        sample: &Sample,
    ) -> Result<(Vec<(NodeId, Vec<f32>)>, fields::FieldInputs), DatasetError> {
        let made = match self.mapping {
            Some(mapping) => {
                let look_up = |field: &str| dataset.field(sample, field);
                fields::apply(mapping, &self.given, &look_up).map_err(|source| {
                    let place = match sample.line {
                        Some(line) => format!("line {line} (`{}`)", sample.name),
                        None => format!("`{}`", sample.name),
                    };
                    DatasetError::Fields { place, source }
                })?
            }
            None => fields::FieldInputs::default(),
        };
        let mut inputs = self.given.clone();
        inputs.extend(made.inputs.iter().cloned());
        Ok((resolve_inputs(self.model, &inputs)?, made))
    }
}
