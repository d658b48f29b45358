//! The facts about a model besides its graph: inputs, labels, how to read the answer, its origin.
//! Plain data; `predict` uses it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fields::{FieldMapping, VectorInput};
use super::preprocessing::Preprocessing;
use crate::graph::Graph;

/// A classifier that is ready to run: `import` makes it, an artifact stores it and `predict` loads
/// it.
#[derive(Clone, Debug)]
pub struct Model {
    /// The computation, ending in logits.
    pub graph: Graph,
    /// Everything else.
    pub manifest: Manifest,
}

/// The part of a [`Model`] that is not the graph. [`Manifest::new`] makes one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Manifest {
    /// One entry for each input of the graph, in its order.
    pub inputs: Vec<InputSpec>,
    /// Class names, in the order of the outputs.
    pub labels: Vec<String>,
    /// How logits become probabilities.
    pub head: Head,
    /// How named fields become the other inputs, if the importer gave a mapping.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fields: Option<FieldMapping>,
    /// Where the model came from.
    pub provenance: Provenance,
    /// How its weights were quantized, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quantization: Option<QuantizationRecord>,
    /// The result of `compare --attach`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<EvidenceRecord>,
    /// The answer to a generated photo. A server uses it to check that this file gives the same
    /// answer on its machine as when it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_test: Option<SelfTest>,
}

impl Manifest {
    /// A manifest with the facts that every artifact has; the optional ones are absent.
    #[must_use]
    pub fn new(
        inputs: Vec<InputSpec>,
        labels: Vec<String>,
        head: Head,
        provenance: Provenance,
    ) -> Self {
        Self {
            inputs,
            labels,
            head,
            fields: None,
            provenance,
            quantization: None,
            evidence: None,
            self_test: None,
        }
    }

    /// The manifest of a model that `quantize` makes from this one: evidence and self-test belong
    /// to the original file and are left out.
    #[must_use]
    pub fn quantized(&self, record: QuantizationRecord) -> Self {
        Self {
            quantization: Some(record),
            evidence: None,
            self_test: None,
            ..self.clone()
        }
    }
}

/// A test with a known answer; `predict::selftest` runs it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SelfTest {
    /// The seed of the generated photo.
    pub seed: u64,
    /// The probability of each label.
    pub probabilities: Vec<f32>,
    /// How far a probability may be off: sums of floats differ in their last bits between CPUs.
    pub tolerance: f32,
}

impl Model {
    /// The inputs that are not the photo, in the graph's order.
    #[must_use]
    pub fn vector_inputs(&self) -> Vec<VectorInput<'_>> {
        vector_inputs(&self.manifest.inputs, &self.graph)
    }
}

/// Default values of inputs in the form in which an exported file stores them: a JSON map from names
/// to lists. Empty if the text is something else.
#[must_use]
pub fn defaults_from_json(text: &str) -> Vec<(String, Vec<f32>)> {
    let map: Option<BTreeMap<String, Vec<f32>>> = serde_json::from_str(text).ok();
    map.unwrap_or_default().into_iter().collect()
}

/// The inputs of `graph` that are not the photo, in its order. A [`FieldMapping`] may map these.
/// `specs` describes all inputs.
#[must_use]
pub fn vector_inputs<'a>(specs: &'a [InputSpec], graph: &Graph) -> Vec<VectorInput<'a>> {
    specs
        .iter()
        .zip(graph.inputs())
        .filter_map(|(spec, (_, node))| match &spec.kind {
            InputKind::Image { .. } => None,
            InputKind::Vector { default } => Some(VectorInput {
                name: &spec.name,
                len: node.shape.len(),
                has_default: default.is_some(),
            }),
        })
        .collect()
}

