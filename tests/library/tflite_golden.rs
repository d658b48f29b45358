//! Operators of TFLite and the structures that converters write, against what LiteRT makes of them.
//! Models and numbers are `fixtures/import/tflite`, written by `scripts/tflite_golden.py` (versions
//! in `golden.json`).
//!
//! Each model is imported and compared on candle as imported, and in the engine after the passes,
//! on each instruction set and with one and two threads. Candle does not round to integers, so models
//! of integers are compared in the engine alone. It is also checked which of their operators compute
//! on bytes: a model that silently runs in f32 would pass every comparison.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]
#![allow(
    clippy::disallowed_methods,
    reason = "a half-written temporary file hurts nobody"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::common::head::answer;
use dermal::Hint;
use dermal::artifact::InputKind;
use dermal::engine::{Engine, Options};
use dermal::graph::pass;
use dermal::graph::{Graph, Op};
use dermal::import::{
    Import, ImportError, ImportOptions, Imported, Warning, import, supported_ops,
};
use dermal::kernels::Isa;
use dermal::reference::Reference;
use dermal::tensor::DType;
use serde::Deserialize;

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
    /// For answers that LiteRT itself rounds.
    tolerance: Option<f32>,
    /// One step of an answer that is an integer.
    step: Option<f32>,
    /// The operators that must compute on bytes, in their order, for models of integers.
    on_bytes: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Refused {
    file: String,
    kind: String,
    says: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import/tflite")
}

fn golden() -> Golden {
    let bytes = std::fs::read(folder().join("golden.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn load(case: &Case) -> Result<Imported, ImportError> {
    let options = ImportOptions {
        output: case.output_name.clone(),
        input_size: case.input_size,
        ..ImportOptions::default()
    };
    import(&folder().join(&case.file), &options, &mut |_| {})
}

/// Of the greatest value: sums have up to 300 terms, whose roundings add up like a random walk.
const TOLERANCE: f32 = 1e-5;

fn difference(who: &str, case: &Case, got: &[f32]) -> Option<String> {
    let expected = &case.output;
    let tolerance = case.tolerance.unwrap_or(TOLERANCE);
    if expected.len() != got.len() {
        let (n, m) = (expected.len(), got.len());
        return Some(format!("{who}: expected {n} numbers, got {m}"));
    }
    if let Some(step) = case.step {
        let steps = Steps::new(step, expected, got);
        let shown = || format!("{who}: {steps:?}");
        return (!steps.are_few()).then(shown);
    }
    let most = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
    // Not `>`, which would let a NaN pass.
    let near = |i: &usize| (got[*i] - expected[*i]).abs() <= tolerance * most;
    let wrong = (0..got.len()).find(|i| !near(i))?;
    let (e, g) = (expected[wrong], got[wrong]);
    Some(format!("{who}: [{wrong}] expected {e:?}, got {g:?}"))
}

/// A NaN is larger than every number.
fn larger(a: f32, b: f32) -> f32 {
    if a >= b || a.is_nan() { a } else { b }
}

/// How far integers are from those of LiteRT, which rounds in ways of its own. Probabilities of a
/// graph that ends in logits are not rounded, so the distance is.
#[derive(Clone, Copy, Debug, Default)]
struct Steps {
    most: f32,
    beyond_one: usize,
    all: usize,
}

impl Steps {
    fn new(step: f32, expected: &[f32], got: &[f32]) -> Self {
        let mut found = Self::default();
        for (e, g) in expected.iter().zip(got) {
            let off = ((e - g).abs() / step).round();
            found.most = larger(found.most, off);
            found.beyond_one += usize::from(!(0.0..=1.0).contains(&off));
            found.all += 1;
        }
        found
    }

    /// 99 of 100 are within one step, and none is beyond three.
    fn are_few(&self) -> bool {
        self.most <= 3.0 && self.beyond_one * 100 <= self.all
    }
}

/// The operators that compute on bytes: all but those that move or convert them.
fn computed_on_bytes(graph: &Graph) -> Vec<&'static str> {
    let is_byte = |&id: &dermal::graph::NodeId| graph.node(id).quantization.is_some();
    let moves = |op: &Op| matches!(op, Op::Dequantize | Op::Reshape { .. } | Op::Pad(_));
    let nodes = graph.nodes().iter();
    nodes
        .filter(|node| node.inputs.iter().any(is_byte) && !moves(&node.op))
        .map(|node| node.op.name())
        .collect()
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
        Ok(_) if case.on_bytes.is_some() => {}
        Ok(got) => found.extend(difference(&format!("{file}, candle"), case, &got)),
        Err(error) => found.push(format!("{file}, candle: {error}")),
    }
    let (graph, head) = pass::split_head(graph).unwrap();
    let graph = pass::optimize(graph).unwrap();
    let on_bytes = computed_on_bytes(&graph);
    let expected = case.on_bytes.as_deref().unwrap_or_default();
    if on_bytes != expected {
        found.push(format!(
            "{file}: on bytes {on_bytes:?}, expected {expected:?}"
        ));
    }
    for isa in Isa::available() {
        for threads in [1, 2] {
            let options = Options {
                threads,
                isa,
                keep: vec![],
            };
            let got = answer(head, &in_engine(&graph, input, &options));
            let who = format!("{file}, {isa}, {threads} threads");
            found.extend(difference(&who, case, &got));
        }
    }
    found
}

