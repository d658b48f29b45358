//! Every way in which an artifact can be wrong, by name.

use std::io;

use super::fields::FieldMappingError;
use super::foreign::Foreign;
use super::header::{FORMAT_VERSION, MAX_HEADER_BYTES, MAX_NODES};
use crate::file::atomic::AtomicError;
use crate::graph::GraphError;
use crate::hint::{Arguments, Hint, named};
use crate::tensor::{ALIGNMENT, Shape, TensorError};

/// Why an artifact cannot be read or written. The caller's context names the path.
#[derive(Debug, thiserror::Error)]
pub enum ArtifactError {
    /// The operating system refused.
    #[error("cannot read the file")]
    Io(#[source] io::Error),
    /// A folder, a device or a pipe.
    #[error("expected a regular file")]
    NotAFile,
    /// A file of another kind, recognised by its first bytes.
    #[error("expected a dermal artifact, got {0}")]
    Foreign(Foreign),
    /// Fewer than eight bytes.
    #[error("the file has {got} bytes, too few for a header")]
    TooShort {
        /// Its bytes.
        got: u64,
    },
    /// The header claims more bytes than allowed.
    #[error("the header claims {got} bytes, more than the limit of {MAX_HEADER_BYTES}")]
    HeaderTooLarge {
        /// As claimed.
        got: u64,
    },
    /// The file ends inside the header.
    #[error("the file ends inside its header: expected {expected} bytes, got {got}")]
    HeaderTruncated {
        /// Bytes up to the header's end.
        expected: u64,
        /// Bytes of the file.
        got: u64,
    },
    /// The header is not a JSON object of the safetensors form.
    #[error("the header is not a safetensors header")]
    HeaderSyntax(#[source] serde_json::Error),
    /// A safetensors file without our metadata.
    #[error("a safetensors file with {tensors} tensors, but without a dermal graph")]
    NotAnArtifact {
        /// How many tensors it holds.
        tensors: usize,
    },
    /// A version that this program does not know.
    #[error("artifact format `{got}`, expected `{FORMAT_VERSION}`")]
    Version {
        /// As stored.
        got: String,
    },
    /// A metadata entry is absent.
    #[error("metadata `{0}` is missing")]
    MissingMetadata(&'static str),
    /// A metadata entry that is not JSON of the expected form.
    #[error("metadata `{key}` cannot be understood")]
    Metadata {
        /// Its key.
        key: &'static str,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// More nodes than any classifier has.
    #[error("the graph has {got} nodes, more than the limit of {MAX_NODES}")]
    TooManyNodes {
        /// As stored.
        got: usize,
    },
    /// An op that this program does not know.
    #[error("node `{node}`: op `{op}` is unknown")]
    UnknownOp {
        /// The node.
        node: String,
        /// The op.
        op: String,
    },
    /// Nodes, shapes and tensors that do not fit together.
    #[error("the stored graph is not valid")]
    Graph(#[from] GraphError),
    /// A dtype that is not one of ours.
    #[error("tensor `{tensor}`: dtype `{dtype}` is not supported")]
    DType {
        /// Its name.
        tensor: String,
        /// As stored.
        dtype: String,
    },
    /// Offsets that leave a hole, overlap, or run backwards.
    #[error("tensor `{tensor}`: expected to start at data byte {expected}, got {start}..{end}")]
    Offsets {
        /// Its name.
        tensor: String,
        /// The data byte where the tensor before it ends.
        expected: u64,
        /// First byte, as stored.
        start: u64,
        /// One past the last byte, as stored.
        end: u64,
    },
    /// Shape and dtype need a different number of bytes than the offsets span.
    #[error("tensor `{tensor}`: {dtype} {shape} takes {expected} bytes, got {got}")]
    ByteCount {
        /// Its name.
        tensor: String,
        /// Its dtype.
        dtype: String,
        /// Its shape.
        shape: Shape,
        /// Bytes that shape and dtype need; `None` if the number overflows.
        expected: ByteCount,
        /// Bytes between the offsets.
        got: u64,
    },
    /// The file is shorter or longer than its tensors.
    #[error("the file's tensors take {expected} bytes, got {got}")]
    DataLength {
        /// Sum over the tensors.
        expected: u64,
        /// Bytes after the header.
        got: u64,
    },
    /// A tensor does not start on a boundary of 64 bytes.
    #[error(
        "tensor `{tensor}` starts at file byte {offset}, which is not a multiple of {ALIGNMENT}"
    )]
    Misaligned {
        /// Its name.
        tensor: String,
        /// Its first byte.
        offset: u64,
    },
    /// A tensor that no node reads.
    #[error("tensor `{0}` is not read by any node")]
    UnreadTensor(String),
    /// A tensor key that the format reserves.
    #[error("tensor name `{0}` is reserved")]
    ReservedName(String),
    /// Bytes that do not make a tensor.
    #[error("tensor `{tensor}` cannot be used")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Why.
        source: TensorError,
    },
    /// The manifest's inputs are not those of the graph.
    #[error("the manifest's inputs are {manifest}, expected those of the graph: {graph}")]
    Inputs {
        /// Names in the manifest.
        manifest: String,
        /// Names in the graph.
        graph: String,
    },
    /// An input's description does not fit the graph's input.
    #[error("input `{input}`: {what}")]
    Input {
        /// Its name.
        input: String,
        /// What is wrong with it.
        what: String,
    },
    /// A mapping of fields that is not valid, or does not fit the inputs.
    #[error("the mapping of fields to inputs is not valid")]
    Fields(#[from] FieldMappingError),
    /// The number of labels does not match the number of outputs.
    #[error("{got} labels, expected {expected}: {why}")]
    LabelCount {
        /// How many labels the outputs need.
        expected: usize,
        /// How many there are.
        got: usize,
        /// Why that many.
        why: String,
    },
    /// A head that needs a different number of outputs.
    #[error("head `binary_sigmoid` needs one output, the model has {got}")]
    Head {
        /// Outputs of the graph.
        got: usize,
    },
    /// A softmax over one output, which is always 1.
    #[error(
        "the model has one output and a softmax, so that every photo would be 100 % of one class"
    )]
    SoftmaxOfOne,
    /// An empty or repeated label.
    #[error("label {index} (`{label}`) is {problem}")]
    Label {
        /// Its position, from 0.
        index: usize,
        /// The label.
        label: String,
        /// `empty` or `given twice`.
        problem: &'static str,
    },
    /// A graph that JSON cannot hold: an infinite or NaN attribute.
    #[error("node `{node}` has an attribute that is not a finite number")]
    NotFinite {
        /// The node.
        node: String,
    },
    /// The file could not be written.
    #[error("the artifact was not written")]
    Write(#[from] AtomicError),
}

/// A number of bytes that may be too large to be a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ByteCount(pub Option<u64>);

impl std::fmt::Display for ByteCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(bytes) => bytes.fmt(f),
            None => f.write_str("more than 2^64"),
        }
    }
}