/// What `quantize` did, and what it measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QuantizationRecord {
    /// `fp16`, `bf16` or `int8`.
    pub to: String,
    /// SHA-256 of the artifact it was made from, in hexadecimal.
    pub base_sha256: String,
    /// Whether only weights are integers, and values are f32 (`int8`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub weights_only: bool,
    /// How ranges of values were chosen (`int8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Photos that calibrated it (`int8`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub photos: Option<usize>,
    /// Strength of cross-layer equalization; absent if it did not help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equalization: Option<f64>,
    /// Whether biases were corrected.
    #[serde(default)]
    pub bias_correction: bool,
    /// Layers that stayed in float.
    #[serde(default)]
    pub kept_float: Vec<String>,
    /// Mean distance of probabilities from the base's on the calibration photos.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_abs_dp: Option<f64>,
    /// Signal to quantization noise ratio of the logits on these photos, dB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logit_sqnr_db: Option<f64>,
}

/// Accuracy on labelled photos, measured by `compare`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EvidenceRecord {
    /// The version of this tool that measured it.
    pub tool_version: String,
    /// Name (no folder) of the table or folder of photos.
    pub source: String,
    /// Photos that were judged.
    pub photos: usize,
    /// Share of them whose most probable class is their label.
    pub top1: f64,
    /// For each label of the artifact, the share of its photos that the model finds; absent without
    /// photos.
    pub sensitivity: Vec<Option<f64>>,
    /// The comparison with the model that this one replaces; absent if it was judged alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comparison: Option<ComparisonRecord>,
}

/// The verdict on a model and the one that it replaces.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComparisonRecord {
    /// SHA-256 of the other model's file, in hexadecimal.
    pub base_sha256: String,
    /// `equivalent`, `better`, `not_worse`, `worse` or `cannot_tell`.
    pub verdict: String,
    /// The verdict in a sentence.
    pub sentence: String,
    /// The largest loss of top-1 that is accepted, as a fraction.
    pub margin: f64,
}

/// An input of the graph.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// The graph's input node.
    pub name: String,
    /// What the user gives for it.
    #[serde(flatten)]
    pub kind: InputKind,
}

/// The source of an input's numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum InputKind {
    /// The photo.
    Image {
        /// How pixels become the input.
        preprocessing: Preprocessing,
    },
    /// Numbers given with `--input NAME=v,...`.
    Vector {
        /// The values if the user gives none; without them the input is required.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default: Option<Vec<f32>>,
    },
}

/// How logits become probabilities. The graph ends before this function, so that explanations
/// start from logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Softmax over the outputs: one of the classes. Older files say `logits` if the source had no
    /// final activation; it means the same.
    #[serde(alias = "logits")]
    Softmax,
    /// One output, sigmoid: the probability of the second of two labels.
    BinarySigmoid,
    /// A sigmoid for each output: classes do not exclude each other.
    MultiLabelSigmoid,
    /// The graph's outputs are probabilities already.
    Probabilities,
}

impl Head {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Softmax,
        Self::BinarySigmoid,
        Self::MultiLabelSigmoid,
        Self::Probabilities,
    ];

    /// Its name for `import --head`.
    #[must_use]
    pub const fn option(self) -> &'static str {
        match self {
            Self::Softmax => "softmax",
            Self::BinarySigmoid => "sigmoid",
            Self::MultiLabelSigmoid => "multi-sigmoid",
            Self::Probabilities => "probabilities",
        }
    }

    /// The meaning of the answer, for people.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Softmax => "one of the classes (softmax)",
            Self::BinarySigmoid => "one of two classes (sigmoid)",
            Self::MultiLabelSigmoid => "any number of the classes (a sigmoid each)",
            Self::Probabilities => "probabilities from inside the model",
        }
    }
}

/// Where a model came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// File name (no folder) of the source.
    pub source_file: String,
    /// Its SHA-256, in hexadecimal. If its weights are in other files (`model.onnx.data`), of the
    /// source and those files one after the other, in the order in which it first names them.
    pub source_sha256: String,
    /// Format and version: `keras 3.3.3 (.keras)`.
    pub source_format: String,
    /// This tool's version.
    pub tool_version: String,
    /// Options of the import that shaped the artifact, as `--name value`.
    #[serde(default)]
    pub options: Vec<String>,
    /// The warnings of the import. The passes fold a model's own scaling away, so later commands
    /// could not find them again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<ImportWarning>,
}

/// A warning of the import that made an artifact.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportWarning {
    /// Its stable name, such as `scaled_twice`.
    pub kind: String,
    /// The sentence that was shown.
    pub message: String,
}
