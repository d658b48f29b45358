//! Searches for the best graph of bytes. It keeps a method only if a measurement shows that it
//! helps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::error::CompressError;
use super::photos::{Inputs, Photos};
use crate::artifact::Model;
use crate::engine::{Engine, Options};
use crate::evaluate::dataset::Dataset;
use crate::evaluate::pass::Watch;
use crate::evaluate::trial::first_of_the_largest as top1;
use crate::graph::Graph;
use crate::predict::head;
use crate::quantize::{
    Calibration, Calibrator, ErrorMeter, Int8Options, LayerError, RangeMethod, equalize, to_int8,
};

/// Most photos on which candidates are compared.
const SCORED: usize = 64;

/// Most photos on which each layer's error is measured.
const MEASURED: usize = 16;

/// How much of the differences of channels' ranges moves into the next layer's weights: half.
const EQUALIZATION: f64 = 0.5;

/// How many layers are tried in float in one round of `--max-drop`.
const TRIED: usize = 6;

/// The start, the goal and the time limit of the search.
pub(super) struct SearchSettings {
    pub(super) method: RangeMethod,
    /// Nodes that stay in float.
    pub(super) keep_float: BTreeSet<String>,
    /// Largest loss of top-1, as a fraction.
    pub(super) max_drop: Option<f64>,
    pub(super) until: Option<Instant>,
}

/// How good a candidate is on the scored photos.
#[derive(Clone, Copy, Debug)]
pub(super) struct Score {
    /// Mean distance of its probabilities from the float model's.
    pub(super) mean_abs_dp: f64,
    /// Share of photos with the same most probable class.
    pub(super) agreement: f64,
    /// Accuracy, if there are labels.
    pub(super) top1: Option<f64>,
    /// The float model's on the same photos.
    pub(super) float_top1: Option<f64>,
    pub(super) photos: usize,
}

/// The best that was found.
pub(super) struct Found {
    pub(super) graph: Graph,
    pub(super) score: Score,
    pub(super) equalization: Option<f64>,
    pub(super) bias_correction: bool,
    /// Source layers in float, in the order of the graph.
    pub(super) kept: Vec<String>,
    pub(super) errors: Vec<LayerError>,
    /// Every candidate in the order of trial.
    pub(super) trials: Vec<(String, Score)>,
    /// Whether time ran out before the search ended.
    pub(super) out_of_time: bool,
}

pub(super) struct Search<'a, 'm, 'w> {
    model: &'m Model,
    photos: &'a mut Photos<'m>,
    options: Options,
    settings: SearchSettings,
    watch: &'a mut Watch<'w>,
    /// The float model's probabilities of each photo.
    answers: BTreeMap<usize, Vec<f32>>,
    trials: Vec<(String, Score)>,
}

impl<'a, 'm, 'w> Search<'a, 'm, 'w> {
    pub(super) fn new(
        model: &'m Model,
        photos: &'a mut Photos<'m>,
        options: Options,
        settings: SearchSettings,
        watch: &'a mut Watch<'w>,
    ) -> Self {
        Self {
            model,
            photos,
            options,
            settings,
            watch,
            answers: BTreeMap::new(),
            trials: Vec::new(),
        }
    }

    pub(super) fn run(mut self) -> Result<Found, CompressError> {
        let plain = self.calibrate(&self.model.graph.clone(), "calibrating")?;
        let mut best = self.best_bias(&plain, None)?;
        let mut calibration = plain;
        if !self.is_late() {
            let balanced = equalize(&calibration, EQUALIZATION)?;
            let balanced = self.calibrate(&balanced, "calibrating with balanced channels")?;
            let other = self.best_bias(&balanced, Some(EQUALIZATION))?;
            if other.score.mean_abs_dp < best.score.mean_abs_dp {
                best = other;
                calibration = balanced;
            }
        }
        if best.score.photos < self.answers.len() && !self.is_late() {
            best.score = self.score(&best.graph, "all photos", usize::MAX)?;
        }
        if let (Some(most), Some(float)) = (self.settings.max_drop, best.score.float_top1) {
            self.guard(&calibration, &mut best, float - most)?;
        }
        let errors = self.errors(&calibration, &best.graph)?;
        Ok(Found {
            graph: best.graph,
            score: best.score,
            equalization: best.equalization,
            bias_correction: best.options.bias_correction,
            kept: layer_names(calibration.graph(), &best.options.keep_float),
            errors,
            out_of_time: self.is_late(),
            trials: self.trials,
        })
    }

