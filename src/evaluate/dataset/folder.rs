//! Folders of photos.

use std::path::{Path, PathBuf};

use super::{Dataset, DatasetError, LabelIndex, Labels, Layout, Sample};
use crate::predict::decode::has_photo_extension;
use crate::text::shorten;

/// The entries directly in a folder, by name, without hidden ones.
#[derive(Default)]
struct Listing {
    photos: Vec<PathBuf>,
    folders: Vec<PathBuf>,
}

pub(super) fn read(root: &Path, labels: Labels<'_>) -> Result<Dataset, DatasetError> {
    let top = list(root)?;
    let mut classes = Vec::new();
    let mut bare = Vec::new();
    for folder in &top.folders {
        let inside = list(folder)?;
        if inside.photos.is_empty() {
            bare.push(file_name(folder));
        } else {
            classes.push((file_name(folder), inside.photos));
        }
    }
    let (samples, layout) = match (top.photos.is_empty(), classes.is_empty()) {
        (true, true) => {
            return Err(DatasetError::NoPhotos {
                folder: root.to_owned(),
                folders: bare,
            });
        }
        (false, false) => {
            return Err(DatasetError::Mixed {
                folder: root.to_owned(),
                photos: top.photos.len(),
                first: file_name(&top.photos[0]),
                class: classes.swap_remove(0).0,
            });
        }
        (false, true) if labels.are_required() => {
            return Err(DatasetError::Unlabelled {
                folder: root.to_owned(),
                photos: top.photos.len(),
            });
        }
        (false, true) => {
            let samples = top.photos.into_iter();
            let samples = samples.map(|path| sample(root, path, None)).collect();
            (samples, Layout::Flat)
        }
        (true, false) => (by_class(root, classes, labels)?, Layout::ClassFolders),
    };
    Ok(Dataset {
        samples,
        columns: Vec::new(),
        layout,
        filtered_out: 0,
    })
}

fn by_class(
    root: &Path,
    classes: Vec<(String, Vec<PathBuf>)>,
    labels: Labels<'_>,
) -> Result<Vec<Sample>, DatasetError> {
    let index = LabelIndex::new(labels.names());
    let mut samples = Vec::new();
    let mut folders: Vec<(usize, String)> = Vec::new();
    for (name, photos) in classes {
        let Some(label) = index.find(&name) else {
            return Err(DatasetError::UnknownClassFolder {
                hint: index.hint(&name),
                folder: shorten(&name),
            });
        };
        if let Some((_, other)) = folders.iter().find(|(taken, _)| *taken == label) {
            return Err(DatasetError::TwoFolders {
                first: other.clone(),
                second: name,
                label: labels.names()[label].clone(),
            });
        }
        folders.push((label, name));
        let of_class = photos.into_iter();
        samples.extend(of_class.map(|path| sample(root, path, Some(label))));
    }
    Ok(samples)
}

fn sample(root: &Path, path: PathBuf, label: Option<usize>) -> Sample {
    let within = path.strip_prefix(root).unwrap_or(&path);
    Sample {
        name: within.to_string_lossy().into_owned(),
        path,
        label,
        fields: Vec::new(),
        line: None,
    }
}

fn list(folder: &Path) -> Result<Listing, DatasetError> {
    let io = |source| DatasetError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut listing = Listing::default();
    for entry in folder.read_dir().map_err(io)? {
        let path = entry.map_err(io)?.path();
        let hidden = path.file_name().is_some_and(|name| {
            let name = name.as_encoded_bytes();
            // macOS adds hidden companion files of photos to archives.
            name.starts_with(b".") || name == b"__MACOSX"
        });
        if hidden {
            continue;
        }
        if path.is_dir() {
            listing.folders.push(path);
        } else if has_photo_extension(&path) {
            listing.photos.push(path);
        }
    }
    listing.photos.sort();
    listing.folders.sort();
    Ok(listing)
}

fn file_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}
