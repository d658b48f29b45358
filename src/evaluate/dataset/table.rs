//! Tables: `file,label[,more columns]`, comma-separated, with a header (RFC 4180).

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use csv::{ReaderBuilder, StringRecord};

use super::{Dataset, DatasetError, LabelIndex, Labels, Layout, RowFilter, Sample, unknown_column};
use crate::text::{self, TextError, shorten, suggest};

/// Most bytes of a table. A row has about 50, so this is over a million photos.
pub const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Most columns of a table.
const MAX_COLUMNS: usize = 1_000;

/// Most cells of a table; each row counts as three more. The text of a cell takes a fraction of the
/// memory that the cell itself does. This is enough for a million photos with seven columns, and
/// takes at most some 500 MB.
const MAX_CELLS: usize = 10_000_000;

/// How many items of a kind a message names.
const SHOWN: usize = 5;

const FILE: &str = "file";
const LABEL: &str = "label";

/// Names that other tables use for these columns.
const FILE_WORDS: [&str; 6] = [
    "filename",
    "file_name",
    "image",
    "image_id",
    "path",
    "filepath",
];
const LABEL_WORDS: [&str; 4] = ["class", "dx", "target", "diagnosis"];

pub(super) fn read(
    path: &Path,
    labels: Labels<'_>,
    filters: &[RowFilter],
) -> Result<Dataset, DatasetError> {
    let text = read_text(path)?;
    let rows = Rows::parse(&text)?;
    let header = Header::new(rows.header, labels, &text)?;
    let conditions = header.conditions(filters)?;
    let mut samples = Vec::new();
    let mut filtered_out = 0;
    let mut seen_values: Vec<Vec<String>> = vec![Vec::new(); conditions.len()];
    let index = LabelIndex::new(labels.names());
    let mut first_of: HashMap<PathBuf, usize> = HashMap::new();
    for (line, row) in rows.rows {
        // Every column is looked at, so that an error can say which ones exist.
        let mut kept = true;
        for ((column, wanted), seen) in conditions.iter().zip(&mut seen_values) {
            let text = &row[*column];
            if seen.len() < SHOWN && !seen.contains(text) {
                seen.push(text.clone());
            }
            kept &= text == *wanted;
        }
        if !kept {
            filtered_out += 1;
            continue;
        }
        let sample = header.sample(row, line, &index, labels)?;
        let key = plain_path(&sample.name);
        if let Some(&first) = first_of.get(&key) {
            return Err(duplicate(&samples[first], &sample, labels.names()));
        }
        first_of.insert(key, samples.len());
        samples.push(sample);
    }
    if samples.is_empty() {
        return Err(if filtered_out == 0 {
            DatasetError::NoRows
        } else {
            let filter = filters.iter().map(ToString::to_string);
            DatasetError::NothingLeft {
                filter: filter.collect::<Vec<_>>().join(" and "),
                rows: filtered_out,
                values: seen_values.into_iter().next().unwrap_or_default(),
            }
        });
    }
    let images = locate(path, &mut samples)?;
    Ok(Dataset {
        samples,
        columns: header.others.into_iter().map(|(_, name)| name).collect(),
        layout: Layout::Table {
            table: path.to_owned(),
            images,
        },
        filtered_out,
    })
}

fn read_text(path: &Path) -> Result<String, DatasetError> {
    let text = text::read(path, MAX_TABLE_BYTES).map_err(|error| match error {
        TextError::TooLong { limit, .. } => DatasetError::TooLong { limit },
        TextError::Encoding { line, what, .. } => DatasetError::NotUtf8 {
            line: line as u64,
            what,
        },
        TextError::NotText { what, .. } => DatasetError::NotATable(what),
        other => DatasetError::Text(other),
    })?;
    if text.trim().is_empty() {
        return Err(DatasetError::Empty);
    }
    Ok(text)
}

/// A table's texts, trimmed, all rows as long as the header.
struct Rows {
    header: Vec<String>,
    rows: Vec<(u64, Vec<String>)>,
}

