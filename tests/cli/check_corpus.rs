//! `dermal check` on the corpus under `fixtures/projects`: it finds every planted mistake, and
//! clean projects get no findings. Also: the documentation has a section for each rule.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use dermal::artifact::{
    self, ComparisonRecord, EvidenceRecord, ImportWarning, InputKind, Model, Preprocessing,
};
use dermal::readiness::rules;
use dermal::tensor::Shape;
use serde::Deserialize;
use serde_json::Value;

type Files = BTreeMap<String, String>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variation {
    name: String,
    base: String,
    /// The fact of `facts.yaml` that makes the project wrong, or that makes it right.
    fact: String,
    #[serde(default)]
    expects: Option<String>,
    /// Warnings that a clean project gets, because some facts cannot be known.
    #[serde(default)]
    warns: Vec<String>,
    #[serde(default)]
    files: Files,
    #[serde(default)]
    replace: BTreeMap<String, [String; 2]>,
    #[serde(default)]
    remove: Vec<String>,
    /// Also run the model inside the platform's limits.
    #[serde(default)]
    prove: bool,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn read<T: for<'de> Deserialize<'de>>(name: &str) -> T {
    let text = fs::read_to_string(root().join("fixtures/projects").join(name)).unwrap();
    serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Records a warning of the import, as the artifact stores it.
fn warned(model: &mut Model, kind: &str, message: &str) {
    model.manifest.provenance.warnings = vec![ImportWarning {
        kind: kind.to_owned(),
        message: message.to_owned(),
    }];
}

/// The contents that names such as `@demo` stand for.
struct Contents {
    folder: tempfile::TempDir,
    made: BTreeMap<&'static str, Vec<u8>>,
}

impl Contents {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = root();
        let demo = fs::read(root.join("models/demo.safetensors")).unwrap();
        let half = folder.path().join("half.safetensors");
        let status = Command::new(env!("CARGO_BIN_EXE_dermal"))
            .arg("quantize")
            .arg(root.join("models/demo.safetensors"))
            .arg("-o")
            .arg(&half)
            .args(["--to", "fp16", "--json"])
            .output()
            .unwrap();
        assert!(status.status.success());
        let changed = |change: &dyn Fn(&mut Model)| {
            let mut model = artifact::embedded().unwrap();
            change(&mut model);
            let path = folder.path().join("changed.safetensors");
            artifact::write(&path, &model).unwrap();
            fs::read(path).unwrap()
        };
        let judged = |verdict: &str| {
            let mut model = artifact::load(&half).unwrap();
            model.manifest.evidence = Some(EvidenceRecord {
                tool_version: "0.1.0".to_owned(),
                source: "labels.csv".to_owned(),
                photos: 210,
                top1: 0.95,
                sensitivity: vec![Some(0.9); model.manifest.labels.len()],
                comparison: Some(ComparisonRecord {
                    base_sha256: "00".repeat(32),
                    verdict: verdict.to_owned(),
                    sentence: format!("So it is: {verdict}."),
                    margin: 0.01,
                }),
            });
            let path = folder.path().join("judged.safetensors");
            artifact::write(&path, &model).unwrap();
            fs::read(path).unwrap()
        };
        let made = BTreeMap::from([
            ("@demo", demo),
            ("@fp16", fs::read(&half).unwrap()),
            (
                "@placeholder",
                changed(&|model| {
                    for (i, label) in model.manifest.labels.iter_mut().enumerate() {
                        *label = format!("class_{i}");
                    }
                }),
            ),
            (
                "@raw",
                changed(&|model| {
                    for input in &mut model.manifest.inputs {
                        if let InputKind::Image { preprocessing } = &mut input.kind {
                            let shape = model.graph.inputs().next().unwrap().1.shape.hwc();
                            *preprocessing = Preprocessing::preset("raw", shape.unwrap()).unwrap();
                        }
                    }
                }),
            ),
            (
                "@scaled-twice",
                changed(&|model| warned(model, "scaled_twice", "`unit` scales the pixels")),
            ),
            (
                "@assumed-head",
                changed(&|model| warned(model, "assumed_softmax", "softmax is taken")),
            ),
            ("@equivalent", judged("equivalent")),
            ("@worse", judged("worse")),
            (
                "@large",
                changed(&|model| {
                    let (input, node) = model.graph.inputs().next().unwrap();
                    let shape = Shape::new(&[1280, 1280, node.shape.hwc().unwrap()[2]]);
                    model.graph = model.graph.with_input_shape(input, &shape).unwrap();
                    model.manifest.self_test = None;
                }),
            ),
            (
                "@photo",
                fs::read(root.join("fixtures/images/mel_00.jpg")).unwrap(),
            ),
            ("@noise", vec![0x5a; 4096]),
        ]);
        Self { folder, made }
    }

    fn of(&self, text: &str) -> Vec<u8> {
        let made = self.made.get(text.trim());
        made.cloned().unwrap_or_else(|| text.as_bytes().to_vec())
    }

    /// Puts the files of a variation into a folder.
    fn lay_out(&self, at: &Path, bases: &BTreeMap<String, Files>, variation: &Variation) {
        let mut files = bases[&variation.base].clone();
        for path in &variation.remove {
            assert!(
                files.remove(path).is_some(),
                "{}: no {path}",
                variation.name
            );
        }
        files.extend(variation.files.clone());
        for (path, [from, to]) in &variation.replace {
            let text = files
                .get_mut(path)
                .unwrap_or_else(|| panic!("{}: no {path}", variation.name));
            assert!(
                variation.files.contains_key(path) || text.contains(from),
                "{}: `{from}` is not in\n{text}",
                variation.name
            );
            *text = text.replacen(from, to, 1);
        }
        let hashes: Vec<(String, String)> = files
            .iter()
            .filter(|(_, text)| text.starts_with('@'))
            .map(|(path, text)| (format!("{{sha256 {path}}}"), self.sha256(text)))
            .collect();
        for (path, text) in &files {
            // Put together here, so that this repository contains no text that looks like a token.
            let mut text = text.replace("{token}", &format!("ghp_{}", "16C7e42F29".repeat(4)));
            for (name, hash) in &hashes {
                text = text.replace(name, hash);
            }
            let path = at.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(path)
                .unwrap()
                .write_all(&self.of(&text))
                .unwrap();
        }
    }

    fn sha256(&self, name: &str) -> String {
        let path = self.folder.path().join("hashed");
        File::create(&path)
            .unwrap()
            .write_all(&self.of(name))
            .unwrap();
        dermal::file::sha256_of_file(&path, &mut |_, _| {}).unwrap()
    }
}

struct Checked {
    code: Option<i32>,
    time: Duration,
    document: Value,
}

fn check(folder: &Path, options: &[&str]) -> Checked {
    let since = Instant::now();
    let output = Command::new(env!("CARGO_BIN_EXE_dermal"))
        .args(["check", "--json", "--config"])
        .arg(folder)
        .args(options)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    Checked {
        code: output.status.code(),
        time: since.elapsed(),
        document: serde_json::from_str(&text).unwrap_or_else(|error| {
            panic!(
                "{error}: {text} {}",
                String::from_utf8_lossy(&output.stderr)
            )
        }),
    }
}

/// Rules and places of the findings, without notes.
fn found(document: &Value) -> Vec<(String, String)> {
    all_found(document, |severity| severity != "note")
}

fn all_found(document: &Value, wanted: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let findings = document["findings"].as_array().unwrap().iter();
    findings
        .filter(|finding| wanted(finding["severity"].as_str().unwrap()))
        .map(|finding| {
            (
                finding["id"].as_str().unwrap().to_owned(),
                format!(
                    "{}:{} {}",
                    finding["file"].as_str().unwrap(),
                    finding["line"],
                    finding["what"].as_str().unwrap()
                ),
            )
        })
        .collect()
}

/// Lays each project out and checks it; `wrong` describes each difference from the expectation.
fn try_all(
    variations: &[Variation],
    wrong: impl Fn(&Variation, &Checked) -> Option<String> + Sync,
) -> (Vec<String>, Duration) {
    let bases: BTreeMap<String, Files> = read("bases.yaml");
    let contents = Contents::new();
    let one = |variation: &Variation| {
        let folder = tempfile::tempdir().unwrap();
        contents.lay_out(folder.path(), &bases, variation);
        let options = if variation.prove {
            &["--prove"][..]
        } else {
            &[]
        };
        let checked = check(folder.path(), options);
        let time = if variation.prove {
            Duration::ZERO
        } else {
            checked.time
        };
        let what = wrong(variation, &checked).map(|what| {
            let (name, code) = (&variation.name, checked.code);
            let found = all_found(&checked.document, |_| true);
            format!("{name} ({what}, exit {code:?}): {found:#?}")
        });
        (what, time)
    };
    let mut wrong = Vec::new();
    let mut slowest = Duration::ZERO;
    for variation in variations {
        let (what, time) = one(variation);
        wrong.extend(what);
        slowest = slowest.max(time);
    }
    (wrong, slowest)
}

#[test]
fn every_planted_mistake_is_found_and_clean_projects_raise_no_alarm() {
    let mistakes: Vec<Variation> = read("mistakes.yaml");
    let clean: Vec<Variation> = read("clean.yaml");
    let since = Instant::now();
    let (missed, slowest) = try_all(&mistakes, |mistake, checked| {
        let expected = mistake.expects.as_deref().unwrap();
        let rule = rules::by_id(expected).unwrap_or_else(|| panic!("no rule {expected}"));
        let found = all_found(&checked.document, |_| true);
        let not_ready = rule.severity == rules::Severity::Error;
        let fine =
            found.iter().any(|(id, _)| id == rule.id) && (!not_ready || checked.code == Some(1));
        (!fine).then(|| format!("expects {expected}"))
    });
    let (alarmed, slow) = try_all(&clean, |clean, checked| {
        let found = found(&checked.document);
        let allowed = |(id, _): &(String, String)| clean.warns.contains(id);
        let all_there = clean
            .warns
            .iter()
            .all(|id| found.iter().any(|(f, _)| f == id));
        let fine = found.iter().all(allowed) && all_there && checked.code == Some(0);
        (!fine).then(|| format!("warns {:?}", clean.warns))
    });
    println!(
        "{} mistakes, {} of them missed; {} clean projects, {} of them with an alarm; {:?} in all, \
         {:?} at most",
        mistakes.len(),
        missed.len(),
        clean.len(),
        alarmed.len(),
        since.elapsed(),
        slowest.max(slow)
    );
    assert!(mistakes.len() >= 200 && clean.len() >= 100);
    assert!(missed.is_empty(), "missed: {}", missed.join("\n"));
    assert!(alarmed.is_empty(), "alarmed: {}", alarmed.join("\n"));
    assert!(slowest.max(slow) < Duration::from_secs(5), "{slowest:?}");
}

/// Projects that were written before the rules, and not used while the rules were written.
#[test]
fn projects_that_were_held_out_are_judged_right() {
    let held_out: Vec<Variation> = read("held-out.yaml");
    let (wrong, _) = try_all(&held_out, |project, checked| {
        let severe = |severity: &str| !all_found(&checked.document, |s| s == severity).is_empty();
        let fine = match project.expects.as_deref() {
            Some("error") => checked.code == Some(1),
            Some("warning") => severe("warning") || severe("error"),
            Some(other) => panic!("{}: {other}", project.name),
            None => checked.code == Some(0),
        };
        (!fine).then(|| format!("expects {:?}", project.expects))
    });
    println!(
        "{} projects held out, {} wrong",
        held_out.len(),
        wrong.len()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_project_names_a_fact_and_every_fact_is_used() {
    let facts: BTreeMap<String, String> = read("facts.yaml");
    let mut unused: Vec<&String> = facts.keys().collect();
    for file in ["mistakes.yaml", "clean.yaml", "held-out.yaml"] {
        let variations: Vec<Variation> = read(file);
        let mut names = Vec::new();
        for variation in &variations {
            let (name, fact) = (&variation.name, &variation.fact);
            assert!(facts.contains_key(fact), "{file}: {name}: no fact `{fact}`");
            assert!(!names.contains(&name), "{file}: {name} is there twice");
            unused.retain(|other| *other != fact);
            names.push(name);
        }
    }
    assert!(unused.is_empty(), "facts without a project: {unused:?}");
}

#[test]
fn every_rule_has_a_planted_mistake() {
    let mistakes: Vec<Variation> = read("mistakes.yaml");
    let without: Vec<&str> = rules::ALL
        .iter()
        .map(|rule| rule.id)
        .filter(|&id| mistakes.iter().all(|m| m.expects.as_deref() != Some(id)))
        .collect();
    assert!(without.is_empty(), "no planted mistake for {without:?}");
}

#[test]
fn the_documentation_has_a_section_for_each_rule() {
    let text = fs::read_to_string(root().join("docs/checks.md")).unwrap();
    let sections: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("### `")?.strip_suffix('`'))
        .collect();
    let ids: Vec<&str> = rules::ALL.iter().map(|rule| rule.id).collect();
    assert_eq!(
        sections, ids,
        "docs/checks.md follows src/readiness/rules.rs"
    );
    for rule in rules::ALL {
        let start = text.find(&format!("### `{}`", rule.id)).unwrap();
        let section = &text[start + 4..];
        let section = &section[..section.find("\n#").unwrap_or(section.len())];
        for part in [rule.severity.name(), rule.why, rule.fix] {
            assert!(section.contains(part), "{}: `{part}`", rule.id);
        }
    }
}

#[test]
fn this_project_passes_its_own_check() {
    let checked = check(&root(), &[]);
    let found = found(&checked.document);
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(checked.code, Some(0));
}
