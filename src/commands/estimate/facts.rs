//! Gathers what an estimate needs: a model's costs from its plan, and how long its parts take
//! here.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::photo::Photo;
use crate::artifact::{InputKind, Model};
use crate::cli::InputSize;
use crate::commands::session::EngineChoice;
use crate::engine::{Engine, Plan};
use crate::explain::{self, ExplainError, Method, Overlay, Score, Target};
use crate::graph::NodeId;
use crate::memory::estimate::{ModelFacts, OVERLAY_SIDE, PhotoFacts};
use crate::predict::{Limits, PhotoInput, Predictor, Region, decode};
use crate::tensor::Shape;

const FLOAT: usize = size_of::<f32>();

/// What a node takes where it cannot be measured: the median over docs/estimating.md's models.
const NODE_BYTES: u64 = 4_000;

/// A model's costs. `loaded_anonymous_bytes` is what loading it and one run added to this
/// process's anonymous memory.
pub(super) fn of_model(
    model: &Model,
    file_bytes: u64,
    engine: &Engine,
    loaded_anonymous_bytes: Option<u64>,
) -> Result<ModelFacts> {
    let graph = &model.graph;
    let input = PhotoInput::of(model)?;
    let mut facts = ModelFacts {
        mapped_bytes: file_bytes,
        nodes: graph.nodes().len() as u64,
        description_bytes: 0,
        arena_bytes: arena_bytes(&Plan::new(graph, &[])),
        arena_gradcam_bytes: 0,
        scratch_bytes: engine.scratch_bytes() as u64,
        feature_map_bytes: 0,
        head_weight_bytes: 0,
        input_len: input.len() as u64,
        self_test: model.manifest.self_test.is_some(),
    };
    match Target::find(graph, None) {
        Ok(target) => {
            let graph = target.graph();
            facts.arena_gradcam_bytes = arena_bytes(&Plan::new(graph, &target.keep()));
            facts.feature_map_bytes = (graph.node(target.node()).shape.len() * FLOAT) as u64;
            let behind = graph.ids().filter(|&id| id > target.node());
            let parameters: u64 = behind.map(|id| graph.stats(id).parameters).sum();
            facts.head_weight_bytes = parameters * FLOAT as u64;
        }
        // Without a feature map there are no heat maps, and then nothing for them.
        Err(ExplainError::NoMap) => facts.arena_gradcam_bytes = facts.arena_bytes,
        Err(error) => return Err(error.into()),
    }
    // What loading and one run left, less what the plan says.
    let planned = facts.arena_bytes + facts.scratch_bytes;
    facts.description_bytes = loaded_anonymous_bytes.map_or(facts.nodes * NODE_BYTES, |bytes| {
        bytes.saturating_sub(planned)
    });
    Ok(facts)
}

pub(super) fn arena_bytes(plan: &Plan) -> u64 {
    (plan.arena_len * FLOAT) as u64
}

/// The model for photos scaled to another size.
pub(super) fn with_image_size(model: Model, size: InputSize) -> Result<Model> {
    let input = PhotoInput::of(&model)?;
    let [_, _, channels] = input.shape();
    let shape = Shape::new(&[size.height, size.width, channels]);
    let graph = model
        .graph
        .with_input_shape(input.node(), &shape)
        .with_context(|| {
            format!(
                "the model does not work on photos of {} x {}",
                size.height, size.width
            )
        })?;
    Ok(Model {
        graph,
        manifest: model.manifest,
    })
}

/// CPU time of the parts of a request, measured here.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Times {
    /// Loading the model and answering a self-test, one thread.
    pub(super) load_ms: f64,
    /// One inference, one thread.
    pub(super) inference_ms: f64,
    /// The same with this machine's threads.
    pub(super) inference_here_ms: f64,
    /// Decoding a JPEG, a million pixels.
    pub(super) decode_ms_per_megapixel: f64,
    /// Making the model's input of a photo, a million pixels.
    pub(super) preprocess_ms_per_megapixel: f64,
    /// A heat map, where the model has one.
    pub(super) heat_map: Option<Drawing>,
}