impl Rows {
    fn parse(text: &str) -> Result<Self, DatasetError> {
        // Checked before the CSV reader sees the row, because the reader allocates a place for each
        // column.
        for (i, line) in text.lines().enumerate() {
            check_columns(line.matches(',').count(), i as u64 + 1)?;
        }
        let mut reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .from_reader(text.as_bytes());
        let mut record = StringRecord::new();
        let mut all: Vec<(u64, Vec<String>)> = Vec::new();
        let mut cells = 0;
        let mut lines = Lines {
            bytes: text.as_bytes(),
            at: 0,
            line: 1,
        };
        loop {
            let more = reader.read_record(&mut record);
            if !more.map_err(|error| from_csv(&error))? {
                break;
            }
            let line = lines.of(record.position().map_or(0, csv::Position::byte));
            check_columns(record.len(), line)?;
            cells += record.len() + 3;
            if cells > MAX_CELLS {
                return Err(DatasetError::TooManyCells { line });
            }
            let columns = all.first().map_or(record.len(), |(_, header)| header.len());
            // Skips a line of commas only: spreadsheets leave such lines after the last row.
            let blank = record.iter().all(|text| text.trim().is_empty());
            if blank && !all.is_empty() {
                continue;
            }
            if record.len() != columns {
                return Err(DatasetError::Ragged {
                    line,
                    expected: columns,
                    got: record.len(),
                });
            }
            all.push((
                line,
                record.iter().map(|text| text.trim().to_owned()).collect(),
            ));
        }
        if all.is_empty() {
            return Err(DatasetError::Empty);
        }
        let (_, header) = all.remove(0);
        Ok(Self { header, rows: all })
    }
}

fn check_columns(columns: usize, line: u64) -> Result<(), DatasetError> {
    if columns <= MAX_COLUMNS {
        return Ok(());
    }
    Err(DatasetError::TooManyColumns {
        line,
        limit: MAX_COLUMNS,
    })
}

/// Counts lines as editors do. The CSV reader's own count is one too small after a CRLF, and it
/// counts blank lines before a row as part of the row.
struct Lines<'b> {
    bytes: &'b [u8],
    at: usize,
    line: u64,
}

impl Lines<'_> {
    /// The line of the row that begins at a byte. Rows must be asked for in their order.
    fn of(&mut self, byte: u64) -> u64 {
        let start = usize::try_from(byte).unwrap_or(usize::MAX);
        while let Some(&byte) = self.bytes.get(self.at) {
            if self.at >= start && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            let lone_cr = byte == b'\r' && self.bytes.get(self.at + 1) != Some(&b'\n');
            self.line += u64::from(byte == b'\n' || lone_cr);
            self.at += 1;
        }
        self.line
    }
}

fn from_csv(error: &csv::Error) -> DatasetError {
    DatasetError::Csv {
        line: error.position().map_or(0, csv::Position::line),
        detail: shorten(&error.to_string()),
    }
}

/// The meaning of each column.
struct Header {
    names: Vec<String>,
    file: usize,
    label: Option<usize>,
    /// Named columns besides these two.
    others: Vec<(usize, String)>,
}

impl Header {
    fn new(names: Vec<String>, labels: Labels<'_>, text: &str) -> Result<Self, DatasetError> {
        for (i, name) in names.iter().enumerate() {
            if !name.is_empty() && names[..i].contains(name) {
                return Err(DatasetError::ColumnTwice {
                    column: shorten(name),
                });
            }
        }
        let missing = |column: &'static str| DatasetError::MissingColumn {
            column,
            hint: missing_column_hint(column, &names, text),
        };
        let find = |wanted: &str| names.iter().position(|name| name == wanted);
        let file = find(FILE).ok_or_else(|| missing(FILE))?;
        let label = find(LABEL);
        if labels.are_required() && label.is_none() {
            return Err(missing(LABEL));
        }
        let others = names
            .iter()
            .enumerate()
            // pandas writes its index as a column without a name.
            .filter(|(i, name)| *i != file && Some(*i) != label && !name.is_empty())
            .map(|(i, name)| (i, name.clone()))
            .collect();
        Ok(Self {
            names,
            file,
            label,
            others,
        })
    }

    /// The column and text of each filter.
    fn conditions<'f>(
        &self,
        filters: &'f [RowFilter],
    ) -> Result<Vec<(usize, &'f String)>, DatasetError> {
        let condition = |filter: &'f RowFilter| {
            let column = self.names.iter().position(|name| *name == filter.column);
            let column = column.ok_or_else(|| unknown_column(&filter.column, &self.names))?;
            Ok((column, &filter.value))
        };
        filters.iter().map(condition).collect()
    }

    fn sample(
        &self,
        mut row: Vec<String>,
        line: u64,
        index: &LabelIndex<'_>,
        labels: Labels<'_>,
    ) -> Result<Sample, DatasetError> {
        let name = std::mem::take(&mut row[self.file]);
        if name.is_empty() || name.contains('\0') {
            return Err(DatasetError::NoFile { line });
        }
        let word = self.label.map_or("", |column| row[column].as_str());
        let label = match (word.is_empty(), index.find(word)) {
            (true, _) if labels.are_required() => return Err(DatasetError::NoLabel { line }),
            (true, _) => None,
            (false, Some(label)) => Some(label),
            (false, None) => {
                return Err(DatasetError::UnknownLabel {
                    line,
                    label: shorten(word),
                    hint: index.hint(word),
                });
            }
        };
        let field = |(column, _): &(usize, String)| std::mem::take(&mut row[*column]);
        Ok(Sample {
            path: PathBuf::new(),
            name,
            label,
            fields: self.others.iter().map(field).collect(),
            line: Some(line),
        })
    }
}

