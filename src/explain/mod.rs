//! Where the model looked: class activation maps from the same model that answers.
//!
//! The engine runs the photo and keeps one feature map. The methods need the gradient of the
//! class's logit with respect to that map, so only the layers after it matter. If these are a
//! global mean and dense layers, as in most models, the gradient has a closed form. Otherwise
//! candle runs that part of the model again. An explanation costs a few milliseconds, not a second
//! model.
//!
//! A build without the feature `gradients` has no candle. It draws the maps that need no gradient
//! ([`Method::EigenCam`]) and those of the closed form, and refuses the rest by name
//! ([`ExplainError::NoGradient`]).
//!
//! In: a graph that ends in logits, a [`Target`] in it, the engine's values. Out: a [`HeatMap`];
//! [`overlay`] draws it on the photo. Not here: running the photo (`predict`), files (`commands`).

use std::borrow::Cow;

use self::closed::Obstacle;
use crate::graph::{ExposeError, NodeId, WeightError};
use crate::hint::{Arguments, BUG, Hint, named};
use crate::reference::{self, ReferenceError};

mod closed;
mod colormap;
mod map;
mod npy;
mod overlay;
mod picture;
mod shrink;
mod target;

pub use colormap::Colormap;
pub use map::{HeatMap, Method};
pub use npy::npy_bytes;
pub use overlay::{Overlay, encode_png, most_png_bytes, overlay, write_png};
pub use picture::{Picture, draw};
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
    #[error("layer `{name}` has output {shape}, which is not a map of rows and columns")]
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
    /// The class index is larger than the number of outputs.
    #[error("class {class} does not exist: the model has {classes} outputs")]
    Class {
        /// As asked for.
        class: usize,
        /// Outputs.
        classes: usize,
    },
    /// No class has the name.
    #[error("the model has no class `{name}`")]
    UnknownClass {
        /// As asked for.
        name: String,
        /// The classes that exist.
        classes: Vec<String>,
    },
    /// This build has no gradients, and the layers after the map need one.
    #[error(
        "`{method}` at layer `{layer}` needs the gradient of `{node}` ({op}), which this build \
         cannot compute"
    )]
    NoGradient {
        /// The method's name.
        method: &'static str,
        /// The layer of the feature map.
        layer: String,
        /// The first node on the way back from the output whose gradient has no closed form.
        node: String,
        /// Its op.
        op: &'static str,
    },
    /// A weight of the head cannot be read.
    #[error("the gradient of the class cannot be computed")]
    Weight(#[from] WeightError),
    /// The head could not be run for gradients.
    #[error("the gradient of the class cannot be computed")]
    Reference(#[from] ReferenceError),
}

fn nearest_names(names: &[String]) -> String {
    match names {
        [] => String::new(),
        names => format!("; did you mean {}?", names.join(", ")),
    }
}

impl Hint for ExplainError {
    fn kind(&self) -> &'static str {
        match self {
            Self::UnknownLayer { .. } => "unknown_layer",
            Self::AmbiguousLayer { .. } => "ambiguous_layer",
            Self::NotSpatial { .. } => "not_spatial",
            Self::NotUpstream(_) => "not_upstream",
            Self::NoMap => "no_map",
            Self::Expose { .. } => "expose",
            Self::Class { .. } => "class",
            Self::UnknownClass { .. } => "unknown_class",
            Self::NoGradient { .. } => "no_gradient",
            Self::Weight(_) | Self::Reference(_) => "gradient",
        }
    }

    fn hint(&self) -> String {
        let text = match self {
            Self::UnknownClass { classes, .. } => {
                return format!("its classes are {}", classes.join(", "));
            }
            Self::UnknownLayer { .. } | Self::AmbiguousLayer { .. } => {
                "`dermal inspect MODEL --layers` lists every layer"
            }
            Self::NotSpatial { .. } | Self::NotUpstream(_) => {
                "choose a convolution or its activation with `--layer`; the default is the last \
                 feature map is taken"
            }
            Self::NoMap => "leave out `--gradcam`: only convolutional models have heat maps",
            Self::Expose { .. } => "choose the layer after it with `--layer`",
            Self::Class { .. } => "`dermal inspect MODEL` lists the classes",
            Self::NoGradient { .. } => {
                "choose `eigencam`, or a layer that is followed only by a global mean and dense \
                 layers; or build with the feature `gradients`"
            }
            Self::Weight(_) | Self::Reference(_) => BUG,
        };
        text.to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::UnknownLayer { name, nearest } => named!(name, nearest),
            Self::AmbiguousLayer { name, found } => named!(name, found),
            Self::NotSpatial { name, shape } => named!(name, %shape),
            Self::NotUpstream(layer) => named!(layer),
            Self::Expose { name, .. } => named!(name),
            Self::Class { class, classes } => named!(class, classes),
            Self::UnknownClass { name, classes } => named!(name, classes),
            Self::NoGradient {
                method,
                layer,
                node,
                op,
            } => named!(method, layer, node, op),
            Self::NoMap | Self::Weight(_) | Self::Reference(_) => named!(),
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
        gradient(target, method, score, values)?
    } else {
        Vec::new()
    };
    let channels = graph.node(target.node()).shape.channels();
    let raw = method.map(&activation, &gradient, channels);
    let [height, width] = target.size();
    Ok(HeatMap::new(height, width, raw))
}

/// Whether gradients have a closed form at this target: a global mean and dense layers follow. All others
/// need candle, and its memory.
#[must_use]
pub fn has_closed_form(target: &Target) -> bool {
    closed::applies(target)
}

/// The gradient of the score with respect to the target's value: in closed form if possible,
/// otherwise by candle.
fn gradient<'v>(
    target: &Target,
    method: Method,
    score: Score,
    values: &dyn Fn(NodeId) -> Cow<'v, [f32]>,
) -> Result<Vec<f32>, ExplainError> {
    let graph = target.graph();
    let mut gradient = match closed::gradient(target, score.output, values) {
        Ok(gradient) => gradient,
        Err(Obstacle::Node(id)) if !reference::AVAILABLE => {
            let node = graph.node(id);
            return Err(ExplainError::NoGradient {
                method: method.name(),
                layer: target.layer().to_owned(),
                node: node.name.clone(),
                op: node.op.name(),
            });
        }
        Err(Obstacle::Weight(error)) if !reference::AVAILABLE => return Err(error.into()),
        // Candle can differentiate everything that the engine runs.
        Err(_) => reference::gradient(
            graph,
            target.node(),
            target.frontier(),
            score.output,
            values,
        )?,
    };
    if score.negated {
        for value in &mut gradient {
            *value = -*value;
        }
    }
    Ok(gradient)
}

#[cfg(test)]
mod tests;
