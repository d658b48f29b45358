//! Files that heat maps are written to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::PredictArgs;
use crate::commands::failure;
use crate::file::atomic;

/// Where heat maps go, a place for each photo.
pub(super) struct Outputs {
    /// Pictures.
    gradcam: Option<Vec<PathBuf>>,
    /// Numbers.
    raw_map: Option<Vec<PathBuf>>,
}

impl Outputs {
    /// Every path is known, distinct and writable before the first photo is read.
    pub(super) fn plan(args: &PredictArgs, photos: &[PathBuf], several: bool) -> Result<Self> {
        let plan = |option: &str, out: &Option<PathBuf>, extension: &str| {
            let Some(out) = out else { return Ok(None) };
            let paths = output_paths(option, out, extension, photos, several)?;
            for path in &paths {
                atomic::check(path)
                    .with_context(|| format!("cannot write `{}`", path.display()))?;
            }
            anyhow::Ok(Some(paths))
        };
        let outputs = Self {
            gradcam: plan("--gradcam", &args.gradcam, "png")?,
            raw_map: plan("--raw-map", &args.raw_map, "npy")?,
        };
        outputs.spare(photos, args.model.as_deref())?;
        Ok(outputs)
    }

    /// Where the picture and the numbers of one photo go.
    pub(super) fn of(&self, photo: usize) -> [Option<&Path>; 2] {
        [&self.gradcam, &self.raw_map].map(|paths| Some(paths.as_ref()?[photo].as_path()))
    }

    /// Refuses outputs that would replace a photo, the model, or each other.
    fn spare(&self, photos: &[PathBuf], model: Option<&Path>) -> Result<()> {
        let real = |path: &Path| path.canonicalize().ok();
        let read: BTreeSet<PathBuf> = photos
            .iter()
            .map(PathBuf::as_path)
            .chain(model)
            .filter_map(real)
            .collect();
        let mut written = BTreeSet::new();
        for path in self.gradcam.iter().chain(&self.raw_map).flatten() {
            if real(path).is_some_and(|real| read.contains(&real)) {
                return Err(failure(
                    format!("the heat map would replace `{}`", path.display()),
                    "give another file name: photos and models are never written over",
                ));
            }
            if !written.insert(path) {
                return Err(failure(
                    format!(
                        "`{}` is named by `--gradcam` and by `--raw-map`",
                        path.display()
                    ),
                    "give the picture and the numbers different names",
                ));
            }
        }
        Ok(())
    }
}

fn output_paths(
    option: &str,
    out: &Path,
    extension: &str,
    photos: &[PathBuf],
    several: bool,
) -> Result<Vec<PathBuf>> {
    let text = out.to_string_lossy();
    let has_stem = text.contains("{stem}");
    if !several && !has_stem && !out.is_dir() {
        return Ok(vec![out.to_owned()]);
    }
    if !has_stem && !out.is_dir() {
        return Err(failure(
            format!("`{option} {text}` is one file, but there are several photos"),
            format!(
                "give an existing folder, or a name with `{{stem}}`: `maps/{{stem}}.{extension}`"
            ),
        ));
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
        Some(path) => Err(failure(
            format!("two photos would write the heat map `{}`", path.display()),
            "photos of the same name need separate calls",
        )),
        None => Ok(paths),
    }
}
