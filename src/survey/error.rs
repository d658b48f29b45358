//! Why a project cannot be judged.

use std::io;
use std::path::{Path, PathBuf};

use crate::artifact::LoadError;
use crate::estimate::EstimateError;
use crate::evaluate::dataset::DatasetError;
use crate::evaluate::trial::TrialError;
use crate::hint::{Arguments, Hint, named};
use crate::prove::ProveError;
use crate::readiness::platforms::PlatformError;
use crate::readiness::project::SETTINGS_FILE;
use crate::readiness::settings::SettingsError;

/// Why a project cannot be judged.
#[derive(Debug, thiserror::Error)]
pub enum SurveyError {
    /// The settings are a folder, or another thing that is not a regular file.
    #[error("`{}` is not a regular file", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The settings cannot be understood.
    #[error("{}: {error}", path.display())]
    Settings {
        /// Their file.
        path: PathBuf,
        /// What is wrong, with the line.
        error: SettingsError,
    },
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A folder cannot be read.
    #[error("cannot read folder `{}`", folder.display())]
    ReadFolder {
        /// The folder.
        folder: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of settings is longer than any such file.
    #[error("`{}` has more than {most} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        most: u64,
    },
    /// A file of settings is not text.
    #[error("`{}` is not text (UTF-8)", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// The folder is not a project.
    #[error("`{}` has more than {most} files", folder.display())]
    TooManyFiles {
        /// The folder.
        folder: PathBuf,
        /// Files allowed.
        most: usize,
    },
    /// The settings name a file that does not exist.
    #[error("{SETTINGS_FILE}:{line}: there is no `{path}` in this project")]
    NotInProject {
        /// Line of the settings.
        line: usize,
        /// The path as named.
        path: String,
    },
    /// The accuracy that the settings ask for cannot be measured.
    #[error("{SETTINGS_FILE}:{line}: accuracy cannot be measured")]
    Accuracy {
        /// Line of the settings.
        line: usize,
        /// Why.
        source: Box<SurveyError>,
    },
    /// A set of photos cannot be used.
    #[error("cannot use the photos of `{}`", path.display())]
    Photos {
        /// The folder or table.
        path: PathBuf,
        /// Why.
        source: DatasetError,
    },
    /// A row filter is not valid.
    #[error(transparent)]
    Filter(#[from] DatasetError),
    /// A model cannot be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Models cannot be judged on the photos.
    #[error(transparent)]
    Trial(#[from] TrialError),
    /// The platform is not known.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// There is no estimate.
    #[error(transparent)]
    Estimate(#[from] EstimateError),
    /// There is no proof.
    #[error(transparent)]
    Prove(#[from] ProveError),
}

impl SurveyError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        Self::Read {
            path: path.to_owned(),
            source,
        }
    }
}

impl Hint for SurveyError {
    fn kind(&self) -> &'static str {
        match self {
            Self::NotAFile { .. } => "settings_not_a_file",
            Self::Settings { error, .. } => error.kind(),
            Self::Read { .. } | Self::ReadFolder { .. } => "io",
            Self::TooLong { .. } => "too_long",
            Self::NotText { .. } => "not_text",
            Self::TooManyFiles { .. } => "too_many_files",
            Self::NotInProject { .. } => "not_in_project",
            Self::Accuracy { source, .. } => source.kind(),
            Self::Photos { source, .. } | Self::Filter(source) => source.kind(),
            Self::Load(error) => error.kind(),
            Self::Trial(error) => error.kind(),
            Self::Platform(error) => error.kind(),
            Self::Estimate(error) => error.kind(),
            Self::Prove(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::NotAFile { .. } | Self::Settings { .. } => {
                "`dermal check --init` in an empty folder writes one with every setting explained"
            }
            Self::Read { .. } | Self::ReadFolder { .. } => {
                "check the path, and that this user may read it"
            }
            Self::TooLong { .. } => "files of settings are short: is it the right file?",
            Self::NotText { .. } => "write it again with a text editor",
            Self::TooManyFiles { .. } => "give the folder that is deployed with `--config`",
            Self::NotInProject { .. } => "correct `photos` and `base` under `accuracy`",
            Self::Accuracy { source, .. } => return source.hint(),
            Self::Photos { source, .. } | Self::Filter(source) => return source.hint(),
            Self::Load(error) => return error.hint(),
            Self::Trial(error) => return error.hint(),
            Self::Platform(error) => return error.hint(),
            Self::Estimate(error) => return error.hint(),
            Self::Prove(error) => return error.hint(),
        };
        text.to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::NotAFile { path } | Self::Read { path, .. } | Self::NotText { path } => {
                named!(path)
            }
            Self::Settings { path, error } => named!(path).and(error),
            Self::ReadFolder { folder, .. } => named!(folder),
            Self::TooLong { path, most } => named!(path, most),
            Self::TooManyFiles { folder, most } => named!(folder, most),
            Self::NotInProject { line, path } => named!(line, path).with("file", SETTINGS_FILE),
            Self::Accuracy { line, source } => {
                named!(line).with("file", SETTINGS_FILE).and(&**source)
            }
            Self::Photos { path, source } => named!(path).and(source),
            Self::Filter(error) => error.arguments(),
            Self::Load(error) => error.arguments(),
            Self::Trial(error) => error.arguments(),
            Self::Platform(error) => error.arguments(),
            Self::Estimate(error) => error.arguments(),
            Self::Prove(error) => error.arguments(),
        }
    }
}
