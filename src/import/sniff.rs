//! Finds what a file is, from its content: the format that can import it, or what else it is and
//! what the user can do. The extension is ignored.

use std::path::Path;

use super::archive::Archive;
use super::bytes::SourceBytes;
use super::error::ImportError;
use super::tflite::TfliteFile;

/// A format that can be imported, with its container opened.
pub(super) enum Format {
    /// Keras, in one of its containers.
    Keras(KerasFile),
    /// ONNX.
    Onnx,
    /// TFLite.
    Tflite(TfliteFile),
}

/// The containers of Keras.
pub(super) enum KerasFile {
    /// The zip of a `.keras`.
    Archive(Archive),
    /// An HDF5 file: `.h5`, `.weights.h5`.
    Hdf5,
    /// An HDF5 file in a zip, with the names of its classes, as Teachable Machine exports it.
    Packed {
        archive: Archive,
        model: String,
        labels: Option<String>,
    },
}

const GET_A_MODEL_FILE: &str =
    "give a `.keras` or `.h5` file saved by Keras, or an `.onnx` or `.tflite` file";
const SAVED_MODEL: &str = "it holds compiled graphs, not layers: load it where it was trained and \
    save it with `model.save('model.keras')`";
const TFJS: &str = "import the Keras model it was made from, or convert it back: \
    `tensorflowjs_converter --input_format=tfjs_layers_model --output_format=keras model.json \
    model.h5` (Teachable Machine: export again as Tensorflow > Keras)";
const PYTORCH: &str = "PyTorch files hold weights without a graph: export the model where it was trained, \
    `torch.onnx.export(model.eval(), torch.zeros(1, 3, 224, 224), 'model.onnx', external_data=False)`";
const HDF5_MAGIC: &[u8] = b"\x89HDF\r\n\x1a\n";

/// The format of a file.
pub(super) fn sniff(bytes: &SourceBytes, path: &str) -> Result<Format, ImportError> {
    let content = bytes.as_ref();
    if content.starts_with(b"PK\x03\x04") || content.starts_with(b"PK\x05\x06") {
        return archive(Archive::open(bytes)?, path);
    }
    if content.get(4..8) == Some(b"TFL3") {
        return Ok(Format::Tflite(TfliteFile::Whole));
    }
    if content.starts_with(HDF5_MAGIC) {
        return Ok(Format::Keras(KerasFile::Hdf5));
    }
    match foreign(content) {
        None => Ok(Format::Onnx),
        Some((found, hint)) => Err(format(path, found, hint)),
    }
}

/// What a file is that nothing here imports, and what to do about it; `None` for ONNX, which has no
/// magic and must be told from other protocol buffers.
fn foreign(bytes: &[u8]) -> Option<(&'static str, &'static str)> {
    let head = &bytes[..bytes.len().min(512)];
    let text = head.trim_ascii_start();
    Some(if bytes.starts_with(b"version https://git-lfs") {
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
    } else if bytes.starts_with(b"\x80\x02") || bytes.starts_with(b"\x80\x04") {
        (
            "a Python pickle",
            "pickles can run code and are never loaded: save the model with `model.save('model.keras')`",
        )
    } else if is_safetensors(bytes) {
        (
            "a safetensors file",
            "it is weights without layers, or an artifact that is imported already: give the Keras, ONNX or TFLite file",
        )
    } else if is_saved_model(bytes) {
        ("the graph of a TensorFlow SavedModel", SAVED_MODEL)
    } else if is_graph_def(bytes) {
        ("a frozen TensorFlow graph", SAVED_MODEL)
    } else if looks_like_onnx(bytes) {
        return None;
    } else if starts_with_ignore_case(text, b"{") {
        if contains(head, b"\"layers-model\"") || contains(head, b"\"graph-model\"") {
            return Some(("a TensorFlow.js model", TFJS));
        }
        (
            "JSON text",
            "give the weights file and pass the JSON with `--config`",
        )
    } else if bytes.starts_with(b"\x1f\x8b") || bytes.get(257..262) == Some(b"ustar") {
        (
            "a packed archive (gzip or tar)",
            "unpack it, and import the model file inside",
        )
    } else if bytes.starts_with(b"Rar!") || bytes.starts_with(b"7z\xbc\xaf") {
        (
            "a packed archive (RAR or 7z)",
            "unpack it, and import the model file inside",
        )
    } else if bytes.len() < 1 << 20 && contains(bytes, HDF5_MAGIC) {
        ("an HDF5 file after other bytes", GET_A_MODEL_FILE)
    } else {
        ("of an unknown format", GET_A_MODEL_FILE)
    })
}

