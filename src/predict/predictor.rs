//! From a photo to probabilities: preprocessing, one run of the graph, and the head.

use std::path::Path;
use std::time::{Duration, Instant};

use super::decode::{self, DecodeError, Limits, Photo};
use super::geometry::Region;
use super::head;
use super::inputs::InputError;
use super::photo_input::PhotoInput;
use crate::artifact::{Head, Model, Preprocessing, PreprocessingError};
use crate::engine::Engine;
use crate::graph::NodeId;
use crate::hint::{Arguments, Hint, named};

/// Computes the graph: the engine, or the reference in tests. It owns the memory of the inputs, so
/// preprocessing writes directly to the place that the first layer reads.
pub trait Run {
    /// An input's floats, to be filled before each run.
    fn input_mut(&mut self, input: NodeId) -> &mut [f32];
    /// Computes the output from the inputs.
    fn run(&mut self);
    /// The output's floats after a run.
    fn output(&self) -> &[f32];
}

impl Run for Engine {
    fn input_mut(&mut self, input: NodeId) -> &mut [f32] {
        Engine::input_mut(self, input)
    }

    fn run(&mut self) {
        Engine::run(self);
    }

    fn output(&self) -> &[f32] {
        Engine::output(self)
    }
}

/// The time of each part of a prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timing {
    /// Reading and decoding the file; zero if the photo was already decoded.
    pub decode: Duration,
    /// From the photo to the input; zero if the input was already prepared.
    pub preprocess: Duration,
    /// From the input to probabilities.
    pub inference: Duration,
}

/// The model's answer to a photo.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The probability of each label, in the order of the labels.
    pub probabilities: Vec<f32>,
    /// The graph's output, before the model's last activation.
    pub logits: Vec<f32>,
    /// The time of each part.
    pub timing: Timing,
}

impl Prediction {
    /// The index of each label with its probability, likeliest first. Labels with equal probabilities
    /// are in the order of their indices.
    #[must_use]
    pub fn ranked(&self) -> Vec<(usize, f32)> {
        let mut ranked: Vec<(usize, f32)> =
            self.probabilities.iter().copied().enumerate().collect();
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1));
        ranked
    }

    /// The likeliest label's index.
    #[must_use]
    pub fn top1(&self) -> usize {
        self.ranked().first().map_or(0, |first| first.0)
    }
}

/// Why there is no prediction.
#[derive(Debug, thiserror::Error)]
pub enum PredictError {
    /// The photo cannot be read.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// An extra input does not fit the model.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The preprocessing does not fit the model's input.
    #[error("input `{input}` of the model")]
    Preprocessing {
        /// The photo's input.
        input: String,
        /// What does not fit.
        source: PreprocessingError,
    },
    /// The model does not have one photo as input, or labels for its outputs.
    #[error("the model cannot classify photos: {0}")]
    Model(String),
    /// An output of the network is infinite or not a number.
    #[error("the model's output {index} is {value}")]
    NotFinite {
        /// The index of the output.
        index: usize,
        /// Its value.
        value: f32,
    },
    /// The network's output is used as a probability, but is not one.
    #[error("the model's output {index} is {value}, which is not a probability from 0 to 1")]
    NotProbability {
        /// The index of the output.
        index: usize,
        /// Its value.
        value: f32,
    },
}

impl Hint for PredictError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Decode(error) => error.kind(),
            Self::Input(error) => error.kind(),
            Self::Preprocessing { source, .. } => source.kind(),
            Self::Model(_) => "model_is_no_photo_classifier",
            Self::NotFinite { .. } => "output_not_finite",
            Self::NotProbability { .. } => "output_not_probability",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Decode(error) => error.hint(),
            Self::Input(error) => error.hint(),
            Self::Preprocessing { source, .. } => source.hint(),
            Self::Model(_) => "import the model again; `dermal inspect` shows what is in it".into(),
            Self::NotFinite { .. } => {
                "check `--preprocess` and `--input`: numbers far from those of training overflow; \
                 or the weights are damaged"
                    .into()
            }
            Self::NotProbability { .. } => {
                "import the model again with the head that it was trained for: `--head softmax`, \
                 `sigmoid` or `multi-sigmoid`"
                    .into()
            }
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Decode(error) => error.arguments(),
            Self::Input(error) => error.arguments(),
            Self::Preprocessing { input, source } => named!(input).and(source),
            Self::Model(problem) => named!(problem),
            Self::NotFinite { index, value } | Self::NotProbability { index, value } => {
                named!(index, value)
            }
        }
    }
}

/// Runs a model on photos, with any runner of its graph. Start with
/// [`Classifier`](crate::Classifier), which adds the engine and heat maps.
pub struct Predictor<R> {
    runner: R,
    photo: PhotoInput,
    head: Head,
}

