//! Every way in which a set of photos can be wrong, by name.

use std::io;
use std::path::PathBuf;

use crate::hint::{Arguments, Hint, named};
use crate::predict::{FieldError, InputError};
use crate::text::TextError;

/// Why a set of photos cannot be used. The caller's context names the table's path.
#[derive(Debug, thiserror::Error)]
pub enum DatasetError {
    /// The operating system refused.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// File or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The table's file does not exist or cannot be read.
    #[error(transparent)]
    Text(TextError),
    /// The file is empty.
    #[error("the table is empty")]
    Empty,
    /// There is a header and nothing else.
    #[error("the table has no rows below its first line")]
    NoRows,
    /// A file of another kind.
    #[error("expected a table of files and labels, got {0}")]
    NotATable(&'static str),
    /// More bytes than allowed.
    #[error("the table has more than {limit} bytes")]
    TooLong {
        /// Bytes allowed.
        limit: u64,
    },
    /// More columns than allowed.
    #[error("line {line}: more than {limit} columns")]
    TooManyColumns {
        /// The line.
        line: u64,
        /// Columns allowed.
        limit: usize,
    },
    /// More rows and columns than fit into memory.
    #[error("line {line}: the table has too many rows and columns to be read")]
    TooManyCells {
        /// The line where reading stopped.
        line: u64,
    },
    /// A text in another encoding.
    #[error("line {line}: expected UTF-8, but {what}")]
    NotUtf8 {
        /// The line.
        line: u64,
        /// What it is.
        what: &'static str,
    },
    /// Another error of the reader.
    #[error("line {line}: not a row of a CSV file: {detail}")]
    Csv {
        /// The line.
        line: u64,
        /// As the reader says.
        detail: String,
    },
    /// A row with other columns than the header.
    #[error("line {line}: expected {expected} columns, got {got}")]
    Ragged {
        /// The line.
        line: u64,
        /// Columns of the header.
        expected: usize,
        /// Columns of the row.
        got: usize,
    },
    /// A required column is missing.
    #[error("the table has no column `{column}`")]
    MissingColumn {
        /// Its name.
        column: &'static str,
        /// What to do.
        hint: String,
    },
    /// Two columns of one name.
    #[error("the table has two columns `{column}`")]
    ColumnTwice {
        /// Their name.
        column: String,
    },
    /// A requested column does not exist.
    #[error("there is no column `{column}`")]
    UnknownColumn {
        /// The name that was requested.
        column: String,
        /// What to do.
        hint: String,
    },
    /// A row without a file.
    #[error("line {line}: `file` is empty")]
    NoFile {
        /// The line.
        line: u64,
    },
    /// A row without a label, where labels are needed.
    #[error("line {line}: `label` is empty")]
    NoLabel {
        /// The line.
        line: u64,
    },
    /// A label that the model does not have.
    #[error("line {line}: the model has no label `{label}`")]
    UnknownLabel {
        /// The line.
        line: u64,
        /// The label as written.
        label: String,
        /// What to do.
        hint: String,
    },
    /// One file in two rows.
    #[error("line {}: `{file}` is also in line {}", lines[1], lines[0])]
    Duplicate {
        /// The file.
        file: String,
        /// Both lines.
        lines: [u64; 2],
    },
    /// One file in two rows with two labels.
    #[error(
        "line {}: `{file}` has label `{}`, but `{}` in line {}",
        lines[1], labels[1], labels[0], lines[0]
    )]
    Conflict {
        /// The file.
        file: String,
        /// Both lines.
        lines: [u64; 2],
        /// Their labels.
        labels: [String; 2],
    },
    /// Files that the table names do not exist.
    #[error("{missing} of {total} files are not in `{}`: {}", folder.display(), shown(first, *missing))]
    MissingFiles {
        /// The folder in which they should be.
        folder: PathBuf,
        /// The first missing files, with their lines.
        first: Vec<String>,
        /// How many are missing.
        missing: usize,
        /// How many the table names.
        total: usize,
        /// What to do.
        hint: String,
    },
    /// A filter that is not `COLUMN=VALUE`.
    #[error("`{text}` is not of the form `COLUMN=VALUE`")]
    FilterSyntax {
        /// As given.
        text: String,
    },
    /// A filter on folders.
    #[error("`{filter}` needs a table, and folder `{}` has no `labels.csv`", folder.display())]
    NoTable {
        /// The folder.
        folder: PathBuf,
        /// The filter.
        filter: String,
    },
    /// No row passes the filters.
    #[error("none of {rows} rows has {filter}")]
    NothingLeft {
        /// All filters.
        filter: String,
        /// Rows of the table.
        rows: usize,
        /// The first values of the first filter's column.
        values: Vec<String>,
    },
    /// A folder without photos.
    #[error("folder `{}` has no photos", folder.display())]
    NoPhotos {
        /// The folder.
        folder: PathBuf,
        /// Folders in it, which have no photos either.
        folders: Vec<String>,
    },
    /// Photos and folders of photos side by side.
    #[error("folder `{}` has {photos} photos (`{first}`) beside class folders (`{class}`)", folder.display())]
    Mixed {
        /// The folder.
        folder: PathBuf,
        /// Photos directly in it.
        photos: usize,
        /// The first of them.
        first: String,
        /// The first folder with photos.
        class: String,
    },
    /// Photos without labels, for a task that needs labels.
    #[error("the {photos} photos in `{}` have no labels", folder.display())]
    Unlabelled {
        /// The folder.
        folder: PathBuf,
        /// Photos in it.
        photos: usize,
    },
    /// A folder of photos whose name is not a label.
    #[error("folder `{folder}` has photos, but the model has no such label")]
    UnknownClassFolder {
        /// Its name.
        folder: String,
        /// What to do.
        hint: String,
    },
    /// Two folders for one label.
    #[error("folders `{first}` and `{second}` both mean label `{label}`")]
    TwoFolders {
        /// One.
        first: String,
        /// The other.
        second: String,
        /// The label.
        label: String,
    },
    /// The fields of a row do not make the model's inputs.
    #[error("{place}")]
    Fields {
        /// Line and file.
        place: String,
        /// Why.
        source: FieldError,
    },
    /// The model needs inputs that the table's rows do not make.
    #[error("the model's extra inputs cannot be made from the table")]
    Inputs(#[from] InputError),
}