    fn is_late(&self) -> bool {
        self.settings
            .until
            .is_some_and(|until| Instant::now() >= until)
    }

    /// Observes all photos. The first time it also records the float model's answers.
    fn calibrate(&mut self, graph: &Graph, task: &str) -> Result<Calibration, CompressError> {
        let mut calibrator = Calibrator::new(graph, &self.options)?;
        let model = self.model;
        let first = self.answers.is_empty();
        let answers = &mut self.answers;
        let visit = |dataset: &Dataset, index: usize, inputs: &Inputs<'_>| {
            for (id, values) in inputs.of(&model.graph, calibrator.graph()) {
                calibrator
                    .engine_mut()
                    .input_mut(id)
                    .copy_from_slice(values);
            }
            calibrator
                .observe()
                .map_err(|source| CompressError::Photo {
                    photo: dataset.samples[index].path.clone(),
                    source,
                })?;
            if first {
                let logits = calibrator.engine_mut().output();
                let probabilities = head::probabilities(model.manifest.head, logits);
                answers.insert(index, probabilities);
            }
            Ok(())
        };
        self.photos.each(task, usize::MAX, self.watch, visit)?;
        Ok(calibrator.finish()?)
    }

    /// The better one of the original and the corrected biases.
    fn best_bias(
        &mut self,
        calibration: &Calibration,
        equalization: Option<f64>,
    ) -> Result<Candidate, CompressError> {
        let plain = self.with_biases(calibration, equalization, false)?;
        if self.is_late() {
            return Ok(plain);
        }
        let corrected = self.with_biases(calibration, equalization, true)?;
        let better = corrected.score.mean_abs_dp < plain.score.mean_abs_dp;
        Ok(if better { corrected } else { plain })
    }

    fn with_biases(
        &mut self,
        calibration: &Calibration,
        equalization: Option<f64>,
        bias_correction: bool,
    ) -> Result<Candidate, CompressError> {
        let options = Int8Options {
            method: self.settings.method,
            keep_float: self.settings.keep_float.clone(),
            bias_correction,
        };
        let name = match (equalization.is_some(), bias_correction) {
            (false, false) => "plain",
            (false, true) => "biases corrected",
            (true, false) => "channels balanced",
            (true, true) => "channels balanced, biases corrected",
        };
        self.candidate(calibration, options, equalization, name, SCORED)
    }

    fn candidate(
        &mut self,
        calibration: &Calibration,
        options: Int8Options,
        equalization: Option<f64>,
        name: &str,
        most: usize,
    ) -> Result<Candidate, CompressError> {
        let graph = to_int8(calibration, &options)?;
        let score = self.score(&graph, name, most)?;
        self.trials.push((name.to_owned(), score));
        Ok(Candidate {
            graph,
            score,
            options,
            equalization,
        })
    }

    fn score(&mut self, graph: &Graph, name: &str, most: usize) -> Result<Score, CompressError> {
        let mut engine = Engine::new(graph, &self.options)?;
        let (mut distance, mut same, mut right, mut float_right, mut labelled, mut n) =
            (0.0, 0, 0, 0, 0, 0);
        let model = self.model;
        let answers = &self.answers;
        let task = format!("trying: {name}");
        let visit = |dataset: &Dataset, index: usize, inputs: &Inputs<'_>| {
            for (id, values) in inputs.of(&model.graph, graph) {
                engine.input_mut(id).copy_from_slice(values);
            }
            engine.run();
            let got = head::probabilities(model.manifest.head, engine.output());
            let Some(answer) = answers.get(&index) else {
                return Ok(());
            };
            let pairs = answer.iter().zip(&got);
            let sum: f64 = pairs.map(|(a, b)| f64::from((a - b).abs())).sum();
            distance += sum / got.len().max(1) as f64;
            same += usize::from(top1(answer) == top1(&got));
            if let Some(label) = dataset.samples[index].label {
                labelled += 1;
                right += usize::from(label == top1(&got));
                float_right += usize::from(label == top1(answer));
            }
            n += 1;
            Ok(())
        };
        self.photos.each(&task, most, self.watch, visit)?;
        let share = |count: usize| count as f64 / n.max(1) as f64;
        let all_labelled = labelled == n && n > 0;
        Ok(Score {
            mean_abs_dp: distance / n.max(1) as f64,
            agreement: share(same),
            top1: all_labelled.then(|| share(right)),
            float_top1: all_labelled.then(|| share(float_right)),
            photos: n,
        })
    }

    /// Keeps layers in float, the most damaging first, until top-1 on all photos reaches `wanted`.
    fn guard(
        &mut self,
        calibration: &Calibration,
        best: &mut Candidate,
        wanted: f64,
    ) -> Result<(), CompressError> {
        while best.score.top1.is_some_and(|top1| top1 < wanted - 1e-12) && !self.is_late() {
            let errors = self.errors(calibration, &best.graph)?;
            let suspects = suspects(&errors, &best.graph, &best.options.keep_float);
            let mut chosen: Option<Candidate> = None;
            for name in suspects.into_iter().take(TRIED) {
                if self.is_late() {
                    break;
                }
                let mut options = best.options.clone();
                options.keep_float.insert(name.clone());
                let trial = format!("{name} in float");
                let candidate =
                    self.candidate(calibration, options, best.equalization, &trial, SCORED)?;
                let better = chosen
                    .as_ref()
                    .is_none_or(|c| candidate.score.mean_abs_dp < c.score.mean_abs_dp);
                if better {
                    chosen = Some(candidate);
                }
            }
            let Some(mut next) = chosen else { break };
            next.score = self.score(&next.graph, "all photos", usize::MAX)?;
            *best = next;
        }
        Ok(())
    }

    fn errors(
        &mut self,
        calibration: &Calibration,
        graph: &Graph,
    ) -> Result<Vec<LayerError>, CompressError> {
        let float = calibration.graph();
        let mut meter = ErrorMeter::new(float, graph, &self.options)?;
        let model = self.model;
        let visit = |_: &Dataset, _: usize, inputs: &Inputs<'_>| {
            let floats = inputs.of(&model.graph, float);
            let bytes = inputs.of(&model.graph, graph);
            for ((a, values), (b, _)) in floats.into_iter().zip(bytes) {
                meter.set_input(a, b, values);
            }
            meter.observe();
            Ok(())
        };
        self.photos
            .each("measuring layers", MEASURED, self.watch, visit)?;
        Ok(meter.finish())
    }
}

