//! Weights in f16 and bf16, from the library to the file and back: the stored weights, the computed
//! results, and the reports.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::BTreeMap;

use crate::common::{self, repo};
use dermal::artifact::{self, Model};
use dermal::engine::{Engine, Options};
use dermal::explain::{Method, Score, Target, explain};
use dermal::graph::Graph;
use dermal::kernels::Isa;
use dermal::quantize::weights::{Converted, WeightType, convert};
use dermal::reference::Reference;
use dermal::tensor::{DType, Tensor};

const ALL: [WeightType; 3] = [WeightType::F16, WeightType::BF16, WeightType::I8];
const HALVES: [WeightType; 2] = [WeightType::F16, WeightType::BF16];

fn demo() -> Model {
    artifact::load(&repo("models/demo.safetensors")).unwrap()
}

/// The model with 16-bit weights, written to a file and read back.
fn stored(model: &Model, half: WeightType) -> (tempfile::TempDir, Model, Converted) {
    let converted = convert(&model.graph, half, &[]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let narrow = Model {
        graph: converted.graph.clone(),
        manifest: model.manifest.clone(),
    };
    artifact::write(&path, &narrow).unwrap();
    let loaded = artifact::load(&path).unwrap();
    (folder, loaded, converted)
}

/// The same graph with every 16-bit weight as an f32.
fn widened(graph: &Graph) -> Graph {
    let mut wide = graph.clone();
    for tensor in wide.tensors.values_mut() {
        let halves = tensor.bytes().as_chunks::<2>().0.iter().copied();
        let values: Vec<f32> = match tensor.dtype() {
            DType::F16 => halves
                .map(|b| half::f16::from_le_bytes(b).to_f32())
                .collect(),
            DType::BF16 => halves
                .map(|b| half::bf16::from_le_bytes(b).to_f32())
                .collect(),
            _ => continue,
        };
        *tensor = Tensor::from_f32(tensor.shape().clone(), &values).unwrap();
    }
    wide
}

/// A picture of waves, `[H, W, C]` of the model's input.
fn picture(graph: &Graph, seed: usize) -> Vec<f32> {
    let (_, node) = graph.inputs().next().unwrap();
    let [h, w, c] = node.shape.hwc().unwrap();
    let value = |i: usize| {
        let (y, x, channel) = (i / (w * c), i / c % w, i % c);
        let phase = (y * (seed + 2)) as f32 / h as f32 + (x * 5) as f32 / w as f32;
        (phase + channel as f32).sin()
    };
    (0..h * w * c).map(value).collect()
}

fn run(graph: &Graph, isa: Isa, threads: usize, picture: &[f32]) -> Vec<f32> {
    let options = Options {
        threads,
        isa,
        keep: vec![],
    };
    let mut engine = Engine::new(graph, &options).unwrap();
    let (input, _) = graph.inputs().next().unwrap();
    engine.input_mut(input).copy_from_slice(picture);
    engine.run();
    engine.output().to_vec()
}

/// Whether the CPU multiplies bf16 natively, and therefore rounds activations to it.
fn rounds_activations(half: WeightType, isa: Isa) -> bool {
    half == WeightType::BF16 && isa.rounds_inputs_to_bf16()
}

#[test]
fn a_stored_half_is_mapped_and_takes_half_the_file() {
    let model = demo();
    for half in HALVES {
        let (folder, loaded, converted) = stored(&model, half);
        let bytes = |path: &std::path::Path| path.metadata().unwrap().len();
        let before = bytes(&repo("models/demo.safetensors"));
        let after = bytes(&folder.path().join("half.safetensors"));
        let mut saved = 0;
        for (key, tensor) in &converted.graph.tensors {
            assert_eq!(loaded.graph.tensors[key].bytes(), tensor.bytes(), "{key}");
            assert_eq!(loaded.graph.tensors[key].dtype(), tensor.dtype(), "{key}");
            if tensor.dtype() == half.dtype() {
                assert_eq!(model.graph.tensors[key].dtype(), DType::F32);
                saved += tensor.bytes().len() as u64;
            }
        }
        // The header and the padding between tensors differ a little.
        assert!(after < before - saved + 4096, "{before} to {after}");
        assert!(saved * 10 > before * 4, "most weights are in matrices");

        let path = folder.path().join("half.safetensors");
        let shown = common::json(["inspect".as_ref(), path.as_os_str(), "--json".as_ref()]);
        let by_dtype = &shown["stored_bytes_by_dtype"];
        assert_eq!(by_dtype[half.dtype().to_string()], saved);
        let all: u64 = by_dtype
            .as_object()
            .unwrap()
            .values()
            .map(|v| v.as_u64().unwrap())
            .sum();
        assert_eq!(shown["stored_weight_bytes"], all);
    }
}

/// The claim behind the rest: 16-bit weights cost exactly their rounding.
#[test]
fn halves_compute_exactly_what_their_values_do() {
    let model = demo();
    for half in HALVES {
        let (_folder, loaded, _) = stored(&model, half);
        let wide = widened(&loaded.graph);
        let picture = picture(&model.graph, 1);
        let (_, node) = model.graph.inputs().next().unwrap();
        let named = BTreeMap::from([(node.name.as_str(), picture.as_slice())]);
        let [of_half, of_wide] =
            [&loaded.graph, &wide].map(|g| Reference::new(g).run(&named).unwrap());
        assert_eq!(of_half, of_wide, "the reference");
        for isa in Isa::available() {
            if rounds_activations(half, isa) {
                continue;
            }
            let expected = run(&wide, isa, 1, &picture);
            for threads in [1, 2] {
                let got = run(&loaded.graph, isa, threads, &picture);
                assert_eq!(got, expected, "{half}, {isa}, {threads} threads");
            }
        }
    }
}

/// The engine sums integers and scales once; the reference multiplies each weight by its scale.
#[test]
fn scaled_bytes_compute_what_they_stand_for() {
    let model = demo();
    let (_folder, loaded, converted) = stored(&model, WeightType::I8);
    for (key, tensor) in &converted.graph.tensors {
        assert_eq!(loaded.graph.tensors[key].bytes(), tensor.bytes(), "{key}");
    }
    let bytes = loaded.graph.tensors.values();
    let of_i8: usize = bytes
        .filter(|t| t.dtype() == DType::I8)
        .map(|t| t.bytes().len())
        .sum();
    assert!(of_i8 > 100_000, "{of_i8} weights are integers");
    let picture = picture(&model.graph, 1);
    let (_, node) = model.graph.inputs().next().unwrap();
    let named = BTreeMap::from([(node.name.as_str(), picture.as_slice())]);
    let expected = Reference::new(&loaded.graph).run(&named).unwrap();
    let largest = expected.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    for isa in Isa::available() {
        let one = run(&loaded.graph, isa, 1, &picture);
        for (got, want) in one.iter().zip(&expected) {
            assert!(
                (got - want).abs() < 2e-5 * largest,
                "{isa}: {got}, not {want}"
            );
        }
        assert_eq!(run(&loaded.graph, isa, 2, &picture), one, "{isa}");
    }
}

/// Rounding is noise, independent from layer to layer: its power relative to the signal adds up
/// over the layers. So the reported ratios of the weights predict the standard deviation of the
/// logits. Chance never reaches eight of these.
#[test]
fn answers_move_as_the_reported_errors_predict() {
    let model = demo();
    for half in ALL {
        let (_folder, loaded, converted) = stored(&model, half);
        let noise = converted.errors.iter().filter_map(|e| e.sqnr_db);
        let mut power: f64 = noise.map(|db| 10f64.powf(-db / 10.0)).sum();
        if rounds_activations(half, Isa::detect()) {
            power *= 2.0;
        }
        for seed in 0..6 {
            let picture = picture(&model.graph, seed);
            let [exact, got] =
                [&model.graph, &loaded.graph].map(|g| run(g, Isa::detect(), 2, &picture));
            let square: f64 = exact.iter().map(|&v| f64::from(v).powi(2)).sum();
            let bound = 8.0 * power.sqrt() * (square / exact.len() as f64).sqrt();
            for (got, exact) in got.iter().zip(&exact) {
                let error = f64::from(got - exact).abs();
                assert!(
                    error <= bound,
                    "{half}: {got}, not {exact}: {error:e}, bound {bound:e}"
                );
            }
            assert_ne!(got, exact, "{half}: weights were rounded");
        }
    }
}

#[test]
fn heat_maps_can_be_drawn_from_fewer_bits() {
    let model = demo();
    for half in ALL {
        let (_folder, loaded, _) = stored(&model, half);
        let picture = picture(&model.graph, 2);
        let draw = |graph: &Graph| {
            let target = Target::find(graph, None).unwrap();
            let graph = target.graph();
            let options = Options {
                keep: target.keep(),
                ..Options::default()
            };
            let mut engine = Engine::new(graph, &options).unwrap();
            let (input, _) = graph.inputs().next().unwrap();
            engine.input_mut(input).copy_from_slice(&picture);
            engine.run();
            let score = Score {
                output: 0,
                negated: false,
            };
            let map = explain(&target, Method::HiResCam, score, &|id| engine.value(id));
            map.unwrap().raw
        };
        let [exact, got] = [&model.graph, &loaded.graph].map(draw);
        let dot = |a: &[f32], b: &[f32]| -> f64 {
            a.iter()
                .zip(b)
                .map(|(&a, &b)| f64::from(a) * f64::from(b))
                .sum()
        };
        let cosine = dot(&exact, &got) / (dot(&exact, &exact) * dot(&got, &got)).sqrt();
        assert!(cosine > 0.999, "{half}: {cosine}");
    }
}
