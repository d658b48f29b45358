//! What a file is, from its first bytes.

use std::path::Path;

use super::ImportError;

/// A container that may hold a Keras model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Container {
    Zip,
    Hdf5,
}

const GET_A_KERAS_FILE: &str = "give a `.keras` or `.h5` file saved by Keras";
const HDF5_MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

pub(super) fn sniff(bytes: &[u8], path: String) -> Result<Container, ImportError> {
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        // A PyTorch checkpoint is a zip whose first entry is `<name>/data.pkl`.
        let head = &bytes[..bytes.len().min(4096)];
        if contains(head, b"data.pkl") || contains(head, b"torchscript") {
            return Err(format(
                path,
                "a PyTorch checkpoint",
                "PyTorch files are not supported yet: convert the model to Keras first",
            ));
        }
        return Ok(Container::Zip);
    }
    if bytes.starts_with(HDF5_MAGIC) {
        return Ok(Container::Hdf5);
    }
    let head = &bytes[..bytes.len().min(512)];
    let text = head.trim_ascii_start();
    let (found, hint) = if bytes.starts_with(b"version https://git-lfs") {
        (
            "a git-LFS pointer",
            "the model itself was not downloaded: run `git lfs pull` in the repository it came from",
        )
    } else if starts_with_ignore_case(text, b"<!doctype")
        || starts_with_ignore_case(text, b"<html")
        || starts_with_ignore_case(text, b"<?xml")
    {
        (
            "a web page",
            "the download gave an error or login page: open the link in a browser and save the file again",
        )
    } else if bytes.get(4..8) == Some(b"TFL3") {
        (
            "a TensorFlow Lite model",
            "TensorFlow Lite files are not supported: import the Keras model it was made from",
        )
    } else if bytes.starts_with(b"\x80\x02") || bytes.starts_with(b"\x80\x04") {
        (
            "a Python pickle",
            "pickles can run code and are never loaded: save the model with `model.save('model.keras')`",
        )
    } else if is_safetensors(bytes) {
        (
            "a safetensors file",
            "it is weights without layers, or an artifact that is imported already: give the Keras file",
        )
    } else if looks_like_onnx(bytes) {
        (
            "an ONNX model",
            "ONNX files are not supported yet: import the Keras model it was made from",
        )
    } else if starts_with_ignore_case(text, b"{") {
        (
            "JSON text",
            "give the weights file and pass the JSON with `--config`",
        )
    } else if contains(bytes, HDF5_MAGIC) && bytes.len() < 1 << 20 {
        ("an HDF5 file behind other bytes", GET_A_KERAS_FILE)
    } else {
        ("of an unknown format", GET_A_KERAS_FILE)
    };
    Err(format(path, found, hint))
}

pub(super) fn directory(path: &Path, shown: String) -> ImportError {
    let saved_model =
        path.join("saved_model.pb").exists() || path.join("saved_model.pbtxt").exists();
    if saved_model {
        format(
            shown,
            "a TensorFlow SavedModel folder",
            "it holds compiled graphs, not layers: load it where it was trained and save it with \
             `model.save('model.keras')`",
        )
    } else {
        format(shown, "a directory", GET_A_KERAS_FILE)
    }
}

fn format(path: String, found: &'static str, hint: &'static str) -> ImportError {
    ImportError::Format { path, found, hint }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}

fn starts_with_ignore_case(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes
        .get(..prefix.len())
        .is_some_and(|b| b.eq_ignore_ascii_case(prefix))
}

/// Eight bytes of header length, then a JSON object that lies inside the file.
fn is_safetensors(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return false;
    };
    rest.starts_with(b"{") && u64::from_le_bytes(*length) <= rest.len() as u64
}

/// `ModelProto` has no magic: field 1 (`ir_version`, a small varint), then field 2
/// (`producer_name`) or 7 (`graph`) or 8 (`opset_import`), all length-delimited.
fn looks_like_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=32, 0x12 | 0x1a | 0x3a | 0x42, ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_are_found_from_content() {
        for (bytes, found) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\n"[..],
                "a git-LFS pointer",
            ),
            (b"\n <!DOCTYPE html><html>", "a web page"),
            (b"<html lang=en>", "a web page"),
            (b"\x1c\0\0\0TFL3\0\0", "a TensorFlow Lite model"),
            (b"\x80\x02}q\0.", "a Python pickle"),
            (b"\x02\0\0\0\0\0\0\0{}", "a safetensors file"),
            (b"\x08\x07\x12\x07pytorch", "an ONNX model"),
            (b"{\"class_name\": 1}", "JSON text"),
            (b"PK\x03\x04....archive/data.pkl", "a PyTorch checkpoint"),
            (b"\0", "of an unknown format"),
        ] {
            let error = sniff(bytes, "f".into()).unwrap_err();
            match error {
                ImportError::Format { found: got, .. } => assert_eq!(got, found),
                other => panic!("{other}"),
            }
        }
        assert_eq!(
            sniff(b"PK\x03\x04\x14\0", "f".into()).unwrap(),
            Container::Zip
        );
        assert_eq!(sniff(HDF5_MAGIC, "f".into()).unwrap(), Container::Hdf5);
    }
}
