//! Why a photo cannot be read, and what to do about it.

use std::path::PathBuf;

use super::decode::Format;
use crate::hint::{Arguments, Hint, named};

pub(super) const HEIC: &str = "a HEIC photo";
pub(super) const HEIF: &str = "a HEIF photo";
pub(super) const AVIF: &str = "an AVIF photo";

/// Why a file cannot be read as a photo.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// There is no such file.
    #[error("there is no file `{}`", .0.display())]
    Missing(PathBuf),
    /// The path is a directory.
    #[error("`{}` is a directory", .0.display())]
    Directory(PathBuf),
    /// The file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There are no bytes.
    #[error("the file is empty")]
    Empty,
    /// More bytes than allowed.
    #[error("the file has {}{bytes} bytes, the limit is {limit}", if *.at_least { "at least " } else { "" })]
    TooManyBytes {
        /// Bytes of the file.
        bytes: u64,
        /// Whether reading stopped there.
        at_least: bool,
        /// Bytes allowed.
        limit: u64,
    },
    /// More pixels than allowed.
    #[error("the photo has {width}x{height} pixels, the limit is {limit} in all")]
    TooManyPixels {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// Pixels allowed.
        limit: u64,
    },
    /// More memory than allowed.
    #[error("decoding the photo takes {bytes} bytes of memory, the limit is {limit}")]
    TooMuchMemory {
        /// Bytes at the peak.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The content is of a kind that is not decoded.
    #[error("the file is not a photo that can be read: it is {0}")]
    NotAPhoto(&'static str),
    /// The file ends too early.
    #[error("the {0} file is truncated")]
    Truncated(Format),
    /// The file contradicts itself.
    #[error("the {format} file is damaged: {detail}")]
    Corrupt {
        /// Its format.
        format: Format,
        /// What is wrong.
        detail: String,
    },
    /// A feature of the format that is not implemented.
    #[error("the {format} file uses an unsupported feature: {detail}")]
    Unsupported {
        /// Its format.
        format: Format,
        /// What it uses.
        detail: String,
    },
}

impl Hint for DecodeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "no_such_file",
            Self::Directory(_) => "is_a_directory",
            Self::Io { .. } => "unreadable_file",
            Self::Empty => "empty_file",
            Self::TooManyBytes { .. } => "too_many_bytes",
            Self::TooManyPixels { .. } => "too_many_pixels",
            Self::TooMuchMemory { .. } => "too_much_memory",
            Self::NotAPhoto(_) => "not_a_photo",
            Self::Truncated(_) => "truncated_photo",
            Self::Corrupt { .. } => "damaged_photo",
            Self::Unsupported { .. } => "unsupported_photo",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Missing(_) => "check the path",
            Self::Directory(_) => "give the photos in it, or a file",
            Self::Io { .. } => "check that this user may read it",
            Self::Empty | Self::Truncated(_) => "copy or download the photo again",
            Self::TooManyBytes { .. } => {
                "make the file smaller, or raise the limit of bytes (`--max-bytes`)"
            }
            Self::TooManyPixels { .. } => {
                "scale the photo down, or raise the limit of pixels (`--max-pixels`)"
            }
            Self::TooMuchMemory { .. } => {
                "save it as a smaller or non-progressive JPEG, or raise the limit of memory for \
                 a photo"
            }
            Self::NotAPhoto(HEIC | HEIF) => {
                "send it as JPEG. iPhone: Settings > Camera > Formats > Most Compatible makes new \
                 photos JPEG. Android: turn off \"High efficiency pictures\" (HEIF) in the camera's \
                 settings. Open a photo that is already taken in an image editor and save it as JPEG"
            }
            Self::NotAPhoto(AVIF) => {
                "save it as JPEG or PNG in an image editor or browser, or choose JPEG in the \
                 settings of the camera or website it comes from"
            }
            Self::NotAPhoto(_) => "give a JPEG, PNG, WebP or BMP file",
            Self::Corrupt { .. } => "open the photo in an image editor and save it again",
            Self::Unsupported { .. } => "save it as an ordinary JPEG or PNG file",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Missing(path) | Self::Directory(path) | Self::Io { path, .. } => named!(path),
            Self::TooManyBytes {
                bytes,
                at_least,
                limit,
            } => named!(bytes, at_least, limit),
            Self::TooManyPixels {
                width,
                height,
                limit,
            } => named!(width, height, limit),
            Self::TooMuchMemory { bytes, limit } => named!(bytes, limit),
            Self::NotAPhoto(found) => named!(found),
            Self::Truncated(format) => named!(%format),
            Self::Corrupt { format, detail } | Self::Unsupported { format, detail } => {
                named!(%format, detail)
            }
            Self::Empty => named!(),
        }
    }
}