impl<R: Run> Predictor<R> {
    /// A predictor for `model`, whose graph `runner` runs.
    ///
    /// # Errors
    /// [`PredictError::Model`] or [`PredictError::Preprocessing`] if the manifest does not fit
    /// the graph; a loaded artifact always does.
    pub fn new(model: &Model, runner: R) -> Result<Self, PredictError> {
        let manifest = &model.manifest;
        let photo = PhotoInput::of(model)?;
        let outputs = model.graph.node(model.graph.output()).shape.len();
        let answers = match manifest.head {
            Head::BinarySigmoid if outputs == 1 => 2,
            _ => outputs,
        };
        if answers != manifest.labels.len() || answers == 0 {
            return Err(PredictError::Model(format!(
                "it has {} labels for {outputs} outputs",
                manifest.labels.len()
            )));
        }
        Ok(Self {
            runner,
            photo,
            head: manifest.head,
        })
    }

    /// Classifies a photo. `extra` has the values of every other input, from
    /// [`super::inputs::resolve`].
    ///
    /// # Errors
    /// [`PredictError::NotFinite`] or [`PredictError::NotProbability`].
    ///
    /// # Panics
    /// If `extra` is not for this model.
    pub fn predict(
        &mut self,
        photo: &Photo,
        extra: &[(NodeId, Vec<f32>)],
    ) -> Result<Prediction, PredictError> {
        let started = Instant::now();
        let input = self.runner.input_mut(self.photo.node);
        self.photo.prepare(photo, input)?;
        let preprocess = started.elapsed();
        let mut prediction = self.finish(extra)?;
        prediction.timing.preprocess = preprocess;
        Ok(prediction)
    }

    /// Like [`Predictor::predict`], for a photo that [`PhotoInput::prepare`] turned into floats.
    ///
    /// # Errors
    /// As [`Predictor::predict`].
    ///
    /// # Panics
    /// If `input` or `extra` is not for this model.
    pub fn predict_prepared(
        &mut self,
        input: &[f32],
        extra: &[(NodeId, Vec<f32>)],
    ) -> Result<Prediction, PredictError> {
        self.runner
            .input_mut(self.photo.node)
            .copy_from_slice(input);
        self.finish(extra)
    }

    /// From the photo's floats, which are already in the input, to probabilities.
    fn finish(&mut self, extra: &[(NodeId, Vec<f32>)]) -> Result<Prediction, PredictError> {
        let started = Instant::now();
        for (id, values) in extra {
            self.runner.input_mut(*id).copy_from_slice(values);
        }
        self.runner.run();
        let logits = self.runner.output().to_vec();
        if let Some(index) = logits.iter().position(|v| !v.is_finite()) {
            let value = logits[index];
            return Err(PredictError::NotFinite { index, value });
        }
        if let Some(index) = head::no_probability(self.head, &logits) {
            let value = logits[index];
            return Err(PredictError::NotProbability { index, value });
        }
        let probabilities = head::probabilities(self.head, &logits);
        Ok(Prediction {
            probabilities,
            logits,
            timing: Timing {
                decode: Duration::ZERO,
                preprocess: Duration::ZERO,
                inference: started.elapsed(),
            },
        })
    }

    /// Reads, decodes and classifies a file. Also returns the photo, for a heat map over it.
    ///
    /// # Errors
    /// [`PredictError`].
    pub fn predict_file(
        &mut self,
        path: &Path,
        limits: &Limits,
        extra: &[(NodeId, Vec<f32>)],
    ) -> Result<(Photo, Prediction), PredictError> {
        let started = Instant::now();
        let photo = decode::read(path, limits)?;
        let decode = started.elapsed();
        let mut prediction = self.predict(&photo, extra)?;
        prediction.timing.decode = decode;
        Ok((photo, prediction))
    }

    /// The recipe by which photos become the input.
    pub fn recipe(&self) -> &Preprocessing {
        &self.photo.recipe
    }

    /// How photos become the model's input.
    pub fn photo_input(&self) -> &PhotoInput {
        &self.photo
    }

    /// The part of a photo that the model sees.
    pub fn region(&self, photo: &Photo) -> Region {
        let [height, width, _] = self.photo.shape;
        Region::seen(
            self.photo.recipe.resize,
            [photo.height(), photo.width()],
            [height, width],
        )
    }

