//! A test with a known answer: a generated photo, and the probabilities that it had when the
//! artifact was made. A damaged file, or a machine that computes wrongly, answers differently.
//!
//! The photo is coarse coloured squares under fine noise, from a seeded generator of integers, in
//! the model's input size: the same bytes everywhere. Every other input is 0.5.

use super::decode::Photo;
use super::inputs::{self, ExtraInput};
use super::predictor::{PredictError, Predictor, Run};
use crate::artifact::{Model, SelfTest};
use crate::engine::{Engine, EngineError, Options, Plan};
use crate::graph::{Graph, Op};
use crate::hint::{Arguments, Hint, named};
use crate::random::SplitMix64;

/// The seed of new self-tests.
const SEED: u64 = 0xDE12_3A1D;

/// Side of a coloured square, in pixels.
const SQUARE: usize = 16;

/// Some CPUs round weights in half precision; others keep them in f32.
const HALF_TOLERANCE: f32 = 0.02;

/// Sums in another order, over a hundred layers.
const TOLERANCE: f32 = 0.002;

/// Most bytes of a plan that is run when a self-test is recorded: a model with a larger one does not
/// run on the small servers that self-tests are for.
const MAX_ARENA_BYTES: u64 = 512 << 20;

/// Most operations of a recording, beside [`OPERATIONS_A_WEIGHT`]: some seconds on the portable
/// kernels. A file of 300 bytes can ask for hours.
const MAX_OPERATIONS: u64 = 8_000_000_000;

/// Operations that each weight may bring. The classifiers of keras.applications and torchvision have
/// up to 800.
const OPERATIONS_A_WEIGHT: u64 = 1_000;

/// Why no self-test could be recorded.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The model gives no answer to the generated photo.
    #[error(transparent)]
    Predict(#[from] PredictError),
    /// The graph cannot be run.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// One photo takes more than an import may.
    #[error(
        "one photo takes {bytes} bytes and {operations} operations; a self-test may take \
         {most_bytes} and {most_operations}"
    )]
    TooMuch {
        /// Bytes of the values.
        bytes: u64,
        /// The limit.
        most_bytes: u64,
        /// Multiply-adds, and elements of values.
        operations: u64,
        /// The limit, which grows with the weights.
        most_operations: u64,
    },
}

impl Hint for RecordError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Predict(error) => error.kind(),
            Self::Engine(error) => error.kind(),
            Self::TooMuch { .. } => "self_test_cost",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Predict(error) => error.hint(),
            Self::Engine(error) => error.hint(),
            Self::TooMuch { .. } => "a smaller photo takes less: import with `--input-size`, or \
                                     export the model with a smaller input"
                .to_owned(),
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Predict(error) => error.arguments(),
            Self::Engine(error) => error.arguments(),
            Self::TooMuch {
                bytes,
                most_bytes,
                operations,
                most_operations,
            } => named!(bytes, most_bytes, operations, most_operations),
        }
    }
}

/// Why a self-test does not pass.
#[derive(Debug, thiserror::Error)]
pub enum SelfTestError {
    /// The model gives no answer.
    #[error("the self-test cannot be run")]
    Run(#[from] PredictError),
    /// The record is not for this model.
    #[error("the self-test has {got} probabilities, the model {expected}")]
    Length {
        /// Labels of the model.
        expected: usize,
        /// Probabilities of the record.
        got: usize,
    },
    /// The answer differs from the one when the artifact was made.
    #[error("the self-test expects {expected} for class {class}, got {got}")]
    Differs {
        /// Index of the class.
        class: usize,
        /// Its probability when the artifact was made.
        expected: f32,
        /// Its probability here.
        got: f32,
    },
}

impl Hint for SelfTestError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Run(error) => error.kind(),
            Self::Length { .. } => "self_test_length",
            Self::Differs { .. } => "self_test_differs",
        }
    }

    fn hint(&self) -> String {
        "copy the artifact again, and compare its checksum with the original's".to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Run(error) => error.arguments(),
            Self::Length { expected, got } => named!(expected, got),
            Self::Differs {
                class,
                expected,
                got,
            } => named!(class, expected, got),
        }
    }
}

