//! What people read: exit code, stdout and stderr of each command and of the usual mistakes, whole.
//!
//! Times, sizes, versions and paths are replaced, and runs of spaces and rules shortened, since
//! their width depends on the numbers. `cargo insta review`, or `INSTA_UPDATE=always cargo test
//! --test cli snapshots`, takes a new text over: read the difference as a user would.

use std::fs;
use std::path::Path;

use insta::{Settings, assert_snapshot};

use super::{command, fixture, photo};

/// Runs the program in `folder` and writes down what came of it.
fn told(folder: &Path, args: &[&str]) -> String {
    let output = command()
        .args(args)
        .current_dir(folder)
        .env("NO_COLOR", "1")
        .env("COLUMNS", "80")
        .env_remove("RUST_BACKTRACE")
        .output()
        .unwrap();
    let shown = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    format!(
        "$ dermal {}\nexit {}\n--- stdout\n{}--- stderr\n{}",
        args.join(" "),
        output.status.code().unwrap(),
        shown(output.stdout),
        shown(output.stderr),
    )
}

fn filters(folder: &Path) -> Settings {
    let mut settings = Settings::clone_current();
    let quoted = |path: &Path| path.to_str().unwrap().replace('.', r"\.");
    settings.add_filter(&quoted(folder), "[folder]");
    settings.add_filter(
        &quoted(Path::new(env!("CARGO_MANIFEST_DIR"))),
        "[repository]",
    );
    settings.add_filter(r"\b[0-9a-f]{64}\b", "[sha256]");
    settings.add_filter(r"\b\d+(\.\d+)? (ns|us|µs|ms|s|min)\b", "[time]");
    settings.add_filter(r"-?\b\d+(\.\d+)? ([kKMG]i?B|B|bytes)\b", "[size]");
    settings.add_filter(
        r"\b\d+(\.\d+)?x (smaller|larger|faster|slower)\b",
        "[ratio]",
    );
    settings.add_filter(r"\b(portable|avx2|avx512)(, (avx2|avx512))*\b", "[kernels]");
    settings.add_filter(r"\b\d+(\.\d+)? GMAC/s", "[speed]");
    settings.add_filter(r"\b\d+ threads?\b", "[threads]");
    settings.add_filter(r"dermal \d+\.\d+\.\d+", "dermal [version]");
    // The age of a profile depends on the day.
    settings.add_filter(r" \(old\)", "");
    settings.add_filter(r" {2,}", "  ");
    settings.add_filter(r"─{2,}", "──");
    settings.add_filter(r" +\n", "\n");
    settings
}

/// Compares what each of `cases` tells with what is written down under its name.
fn hold(folder: &Path, cases: &[(&str, &[&str])]) {
    for (name, args) in cases {
        filters(folder).bind(|| assert_snapshot!(*name, told(folder, args)));
    }
}

/// A folder with a photo, a model of Keras, its artifact, and files that are something else.
fn prepared() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::copy(photo("bcc_03.jpg"), at("photo.jpg")).unwrap();
    fs::copy(fixture("import/nested.keras"), at("model.keras")).unwrap();
    fs::copy(
        Path::new(env!("CARGO_MANIFEST_DIR")).join("models/demo.safetensors"),
        at("demo.safetensors"),
    )
    .unwrap();
    fs::write(at("notes.txt"), "This is a text.\n").unwrap();
    fs::write(at("empty.jpg"), "").unwrap();
    fs::write(at("recipe.yaml"), "resize: [1, 2\n").unwrap();
    fs::write(at("labels.txt"), "a\nb\na\n").unwrap();
    let bytes = fs::read(at("demo.safetensors")).unwrap();
    fs::write(at("cut.safetensors"), &bytes[..bytes.len() / 2]).unwrap();
    fs::create_dir(at("photos")).unwrap();
    folder
}