    /// The runner of the graph. After a prediction it holds the kept values, which heat maps need.
    pub fn runner(&self) -> &R {
        &self.runner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact::{InputKind, InputSpec, Manifest, Provenance};
    use crate::graph::{Graph, Op};
    use crate::predict::inputs::{self, ExtraInput};
    use crate::tensor::Shape;

    /// Answers with the sums of its inputs.
    struct Sums {
        inputs: Vec<Vec<f32>>,
        output: Vec<f32>,
    }

    impl Run for Sums {
        fn input_mut(&mut self, input: NodeId) -> &mut [f32] {
            &mut self.inputs[input.0]
        }
        fn run(&mut self) {
            self.output = self.inputs.iter().map(|v| v.iter().sum()).collect();
        }
        fn output(&self) -> &[f32] {
            &self.output
        }
    }

    /// A photo of 2x2 and three numbers; two outputs.
    fn model(default: Option<Vec<f32>>) -> Model {
        let mut graph = Graph::new("test");
        graph.push_input("photo", [2, 2, 3].into()).unwrap();
        let numbers = graph.push_input("patient", [3].into()).unwrap();
        let crop = Op::Reshape {
            shape: Shape::new(&[3]),
        };
        graph.push("answer", crop, &[numbers]).unwrap();
        let preprocessing = Preprocessing::preset("unit", [2, 2, 3]).unwrap();
        Model {
            graph,
            manifest: Manifest::new(
                vec![
                    InputSpec {
                        name: "photo".into(),
                        kind: InputKind::Image { preprocessing },
                    },
                    InputSpec {
                        name: "patient".into(),
                        kind: InputKind::Vector { default },
                    },
                ],
                vec!["a".into(), "b".into(), "c".into()],
                Head::Softmax,
                Provenance::default(),
            ),
        }
    }

    fn runner() -> Sums {
        Sums {
            inputs: vec![vec![0.0; 12], vec![0.0; 3]],
            output: Vec::new(),
        }
    }

    fn given(text: &str) -> Vec<ExtraInput> {
        text.split_whitespace()
            .map(|t| t.parse().unwrap())
            .collect()
    }

    #[test]
    fn photo_and_numbers_reach_the_network() {
        let model = model(None);
        let mut predictor = Predictor::new(&model, runner()).unwrap();
        let extra = inputs::resolve(&model, &given("patient=1,2,-0.5")).unwrap();
        let photo = Photo::new(1, 1, vec![255, 0, 51]).unwrap();
        let prediction = predictor.predict(&photo, &extra).unwrap();
        // Four pixels of 1 + 0 + 0.2; 1 + 2 - 0.5.
        assert!((prediction.logits[0] - 4.8).abs() < 1e-5);
        assert!((prediction.logits[1] - 2.5).abs() < f32::EPSILON);
        let sum: f32 = prediction.probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-6);
        assert_eq!(prediction.top1(), 0);
        assert_eq!(prediction.ranked()[1].0, 1);
    }

    #[test]
    fn an_output_that_is_no_number_is_an_error() {
        let model = model(Some(vec![f32::MAX; 3]));
        let mut predictor = Predictor::new(&model, runner()).unwrap();
        let extra = inputs::resolve(&model, &[]).unwrap();
        let photo = Photo::new(1, 1, vec![0; 3]).unwrap();
        let error = predictor.predict(&photo, &extra).unwrap_err();
        assert_eq!(error.kind(), "output_not_finite");
        assert!(error.to_string().contains("output 1 is inf"), "{error}");
    }

    #[test]
    fn wrong_extra_inputs_are_named_with_the_next_step() {
        let model = model(None);
        let resolve = |text: &str| inputs::resolve(&model, &given(text)).unwrap_err();
        for (text, kind, says) in [
            ("", "missing_input", "--input patient=v1,v2,v3"),
            ("patent=1,2,3", "unknown_input", "did you mean `patient`?"),
            ("age=1,2,3", "unknown_input", "beside the photo: `patient`"),
            (
                "patient=1,2",
                "wrong_input_length",
                "expected 3 values, got 2",
            ),
            ("photo=1", "input_is_the_photo", "path as an argument"),
            ("patient=1,2,3 patient=1,2,3", "input_given_twice", "once"),
        ] {
            let error = resolve(text);
            let message = format!("{error}; {}", error.hint());
            assert_eq!(error.kind(), kind, "{text}");
            assert!(message.contains(says), "{text}: {message}");
        }
        for (text, kind) in [
            ("patient", "bad_input_syntax"),
            ("=1,2", "bad_input_syntax"),
            ("patient=1,,2", "bad_input_number"),
            ("patient=", "bad_input_number"),
            ("patient=1,inf", "bad_input_number"),
            ("patient=1,NaN", "bad_input_number"),
        ] {
            assert_eq!(
                text.parse::<ExtraInput>().unwrap_err().kind(),
                kind,
                "{text}"
            );
        }
    }

    #[test]
    fn a_manifest_that_does_not_fit_is_refused() {
        let mut two_labels = model(None);
        two_labels.manifest.labels.pop();
        let mut no_photo = model(None);
        no_photo.manifest.inputs[0].kind = InputKind::Vector { default: None };
        let mut one_input = model(None);
        one_input.manifest.inputs.pop();
        for bad in [two_labels, no_photo, one_input] {
            let error = Predictor::new(&bad, runner()).map(|_| ()).unwrap_err();
            assert_eq!(error.kind(), "model_is_no_photo_classifier", "{error}");
        }
    }
}