/// The content of a zip.
fn archive(archive: Archive, path: &str) -> Result<Format, ImportError> {
    // With these two entries it is a `.keras`, whatever else it contains.
    if archive.has("config.json") {
        return Ok(Format::Keras(KerasFile::Archive(archive)));
    }
    let mut names: Vec<&str> = archive.names().collect();
    names.sort_unstable_by_key(|name| (name.matches('/').count(), *name));
    let named = |file: &str| names.iter().copied().find(|name| last(name) == file);
    let ends = |ends: &[&str]| {
        let found: Vec<&str> = names
            .iter()
            .copied()
            .filter(|name| {
                let lower = name.to_ascii_lowercase();
                ends.iter().any(|end| lower.ends_with(end))
            })
            .collect();
        found
    };
    let hdf5 = ends(&[".h5", ".hdf5"]);
    let keras = ends(&[".keras"]);
    let weights = named("model.weights.h5");
    let tflite = ends(&[".tflite"]);
    let beside = |model: &str| {
        let beside = sibling(model, "labels.txt");
        if archive.has(&beside) {
            Some(beside)
        } else {
            named("labels.txt").map(str::to_owned)
        }
    };
    let is_keras = !keras.is_empty() || weights.is_some();
    match (hdf5.as_slice(), tflite.as_slice()) {
        ([model], _) if !is_keras => {
            let (labels, model) = (beside(model), (*model).to_owned());
            return Ok(Format::Keras(KerasFile::Packed {
                archive,
                model,
                labels,
            }));
        }
        ([], [model]) if !is_keras => {
            let (labels, model) = (beside(model), (*model).to_owned());
            return Ok(Format::Tflite(TfliteFile::Packed {
                archive,
                model,
                labels,
            }));
        }
        _ => {}
    }
    let holds = |what: &str, name: &str| format!("a zip archive that holds {what}, `{name}`");
    let (found, hint): (String, String) = if let [first, rest @ ..] = keras.as_slice() {
        let more = match rest.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        (
            format!("{}{more}", holds("a Keras file", first)),
            format!("unzip it, and import `{first}`"),
        )
    } else if let Some(config) = named("config.json").filter(|_| weights.is_some()) {
        (
            holds("the parts of a `.keras` file in a folder", config),
            "zip the parts again without the folder around them, or give the `.keras` file from \
             before it was unpacked"
                .into(),
        )
    } else if let Some(name) = weights {
        (
            holds(
                "the weights of a `.keras` file without its `config.json`",
                name,
            ),
            "save the model again with `model.save('model.keras')`".into(),
        )
    } else if let Some(name) = named("saved_model.pb").or_else(|| named("saved_model.pbtxt")) {
        (holds("a TensorFlow SavedModel", name), SAVED_MODEL.into())
    } else if named("data.pkl").is_some() {
        ("a PyTorch checkpoint".into(), PYTORCH.into())
    } else if let [first, _, ..] = tflite.as_slice() {
        (
            format!(
                "a zip archive that holds {} TensorFlow Lite models, `{first}` first",
                tflite.len()
            ),
            "unzip it, and import the one that you want".into(),
        )
    } else if let Some(name) = named("model.json") {
        (holds("a TensorFlow.js model", name), TFJS.into())
    } else if let [first, ..] = ends(&[".onnx"]).as_slice() {
        (
            holds("an ONNX model", first),
            format!("unzip it, and import `{first}`"),
        )
    } else if let [first, ..] = ends(&[".pt", ".pth", ".ckpt"]).as_slice() {
        (holds("a PyTorch checkpoint", first), PYTORCH.into())
    } else if let [first, ..] = hdf5.as_slice() {
        (
            format!(
                "a zip archive that holds {} models, `{first}` first",
                hdf5.len()
            ),
            "unzip it, and import the one that you want".into(),
        )
    } else {
        let what = match names.first() {
            Some(first) => format!("a zip archive of other files, `{first}` first"),
            None => "an empty zip archive".into(),
        };
        (what, GET_A_MODEL_FILE.into())
    };
    Err(format(path, found, hint))
}

