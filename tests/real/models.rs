//! Published and keras.applications models compared with Keras' results: `fixtures/golden/real`,
//! written by `scripts/golden_real.py` (versions beside the numbers).
//!
//! Models come from `scripts/fetch-real-models.sh` and `scripts/app_models.py`, in `.cache/models`
//! or `DERMAL_MODEL_CACHE`. Photos and small models that may not be committed are read from
//! `DERMAL_SHARED_DATA` or `../shared/data`. If something is missing, the test says so and skips
//! it, unless `DERMAL_REQUIRE_REAL_MODELS=1` says that models must exist.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]
#![allow(clippy::print_stderr, reason = "skips and figures are for people")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests are configured by environment variables"
)]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use crate::common::real::{cached_model, shared};
use crate::common::{self, repo};
use dermal::artifact::{
    self, FieldMapping, Filter, Head, InputKind, InputSpec, Manifest, Model, Preprocessing,
    Provenance, VectorInput,
};
use dermal::engine::{Engine, Options};
use dermal::evaluate::dataset::{Dataset, Labels};
use dermal::explain::{Method, Score, Target, explain};
use dermal::graph::Graph;
use dermal::graph::pass::{self, Answer};
use dermal::import::{ImportOptions, import};
use dermal::kernels::Isa;
use dermal::predict::{ExtraInput, Limits, Predictor, fields, resolve_inputs};
use dermal::random::SplitMix64;
use dermal::reference::Reference;
use serde::Deserialize;
use serde::de::DeserializeOwned;

fn golden<T: DeserializeOwned>(name: &str) -> T {
    let path = repo("fixtures/golden/real").join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// As in `dermal import`, with photos resized as TensorFlow does.
fn import_model(
    source: &Path,
    labels: &[String],
    recipe: &dyn Fn([usize; 3]) -> Preprocessing,
) -> Model {
    let started = Instant::now();
    let imported = import(source, &ImportOptions::default(), &mut |_| {}).unwrap();
    let (graph, answer) = pass::split_head(imported.graph).unwrap();
    let graph = pass::optimize(graph).unwrap();
    eprintln!(
        "{}: imported in {:.2} s",
        source.display(),
        started.elapsed().as_secs_f64()
    );
    assert_eq!(answer, Answer::Softmax);
    let kind = |shape: &dermal::tensor::Shape| match shape.hwc() {
        Some(shape) => InputKind::Image {
            preprocessing: recipe(shape),
        },
        None => InputKind::Vector { default: None },
    };
    let inputs = graph.inputs().map(|(_, node)| InputSpec {
        name: node.name.clone(),
        kind: kind(&node.shape),
    });
    Model {
        manifest: Manifest::new(
            inputs.collect(),
            labels.to_vec(),
            Head::Softmax,
            Provenance::default(),
        ),
        graph,
    }
}

/// Through the file, as in every command: the mapped artifact runs.
fn stored(model: &Model) -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    artifact::write(&path, model).unwrap();
    let loaded = artifact::load(&path).unwrap();
    (folder, loaded)
}

fn raw(shape: [usize; 3]) -> Preprocessing {
    let recipe = Preprocessing::preset("raw", shape).unwrap();
    Preprocessing {
        filter: Filter::TensorflowBilinear,
        ..recipe
    }
}

fn engine(graph: &Graph, isa: Isa, keep: &[dermal::graph::NodeId]) -> Engine {
    let options = Options {
        threads: 2,
        isa,
        keep: keep.to_vec(),
    };
    Engine::new(graph, &options).unwrap()
}

fn argmax(values: &[f64]) -> usize {
    let best = values.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    best.unwrap().0
}

fn greatest_difference(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let differences = got.iter().zip(want).map(|(&g, w)| (f64::from(g) - w).abs());
    // Not `f64::max`, because it would ignore a NaN.
    differences.fold(0.0, |most, d| if d > most || d.is_nan() { d } else { most })
}

fn correlation(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let n = want.len() as f64;
    let got_mean = got.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
    let want_mean = want.iter().sum::<f64>() / n;
    let (mut both, mut a, mut b) = (0.0, 0.0, 0.0);
    for (&g, w) in got.iter().zip(want) {
        let (g, w) = (f64::from(g) - got_mean, w - want_mean);
        both += g * w;
        a += g * g;
        b += w * w;
    }
    both / (a * b).sqrt()
}

