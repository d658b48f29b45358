//! Quantized ONNX models against what ONNX Runtime makes of them. Models and numbers are
//! `fixtures/import/onnx_quantized`, written by `scripts/onnx_quantized_golden.py` (versions in
//! `golden.json`).
//!
//! Each model is imported and compared in the engine after the passes, on each instruction set and
//! with one and two threads. It is also counted which operators compute on bytes: a model that
//! silently runs in f32 would pass every comparison.

#![allow(
    clippy::unwrap_used,
    reason = "a failed unwrap is a failed test, also in the helpers"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::common::head::answer;
use dermal::Hint;
use dermal::engine::{Engine, Options};
use dermal::graph::{Graph, Op, pass};
use dermal::import::{ImportOptions, Imported, import, supported_ops};
use dermal::kernels::Isa;
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
    input: String,
    output: Vec<f32>,
    /// The scale of the last value that the file rounds.
    step: Option<f32>,
    /// The operators that must compute on bytes, in their order.
    in_bytes: Vec<String>,
    /// For models whose values are real numbers: the largest difference, of the greatest value.
    tolerance: Option<f32>,
}

#[derive(Deserialize)]
struct Refused {
    file: String,
    kind: String,
    says: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/import/onnx_quantized")
}

fn golden() -> Golden {
    let bytes = std::fs::read(folder().join("golden.json")).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

fn load(file: &str) -> Result<Imported, dermal::import::ImportError> {
    import(&folder().join(file), &ImportOptions::default(), &mut |_| {})
}

fn optimized(file: &str) -> (Graph, pass::Answer) {
    let (graph, head) = pass::split_head(load(file).unwrap().graph).unwrap();
    (pass::optimize(graph).unwrap(), head)
}

/// What is wrong with an answer, if anything is.
fn judge(case: &Case, got: &[f32]) -> Option<String> {
    let expected = &case.output;
    if got.len() != expected.len() {
        return Some(format!(
            "expected {} numbers, got {}",
            expected.len(),
            got.len()
        ));
    }
    let off = |i: usize| (got[i] - expected[i]).abs();
    if let Some(tolerance) = case.tolerance {
        let most = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
        let worst = (0..got.len()).map(off).fold(0f32, f32::max);
        let near = worst <= tolerance * most;
        return (!near).then(|| format!("off by {worst} of {most}"));
    }
    // The answer of the file lies on its last steps; that of a graph that ends in logits does not
    // have to.
    let step = case.step.unwrap();
    let steps = |i: usize| (off(i) / step).round();
    // Not `>`, which would let a NaN pass.
    let within = |i: usize, most: f32| steps(i) <= most;
    let beyond_one = (0..got.len()).filter(|&i| !within(i, 1.0)).count();
    if let Some(i) = (0..got.len()).find(|&i| !within(i, 3.0)) {
        let (e, g) = (expected[i], got[i]);
        return Some(format!("[{i}] expected {e}, got {g}: {} steps", steps(i)));
    }
    (beyond_one * 100 > got.len()).then(|| format!("{beyond_one} of {} beyond one step", got.len()))
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

/// The operators that compute on bytes: all but those that move or convert them.
fn computed_on_bytes(graph: &Graph) -> Vec<&'static str> {
    let reads_bytes = |inputs: &[dermal::graph::NodeId]| {
        let mut inputs = inputs.iter();
        inputs.any(|&id| graph.node(id).quantization.is_some())
    };
    let nodes = graph.nodes().iter();
    nodes
        .filter(|node| reads_bytes(&node.inputs))
        .filter(|node| !matches!(node.op, Op::Dequantize | Op::Reshape { .. } | Op::Pad(_)))
        .map(|node| node.op.name())
        .collect()
}

#[test]
fn models_answer_as_onnxruntime_within_a_step() {
    let golden = golden();
    let mut found = Vec::new();
    for case in &golden.cases {
        let file = &case.file;
        let input = &golden.inputs[&case.input];
        let (graph, head) = optimized(file);
        let on_bytes = computed_on_bytes(&graph);
        if case
            .in_bytes
            .iter()
            .any(|op| !on_bytes.contains(&op.as_str()))
            || (!case.in_bytes.is_empty() && on_bytes.len() < case.in_bytes.len())
        {
            found.push(format!(
                "{file}: on bytes {on_bytes:?}, expected {:?}",
                case.in_bytes
            ));
        }
        let mut first: Option<Vec<f32>> = None;
        for isa in Isa::available() {
            for threads in [1, 2] {
                let options = Options {
                    threads,
                    isa,
                    keep: vec![],
                };
                let got = in_engine(&graph, input, &options);
                let who = format!("{file}, {isa}, {threads} threads");
                found.extend(judge(case, &answer(head, &got)).map(|what| format!("{who}: {what}")));
                // Integers are the same on every tier; real numbers in between may differ.
                if case.tolerance.is_none() && !case.in_bytes.is_empty() {
                    let first = first.get_or_insert_with(|| got.clone());
                    let most = first.iter().fold(0f32, |m, v| m.max(v.abs()));
                    let same = first
                        .iter()
                        .zip(&got)
                        .all(|(a, b)| (a - b).abs() <= 0.02 * most);
                    if !same {
                        found.push(format!("{who}: not as on the first tier"));
                    }
                }
            }
        }
    }
    assert!(
        found.is_empty(),
        "{} wrong:\n{}",
        found.len(),
        found.join("\n")
    );
    assert!(golden.cases.len() > 70);
}

#[test]
fn what_cannot_be_exact_is_refused_by_name() {
    for refused in golden().refused {
        let error = load(&refused.file).map(|_| ()).unwrap_err();
        let text = format!("{error}; {}", error.hint());
        assert_eq!(error.kind(), refused.kind, "{}: {text}", refused.file);
        assert!(text.contains(&refused.says), "{}: {text}", refused.file);
    }
}

fn is_of_integers(operator: &str) -> bool {
    let quantized =
        operator.contains('Q') && operator != "com.microsoft.QuickGelu" && operator != "QuickGelu";
    quantized || operator.contains("Integer") || operator.contains("quantize")
}

#[test]
fn every_quantized_operator_has_a_case() {
    let mut used = std::collections::BTreeSet::new();
    for case in golden().cases {
        let bytes = std::fs::read(folder().join(&case.file)).unwrap();
        let has = |name: &str| {
            bytes
                .windows(name.len())
                .any(|part| part == name.as_bytes())
        };
        used.extend(
            supported_ops()
                .into_iter()
                .filter(|op| op.format == "onnx")
                .map(|op| op.name.rsplit('.').next().unwrap())
                .filter(|name| is_of_integers(name))
                .filter(|name| has(name)),
        );
    }
    let listed = supported_ops().into_iter().filter(|op| op.format == "onnx");
    let missing: Vec<&str> = listed
        .map(|op| op.name)
        .filter(|name| is_of_integers(name))
        .filter(|name| !used.contains(name.rsplit('.').next().unwrap()))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn integer_weights_keep_the_integers_of_the_file() {
    // Dynamic: i8 weights with scales, and values in real numbers.
    for file in [
        "classifier_dynamic_i8.onnx",
        "conv_dynamic_i8.onnx",
        "mat_mul_dynamic_i8.onnx",
    ] {
        let (graph, _) = optimized(file);
        assert!(!graph.is_quantized(), "{file}");
        let kernels = graph.nodes().iter().filter_map(|node| node.op.kernel());
        for kernel in kernels {
            assert_eq!(graph.tensors[&kernel.tensor].dtype(), DType::I8, "{file}");
            assert!(kernel.scale.is_some(), "{file}");
        }
        // The scale and the bias are part of the product.
        let affine = |node: &&dermal::graph::Node| matches!(node.op, Op::ScaleShift { .. });
        assert_eq!(graph.nodes().iter().filter(affine).count(), 0, "{file}");
    }
}

#[test]
fn weights_of_16_bits_stay_16_bits() {
    for file in ["half.onnx", "half_throughout.onnx"] {
        let (graph, _) = optimized(file);
        let kernels = graph.nodes().iter().filter_map(|node| node.op.kernel());
        let dtypes: Vec<DType> = kernels.map(|k| graph.tensors[&k.tensor].dtype()).collect();
        assert_eq!(dtypes, [DType::F16; 2], "{file}");
    }
}

#[derive(Deserialize)]
struct RealCase {
    file: String,
    model: String,
    way: String,
    step: Option<f32>,
    inputs: String,
    outputs: Vec<Vec<f32>>,
}

#[derive(Deserialize)]
struct Real {
    cases: Vec<RealCase>,
}

/// The two largest, and the index of the first.
fn best_two(values: &[f32]) -> (usize, f32, f32) {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[b].total_cmp(&values[a]));
    let second = order.get(1).map_or(f32::NEG_INFINITY, |&i| values[i]);
    (order[0], values[order[0]], second)
}

/// Needs `scripts/onnx_quantized_models.py`. Prints the table of docs/import.md.
#[test]
fn real_models_answer_as_onnxruntime() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnx_quantized");
    let Ok(golden) = std::fs::read(folder.join("golden.json")) else {
        eprintln!(
            "SKIPPED: real quantized models: no .cache/onnx_quantized (scripts/onnx_quantized_models.py)"
        );
        return;
    };
    let golden: Real = serde_json::from_slice(&golden).unwrap();
    let mut found = Vec::new();
    println!(
        "| model | quantized as | on bytes | within one step | largest, in steps | same top-1 |"
    );
    println!("|---|---|--:|--:|--:|--:|");
    for case in &golden.cases {
        let imported = import(
            &folder.join(&case.file),
            &ImportOptions::default(),
            &mut |_| {},
        );
        let (graph, head) = pass::split_head(imported.unwrap().graph).unwrap();
        let graph = pass::optimize(graph).unwrap();
        let on_bytes = computed_on_bytes(&graph).len();
        let bytes = std::fs::read(folder.join(format!("{}.f32", case.inputs))).unwrap();
        let values: Vec<f32> = bytes
            .as_chunks()
            .0
            .iter()
            .map(|b| f32::from_le_bytes(*b))
            .collect();
        let len = values.len() / case.outputs.len();
        let (id, _) = graph.inputs().next().unwrap();
        let mut engine = Engine::new(&graph, &Options::default()).unwrap();
        let (mut near, mut all, mut worst, mut same) = (0, 0, 0f32, 0);
        for (x, expected) in values.chunks_exact(len).zip(&case.outputs) {
            engine.input_mut(id).copy_from_slice(x);
            engine.run();
            let got = answer(head, engine.output());
            let most = expected.iter().fold(0f32, |m, v| m.max(v.abs()));
            // Dynamic: in hundredths of the largest number.
            let step = case.step.unwrap_or(most / 100.0);
            for (g, e) in got.iter().zip(expected) {
                let steps = match case.step {
                    // Probabilities are not rounded here.
                    Some(step) => ((g - e).abs() / step).round(),
                    None => (g - e).abs() / step,
                };
                near += usize::from(steps <= 1.0);
                all += 1;
                worst = worst.max(steps);
            }
            let (own, ..) = best_two(&got);
            let (theirs, best, second) = best_two(expected);
            let tie = best - second <= 1.001 * step;
            same += usize::from(own == theirs || tie);
        }
        let share = 100.0 * near as f32 / all as f32;
        println!(
            "| {} | {} | {on_bytes} | {share:.2} % | {worst:.1} | {same} of {} |",
            case.model,
            case.way,
            case.outputs.len()
        );
        if case.step.is_some() && (share < 99.0 || worst > 3.0 || same < case.outputs.len()) {
            found.push(format!(
                "{}: {share:.2} %, {worst:.2} steps, {same}",
                case.file
            ));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}
