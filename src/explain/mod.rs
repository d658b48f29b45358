//! Where the model looked: class activation maps from the very model that answers.
//!
//! The engine runs the photo and keeps one feature map; only what follows that map (a pooling and
//! a dense layer, as a rule) is run again on candle, for the gradient of the class's logit. So an
//! explanation costs a few milliseconds, not a second model.
//!
//! In: a graph that ends in logits, a [`Target`] in it, the engine's values. Out: a [`HeatMap`];
//! [`overlay`] draws it on the photo. Not here: running the photo (`predict`), files (`commands`).

use std::borrow::Cow;
use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use crate::graph::{ExposeError, Graph, NodeId};
use crate::reference::{Reference, ReferenceError};

mod colormap;
mod map;
mod npy;
mod overlay;
mod shrink;
mod target;

pub use colormap::Colormap;
pub use map::{HeatMap, Method};
pub use npy::npy_bytes;
pub use overlay::{Overlay, encode_png, most_png_bytes, overlay, write_png};
pub use shrink::{shrink, shrunk};
pub use target::{Target, default_layer};

pub use crate::predict::head::Score;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// No layer has the name.
    #[error("the model has no layer `{name}`{}", nearest_names(.nearest))]
    UnknownLayer {
        /// As asked for.
        name: String,
        /// Layers with similar names.
        nearest: Vec<String>,
    },
    /// Several layers end in the name.
    #[error("`{name}` could be any of {}", .found.join(", "))]
    AmbiguousLayer {
        /// As asked for.
        name: String,
        /// Their full names.
        found: Vec<String>,
    },
    /// The layer's output has no rows and columns.
    #[error("layer `{name}` has output {shape}, which is no map of rows and columns")]
    NotSpatial {
        /// The layer.
        name: String,
        /// Its output's shape.
        shape: crate::tensor::Shape,
    },
    /// The answer does not depend on the layer.
    #[error("the answer does not depend on layer `{0}`")]
    NotUpstream(String),
    /// No layer of the model has a map.
    #[error("the model has no layer with rows and columns, so there is nothing to draw")]
    NoMap,
    /// A layer inside a fused one cannot be recovered.
    #[error("layer `{name}` cannot be read")]
    Expose {
        /// The layer.
        name: String,
        /// Why.
        source: ExposeError,
    },
    /// The class index is past the outputs.
    #[error("class {class} does not exist: the model has {classes} outputs")]
    Class {
        /// As asked for.
        class: usize,
        /// Outputs.
        classes: usize,
    },
    /// The head could not be run for gradients.
    #[error("the gradient of the class cannot be computed")]
    Reference(#[from] ReferenceError),
    /// Candle refused the backward pass.
    #[error("the gradient of the class cannot be computed")]
    Backward(#[from] candle_core::Error),
}

fn nearest_names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

impl ExplainError {
    /// A stable name of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownLayer { .. } => "unknown_layer",
            Self::AmbiguousLayer { .. } => "ambiguous_layer",
            Self::NotSpatial { .. } => "not_spatial",
            Self::NotUpstream(_) => "not_upstream",
            Self::NoMap => "no_map",
            Self::Expose { .. } => "expose",
            Self::Class { .. } => "class",
            Self::Reference(_) | Self::Backward(_) => "gradient",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::UnknownLayer { .. } | Self::AmbiguousLayer { .. } => {
                "`dermal inspect MODEL --layers` lists every layer"
            }
            Self::NotSpatial { .. } | Self::NotUpstream(_) => {
                "choose a convolution or its activation with `--layer`; without it the last \
                 feature map is taken"
            }
            Self::NoMap => "leave out `--gradcam`: only convolutional models have heat maps",
            Self::Expose { .. } => "choose the layer after it with `--layer`",
            Self::Class { .. } => "`dermal inspect MODEL` lists the classes",
            Self::Reference(_) | Self::Backward(_) => {
                "this is a bug: please report the model's layers (`dermal inspect --layers`)"
            }
        }
    }
}

/// The heat map of `score` at `target`. `values` gives the engine's values of the target and of
/// every node in [`Target::frontier`].
///
/// # Errors
/// [`ExplainError`] if the output does not exist or the gradient cannot be computed.
pub fn explain<'v>(
    target: &Target,
    method: Method,
    score: Score,
    values: &dyn Fn(NodeId) -> Cow<'v, [f32]>,
) -> Result<HeatMap, ExplainError> {
    let graph = target.graph();
    let classes = graph.node(graph.output()).shape.len();
    if score.output >= classes {
        return Err(ExplainError::Class {
            class: score.output,
            classes,
        });
    }
    let activation = values(target.node());
    let gradient = if method.needs_gradient() {
        gradient(graph, target, score, &activation, values)?
    } else {
        Vec::new()
    };
    let channels = graph.node(target.node()).shape.channels();
    let raw = method.map(&activation, &gradient, channels);
    let [height, width] = target.size();
    Ok(HeatMap::new(height, width, raw))
}

fn gradient<'v>(
    graph: &Graph,
    target: &Target,
    score: Score,
    activation: &[f32],
    values: &dyn Fn(NodeId) -> Cow<'v, [f32]>,
) -> Result<Vec<f32>, ExplainError> {
    let reference = Reference::new(graph);
    let start = reference.tensor(target.node(), activation)?;
    let start = Var::from_tensor(&start)?;
    let mut given = BTreeMap::from([(target.node(), start.as_tensor().clone())]);
    for &id in target.frontier() {
        given.insert(id, reference.tensor(id, &values(id))?);
    }
    let logits = reference.evaluate(&given, &[graph.output()])?;
    let logits = Tensor::cat(&logits, 0)?.flatten_all()?;
    let logit = logits.narrow(0, score.output, 1)?.sum_all()?;
    let logit = if score.negated { logit.neg()? } else { logit };
    let gradients = logit.backward()?;
    match gradients.get(&start) {
        Some(gradient) => Ok(gradient.flatten_all()?.to_vec1()?),
        // The class does not depend on the map at all (all weights zero, for example).
        None => Ok(vec![0.0; graph.node(target.node()).shape.len()]),
    }
}

#[cfg(test)]
mod tests;
