//! Errors of the commands themselves: questions that cannot be asked, and files that are not there.

use std::io;
use std::path::PathBuf;

use crate::hint::{Arguments, Hint, named};
use crate::predict::decode;

/// Why a command cannot be carried out, where the library does not say so.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot read folder `{}`", folder.display())]
    ReadFolder { folder: PathBuf, source: io::Error },
    #[error("folder `{}` has no photos", folder.display())]
    EmptyFolder { folder: PathBuf },
    /// `wanted` says what to give, and with which option.
    #[error("`{}` has no photos", path.display())]
    EmptySet { path: PathBuf, wanted: &'static str },
    #[error("cannot tell the format of the report `{}`", path.display())]
    NoReportForm { path: PathBuf },
    #[error("nothing to import")]
    NothingToImport,
    #[error("no photo is given")]
    NoPhoto,
    #[error("two models are named: `{}` and `{}`", old.display(), model.display())]
    TwoModels { old: PathBuf, model: PathBuf },
    #[error("{failed} of {photos} photos could not be classified")]
    Unclassified { failed: usize, photos: usize },
    #[error("`--method {method}` does not depend on a class, so `--class` does nothing")]
    ClassWithoutGradient { method: &'static str },
    #[error("`{option} {}` is one file, but there are several photos", path.display())]
    OneMap {
        option: String,
        path: PathBuf,
        extension: String,
    },
    #[error("two photos would write the heat map `{}`", path.display())]
    MapTwice { path: PathBuf },
    #[error("`--weights-only` does nothing with `--to {to}`")]
    WeightsOnly { to: &'static str },
    #[error("`{option}` does nothing if activations stay in f32")]
    NothingToCalibrate { option: &'static str },
    #[error("INT8 needs photos to see in which range each layer's values lie")]
    NoCalibration,
    #[error("there is no `{}`", path.display())]
    NoSettings { path: PathBuf },
    #[error("there is no folder `{}`", folder.display())]
    NoProject { folder: PathBuf },
    #[error("`{}` already exists", path.display())]
    SettingsExist { path: PathBuf },
    #[error("`{}` has no keys", path.display())]
    NoKeys { path: PathBuf },
    #[error("`{}` is too long for a file with keys", path.display())]
    KeysTooLong { path: PathBuf },
    /// The message does not repeat the key: it may end up in a log.
    #[error("an API key has fewer than {least} characters")]
    ShortKey { least: usize },
    #[error("cannot generate a photo")]
    GeneratedPhoto(#[source] image::ImageError),
    #[error("cannot write a manual page")]
    ManualPage(#[source] io::Error),
    #[error("no program is given")]
    NoProgram,
    /// `step` says what a process of a proof was about to do.
    #[error("{step}")]
    ProofPart {
        step: &'static str,
        source: io::Error,
    },
}

impl Hint for CommandError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Read { .. } => "unreadable_file",
            Self::ReadFolder { .. } => "unreadable_folder",
            Self::EmptyFolder { .. } | Self::EmptySet { .. } => "no_photos",
            Self::NoReportForm { .. } => "no_report_form",
            Self::NothingToImport => "nothing_to_import",
            Self::NoPhoto => "no_photo",
            Self::TwoModels { .. } => "two_models",
            Self::Unclassified { .. } => "unclassified",
            Self::ClassWithoutGradient { .. } => "class_without_gradient",
            Self::OneMap { .. } => "one_map_for_several_photos",
            Self::MapTwice { .. } => "heat_map_twice",
            Self::WeightsOnly { .. } => "weights_only",
            Self::NothingToCalibrate { .. } => "nothing_to_calibrate",
            Self::NoCalibration => "no_calibration",
            Self::NoSettings { .. } => "no_settings",
            Self::NoProject { .. } => "no_project",
            Self::SettingsExist { .. } => "settings_exist",
            Self::NoKeys { .. } => "no_keys",
            Self::KeysTooLong { .. } => "keys_too_long",
            Self::ShortKey { .. } => "short_key",
            Self::GeneratedPhoto(_) => "generated_photo",
            Self::ManualPage(_) => "manual_page",
            Self::NoProgram => "no_program",
            Self::ProofPart { .. } => "proof_part",
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::Read { .. } | Self::ReadFolder { .. } => {
                "check the path, and that this user may read it"
            }
            Self::EmptyFolder { .. } => {
                return format!("photos end in .{}", decode::PHOTO_EXTENSIONS.join(", ."));
            }
            Self::EmptySet { wanted, .. } => return format!("give {wanted}"),
            Self::NoReportForm { .. } => "end its name in `.html` or `.md`",
            Self::NothingToImport => "give SOURCE and `-o OUT.safetensors`",
            Self::NoPhoto => "name one or more after the model: `dermal predict MODEL IMAGE`",
            Self::TwoModels { .. } => "leave `--model` out: the first argument is the model",
            Self::Unclassified { .. } => "the lines above say why; the other answers are complete",
            Self::ClassWithoutGradient { .. } => "leave one of them out",
            Self::OneMap { extension, .. } => {
                return format!(
                    "give an existing folder, or a name with `{{stem}}`: \
                     `maps/{{stem}}.{extension}`"
                );
            }
            Self::MapTwice { .. } => "classify photos with the same name in separate calls",
            Self::WeightsOnly { .. } => {
                "leave it out: values stay f32 beside 16-bit weights anyway"
            }
            Self::NothingToCalibrate { option } => {
                return format!(
                    "leave `{option}` out: no photos are needed; or choose `--to int8` without \
                     `--weights-only`"
                );
            }
            Self::NoCalibration => {
                "give a folder or table of typical photos with `--calibrate` (64 are enough), or \
                 choose `--weights-only` or `--to fp16`, which need none"
            }
            Self::NoSettings { .. } => {
                "`dermal check --init` writes one; without it, `dermal check` still checks the other \
                 files"
            }
            Self::NoProject { .. } => {
                "give the project's folder, or its dermal.yaml, with `--config`"
            }
            Self::SettingsExist { .. } => {
                "edit it, or delete it first: `--init` does not overwrite it"
            }
            Self::NoKeys { .. } => "write one key a line, or leave `--api-keys-file` out",
            Self::KeysTooLong { .. } => "write one key a line",
            Self::ShortKey { .. } => "make one with `openssl rand -hex 16`",
            Self::GeneratedPhoto(_) => "give a folder with photos with `--images`",
            Self::ManualPage(_) => "`dermal COMMAND --help` says the same",
            Self::NoProgram | Self::ProofPart { .. } => {
                "leave `--prove` out: the estimate is valid without it"
            }
        };
        text.to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Read { path, .. }
            | Self::EmptySet { path, .. }
            | Self::NoReportForm { path }
            | Self::MapTwice { path }
            | Self::NoSettings { path }
            | Self::SettingsExist { path }
            | Self::NoKeys { path }
            | Self::KeysTooLong { path } => named!(path),
            Self::ReadFolder { folder, .. }
            | Self::EmptyFolder { folder }
            | Self::NoProject { folder } => named!(folder),
            Self::TwoModels { old, model } => named!(old, model),
            Self::Unclassified { failed, photos } => named!(failed, photos),
            Self::ClassWithoutGradient { method } => named!(method),
            Self::OneMap {
                option,
                path,
                extension,
            } => named!(option, path, extension),
            Self::WeightsOnly { to } => named!(to),
            Self::NothingToCalibrate { option } => named!(option),
            Self::ShortKey { least } => named!(least),
            Self::ProofPart { step, .. } => named!(step),
            Self::NothingToImport
            | Self::NoPhoto
            | Self::NoCalibration
            | Self::GeneratedPhoto(_)
            | Self::ManualPage(_)
            | Self::NoProgram => named!(),
        }
    }
}
