//! INT8 under an accuracy limit: the settings, the search, and the results.

use std::collections::BTreeSet;
use std::time::Instant;

use serde::Serialize;

use super::error::CompressError;
use super::photos::Photos;
use super::search::{Found, Score, Search, SearchSettings};
use super::{Quantized, check_float, made_from, memory, record};
use crate::artifact::{FieldMapping, Model, QuantizationRecord};
use crate::engine;
use crate::evaluate::dataset::Dataset;
use crate::evaluate::pass::Watch;
use crate::graph::{Graph, NodeId};
use crate::predict::{ExtraInput, Limits};
use crate::quantize::{RangeMethod, separate_tables};
use crate::text::nearest;

/// How a model becomes integers.
#[derive(Clone, Debug)]
pub struct Int8Settings {
    /// How engines run. The same number of threads decodes photos.
    pub engine: engine::Options,
    /// How to choose the range of each value's bytes.
    pub method: RangeMethod,
    /// Layers that stay in f32, whatever the search finds.
    pub keep_float: Vec<String>,
    /// Largest loss of top-1 accuracy on the photos, as a fraction: 0.005 is half a point. Layers
    /// stay in float until it holds. It needs labels.
    pub max_drop: Option<f64>,
    /// When the search ends with the best candidate so far.
    pub until: Option<Instant>,
    /// The most bytes that the whole process may use. If they do not suffice, that is an error.
    pub max_memory_bytes: Option<u64>,
    /// How columns of the table become extra inputs; the artifact's own mapping if absent.
    pub mapping: Option<FieldMapping>,
    /// Values of extra inputs, the same for all photos.
    pub inputs: Vec<ExtraInput>,
    /// The limits for one photo.
    pub photo_limits: Limits,
    /// How many photos may be unreadable and left out.
    pub max_bad: usize,
    /// SHA-256 of the base's file in hexadecimal, for the record: `file::sha256_of_file`.
    pub base_sha256: String,
}

impl Default for Int8Settings {
    /// Ranges by the least squared error, one thread, and no limits on accuracy, time or memory.
    fn default() -> Self {
        Self {
            engine: engine::Options::default(),
            method: RangeMethod::Mse,
            keep_float: Vec::new(),
            max_drop: None,
            until: None,
            max_memory_bytes: None,
            mapping: None,
            inputs: Vec::new(),
            photo_limits: Limits::default(),
            max_bad: 0,
            base_sha256: String::new(),
        }
    }
}

/// A candidate that was tried.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrialScore {
    /// What was changed.
    pub what: String,
    /// Mean distance of its probabilities from the float model's.
    pub mean_abs_dp: f64,
    /// Share of photos with the same most probable class.
    pub agreement: f64,
    /// Accuracy; absent without labels.
    pub top1: Option<f64>,
    /// The number of photos on which it was tried.
    pub photos: usize,
}

/// The results on the photos: `calibration` of the document of `dermal quantize --json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CalibrationReport {
    /// Photos that were read.
    pub photos: usize,
    /// Where they come from, in words.
    pub source: String,
    /// Photos that could not be read, each with the reason.
    pub left_out: Vec<String>,
    /// How ranges were chosen: [`RangeMethod::name`].
    pub method: String,
    /// Strength of cross-layer equalization; absent if it did not help.
    pub equalization: Option<f64>,
    /// Whether biases were corrected.
    pub bias_correction: bool,
    /// Layers in float, in the order of the graph.
    pub kept_float: Vec<String>,
    /// Mean distance of probabilities from the float model's.
    pub mean_abs_dp: f64,
    /// Share of photos with the same most probable class.
    pub agreement: f64,
    /// The number of photos behind the two numbers above.
    pub scored_photos: usize,
    /// The float model's accuracy on them; absent without labels.
    pub top1_before: Option<f64>,
    /// The quantized model's.
    pub top1_after: Option<f64>,
    /// The largest loss of accuracy that was allowed.
    pub max_drop: Option<f64>,
    /// Whether it holds; absent without one.
    pub held: Option<bool>,
    /// Whether time ran out before the search ended.
    pub out_of_time: bool,
    /// Every candidate, in order.
    pub trials: Vec<TrialScore>,
}

