//! Protects the photos of a table or folder from being overwritten by the command's output.

use std::path::Path;

use crate::evaluate::dataset::{Dataset, Labels, TABLE_NAME};
use crate::file::{Guard, GuardError};

/// Tells the guard every file in a table or folder of photos. `labels` are the model's. If the
/// table or folder cannot be read, the command says why and stops before it writes.
pub(super) fn spare_photos(
    guard: &mut Guard,
    photos: &Path,
    labels: &[String],
) -> Result<(), GuardError> {
    guard.reads("the table", photos)?;
    if !guard.replaces_files() {
        return Ok(());
    }
    guard.reads("the table", &photos.join(TABLE_NAME))?;
    if let Ok(dataset) = Dataset::open(photos, Labels::Optional(labels), &[]) {
        for sample in &dataset.samples {
            guard.reads("a photo", &sample.path)?;
        }
    }
    Ok(())
}
