//! Files that heat maps are written to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::commands::{Context, Problem, Result};

use crate::cli::PredictArgs;
use crate::commands::CommandError;
use crate::file::{Guard, Output};

/// Where heat maps are written, one place for each photo.
pub(super) struct Outputs {
    /// For pictures.
    gradcam: Option<Vec<Output>>,
    /// For numbers.
    raw_map: Option<Vec<Output>>,
}

impl Outputs {
    /// Checks every path before the first photo is read: it is known, distinct, writable, and not a
    /// file that is read.
    pub(super) fn plan(
        args: &PredictArgs,
        model: Option<&Path>,
        photos: &[PathBuf],
        several: bool,
    ) -> Result<Self> {
        let mut guard = Guard::new();
        guard.may_read("the model", model)?;
        guard.may_read("the field mapping", args.fields.as_ref())?;
        for photo in photos {
            guard.reads("the photo", photo)?;
        }
        let mut plan = |option: &str, out: &Option<PathBuf>, extension: &str| {
            let Some(out) = out else { return Ok(None) };
            let paths = output_paths(option, out, extension, photos, several)?;
            let outputs = paths.iter().map(|path| {
                let context = || format!("cannot write `{}`", path.display());
                guard.writes(option, path).with_context(context)
            });
            Ok::<_, Problem>(Some(outputs.collect::<Result<_>>()?))
        };
        Ok(Self {
            gradcam: plan("--gradcam", &args.gradcam, "png")?,
            raw_map: plan("--raw-map", &args.raw_map, "npy")?,
        })
    }

    /// The files for the picture and the numbers of one photo.
    pub(super) fn of(&self, photo: usize) -> [Option<&Output>; 2] {
        [&self.gradcam, &self.raw_map].map(|outputs| Some(&outputs.as_ref()?[photo]))
    }
}

fn output_paths(
    option: &str,
    out: &Path,
    extension: &str,
    photos: &[PathBuf],
    several: bool,
) -> Result<Vec<PathBuf>, CommandError> {
    let text = out.to_string_lossy();
    let has_stem = text.contains("{stem}");
    if !several && !has_stem && !out.is_dir() {
        return Ok(vec![out.to_owned()]);
    }
    if !has_stem && !out.is_dir() {
        return Err(CommandError::OneMap {
            option: option.to_owned(),
            path: out.to_owned(),
            extension: extension.to_owned(),
        });
    }
    let one = |photo: &PathBuf| {
        let stem = photo.file_stem().unwrap_or(OsStr::new("photo"));
        if has_stem {
            return PathBuf::from(text.replace("{stem}", &stem.to_string_lossy()));
        }
        let mut name = stem.to_owned();
        name.push(".");
        name.push(extension);
        out.join(name)
    };
    let paths: Vec<PathBuf> = photos.iter().map(one).collect();
    let mut seen = BTreeSet::new();
    match paths.iter().find(|path| !seen.insert(*path)) {
        Some(path) => Err(CommandError::MapTwice { path: path.clone() }),
        None => Ok(paths),
    }
}