#[test]
fn each_command_says_what_it_did() {
    let folder = prepared();
    let labels = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/labels.csv");
    let labels = labels.to_str().unwrap();
    let demo = "demo.safetensors";
    let half = "half.safetensors";
    hold(
        folder.path(),
        &[
            ("version", &["--version"]),
            ("help", &["--help"]),
            ("predict", &["predict", "photo.jpg"]),
            (
                "predict_heat_map",
                &[
                    "predict",
                    demo,
                    "photo.jpg",
                    "--gradcam",
                    "map.png",
                    "--top",
                    "2",
                ],
            ),
            (
                "import",
                &[
                    "import",
                    "model.keras",
                    "-o",
                    "out.safetensors",
                    "--preprocess",
                    "unit",
                ],
            ),
            ("import_dry_run", &["import", "model.keras", "--dry-run"]),
            ("inspect", &["inspect", demo]),
            ("export", &["export", demo, "-o", "out.onnx"]),
            ("quantize", &["quantize", demo, "-o", half, "--to", "fp16"]),
            ("diff", &["diff", demo, half]),
            ("compare", &["compare", demo, half, "--fixtures", labels]),
            ("estimate", &["estimate", "--platform", "list"]),
            ("bench", &["bench", "--runs", "3"]),
            ("check_empty", &["check", "--config", "photos"]),
            ("man", &["man", "--dir", "pages"]),
            ("serve_help", &["serve", "--help"]),
            ("worker_help", &["worker", "--help"]),
            ("probe_help", &["probe", "--help"]),
            ("completions", &["completions", "tcsh"]),
        ],
    );
}

#[test]
fn each_mistake_gets_a_place_and_a_next_step() {
    let folder = prepared();
    let import = |more: &[&'static str]| {
        [&["import", "model.keras", "-o", "out.safetensors"], more].concat()
    };
    let demo = "demo.safetensors";
    hold(
        folder.path(),
        &[
            ("no_such_photo", &["predict", demo, "nothing.jpg"]),
            ("photo_is_text", &["predict", demo, "notes.txt"]),
            ("photo_is_empty", &["predict", demo, "empty.jpg"]),
            (
                "no_such_model",
                &["predict", "nothing.safetensors", "photo.jpg"],
            ),
            ("model_is_text", &["inspect", "notes.txt"]),
            ("model_is_cut", &["inspect", "cut.safetensors"]),
            (
                "model_is_not_imported",
                &["predict", "model.keras", "photo.jpg"],
            ),
            (
                "no_such_layer",
                &[
                    "predict",
                    demo,
                    "photo.jpg",
                    "--gradcam",
                    "map.png",
                    "--layer",
                    "x",
                ],
            ),
            (
                "no_such_input",
                &["predict", demo, "photo.jpg", "--input", "age=1"],
            ),
            (
                "no_such_field",
                &["predict", demo, "photo.jpg", "--field", "age=1"],
            ),
            ("no_such_isa", &["bench", "--isa", "avx3"]),
            ("no_such_option", &["predict", "photo.jpg", "--tpo", "3"]),
            ("no_unit", &["estimate", "--budget", "512"]),
            (
                "no_such_source",
                &["import", "nothing.keras", "-o", "out.safetensors"],
            ),
            (
                "source_is_text",
                &["import", "notes.txt", "-o", "out.safetensors"],
            ),
            (
                "source_is_a_photo",
                &["import", "photo.jpg", "-o", "out.safetensors"],
            ),
            (
                "source_is_the_output",
                &["import", "model.keras", "-o", "model.keras"],
            ),
            ("no_such_preset", &import(&["--preprocess", "xception"])),
            (
                "no_such_recipe",
                &import(&["--preprocess", "/nowhere/recipe.yaml"]),
            ),
            (
                "recipe_is_broken",
                &import(&["--preprocess", "recipe.yaml"]),
            ),
            ("labels_are_twice", &import(&["--labels", "labels.txt"])),
            (
                "no_such_folder",
                &["import", "model.keras", "-o", "nowhere/out.safetensors"],
            ),
            (
                "no_labelled_photos",
                &["compare", demo, "--fixtures", "photos"],
            ),
            (
                "no_such_platform",
                &["estimate", "--platform", "render-fre"],
            ),
            (
                "no_server",
                &["probe", "http://127.0.0.1:9", "--patience", "1"],
            ),
            ("no_such_keys", &["serve", "--api-keys-file", "nothing.txt"]),
        ],
    );
}