#[derive(Deserialize)]
struct GoldenPhoto {
    file: String,
    label: String,
    #[serde(default)]
    vector: Vec<f32>,
    probabilities: Vec<f64>,
}

#[derive(Deserialize)]
struct GoldenMaps {
    #[serde(default)]
    file: String,
    class: usize,
    size: [usize; 2],
    maps: BTreeMap<String, Vec<f64>>,
}

impl GoldenMaps {
    /// Every map of the engine's values compared with TensorFlow's gradients.
    fn compare(&self, target: &Target, engine: &Engine, place: &str) {
        assert_eq!(target.size(), self.size);
        let score = Score {
            output: self.class,
            negated: false,
        };
        assert!(!self.maps.is_empty());
        for (name, want) in &self.maps {
            let method = METHODS.iter().find(|method| method.name() == name).unwrap();
            let map = explain(target, *method, score, &|id| engine.value(id)).unwrap();
            let correlation = correlation(&map.raw, want);
            eprintln!("{place} {name}: correlation {correlation:.7}");
            assert!(
                correlation >= 0.999,
                "{place} {name}: correlation {correlation}"
            );
        }
    }
}

const METHODS: [Method; 5] = [
    Method::GradCam,
    Method::GradCamPlusPlus,
    Method::LayerCam,
    Method::HiResCam,
    Method::EigenCam,
];

#[derive(Deserialize)]
struct GoldenSklesion {
    labels: Vec<String>,
    top1_accuracy: f64,
    photos: Vec<GoldenPhoto>,
    layer: String,
    heat_maps: Vec<GoldenMaps>,
}

/// Extra inputs for photos: the patient's vector for the input that is not the photo.
fn patient(model: &Model, vector: &[f32]) -> Vec<ExtraInput> {
    let inputs = model.manifest.inputs.iter();
    let vectors = inputs.filter(|spec| matches!(spec.kind, InputKind::Vector { .. }));
    vectors
        .map(|spec| ExtraInput {
            name: spec.name.clone(),
            values: vector.to_vec(),
        })
        .collect()
}

/// Classifies every photo. The greatest difference of a probability from Keras' is checked on the
/// first `strict` photos and reported for all; the most probable class is checked on all.
fn classify(model: &Model, photos: &[GoldenPhoto], folder: &Path, strict: usize) -> f64 {
    let engine = engine(&model.graph, Isa::detect(), &[]);
    let mut predictor = Predictor::new(model, engine).unwrap();
    let (mut most, mut right) = (0.0f64, 0);
    for (i, photo) in photos.iter().enumerate() {
        let extra = resolve_inputs(model, &patient(model, &photo.vector)).unwrap();
        let path = folder.join(&photo.file);
        let predicted = predictor.predict_file(&path, &Limits::default(), &extra);
        let (_, predicted) = predicted.unwrap();
        let difference = greatest_difference(&predicted.probabilities, &photo.probabilities);
        assert!(
            i >= strict || difference <= 1e-5,
            "{}: {difference:e}",
            photo.file
        );
        most = most.max(difference);
        let top1 = predicted.top1();
        assert_eq!(top1, argmax(&photo.probabilities), "{}", photo.file);
        right += usize::from(model.manifest.labels[top1] == photo.label);
    }
    eprintln!(
        "{} photos: probabilities differ by at most {most:.2e}",
        photos.len()
    );
    right as f64 / photos.len() as f64
}

#[test]
fn sklesion_answers_as_keras_does() {
    let (Some(source), Some(folder)) = (cached_model("sklesion.keras"), shared("ham10000/images"))
    else {
        return;
    };
    let golden: GoldenSklesion = golden("sklesion.json");
    assert_eq!(golden.photos.len(), 193);
    let (_folder, model) = stored(&import_model(&source, &golden.labels, &raw));
    let accuracy = classify(&model, &golden.photos, &folder, 32);
    assert!((accuracy - golden.top1_accuracy).abs() < 1e-9, "{accuracy}");
}