/// Records a self-test on a new engine, with the portable kernels, so that the same model gives the
/// same record on every machine. The number of threads does not change it.
///
/// # Errors
/// [`RecordError`] if the model gives no answer, or takes too long to give one. A server then starts
/// without a self-test, and `/readyz` says so.
pub fn record_portably(model: &Model) -> Result<SelfTest, RecordError> {
    check_cost(&model.graph)?;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let engine = Engine::new(&model.graph, &Options::portable(threads))?;
    let mut predictor = Predictor::new(model, engine)?;
    Ok(record(model, &mut predictor)?)
}

/// Runs the model on the generated photo and records the answer. `predictor` should run on the
/// portable kernels, so that the record is the same everywhere.
///
/// # Errors
/// [`PredictError`] if the model gives no answer.
pub fn record<R: Run>(
    model: &Model,
    predictor: &mut Predictor<R>,
) -> Result<SelfTest, PredictError> {
    let to = model.manifest.quantization.as_ref().map(|q| q.to.as_str());
    let tolerance = match to {
        Some("fp16" | "bf16") => HALF_TOLERANCE,
        _ => TOLERANCE,
    };
    Ok(SelfTest {
        seed: SEED,
        probabilities: answer(model, predictor, SEED)?,
        tolerance,
    })
}

/// Runs the self-test again.
///
/// # Errors
/// [`SelfTestError`], with the first class that is off.
pub fn check<R: Run>(
    model: &Model,
    predictor: &mut Predictor<R>,
    expected: &SelfTest,
) -> Result<(), SelfTestError> {
    let got = answer(model, predictor, expected.seed)?;
    if got.len() != expected.probabilities.len() {
        return Err(SelfTestError::Length {
            expected: got.len(),
            got: expected.probabilities.len(),
        });
    }
    for (class, (&got, &expected_one)) in got.iter().zip(&expected.probabilities).enumerate() {
        // A NaN in the record must not pass.
        let close = (got - expected_one).abs() <= expected.tolerance;
        if !close {
            return Err(SelfTestError::Differs {
                class,
                expected: expected_one,
                got,
            });
        }
    }
    Ok(())
}

/// Whether a model of an untrusted file may be run: its plan and its operations are bounded.
fn check_cost(graph: &Graph) -> Result<(), RecordError> {
    let stats = graph.total_stats();
    let most_operations = OPERATIONS_A_WEIGHT
        .saturating_mul(stats.kernel_weights)
        .saturating_add(MAX_OPERATIONS);
    let values = graph.nodes().iter().map(|node| {
        let taps = match &node.op {
            Op::Pool2d { window, .. } => window.kernel[0].saturating_mul(window.kernel[1]),
            _ => 1,
        };
        (node.shape.len() as u64).saturating_mul(taps as u64)
    });
    let operations = values.fold(stats.macs, u64::saturating_add);
    let floats = Plan::new(graph, &[]).arena_len as u64;
    let bytes = floats.saturating_mul(4);
    if operations <= most_operations && bytes <= MAX_ARENA_BYTES {
        return Ok(());
    }
    Err(RecordError::TooMuch {
        bytes,
        most_bytes: MAX_ARENA_BYTES,
        operations,
        most_operations,
    })
}

fn answer<R: Run>(
    model: &Model,
    predictor: &mut Predictor<R>,
    seed: u64,
) -> Result<Vec<f32>, PredictError> {
    let [height, width, _] = predictor.photo_input().shape();
    let photo = photo(height, width, seed)
        .ok_or_else(|| PredictError::Model("its photo has no pixels".to_owned()))?;
    let extra: Vec<ExtraInput> = model
        .vector_inputs()
        .iter()
        .map(|input| ExtraInput {
            name: input.name.to_owned(),
            values: vec![0.5; input.len],
        })
        .collect();
    let extra = inputs::resolve(model, &extra)?;
    Ok(predictor.predict(&photo, &extra)?.probabilities)
}