#[test]
fn every_operator_gives_what_litert_gives() {
    let golden = golden();
    assert!(golden.cases.len() > 300);
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
        // The script calls a tensor after the operator that makes it: `ADD_12_0`.
        text.push_str(&String::from_utf8_lossy(&bytes));
    }
    let is_missing = |name: &&str| !text.contains(&format!("\0{name}_"));
    let names = supported_ops()
        .into_iter()
        .filter(|op| op.format == "tflite");
    let names: Vec<&str> = names.map(|op| op.name).collect();
    assert!(names.len() > 70);
    let missing: BTreeSet<&str> = names.into_iter().filter(is_missing).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn what_is_refused_is_named() {
    let golden = golden();
    assert!(golden.refused.len() >= 25);
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

/// What a converter has turned to NCHW and back costs nothing at run time.
#[test]
fn transposes_of_the_file_are_not_left_over() {
    let mut seen = 0;
    for case in golden().cases {
        let turned = [
            "x_select_",
            "s_nchw",
            "d_flatten_turned",
            "c_",
            "x_mobilenet",
        ];
        if !turned.iter().any(|start| case.file.starts_with(start)) {
            continue;
        }
        let graph = load(&case).unwrap().graph;
        let mut nodes = graph.nodes().iter();
        let left = nodes.find(|n| matches!(n.op, Op::Transpose { .. }));
        assert!(left.is_none(), "{}: {}", case.file, left.unwrap().name);
        seen += 1;
    }
    assert!(seen > 15, "{seen}");
}

#[test]
fn labels_and_normalization_of_the_metadata_are_used() {
    for (file, preset, scale) in [
        ("x_metadata.tflite", Some("unit"), 1.0 / 255.0),
        ("x_metadata_own.tflite", None, 1.0 / 128.0),
    ] {
        let made = Import::new(folder().join(file)).run(&mut |_, _, _| {});
        let made = made.unwrap();
        let manifest = &made.model.manifest;
        assert_eq!(manifest.labels, ["benign", "malignant"], "{file}");
        let InputKind::Image { preprocessing } = &manifest.inputs[0].kind else {
            panic!("{file} has no photo");
        };
        let named = preset.is_some();
        assert_eq!(preprocessing.preset.as_deref() == preset, named, "{file}");
        let got = preprocessing.scale / preprocessing.std[0];
        assert!((got - scale).abs() < 1e-9, "{file}: {got}");
        assert!(made.warnings.is_empty(), "{file}: {:?}", made.warnings);
        let origin = &manifest.provenance.source_format;
        assert_eq!(origin, "tflite 3 (dermal)");
    }
}

/// Pixels go in as bytes, whatever normalization the metadata has for other files.
#[test]
fn a_model_that_takes_bytes_gets_them() {
    let made = Import::new(folder().join("x_bytes_to_bytes.tflite")).run(&mut |_, _, _| {});
    let made = made.unwrap();
    let manifest = &made.model.manifest;
    assert_eq!(manifest.labels, ["daisy", "rose", "tulip"]);
    assert_eq!(manifest.head.option(), "softmax");
    let InputKind::Image { preprocessing } = &manifest.inputs[0].kind else {
        panic!("no photo");
    };
    assert_eq!(preprocessing.preset.as_deref(), Some("raw"));
    assert!(made.warnings.is_empty(), "{:?}", made.warnings);
}

#[test]
fn weights_stay_as_narrow_as_they_are() {
    for (name, dtype) in [
        ("w_f16", DType::F16),
        ("w_int8_channel", DType::I8),
        ("w_hybrid_conv", DType::I8),
        ("w_hybrid_dense", DType::I8),
        ("w_hybrid_uint8", DType::I8),
        // Minus their zero point they do not fit.
        ("w_uint8", DType::F32),
        // Small, and f32 as `dermal quantize` leaves them.
        ("w_hybrid_depthwise", DType::F32),
    ] {
        let path = folder().join(format!("{name}.tflite"));
        let imported = import(&path, &ImportOptions::default(), &mut |_| {}).unwrap();
        let graph = pass::optimize(pass::split_head(imported.graph).unwrap().0).unwrap();
        assert!(!graph.is_quantized(), "{name}");
        let kernel = graph.nodes().iter().find_map(|node| node.op.kernel());
        let kernel = kernel.unwrap();
        assert_eq!(graph.tensors[&kernel.tensor].dtype(), dtype, "{name}");
        assert_eq!(kernel.scale.is_some(), dtype == DType::I8, "{name}");
    }
}

/// Teachable Machine exports a zip of the model and its classes; people also unpack it.
#[test]
fn labels_beside_the_model_are_used_and_the_scaling_is_a_guess() {
    let model = std::fs::read(folder().join("x_names.tflite")).unwrap();
    let labels = b"0 Class one\n1 Class two\n";
    let unpacked = tempfile::tempdir().unwrap();
    let path = unpacked.path().join("model_unquant.tflite");
    std::fs::write(&path, &model).unwrap();
    std::fs::write(unpacked.path().join("labels.txt"), labels).unwrap();
    let packed = unpacked.path().join("converted_tflite.zip");
    let mut zip = zip::ZipWriter::new(std::fs::File::create(&packed).unwrap());
    let options = zip::write::SimpleFileOptions::default();
    for (name, bytes) in [("model_unquant.tflite", &model[..]), ("labels.txt", labels)] {
        zip.start_file(name, options).unwrap();
        std::io::Write::write_all(&mut zip, bytes).unwrap();
    }
    zip.finish().unwrap();
    for (path, read) in [(path, 1), (packed, 0)] {
        let made = Import::new(&path).run(&mut |_, _, _| {}).unwrap();
        assert_eq!(made.model.manifest.labels, ["Class one", "Class two"]);
        assert_eq!(made.also_read.len(), read);
        let kinds: Vec<&str> = made.warnings.iter().map(Warning::kind).collect();
        assert_eq!(kinds, ["assumed_preprocessing"]);
        let InputKind::Image { preprocessing } = &made.model.manifest.inputs[0].kind else {
            panic!("no photo");
        };
        assert_eq!(preprocessing.preset.as_deref(), Some("signed-unit"));
        // The user knows better.
        let made = Import::new(&path).preprocess("unit").labels("a,b");
        let made = made.run(&mut |_, _, _| {}).unwrap();
        assert!(made.warnings.is_empty(), "{:?}", made.warnings);
        assert_eq!(made.model.manifest.labels, ["a", "b"]);
    }
}

#[test]
fn an_answer_in_logarithms_is_given_as_probabilities() {
    let made = Import::new(folder().join("x_log_softmax.tflite")).run(&mut |_, _, _| {});
    assert_eq!(made.unwrap().model.manifest.head.option(), "softmax");
}

#[test]
fn layers_have_the_names_of_what_they_make() {
    let path = folder().join("x_names.tflite");
    let imported = import(&path, &ImportOptions::default(), &mut |_| {}).unwrap();
    let mut layers = imported.graph.nodes().iter().flat_map(|node| &node.layers);
    assert!(layers.any(|l| l.class == "CONV_2D" && l.name == "model/first/Conv2D"));
}

#[derive(Deserialize)]
struct RealFiles {
    cases: Vec<RealFile>,
}

#[derive(Deserialize)]
struct RealFile {
    file: String,
    what: String,
    from: String,
    operators: String,
    /// Bytes of all photos, and how many there are.
    photos: String,
    count: usize,
    scale: f32,
    shift: f32,
    output_name: Option<String>,
    /// LiteRT's answers, f32.
    output: String,
    /// One step of an answer that is an integer.
    step: Option<f32>,
    /// How far LiteRT moves its own answer by rounding the values of each layer. The answers here are
    /// those without.
    own_rounding: Option<f32>,
}

/// How the answers to all photos differ from LiteRT's.
#[derive(Debug, Default)]
struct Beside {
    /// The largest difference of any output.
    worst: f32,
    /// The largest output.
    most: f32,
    /// Photos with the same best output, or one that is as good within a step.
    same: usize,
    /// For answers that are integers.
    steps: Steps,
}

fn beside_litert(folder: &Path, case: &RealFile, graph: &Graph) -> Beside {
    let photos = std::fs::read(folder.join(&case.photos)).unwrap();
    let answers = std::fs::read(folder.join(&case.output)).unwrap();
    let answers: Vec<f32> = answers
        .as_chunks::<4>()
        .0
        .iter()
        .map(|&bytes| f32::from_le_bytes(bytes))
        .collect();
    let (graph, head) = pass::split_head(graph.clone()).unwrap();
    let graph = pass::optimize(graph).unwrap();
    let mut engine = Engine::new(&graph, &Options::default()).unwrap();
    let (id, _) = graph.inputs().next().unwrap();
    let most = answers.iter().fold(0f32, |m, v| m.max(v.abs()));
    let mut found = Beside {
        most,
        ..Beside::default()
    };
    let best = |list: &[f32]| {
        let places = list.iter().enumerate();
        places.max_by(|a, b| a.1.total_cmp(b.1)).map(|(i, _)| i)
    };
    let photos = photos.chunks_exact(photos.len() / case.count);
    let answers = answers.chunks_exact(answers.len() / case.count);
    for (photo, expected) in photos.zip(answers) {
        for (to, &pixel) in engine.input_mut(id).iter_mut().zip(photo) {
            *to = f32::from(pixel) * case.scale + case.shift;
        }
        engine.run();
        let got = answer(head, engine.output());
        assert_eq!(got.len(), expected.len(), "{}", case.file);
        for (g, e) in got.iter().zip(expected) {
            found.worst = larger(found.worst, (g - e).abs());
        }
        if let Some(step) = case.step {
            let steps = Steps::new(step, expected, &got);
            found.steps.most = larger(found.steps.most, steps.most);
            found.steps.beyond_one += steps.beyond_one;
            found.steps.all += steps.all;
        }
        let (own, theirs) = (best(&got), best(expected));
        let is_tie = |step: f32| match (own, theirs) {
            (Some(own), Some(theirs)) => expected[theirs] - expected[own] <= 1.01 * step,
            _ => false,
        };
        found.same += usize::from(own == theirs || case.step.is_some_and(is_tie));
    }
    found
}

/// Files as people publish them, if `scripts/tflite_models.py` has fetched them.
#[test]
fn real_files_give_what_litert_gives() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/tflite");
    let Ok(bytes) = std::fs::read(folder.join("golden.json")) else {
        println!("SKIPPED: real TFLite files: no .cache/tflite (scripts/tflite_models.py)");
        return;
    };
    let real: RealFiles = serde_json::from_slice(&bytes).unwrap();
    let mut found = Vec::new();
    for case in &real.cases {
        let options = ImportOptions {
            output: case.output_name.clone(),
            ..ImportOptions::default()
        };
        let path = folder.join(&case.file);
        let imported = match import(&path, &options, &mut |_| {}) {
            Ok(imported) => imported,
            Err(error) => {
                found.push(format!("{}: {error}", case.file));
                continue;
            }
        };
        let beside = beside_litert(&folder, case, &imported.graph);
        let Steps {
            most,
            beyond_one,
            all,
        } = beside.steps;
        let (off, shown, allowed) = if case.step.is_some() {
            let within = 100.0 * (all - beyond_one) as f32 / all as f32;
            let shown = format!("{most} steps, {within:.1} % within one");
            (most, shown, 3.0)
        } else {
            let off = beside.worst / beside.most;
            (off, format!("{off:.1e}"), 1e-4)
        };
        let same = beside.same;
        let RealFile {
            file,
            what,
            from,
            operators,
            count,
            ..
        } = case;
        let own = case
            .own_rounding
            .map_or(String::new(), |v| format!("{v:.1e}"));
        println!(
            "| {file} | {what} | {from} | {operators} | {shown} | {same} of {count} | {own} |"
        );
        let is_near = case.step.is_none() || (same == *count && beside.steps.are_few());
        if off.is_nan() || off > allowed || !is_near {
            found.push(format!("{file}: {shown}"));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