/// The committed mapping turns the table's columns into the vectors that Keras got.
#[test]
fn sklesion_fields_are_the_numbers_it_was_trained_on() {
    let Some(table) = shared("ham10000/labels.csv") else {
        return;
    };
    let golden: GoldenSklesion = golden("sklesion.json");
    let input = [VectorInput {
        name: "input_layer_3",
        len: 10,
        has_default: false,
    }];
    let text = std::fs::read_to_string(repo(".").join("fixtures/fields/sklesion.yaml")).unwrap();
    let mapping = FieldMapping::from_yaml(&text, &input).unwrap();
    let filter = ["split=val".parse().unwrap()];
    let dataset = Dataset::open(&table, Labels::Required(&golden.labels), &filter).unwrap();
    assert_eq!(dataset.samples.len(), 193);
    assert_eq!(dataset.filtered_out, 500);
    let mut incomplete = 0;
    for photo in &golden.photos {
        let mut samples = dataset.samples.iter();
        let sample = samples.find(|sample| sample.name == photo.file).unwrap();
        assert_eq!(golden.labels[sample.label.unwrap()], photo.label);
        let made = fields::apply(&mapping, &[], &|field| dataset.field(sample, field)).unwrap();
        // The golden file has 8 decimals.
        let got = &made.inputs[0].values;
        assert_eq!(got.len(), photo.vector.len());
        for (got, want) in got.iter().zip(&photo.vector) {
            assert!((got - want).abs() <= 1e-7, "{}: {got} {want}", photo.file);
        }
        incomplete += usize::from(!made.missing.is_empty());
    }
    assert!(incomplete > 0, "rows with an unknown fact are among them");
}

#[test]
fn sklesion_heat_maps_are_those_of_tensorflow() {
    let (Some(source), Some(folder)) = (cached_model("sklesion.keras"), shared("ham10000/images"))
    else {
        return;
    };
    let golden: GoldenSklesion = golden("sklesion.json");
    let (_folder, model) = stored(&import_model(&source, &golden.labels, &raw));
    let target = Target::find(&model.graph, Some(&golden.layer)).unwrap();
    let model = Model {
        graph: target.graph().clone(),
        manifest: model.manifest,
    };
    // The default layer is the one that people choose.
    let chosen = Target::find(&model.graph, None).unwrap();
    assert!(
        chosen.layer().ends_with(&golden.layer),
        "{}",
        chosen.layer()
    );
    let engine = engine(&model.graph, Isa::detect(), &target.keep());
    let mut predictor = Predictor::new(&model, engine).unwrap();
    assert_eq!(golden.heat_maps.len(), 8);
    for maps in &golden.heat_maps {
        let photo = golden.photos.iter().find(|p| p.file == maps.file).unwrap();
        let extra = resolve_inputs(&model, &patient(&model, &photo.vector)).unwrap();
        let path = folder.join(&photo.file);
        predictor
            .predict_file(&path, &Limits::default(), &extra)
            .unwrap();
        maps.compare(&target, predictor.runner(), &photo.file);
    }
}

/// The promise of the README: import under 250 MB, an answer under 150 MB, including the heat map.
#[test]
fn sklesion_needs_little_memory() {
    let Some(source) = cached_model("sklesion.keras") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (recipe, model, map) = (
        path("recipe.yaml"),
        path("model.safetensors"),
        path("m.png"),
    );
    std::fs::write(&recipe, "preset: raw\nfilter: tensorflow_bilinear\n").unwrap();
    let source = source.to_str().unwrap();
    let vector = "patient_data=0,1,0,0,0,0,1,0,0.6,0";
    let graph = import(Path::new(source), &ImportOptions::default(), &mut |_| {})
        .unwrap()
        .graph;
    let extra = graph.inputs().find(|(_, node)| node.shape.hwc().is_none());
    let vector = vector.replace("patient_data", &extra.unwrap().1.name);
    let said = common::stdout(["import", source, "-o", &model, "--preprocess", &recipe]);
    let peak = said.split("peak RSS ").nth(1).unwrap();
    let mut words = peak.split_whitespace();
    let mib: f64 = words.next().unwrap().parse().unwrap();
    assert_eq!(words.next(), Some("MiB"), "{said}");
    eprintln!("import: peak RSS {mib} MiB");
    assert!(mib * 1.048_576 < 250.0, "import: peak RSS {mib} MiB");

    // A photo of 600x450 that this test draws: no photo may be committed.
    let photo = path("photo.png");
    let picture = smooth(3, 600, 450);
    let pixels: Vec<u8> = picture.iter().map(|v| byte(v * 255.0)).collect();
    image::save_buffer(&photo, &pixels, 600, 450, image::ColorType::Rgb8).unwrap();
    let answer = common::stdout([
        "predict",
        &model,
        &photo,
        "--input",
        &vector,
        "--gradcam",
        &map,
        "--json",
    ]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let peak = answer["peak_rss_bytes"].as_u64().unwrap();
    eprintln!("predict: peak RSS {:.1} MB", peak as f64 / 1e6);
    assert!(peak < 150_000_000, "predict: peak RSS {peak} bytes");
    assert!(Path::new(&map).is_file());
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float-to-integer `as` saturates"
)]
fn byte(value: f32) -> u8 {
    value.round() as u8
}