/// A heat map of a made-up photo, drawn here.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Drawing {
    /// The map itself: the gradient of the model's head.
    pub(super) explain_ms: f64,
    /// Scaling the photo down, a million of its pixels.
    pub(super) shrink_ms_per_megapixel: f64,
    /// Colours and PNG, a million pixels of the overlay.
    pub(super) paint_ms_per_megapixel: f64,
    /// The PNG, a pixel of the overlay.
    pub(super) png_bytes_per_pixel: f64,
}

/// The photo of which all of it is measured: a little more than an overlay's pixels, so that it is
/// scaled down.
const SAMPLE_PIXELS: u64 = 1_200_000;

/// Pixels that are scaled down to see how long that takes: of a small photo the overlay's own pixels
/// would take most of it.
const LARGE: [usize; 2] = [2560, 1920];

/// Time for repetitions of one measurement, at most.
const PATIENCE: Duration = Duration::from_millis(1500);

impl Times {
    pub(super) fn measure(
        model: &Model,
        choice: &EngineChoice,
        load_ms: f64,
        mut single: Engine,
    ) -> Result<Self> {
        let inference_ms = median_ms(|| single.run());
        drop(single);
        let inference_here_ms = if choice.threads > 1 {
            let mut engine = choice.engine(&model.graph, Vec::new())?;
            engine.run();
            median_ms(|| engine.run())
        } else {
            inference_ms
        };
        let sample = Sample::new(model, choice)?;
        Ok(Self {
            load_ms,
            inference_ms,
            inference_here_ms,
            decode_ms_per_megapixel: sample.decode_ms / SAMPLE_MEGAPIXELS,
            preprocess_ms_per_megapixel: sample.preprocess_ms / SAMPLE_MEGAPIXELS,
            heat_map: sample.drawing,
        })
    }

    /// CPU time of one request for a photo.
    pub(super) fn request_ms(&self, photo: &PhotoFacts, gradcam: bool) -> f64 {
        let megapixels = photo.pixels() as f64 / 1e6;
        let a_megapixel = self.decode_ms_per_megapixel + self.preprocess_ms_per_megapixel;
        let drawing = self.heat_map.filter(|_| gradcam);
        let drawing = drawing.map_or(0.0, |drawing| {
            let overlay = photo.overlay_bytes() as f64 / 3e6;
            drawing.explain_ms
                + drawing.shrink_ms_per_megapixel * megapixels
                + drawing.paint_ms_per_megapixel * overlay
        });
        self.inference_ms + a_megapixel * megapixels + drawing
    }
}

/// What a request takes beside its parts: its body, the hashes of file and pixels, pages that the
/// kernel clears. Proofs of 12 megapixels took 13 to 22 % longer than the parts on one CPU, 25 to
/// 30 % at a tenth of one.
const SERVED: f64 = 1.2;

impl Times {
    /// Wall time of one request at a CPU share, or here. One request runs on one CPU but for
    /// inference, which threads share.
    pub(super) fn wall_ms(
        &self,
        photo: &PhotoFacts,
        gradcam: bool,
        threads: u64,
        share: Option<f64>,
    ) -> f64 {
        let alone = self.request_ms(photo, gradcam) - self.inference_ms;
        let parts = match share {
            Some(share) => {
                let threads = share.max(1.0).min(threads as f64);
                (alone + self.inference_ms / threads) / share.min(1.0)
            }
            None => alone + self.inference_here_ms,
        };
        parts * SERVED
    }
}

const SAMPLE_MEGAPIXELS: f64 = SAMPLE_PIXELS as f64 / 1e6;

/// One made-up photo, taken through everything that a request goes through.
struct Sample {
    decode_ms: f64,
    preprocess_ms: f64,
    drawing: Option<Drawing>,
}