fn photo(height: usize, width: usize, seed: u64) -> Option<Photo> {
    let mut random = SplitMix64::new(seed);
    let across = width.div_ceil(SQUARE);
    let squares: Vec<[u8; 8]> = (0..across * height.div_ceil(SQUARE))
        .map(|_| random.next_u64().to_le_bytes())
        .collect();
    let mut pixels = Vec::with_capacity(height * width * 3);
    for y in 0..height {
        for x in 0..width {
            let colour = squares[y / SQUARE * across + x / SQUARE];
            let noise = random.next_u64().to_le_bytes();
            // 32 to 221 by square, up to 15 more by noise.
            pixels.extend([0, 1, 2].map(|c| colour[c] / 4 * 3 + 32 + noise[c] % 16));
        }
    }
    Photo::new(width, height, pixels)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::artifact;

    #[test]
    fn the_photo_is_the_same_everywhere() {
        use sha2::{Digest, Sha256};

        let photo = photo(20, 33, 7).unwrap();
        let digest: [u8; 32] = Sha256::digest(photo.pixels()).into();
        // Computed by ten lines of Python from SplitMix64 as Vigna published it.
        let expected = [
            0x00, 0x8d, 0x11, 0x2c, 0x23, 0xfb, 0x7a, 0x73, 0x67, 0xa8, 0xf8, 0xd4, 0xed, 0xd3,
            0xd7, 0xa0, 0x19, 0x08, 0x20, 0x7f, 0x56, 0x09, 0x81, 0xf5, 0x0b, 0xe1, 0xb4, 0x85,
            0x8c, 0xe2, 0x41, 0x9f,
        ];
        assert_eq!(digest, expected);
    }

    #[test]
    fn a_small_file_cannot_ask_for_hours() {
        let relu = || Op::Activation(crate::activation::Activation::Relu);
        let cost = |shape: [usize; 3], nodes: usize| {
            let mut graph = Graph::new("g");
            let mut last = graph.push_input("x", shape.into()).unwrap();
            for i in 0..nodes {
                last = graph.push(format!("n{i}"), relu(), &[last]).unwrap();
            }
            check_cost(&graph).map_err(|error| error.kind())
        };
        assert_eq!(cost([224, 224, 64], 100), Ok(()));
        assert_eq!(cost([1024, 1024, 64], 1), Ok(()));
        // Eight billion numbers; one value of a gigabyte.
        assert_eq!(cost([1024, 1024, 64], 200), Err("self_test_cost"));
        assert_eq!(cost([8192, 8192, 4], 1), Err("self_test_cost"));
        check_cost(&artifact::embedded().unwrap().graph).unwrap();
    }

    #[test]
    fn another_answer_is_noticed() {
        let model = artifact::embedded().unwrap();
        let engine = Engine::new(&model.graph, &Options::default()).unwrap();
        let mut predictor = Predictor::new(&model, engine).unwrap();
        let recorded = record(&model, &mut predictor).unwrap();
        check(&model, &mut predictor, &recorded).unwrap();
        let with = |class: usize, add: f32| {
            let mut other = recorded.clone();
            other.probabilities[class] += add;
            other
        };
        let error = check(&model, &mut predictor, &with(3, 0.01)).unwrap_err();
        assert_eq!(error.kind(), "self_test_differs");
        assert!(error.to_string().contains("class 3"), "{error}");
        check(&model, &mut predictor, &with(3, 0.001)).unwrap();
        assert!(check(&model, &mut predictor, &with(0, f32::NAN)).is_err());
        let mut short = recorded.clone();
        short.probabilities.pop();
        let error = check(&model, &mut predictor, &short).unwrap_err();
        assert_eq!(error.kind(), "self_test_length");
    }
}
