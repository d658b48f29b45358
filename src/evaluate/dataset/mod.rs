//! Labelled images: a folder per class, a folder of photos, or a table of files and labels.
//!
//! In: a path, and the model's labels. Out: a [`Dataset`], the complete list of samples in a
//! defined order ([`Layout`] says where they came from): rows in the order of the table, photos of
//! folders by path. Only a [`RowFilter`] leaves samples out; nothing is drawn or shuffled. Every
//! mistake in a table is an error with its line. Only a [`PhotoStream`] opens photos: it decodes
//! each once for one or more models, in order and in bounded memory.
//!
//! Not here: metrics, and running a model.

use std::path::{Path, PathBuf};

mod error;
mod folder;
mod labels;
mod rows;
mod stream;
mod table;

#[cfg(test)]
mod tests;

pub use error::DatasetError;
pub use labels::LabelIndex;
pub use rows::{FieldCoverage, RowInputs};
pub use stream::{PhotoStream, Prepared, PreparedPhoto, StreamOptions};
pub use table::MAX_TABLE_BYTES;

use super::pass::is_evenly_spaced;
use crate::text::{shorten, suggest};

/// The table that is read if a folder contains one.
pub const TABLE_NAME: &str = "labels.csv";

/// One photo, its label, and the other columns of its row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The path of the photo's file.
    pub path: PathBuf,
    /// Its name in the table; for folders, the path within the folder.
    pub name: String,
    /// Index of its label among the model's; `None` only with [`Labels::Optional`].
    pub label: Option<usize>,
    /// A text for each of [`Dataset::columns`]; empty means unknown.
    pub fields: Vec<String>,
    /// The line of the table, from 1.
    pub line: Option<u64>,
}

/// Where samples come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Layout {
    /// A folder for each class, with the class's name.
    ClassFolders,
    /// Photos in one folder, without labels.
    Flat,
    /// A table.
    Table {
        /// The table.
        table: PathBuf,
        /// The folder in which its files are: the table's own, or `images` beside it.
        images: PathBuf,
    },
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::ClassFolders => f.write_str("a folder for each class"),
            Self::Flat => f.write_str("a folder of photos without labels"),
            Self::Table { table, images } => {
                write!(f, "{}, photos in {}", table.display(), images.display())
            }
        }
    }
}

/// Which labels the samples must have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels<'a> {
    /// Each sample must have one of these labels of the model.
    Required(&'a [String]),
    /// Labels are not needed (calibration). If there are any, they must be the model's, so that
    /// photos of something else are noticed.
    Optional(&'a [String]),
}

impl<'a> Labels<'a> {
    fn names(self) -> &'a [String] {
        match self {
            Self::Required(names) | Self::Optional(names) => names,
        }
    }

    fn are_required(self) -> bool {
        matches!(self, Self::Required(_))
    }
}

/// `COLUMN=VALUE`: only rows with this text in this column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFilter {
    /// The column.
    pub column: String,
    /// Its text, exact.
    pub value: String,
}

impl std::str::FromStr for RowFilter {
    type Err = DatasetError;

    fn from_str(text: &str) -> Result<Self, DatasetError> {
        match text.split_once('=') {
            Some((column, value)) if !column.trim().is_empty() => Ok(Self {
                column: column.trim().to_owned(),
                value: value.trim().to_owned(),
            }),
            _ => Err(DatasetError::FilterSyntax {
                text: shorten(text),
            }),
        }
    }
}

impl std::fmt::Display for RowFilter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.column, self.value)
    }
}

/// A complete, ordered list of photos.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataset {
    /// In order.
    pub samples: Vec<Sample>,
    /// Columns of the table beside `file` and `label`, in its order; none for folders.
    pub columns: Vec<String>,
    /// Where the samples come from.
    pub layout: Layout,
    /// Rows of the table that the filters left out.
    pub filtered_out: usize,
}

impl Dataset {
    /// Reads the list of samples of `path`: a CSV file, or a folder. If the folder contains
    /// [`TABLE_NAME`], that table is read. Every file must exist.
    ///
    /// # Errors
    /// [`DatasetError`] naming the line or folder.
    pub fn open(
        path: &Path,
        labels: Labels<'_>,
        filters: &[RowFilter],
    ) -> Result<Self, DatasetError> {
        let metadata = std::fs::metadata(path).map_err(|source| DatasetError::Io {
            path: path.to_owned(),
            source,
        })?;
        if !metadata.is_dir() {
            return table::read(path, labels, filters);
        }
        let inside = path.join(TABLE_NAME);
        if inside.is_file() {
            return table::read(&inside, labels, filters);
        }
        if let Some(filter) = filters.first() {
            return Err(DatasetError::NoTable {
                folder: path.to_owned(),
                filter: filter.to_string(),
            });
        }
        folder::read(path, labels)
    }

    /// The index in [`Sample::fields`] of a column.
    ///
    /// # Errors
    /// [`DatasetError::UnknownColumn`] with the nearest name.
    pub fn column(&self, name: &str) -> Result<usize, DatasetError> {
        let found = self.columns.iter().position(|column| column == name);
        found.ok_or_else(|| unknown_column(name, &self.columns))
    }

    /// The text of a sample in a column; `None` if there is no such column.
    #[must_use]
    pub fn field<'d>(&self, sample: &'d Sample, column: &str) -> Option<&'d str> {
        let index = self.columns.iter().position(|known| known == column)?;
        sample.fields.get(index).map(String::as_str)
    }

    /// Everything except the samples.
    pub(super) fn without_samples(&self) -> Self {
        Self {
            samples: Vec::new(),
            columns: self.columns.clone(),
            layout: self.layout.clone(),
            filtered_out: self.filtered_out,
        }
    }

    /// Keeps `wanted` of the samples, evenly spaced; all if there are no more.
    pub fn thin_out(&mut self, wanted: usize) {
        let all = self.samples.len();
        let mut index = 0;
        self.samples.retain(|_| {
            index += 1;
            is_evenly_spaced(index - 1, wanted, all)
        });
    }

    /// How many samples each of `n_classes` labels has.
    #[must_use]
    pub fn class_counts(&self, n_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; n_classes];
        for label in self.samples.iter().filter_map(|sample| sample.label) {
            if let Some(count) = counts.get_mut(label) {
                *count += 1;
            }
        }
        counts
    }
}

fn unknown_column(name: &str, columns: &[String]) -> DatasetError {
    let known: Vec<&str> = columns.iter().take(64).map(String::as_str).collect();
    let hint = if known.is_empty() {
        "there are no columns beside `file` and `label`".to_owned()
    } else {
        suggest(name, &known)
    };
    DatasetError::UnknownColumn {
        column: shorten(name),
        hint,
    }
}
