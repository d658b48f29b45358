//! Whether a manifest fits its graph. It is checked before a model is written and after it is read.

use std::collections::HashSet;

use super::error::ArtifactError;
use super::model::{Head, InputKind, Manifest, Model};
use super::preprocessing::{ChannelOrder, Preprocessing, Resize};
use crate::graph::Graph;
use crate::tensor::Shape;

/// Largest short side of a resize recipe. No classifier looks at larger pictures, and the resized
/// picture is kept in memory.
const MAX_SHORT_SIDE: u32 = 4096;

impl Model {
    /// Checks that inputs, labels and head fit the graph.
    ///
    /// # Errors
    /// [`ArtifactError::Inputs`], [`ArtifactError::Input`], [`ArtifactError::Fields`],
    /// [`ArtifactError::LabelCount`] or [`ArtifactError::Label`].
    pub fn validate(&self) -> Result<(), ArtifactError> {
        check_inputs(&self.graph, &self.manifest)?;
        if let Some(mapping) = &self.manifest.fields {
            mapping.validate(&self.vector_inputs())?;
        }
        check_labels(&self.graph, &self.manifest)
    }
}

fn check_inputs(graph: &Graph, manifest: &Manifest) -> Result<(), ArtifactError> {
    let in_graph: Vec<_> = graph.inputs().map(|(_, node)| node.name.as_str()).collect();
    let in_manifest: Vec<_> = manifest.inputs.iter().map(|i| i.name.as_str()).collect();
    if in_graph != in_manifest {
        return Err(ArtifactError::Inputs {
            manifest: list(&in_manifest),
            graph: list(&in_graph),
        });
    }
    let mut images = 0;
    for (spec, (_, node)) in manifest.inputs.iter().zip(graph.inputs()) {
        let problem = match &spec.kind {
            InputKind::Image { preprocessing } => {
                images += 1;
                image_problem(preprocessing, &node.shape)
            }
            InputKind::Vector { default } => vector_problem(default.as_deref(), &node.shape),
        };
        if let Some(what) = problem {
            return Err(ArtifactError::Input {
                input: spec.name.clone(),
                what,
            });
        }
    }
    if images == 1 {
        return Ok(());
    }
    Err(ArtifactError::Input {
        input: in_graph.join(", "),
        what: format!("expected one input that is a photo, got {images}"),
    })
}

fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("[{}]", quoted.join(", "))
}

fn image_problem(recipe: &Preprocessing, shape: &Shape) -> Option<String> {
    let Some([h, w, c]) = shape.hwc() else {
        return Some(format!("a photo needs shape [H, W, C], got {shape}"));
    };
    let channels = match recipe.channels {
        ChannelOrder::Rgb | ChannelOrder::Bgr => 3,
        ChannelOrder::Gray => 1,
    };
    if c != channels {
        return Some(format!(
            "preprocessing makes {channels} channels, but its shape is {shape}"
        ));
    }
    if recipe.resize == Resize::Fit && !recipe.filter.is_pillows() {
        return Some("`resize` is `fit`, which only Pillow's filters can do".to_owned());
    }
    if let Resize::ShortSideCenterCrop { short_side } = recipe.resize {
        let needed = h.max(w);
        if short_side > MAX_SHORT_SIDE || (short_side as usize) < needed {
            return Some(format!(
                "`short_side` is {short_side}, expected {needed} to {MAX_SHORT_SIDE}"
            ));
        }
    }
    let finite = recipe.scale.is_finite() && recipe.mean.iter().all(|v| v.is_finite());
    if !finite {
        return Some("`scale` and `mean` must be finite numbers".to_owned());
    }
    if recipe.std.iter().any(|&v| v == 0.0 || !v.is_finite()) {
        return Some(format!("`std` divides, but is {:?}", recipe.std));
    }
    None
}

fn vector_problem(default: Option<&[f32]>, shape: &Shape) -> Option<String> {
    let default = default?;
    if default.len() != shape.len() {
        return Some(format!(
            "its default has {} numbers, expected {} for shape {shape}",
            default.len(),
            shape.len()
        ));
    }
    default
        .iter()
        .any(|v| !v.is_finite())
        .then(|| "its default must be finite numbers".to_owned())
}

fn check_labels(graph: &Graph, manifest: &Manifest) -> Result<(), ArtifactError> {
    let outputs = graph.node(graph.output()).shape.len();
    let got = manifest.labels.len();
    let (expected, why) = match (manifest.head, outputs) {
        (Head::BinarySigmoid, 1) => (2, "the model's one output tells two classes apart".into()),
        (Head::BinarySigmoid, got) => return Err(ArtifactError::Head { got }),
        (Head::Softmax, 1) => return Err(ArtifactError::SoftmaxOfOne),
        (_, n) => (n, format!("the model has {n} outputs")),
    };
    if got != expected {
        return Err(ArtifactError::LabelCount { expected, got, why });
    }
    let mut seen = HashSet::with_capacity(manifest.labels.len());
    for (index, label) in manifest.labels.iter().enumerate() {
        let problem = if label.trim().is_empty() {
            "empty"
        } else if !seen.insert(label) {
            "given twice"
        } else {
            continue;
        };
        return Err(ArtifactError::Label {
            index,
            label: label.clone(),
            problem,
        });
    }
    Ok(())
}
