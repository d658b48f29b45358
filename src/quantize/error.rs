use crate::engine::EngineError;
use crate::graph::GraphError;
use crate::hint::{Arguments, Hint, named};

/// Why a graph cannot be quantized.
#[derive(Debug, thiserror::Error)]
pub enum QuantizeError {
    /// It already stores bytes.
    #[error("the model is quantized already")]
    AlreadyQuantized,
    /// A weight is not a number.
    #[error("tensor `{tensor}`: element {index} is {value}")]
    Weight {
        /// The tensor.
        tensor: String,
        /// The index of the element.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// A value was not finite on a calibration photo.
    #[error("layer `{layer}`: its output is not finite on a calibration photo")]
    Value {
        /// The layer.
        layer: String,
    },
    /// No photo was observed.
    #[error("no photo was observed, so the ranges of values are not known")]
    NothingObserved,
    /// No layer has this name.
    #[error("there is no layer `{name}`{nearest}")]
    UnknownLayer {
        /// As asked for.
        name: String,
        /// `; did you mean ...?`
        nearest: String,
    },
    /// The rewritten graph is invalid, which is a bug.
    #[error("the quantized graph is not valid")]
    Graph(#[from] GraphError),
    /// The graph cannot be run.
    #[error("the model cannot be run for calibration")]
    Engine(#[from] EngineError),
}

impl Hint for QuantizeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::AlreadyQuantized => "already_quantized",
            Self::Weight { .. } => "weight",
            Self::Value { .. } => "value",
            Self::NothingObserved => "nothing_observed",
            Self::UnknownLayer { .. } => "unknown_layer",
            Self::Graph(_) => "graph",
            Self::Engine(_) => "engine",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::AlreadyQuantized => {
                "quantize the f32 file it was made from; `dermal inspect` shows its origin"
            }
            Self::Weight { .. } => "the weights are damaged: export the model again",
            Self::Value { .. } => {
                "check the preprocessing: numbers far from those of training overflow"
            }
            Self::NothingObserved => "give photos with `--calibrate`",
            Self::UnknownLayer { .. } => "`dermal inspect MODEL --layers` lists every layer",
            Self::Graph(_) => "this is a bug: please report the model's layers",
            Self::Engine(error) => return error.hint(),
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Weight {
                tensor,
                index,
                value,
            } => named!(tensor, index, value),
            Self::Value { layer } => named!(layer),
            Self::UnknownLayer { name, nearest } => named!(name, nearest),
            Self::AlreadyQuantized | Self::NothingObserved | Self::Graph(_) | Self::Engine(_) => {
                named!()
            }
        }
    }
}
