//! `--field` and `--fields`: a patient's numbers made from named facts.

use std::fs;
use std::path::Path;

use serde_json::json;

use super::{dermal, fixture, listing, photo};

const MAPPING: &str = "\
version: 1
inputs:
  patient:
    - one_hot: sex
      values: [female, male]
      aliases: {m: male}
      missing: []
    - number: age
      divide_by: 100
      min: 0
      max: 120
";

fn write(path: &Path, text: &str) -> String {
    fs::write(path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A model that contains the mapping, and its folder.
fn imported(more: &[&str]) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("m.safetensors");
    let out = out.to_str().unwrap().to_owned();
    let source = fixture("import/nested.keras");
    let line = ["import", source.to_str().unwrap(), "-o", &out];
    let line = line
        .into_iter()
        .chain(["--labels", "yes,no", "--preprocess", "unit"]);
    let ran = dermal(line.chain(more.iter().copied()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    (folder, out)
}

#[test]
fn fields_of_the_artifact_give_the_answer_of_their_numbers() {
    let scratch = tempfile::tempdir().unwrap();
    let mapping = write(&scratch.path().join("mapping.yaml"), MAPPING);
    let (folder, model) = imported(&["--fields", &mapping]);
    let (_other, same) = imported(&["--fields", &mapping]);
    assert_eq!(fs::read(&model).unwrap(), fs::read(&same).unwrap());
    let (_plain, without) = imported(&[]);
    let photo = photo("nv_00.jpg");
    let run = |model: &str, more: &[&str]| {
        let line = ["predict", model, &photo, "--json"].into_iter();
        dermal(line.chain(more.iter().copied()))
    };
    let answer =
        |model: &str, more: &[&str]| run(model, more).json()["images"][0]["predictions"].clone();

    let numbers = answer(&without, &["--input", "patient=0,1,0.55"]);
    let fields = ["--field", "sex=M", "--field", "age=55"];
    assert_eq!(answer(&model, &fields), numbers);
    assert_eq!(answer(&model, &["--input", "patient=0,1,0.55"]), numbers);
    assert_ne!(answer(&model, &["--field", "age=55"]), numbers);
    // A model without a mapping uses the one in a file.
    let with_file = [&fields[..], &["--fields", &mapping]].concat();
    assert_eq!(answer(&without, &with_file), numbers);

    let said = run(&model, &["--field", "age=55"]);
    assert_eq!(said.stderr, "", "JSON says it on stdout");
    let expected = json!({
        "given": {"age": "55"},
        "missing": ["sex"],
        "inputs": {"patient": [0.0, 0.0, 0.55]},
    });
    // f32 as JSON: 0.55 is the shortest text of the nearest f32.
    assert_eq!(said.json()["fields"], expected);
    assert!(
        run(&model, &["--input", "patient=0,1,0.55"])
            .json()
            .get("fields")
            .is_none()
    );
    let shown = dermal(["predict", &model, &photo, "--field", "age=55"]);
    assert_eq!(shown.code, Some(0));
    assert!(
        shown.stderr.contains("warning: sex is not given"),
        "{}",
        shown.stderr
    );
    assert_eq!(listing(folder.path()), ["m.safetensors"]);
}

#[test]
fn inspect_shows_the_fields() {
    let scratch = tempfile::tempdir().unwrap();
    let mapping = write(&scratch.path().join("mapping.yaml"), MAPPING);
    let (_folder, model) = imported(&["--fields", &mapping]);
    let text = dermal(["inspect", &model]).stdout;
    for part in [
        "one of female, male (missing: none of them)",
        "a number of 0 to 120, as x / 100 (required)",
        "--fields mapping.yaml",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let report = dermal(["inspect", &model, "--json"]).json();
    let parts = &report["fields"]["inputs"][0]["parts"];
    assert_eq!(parts[1]["field"], "age");
    assert_eq!(parts[0]["missing"], "zeros");
    let demo = dermal(["inspect", "--json"]).json();
    assert!(demo.get("fields").is_none());
}

#[test]
fn wrong_fields_are_refused_with_the_next_step() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let mapping = write(&at("mapping.yaml"), MAPPING);
    let (_folder, model) = imported(&["--fields", &mapping]);
    let (_plain, without) = imported(&[]);
    let photo = photo("nv_00.jpg");
    let refuses = |model: &str, more: &[&str], parts: &[&str]| {
        let line = ["predict", model, &photo].into_iter();
        dermal(line.chain(more.iter().copied())).refuses(parts);
    };
    refuses(
        &model,
        &[],
        &["field `age` is required", "a number of 0 to 120"],
    );
    refuses(
        &model,
        &["--field", "age=55", "--field", "sexe=m"],
        &["no field `sexe`", "did you mean `sex`?"],
    );
    refuses(
        &model,
        &["--field", "age=55", "--field", "age=5"],
        &["given twice"],
    );
    refuses(
        &model,
        &["--field", "age=555"],
        &["a number of 0 to 120, got `555`"],
    );
    refuses(
        &model,
        &["--field", "age=55", "--field", "sex=x"],
        &["does not know `x`", "female, male"],
    );
    refuses(
        &model,
        &["--field", "age=55", "--input", "patient=0,1,0.5"],
        &["field `age`", "leave one of them out"],
    );
    refuses(&model, &["--field", "age"], &["NAME=VALUE"]);
    refuses(
        &without,
        &["--field", "age=55"],
        &["does not say how field `age`", "--fields"],
    );
    refuses(&without, &["--fields", "no-such.yaml"], &["no-such.yaml"]);
    let bomb = format!("a: &a [x]\nb: [{}]\n", "*a, ".repeat(1000));
    for (name, text, says) in [
        ("bomb.yaml", bomb.as_str(), "line 1, column 7: an anchor"),
        (
            "key.yaml",
            &MAPPING.replace("divide_by", "divied_by"),
            "did you mean `divide_by`?",
        ),
        (
            "input.yaml",
            &MAPPING.replace("patient", "patents"),
            "did you mean `patient`?",
        ),
        (
            "short.yaml",
            &MAPPING.replace(", male]", "]").replace("m: male", ""),
            "expected 3 numbers, got 2 (sex 1, age 1)",
        ),
        (
            "version.yaml",
            &MAPPING.replace("version: 1", "version: 7"),
            "version 7",
        ),
        ("tower.yaml", &"[".repeat(50_000), "nested deeper"),
    ] {
        let file = write(&at(name), text);
        refuses(&without, &["--fields", &file], &[name, says, "hint: "]);
        let source = fixture("import/nested.keras");
        let out = at("out.safetensors");
        let out = out.to_str().unwrap();
        let ran = dermal([
            "import",
            source.to_str().unwrap(),
            "-o",
            out,
            "--fields",
            &file,
            "--labels",
            "a,b",
            "--preprocess",
            "unit",
        ]);
        ran.refuses(&[name, says]);
        assert!(!Path::new(out).exists());
    }
    let source = fixture("import/nested.keras");
    let out = at("out.safetensors");
    let line = [
        "import",
        source.to_str().unwrap(),
        "-o",
        out.to_str().unwrap(),
        "--labels",
        "a,b",
        "--preprocess",
        "unit",
    ];
    let both = ["--fields", &mapping, "--input-default", "patient=0,1,0.5"];
    dermal(line.into_iter().chain(both)).refuses(&["has a default", "--input-default"]);
}
