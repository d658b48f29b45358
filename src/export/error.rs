//! Why a model cannot be exported.

use crate::file::atomic::AtomicError;
use crate::graph::WeightError;
use crate::hint::{Arguments, Hint, named};

/// Why no ONNX file can be made of a model.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// ONNX has no way to say what a node computes.
    #[error("node `{node}` ({op}): {reason}")]
    Node {
        /// The node.
        node: String,
        /// Its op.
        op: &'static str,
        /// What ONNX cannot say.
        reason: String,
    },
    /// A weight does not have what its node needs.
    #[error(transparent)]
    Weight(#[from] WeightError),
    /// The recipe cannot be computed exactly by operators of ONNX.
    #[error("preprocessing `{recipe}` cannot be part of the graph: {reason}")]
    Preprocessing {
        /// The preset, or `own recipe`.
        recipe: String,
        /// What ONNX cannot say.
        reason: String,
    },
    /// One file of protocol buffers has at most 2 GB.
    #[error("the file would have {bytes} bytes, an ONNX file has at most {limit}")]
    TooLarge {
        /// Bytes of the file.
        bytes: u64,
        /// The most that are possible.
        limit: u64,
    },
    /// The file cannot be written.
    #[error(transparent)]
    File(#[from] AtomicError),
}

impl Hint for ExportError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Node { .. } => "not_in_onnx",
            Self::Weight(error) => error.kind(),
            Self::Preprocessing { .. } => "preprocessing_not_in_onnx",
            Self::TooLarge { .. } => "onnx_too_large",
            Self::File(error) => error.kind(),
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Node { .. } => {
                "rebuild this part of the model in its framework (docs/exporting.md lists what each \
                 operator becomes)"
                    .to_owned()
            }
            Self::Weight(error) => error.hint(),
            Self::Preprocessing { .. } => {
                "leave out `--with-preprocessing` and prepare the photos before: the recipe is in \
                 the file's metadata (docs/exporting.md)"
                    .to_owned()
            }
            Self::TooLarge { .. } => {
                "halve the weights first: `dermal quantize MODEL -o OUT --to fp16`".to_owned()
            }
            Self::File(error) => error.hint(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Node { node, op, reason } => named!(node, op, reason),
            Self::Weight(error) => error.arguments(),
            Self::Preprocessing { recipe, reason } => named!(recipe, reason),
            Self::TooLarge { bytes, limit } => named!(bytes, limit),
            Self::File(error) => error.arguments(),
        }
    }
}
