//! Operators of ONNX and the structures that exporters write, against what ONNX Runtime makes of
//! them. Models and numbers are `fixtures/import/onnx`, written by `scripts/onnx_golden.py`
//! (versions in `golden.json`).
//!
//! Each model is imported and compared on candle as imported, and in the engine after the passes,
//! on each instruction set and with one and two threads.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "results for the documentation, and which networks to try"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::common::head::answer;
use dermal::Hint;
use dermal::engine::{Engine, Options};
use dermal::graph::pass;
use dermal::graph::{Graph, Op};
use dermal::import::{Import, ImportError, ImportOptions, Imported, import, supported_ops};
use dermal::kernels::Isa;
use dermal::reference::Reference;
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Golden {
    inputs: BTreeMap<String, Vec<f32>>,
    cases: Vec<Case>,
    refused: Vec<Refused>,
}

#[derive(Deserialize)]
struct Case {
    file: String,
    /// Key of its input, whose values lie as the graph's do.
    input: String,
    output: Vec<f32>,
    output_name: Option<String>,
    input_size: Option<[usize; 2]>,
}

#[derive(Deserialize)]
struct Refused {
    file: String,
    kind: String,
    says: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import/onnx")
}

fn golden() -> Golden {
    golden_of(&folder())
}

fn golden_of(folder: &Path) -> Golden {
    let bytes = std::fs::read(folder.join("golden.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn load(case: &Case) -> Result<Imported, ImportError> {
    load_from(&folder(), case)
}

fn load_from(folder: &Path, case: &Case) -> Result<Imported, ImportError> {
    let options = ImportOptions {
        output: case.output_name.clone(),
        input_size: case.input_size,
        ..ImportOptions::default()
    };
    import(&folder.join(&case.file), &options, &mut |_| {})
}

/// Of the greatest value: sums have up to 300 terms, whose roundings add up like a random walk.
const TOLERANCE: f32 = 1e-5;

fn difference(who: &str, expected: &[f32], got: &[f32]) -> Option<String> {
    if expected.len() != got.len() {
        let (n, m) = (expected.len(), got.len());
        return Some(format!("{who}: expected {n} numbers, got {m}"));
    }
    let most = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    // Not `>`, which would let a NaN pass.
    let near = |i: &usize| (got[*i] - expected[*i]).abs() <= TOLERANCE * most;
    let wrong = (0..got.len()).find(|i| !near(i))?;
    let (e, g) = (expected[wrong], got[wrong]);
    Some(format!("{who}: [{wrong}] expected {e:?}, got {g:?}"))
}

fn in_engine(graph: &Graph, input: &[f32], options: &Options) -> Vec<f32> {
    let mut engine = Engine::new(graph, options).unwrap();
    // Twice: the second run finds the arena full of the first one's values.
    for _ in 0..2 {
        let (id, _) = graph.inputs().next().unwrap();
        engine.input_mut(id).copy_from_slice(input);
        engine.run();
    }
    engine.output().to_vec()
}

fn compare(case: &Case, input: &[f32]) -> Vec<String> {
    let file = &case.file;
    let graph = match load(case) {
        Ok(imported) => imported.graph,
        Err(error) => return vec![format!("{file}: {error}")],
    };
    let photo = BTreeMap::from([("photo", input)]);
    let mut found = Vec::new();
    match Reference::new(&graph).run(&photo) {
        Ok(got) => found.extend(difference(&format!("{file}, candle"), &case.output, &got)),
        Err(error) => found.push(format!("{file}, candle: {error}")),
    }
    let (graph, head) = pass::split_head(graph).unwrap();
    let graph = pass::optimize(graph).unwrap();
    for isa in Isa::available() {
        for threads in [1, 2] {
            let options = Options {
                threads,
                isa,
                keep: vec![],
            };
            let got = answer(head, &in_engine(&graph, input, &options));
            let who = format!("{file}, {isa}, {threads} threads");
            found.extend(difference(&who, &case.output, &got));
        }
    }
    found
}

#[test]
fn every_operator_gives_what_onnx_runtime_gives() {
    let golden = golden();
    assert!(golden.cases.len() > 150);
    let found: Vec<String> = golden
        .cases
        .iter()
        .flat_map(|case| compare(case, &golden.inputs[&case.input]))
        .collect();
    assert!(
        found.is_empty(),
        "{} differences\n{}",
        found.len(),
        found.join("\n")
    );
}

/// The goldens hold every operator on the list, alone or in a structure.
#[test]
fn no_supported_operator_is_missing() {
    let mut text = String::new();
    for case in golden().cases {
        let bytes = std::fs::read(folder().join(case.file)).unwrap();
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    let is_missing = |name: &&str| {
        // The domain is another field.
        let name = name.rsplit('.').next().unwrap();
        // Field 4 of a node: its tag, the length, the name.
        let length = char::from(u8::try_from(name.len()).unwrap());
        !text.contains(&format!("\"{length}{name}"))
    };
    let names = supported_ops().into_iter().filter(|op| op.format == "onnx");
    // `onnx_quantized` has those of quantized models.
    let quantized = |name: &&str| {
        name.contains("Quantize")
            || name.contains("quantize")
            || name.contains("Integer")
            || name.contains(".Q")
            || name.starts_with("QLinear")
    };
    let names = names.map(|op| op.name).filter(|name| !quantized(name));
    let missing: BTreeSet<&str> = names.filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_refused_is_named() {
    let golden = golden();
    assert!(golden.refused.len() >= 15);
    let mut found = Vec::new();
    for case in &golden.refused {
        let path = folder().join(&case.file);
        match import(&path, &ImportOptions::default(), &mut |_| {}) {
            Ok(_) => found.push(format!("{}: imported", case.file)),
            Err(error) => {
                let text = error.to_string();
                if error.kind() != case.kind || !text.contains(&case.says) {
                    let kind = error.kind();
                    found.push(format!("{}: {kind}: {text}", case.file));
                }
                assert!(!error.hint().is_empty(), "{}", case.file);
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Maps in the file's order cost nothing at run time where a network does not look at their order.
#[test]
fn convolutional_networks_have_no_transposes() {
    let golden = golden();
    let mut seen = 0;
    for case in &golden.cases {
        let structure = ["x_", "d_flatten", "c_", "p_"];
        if !structure.iter().any(|start| case.file.starts_with(start)) {
            continue;
        }
        let graph = load(case).unwrap().graph;
        let transposes = graph.nodes().iter();
        let transposes = transposes.filter(|n| matches!(n.op, Op::Transpose { .. }));
        // An output that is a map is given in the file's order.
        let maps = ["c_", "p_", "x_"];
        let allowed = usize::from(maps.iter().any(|start| case.file.starts_with(start)));
        let names: Vec<&str> = transposes.map(|n| n.name.as_str()).collect();
        let at_output = names.iter().filter(|n| n.contains("/output")).count();
        assert!(names.len() <= allowed, "{}: {names:?}", case.file);
        assert_eq!(at_output, names.len(), "{}: {names:?}", case.file);
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

/// A network that `scripts/onnx_architectures.py` has exported.
#[derive(Deserialize)]
struct Network {
    file: String,
    /// The file of its photos, which lie as the graph's input does.
    input: String,
    input_name: String,
    /// What ONNX Runtime answers to each.
    outputs: Vec<Vec<f32>>,
    input_size: Option<[usize; 2]>,
}

#[derive(Deserialize)]
struct Networks {
    cases: Vec<Network>,
}

/// What is written for the table of docs/onnx-architectures.md.
#[derive(Serialize)]
#[serde(untagged)]
enum Measured {
    Compared {
        file: String,
        /// The largest difference as a part of the range of the answers.
        difference: f32,
        /// Photos whose first class is the same.
        same: usize,
        photos: usize,
        transposes: usize,
    },
    Refused {
        file: String,
        error: String,
    },
}

fn measure(folder: &Path, case: &Network, photos: usize) -> Result<Measured, ImportError> {
    let options = ImportOptions {
        input_size: case.input_size,
        ..ImportOptions::default()
    };
    let graph = import(&folder.join(&case.file), &options, &mut |_| {})?.graph;
    let nodes = graph.nodes().iter();
    let transposes = nodes
        .filter(|n| matches!(n.op, Op::Transpose { .. }))
        .count();
    let (graph, head) = pass::split_head(graph).unwrap();
    let graph = pass::optimize(graph).unwrap();
    let (id, input) = graph.inputs().next().unwrap();
    assert_eq!(input.name, case.input_name);
    let bytes = std::fs::read(folder.join(&case.input)).unwrap();
    let numbers: Vec<f32> = bytes
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect();
    let (mut low, mut high) = (f32::INFINITY, f32::NEG_INFINITY);
    let (mut most, mut same, mut count) = (0f32, 0, 0);
    let mut engine = Engine::new(&graph, &Options::default()).unwrap();
    let each = input.shape.len();
    for (photo, expected) in numbers.chunks_exact(each).zip(&case.outputs).take(photos) {
        engine.input_mut(id).copy_from_slice(photo);
        engine.run();
        let got = answer(head, engine.output());
        assert_eq!(got.len(), expected.len(), "{}", case.file);
        for (&g, &e) in got.iter().zip(expected) {
            (low, high) = (low.min(e), high.max(e));
            // A NaN stays.
            most = if (g - e).abs() <= most {
                most
            } else {
                (g - e).abs()
            };
        }
        let first = |list: &[f32]| (0..list.len()).max_by(|&a, &b| list[a].total_cmp(&list[b]));
        same += usize::from(first(&got) == first(expected));
        count += 1;
    }
    Ok(Measured::Compared {
        file: case.file.clone(),
        difference: most / (high - low),
        same,
        photos: count,
        transposes,
    })
}

/// Networks of torchvision and timm by both of torch's exporters, and other files, if
/// `scripts/onnx_architectures.py` has written them. `DERMAL_ONNX_ONLY` chooses by a part of the
/// name, `DERMAL_ONNX_PHOTOS` uses fewer photos; only a run of all of them writes `results.json`.
#[test]
fn exported_networks_give_what_onnx_runtime_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnx");
    let Ok(golden) = std::fs::read(folder.join("golden.json")) else {
        println!("SKIPPED: exported networks: no .cache/onnx (scripts/onnx_architectures.py)");
        return;
    };
    let only = std::env::var("DERMAL_ONNX_ONLY").ok();
    let photos = std::env::var("DERMAL_ONNX_PHOTOS").ok();
    let golden: Networks = serde_json::from_slice(&golden).unwrap();
    let mut found = Vec::new();
    let mut results = Vec::new();
    for case in &golden.cases {
        if only.as_ref().is_some_and(|only| !case.file.contains(only)) {
            continue;
        }
        let count = photos.as_ref().map_or(usize::MAX, |n| n.parse().unwrap());
        let result = measure(&folder, case, count).unwrap_or_else(|error| Measured::Refused {
            file: case.file.clone(),
            error: error.to_string(),
        });
        println!("{}", serde_json::to_string(&result).unwrap());
        // Not `>`, which would let a NaN pass.
        let good = matches!(result, Measured::Compared { difference, .. } if difference <= 1e-4);
        if !good {
            found.push(case.file.clone());
        }
        results.push(result);
    }
    if only.is_none() && photos.is_none() {
        let text = serde_json::to_string(&results).unwrap();
        std::fs::write(folder.join("results.json"), text).unwrap();
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// A node test of the `onnx` wheel, as `scripts/onnx_backend_test.py` wraps it.
#[derive(Deserialize)]
struct NodeTest {
    file: String,
    photo: Vec<f32>,
    output: Vec<f32>,
    atol: f32,
    rtol: f32,
}

#[derive(Deserialize)]
struct NodeTests {
    cases: Vec<NodeTest>,
}

/// What is written for docs/onnx-node-tests.md: neither kind nor error is a pass.
#[derive(Serialize)]
struct NodeResult {
    file: String,
    kind: Option<&'static str>,
    error: Option<String>,
}

/// A peer's own suite: what is imported is right, and what is not is refused by name.
#[test]
fn node_tests_of_onnx_pass_or_are_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnx-node");
    let Ok(golden) = std::fs::read(folder.join("golden.json")) else {
        println!("SKIPPED: node tests: no .cache/onnx-node (scripts/onnx_backend_test.py)");
        return;
    };
    let golden: NodeTests = serde_json::from_slice(&golden).unwrap();
    let (mut found, mut results) = (Vec::new(), Vec::new());
    for case in &golden.cases {
        let mut result = NodeResult {
            file: case.file.clone(),
            kind: None,
            error: None,
        };
        let options = ImportOptions::default();
        match import(&folder.join(&case.file), &options, &mut |_| {}) {
            Err(error) => {
                result.kind = Some(error.kind());
                result.error = Some(error.to_string());
            }
            Ok(imported) => {
                let (graph, head) = pass::split_head(imported.graph).unwrap();
                let graph = pass::optimize(graph).unwrap();
                let got = in_engine(&graph, &case.photo, &Options::default());
                let got = answer(head, &got);
                let near = |(g, e): (&f32, &f32)| {
                    g == e || (g - e).abs() <= case.atol + case.rtol * e.abs()
                };
                let same = got.len() == case.output.len();
                if !same || !got.iter().zip(&case.output).all(near) {
                    let (got, expected) = (&got[..got.len().min(4)], &case.output);
                    let expected = &expected[..expected.len().min(4)];
                    found.push(format!("{}: {got:?}, expected {expected:?}", case.file));
                }
            }
        }
        results.push(result);
    }
    let text = serde_json::to_string(&results).unwrap();
    std::fs::write(folder.join("results.json"), text).unwrap();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn labels_and_pixel_range_of_the_metadata_are_used() {
    let made = Import::new(folder().join("x_metadata.onnx"))
        .run(&mut |_, _, _| {})
        .unwrap();
    let manifest = &made.model.manifest;
    assert_eq!(manifest.labels, ["benign", "malignant"]);
    let json = serde_json::to_string(&manifest.inputs).unwrap();
    assert!(json.contains("\"unit\""), "{json}");
    let origin = &manifest.provenance.source_format;
    assert_eq!(origin, "onnx opset 17 (dermal 1)");
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
}

#[test]
fn names_of_classes_at_the_end_are_labels() {
    let made = Import::new(folder().join("x_zip_map.onnx")).run(&mut |_, _, _| {});
    assert_eq!(made.unwrap().model.manifest.labels, ["akiec", "bcc", "nv"]);
}

#[test]
fn an_answer_in_logarithms_is_given_as_probabilities() {
    let made = Import::new(folder().join("x_log_softmax.onnx")).run(&mut |_, _, _| {});
    assert_eq!(made.unwrap().model.manifest.head.option(), "softmax");
}

#[test]
fn layers_keep_the_names_of_the_nodes() {
    let case = golden()
        .cases
        .into_iter()
        .find(|c| c.file == "x_silu_se.onnx");
    let graph = load(&case.unwrap()).unwrap().graph;
    let layers = graph.nodes().iter().flat_map(|node| &node.layers);
    let convs = layers.filter(|l| l.class == "Conv" && l.name.starts_with("/Conv"));
    assert_eq!(convs.count(), 5);
}