/// The first entries of a list, for a message.
fn shown(first: &[String], all: usize) -> String {
    let list = first.join(", ");
    if all > first.len() {
        return format!("{list}, ...");
    }
    list
}

impl DatasetError {
    fn fixed_hint(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Text(_) => "check the path, and that this user may read it",
            Self::Empty | Self::NoRows | Self::NotATable(_) => {
                "give a CSV file that begins with `file,label`, or a folder with a folder of \
                 photos for each class"
            }
            Self::TooLong { .. } | Self::TooManyCells { .. } => {
                "split it into several tables, or leave out columns that are not needed"
            }
            Self::TooManyColumns { .. } => "leave out the columns that are not needed",
            Self::NotUtf8 { .. } => "save the table as UTF-8 (in Excel: \"CSV UTF-8\")",
            Self::Csv { .. } | Self::Ragged { .. } => {
                "put texts that contain commas or line breaks in double quotes"
            }
            Self::ColumnTwice { .. } => "give each column its own name",
            Self::NoFile { .. } | Self::NoLabel { .. } => "complete the row, or take it out",
            Self::Duplicate { .. } => "a photo that counts twice distorts every figure: remove one",
            Self::Conflict { .. } => "decide which is right and remove the other row",
            Self::FilterSyntax { .. } => "write for example `split=val`",
            Self::NoTable { .. } => "leave the filter out, or give a table",
            Self::NoPhotos { .. } => "photos end in .jpg, .jpeg, .png, .webp, .bmp",
            Self::Mixed { .. } => "move the photos into the folders of their classes",
            Self::Unlabelled { .. } => {
                "put them into a folder for each class, or list them in a `labels.csv`"
            }
            Self::TwoFolders { .. } => "put the photos of a class into one folder",
            Self::Inputs(_) => {
                "say how the table's columns become inputs with `--fields mapping.yaml` \
                 (docs/fields.md), or give the numbers for all photos with `--input`"
            }
            // Answered by `hint`.
            _ => "",
        }
    }
}

