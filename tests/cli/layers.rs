//! `dermal inspect --check-layers`.

use super::{dermal, fixture, photo};

#[test]
fn the_engine_agrees_with_the_reference_on_every_layer() {
    let ran = dermal(["inspect", "--check-layers", &photo("bcc_03.jpg"), "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let report = ran.json();
    assert_eq!(report["schema_version"], 1);
    let layers = report["layers"].as_array().unwrap();
    let steps = dermal(["inspect", "--plan", "--json"]).json();
    assert_eq!(layers.len(), steps["steps"].as_array().unwrap().len());
    let relative = |layer: &serde_json::Value| layer["relative"].as_f64().unwrap();
    assert!(layers.is_sorted_by(|a, b| relative(a) >= relative(b)));
    assert!(relative(&layers[0]) < 6e-5, "{}", layers[0]);
    for layer in layers {
        let number = |field: &str| layer[field].as_f64().unwrap();
        let off = (number("engine") - number("reference")).abs();
        assert!(
            (off - number("difference")).abs() <= 1e-6 * off.max(1.0),
            "{layer}"
        );
        assert!(number("least") <= number("engine"), "{layer}");
        assert!(number("engine") <= number("largest"), "{layer}");
        assert!(layer.get("scale").is_none(), "{layer}");
    }
}

#[test]
fn bytes_are_compared_as_the_numbers_that_they_stand_for() {
    let folder = tempfile::tempdir().unwrap();
    let model = folder.path().join("int8.safetensors");
    let model = model.to_str().unwrap();
    let demo = fixture("../models/demo.safetensors");
    let photos = fixture("images");
    let ran = dermal([
        "quantize",
        demo.to_str().unwrap(),
        "-o",
        model,
        "--to",
        "int8",
        "--calibrate",
        photos.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    for isa in ["portable", "best"] {
        let photo = photo("bcc_03.jpg");
        let mut args = vec!["inspect", model, "--check-layers", &photo];
        if isa == "portable" {
            args.extend(["--isa", isa]);
        }
        let text = dermal(&args);
        assert_eq!(text.code, Some(0), "{}", text.stderr);
        assert!(text.stdout.contains("half of `step`"), "{}", text.stdout);
        let report = dermal(args.iter().chain(&["--json"])).json();
        let layers = report["layers"].as_array().unwrap();
        let mut in_bytes = 0;
        for layer in layers {
            let difference = layer["difference"].as_f64().unwrap();
            if let Some(scale) = layer["scale"].as_f64() {
                in_bytes += 1;
                // Half a step, and as much again if a table follows the sum's own bytes.
                assert!(difference <= 3.0 * scale, "{layer}");
            }
        }
        assert!(
            in_bytes > layers.len() / 2,
            "{in_bytes} of {}",
            layers.len()
        );
    }
}

#[test]
fn what_is_missing_is_named() {
    dermal(["inspect", "--check-layers", "no-such.jpg"]).refuses(&["no-such.jpg", "hint: "]);
    let photo = photo("bcc_03.jpg");
    dermal(["inspect", "--check-layers", &photo, "--isa", "sse9"]).refuses(&["sse9"]);
    dermal(["inspect", "--check-layers", &photo, "--input", "age=5"])
        .refuses(&["no input `age`", "hint: "]);
    let ran = dermal(["inspect", "--isa", "portable"]);
    assert_eq!(ran.code, Some(2));
    assert!(ran.stderr.contains("--check-layers"), "{}", ran.stderr);
}
