//! `dermal import`.

use std::fs;

use super::{dermal, fixture, listing, photo};

#[test]
fn a_model_is_imported_to_the_same_bytes_twice_and_then_runs() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let source = fixture("import/nested.keras");
    let import = |out: &str| {
        dermal([
            "import",
            source.to_str().unwrap(),
            "-o",
            out,
            "--labels",
            "yes,no",
            "--preprocess",
            "unit",
            "--input-default",
            "patient=0,1,0.5",
        ])
    };
    let (a, b) = (at("a.safetensors"), at("b.safetensors"));
    let ran = import(&a);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(ran.stderr, "", "everything was given: no warning");
    assert_eq!(import(&b).code, Some(0));
    assert_eq!(fs::read(&a).unwrap(), fs::read(&b).unwrap());
    assert_eq!(listing(folder.path()), ["a.safetensors", "b.safetensors"]);

    let answer = |more: &[&str]| {
        let photo = photo("nv_00.jpg");
        let line = ["predict", &photo, "--model", &a, "--json"].into_iter();
        let report = dermal(line.chain(more.iter().copied())).json();
        report["images"][0]["predictions"].clone()
    };
    let plain = answer(&[]);
    assert_eq!(plain, answer(&["--input", "patient=0,1,0.5"]));
    assert_ne!(plain, answer(&["--input", "patient=9,-9,9"]));
}

#[test]
fn what_was_not_given_is_said_loudly() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let source = fixture("import/nested.h5");
    let ran = dermal([
        "import".as_ref(),
        source.as_os_str(),
        "-o".as_ref(),
        out.as_os_str(),
    ]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("warning: no labels given"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.contains("class_0, class_1"), "{}", ran.stdout);
}

#[test]
fn a_refused_import_leaves_the_old_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("m.safetensors");
    let out = path.to_str().unwrap();
    fs::copy(fixture("labels.csv"), &path).unwrap();
    let source = fixture("import/nested.keras");
    let source = source.to_str().unwrap();
    let weights = fixture("import/nested.weights.h5");
    let weights = weights.to_str().unwrap();
    for (args, says) in [
        (&[source, "--labels", "a"][..], "1 labels"),
        (&[source, "--labels", "a,a"], "twice"),
        (
            &[source, "--preprocess", "keras-exception"],
            "keras-xception",
        ),
        (&[source, "--input-default", "pat=1"], "no input `pat`"),
        (
            &[source, "--input-default", "patient=1"],
            "expected 3 values",
        ),
        (&[weights], "--config"),
        (&[&photo("nv_00.jpg")], "hint: "),
        (&["no-such.keras"], "no-such.keras"),
    ] {
        let line = ["import", "-o", out]
            .into_iter()
            .chain(args.iter().copied());
        let ran = dermal(line);
        assert_eq!(ran.code, Some(2), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(says), "{args:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("hint: "), "{args:?}: {}", ran.stderr);
        assert_eq!(
            fs::read(&path).unwrap(),
            fs::read(fixture("labels.csv")).unwrap(),
            "{args:?}"
        );
        assert_eq!(listing(folder.path()), ["m.safetensors"], "{args:?}");
    }
}

#[test]
fn supported_layers_are_listed() {
    let ran = dermal(["import", "--list-ops"]);
    assert_eq!(ran.code, Some(0));
    for layer in ["SeparableConv2D", "BatchNormalization", "Dense"] {
        assert!(ran.stdout.contains(layer), "{layer}");
    }
}
