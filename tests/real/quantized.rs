//! The published skin model in fewer bits, from the Keras file to the verdict, as a user does it:
//! its size, and its loss of accuracy on real photos.
//!
//! Skipped with a message if model or photos are missing (see `common::real`).

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(clippy::print_stderr, reason = "figures are for people")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::common::real::{cached_model, shared};
use crate::common::{self, repo};
use serde_json::Value;

/// The JSON document of a run that ends with 0, 1, or 3: with this few photos `compare` may not be
/// able to tell.
fn answer(args: &[&str]) -> Value {
    let mut command = common::dermal();
    // Two passes over hundreds of photos, on a machine that may be busy.
    let output = command
        .timeout(Duration::from_mins(15))
        .args(args)
        .arg("--json")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(matches!(output.status.code(), Some(0 | 1 | 3)), "{errors}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn imported(source: &Path, folder: &Path) -> PathBuf {
    let (recipe, model) = (folder.join("recipe.yaml"), folder.join("model.safetensors"));
    #[expect(clippy::disallowed_methods, reason = "a test's file")]
    std::fs::write(&recipe, "preset: raw\nfilter: tensorflow_bilinear\n").unwrap();
    common::stdout([
        Path::new("import"),
        source,
        Path::new("-o"),
        &model,
        Path::new("--labels"),
        Path::new("akiec,bcc,bkl,df,mel,nv,vasc"),
        Path::new("--fields"),
        &repo("fixtures/fields/sklesion.yaml"),
        Path::new("--preprocess"),
        &recipe,
    ]);
    model
}

fn number(value: &Value) -> f64 {
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is not a number"))
}

#[test]
fn sklesion_in_int8_is_a_quarter_and_keeps_its_answers() {
    let (Some(source), Some(table)) = (
        cached_model("sklesion.keras"),
        shared("ham10000/labels.csv"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = imported(&source, folder.path());
    let int8 = folder.path().join("int8.safetensors");
    let [model, int8, table] = [&model, &int8, &table].map(|path| path.to_str().unwrap());
    let made = answer(&[
        "quantize",
        model,
        "-o",
        int8,
        "--to",
        "int8",
        "--calibrate",
        table,
        "--where",
        "split=train",
        "--photos",
        "64",
    ]);
    assert_eq!(made["calibration"]["photos"], 64);
    let bytes = made["bytes_after"].as_u64().unwrap();
    assert!(bytes <= 23_000_000, "{bytes} bytes");

    // Different photos from those that calibrated it.
    let seen = answer(&[
        "compare",
        model,
        int8,
        "--fixtures",
        table,
        "--where",
        "split=val",
        "--group",
        "sex",
    ]);
    assert_eq!(seen["photos"], 193);
    let evaluation = |i: usize, what: &str| number(&seen["models"][i]["evaluation"][what]["value"]);
    // Keras' result on the same photos; `tests/real/models.rs` has it photo by photo.
    assert!((evaluation(0, "top1") - 157.0 / 193.0).abs() < 1e-9);
    for what in ["top1", "balanced_accuracy"] {
        let lost = evaluation(0, what) - evaluation(1, what);
        eprintln!(
            "{what}: {:.4}, {:.4}",
            evaluation(0, what),
            evaluation(1, what)
        );
        // Two of 193 photos: which way a photo near the border goes is chance, as `compare` says.
        assert!(lost <= 2.5 / 193.0, "{what}: {lost}");
    }
    let comparison = &seen["comparison"];
    let agreement = number(&comparison["agreement"]["value"]);
    let moved = number(&comparison["drift"]["mean_abs_dp"]);
    let maps = number(&seen["heat_maps"]["median_correlation"]);
    eprintln!("agreement {agreement:.4}, mean |dp| {moved:.5}, heat maps {maps:.4}");
    assert!(agreement >= 0.98, "{agreement}");
    assert!(moved <= 0.005, "{moved}");
    assert!(maps >= 0.97, "{maps}");
    let peak = seen["models"][1]["peak_rss_bytes"].as_u64().unwrap();
    eprintln!("predict: peak RSS {:.1} MB", peak as f64 / 1e6);
    assert!(peak <= 60_000_000, "{peak} bytes");
}

#[test]
fn sklesion_in_fp16_is_half_and_weights_alone_are_a_quarter() {
    let Some(source) = cached_model("sklesion.keras") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let model = imported(&source, folder.path());
    let small = folder.path().join("small.safetensors");
    let [model, small] = [&model, &small].map(|path| path.to_str().unwrap());
    let fp16 = answer(&["quantize", model, "-o", small, "--to", "fp16"]);
    let bytes = fp16["bytes_after"].as_u64().unwrap();
    assert!(bytes <= 44_000_000, "{bytes} bytes");
    let peak = |key: &str| fp16[key].as_u64().unwrap();
    let [before, after] = ["peak_rss_bytes_before", "peak_rss_bytes_after"].map(peak);
    eprintln!("peak RSS {before} in f32, {after} in f16");
    assert!(after + 35_000_000 < before, "RSS falls with the file");
    let weights = answer(&[
        "quantize",
        model,
        "-o",
        small,
        "--to",
        "int8",
        "--weights-only",
    ]);
    let bytes = weights["bytes_after"].as_u64().unwrap();
    assert!(bytes <= 23_000_000, "{bytes} bytes");
    // Weights with 7 bits: an error of 1 % of a layer's weights, 40 dB.
    let worst = number(&weights["layers"][0]["sqnr_db"]);
    assert!(worst > 30.0, "{worst} dB");
}
