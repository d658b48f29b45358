//! Recognises other files that people give as artifacts, so that the error can say what they are
//! and what to do.

use std::fmt;

/// A file that is not an artifact, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Foreign {
    /// No bytes at all.
    Empty,
    /// The small text that git stores in place of a large file.
    GitLfsPointer,
    /// A web page, usually the answer of a download that needed a login.
    Html,
    /// A zip file: `.keras`, or a PyTorch checkpoint.
    Zip,
    /// HDF5: `.h5`.
    Hdf5,
    /// A Python pickle: an old PyTorch checkpoint.
    Pickle,
    /// ONNX.
    Onnx,
    /// TensorFlow Lite.
    TfLite,
    /// A photo.
    Image,
}

impl Foreign {
    /// What the bytes at the start of a file look like; `None` if they look like none of these.
    #[must_use]
    pub fn sniff(start: &[u8]) -> Option<Self> {
        let text = start.trim_ascii_start();
        let starts_like = |what: &[u8]| {
            text.get(..what.len())
                .is_some_and(|s| s.eq_ignore_ascii_case(what))
        };
        let found = if start.is_empty() {
            Self::Empty
        } else if start.starts_with(b"version https://git-lfs") {
            Self::GitLfsPointer
        } else if starts_like(b"<!doctype html") || starts_like(b"<html") {
            Self::Html
        } else if start.starts_with(b"PK\x03\x04") {
            Self::Zip
        } else if start.starts_with(b"\x89HDF\r\n\x1a\n") {
            Self::Hdf5
        } else if start.get(4..8) == Some(b"TFL3") {
            Self::TfLite
        } else if start.starts_with(b"\xff\xd8\xff")
            || start.starts_with(b"\x89PNG\r\n\x1a\n")
            || (start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP"))
        {
            Self::Image
        } else if matches!(start, [0x80, 2..=5, ..]) && start.get(8) != Some(&b'{') {
            // `0x80` and the protocol. A header of 128 + 256 n bytes starts the same way, but a
            // safetensors header has its brace at byte 8.
            Self::Pickle
        } else if matches!(start, [0x08, 1..=32, 0x12 | 0x1a | 0x3a | 0x42, ..])
            && start.get(8) != Some(&b'{')
        {
            // `ModelProto` has no magic: a small `ir_version`, then a length-delimited field.
            Self::Onnx
        } else {
            return None;
        };
        Some(found)
    }

    /// What to do instead.
    #[must_use]
    pub fn hint(self) -> String {
        match self {
            Self::Empty => "the download or copy failed: fetch the file again",
            Self::GitLfsPointer => "fetch the real file with `git lfs pull`",
            Self::Html => "the download gave a web page: fetch the file again, logged in if needed",
            Self::Zip | Self::Hdf5 | Self::Onnx | Self::TfLite => {
                "turn it into an artifact first: `dermal import MODEL -o MODEL.safetensors`"
            }
            Self::Pickle => {
                "import the Keras or ONNX model that belongs to it: `dermal import MODEL.onnx -o \
                 MODEL.safetensors`"
            }
            Self::Image => "give the model first, then photos: `dermal predict MODEL IMAGE`",
        }
        .to_owned()
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "an empty file",
            Self::GitLfsPointer => "a git-LFS pointer (the model itself was not downloaded)",
            Self::Html => "a web page",
            Self::Zip => "a zip file (`.keras` models are zip files)",
            Self::Hdf5 => "an HDF5 file (`.h5`)",
            Self::Pickle => "a Python pickle (a PyTorch checkpoint?)",
            Self::Onnx => "an ONNX model",
            Self::TfLite => "a TensorFlow Lite model",
            Self::Image => "a picture",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_their_first_bytes() {
        let cases: [(&[u8], Option<Foreign>); 11] = [
            (b"", Some(Foreign::Empty)),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                Some(Foreign::GitLfsPointer),
            ),
            (b"\n <!DOCTYPE html><html>", Some(Foreign::Html)),
            (b"<HTML>", Some(Foreign::Html)),
            (b"PK\x03\x04....", Some(Foreign::Zip)),
            (b"\x89HDF\r\n\x1a\n....", Some(Foreign::Hdf5)),
            (b"\x80\x02}q\x00X....", Some(Foreign::Pickle)),
            (b"\x1c\0\0\0TFL3", Some(Foreign::TfLite)),
            (b"\xff\xd8\xff\xe0", Some(Foreign::Image)),
            (b"\x80\x02\0\0\0\0\0\0{\"a\"", None),
            (b"\x40\0\0\0\0\0\0\0{}", None),
        ];
        for (start, expected) in cases {
            assert_eq!(Foreign::sniff(start), expected, "{start:?}");
        }
    }
}
