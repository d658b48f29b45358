//! The place from which a model is loaded.

use std::fmt;
use std::path::{Path, PathBuf};

use super::{ArtifactError, Model, embedded, load};

use crate::hint::{Arguments, Hint, named};

/// A file, or the demo model that is part of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelSource {
    /// An artifact file.
    File(PathBuf),
    /// The embedded demo model.
    Embedded,
}

impl ModelSource {
    /// The file, or the embedded model if no file is named.
    #[must_use]
    pub fn of(path: Option<&Path>) -> Self {
        path.map_or(Self::Embedded, |path| Self::File(path.to_owned()))
    }

    /// Loads the model.
    ///
    /// # Errors
    /// [`LoadError`] if it is not a valid artifact.
    pub fn load(&self) -> Result<Model, LoadError> {
        let model = match self {
            Self::File(path) => load(path),
            Self::Embedded => embedded(),
        };
        model.map_err(|source| LoadError {
            from: self.clone(),
            source,
        })
    }
}

impl fmt::Display for ModelSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Embedded => f.write_str("embedded demo model"),
        }
    }
}

/// Why a model cannot be loaded, and from which place.
#[derive(Debug, thiserror::Error)]
#[error("cannot load model `{from}`")]
pub struct LoadError {
    /// The place.
    pub from: ModelSource,
    /// What is wrong there.
    pub source: ArtifactError,
}

impl Hint for LoadError {
    fn kind(&self) -> &'static str {
        self.source.kind()
    }

    fn hint(&self) -> String {
        self.source.hint()
    }

    fn arguments(&self) -> Arguments {
        named!().text("model", &self.from).and(&self.source)
    }
}
