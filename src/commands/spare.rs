//! Photos that a table or folder names are spared by what a command writes.

use std::path::Path;

use crate::evaluate::dataset::{Dataset, Labels, TABLE_NAME};
use crate::file::{Guard, GuardError};

/// Tells the guard every file of a table or folder of photos. `labels` are the model's. What cannot
/// be read is left to the command, which says why and stops before it writes.
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