#[derive(Deserialize)]
struct GoldenApp {
    size: usize,
    scale: f32,
    shift: f32,
    logits: Vec<Vec<f64>>,
    heat_map: Option<GoldenMaps>,
}

#[derive(Deserialize)]
struct GoldenApps {
    models: BTreeMap<String, GoldenApp>,
}

/// The script's `uniform`.
fn uniform(seed: u64, count: usize) -> Vec<f32> {
    let mut random = SplitMix64::new(seed);
    (0..count).map(|_| random.unit_f32()).collect()
}

/// The script's `smooth`, `[height, width, 3]`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "cells are 0 to 6, and values are rounded to f32 as the script does"
)]
fn smooth(seed: u64, width: usize, height: usize) -> Vec<f32> {
    let cells = uniform(seed, 8 * 8 * 3);
    let at = |i: usize, size: usize| {
        let at = (i * 7) as f64 / (size - 1) as f64;
        let low = (at as usize).min(6);
        (low, at - low as f64)
    };
    let mut picture = Vec::with_capacity(width * height * 3);
    for y in 0..height {
        let (row, down) = at(y, height);
        for x in 0..width {
            let (column, right) = at(x, width);
            for c in 0..3 {
                let cell = |r: usize, q: usize| f64::from(cells[(r * 8 + q) * 3 + c]);
                let between = |q: usize| cell(row, q) * (1.0 - down) + cell(row + 1, q) * down;
                let value = between(column) * (1.0 - right) + between(column + 1) * right;
                picture.push(value as f32);
            }
        }
    }
    picture
}

impl GoldenApp {
    fn inputs(&self) -> Vec<Vec<f32>> {
        let seeds = 0..self.logits.len() as u64;
        let one = |seed| {
            let picture = smooth(seed, self.size, self.size);
            let scaled = picture.iter().map(|v| v * self.scale + self.shift);
            scaled.collect()
        };
        seeds.map(one).collect()
    }

    /// Logits of `run` compared with Keras', as shares of each picture's range of logits.
    fn compare(&self, place: &str, inputs: &[Vec<f32>], run: &mut dyn FnMut(&[f32]) -> Vec<f32>) {
        let mut most = 0.0f64;
        for (input, want) in inputs.iter().zip(&self.logits) {
            let got = run(input);
            let range = want.iter().copied().fold(f64::MIN, f64::max)
                - want.iter().copied().fold(f64::MAX, f64::min);
            let difference = greatest_difference(&got, want) / range;
            assert!(
                difference <= 1e-4,
                "{place}: {difference:e} of the range; expected {want:?}, got {got:?}"
            );
            most = most.max(difference);
        }
        eprintln!("{place}: logits differ by at most {most:.2e} of their range");
    }

    /// The model must distinguish the pictures; otherwise the comparison would show little.
    fn tells_pictures_apart(&self) {
        let all: Vec<f64> = self.logits.iter().flatten().copied().collect();
        let range = all.iter().copied().fold(f64::MIN, f64::max)
            - all.iter().copied().fold(f64::MAX, f64::min);
        let other = self.logits[1..].iter().any(|logits| {
            let pairs = logits.iter().zip(&self.logits[0]);
            pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f64::max) > 0.01 * range
        });
        assert!(other);
    }
}

