//! What a file says beside the graph: class names, and for which pixels the model was made.
//!
//! `TFLITE_METADATA` is a FlatBuffer of its own in one of the buffers; files that it mentions stand
//! in a zip behind the model. Most files have neither.
//!
//! Source: <https://github.com/tensorflow/tflite-support/blob/master/tensorflow_lite_support/metadata/metadata_schema.fbs>.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::MAX_LABELS_BYTES;
use super::flatbuffer::Table;
use super::schema::Model;
use crate::file::{Within, open_within};
use crate::import::archive::Archive;
use crate::import::bytes::SourceBytes;
use crate::import::error::ImportError;
use crate::import::options::LabelsFile;

/// For pixels of -1..1, which most of these files expect: Teachable Machine's, and MobileNets.
pub(super) const LIKELY_PRESET: &str = "signed-unit";

/// For files whose input is bytes.
pub(super) const BYTES_PRESET: &str = "raw";

/// Inputs, outputs, files and steps in lists of metadata.
const MAX_ENTRIES: usize = 1024;

/// `ProcessUnitOptions`
const NORMALIZATION: i8 = 1;

/// `AssociatedFileType`
const AXIS_LABELS: i8 = 2;
const VALUE_LABELS: i8 = 3;

/// What the metadata says.
#[derive(Debug, Default)]
pub(super) struct Described {
    /// The name of the file of class names.
    labels: Option<String>,
    /// `(pixel - mean) / std`, one number for all channels or one each.
    normalization: Option<(Vec<f32>, Vec<f32>)>,
}

/// Reads the metadata, if there is any. What it says is a help: if it is damaged, the file is refused,
/// but what it leaves out is not missed.
pub(super) fn described(model: &Model) -> Result<Described, ImportError> {
    let mut found = Described::default();
    let entry = model
        .metadata
        .iter()
        .find(|(name, _)| name == "TFLITE_METADATA");
    let Some(&(_, buffer)) = entry else {
        return Ok(found);
    };
    let bytes = model.buffer(buffer)?;
    if bytes.is_empty() {
        return Ok(found);
    }
    let root = Table::root(bytes)?;
    // Slot 2 is the author's version of the model.
    let Some(graph) = root.tables(3, "graphs", MAX_ENTRIES)?.next() else {
        return Ok(found);
    };
    let graph = graph?;
    for input in graph.tables(2, "inputs", MAX_ENTRIES)? {
        for unit in input?.tables(4, "steps", MAX_ENTRIES)? {
            let unit = unit?;
            if unit.i8(0, 0)? == NORMALIZATION
                && let Some(options) = unit.table(1)?
            {
                let list = |slot| {
                    let list = options.vector(slot, 4)?;
                    let numbers = (0..list.len().min(4)).filter_map(|i| list.f32(i));
                    Ok::<Vec<f32>, ImportError>(numbers.collect())
                };
                found.normalization = Some((list(0)?, list(1)?));
            }
        }
    }
    for output in graph.tables(3, "outputs", MAX_ENTRIES)? {
        for file in output?.tables(6, "files", MAX_ENTRIES)? {
            let file = file?;
            if matches!(file.i8(2, 0)?, AXIS_LABELS | VALUE_LABELS) && found.labels.is_none() {
                found.labels = Some(file.text(0)?.into_owned());
            }
        }
    }
    Ok(found)
}

impl Described {
    /// Mean and deviation of pixels of 0..255, one for each of three channels.
    fn numbers(&self) -> Option<([f32; 3], [f32; 3])> {
        let (mean, std) = self.normalization.as_ref()?;
        let three = |list: &[f32]| match *list {
            [one] => Some([one; 3]),
            [r, g, b] => Some([r, g, b]),
            _ => None,
        };
        let (mean, std) = (three(mean)?, three(std)?);
        let is_usable = mean.iter().all(|v| v.is_finite()) && std.iter().all(|v| *v > 0.0);
        is_usable.then_some((mean, std))
    }

