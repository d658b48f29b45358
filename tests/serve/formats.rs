//! A model of each format behind the server: the same answer as `dermal predict`, and a heat map.

use std::process::Command;

use super::{Server, photo, repo};

#[test]
fn an_import_of_each_format_is_served() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = photo("nv_00.jpg");
    for (i, source) in [
        "fixtures/keras/channels_first/first_classifier.keras",
        "fixtures/import/onnx/x_dynamo_head.onnx",
        "fixtures/import/tflite/x_mobilenet.tflite",
    ]
    .into_iter()
    .enumerate()
    {
        let model = folder.path().join(format!("{i}.safetensors"));
        let dermal = || Command::new(env!("CARGO_BIN_EXE_dermal"));
        let made = dermal()
            .arg("import")
            .arg(repo(source))
            .args(["--preprocess", "unit", "-o"])
            .arg(&model)
            .output()
            .unwrap();
        assert!(made.status.success(), "{source}: {made:?}");
        let predicted = dermal()
            .arg("predict")
            .arg(&model)
            .arg(repo("fixtures/images/nv_00.jpg"))
            .arg("--json")
            .output()
            .unwrap();
        let predicted: serde_json::Value = serde_json::from_slice(&predicted.stdout).unwrap();

        let server = Server::start(&[model.to_str().unwrap(), "--cache", "0"]);
        let answer = server.post("/predict?gradcam=1", &bytes).ok();
        assert_eq!(
            answer["predictions"], predicted["images"][0]["predictions"],
            "{source}"
        );
        assert!(answer["gradcam"].is_object(), "{source}: {answer}");
    }
}