struct Candidate {
    graph: Graph,
    score: Score,
    options: Int8Options,
    equalization: Option<f64>,
}

/// Nodes with weights, in the order of the damage that they add: how much larger the error of their
/// output is than that of their worst input.
fn suspects(errors: &[LayerError], graph: &Graph, kept: &BTreeSet<String>) -> Vec<String> {
    let sqnr: BTreeMap<&str, f64> = errors
        .iter()
        .map(|e| (e.node.as_str(), e.sqnr_db.unwrap_or(200.0)))
        .collect();
    let users = graph.users();
    let mut damage: Vec<(f64, &str)> = Vec::new();
    for (id, node) in graph.ids().zip(graph.nodes()) {
        if node.op.kernel().is_none() || kept.contains(&node.name) {
            continue;
        }
        // The graph does not store a sum that goes through a table; it stores the table's result.
        let stored = sqnr.get(node.name.as_str()).or_else(|| {
            let [user] = users[id.0].as_slice() else {
                return None;
            };
            sqnr.get(graph.node(*user).name.as_str())
        });
        let Some(&own) = stored else { continue };
        let inputs = node.inputs.iter().map(|&input| {
            let name = graph.node(input).name.as_str();
            sqnr.get(name).copied().unwrap_or(60.0)
        });
        damage.push((inputs.fold(60.0, f64::min) - own, &node.name));
    }
    damage.sort_by(|a, b| b.0.total_cmp(&a.0));
    damage.into_iter().map(|(_, n)| n.to_owned()).collect()
}

/// The names of the source layers of nodes.
fn layer_names(graph: &Graph, nodes: &BTreeSet<String>) -> Vec<String> {
    let kept = graph.nodes().iter().filter(|n| nodes.contains(&n.name));
    kept.map(|node| {
        let layer = node.layers.first();
        layer.map_or_else(|| node.name.clone(), |layer| layer.name.clone())
    })
    .collect()
}
