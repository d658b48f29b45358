//! `dermal check`: exit codes, formats, bad settings.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::{dermal, listing};

fn put(folder: &Path, name: &str, text: &str) {
    File::create(folder.join(name))
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

fn check(folder: &Path, args: &[&str]) -> super::Ran {
    let mut all = vec!["check", "--config", folder.to_str().unwrap()];
    all.extend(args);
    dermal(all)
}

/// A project with two errors and a warning.
fn broken() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    put(
        folder.path(),
        "Procfile",
        "web: gunicorn a,b:c --bind 127.0.0.1:8000\n",
    );
    put(folder.path(), ".env", "DEBUG=1\n");
    put(
        folder.path(),
        "Dockerfile",
        "FROM debian\nCOPY . /srv\nUSER 1\nCMD exec dermal serve m.safetensors\n",
    );
    folder
}

#[test]
fn findings_say_what_where_why_and_how_to_fix() {
    let folder = broken();
    let ran = check(folder.path(), &[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    for part in [
        "Procfile:1: error [start-other-program]\n  `gunicorn a,b:c --bind 127.0.0.1:8000` is not \
         `dermal serve`\n  why: this starts",
        "Dockerfile:4: error [model-missing]\n  there is no `m.safetensors`\n",
        "Dockerfile:1: warning [docker-unpinned-base]",
        ".env: error [env-file-shipped]",
        "  fix: start `dermal serve MODEL",
        "not ready: ",
    ] {
        let part = part.replace("fix: bind", "fix: ");
        assert!(
            ran.stdout.contains(&part),
            "`{part}` is not in {}",
            ran.stdout
        );
    }
}

#[test]
fn every_format_has_the_same_findings() {
    let folder = broken();
    let json = check(folder.path(), &["--json"]).json();
    assert_eq!(json["ready"], false);
    let findings = json["findings"].as_array().unwrap();

    let sarif = check(folder.path(), &["--format", "sarif"]).json();
    assert_eq!(sarif["version"], "2.1.0");
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    assert_eq!(results.len(), findings.len());
    let known = sarif["runs"][0]["tool"]["driver"]["rules"]
        .as_array()
        .unwrap();
    for result in results {
        assert!(known.iter().any(|rule| rule["id"] == result["ruleId"]));
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().unwrap() >= 1);
    }

    let junit = check(folder.path(), &["--format", "junit"]).stdout;
    assert!(junit.starts_with("<?xml version=\"1.0\""), "{junit}");
    let failures = junit.matches("<failure ").count();
    assert!(failures >= 3);
    assert!(
        junit.contains(&format!("failures=\"{failures}\"")),
        "{junit}"
    );
    assert_eq!(junit.matches("<testcase ").count(), known.len());

    let github = check(folder.path(), &["--format", "github"]).stdout;
    let line = "::error file=Procfile,line=1,title=start-other-program::`gunicorn a,b:c";
    assert!(github.contains(line), "{github}");
    assert_eq!(github.matches("\n::").count() + 1, findings.len());

    let markdown = check(folder.path(), &["--format", "markdown"]).stdout;
    assert_eq!(
        markdown.matches("\n| ").count() - 1,
        findings.len(),
        "{markdown}"
    );
}

#[test]
fn init_writes_settings_once_and_they_read() {
    let folder = tempfile::tempdir().unwrap();
    let ran = check(folder.path(), &["--init"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert_eq!(listing(folder.path()), ["dermal.yaml"]);
    let again = check(folder.path(), &["--init"]);
    again.refuses(&["already exists"]);
    // The model that it names does not exist.
    let ran = check(folder.path(), &["--json"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.json()["findings"][0]["id"], "model-missing");
}

#[test]
fn what_cannot_be_told_is_exit_status_2() {
    let folder = tempfile::tempdir().unwrap();
    for (text, says) in [
        (
            "model: ../outside.safetensors\n",
            "leads out of the project",
        ),
        ("modell: x\n", "did you mean `model`?"),
        ("a: &a [x]\nb: [*a]\n", "an anchor"),
        ("platform: render-fre\n", "did you mean `render-free`?"),
        (
            "concurrency: many\n",
            "line 1: `concurrency`: expected a whole number",
        ),
    ] {
        put(folder.path(), "dermal.yaml", text);
        check(folder.path(), &[]).refuses(&[says]);
    }
    dermal(["check", "--config", "/nonexistent/dermal.yaml"]).refuses(&["there is no"]);
}

#[test]
fn an_empty_folder_is_ready() {
    let folder = tempfile::tempdir().unwrap();
    let ran = check(folder.path(), &["--json"]);
    assert_eq!(ran.code, Some(0));
    assert_eq!(ran.json()["findings"], Value::Array(vec![]));
}

/// The rules about accuracy that a folder breaks.
fn about_accuracy(folder: &Path) -> Vec<String> {
    let json = check(folder, &["--format", "json"]).json();
    let findings = json["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["id"].as_str().unwrap().to_owned())
        .filter(|id| id.starts_with("accuracy-"))
        .collect()
}

/// `check` reads the file that `compare` writes.
#[test]
fn evidence_is_a_document_of_compare() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("models/demo.safetensors");
    std::fs::copy(&demo, folder.path().join("model.safetensors")).unwrap();
    let demo = demo.to_str().unwrap();
    let table = root.join("fixtures/labels.csv");
    let table = table.to_str().unwrap();
    let compared = dermal(["compare", demo, demo, "--fixtures", table, "--json"]);
    assert_eq!(compared.code, Some(3), "{}", compared.stderr);
    put(folder.path(), "compare.json", &compared.stdout);
    let ids = |limits: &str| {
        let accuracy = format!("accuracy:\n  evidence: compare.json\n{limits}");
        let settings = format!("model: model.safetensors\n{accuracy}");
        put(folder.path(), "dermal.yaml", &settings);
        about_accuracy(folder.path())
    };
    // 210 photos cannot rule out a loss of one point; top-1 is 0.957.
    assert_eq!(
        ids("  minimum_top1: 0.95\n  sensitivity: {mel: 0.5}\n"),
        ["accuracy-undecided"]
    );
    assert_eq!(
        ids("  minimum_top1: 0.96\n  sensitivity: {mel: 1.0}\n"),
        [
            "accuracy-below-minimum",
            "accuracy-sensitivity",
            "accuracy-undecided"
        ]
    );
    assert_eq!(
        ids("  sensitivity: {measles: 0.1}\n"),
        ["accuracy-evidence-unreadable", "accuracy-undecided"]
    );
}

/// `inspect` shows and `check` reads the result that `compare --attach` stores in an artifact.
#[test]
fn evidence_travels_in_the_artifact() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let demo = root.join("models/demo.safetensors");
    let demo = demo.to_str().unwrap();
    let small = folder.path().join("small.safetensors");
    let small = small.to_str().unwrap();
    let quantized = dermal(["quantize", demo, "-o", small, "--to", "fp16"]);
    assert_eq!(quantized.code, Some(0), "{}", quantized.stderr);
    put(folder.path(), "dermal.yaml", "model: small.safetensors\n");
    let ids = || about_accuracy(folder.path());
    assert_eq!(ids(), ["accuracy-no-evidence"]);
    let table = root.join("fixtures/labels.csv");
    let table = table.to_str().unwrap();
    let against = |margin: &str| {
        let models = ["compare", demo, small, "--fixtures", table];
        let rest = ["--margin", margin, "--attach", "--heat-maps", "0", "--json"];
        dermal(models.into_iter().chain(rest))
    };
    let judged = against("2pp");
    assert_eq!(judged.code, Some(0), "{}", judged.stderr);
    assert_eq!(ids(), Vec::<String>::new());
    // The reported hash is that of the file after it was changed.
    let hash = dermal::file::sha256_of_file(Path::new(small), &mut |_, _| {}).unwrap();
    let models = &judged.json()["models"];
    assert_eq!(models[1]["sha256"], hash.as_str());
    let shown = dermal(["inspect", small, "--json"]).json();
    let evidence = &shown["evidence"];
    assert_eq!(evidence["photos"], 210);
    assert_eq!(evidence["comparison"]["base_sha256"], models[0]["sha256"]);
    assert_eq!(evidence["top1"], models[1]["evaluation"]["top1"]["value"]);
    let text = dermal(["inspect", small]).stdout;
    assert!(text.contains("of 210 photos (labels.csv)"), "{text}");
    // The second result replaces the first; and a margin that is too small is noticed.
    let before = std::fs::metadata(small).unwrap().len();
    assert_eq!(against("1pp").code, Some(3));
    assert!(std::fs::metadata(small).unwrap().len() < before + 400);
    assert_eq!(ids(), ["accuracy-undecided"]);
    // If another file is made from it, the evidence does not apply to that file.
    let widened = folder.path().join("again.safetensors");
    let again = widened.to_str().unwrap();
    let made = dermal(["quantize", small, "-o", again, "--to", "fp16", "--again"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let shown = dermal(["inspect", again, "--json"]).json();
    assert_eq!(shown["evidence"], Value::Null);
}

/// The check tries the photos that dermal.yaml names; a mistake in them is not a verdict.
#[test]
fn accuracy_is_measured_on_the_photos_that_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let copy = |from: &str, to: &str| {
        let to = folder.path().join(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(root.join(from), to).unwrap();
    };
    copy("models/demo.safetensors", "model.safetensors");
    copy("fixtures/images/mel_00.jpg", "photos/mel/a.jpg");
    copy("fixtures/images/nv_00.jpg", "photos/nv/b.jpg");
    let run = |accuracy: &str| {
        let settings = format!("model: model.safetensors\naccuracy:\n{accuracy}");
        put(folder.path(), "dermal.yaml", &settings);
        check(folder.path(), &["--format", "human"])
    };
    let fine = run("  photos: photos\n  minimum_top1: 1.0\n  sensitivity: {mel: 1.0}\n");
    assert_eq!(fine.code, Some(0), "{} {}", fine.stdout, fine.stderr);
    let unseen = run("  photos: photos/\n  sensitivity: {bcc: 0.1}\n");
    assert_eq!(unseen.code, Some(1));
    let place = "dermal.yaml:3: error [accuracy-evidence-unreadable]";
    assert!(unseen.stdout.contains(place), "{}", unseen.stdout);
    run("  photos: pictures\n").refuses(&["dermal.yaml:3", "there is no `pictures`"]);
    run("  photos: photos\n  base: old.safetensors\n").refuses(&["there is no `old.safetensors`"]);
    put(folder.path(), "photos/mel/broken.jpg", "no photo");
    run("  photos: photos\n").refuses(&["dermal.yaml:3", "broken.jpg"]);
}
