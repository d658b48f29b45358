//! Facts about a patient on the command line: `--field NAME=VALUE` and `--fields mapping.yaml`.

use std::collections::BTreeMap;
use std::path::Path;

use super::{Context, Result};
use serde::Serialize;

use crate::artifact::{FieldMapping, Model, VectorInput};
use crate::cli::NamedText;
use crate::predict::{ExtraInput, FieldInputs, fields};
use crate::report;
use crate::text::{self, MAX_SETTINGS_BYTES};

/// The fields of `--field`, and the inputs that a mapping made from them.
pub(super) struct Fields {
    given: Vec<(String, String)>,
    pub(super) made: FieldInputs,
}

impl Fields {
    /// Reads the mapping of `file`, or else takes the model's own. Applies it to each mapped input
    /// that is not among `inputs`.
    pub(super) fn of(
        file: Option<&Path>,
        given: &[NamedText],
        model: &Model,
        inputs: &[ExtraInput],
    ) -> Result<Self> {
        let own = match file {
            Some(path) => Some(read_field_mapping(path, &model.vector_inputs())?),
            None => None,
        };
        let mapping = own.as_ref().or(model.manifest.fields.as_ref());
        let pair = |field: &NamedText| (field.name.clone(), field.text.clone());
        let given: Vec<_> = given.iter().map(pair).collect();
        let made = fields::resolve(mapping, &given, inputs)?;
        Ok(Self { given, made })
    }

    /// Warns about what the mapping assumed: an answer for an unknown patient must not look like
    /// one for a known patient.
    pub(super) fn warn(&self) {
        let missing = &self.made.missing;
        if missing.is_empty() {
            return;
        }
        let names: Vec<String> = missing.iter().map(|name| report::printable(name)).collect();
        let names = names.join(", ");
        let verb = if missing.len() == 1 { "is" } else { "are" };
        report::warn(
            &format!("{names} {verb} not given: the mapping says what is used instead"),
            Some("give `--field NAME=VALUE`; `dermal inspect` shows the fields"),
        );
    }

    /// For JSON; `None` if no input was made from fields.
    pub(super) fn record(&self) -> Option<FieldsRecord> {
        if self.made.inputs.is_empty() {
            return None;
        }
        let used = |name: &str| self.made.used.iter().any(|used| used == name);
        Some(FieldsRecord {
            given: self
                .given
                .iter()
                .filter(|(n, _)| used(n))
                .cloned()
                .collect(),
            missing: self.made.missing.clone(),
            inputs: self
                .made
                .inputs
                .iter()
                .map(|input| (input.name.clone(), input.values.clone()))
                .collect(),
        })
    }
}

/// The same for all photos of a call.
#[derive(Serialize)]
pub(super) struct FieldsRecord {
    /// The texts as given, by field.
    given: BTreeMap<String, String>,
    /// Fields for which the mapping's `missing` was used.
    missing: Vec<String>,
    /// The resulting numbers, by input.
    inputs: BTreeMap<String, Vec<f32>>,
}

/// The mapping of fields in a file, checked against the extra inputs of a model.
pub(super) fn read_field_mapping(path: &Path, inputs: &[VectorInput<'_>]) -> Result<FieldMapping> {
    let context = || format!("cannot use the field mapping `{}`", path.display());
    let text = text::read(path, MAX_SETTINGS_BYTES).with_context(context)?;
    FieldMapping::from_yaml(&text, inputs).with_context(context)
}
