//! Reads a text file from outside into a `String`.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::hint::{Arguments, Hint, named};

/// Why a file is not read as text.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
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
        source: io::Error,
    },
    /// The file has more bytes than a text of its kind may have.
    #[error("`{}` has more than {limit} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
        /// Bytes allowed.
        limit: u64,
    },
    /// The file is text in another encoding.
    #[error("line {line} of `{}`: expected UTF-8, but {what}", path.display())]
    Encoding {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What was found.
        what: &'static str,
    },
    /// The file is not text.
    #[error("`{}` is not a text file: it is {what}", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The kind of the file.
        what: &'static str,
    },
}

impl Hint for TextError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Missing(_) => "no_such_file",
            Self::Directory(_) => "is_a_directory",
            Self::Io { .. } => "unreadable_file",
            Self::TooLong { .. } => "file_too_long",
            Self::Encoding { .. } => "not_utf8",
            Self::NotText { .. } => "not_text",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Missing(_) => "check the path",
            Self::Directory(_) => "give a file in it",
            Self::Io { .. } => "check that this user may read it",
            Self::TooLong { .. } => "give a shorter file; is it the right one?",
            Self::Encoding { .. } => {
                "save the file as UTF-8 (in PowerShell: `Out-File -Encoding utf8`; in Notepad: \
                 Save as, Encoding)"
            }
            Self::NotText { .. } => "check the path: give the text file that you mean",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Missing(path) | Self::Directory(path) | Self::Io { path, .. } => named!(path),
            Self::TooLong { path, limit } => named!(path, limit),
            Self::Encoding { path, line, what } => named!(path, line, what),
            Self::NotText { path, what } => named!(path, what),
        }
    }
}

/// Reads a text file of at most `limit` bytes. No byte beyond the limit is read, whatever the file
/// is: a pipe or device does not know its length.
///
/// # Errors
/// [`TextError`], with the path.
pub fn read(path: &Path, limit: u64) -> Result<String, TextError> {
    let bytes = read_bytes(path, limit)?;
    decode(bytes, path)
}

fn read_bytes(path: &Path, limit: u64) -> Result<Vec<u8>, TextError> {
    let io = |source: io::Error| match source.kind() {
        ErrorKind::NotFound => TextError::Missing(path.to_owned()),
        ErrorKind::IsADirectory => TextError::Directory(path.to_owned()),
        _ => TextError::Io {
            path: path.to_owned(),
            source,
        },
    };
    let too_long = || TextError::TooLong {
        path: path.to_owned(),
        limit,
    };
    let metadata = std::fs::metadata(path).map_err(io)?;
    if metadata.is_dir() {
        return Err(TextError::Directory(path.to_owned()));
    }
    if metadata.len() > limit {
        return Err(too_long());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    let file = File::open(path).map_err(io)?;
    file.take(limit.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(io)?;
    if bytes.len() as u64 > limit {
        return Err(too_long());
    }
    Ok(bytes)
}

/// The text in the bytes of a file; `path` is for the message. A byte order mark of UTF-8 is
/// dropped.
///
/// # Errors
/// [`TextError::Encoding`] with the line, [`TextError::NotText`] if the bytes are of a known
/// other kind.
pub fn decode(bytes: Vec<u8>, path: &Path) -> Result<String, TextError> {
    if let Some(what) = known_binary(&bytes) {
        return Err(TextError::NotText {
            path: path.to_owned(),
            what,
        });
    }
    let encoding = |line, what| TextError::Encoding {
        path: path.to_owned(),
        line,
        what,
    };
    if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
        return Err(encoding(1, "it is UTF-16"));
    }
    if let Some(at) = bytes.iter().position(|&b| b == 0) {
        return Err(encoding(line_of(&bytes[..at]), "it has a byte of value 0"));
    }
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            Ok(text)
        }
        Err(error) => {
            let bytes = error.as_bytes();
            let before = &bytes[..error.utf8_error().valid_up_to()];
            Err(encoding(line_of(before), "it has bytes that are not UTF-8"))
        }
    }
}

/// The line, from 1, of the byte that follows.
fn line_of(before: &[u8]) -> usize {
    before.split(|&b| b == b'\n').count()
}

/// Kinds of files that people give by mistake in place of a text.
fn known_binary(bytes: &[u8]) -> Option<&'static str> {
    const KINDS: [(&[u8], &str); 9] = [
        (
            b"PK\x03\x04",
            "a zip archive (a `.keras` model, a workbook?)",
        ),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file (an `.h5` model?)"),
        (b"\xFF\xD8\xFF", "a JPEG photo"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture"),
        (b"GIF8", "a GIF picture"),
        (b"\x1f\x8b", "a gzip archive"),
        (b"%PDF-", "a PDF document"),
        (b"\xD0\xCF\x11\xE0", "a Microsoft Office document"),
        (b"\x80\x04\x95", "a Python pickle"),
    ];
    let found = KINDS.iter().find(|(magic, _)| bytes.starts_with(magic));
    found.map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> Result<String, TextError> {
        decode(bytes.to_vec(), Path::new("f.txt"))
    }

    #[test]
    fn a_mark_at_the_start_is_dropped_and_only_there() {
        assert_eq!(text(b"\xEF\xBB\xBFa").unwrap(), "a");
        assert_eq!(text("a\u{feff}".as_bytes()).unwrap(), "a\u{feff}");
        assert_eq!(text(b"").unwrap(), "");
    }

    #[test]
    fn other_encodings_are_named_with_file_and_line() {
        for (bytes, says) in [
            (
                &b"\xFF\xFEa\0"[..],
                "line 1 of `f.txt`: expected UTF-8, but it is UTF-16",
            ),
            (b"a\nb\xE9\n", "line 2 of `f.txt`"),
            (b"a\n\nb\0", "line 3 of `f.txt`"),
            (
                b"PK\x03\x04",
                "`f.txt` is not a text file: it is a zip archive",
            ),
            (b"\xFF\xD8\xFF\xE0", "a JPEG photo"),
        ] {
            let error = text(bytes).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }

    #[test]
    fn a_file_is_bounded_before_it_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("long");
        let file = File::create(&path).unwrap();
        file.set_len(10).unwrap();
        assert_eq!(read(&path, 9).unwrap_err().kind(), "file_too_long");
        // One terabyte; nothing of it is read.
        file.set_len(1 << 40).unwrap();
        assert_eq!(read(&path, 1 << 20).unwrap_err().kind(), "file_too_long");
        assert_eq!(read(dir.path(), 9).unwrap_err().kind(), "is_a_directory");
        let none = dir.path().join("none");
        assert_eq!(read(&none, 9).unwrap_err().kind(), "no_such_file");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_device_without_an_end_is_left_at_the_limit() {
        let error = read(Path::new("/dev/zero"), 1000).unwrap_err();
        assert_eq!(error.kind(), "file_too_long");
    }
}
