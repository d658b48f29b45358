//! A model's memory, from its plan.

use super::EstimateError;
use crate::artifact::Model;
use crate::engine::{Engine, Plan};
use crate::explain::{self, ExplainError, Target};
use crate::memory::estimate::ModelFacts;
use crate::predict::PhotoInput;
use crate::tensor::Shape;

const FLOAT: usize = size_of::<f32>();

/// Bytes of a node's description if they cannot be measured: the median of the models in
/// docs/estimating.md.
const NODE_BYTES: u64 = 4_000;

/// A model's costs. `loaded_anonymous_bytes` is the anonymous memory that loading it and one run
/// added to this process.
pub(super) fn of_model(
    model: &Model,
    file_bytes: u64,
    engine: &Engine,
    loaded_anonymous_bytes: Option<u64>,
) -> Result<ModelFacts, EstimateError> {
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
        head_on_candle: false,
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
            facts.head_on_candle = !explain::has_closed_form(&target);
        }
        // A model without a feature map draws no heat maps, so they cost nothing.
        Err(ExplainError::NoMap) => facts.arena_gradcam_bytes = facts.arena_bytes,
        Err(error) => return Err(error.into()),
    }
    // The memory that loading and one run added, minus the part that the plan explains.
    let planned = facts.arena_bytes + facts.scratch_bytes;
    facts.description_bytes = loaded_anonymous_bytes.map_or(facts.nodes * NODE_BYTES, |bytes| {
        bytes.saturating_sub(planned)
    });
    Ok(facts)
}

pub(super) fn arena_bytes(plan: &Plan) -> u64 {
    (plan.arena_len * FLOAT) as u64
}

/// The model for photos of another size, in rows and columns.
pub(super) fn with_image_size(
    model: Model,
    [height, width]: [usize; 2],
) -> Result<Model, EstimateError> {
    let input = PhotoInput::of(&model)?;
    let [_, _, channels] = input.shape();
    let shape = Shape::new(&[height, width, channels]);
    let graph = model
        .graph
        .with_input_shape(input.node(), &shape)
        .map_err(|source| EstimateError::ImageSize {
            height,
            width,
            source,
        })?;
    Ok(Model {
        graph,
        manifest: model.manifest,
    })
}
