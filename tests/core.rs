//! The compute core's promises to other people's programs, with whatever features it was built.
//! `scripts/check-core.sh` runs this without any features.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use dermal::Hint;
use dermal::artifact::{
    self, Head, InputKind, InputSpec, Manifest, Model, Preprocessing, Provenance,
};
use dermal::graph::{Graph, Op, PoolKind};
use dermal::{Classifier, HeatMaps, Method, Overlay, Photo};

fn photo() -> Photo {
    Photo::from_bytes(include_bytes!("../fixtures/images/bcc_03.jpg")).unwrap()
}

/// The demo model's target layer and answer: the same whatever the features.
#[test]
fn a_photo_is_classified_and_explained() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.safetensors");
    artifact::write(&path, &artifact::embedded().unwrap()).unwrap();
    for mut classifier in [
        Classifier::open(&path).unwrap(),
        Classifier::from_bytes(&std::fs::read(&path).unwrap()).unwrap(),
        Classifier::embedded().unwrap(),
    ] {
        let photo = photo();
        let answer = classifier.predict(&photo).unwrap();
        assert_eq!(answer.label(), "bcc");
        assert!(answer.probability() > 0.99);
        for method in Method::ALL {
            let map = answer.heat_map(method, None).unwrap();
            assert!(!map.is_blank(), "{method:?}");
        }
        let map = answer.heat_map(Method::GradCam, None).unwrap();
        let before = photo.pixels().to_vec();
        let picture = answer.draw(photo, &map, Overlay::default());
        assert_ne!(picture.pixels(), before);
        assert!(picture.png().unwrap().starts_with(b"\x89PNG"));
    }
}

/// A model that ends in a global maximum; only candle has its gradient.
fn ends_in_a_maximum() -> Model {
    let mut graph = Graph::new("maximum");
    let photo = graph.push_input("photo", [4, 4, 3].into()).unwrap();
    let activation = Op::Activation(dermal::activation::Activation::Relu);
    let map = graph.push("relu", activation, &[photo]).unwrap();
    let pool = Op::GlobalPool {
        kind: PoolKind::Max,
        keep_dims: false,
    };
    graph.push("maximum", pool, &[map]).unwrap();
    let preprocessing = Preprocessing::preset("unit", [4, 4, 3]).unwrap();
    Model {
        graph,
        manifest: Manifest::new(
            vec![InputSpec {
                name: "photo".into(),
                kind: InputKind::Image { preprocessing },
            }],
            ["red", "green", "blue"].map(String::from).to_vec(),
            Head::Softmax,
            Provenance::default(),
        ),
    }
}

#[test]
fn a_method_that_needs_a_gradient_which_the_build_has_not_is_refused_by_name() {
    let mut classifier = Classifier::new(ends_in_a_maximum()).unwrap();
    let mut pixels = vec![0; 48];
    pixels[1] = 200;
    let photo = Photo::new(4, 4, pixels).unwrap();
    let answer = classifier.predict(&photo).unwrap();
    assert_eq!(answer.label(), "green");
    assert!(answer.heat_map(Method::EigenCam, None).is_ok());
    for method in Method::ALL.into_iter().filter(|m| m.needs_gradient()) {
        let map = answer.heat_map(method, None);
        if cfg!(feature = "gradients") {
            assert!(!map.unwrap().is_blank(), "{method:?}");
            continue;
        }
        let error = map.unwrap_err();
        assert_eq!(error.kind(), "no_gradient");
        for part in [method.name(), "relu", "maximum", "GlobalMaxPool"] {
            assert!(error.to_string().contains(part), "{error}");
        }
        assert!(error.hint().contains("eigencam"), "{}", error.hint());
    }
}

#[test]
fn threads_are_there_or_refused() {
    let two = Classifier::options()
        .threads(2)
        .heat_maps(HeatMaps::Off)
        .embedded();
    if cfg!(feature = "threads") {
        let mut one = Classifier::options().threads(1).embedded().unwrap();
        let photo = photo();
        let expected = one.predict(&photo).unwrap().into_prediction();
        let got = two.unwrap().predict(&photo).unwrap().into_prediction();
        assert_eq!(got.logits, expected.logits);
    } else {
        assert_eq!(two.unwrap_err().kind(), "threads");
    }
}
