//! Every layer and attribute that the importer accepts, compared with Keras' results. Models and
//! numbers are `fixtures/keras`, written by `scripts/golden_keras.py` and
//! `scripts/golden_keras_tokens.py` (versions in `golden.json`).
//!
//! Each model is imported, then compared with Keras branch by branch: on candle as imported, and in
//! the engine after the passes, on each instruction set and with one and two threads.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::common::head::answer;
use dermal::Hint;
use dermal::engine::{Engine, Options};
use dermal::graph::{Graph, Op, pass};
use dermal::import::facts::{self, LossKind};
use dermal::import::{ImportError, ImportOptions, Imported, import, supported_ops};
use dermal::kernels::Isa;
use dermal::reference::Reference;
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
    #[serde(default)]
    refused: Vec<Refused>,
    #[serde(default)]
    facts: Vec<Facts>,
}

#[derive(Deserialize)]
struct Case {
    /// The same model in different formats.
    files: Vec<String>,
    inputs: BTreeMap<String, Input>,
    /// The requested output, of several.
    output: Option<String>,
    /// Stretches of the output, in order.
    branches: Vec<Branch>,
}

#[derive(Deserialize)]
struct Input {
    shape: Vec<usize>,
    values: Vec<f32>,
}

#[derive(Deserialize)]
struct Branch {
    name: String,
    shape: Vec<usize>,
    /// It only moves numbers, compares them or rounds them once, so every bit is defined.
    exact: bool,
    output: Vec<f32>,
}

#[derive(Deserialize)]
struct Refused {
    file: String,
    kind: String,
    says: String,
}

/// The facts that the importer must find about a model.
#[derive(Deserialize)]
struct Facts {
    file: String,
    output: Option<String>,
    /// Kind of loss, and whether it takes logits.
    loss: Option<(String, bool)>,
    /// The pixels that its own scaling expects.
    scaling: Option<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/keras")
}

/// Beside the files of today's Keras: those of TensorFlow 2.13, layers of transformers, and models with
/// `channels_first` layers.
const PARTS: [&str; 3] = ["2_13", "tokens", "channels_first"];

