//! A classifier gives the same answers as the parts that it is made of.

use super::*;
use crate::artifact;
use crate::engine;
use crate::explain::{self, Method, Overlay, Score};
use crate::hint::Hint;
use crate::kernels::Isa;
use crate::predict::Region;

fn photo() -> Photo {
    Photo::open("fixtures/images/bcc_03.jpg").unwrap()
}

#[test]
fn path_bytes_embedded_and_pixels_agree() {
    let photo = photo();
    let pixels = Photo::new(photo.width(), photo.height(), photo.pixels().to_vec()).unwrap();
    let file = std::fs::read("fixtures/images/bcc_03.jpg").unwrap();
    let expected = Classifier::embedded()
        .unwrap()
        .predict(&photo)
        .unwrap()
        .into_prediction();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("demo.safetensors");
    artifact::write(&path, &artifact::embedded().unwrap()).unwrap();
    for mut classifier in [
        Classifier::open(&path).unwrap(),
        Classifier::from_bytes(artifact::embedded_bytes()).unwrap(),
        Classifier::from_bytes(&std::fs::read(&path).unwrap()).unwrap(),
        Classifier::new(artifact::embedded().unwrap()).unwrap(),
        Classifier::options()
            .threads(2)
            .isa(Isa::detect())
            .embedded()
            .unwrap(),
    ] {
        for photo in [&photo, &pixels, &Photo::from_bytes(&file).unwrap()] {
            let answer = classifier.predict(photo).unwrap();
            assert_eq!(answer.label(), "bcc");
            assert_eq!(answer.prediction().logits, expected.logits);
            assert_eq!(answer.ranked()[0], (answer.label(), answer.probability()));
        }
        assert!(!classifier.self_test().unwrap(), "the demo carries none");
    }
}

#[test]
fn the_self_test_is_asked_if_the_artifact_carries_one() {
    let mut model = artifact::embedded().unwrap();
    let engine = Engine::new(&model.graph, &engine::Options::default()).unwrap();
    let mut predictor = Predictor::new(&model, engine).unwrap();
    let mut record = selftest::record(&model, &mut predictor).unwrap();
    model.manifest.self_test = Some(record.clone());
    assert!(Classifier::new(model.clone()).unwrap().self_test().unwrap());
    record.probabilities.rotate_left(1);
    model.manifest.self_test = Some(record);
    let error = Classifier::new(model).unwrap().self_test().unwrap_err();
    assert_eq!(error.kind(), "self_test_differs");
}

#[test]
fn the_heat_map_is_that_of_the_parts() {
    let model = artifact::embedded().unwrap();
    let target = Target::find(&model.graph, None).unwrap();
    let options = engine::Options {
        keep: target.keep(),
        ..engine::Options::default()
    };
    let engine = Engine::new(target.graph(), &options).unwrap();
    let mut predictor = Predictor::new(&model, engine).unwrap();
    let photo = photo();
    predictor.predict(&photo, &[]).unwrap();
    let mut classifier = Classifier::options().threads(1).embedded().unwrap();
    let answer = classifier.predict(&photo).unwrap();
    for method in Method::ALL {
        let score = Score::of_class(4, model.manifest.head);
        let values = |id| predictor.runner().value(id);
        let expected = explain::explain(&target, method, score, &values).unwrap();
        assert_eq!(answer.heat_map(method, Some(4)).unwrap(), expected);
    }
    let map = answer.heat_map(Method::GradCam, None).unwrap();
    let region = predictor.region(&photo);
    let mut pixels = photo.pixels().to_vec();
    let size = [photo.width(), photo.height()];
    let side = size.map(|side| u32::try_from(side).unwrap());
    explain::overlay(&mut pixels, side, &map, region, Overlay::default());
    let picture = answer.draw(photo, &map, Overlay::default());
    assert_eq!(picture.size(), size);
    assert_eq!(picture.pixels(), pixels);
    let read = image::load_from_memory(&picture.png().unwrap()).unwrap();
    assert_eq!(read.to_rgb8().as_raw(), &pixels);
}

#[test]
fn a_picture_can_be_made_smaller() {
    let map = explain::HeatMap::new(1, 1, vec![1.0]);
    let photo = Photo::new(8, 4, vec![0; 96]).unwrap();
    let region = Region {
        left: 4.0,
        top: 0.0,
        width: 4.0,
        height: 4.0,
    };
    let picture = explain::draw(photo, region, &map, Overlay::default(), Some(4));
    assert_eq!(picture.size(), [4, 2]);
    // The model did not see the left half, so it stays black.
    let row = &picture.pixels()[..12];
    assert_eq!(row[..6], [0; 6]);
    assert!(row[6] > 0 && row[9] > 0, "{row:?}");
}

#[test]
fn what_cannot_be_done_is_an_error_with_a_next_step() {
    let mut off = Classifier::options()
        .heat_maps(HeatMaps::Off)
        .embedded()
        .unwrap();
    let on = Classifier::embedded().unwrap();
    assert!(off.engine().memory_bytes() <= on.engine().memory_bytes());
    let photo = photo();
    let answer = off.predict(&photo).unwrap();
    let error = answer.heat_map(Method::GradCam, None).unwrap_err();
    assert_eq!(error.kind(), "no_map");

    let mut on = on;
    let answer = on.predict(&photo).unwrap();
    let error = answer.heat_map(Method::EigenCam, Some(7)).unwrap_err();
    assert_eq!(error.kind(), "class");
    let error = on.class_index("naevus").unwrap_err();
    assert_eq!(error.kind(), "unknown_class");
    assert!(error.hint().contains("akiec, bcc"), "{}", error.hint());
    assert_eq!(on.class_index("bcc").unwrap(), 1);

    let layer = HeatMaps::At(Some("no_such_layer".to_owned()));
    let error = Classifier::options().heat_maps(layer).embedded();
    let error = error.unwrap_err();
    assert_eq!(error.kind(), "unknown_layer");
    assert!(error.hint().contains("dermal inspect"));
    let error = Classifier::open("no/such.safetensors").unwrap_err();
    assert_eq!(error.kind(), "io");
    assert!(error.to_string().contains("no/such.safetensors"), "{error}");
    let error = Classifier::from_bytes(b"not a model").unwrap_err();
    assert_eq!(error.to_string(), "cannot load the model");
}

#[test]
fn threads_share_weights_and_not_classifiers() {
    fn can_be_sent<T: Send>(_: &T) {}

    let model = artifact::embedded().unwrap();
    let answer = |model: Model| {
        let mut classifier = Classifier::options().threads(1).build(model).unwrap();
        can_be_sent(&classifier);
        let answer = classifier.predict(&photo()).unwrap();
        answer.into_prediction().probabilities
    };
    let [one, two] = std::thread::scope(|scope| {
        [(); 2]
            .map(|()| scope.spawn(|| answer(model.clone())))
            .map(|thread| thread.join().unwrap())
    });
    assert_eq!(one, two);
}
