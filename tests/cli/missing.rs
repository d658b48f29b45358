//! A file that is not there is refused by name, with a next step, by everything that reads files.

use super::overwrite::{PATHS, Role};
use super::{dermal, fixture, photo};

/// No such file.
const GONE: &str = "/no/such/file.yaml";

/// A command line in which an option or argument names a file that is not there.
fn line(command: &str, id: &str, out: &str) -> Vec<String> {
    let demo = format!("{}/models/demo.safetensors", env!("CARGO_MANIFEST_DIR"));
    let source = fixture("import/nested.keras");
    let source = source.to_str().unwrap();
    let weights = fixture("import/nested.weights.h5");
    let weights = weights.to_str().unwrap();
    let photo = photo("nv_00.jpg");
    // A port at which nobody listens.
    let (redis, url) = ("rediss://127.0.0.1:9", "http://127.0.0.1:9");
    let line: &[&str] = match (command, id) {
        ("import", "source") => &["import", GONE, "-o", out],
        ("import", "labels") => &["import", source, "-o", out, "--labels", GONE],
        ("import", "preprocess") => &["import", source, "-o", out, "--preprocess", GONE],
        ("import", "config") => &["import", weights, "-o", out, "--config", GONE],
        ("import", "fields") => &["import", source, "-o", out, "--fields", GONE],
        ("quantize", "model") => &["quantize", GONE, "-o", out, "--to", "fp16"],
        ("quantize", "calibrate") => &[
            "quantize",
            &demo,
            "-o",
            out,
            "--to=int8",
            "--calibrate",
            GONE,
        ],
        ("quantize", "fields") => &[
            "quantize",
            &demo,
            "-o",
            out,
            "--to=int8",
            "--calibrate",
            "fixtures/labels.csv",
            "--fields",
            GONE,
        ],
        ("predict", "images") => &["predict", GONE],
        ("predict", "model") => &["predict", "--model", GONE, &photo],
        ("predict", "fields") => &["predict", &photo, "--fields", GONE],
        ("compare", "base") => &["compare", GONE, "--fixtures", "fixtures/labels.csv"],
        ("compare", "candidate") => &["compare", &demo, GONE, "--fixtures", "fixtures/labels.csv"],
        ("compare", "fixtures") => &["compare", &demo, "--fixtures", GONE],
        ("compare", "fields") => &[
            "compare",
            &demo,
            "--fixtures",
            "fixtures/labels.csv",
            "--fields",
            GONE,
        ],
        ("inspect", "check_layers") => &["inspect", "--check-layers", GONE],
        ("inspect" | "bench" | "estimate" | "serve", "model") => &[command, GONE],
        ("export", "model") => &["export", GONE, "-o", "new.onnx"],
        ("diff", "first") => &["diff", GONE, GONE],
        ("diff", "second") => &["diff", &demo, GONE],
        ("check", "config") => &["check", "--config", GONE],
        ("serve", "api_keys_file") => &["serve", "--port=0", "--api-keys-file", GONE],
        ("serve", "redis_ca") => &["serve", "--port=0", "--redis", redis, "--redis-ca", GONE],
        ("worker", "model") => &["worker", GONE, "--redis", redis],
        ("worker", "redis_ca") => &["worker", "--redis", redis, "--redis-ca", GONE],
        ("probe", "images") => &["probe", url, "--images", GONE],
        _ => panic!("say how `{command}` is told of `{id}`"),
    };
    line.iter().map(|&word| word.to_owned()).collect()
}

#[test]
fn every_file_that_is_not_there_is_refused_with_a_next_step() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("new.safetensors");
    for (command, id, role) in PATHS {
        if role == Role::Reads {
            let ran = dermal(line(command, id, out.to_str().unwrap()));
            // INT8 may warn first, on a CPU or in a build where it is slow.
            assert_eq!(ran.code, Some(2), "{}", ran.stderr);
            assert_eq!(ran.stdout, "");
            let error = &ran.stderr[ran.stderr.find("error: ").unwrap()..];
            assert!(
                error.contains(GONE) && error.contains("\nhint: "),
                "{error}"
            );
            assert!(!ran.stderr.contains("preset `"), "{}", ran.stderr);
            assert!(!out.exists(), "{command} {id}");
        }
    }
}

/// The words of the next step where the path alone does not tell what is wanted.
#[test]
fn the_next_step_names_the_option() {
    for ((command, id), says) in [
        (
            ("serve", "api_keys_file"),
            "a text file with one key a line",
        ),
        (
            ("serve", "redis_ca"),
            "a PEM file with the authority's certificate",
        ),
        (
            ("worker", "redis_ca"),
            "a PEM file with the authority's certificate",
        ),
        (("probe", "images"), "give the path of a folder with photos"),
        (("import", "preprocess"), "check the path of `--preprocess`"),
        (("predict", "fields"), "check the path"),
    ] {
        dermal(line(command, id, "/tmp/never.safetensors")).refuses(&[says]);
    }
}
