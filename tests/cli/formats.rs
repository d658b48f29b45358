//! A model of each format, as its user goes on with it: heat map, smaller model, estimate.

use std::fs;

use super::{dermal, fixture, photo};

/// One small classifier of three classes for each format that is read.
const MODELS: [&str; 4] = [
    "keras/head_softmax.keras",
    "keras/channels_first/first_classifier.keras",
    "import/onnx/x_dynamo_head.onnx",
    "import/tflite/x_mobilenet.tflite",
];

#[test]
fn an_import_of_each_format_works_with_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let photo = photo("nv_00.jpg");
    for (i, source) in MODELS.into_iter().enumerate() {
        let model = at(&format!("{i}.safetensors"));
        let path = fixture(source);
        let path = path.to_str().unwrap();
        let ran = dermal(["import", path, "-o", &model, "--preprocess", "unit"]);
        assert_eq!(ran.code, Some(0), "{source}: {}", ran.stderr);

        let map = at(&format!("{i}.png"));
        let report = dermal(["predict", &model, &photo, "--gradcam", &map, "--json"]).json();
        let image = &report["images"][0];
        let classes = image["predictions"].as_array().unwrap();
        let sum: f64 = classes
            .iter()
            .map(|c| c["probability"].as_f64().unwrap())
            .sum();
        assert!((sum - 1.0).abs() < 1e-5, "{source}: {classes:?}");
        let size = image["gradcam"]["map_size"].as_array().unwrap();
        assert!(
            size.iter().all(|n| n.as_u64() > Some(1)),
            "{source}: {size:?}"
        );
        assert!(fs::read(&map).unwrap().starts_with(b"\x89PNG"), "{source}");

        let small = at(&format!("{i}-int8.safetensors"));
        let ran = dermal([
            "quantize",
            &model,
            "-o",
            &small,
            "--to",
            "int8",
            "--weights-only",
        ]);
        assert_eq!(ran.code, Some(0), "{source}: {}", ran.stderr);
        let report = dermal(["predict", &small, &photo, "--json"]).json();
        let again = report["images"][0]["predictions"].as_array().unwrap();
        let probability = |class: &serde_json::Value| class["probability"].as_f64().unwrap();
        for class in classes {
            let same = again.iter().find(|other| other["class"] == class["class"]);
            let off = probability(class) - probability(same.unwrap());
            assert!(off.abs() < 0.05, "{source}: {class} {same:?}");
        }

        let report = dermal(["estimate", &model, "--json"]).json();
        assert_eq!(report["schema_version"], 1, "{source}");
    }
}

/// A file that was not imported is told from an artifact, whatever its format.
#[test]
fn what_was_not_imported_is_told_how() {
    let photo = photo("nv_00.jpg");
    for source in MODELS {
        let path = fixture(source);
        let path = path.to_str().unwrap();
        for command in [&["predict", path, &photo][..], &["estimate", path]] {
            dermal(command).refuses(&["dermal import MODEL -o"]);
        }
    }
}

#[test]
fn a_size_that_the_file_fixes_is_left_out() {
    let path = fixture("import/tflite/x_mobilenet.tflite");
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let line = ["import", path.to_str().unwrap(), "--input-size", "64", "-o"];
    dermal(line.into_iter().chain([out.to_str().unwrap()]))
        .refuses(&["it is fixed", "leave it out"]);
}