fn missing_column_hint(column: &str, names: &[String], text: &str) -> String {
    let first_line = text.lines().next().unwrap_or_default();
    if names.len() == 1 {
        for (separator, shown) in [(';', "`;`"), ('\t', "tabs")] {
            if first_line.contains(separator) {
                return format!("columns are separated by {shown}: save the table with commas");
            }
        }
    }
    let words = if column == FILE {
        &FILE_WORDS[..]
    } else {
        &LABEL_WORDS
    };
    let similar = names.iter().find(|name| {
        words.contains(&name.to_lowercase().as_str()) || name.to_lowercase() == column
    });
    if let Some(name) = similar {
        return format!(
            "is it `{}`? Name it `{column}` in the first line",
            shorten(name)
        );
    }
    let known: Vec<&str> = names.iter().take(32).map(String::as_str).collect();
    format!(
        "the first line must name the columns, `file,label,...`; {}",
        suggest(column, &known)
    )
}

/// The path without `./` and the like, so that one file has only one name.
fn plain_path(name: &str) -> PathBuf {
    let parts = Path::new(name).components();
    parts.filter(|part| *part != Component::CurDir).collect()
}

fn duplicate(first: &Sample, second: &Sample, labels: &[String]) -> DatasetError {
    let lines = [first.line.unwrap_or(0), second.line.unwrap_or(0)];
    let file = shorten(&second.name);
    let name = |label: Option<usize>| label.map_or("none", |i| labels[i].as_str()).to_owned();
    if first.label == second.label {
        return DatasetError::Duplicate { file, lines };
    }
    DatasetError::Conflict {
        file,
        lines,
        labels: [name(first.label), name(second.label)],
    }
}

/// Finds the folder that contains the files, and each file.
fn locate(table: &Path, samples: &mut [Sample]) -> Result<PathBuf, DatasetError> {
    let beside = table.parent().unwrap_or(Path::new("")).to_owned();
    let images = beside.join("images");
    let absent = |folder: &Path| -> Vec<usize> {
        let is_absent = |i: &usize| !folder.join(&samples[*i].name).is_file();
        (0..samples.len()).filter(is_absent).collect()
    };
    let (mut folder, mut missing) = (beside, absent(table.parent().unwrap_or(Path::new(""))));
    if !missing.is_empty() && images.is_dir() {
        let there = absent(&images);
        // All files come from one folder. If rows point to two folders, the table is refused,
        // because the right folder would be a guess.
        if there.len() < missing.len() {
            (folder, missing) = (images, there);
        }
    }
    if missing.is_empty() {
        for sample in samples {
            sample.path = folder.join(&sample.name);
        }
        return Ok(folder);
    }
    let first = missing.iter().take(SHOWN).map(|&i| {
        let sample = &samples[i];
        format!(
            "`{}` (line {})",
            shorten(&sample.name),
            sample.line.unwrap_or(0)
        )
    });
    let backslash = missing.iter().any(|&i| samples[i].name.contains('\\'));
    let no_extension = missing
        .iter()
        .all(|&i| Path::new(&samples[i].name).extension().is_none());
    Err(DatasetError::MissingFiles {
        first: first.collect(),
        missing: missing.len(),
        total: samples.len(),
        hint: if backslash {
            "write paths with `/`".to_owned()
        } else if no_extension {
            "file names need their extension: `photo.jpg`".to_owned()
        } else {
            "paths are relative to the table, or to a folder `images` beside it".to_owned()
        },
        folder,
    })
}