impl Hint for DatasetError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Io { .. } | Self::Text(_) => "unreadable_dataset",
            Self::Empty => "empty_table",
            Self::NoRows => "table_without_rows",
            Self::NotATable(_) => "not_a_table",
            Self::TooLong { .. } => "table_too_long",
            Self::TooManyColumns { .. } => "too_many_columns",
            Self::TooManyCells { .. } => "too_many_cells",
            Self::NotUtf8 { .. } => "table_is_not_utf8",
            Self::Csv { .. } => "bad_csv",
            Self::Ragged { .. } => "ragged_row",
            Self::MissingColumn { .. } => "missing_column",
            Self::ColumnTwice { .. } => "column_twice",
            Self::UnknownColumn { .. } => "unknown_column",
            Self::NoFile { .. } => "row_without_file",
            Self::NoLabel { .. } => "row_without_label",
            Self::UnknownLabel { .. } => "unknown_label",
            Self::Duplicate { .. } => "duplicate_row",
            Self::Conflict { .. } => "conflicting_labels",
            Self::MissingFiles { .. } => "missing_files",
            Self::FilterSyntax { .. } => "bad_filter_syntax",
            Self::NoTable { .. } => "filter_without_table",
            Self::NothingLeft { .. } => "filter_leaves_nothing",
            Self::NoPhotos { .. } => "no_photos",
            Self::Mixed { .. } => "photos_beside_class_folders",
            Self::Unlabelled { .. } => "unlabelled_photos",
            Self::UnknownClassFolder { .. } => "unknown_class_folder",
            Self::TwoFolders { .. } => "two_folders_for_a_label",
            Self::Fields { source, .. } => source.kind(),
            Self::Inputs(source) => source.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::MissingColumn { hint, .. }
            | Self::UnknownColumn { hint, .. }
            | Self::UnknownLabel { hint, .. }
            | Self::MissingFiles { hint, .. } => hint.clone(),
            Self::UnknownClassFolder { hint, .. } => {
                format!("name class folders like the model's labels: {hint}")
            }
            Self::Fields { source, .. } => source.hint(),
            Self::NothingLeft { values, .. } => {
                format!("values in that column include: {}", values.join(", "))
            }
            Self::NoPhotos { folders, .. } if !folders.is_empty() => {
                let mut list: Vec<String> = folders.iter().map(|f| format!("`{f}`")).collect();
                list.truncate(8);
                format!(
                    "photos lie directly in it or in a folder for each class; is it one of {}?",
                    list.join(", ")
                )
            }
            other => other.fixed_hint().to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Io { path, .. } => named!(path),
            Self::NotATable(found) => named!(found),
            Self::TooLong { limit } => named!(limit),
            Self::TooManyColumns { line, limit } => named!(line, limit),
            Self::TooManyCells { line } | Self::NoFile { line } | Self::NoLabel { line } => {
                named!(line)
            }
            Self::NotUtf8 { line, what } => named!(line, what),
            Self::Csv { line, detail } => named!(line, detail),
            Self::Ragged {
                line,
                expected,
                got,
            } => named!(line, expected, got),
            Self::MissingColumn { column, .. } => named!(column),
            Self::ColumnTwice { column } | Self::UnknownColumn { column, .. } => named!(column),
            Self::UnknownLabel { line, label, .. } => named!(line, label),
            Self::Duplicate { file, lines } => named!(file, lines),
            Self::Conflict {
                file,
                lines,
                labels,
            } => named!(file, lines, labels),
            Self::MissingFiles {
                folder,
                first,
                missing,
                total,
                ..
            } => named!(folder, first, missing, total),
            Self::FilterSyntax { text } => named!(text),
            Self::NoTable { folder, filter } => named!(folder, filter),
            Self::NothingLeft {
                filter,
                rows,
                values,
            } => named!(filter, rows, values),
            Self::NoPhotos { folder, folders } => named!(folder, folders),
            Self::Mixed {
                folder,
                photos,
                first,
                class,
            } => named!(folder, photos, first, class),
            Self::Unlabelled { folder, photos } => named!(folder, photos),
            Self::UnknownClassFolder { folder, .. } => named!(folder),
            Self::TwoFolders {
                first,
                second,
                label,
            } => named!(first, second, label),
            Self::Fields { place, source } => named!(place).and(source),
            Self::Inputs(error) => error.arguments(),
            Self::Text(_) | Self::Empty | Self::NoRows => named!(),
        }
    }
}
