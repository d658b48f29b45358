//! INT8 from the library to the file and back: the demo model on its own pictures.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::common::repo;
use dermal::Hint;
use dermal::artifact::{self, Model};
use dermal::engine::{Engine, Options};
use dermal::explain::{Method, Score, Target, explain};
use dermal::graph::{Graph, NodeId};
use dermal::kernels::Isa;
use dermal::predict::{Limits, PhotoInput, decode};
use dermal::quantize::{Calibration, Calibrator, Int8Options, QuantizeError, RangeMethod, to_int8};
use dermal::reference::Reference;
use dermal::tensor::Tensor;

fn demo() -> Model {
    artifact::load(&repo("models/demo.safetensors")).unwrap()
}

/// The inputs of every `step`-th fixture photo.
fn pictures(model: &Model, step: usize) -> Vec<Vec<f32>> {
    let input = PhotoInput::of(model).unwrap();
    let mut files: Vec<PathBuf> = std::fs::read_dir(repo("fixtures/images"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let files = files.into_iter().step_by(step);
    files
        .map(|file| {
            let photo = decode::read(&file, &Limits::default()).unwrap();
            let mut floats = vec![0.0; input.len()];
            input.prepare(&photo, &mut floats).unwrap();
            floats
        })
        .collect()
}

fn calibrate(graph: &Graph, pictures: &[Vec<f32>]) -> Calibration {
    let mut calibrator = Calibrator::new(graph, &Options::default()).unwrap();
    let (input, _) = calibrator.graph().inputs().next().unwrap();
    for picture in pictures {
        calibrator
            .engine_mut()
            .input_mut(input)
            .copy_from_slice(picture);
        calibrator.observe().unwrap();
    }
    calibrator.finish().unwrap()
}

fn run(graph: &Graph, isa: Isa, threads: usize, keep: Vec<NodeId>, picture: &[f32]) -> Engine {
    let options = Options { threads, isa, keep };
    let mut engine = Engine::new(graph, &options).unwrap();
    let (input, _) = graph.inputs().next().unwrap();
    engine.input_mut(input).copy_from_slice(picture);
    engine.run();
    engine
}

fn correlation(a: &[f32], b: &[f32]) -> f64 {
    let mean = |v: &[f32]| v.iter().map(|&x| f64::from(x)).sum::<f64>() / v.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let (mut ab, mut aa, mut bb) = (0.0, 0.0, 0.0);
    for (&x, &y) in a.iter().zip(b) {
        let (x, y) = (f64::from(x) - ma, f64::from(y) - mb);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    ab / (aa * bb).sqrt()
}

#[test]
fn answers_are_the_same_bits_on_every_tier_and_close_to_float() {
    let model = demo();
    let seen = pictures(&model, 7);
    let calibration = calibrate(&model.graph, &seen);
    let int8 = to_int8(&calibration, &Int8Options::default()).unwrap();
    let mut distance = Vec::new();
    for picture in pictures(&model, 11) {
        let exact = run(&model.graph, Isa::detect(), 1, vec![], &picture);
        let expected = run(&int8, Isa::Portable, 1, vec![], &picture);
        for isa in Isa::available() {
            for threads in [1, 2, 3] {
                let got = run(&int8, isa, threads, vec![], &picture);
                assert_eq!(got.output(), expected.output(), "{isa}, {threads} threads");
            }
        }
        let range = exact.output().iter().fold(0.0_f32, |m, v| m.max(v.abs()));
        let pairs = exact.output().iter().zip(expected.output());
        distance.push(
            pairs
                .map(|(a, b)| (a - b).abs() / range)
                .fold(0.0, f32::max),
        );
    }
    distance.sort_by(f32::total_cmp);
    // As a share of the largest logit. Float weights with 8-bit values and back lose some 20 dB
    // over 40 layers.
    assert!(distance[distance.len() / 2] < 0.12, "{distance:?}");
}

/// The reference computes the numbers that the integers represent, without rounding values. The
/// remaining difference is the rounding of weights.
#[test]
fn integers_stand_for_the_weights_they_were_made_of() {
    let model = demo();
    let seen = pictures(&model, 30);
    let calibration = calibrate(&model.graph, &seen);
    let options = Int8Options {
        bias_correction: false,
        ..Int8Options::default()
    };
    let int8 = to_int8(&calibration, &options).unwrap();
    let (_, node) = model.graph.inputs().next().unwrap();
    for picture in &seen {
        let named = BTreeMap::from([(node.name.as_str(), picture.as_slice())]);
        let [exact, got] = [&model.graph, &int8].map(|g| Reference::new(g).run(&named).unwrap());
        assert!(correlation(&exact, &got) > 0.99, "{exact:?} {got:?}");
        assert_ne!(exact, got, "weights were rounded");
    }
}

#[test]
fn the_same_calibration_gives_the_same_file_which_reads_back() {
    let model = demo();
    let seen = pictures(&model, 30);
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str| {
        let graph = to_int8(&calibrate(&model.graph, &seen), &Int8Options::default()).unwrap();
        let quantized = Model {
            graph,
            manifest: model.manifest.clone(),
        };
        let path = folder.path().join(name);
        artifact::write(&path, &quantized).unwrap();
        (path, quantized)
    };
    let (a, quantized) = write("a.safetensors");
    let (b, _) = write("b.safetensors");
    assert_eq!(std::fs::read(&a).unwrap(), std::fs::read(b).unwrap());
    let before = repo("models/demo.safetensors").metadata().unwrap().len();
    // Scales, biases and the graph's text take a large share beside 180 k weights.
    assert!(a.metadata().unwrap().len() * 2 < before);
    let loaded = artifact::load(&a).unwrap();
    assert_eq!(loaded.graph.nodes(), quantized.graph.nodes());
    let got = run(&loaded.graph, Isa::detect(), 1, vec![], &seen[0]);
    let expected = run(&quantized.graph, Isa::detect(), 1, vec![], &seen[0]);
    assert_eq!(got.output(), expected.output());
    let again = Calibrator::new(&loaded.graph, &Options::default());
    assert_eq!(again.err().unwrap().kind(), "already_quantized");
}

#[test]
fn every_range_method_and_heat_map_method_works() {
    let model = demo();
    let seen = pictures(&model, 10);
    let calibration = calibrate(&model.graph, &seen);
    for method in [
        RangeMethod::MinMax,
        RangeMethod::Percentile { percent: 99.99 },
        RangeMethod::Mse,
    ] {
        let options = Int8Options {
            method,
            ..Int8Options::default()
        };
        let int8 = to_int8(&calibration, &options).unwrap();
        let draw = |graph: &Graph, how: Method, picture: &[f32]| {
            let target = Target::find(graph, None).unwrap();
            let engine = run(target.graph(), Isa::detect(), 2, target.keep(), picture);
            let output = engine.output().iter().enumerate();
            let best = output.max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            let score = Score {
                output: best,
                negated: false,
            };
            let map = explain(&target, how, score, &|id| engine.value(id));
            map.unwrap().raw
        };
        for how in [
            Method::GradCam,
            Method::GradCamPlusPlus,
            Method::LayerCam,
            Method::EigenCam,
            Method::HiResCam,
        ] {
            let mut alike: Vec<f64> = seen
                .iter()
                .map(|p| correlation(&draw(&model.graph, how, p), &draw(&int8, how, p)))
                .collect();
            alike.sort_by(f64::total_cmp);
            let median = alike[alike.len() / 2];
            assert!(median >= 0.97, "{method:?} {how:?}: {alike:?}");
        }
    }
}

#[test]
fn layers_can_stay_in_float() {
    let model = demo();
    let seen = pictures(&model, 30);
    let calibration = calibrate(&model.graph, &seen);
    let weighted: Vec<String> = calibration
        .graph()
        .nodes()
        .iter()
        .filter(|node| node.op.kernel().is_some())
        .map(|node| node.name.clone())
        .collect();
    let off = |keep: &[String]| {
        let options = Int8Options {
            keep_float: keep.iter().cloned().collect(),
            ..Int8Options::default()
        };
        let int8 = to_int8(&calibration, &options).unwrap();
        let [exact, got] = [&model.graph, &int8].map(|graph| {
            let engine = run(graph, Isa::detect(), 1, vec![], &seen[0]);
            engine.output().to_vec()
        });
        exact
            .iter()
            .zip(&got)
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, f32::max)
    };
    let half = off(&weighted[..weighted.len() / 2]);
    // All in float: only the fusion of activations changes.
    assert!(off(&weighted) < 1e-4);
    assert!(off(&[]) > 1e-3 && half > 1e-5);
}

#[test]
fn what_is_no_number_is_refused_by_name() {
    let mut model = demo();
    let picture = pictures(&model, 300).remove(0);
    let mut bad = picture.clone();
    bad[5] = f32::NAN;
    let mut calibrator = Calibrator::new(&model.graph, &Options::default()).unwrap();
    let (input, node) = model.graph.inputs().next().unwrap();
    calibrator
        .engine_mut()
        .input_mut(input)
        .copy_from_slice(&bad);
    match calibrator.observe() {
        Err(QuantizeError::Value { layer }) => assert_eq!(layer, node.name),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        calibrator.finish().err().unwrap().kind(),
        "nothing_observed"
    );

    let calibration = calibrate(&model.graph, &[picture]);
    let kernel = |graph: &Graph| {
        let mut kernels = graph.nodes().iter().filter_map(|node| node.op.kernel());
        kernels.next().unwrap().tensor.clone()
    };
    let key = kernel(calibration.graph());
    let tensor = &model.graph.tensors[&key];
    let mut values = tensor.as_f32().unwrap().to_vec();
    values[3] = f32::INFINITY;
    let damaged = Tensor::from_f32(tensor.shape().clone(), &values).unwrap();
    model.graph.tensors.insert(key.clone(), damaged);
    // Infinite weights make infinite values, which calibration finds first.
    let error = Calibrator::new(&model.graph, &Options::default())
        .and_then(|mut c| c.observe())
        .unwrap_err();
    assert_eq!(error.kind(), "value", "{error}");
}
