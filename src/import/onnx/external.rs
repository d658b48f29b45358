//! Weights outside of the file, as torch writes them since 2.9.
//!
//! In: the `location`, `offset` and `length` of a tensor. Out: a range of a mapped file. Only plain
//! files in the model's own folder (or below it) are opened: a path that leaves it, by `..`, by its
//! root or by a link, is refused before anything is read.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Component, Path, PathBuf};

use memmap2::Mmap;

use super::proto::{Graph, TensorData};
use crate::file::{Within, open_within};
use crate::import::error::ImportError;
use crate::text::shorten;

/// Files that one model may use. `save_as_external_data` can write one a tensor.
const MAX_FILES: usize = 4096;

/// The files that a model's weights are in, by their `location`.
#[derive(Debug, Default)]
pub(super) struct External {
    files: BTreeMap<String, Mmap>,
    /// Where they are.
    pub(super) paths: Vec<PathBuf>,
}

fn refused(location: &str, message: impl Into<Box<str>>, hint: impl Into<Box<str>>) -> ImportError {
    ImportError::ExternalData {
        location: shorten(location),
        message: message.into(),
        hint: hint.into(),
    }
}

const EXPORT_AGAIN: &str = "export the model again in one file: \
    `torch.onnx.export(..., external_data=False)`, or `onnx.save(model, 'model.onnx')`";

/// The value of a key.
fn entry<'a>(entries: &[(&'a str, &'a str)], key: &str) -> Option<&'a str> {
    entries
        .iter()
        .find(|(k, _)| *k == key)
        .map(|(_, value)| *value)
}

impl External {
    /// Opens the files of a graph's weights, which stand beside the model at `path`.
    pub(super) fn open(graph: &Graph, path: &Path, limit: u64) -> Result<Self, ImportError> {
        let mut opened = Self::default();
        let model = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let mut total = 0u64;
        for tensor in &graph.initializers {
            let TensorData::External(entries) = &tensor.data else {
                continue;
            };
            let Some(location) = entry(entries, "location") else {
                let message = format!("weight `{}` does not say which file", tensor.name);
                return Err(refused("", message, EXPORT_AGAIN));
            };
            if opened.files.contains_key(location) {
                continue;
            }
            if opened.files.len() >= MAX_FILES {
                let message = format!("the model uses more than {MAX_FILES} files");
                return Err(refused(location, message, EXPORT_AGAIN));
            }
            let (file, found) = open(location, path, &model)?;
            let io = |source| ImportError::Io {
                path: found.display().to_string(),
                source,
            };
            let bytes = file.metadata().map_err(io)?.len();
            total = total.saturating_add(bytes);
            if total > limit {
                return Err(ImportError::TooLarge {
                    what: format!("`{}` and the files before it", found.display()),
                    got: total,
                    limit,
                });
            }
            if bytes == 0 {
                let hint = "the download or copy did not finish: get the file again";
                return Err(refused(location, "it is empty", hint));
            }
            let map = crate::import::map(&file).map_err(io)?;
            if map.starts_with(b"version https://git-lfs") {
                let hint = "the weights themselves were not downloaded: run `git lfs pull` in the \
                            repository they came from";
                return Err(refused(location, "it is a git-LFS pointer", hint));
            }
            opened.files.insert(location.to_owned(), map);
            opened.paths.push(found);
        }
        Ok(opened)
    }

    /// The bytes of all files together.
    pub(super) fn bytes_in_all(&self) -> u64 {
        self.files.values().map(|map| map.len() as u64).sum()
    }

    /// The bytes of a tensor, of which there must be `expected`.
    pub(super) fn bytes(
        &self,
        tensor: &str,
        entries: &[(&str, &str)],
        expected: u64,
    ) -> Result<&[u8], ImportError> {
        let location = entry(entries, "location").unwrap_or_default();
        let wrong = |message: String| {
            let hint = "file and weights do not belong together: copy both again from where the \
                        model was exported";
            refused(
                location,
                format!("weight `{}` {message}", shorten(tensor)),
                hint,
            )
        };
        let number = |key: &str, default: u64| match entry(entries, key) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .map_err(|_| wrong(format!("has the {key} `{}`", shorten(text)))),
        };
        let offset = number("offset", 0)?;
        let length = number("length", expected)?;
        if length != expected {
            return Err(wrong(format!(
                "takes {expected} bytes, and its length is {length}"
            )));
        }
        let Some(map) = self.files.get(location) else {
            return Err(wrong("is in a file that was not opened".into()));
        };
        let end = offset.checked_add(length);
        let range = usize::try_from(offset)
            .ok()
            .zip(end.and_then(|end| end.try_into().ok()));
        range
            .and_then(|(start, end): (usize, usize)| map.get(start..end))
            .ok_or_else(|| {
                wrong(format!(
                    "is at {offset} and {length} bytes long, but the file has {}",
                    map.len()
                ))
            })
    }
}

/// Opens the file of a location; also its path.
fn open(location: &str, model: &Path, name: &str) -> Result<(File, PathBuf), ImportError> {
    let relative = Path::new(location);
    let plain = relative
        .components()
        .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    // A backslash is part of a name here, and a way out on another system.
    if !plain || location.is_empty() || location.contains(['\\', '\0']) {
        return Err(refused(
            location,
            "it is not in the folder of the model",
            "a model may only use files beside it: export it again where it was made",
        ));
    }
    let folder = model.parent().filter(|p| !p.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let path = folder.join(relative);
    let io = |source| ImportError::Io {
        path: path.display().to_string(),
        source,
    };
    if !path.try_exists().map_err(io)? {
        return Err(refused(
            location,
            "the file is not there",
            format!(
                "the weights are outside of `{name}`, as torch writes them since 2.9: copy \
                 `{}` into its folder, or export the model again with \
                 `torch.onnx.export(..., external_data=False)`",
                shorten(location)
            ),
        ));
    }
    match open_within(folder, &path).map_err(io)? {
        Within::File(file) => Ok((file, path)),
        Within::Outside => Err(refused(
            location,
            "it is a link that leads out of the folder of the model",
            "copy the file itself into the folder of the model",
        )),
        Within::NotRegular => Err(refused(location, "it is not a regular file", EXPORT_AGAIN)),
    }
}
