//! What a file says beside the graph: class names, and for which pixels the model was made.

use std::path::Path;

use super::proto::Model;
use crate::import::labels;
use crate::import::options::{LabelsFile, Stated};

/// Keys under which exporters store class names: ultralytics writes `names`, Hugging Face
/// `id2label`, PaddleOCR `character`.
const LABELS: [&str; 7] = [
    "labels",
    "class_names",
    "classes",
    "names",
    "id2label",
    "character",
    "dermal.labels",
];

/// Class names of the metadata, if there are any that are understood.
pub(super) fn labels(model: &Model) -> Option<LabelsFile> {
    let entries = model.metadata.iter();
    let mut found = entries.filter(|(key, _)| LABELS.contains(&key.to_ascii_lowercase().as_str()));
    found.find_map(|(key, value)| {
        let name = format!("metadata `{key}`");
        // `a,b,c` on one line, a list or a map as JSON, or Python's way to write a dictionary.
        labels::from_bytes(value.as_bytes(), Path::new(&name)).ok()?;
        Some(LabelsFile {
            name,
            bytes: value.as_bytes().to_vec(),
        })
    })
}

/// The preset that does what `Image.NominalPixelRange` asks for.
///
/// Source: <https://github.com/onnx/onnx/blob/main/docs/MetadataProps.md>.
pub(super) fn preset(model: &Model) -> Option<&'static str> {
    let value = |wanted: &str| {
        let mut entries = model.metadata.iter();
        entries
            .find(|(key, _)| *key == wanted)
            .map(|(_, value)| *value)
    };
    // Presets are for red, green, blue; of other orders nothing is said.
    if !matches!(
        value("Image.BitmapPixelFormat"),
        None | Some("Rgb8" | "Gray8")
    ) {
        return None;
    }
    match value("Image.NominalPixelRange")? {
        "NominalRange_0_255" => Some("raw"),
        "Normalized_0_1" => Some("unit"),
        "Normalized_1_1" => Some("keras-mobilenet-v2"),
        _ => None,
    }
}

fn value(model: &Model, wanted: &str) -> Option<String> {
    let mut entries = model.metadata.iter();
    let found = entries.find(|(key, _)| *key == wanted);
    found.map(|(_, value)| (*value).to_owned())
}

/// The recipe that `dermal export` writes, in YAML.
pub(super) fn recipe(model: &Model) -> Option<String> {
    value(model, "dermal.preprocessing")
}

/// The other facts that `dermal export` writes.
pub(super) fn stated(model: &Model) -> Stated {
    let value = |wanted| value(model, wanted);
    Stated {
        head: value("dermal.head"),
        inputs: value("dermal.inputs"),
        fields: value("dermal.fields"),
    }
}

/// `onnx opset 17 (pytorch 2.1.0)`
pub(super) fn source_format(model: &Model, opset: i64) -> String {
    // Both go into messages, so they are short and plain.
    let plain = |text: &str| -> String {
        let kept = |c: &char| c.is_ascii_alphanumeric() || " .-+_".contains(*c);
        text.chars()
            .filter(kept)
            .take(40)
            .collect::<String>()
            .trim()
            .to_owned()
    };
    let (producer, version) = (plain(model.producer), plain(model.producer_version));
    // torch writes its build (`2.13.0+cpu`) and version 10 of the format since it traces by dynamo.
    let exporter = match producer.as_str() {
        "pytorch" if model.ir_version >= 10 => ", dynamo",
        "pytorch" => ", TorchScript",
        _ => "",
    };
    let stored = stored(model);
    match (producer.is_empty(), version.is_empty()) {
        (true, _) => format!("onnx opset {opset}{stored}"),
        (_, true) => format!("onnx opset {opset} ({producer}{exporter}){stored}"),
        _ => format!("onnx opset {opset} ({producer} {version}{exporter}){stored}"),
    }
}

/// What a quantized file stores in 8 bits.
fn stored(model: &Model) -> &'static str {
    let has = |wanted: fn(&str) -> bool| model.graph.nodes.iter().any(|node| wanted(node.op));
    if has(|op| op.starts_with("Dynamic") && op.contains("Quantize")) {
        ", int8 weights; values are not rounded"
    } else if has(|op| op == "QuantizeLinear" || op.starts_with("QLinear")) {
        ", int8"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::onnx::proto::Graph;

    fn model<'a>(metadata: &[(&'a str, &'a str)]) -> Model<'a> {
        Model {
            ir_version: 8,
            producer: "pytorch",
            producer_version: "2.1.0",
            opsets: vec![],
            metadata: metadata.to_vec(),
            functions: vec![],
            graph: Graph::default(),
        }
    }

    #[test]
    fn labels_are_found_in_the_forms_that_exporters_write() {
        for value in [
            "{0: 'nv', 1: 'mel'}",
            "[\"nv\", \"mel\"]",
            "nv\nmel",
            "nv,mel",
        ] {
            let found = labels(&model(&[("names", value)])).expect(value);
            let names = labels::from_bytes(&found.bytes, Path::new(&found.name)).unwrap();
            assert_eq!(names, ["nv", "mel"], "{value}");
        }
        assert!(labels(&model(&[("stride", "32")])).is_none());
    }

    #[test]
    fn pixel_ranges_are_presets() {
        let of = |range| preset(&model(&[("Image.NominalPixelRange", range)]));
        assert_eq!(of("Normalized_0_1"), Some("unit"));
        assert_eq!(of("NominalRange_16_235"), None);
        let bgr = [
            ("Image.BitmapPixelFormat", "Bgr8"),
            ("Image.NominalPixelRange", "Normalized_0_1"),
        ];
        assert_eq!(preset(&model(&bgr)), None);
    }

    #[test]
    fn the_exporter_is_named() {
        let mut model = model(&[]);
        assert_eq!(
            source_format(&model, 17),
            "onnx opset 17 (pytorch 2.1.0, TorchScript)"
        );
        (model.producer, model.producer_version) = ("", "");
        assert_eq!(source_format(&model, 9), "onnx opset 9");
        for (op, expected) in [
            ("QuantizeLinear", "onnx opset 13, int8"),
            ("QLinearConv", "onnx opset 13, int8"),
            (
                "DynamicQuantizeLinear",
                "onnx opset 13, int8 weights; values are not rounded",
            ),
        ] {
            model.graph.nodes = vec![crate::import::onnx::proto::Node {
                op,
                ..Default::default()
            }];
            assert_eq!(source_format(&model, 13), expected);
        }
    }
}