    /// The preset that does what the metadata says.
    pub(super) fn preset(&self) -> Option<&'static str> {
        match self.numbers()? {
            ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5]) => Some("signed-unit"),
            ([0.0, 0.0, 0.0], [255.0, 255.0, 255.0]) => Some("unit"),
            ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0]) => Some("raw"),
            _ => None,
        }
    }

    /// The recipe that does what the metadata says, if no preset does.
    pub(super) fn recipe(&self) -> Option<String> {
        if self.preset().is_some() {
            return None;
        }
        let (mean, std) = self.numbers()?;
        Some(format!(
            "preset: signed-unit\nscale: 1\nmean: {mean:?}\nstd: {std:?}\n"
        ))
    }
}

/// Class names of the zip behind the model.
pub(super) fn labels(bytes: &SourceBytes, described: &Described) -> Option<LabelsFile> {
    // A zip ends in its directory, so there is none without this mark.
    let content = bytes.as_ref();
    let tail = &content[content.len().saturating_sub(1 << 16)..];
    if !tail.windows(4).any(|w| w == b"PK\x05\x06") {
        return None;
    }
    let mut archive = Archive::open(bytes).ok()?;
    let is_list = |name: &str| {
        let ending = Path::new(name).extension();
        ending.is_some_and(|e| e.eq_ignore_ascii_case("txt"))
            && name.to_ascii_lowercase().contains("label")
    };
    let name = match &described.labels {
        Some(name) if archive.has(name) => name.clone(),
        _ => archive.names().find(|name| is_list(name))?.to_owned(),
    };
    let bytes = archive.small(&name, MAX_LABELS_BYTES).ok()?;
    Some(LabelsFile { name, bytes })
}

/// Class names of `labels.txt` in the model's folder, and the file that was read. A link that leads
/// out of the folder is not followed.
pub(super) fn labels_beside(path: &Path) -> (Option<LabelsFile>, Vec<PathBuf>) {
    let beside = path.with_file_name("labels.txt");
    let read = || {
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let Ok(Within::File(file)) = open_within(folder.unwrap_or(Path::new(".")), &beside) else {
            return None;
        };
        let mut bytes = Vec::new();
        file.take(MAX_LABELS_BYTES).read_to_end(&mut bytes).ok()?;
        Some(LabelsFile {
            name: beside.display().to_string(),
            bytes,
        })
    };
    match read() {
        Some(labels) => (Some(labels), vec![beside]),
        None => (None, Vec::new()),
    }
}

/// `tflite 3 (MLIR Converted.)`
pub(super) fn source_format(model: &Model) -> String {
    // It goes into messages, so it is short and plain.
    let kept = |c: &char| c.is_ascii_alphanumeric() || " .-+_".contains(*c);
    let description: String = model.description.chars().filter(kept).take(40).collect();
    match description.trim() {
        "" => format!("tflite {}", model.version),
        description => format!("tflite {} ({description})", model.version),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(mean: &[f32], std: &[f32]) -> Described {
        Described {
            labels: None,
            normalization: Some((mean.to_vec(), std.to_vec())),
        }
    }

    #[test]
    fn normalizations_are_presets_or_recipes() {
        assert_eq!(with(&[127.5], &[127.5]).preset(), Some("signed-unit"));
        assert_eq!(with(&[0.0], &[255.0]).preset(), Some("unit"));
        assert_eq!(with(&[0.0; 3], &[1.0; 3]).preset(), Some("raw"));
        let lite = with(&[127.0], &[128.0]);
        assert_eq!(lite.preset(), None);
        let recipe = lite.recipe().unwrap();
        assert!(recipe.contains("mean: [127.0, 127.0, 127.0]"), "{recipe}");
        let made = crate::artifact::Preprocessing::from_yaml(&recipe, [8, 8, 3]).unwrap();
        assert!((made.mean[0] - 127.0).abs() < 1e-9 && (made.std[2] - 128.0).abs() < 1e-9);
        assert_eq!(with(&[0.0], &[0.0]).recipe(), None);
        assert_eq!(Described::default().recipe(), None);
    }
}