impl Hint for ArtifactError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Io(_) => "io",
            Self::NotAFile => "not_a_file",
            Self::Foreign(_) => "foreign_format",
            Self::TooShort { .. } => "too_short",
            Self::HeaderTooLarge { .. } => "header_too_large",
            Self::HeaderTruncated { .. } => "header_truncated",
            Self::HeaderSyntax(_) => "header_syntax",
            Self::NotAnArtifact { .. } => "not_an_artifact",
            Self::Version { .. } => "version",
            Self::MissingMetadata(_) => "missing_metadata",
            Self::Metadata { .. } => "metadata",
            Self::TooManyNodes { .. } => "too_many_nodes",
            Self::UnknownOp { .. } => "unknown_op",
            Self::Graph(_) => "graph",
            Self::DType { .. } => "dtype",
            Self::Offsets { .. } => "offsets",
            Self::ByteCount { .. } => "byte_count",
            Self::DataLength { .. } => "data_length",
            Self::Misaligned { .. } => "misaligned",
            Self::UnreadTensor(_) => "unread_tensor",
            Self::ReservedName(_) => "reserved_name",
            Self::Tensor { .. } => "tensor",
            Self::Inputs { .. } => "inputs",
            Self::Input { .. } => "input",
            Self::Fields(_) => "fields",
            Self::LabelCount { .. } => "label_count",
            Self::Head { .. } | Self::SoftmaxOfOne => "head",
            Self::Label { .. } => "label",
            Self::NotFinite { .. } => "not_finite",
            Self::Write(_) => "write",
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::Foreign(foreign) => return foreign.hint(),
            Self::Write(error) => return error.hint(),
            Self::Fields(error) => return error.hint(),
            Self::NotAnArtifact { .. } => {
                "weights alone do not say how to run the model; import the model file they came from \
                 with `dermal import`"
            }
            Self::Version { .. } | Self::UnknownOp { .. } => {
                "another version of dermal wrote it: update dermal, or import the source \
                 again"
            }
            Self::HeaderTruncated { .. } | Self::DataLength { .. } | Self::TooShort { .. } => {
                "the file is incomplete or damaged: copy it again"
            }
            Self::Misaligned { .. } => {
                "another tool saved it again and lost the alignment: import the source again"
            }
            Self::HeaderTooLarge { .. }
            | Self::HeaderSyntax(_)
            | Self::MissingMetadata(_)
            | Self::Metadata { .. }
            | Self::TooManyNodes { .. }
            | Self::Graph(_)
            | Self::DType { .. }
            | Self::Offsets { .. }
            | Self::ByteCount { .. }
            | Self::UnreadTensor(_)
            | Self::Tensor { .. } => "the file is damaged: copy it, or import the source, again",
            Self::LabelCount { .. } | Self::Label { .. } => {
                "give one name for each class with `--labels a,b,c` or `--labels FILE` (one a line)"
            }
            Self::Io(_) => "check the path and its permissions",
            Self::NotAFile => "give the `.safetensors` file that `dermal import` wrote",
            Self::SoftmaxOfOne => {
                "import the source again with `--head sigmoid` or `--head probabilities`"
            }
            Self::ReservedName(_) => {
                "give the layer another name, save the model, and import it again"
            }
            Self::Inputs { .. } | Self::Input { .. } => "import the source again with this version",
            Self::Head { .. } => {
                "import the source again with `--head multi-sigmoid` or `--head softmax`"
            }
            Self::NotFinite { .. } => "the layer is damaged: train or save the model again",
        };
        text.to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Foreign(found) => named!(%found),
            Self::TooShort { got } => named!(got),
            Self::HeaderTooLarge { got } => named!(got).with("limit", &MAX_HEADER_BYTES),
            Self::HeaderTruncated { expected, got } | Self::DataLength { expected, got } => {
                named!(expected, got)
            }
            Self::NotAnArtifact { tensors } => named!(tensors),
            Self::Version { got } => named!(got).with("expected", FORMAT_VERSION),
            Self::MissingMetadata(key) | Self::Metadata { key, .. } => named!(key),
            Self::TooManyNodes { got } => named!(got).with("limit", &MAX_NODES),
            Self::UnknownOp { node, op } => named!(node, op),
            Self::DType { tensor, dtype } => named!(tensor, dtype),
            Self::Offsets {
                tensor,
                expected,
                start,
                end,
            } => named!(tensor, expected, start, end),
            Self::ByteCount {
                tensor,
                dtype,
                shape,
                expected,
                got,
            } => named!(tensor, dtype, %shape, %expected, got),
            Self::Misaligned { tensor, offset } => {
                named!(tensor, offset).with("alignment", &ALIGNMENT)
            }
            Self::UnreadTensor(tensor)
            | Self::ReservedName(tensor)
            | Self::Tensor { tensor, .. } => named!(tensor),
            Self::Inputs { manifest, graph } => named!(manifest, graph),
            Self::Input { input, what } => named!(input, what),
            Self::LabelCount { expected, got, why } => named!(expected, got, why),
            Self::Head { got } => named!(got),
            Self::Label {
                index,
                label,
                problem,
            } => named!(index, label, problem),
            Self::NotFinite { node } => named!(node),
            Self::Io(_)
            | Self::NotAFile
            | Self::HeaderSyntax(_)
            | Self::Graph(_)
            | Self::Fields(_)
            | Self::SoftmaxOfOne
            | Self::Write(_) => named!(),
        }
    }
}
