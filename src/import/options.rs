//! The options and the result of an import.

use std::path::PathBuf;

use super::facts::Loss;
use crate::graph::Graph;

/// Bounds on what an untrusted file may make the importer allocate.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of the source file.
    pub max_file_bytes: u64,
    /// Bytes of the text that describes the layers.
    pub max_config_bytes: u64,
    /// Bytes of all weights together, as f32.
    pub max_weight_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The largest classifier of keras.applications (ConvNeXtXLarge) is 1.4 GB.
            max_file_bytes: 4 << 30,
            // EfficientNetV2L, a thousand layers, takes 1.3 MB.
            max_config_bytes: 16 << 20,
            max_weight_bytes: 2 << 30,
        }
    }
}

impl Limits {
    /// The same for a file of so many bytes that holds its weights as they are: constants that it
    /// computes or spells out may take what integers and halves of that size take as f32, and more.
    pub(super) fn of_file(&self, bytes: u64) -> Self {
        let unpacked = bytes.saturating_mul(8).saturating_add(32 << 20);
        Self {
            max_weight_bytes: self.max_weight_bytes.min(unpacked),
            ..self.clone()
        }
    }
}

/// Facts that the file itself does not contain.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// `model.to_json()`, for an `.h5` with weights only.
    pub config: Option<PathBuf>,
    /// Rows and columns of an image input that the model leaves open (`[None, None, 3]`).
    pub input_size: Option<[usize; 2]>,
    /// Which output is the answer, for a model that has several.
    pub output: Option<String>,
    /// Bounds on allocation.
    pub limits: Limits,
}

/// The progress of an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes checked or read so far.
    pub done_bytes: u64,
    /// Bytes to check and read in all.
    pub total_bytes: u64,
}

/// The result of [`import`](super::import).
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model.
    pub graph: Graph,
    /// Format and version: `keras 3.3.3 (.keras)`, `onnx opset 17 (pytorch 2.1.0)`.
    pub source_format: String,
    /// Size of the source file.
    pub source_bytes: u64,
    /// The loss with which the output was trained, if the file says it.
    pub loss: Option<Loss>,
    /// Class names that the file brings: of a file beside the model in an archive, or metadata.
    pub labels: Option<LabelsFile>,
    /// The preset of preprocessing that the file's metadata describes.
    pub preset: Option<&'static str>,
    /// The recipe of preprocessing that the file's metadata describes, in YAML, if no preset has its
    /// numbers.
    pub recipe: Option<String>,
    /// The preset that most files of this format expect. It is a guess, for a file that says nothing.
    pub likely_preset: Option<&'static str>,
    /// Facts that a file has because this program wrote it.
    pub stated: Stated,
    /// Files beside the source that were read as well.
    pub also_read: Vec<PathBuf>,
}

/// What `export` writes beside the graph, in the forms of the metadata. An import uses it for what
/// the user does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stated {
    /// The head, by its name for `--head`.
    pub head: Option<String>,
    /// Default values of other inputs: a JSON map from names to lists.
    pub inputs: Option<String>,
    /// How named fields become inputs, as JSON.
    pub fields: Option<String>,
}

/// Class names, as they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelsFile {
    /// Where: `labels.txt`, ``metadata `names` ``.
    pub name: String,
    /// Its content, in whatever encoding it has.
    pub bytes: Vec<u8>,
}
