//! What a file says beside the graph, in `metadata_props`: everything that another program, or an
//! import, needs to use the model. docs/exporting.md lists the names.

use super::Options;
use crate::artifact::{ChannelOrder, InputKind, Model, Preprocessing};

/// Class names in the order of the outputs: a JSON list.
pub const LABELS: &str = "dermal.labels";

/// The recipe of the photo, as `--preprocess FILE.yaml` takes it. Absent if it is in the graph.
pub const PREPROCESSING: &str = "dermal.preprocessing";

/// How logits become probabilities, by its name for `--head`. The graph has it as its last operator.
pub const HEAD: &str = "dermal.head";

/// Default values of inputs that are not the photo: a JSON map from names to lists.
pub const INPUTS: &str = "dermal.inputs";

/// How named fields become these inputs: the mapping as JSON.
pub const FIELDS: &str = "dermal.fields";

/// Keys and values for a model.
pub(super) fn entries(model: &Model, options: Options) -> Vec<(&'static str, String)> {
    let manifest = &model.manifest;
    let json = |value: serde_json::Result<String>| value.unwrap_or_default();
    let mut entries = vec![
        (LABELS, json(serde_json::to_string(&manifest.labels))),
        (HEAD, manifest.head.option().to_owned()),
    ];
    let mut defaults = serde_json::Map::new();
    for input in &manifest.inputs {
        match &input.kind {
            InputKind::Image { preprocessing } if !options.with_preprocessing => {
                entries.push((PREPROCESSING, preprocessing.to_yaml()));
                entries.extend(image(preprocessing));
            }
            InputKind::Image { .. } => {}
            InputKind::Vector { default } => {
                if let Some(default) = default {
                    defaults.insert(input.name.clone(), default.clone().into());
                }
            }
        }
    }
    if !defaults.is_empty() {
        entries.push((INPUTS, serde_json::Value::from(defaults).to_string()));
    }
    if let Some(fields) = &manifest.fields {
        entries.push((FIELDS, json(serde_json::to_string(fields))));
    }
    let provenance = &manifest.provenance;
    entries.extend([
        ("dermal.source_file", provenance.source_file.clone()),
        ("dermal.source_sha256", provenance.source_sha256.clone()),
        ("dermal.source_format", provenance.source_format.clone()),
        ("dermal.tool_version", provenance.tool_version.clone()),
        ("dermal.options", provenance.options.join(" ")),
    ]);
    if let Some(record) = &manifest.quantization {
        entries.push(("dermal.quantization", json(serde_json::to_string(record))));
    }
    entries.retain(|(_, value)| !value.is_empty());
    entries
}

/// The metadata that ONNX itself defines for images, as far as it says what the recipe does.
///
/// Source: <https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md>.
fn image(recipe: &Preprocessing) -> Vec<(&'static str, String)> {
    let format = match recipe.channels {
        ChannelOrder::Rgb => "Rgb8",
        ChannelOrder::Bgr => "Bgr8",
        ChannelOrder::Gray => "Gray8",
    };
    let mut entries = vec![("Image.BitmapPixelFormat", format.to_owned())];
    let value = |pixel: f64, c: usize| (pixel * recipe.scale - recipe.mean[c]) / recipe.std[c];
    let range = [0, 1, 2].map(|c| [value(0.0, c), value(255.0, c)]);
    let all = |low: f64, high: f64| {
        let near = |[a, b]: [f64; 2]| (a - low).abs() < 1e-6 && (b - high).abs() < 1e-6;
        range.into_iter().all(near)
    };
    let ranges = [
        (0.0, 255.0, "NominalRange_0_255"),
        (0.0, 1.0, "Normalized_0_1"),
        (-1.0, 1.0, "Normalized_1_1"),
    ];
    let found = ranges.into_iter().find(|&(low, high, _)| all(low, high));
    entries.extend(found.map(|(.., name)| ("Image.NominalPixelRange", name.to_owned())));
    entries
}