fn last(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The name of a file in the same folder.
fn sibling(name: &str, file: &str) -> String {
    match name.rsplit_once('/') {
        Some((folder, _)) => format!("{folder}/{file}"),
        None => file.to_owned(),
    }
}

pub(super) fn directory(path: &Path, shown: &str) -> ImportError {
    let holds = |name: &str| path.join(name).exists();
    if holds("saved_model.pb") || holds("saved_model.pbtxt") {
        format(shown, "a TensorFlow SavedModel folder", SAVED_MODEL)
    } else if holds("keras_model.h5") {
        format(
            shown,
            "a folder that holds `keras_model.h5`",
            "import that file (the classes are in `labels.txt`)",
        )
    } else if holds("config.json") && holds("model.weights.h5") {
        format(
            shown,
            "the folder of an unpacked `.keras` file",
            "give the `.keras` file from before it was unpacked, or zip the parts again",
        )
    } else {
        format(shown, "a directory", GET_A_MODEL_FILE)
    }
}

pub(super) fn format(
    path: &str,
    found: impl Into<Box<str>>,
    hint: impl Into<Box<str>>,
) -> ImportError {
    ImportError::Format {
        path: path.to_owned(),
        found: found.into(),
        hint: hint.into(),
    }
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

/// The bytes after a protobuf varint of at most ten bytes.
fn after_varint(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().take(10).position(|b| b & 0x80 == 0)?;
    bytes.get(end + 1..)
}

/// `SavedModel` has field 1 (`saved_model_schema_version`, always 1), then field 2 (`meta_graphs`),
/// a message that begins with its own field 1 or 2. In an ONNX model field 2 is text.
fn is_saved_model(bytes: &[u8]) -> bool {
    let Some(rest) = bytes.strip_prefix(b"\x08\x01\x12") else {
        return false;
    };
    after_varint(rest).is_some_and(|inner| matches!(inner, [0x0a | 0x12, ..]))
}

/// `GraphDef` is a list of `NodeDef` (field 1), each beginning with its name (field 1, text).
fn is_graph_def(bytes: &[u8]) -> bool {
    let inner = bytes.strip_prefix(b"\x0a").and_then(after_varint);
    let name = inner.and_then(|inner| match inner {
        [0x0a, length, text @ ..] if *length > 0 => text.get(..usize::from(*length)),
        _ => None,
    });
    name.is_some_and(|name| name.iter().all(u8::is_ascii_graphic))
}

/// `ModelProto` has no magic: field 1 (`ir_version`, a small varint), then any of 2 to 8: producer,
/// its version, domain, `model_version` (a varint), text, graph or `opset_import`.
fn looks_like_onnx(bytes: &[u8]) -> bool {
    matches!(
        bytes,
        [
            0x08,
            1..=32,
            0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42,
            ..
        ]
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use super::*;

    fn whole(bytes: &[u8]) -> SourceBytes {
        SourceBytes::Inflated(Arc::new(bytes.to_vec()))
    }

    fn found(bytes: &[u8]) -> (String, String) {
        match sniff(&whole(bytes), "f") {
            Err(ImportError::Format { found, hint, .. }) => (found.into(), hint.into()),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("taken for a model"),
        }
    }

    #[test]
    fn formats_are_found_from_content() {
        for (bytes, expected) in [
            (
                &b"version https://git-lfs.github.com/spec/v1\n"[..],
                "a git-LFS pointer",
            ),
            (b"\n <!DOCTYPE html><html>", "a web page"),
            (b"<html lang=en>", "a web page"),
            (b"\x80\x02}q\0.", "a Python pickle"),
            (b"\x02\0\0\0\0\0\0\0{}", "a safetensors file"),
            (
                b"\x08\x01\x12\xe3\xed\x07\n\x9f\x15\x12",
                "the graph of a TensorFlow SavedModel",
            ),
            (
                b"\n\x1c\n\x05input\x12\x0bPlaceholder",
                "a frozen TensorFlow graph",
            ),
            (b"{\"class_name\": 1}", "JSON text"),
            (b"{\"format\": \"layers-model\"}", "a TensorFlow.js model"),
            (b"\x1f\x8b\x08\0", "a packed archive (gzip or tar)"),
            (b"\0", "of an unknown format"),
        ] {
            assert_eq!(found(bytes).0, expected);
        }
        for onnx in [&b"\x08\x07\x12\x07pytorch"[..], b"\x08\x01\x12\x07pytorch"] {
            assert!(matches!(sniff(&whole(onnx), "f"), Ok(Format::Onnx)));
        }
        assert!(matches!(
            sniff(&whole(b"\x1c\0\0\0TFL3\0\0"), "f").unwrap(),
            Format::Tflite(TfliteFile::Whole)
        ));
        assert!(matches!(
            sniff(&whole(HDF5_MAGIC), "f").unwrap(),
            Format::Keras(KerasFile::Hdf5)
        ));
    }

    fn zip_of(names: &[&str]) -> Vec<u8> {
        let mut zip = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
        for name in names {
            let options = zip::write::SimpleFileOptions::default();
            zip.start_file(*name, options).unwrap();
            zip.write_all(b"x").unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn what_a_zip_holds_is_named() {
        for (names, expected, hint) in [
            (
                &["final.keras"][..],
                "a Keras file, `final.keras`",
                "import `final.keras`",
            ),
            (
                &["__MACOSX/._b.keras", "a/b.keras", "a/labels.txt"],
                "a Keras file, `a/b.keras`",
                "unzip it",
            ),
            (
                &["m/config.json", "m/metadata.json", "m/model.weights.h5"],
                "parts of a `.keras` file in a folder, `m/config.json`",
                "without the folder",
            ),
            (
                &["m/variables/variables.index", "m/saved_model.pb"],
                "a TensorFlow SavedModel, `m/saved_model.pb`",
                "model.save(",
            ),
            (
                &["model.json", "weights.bin", "metadata.json"],
                "a TensorFlow.js model, `model.json`",
                "Teachable Machine",
            ),
            (
                &["a.tflite", "b.tflite"],
                "2 TensorFlow Lite models, `a.tflite` first",
                "unzip it",
            ),
            (&["net/data.pkl", "net/data/0"], "a PyTorch checkpoint", ""),
            (
                &["x\\model.onnx"],
                "an ONNX model, `x/model.onnx`",
                "unzip it",
            ),
            (&["a.h5", "b.h5"], "2 models, `a.h5` first", "unzip it"),
            (&["cat.jpg"], "other files, `cat.jpg` first", "`.keras`"),
            (&[], "an empty zip archive", "`.keras`"),
        ] {
            let (what, next) = found(&zip_of(names));
            assert!(what.contains(expected), "{names:?}: {what}");
            assert!(next.contains(hint), "{names:?}: {next}");
        }
    }

    #[test]
    fn the_zip_of_teachable_machine_is_opened_with_its_labels() {
        for (names, expected, with_labels) in [
            (
                &["keras_model.h5", "labels.txt"][..],
                "keras_model.h5",
                true,
            ),
            (
                &[
                    "converted_keras\\keras_model.h5",
                    "converted_keras\\labels.txt",
                ],
                "converted_keras/keras_model.h5",
                true,
            ),
            (&["deep/model.hdf5", "labels.txt"], "deep/model.hdf5", true),
            (&["model.h5", "notes.txt"], "model.h5", false),
            (
                &["model_unquant.tflite", "labels.txt"],
                "model_unquant.tflite",
                true,
            ),
            (&["m/model.tflite"], "m/model.tflite", false),
        ] {
            match sniff(&whole(&zip_of(names)), "f").unwrap() {
                Format::Keras(KerasFile::Packed { model, labels, .. })
                | Format::Tflite(TfliteFile::Packed { model, labels, .. }) => {
                    assert_eq!(model, expected);
                    assert_eq!(labels.is_some(), with_labels, "{names:?}");
                }
                _ => panic!("{names:?}"),
            }
        }
    }
}
