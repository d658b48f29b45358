//! What would make a model fit: the same arithmetic with one thing changed.

use serde::Serialize;

use super::{deployment, facts};
use crate::artifact::Model;
use crate::engine::Plan;
use crate::memory::estimate::Facts;
use crate::predict::PhotoInput;
use crate::readiness::verdict::Verdict;
use crate::tensor::{DType, Shape};

/// A change, and the memory of the load after it.
#[derive(Clone, Debug, Serialize)]
pub struct WhatIf {
    /// The change, as an option or a command.
    pub change: String,
    /// All memory in the worst state.
    pub peak_bytes: u64,
    /// The part of it that the kernel cannot take back.
    pub must_fit_bytes: u64,
    /// The smallest budget with which the server admits the load.
    pub admission_bytes: u64,
    /// Whether it fits; absent without a limit.
    pub verdict: Option<Verdict>,
    /// Whether the numbers are scaled from the present file: the changed file was not made.
    pub about: bool,
}

/// The present state first, then one change in each row, and all changes together in the last.
pub(super) fn rows(model: &Model, facts: &Facts, limit: Option<u64>) -> Vec<WhatIf> {
    let mut rows = vec![row("as it is", facts, limit, false)];
    let load = facts.load;
    let quantized = halves_and_bytes(model, facts);
    for (name, facts) in &quantized {
        rows.push(row(name, facts, limit, true));
    }
    if load.gradcam {
        let mut off = *facts;
        off.load.gradcam = false;
        rows.push(row("--gradcam off", &off, limit, false));
    }
    if load.photos_at_once > 1 {
        let mut one = *facts;
        one.load.photos_at_once = 1;
        rows.push(row("--concurrency 1", &one, limit, false));
    }
    if facts.photo.pixels() >= 2_000_000 {
        let mut half = *facts;
        let pixels = facts.photo.pixels() / 2;
        half.photo = facts.photo.with_pixels(pixels);
        rows.push(row(&format!("--max-pixels {pixels}"), &half, limit, false));
    }
    if load.threads > 1 {
        let mut one = *facts;
        one.load.threads = 1;
        rows.push(row("--threads 1", &one, limit, false));
    }
    if let Some((name, facts)) = smaller_input(model, facts) {
        rows.push(row(&name, &facts, limit, true));
    }
    if let Some((name, facts)) = quantized.last() {
        let mut all = *facts;
        all.load.photos_at_once = 1;
        all.load.gradcam = false;
        let name = format!("{name}, --concurrency 1, --gradcam off");
        rows.push(row(&name, &all, limit, true));
    }
    rows
}

fn row(change: &str, facts: &Facts, limit: Option<u64>, about: bool) -> WhatIf {
    let demand = deployment::demand(facts);
    WhatIf {
        change: change.to_owned(),
        peak_bytes: demand.all_bytes,
        must_fit_bytes: demand.must_fit_bytes,
        admission_bytes: demand.admission_bytes,
        verdict: limit.map(|limit| Verdict::of(&demand, limit)),
        about,
    }
}

/// The model in FP16 and INT8, if it is in f32; in INT8, if it has 16-bit weights.
pub(super) fn halves_and_bytes(model: &Model, facts: &Facts) -> Vec<(String, Facts)> {
    let graph = &model.graph;
    let (stats, present) = (graph.total_stats(), facts.model.mapped_bytes);
    let mut weight_bytes = 0;
    let mut narrow = false;
    for tensor in graph.tensors.values() {
        weight_bytes += tensor.bytes().len() as u64;
        narrow |= matches!(tensor.dtype(), DType::F16 | DType::BF16);
    }
    if graph.is_quantized() || present == 0 {
        return Vec::new();
    }
    // Graph, labels and fillers do not change.
    let rest = present.saturating_sub(weight_bytes);
    let mut rows = Vec::new();
    if !narrow {
        let mut half = *facts;
        half.model.mapped_bytes = rest + stats.f16_bytes();
        rows.push(("quantize --to fp16".to_owned(), half));
    }
    let mut bytes = *facts;
    bytes.model.mapped_bytes = rest + stats.i8_bytes();
    // Values take a byte each; the photo's input stays in floats.
    let quarter = |arena: u64| arena / 4 + facts.model.input_len * 4;
    bytes.model.arena_bytes = quarter(facts.model.arena_bytes).min(facts.model.arena_bytes);
    bytes.model.arena_gradcam_bytes =
        quarter(facts.model.arena_gradcam_bytes).min(facts.model.arena_gradcam_bytes);
    rows.push(("quantize --to int8".to_owned(), bytes));
    rows
}

/// The model for photos of 3/4 of its input's size, if its layers allow that.
fn smaller_input(model: &Model, facts: &Facts) -> Option<(String, Facts)> {
    let input = PhotoInput::of(model).ok()?;
    let [height, width, channels] = input.shape();
    let (height, width) = (height * 3 / 4, width * 3 / 4);
    if height < 96 || width < 96 {
        return None;
    }
    let shape = Shape::new(&[height, width, channels]);
    let graph = model.graph.with_input_shape(input.node(), &shape).ok()?;
    let mut smaller = *facts;
    let before = facts.model.arena_bytes.max(1);
    smaller.model.arena_bytes = facts::arena_bytes(&Plan::new(&graph, &[]));
    let scale = |bytes: u64| {
        let scaled = u128::from(bytes) * u128::from(smaller.model.arena_bytes) / u128::from(before);
        u64::try_from(scaled).unwrap_or(u64::MAX)
    };
    smaller.model.arena_gradcam_bytes = scale(facts.model.arena_gradcam_bytes);
    smaller.model.feature_map_bytes = scale(facts.model.feature_map_bytes);
    Some((
        format!("--image-size {height}x{width} (train it again)"),
        smaller,
    ))
}