fn golden() -> Golden {
    let read = |folder: PathBuf| -> Golden {
        let bytes = std::fs::read(folder.join("golden.json")).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let mut today = read(folder());
    for part in PARTS {
        today.cases.extend(read(folder().join(part)).cases);
    }
    today
}

/// The models: `.keras` files as they are, `.h5` files (nine tenths padding) from one zip.
struct Models {
    unpacked: tempfile::TempDir,
}

impl Models {
    fn new() -> Self {
        let unpacked = tempfile::tempdir().unwrap();
        for part in [""].into_iter().chain(PARTS) {
            let file = std::fs::File::open(folder().join(part).join("h5.zip")).unwrap();
            let mut zip = zip::ZipArchive::new(file).unwrap();
            zip.extract(unpacked.path().join(part)).unwrap();
        }
        Self { unpacked }
    }

    fn load(&self, file: &str, output: Option<&str>) -> Result<Imported, ImportError> {
        let unpacked = self.unpacked.path().join(file);
        let path = if unpacked.exists() {
            unpacked
        } else {
            folder().join(file)
        };
        // Weights alone belong to the model that the rest of the name says.
        let stem = file.strip_suffix("weights.h5");
        let stem = stem.map(|stem| stem.trim_end_matches("_old_").trim_end_matches('.'));
        let options = ImportOptions {
            config: stem.map(|stem| self.unpacked.path().join(format!("{stem}.json"))),
            output: output.map(str::to_owned),
            ..ImportOptions::default()
        };
        import(&path, &options, &mut |_| {})
    }
}

/// One line for each difference, as `model, who: branch [index]: ...`.
fn differences(who: &str, case: &Case, got: &[f32]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = got;
    for branch in &case.branches {
        let Some((stretch, after)) = rest.split_at_checked(branch.output.len()) else {
            found.push(format!("{who}: the output ends before `{}`", branch.name));
            return found;
        };
        rest = after;
        if let Some(index) = first_difference(branch, stretch) {
            found.push(format!(
                "{who}: branch `{}` {:?} [{index}]: expected {:?}, got {:?}",
                branch.name, branch.shape, branch.output[index], stretch[index]
            ));
        }
    }
    if !rest.is_empty() {
        found.push(format!("{who}: {} numbers too many", rest.len()));
    }
    found
}

/// As a share of a branch's greatest value. Sums have up to 300 terms of its size. Their roundings
/// of 6e-8 add up like a random walk, to 1e-6, in Keras and here.
const TOLERANCE: f32 = 2e-6;

fn first_difference(branch: &Branch, got: &[f32]) -> Option<usize> {
    let most = branch.output.iter().fold(1f32, |m, v| m.max(v.abs()));
    let tolerance = if branch.exact { 0.0 } else { TOLERANCE * most };
    // Not `>`, because a NaN would pass.
    let near = |got: f32, expected: f32| (got - expected).abs() <= tolerance;
    (0..got.len()).find(|&i| !near(got[i], branch.output[i]))
}

fn on_candle(graph: &Graph, case: &Case) -> Vec<f32> {
    let inputs = case.inputs.iter();
    let inputs = inputs.map(|(name, input)| (name.as_str(), input.values.as_slice()));
    Reference::new(graph).run(&inputs.collect()).unwrap()
}

fn in_engine(graph: &Graph, case: &Case, options: &Options) -> Vec<f32> {
    let mut engine = Engine::new(graph, options).unwrap();
    // Twice: the second run finds the arena full of the first one's values.
    for _ in 0..2 {
        for (id, node) in graph.inputs() {
            let values = &case.inputs[&node.name].values;
            engine.input_mut(id).copy_from_slice(values);
        }
        engine.run();
    }
    engine.output().to_vec()
}

fn compare(models: &Models, file: &str, case: &Case) -> Vec<String> {
    let graph = match models.load(file, case.output.as_deref()) {
        Ok(imported) => imported.graph,
        Err(error) => return vec![format!("{file}: {error}")],
    };
    for (_, node) in graph.inputs() {
        let given = case.inputs.get(&node.name).map(|input| &input.shape[..]);
        if given != Some(node.shape.dims()) {
            return vec![format!(
                "{file}: input `{}` {} is not that of Keras",
                node.name, node.shape
            )];
        }
    }
    let candle = on_candle(&graph, case);
    let mut found = differences(&format!("{file}, candle"), case, &candle);
    let (graph, head) = pass::split_head(graph).unwrap();
    let graph = pass::optimize(graph).unwrap();
    for isa in Isa::available() {
        for threads in [1, 2] {
            let options = Options {
                threads,
                isa,
                keep: vec![],
            };
            let got = answer(head, &in_engine(&graph, case, &options));
            found.extend(differences(
                &format!("{file}, {isa}, {threads} threads"),
                case,
                &got,
            ));
        }
    }
    found
}

#[test]
fn every_layer_gives_what_keras_gives() {
    let (golden, models) = (golden(), Models::new());
    let mut found = Vec::new();
    for case in &golden.cases {
        for file in &case.files {
            found.extend(compare(&models, file, case));
        }
    }
    assert!(
        found.is_empty(),
        "{} differences\n{}",
        found.len(),
        found.join("\n")
    );
}

#[test]
fn a_channels_first_classifier_moves_no_element() {
    let models = Models::new();
    let imported = models.load("channels_first/first_classifier.keras", None);
    let graph = pass::optimize(imported.unwrap().graph).unwrap();
    let moved = |node: &&dermal::graph::Node| matches!(node.op, Op::Transpose { .. });
    let moved: Vec<_> = graph.nodes().iter().filter(moved).collect();
    assert!(moved.is_empty(), "{moved:?}");
}

/// The fixtures contain every class on the list. Functions of TensorFlow have lower-case names
/// there, and are one class in a model, so they are not distinguished here.
#[test]
fn no_supported_class_is_missing() {
    let (golden, models) = (golden(), Models::new());
    let mut seen = BTreeSet::new();
    let files = golden
        .cases
        .iter()
        .flat_map(|case| case.files.iter().map(move |file| (file, case)));
    for (file, case) in files {
        let graph = models.load(file, case.output.as_deref()).unwrap().graph;
        let layers = graph.nodes().iter().flat_map(|node| &node.layers);
        seen.extend(layers.map(|layer| layer.class.clone()));
    }
    let ops = supported_ops()
        .into_iter()
        .filter(|op| op.format == "keras");
    let classes = ops.map(|op| op.name);
    let missing: Vec<_> = classes
        .filter(|class| class.starts_with(char::is_uppercase) && !seen.contains(*class))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_refused_is_named() {
    let (golden, models) = (golden(), Models::new());
    assert!(golden.refused.len() >= 20);
    let mut found = Vec::new();
    for case in &golden.refused {
        match models.load(&case.file, None) {
            Ok(_) => found.push(format!("{}: imported", case.file)),
            Err(error) => {
                let text = error.to_string();
                if error.kind() != case.kind || !text.contains(&case.says) {
                    found.push(format!(
                        "{}: expected {} with {}, got {}: {text}",
                        case.file,
                        case.kind,
                        case.says,
                        error.kind()
                    ));
                }
                assert!(!error.hint().is_empty(), "{}", case.file);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_a_model_says_about_itself_is_found() {
    let (golden, models) = (golden(), Models::new());
    assert!(golden.facts.len() >= 20);
    for case in &golden.facts {
        let imported = models.load(&case.file, case.output.as_deref()).unwrap();
        if let Some((kind, from_logits)) = &case.loss {
            let loss = imported.loss.as_ref().unwrap();
            let expected = match kind.as_str() {
                "binary" => LossKind::Binary,
                "categorical" => LossKind::Categorical,
                _ => LossKind::Other,
            };
            let got = (loss.kind, loss.from_logits);
            assert_eq!(got, (expected, *from_logits), "{}: {loss:?}", case.file);
        }
        let scaling = facts::input_scaling(&imported.graph);
        let pixels = scaling.as_ref().map(|scaling| {
            // 255 / 8 = 32, and means of colours are 100 and more.
            let (scale, shift) = (scaling.scale[0].abs(), scaling.shift[0].abs());
            if scale <= 0.125 || shift >= 16.0 {
                "bytes"
            } else {
                "unit"
            }
        });
        assert_eq!(
            pixels,
            case.scaling.as_deref(),
            "{}: {scaling:?}",
            case.file
        );
    }
}

#[test]
fn a_wrong_number_names_its_branch() {
    let mut case = golden().cases.swap_remove(0);
    let right: Vec<f32> = case
        .branches
        .iter()
        .flat_map(|b| &b.output)
        .copied()
        .collect();
    assert!(differences("x", &case, &right).is_empty());
    let branch = &mut case.branches[3];
    branch.output[2] += 1e-4 * branch.output.iter().fold(1f32, |m, v| m.max(v.abs()));
    let found = differences("x", &case, &right);
    assert_eq!(found.len(), 1);
    assert!(
        found[0].contains(&format!("branch `{}`", case.branches[3].name))
            && found[0].contains("[2]"),
        "{}",
        found[0]
    );
    case.branches[3].output[2] = f32::NAN;
    assert_eq!(differences("x", &case, &right).len(), 1);
    assert_eq!(
        differences("x", &case, &right[1..])
            .last()
            .unwrap()
            .matches("ends before")
            .count(),
        1
    );
}