/// A model of keras.applications with seeded weights, on every tier of this machine.
fn app_model(name: &str) {
    let Some(source) = cached_model(&format!("{name}.keras")) else {
        return;
    };
    let mut golden: GoldenApps = golden("app_models.json");
    let golden = golden.models.remove(name).unwrap();
    golden.tells_pictures_apart();
    let labels: Vec<String> = (0..7).map(|i| format!("class_{i}")).collect();
    let (_folder, model) = stored(&import_model(&source, &labels, &raw));
    let graph = &model.graph;
    let (input, node) = graph.inputs().next().unwrap();
    let inputs = golden.inputs();
    for isa in Isa::available() {
        let mut engine = engine(graph, isa, &[]);
        golden.compare(&format!("{name} {isa}"), &inputs, &mut |picture| {
            engine.input_mut(input).copy_from_slice(picture);
            engine.run();
            engine.output().to_vec()
        });
    }
    if name == "mobilenetv3small" {
        // Candle needs seconds for each picture, so only the smallest model is tested on it.
        golden.compare(&format!("{name} reference"), &inputs[..1], &mut |picture| {
            let given = BTreeMap::from([(node.name.as_str(), picture)]);
            Reference::new(graph).run(&given).unwrap()
        });
    }
    if let Some(maps) = &golden.heat_map {
        let target = Target::find(graph, Some("top_activation")).unwrap();
        let mut engine = engine(target.graph(), Isa::detect(), &target.keep());
        let (input, _) = target.graph().inputs().next().unwrap();
        engine.input_mut(input).copy_from_slice(&inputs[0]);
        engine.run();
        maps.compare(&target, &engine, name);
    }
}

#[test]
fn efficientnetv2s_at_300_pixels_with_a_head_of_its_own() {
    app_model("efficientnetv2s");
}

#[test]
fn efficientnetb0() {
    app_model("efficientnetb0");
}

#[test]
fn mobilenetv2() {
    app_model("mobilenetv2");
}

#[test]
fn mobilenetv3small() {
    app_model("mobilenetv3small");
}

#[test]
fn resnet50() {
    app_model("resnet50");
}

#[test]
fn densenet121() {
    app_model("densenet121");
}

#[test]
fn inceptionv3() {
    app_model("inceptionv3");
}

#[derive(Deserialize)]
struct GoldenH5 {
    ham7_cnn28std: GoldenHam7,
    bin_tm_mobilenetv2_035_nested: GoldenApp,
}

#[derive(Deserialize)]
struct GoldenHam7 {
    labels: Vec<String>,
    mean: f64,
    std: f64,
    top1_accuracy: f64,
    photos: Vec<GoldenPhoto>,
}

#[test]
fn a_small_classifier_with_its_own_normalization() {
    let (Some(source), Some(folder)) =
        (shared("models/ham7_cnn28std.h5"), shared("ham10000/images"))
    else {
        return;
    };
    let golden = golden::<GoldenH5>("h5.json").ham7_cnn28std;
    let recipe = |shape| Preprocessing {
        mean: [golden.mean; 3],
        std: [golden.std; 3],
        ..raw(shape)
    };
    let (_folder, model) = stored(&import_model(&source, &golden.labels, &recipe));
    assert_eq!(golden.photos.len(), 193);
    let accuracy = classify(&model, &golden.photos, &folder, 193);
    assert!((accuracy - golden.top1_accuracy).abs() < 1e-9, "{accuracy}");
}

#[test]
fn a_nested_model_of_teachable_machine() {
    let Some(source) = shared("models/bin_tm_mobilenetv2_035_nested.h5") else {
        return;
    };
    let golden = golden::<GoldenH5>("h5.json").bin_tm_mobilenetv2_035_nested;
    let labels = ["benign", "malignant"].map(str::to_owned);
    let (_folder, model) = stored(&import_model(&source, &labels, &raw));
    let (input, _) = model.graph.inputs().next().unwrap();
    let inputs = golden.inputs();
    for isa in Isa::available() {
        let mut engine = engine(&model.graph, isa, &[]);
        golden.compare(
            &format!("teachable machine {isa}"),
            &inputs,
            &mut |picture| {
                engine.input_mut(input).copy_from_slice(picture);
                engine.run();
                engine.output().to_vec()
            },
        );
    }
}