impl CalibrationReport {
    fn of(settings: &Int8Settings, photos: &Photos<'_>, found: &Found) -> Self {
        let Score {
            mean_abs_dp,
            agreement,
            top1,
            float_top1,
            photos: scored_photos,
        } = found.score;
        let drop = float_top1.zip(top1).map(|(before, after)| before - after);
        let held = settings
            .max_drop
            .map(|most| drop.is_some_and(|drop| drop <= most + 1e-12));
        Self {
            photos: photos.read(),
            source: photos.dataset.layout.to_string(),
            left_out: photos.left_out().to_vec(),
            method: settings.method.name().to_owned(),
            equalization: found.equalization,
            bias_correction: found.bias_correction,
            kept_float: found.kept.clone(),
            mean_abs_dp,
            agreement,
            scored_photos,
            top1_before: float_top1,
            top1_after: top1,
            max_drop: settings.max_drop,
            held,
            out_of_time: found.out_of_time,
            trials: found
                .trials
                .iter()
                .map(|(what, score)| TrialScore {
                    what: what.clone(),
                    mean_abs_dp: score.mean_abs_dp,
                    agreement: score.agreement,
                    top1: score.top1,
                    photos: score.photos,
                })
                .collect(),
        }
    }
}

/// Turns the f32 weights of `base` into integers, with ranges from `photos`.
///
/// Photos are read again for each pass, so that memory does not grow with their number. The same
/// photos and settings give the same model.
///
/// # Errors
/// [`CompressError`]. If [`Int8Settings::max_drop`] cannot be held, that is not an error: the best
/// model of the search is returned, and [`Quantized::missed`] says so.
pub fn int8(
    base: &Model,
    photos: Dataset,
    settings: &Int8Settings,
    watch: &mut Watch<'_>,
) -> Result<Quantized, CompressError> {
    check_float(base)?;
    if photos.samples.is_empty() {
        return Err(CompressError::NoPhotos);
    }
    let mut unlabelled = photos.samples.iter().filter(|s| s.label.is_none());
    if settings.max_drop.is_some()
        && let Some(sample) = unlabelled.next()
    {
        return Err(CompressError::NoLabel {
            photo: sample.name.clone(),
        });
    }
    let keep_float = kept_nodes(&base.graph, &settings.keep_float)?;
    let limits = match settings.max_memory_bytes {
        Some(most) => memory::photo_limits(base, settings, most)?,
        None => settings.photo_limits,
    };
    let mut photos = Photos::new(base, photos, settings, limits, watch)?;
    let goal = SearchSettings {
        method: settings.method,
        keep_float,
        max_drop: settings.max_drop,
        until: settings.until,
    };
    let found = Search::new(base, &mut photos, settings.engine.clone(), goal, watch).run()?;
    let record = QuantizationRecord {
        method: Some(settings.method.name().to_owned()),
        photos: Some(photos.read()),
        equalization: found.equalization,
        bias_correction: found.bias_correction,
        kept_float: found.kept.clone(),
        mean_abs_dp: Some(found.score.mean_abs_dp),
        logit_sqnr_db: logit_sqnr(&found),
        ..record("int8", &settings.base_sha256)
    };
    let calibration = CalibrationReport::of(settings, &photos, &found);
    Ok(Quantized {
        model: made_from(base, found.graph, record),
        calibration: Some(calibration),
        layers: found.errors,
    })
}

fn logit_sqnr(found: &Found) -> Option<f64> {
    let output = &found.graph.node(found.graph.output()).name;
    let own = found.errors.iter().find(|error| error.node == *output);
    own.and_then(|error| error.sqnr_db)
}

/// The nodes with weights that stand for the layers to keep in float.
fn kept_nodes(graph: &Graph, names: &[String]) -> Result<BTreeSet<String>, CompressError> {
    let graph = separate_tables(graph)?;
    let mut kept = BTreeSet::new();
    for name in names {
        let found: Vec<NodeId> = graph.find_layer(name).into_iter().map(|f| f.0).collect();
        let weighted: Vec<NodeId> = found
            .iter()
            .copied()
            .filter(|&id| graph.node(id).op.kernel().is_some())
            .collect();
        if weighted.is_empty() {
            let layers: Vec<&str> = graph
                .nodes()
                .iter()
                .filter(|node| node.op.kernel().is_some())
                .flat_map(|node| node.layers.iter().map(|layer| layer.name.as_str()))
                .collect();
            let nearest = nearest(name, &layers).map(str::to_owned);
            let name = name.clone();
            return Err(if found.is_empty() {
                CompressError::UnknownLayer { name, nearest }
            } else {
                CompressError::LayerWithoutWeights { name, nearest }
            });
        }
        kept.extend(weighted.iter().map(|&id| graph.node(id).name.clone()));
    }
    Ok(kept)
}
