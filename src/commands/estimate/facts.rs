//! Gathers what an estimate needs: a model's costs from its plan, and how long its parts take
//! here.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde::Serialize;

use super::photo::Photo;
use crate::artifact::Model;
use crate::cli::InputSize;
use crate::commands::session::EngineChoice;
use crate::engine::{Engine, Plan};
use crate::explain::{ExplainError, Target};
use crate::memory::estimate::ModelFacts;
use crate::predict::{Limits, PhotoInput, decode};
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
    /// A heat map with its picture; from docs/benchmarks.md's method on one thread.
    pub(super) gradcam_ms: f64,
}

/// Photos of this size are decoded to see how long it takes.
const SAMPLE_PIXELS: u64 = 250_000;

/// Time for inference runs after the first, at most.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Heat map and overlay of 1024 pixels: a gradient of a small head, blending and PNG of 0.8
/// megapixels. Assumed, not measured for the model at hand: mostly the PNG, some tens of ms.
const GRADCAM_MS: f64 = 45.0;

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
        let bytes = Photo::of_pixels(SAMPLE_PIXELS)?.jpeg;
        let limits = Limits::default();
        decode::decode(&bytes, &limits)?;
        let decode_ms = median_ms(|| {
            // It was decoded a line above.
            let _ = decode::decode(&bytes, &limits);
        });
        let decode_ms_per_megapixel = decode_ms * 1e6 / SAMPLE_PIXELS as f64;
        Ok(Self {
            load_ms,
            inference_ms,
            inference_here_ms,
            decode_ms_per_megapixel,
            gradcam_ms: GRADCAM_MS,
        })
    }

    /// CPU time of one request for a photo of so many pixels.
    pub(super) fn request_ms(&self, pixels: u64, gradcam: bool) -> f64 {
        let decode = self.decode_ms_per_megapixel * pixels as f64 / 1e6;
        self.inference_ms + decode + if gradcam { self.gradcam_ms } else { 0.0 }
    }
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
