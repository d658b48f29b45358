//! The embedded demo model and the fixture pictures: the promises of the model card and of
//! `fixtures/README.md`.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use dermal::artifact::{self, Model};
use dermal::engine::{Engine, Options};
use dermal::graph::NodeId;
use dermal::predict::{Limits, Predictor, Run, decode};
use dermal::reference::Reference;

#[allow(dead_code, reason = "shared with the examples, which use other parts")]
#[path = "../../examples/synthetic/mod.rs"]
mod synthetic;

use synthetic::{CLASSES, FIXTURES_PER_CLASS, Split};

struct Served(Engine);

impl Run for Served {
    fn input_mut(&mut self, input: NodeId) -> &mut [f32] {
        self.0.input_mut(input)
    }

    fn run(&mut self) {
        self.0.run();
    }

    fn output(&self) -> &[f32] {
        self.0.output()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn fixture(name: &str) -> PathBuf {
    root().join("fixtures/images").join(name)
}

fn demo() -> Model {
    artifact::load(&root().join("models/demo.safetensors")).unwrap()
}

/// File and label of every fixture, in the order of `labels.csv`.
fn labels() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("fixtures/labels.csv")).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("file,label"));
    lines
        .map(|line| {
            let (file, label) = line.split_once(',').unwrap();
            (file.to_owned(), label.to_owned())
        })
        .collect()
}

/// Row of the card's table that starts with `| name`.
fn card_row(name: &str) -> String {
    let card = std::fs::read_to_string(root().join("models/README.md")).unwrap();
    let start = format!("| {name}");
    let row = card.lines().find(|line| line.starts_with(&start));
    row.unwrap_or_else(|| panic!("the card has no row `{name}`"))
        .to_owned()
}

#[test]
fn every_fixture_is_labelled_and_every_class_has_thirty() {
    let labels = labels();
    let mut per_class: HashMap<&str, u32> = HashMap::new();
    for (file, label) in &labels {
        assert!(fixture(file).is_file(), "{file} is missing");
        *per_class.entry(label.as_str()).or_default() += 1;
    }
    for class in CLASSES {
        assert_eq!(per_class.get(class), Some(&FIXTURES_PER_CLASS), "{class}");
    }
    let in_folder = std::fs::read_dir(root().join("fixtures/images")).unwrap();
    assert_eq!(in_folder.count(), labels.len());
}

#[test]
fn the_generator_draws_the_committed_bytes() {
    for class in 0..CLASSES.len() {
        for index in [0, FIXTURES_PER_CLASS - 1] {
            let name = synthetic::fixture_name(class, index);
            let drawn = synthetic::photo(Split::Fixture, class, index).unwrap();
            let committed = std::fs::read(fixture(&name)).unwrap();
            assert!(
                drawn == committed,
                "{name} differs from what the generator draws"
            );
        }
    }
}

#[test]
fn splits_share_no_picture() {
    let drawn = |split| synthetic::photo(split, 4, 3).unwrap();
    let splits = [
        Split::Fixture,
        Split::Train,
        Split::Validation,
        Split::HeldOut,
    ]
    .map(drawn);
    for (i, a) in splits.iter().enumerate() {
        assert!(splits[..i].iter().all(|b| a != b));
    }
}

/// The accuracy is the card's, and within the range for which the fixtures were made: a good model
/// misses some.
#[test]
fn accuracy_on_the_fixtures_is_that_of_the_card() {
    let model = demo();
    assert_eq!(model.manifest.labels, CLASSES);
    let engine = Engine::new(&model.graph, &Options::default()).unwrap();
    let mut predictor = Predictor::new(&model, Served(engine)).unwrap();
    let labels = labels();
    let right = labels
        .iter()
        .filter(|(file, label)| {
            let (_, prediction) = predictor
                .predict_file(&fixture(file), &Limits::default(), &[])
                .unwrap();
            model.manifest.labels[prediction.top1()] == *label
        })
        .count();
    let accuracy = right as f64 / labels.len() as f64;
    assert!(
        (0.90..=0.97).contains(&accuracy),
        "{right} of {}",
        labels.len()
    );
    let row = card_row("`fixtures/images`");
    assert!(
        row.contains(&format!("| {right} of {} |", labels.len())),
        "the card says {row}, measured {right}"
    );
}

#[test]
fn the_card_names_this_file() {
    let path = root().join("models/demo.safetensors");
    let sha256 = dermal::file::sha256_of_file(&path, &mut |_, _| {}).unwrap();
    assert!(card_row("sha256").contains(&sha256));
    let bytes = path.metadata().unwrap().len();
    assert!(card_row("size").contains(&format!("{bytes} bytes")));
    assert!(bytes <= 3 << 20, "{bytes} bytes");
}

/// Both sides add the same products in another order. A logit sums a few hundred terms for each of
/// 30 layers, and these logits are of the order of 10.
#[test]
fn engine_and_reference_agree() {
    let model = demo();
    let engine = Engine::new(&model.graph, &Options::default()).unwrap();
    let mut predictor = Predictor::new(&model, Served(engine)).unwrap();
    let (input, node) = model.graph.inputs().next().unwrap();
    for class in CLASSES {
        let path = fixture(&format!("{class}_07.jpg"));
        let photo = decode::read(&path, &Limits::default()).unwrap();
        let prediction = predictor.predict(&photo, &[]).unwrap();
        let shape = node.shape.hwc().unwrap();
        let mut pixels = vec![0.0; node.shape.len()];
        dermal::predict::preprocess(&photo, predictor.recipe(), shape, &mut pixels).unwrap();
        let inputs = BTreeMap::from([(model.graph.node(input).name.as_str(), pixels.as_slice())]);
        let expected = Reference::new(&model.graph).run(&inputs).unwrap();
        for (got, expected) in prediction.logits.iter().zip(&expected) {
            assert!(
                (got - expected).abs() < 1e-3,
                "{class}: {got}, expected {expected}"
            );
        }
    }
}