impl Sample {
    fn new(model: &Model, choice: &EngineChoice) -> Result<Self> {
        let jpeg = Photo::of_pixels(SAMPLE_PIXELS)?.jpeg;
        let limits = Limits::default();
        let photo = decode::decode(&jpeg, &limits)?;
        let decode_ms = median_ms(|| {
            // It was decoded a line above.
            let _ = decode::decode(&jpeg, &limits);
        });
        let one = EngineChoice {
            threads: 1,
            isa: choice.isa,
        };
        let extra = zeros(model);
        let target = match Target::find(&model.graph, None) {
            Ok(target) => target,
            Err(ExplainError::NoMap) => {
                let engine = one.engine(&model.graph, Vec::new())?;
                let mut predictor = Predictor::new(model, engine)?;
                let prediction = predictor.predict(&photo, &extra)?;
                return Ok(Self {
                    decode_ms,
                    preprocess_ms: milliseconds(prediction.timing.preprocess),
                    drawing: None,
                });
            }
            Err(error) => return Err(error.into()),
        };
        let model = Model {
            graph: target.graph().clone(),
            manifest: model.manifest.clone(),
        };
        let mut predictor = Predictor::new(&model, one.engine(&model.graph, target.keep())?)?;
        let prediction = predictor.predict(&photo, &extra)?;
        let score = Score::of_class(prediction.top1(), model.manifest.head);
        let engine = predictor.runner();
        let values = |id| engine.value(id);
        let map = explain::explain(&target, Method::GradCam, score, &values)?;
        let explain_ms = median_ms(|| {
            let _ = explain::explain(&target, Method::GradCam, score, &values);
        });
        let from = [photo.width(), photo.height()];
        let side = usize::try_from(OVERLAY_SIDE).unwrap_or(usize::MAX);
        let (small, to) = explain::shrink(photo.pixels(), from, side)
            .context("the sample is smaller than its overlay")?;
        let large = vec![128; LARGE[0] * LARGE[1] * 3];
        let shrink_ms = median_ms(|| {
            let _ = explain::shrink(&large, LARGE, side);
        });
        drop(large);
        let region = Region {
            left: 0.0,
            top: 0.0,
            width: to[0] as f64,
            height: to[1] as f64,
        };
        let size = to.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let paint = || -> Result<usize> {
            let mut pixels = small.clone();
            let mut png = Vec::new();
            explain::overlay(&mut pixels, size, &map, region, Overlay::default());
            explain::write_png(&mut png, &pixels, size)?;
            Ok(png.len())
        };
        let png_bytes = paint()?;
        let paint_ms = median_ms(|| {
            let _ = paint();
        });
        let overlay_pixels = (to[0] * to[1]) as f64;
        Ok(Self {
            decode_ms,
            preprocess_ms: milliseconds(prediction.timing.preprocess),
            drawing: Some(Drawing {
                explain_ms,
                shrink_ms_per_megapixel: shrink_ms * 1e6 / (LARGE[0] * LARGE[1]) as f64,
                paint_ms_per_megapixel: paint_ms * 1e6 / overlay_pixels,
                png_bytes_per_pixel: png_bytes as f64 / overlay_pixels,
            }),
        })
    }
}

/// Zeros for every input beside the photo: what they hold changes no time.
fn zeros(model: &Model) -> Vec<(NodeId, Vec<f32>)> {
    let specs = model.manifest.inputs.iter().zip(model.graph.inputs());
    let vectors = specs.filter(|(spec, _)| matches!(spec.kind, InputKind::Vector { .. }));
    vectors
        .map(|(_, (id, node))| (id, vec![0.0; node.shape.len()]))
        .collect()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn median_ms(mut run: impl FnMut()) -> f64 {
    let began = Instant::now();
    let mut times = Vec::new();
    while times.len() < 3 || (times.len() < 5 && began.elapsed() < PATIENCE) {
        let since = Instant::now();
        run();
        times.push(since.elapsed().as_secs_f64() * 1e3);
        if began.elapsed() > PATIENCE {
            break;
        }
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
