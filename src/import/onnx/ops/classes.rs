//! `ZipMap`, by which scikit-learn's and Custom Vision's exporters end a model: probabilities by the
//! names of their classes.

use super::super::call::{Call, Outputs, Value};
use super::super::importer::Importer;
use crate::import::error::ImportError;

/// The probabilities as they are. The names of the classes are kept.
pub(super) fn zip_map<'a>(
    importer: &mut Importer<'a, '_>,
    call: &Call<'_, 'a>,
) -> Result<Outputs<'a>, ImportError> {
    if !call.is_answer {
        return Err(call.place().unsupported());
    }
    let names = call.attributes.texts("classlabels_strings")?;
    let numbers = call.attributes.ints("classlabels_int64s")?;
    importer.labels =
        names.or_else(|| numbers.map(|list| list.iter().map(ToString::to_string).collect()));
    Ok(vec![Value::View(call.view(0)?.clone())])
}
