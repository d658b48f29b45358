//! Models on the same labelled photos: how good one is, or whether another may replace it.
//!
//! [`judge`] and [`compare_models`] run every photo through each model, in turn, so that their
//! latencies are measured under the same conditions. The result is a [`Trial`]: a [`TrialReport`],
//! which serialises to the document of `dermal compare --json`, and other facts about the same run,
//! such as the record that an artifact stores ([`Trial::evidence`]).
//!
//! ```
//! use std::path::Path;
//!
//! use dermal::evaluate::dataset::{Dataset, Labels};
//! use dermal::evaluate::trial::{NamedModel, TrialOptions, compare_models};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let base = NamedModel::new("demo", dermal::artifact::embedded()?);
//! let candidate = NamedModel::new("a copy", dermal::artifact::embedded()?);
//! let labels = Labels::Required(&base.model.manifest.labels);
//! let mut photos = Dataset::open(Path::new("fixtures/labels.csv"), labels, &[])?;
//! photos.thin_out(14);
//! let options = TrialOptions::default();
//! let trial = compare_models(base, candidate, photos, &options, &mut |_| {})?;
//! let comparison = trial.report().comparison.as_ref().ok_or("two models were given")?;
//! assert_eq!(comparison.agreement.value, 1.0);
//! // Fourteen photos are too few to rule out a loss of one point: the sentence says how many do.
//! assert!(comparison.sentence.starts_with("Cannot tell: "));
//! # Ok(())
//! # }
//! ```
//!
//! Not here: files of models and reports (`artifact`, `commands`), and memory of processes.

use std::path::Path;

use super::comparison::{self, Criteria};
use super::dataset::{Dataset, DatasetError, StreamOptions};
use super::metrics::{self, EvaluationOptions};
use super::pass::{LeftOut, Pass, Watch, is_evenly_spaced};
use super::statistics::correlation::pearson;
use crate::artifact::{ComparisonRecord, EvidenceRecord, FieldMapping, Model};
use crate::classifier::HeatMaps;
use crate::engine;
use crate::graph::NodeId;
use crate::predict::{ExtraInput, Limits, PhotoInput};

mod error;
mod report;
mod side;

pub use error::TrialError;
pub use report::{FlippedPhoto, GroupReport, HeatMapAgreement, ModelReport, TrialReport};
use side::{Side, heat_map};

/// A model and its name in a report.
#[derive(Clone, Debug)]
pub struct NamedModel {
    /// Its path, or any text that distinguishes it from the other model.
    pub name: String,
    /// The model.
    pub model: Model,
    /// How columns of the table become extra inputs; the artifact's own mapping if absent.
    pub mapping: Option<FieldMapping>,
}

impl NamedModel {
    /// A model with its own mapping of columns.
    #[must_use]
    pub fn new(name: impl Into<String>, model: Model) -> Self {
        Self {
            name: name.into(),
            model,
            mapping: None,
        }
    }
}

/// How models are tried.
#[derive(Clone, Debug)]
pub struct TrialOptions {
    /// How the engines run. The same number of threads decodes photos.
    pub engine: engine::Options,
    /// The criteria for the verdict on two models.
    pub criteria: Criteria,
    /// How each model is measured.
    pub evaluation: EvaluationOptions,
    /// Columns of the table. Two models are also compared within each of their values.
    pub groups: Vec<String>,
    /// How many photos to compare heat maps of two models on, evenly spaced; 0 for none.
    pub heat_maps: usize,
    /// Values of extra inputs, the same for all photos.
    pub inputs: Vec<ExtraInput>,
    /// The limits for one photo.
    pub photo_limits: Limits,
    /// How many photos may be unreadable and left out.
    pub max_bad: usize,
}

impl Default for TrialOptions {
    /// A margin of one point, heat maps of 16 photos, no photo left out, one thread.
    fn default() -> Self {
        Self {
            engine: engine::Options::default(),
            criteria: Criteria::default(),
            evaluation: EvaluationOptions::default(),
            groups: Vec::new(),
            heat_maps: 16,
            inputs: Vec::new(),
            photo_limits: Limits::default(),
            max_bad: 0,
        }
    }
}

/// Measures one model on labelled photos.
///
/// # Errors
/// [`TrialError`].
pub fn judge(
    model: NamedModel,
    photos: Dataset,
    options: &TrialOptions,
    watch: &mut Watch<'_>,
) -> Result<Trial, TrialError> {
    let wanted = HeatMaps::Off;
    Trial::run(
        vec![Side::new(model, options, wanted)?],
        photos,
        options,
        watch,
    )
}

/// Measures two models on the same labelled photos, and judges whether `candidate` is as good as
/// `base`. Classes are matched by name.
///
/// # Errors
/// [`TrialError`].
pub fn compare_models(
    base: NamedModel,
    candidate: NamedModel,
    photos: Dataset,
    options: &TrialOptions,
    watch: &mut Watch<'_>,
) -> Result<Trial, TrialError> {
    let wanted = match options.heat_maps {
        0 => HeatMaps::Off,
        _ => HeatMaps::IfPossible,
    };
    let base = Side::new(base, options, wanted.clone())?;
    let mut candidate = Side::new(candidate, options, wanted)?;
    candidate.order_like(&base)?;
    Trial::run(vec![base, candidate], photos, options, watch)
}

/// Models that were run on labelled photos, and the results.
pub struct Trial {
    /// One model, or base and candidate.
    sides: Vec<Side>,
    dataset: Dataset,
    /// For each photo that was read, its index among the dataset's samples.
    images: Vec<usize>,
    report: TrialReport,
}

impl Trial {
    fn run(
        mut sides: Vec<Side>,
        dataset: Dataset,
        options: &TrialOptions,
        watch: &mut Watch<'_>,
    ) -> Result<Self, TrialError> {
        if dataset.samples.is_empty() {
            return Err(TrialError::NoPhotos);
        }
        if let Some(sample) = dataset.samples.iter().find(|sample| sample.label.is_none()) {
            return Err(TrialError::NoLabel {
                photo: sample.name.clone(),
            });
        }
        let columns: Vec<usize> = options
            .groups
            .iter()
            .map(|name| dataset.column(name))
            .collect::<Result<_, _>>()
            .map_err(TrialError::Group)?;
        for side in &sides {
            side.rows()
                .check(&dataset)
                .map_err(|source| side.does_not_fit(source))?;
        }
        let seen = classify(&mut sides, &dataset, options, watch)?;
        let report = report_on(&sides, &dataset, &seen, &columns, options)?;
        Ok(Self {
            sides,
            dataset,
            images: seen.images,
            report,
        })
    }

    /// The report.
    #[must_use]
    pub fn report(&self) -> &TrialReport {
        &self.report
    }

    /// The report, mutable, to add facts about the models' files.
    pub fn report_mut(&mut self) -> &mut TrialReport {
        &mut self.report
    }

    /// Files of the photos whose class changed, in the order of [`TrialReport::flips`].
    #[must_use]
    pub fn flipped_photos(&self) -> Vec<&Path> {
        let comparison = self.report.comparison.iter();
        comparison
            .flat_map(|comparison| &comparison.flips)
            .map(|flip| self.photo(flip.image))
            .collect()
    }

    /// The file of a photo, by its number among those that were read.
    fn photo(&self, image: usize) -> &Path {
        &self.dataset.samples[self.images[image]].path
    }

    /// The file of the first photo that was read.
    #[must_use]
    pub fn first_photo(&self) -> &Path {
        self.photo(0)
    }

    /// The model number `index` of the report.
    ///
    /// # Panics
    /// If there is no such model.
    #[must_use]
    pub fn model(&self, index: usize) -> &Model {
        self.sides[index].model()
    }

    /// The extra inputs of the first photo for model number `index` of the report.
    ///
    /// # Errors
    /// [`TrialError::Rows`].
    ///
    /// # Panics
    /// If there is no such model.
    pub fn first_extra_inputs(&self, index: usize) -> Result<Vec<(NodeId, Vec<f32>)>, TrialError> {
        let side = &self.sides[index];
        let sample = &self.dataset.samples[self.images[0]];
        side.rows()
            .of(&self.dataset, sample)
            .map_err(|source| side.does_not_fit(source))
    }

    /// The result for the last of the models, as an artifact stores it. `source` is the name of the
    /// table or folder of photos. `base_sha256` is the hash of the base's file, in hexadecimal;
    /// without it there is no record of the comparison.
    #[must_use]
    pub fn evidence(&self, source: &str, base_sha256: Option<String>) -> EvidenceRecord {
        let last = self.sides.len() - 1;
        let (side, evaluation) = (&self.sides[last], &self.report.models[last].evaluation);
        let mut sensitivity = vec![None; side.order.len()];
        for (&own, class) in side.order.iter().zip(&evaluation.classes) {
            sensitivity[own] = class.sensitivity.as_ref().map(|share| share.value);
        }
        let comparison = self.report.comparison.as_ref().zip(base_sha256);
        EvidenceRecord {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            source: source.to_owned(),
            photos: self.report.photos,
            top1: evaluation.top1.value,
            sensitivity,
            comparison: comparison.map(|(comparison, base_sha256)| ComparisonRecord {
                base_sha256,
                verdict: comparison.verdict.name().to_owned(),
                sentence: comparison.sentence.clone(),
                margin: comparison.criteria.margin,
            }),
        }
    }
}

/// What the models answered.
struct Seen {
    /// For each row below, its index among the dataset's samples.
    images: Vec<usize>,
    truth: Vec<usize>,
    /// Row-major probabilities of each model, in the base's order of classes.
    probabilities: Vec<Vec<f32>>,
    /// Milliseconds of each inference.
    times: Vec<Vec<f64>>,
    /// Correlations of the two models' heat maps.
    maps: Vec<f64>,
    left_out: LeftOut,
}

fn classify(
    sides: &mut [Side],
    dataset: &Dataset,
    options: &TrialOptions,
    watch: &mut Watch<'_>,
) -> Result<Seen, TrialError> {
    let inputs: Vec<PhotoInput> = sides
        .iter()
        .map(|side| side.classifier.photo_input().clone())
        .collect();
    let total = dataset.samples.len();
    let mut seen = Seen {
        images: Vec::with_capacity(total),
        truth: Vec::with_capacity(total),
        probabilities: vec![Vec::new(); sides.len()],
        times: vec![Vec::new(); sides.len()],
        maps: Vec::new(),
        left_out: LeftOut::default(),
    };
    let mut left_out = LeftOut::at_most(options.max_bad);
    let pass = Pass {
        dataset,
        models: &inputs,
        stream: StreamOptions {
            threads: options.engine.threads,
            limits: options.photo_limits,
        },
        most: usize::MAX,
        task: "photos",
    };
    pass.run(&mut left_out, watch, |index, photo| {
        let sample = &dataset.samples[index];
        // Checked before the first photo.
        let Some(truth) = sample.label else {
            return Ok(());
        };
        let mut answers = Vec::with_capacity(2);
        for (i, side) in sides.iter_mut().enumerate() {
            let extra = side
                .rows()
                .of(dataset, sample)
                .map_err(|source| side.does_not_fit(source))?;
            let Side {
                classifier, order, ..
            } = side;
            let answer = classifier
                .predict_prepared(photo.input(i), &extra)
                .map_err(|source| TrialError::Photo {
                    photo: sample.path.clone(),
                    source,
                })?;
            let prediction = answer.prediction();
            let ordered = order.iter().map(|&class| prediction.probabilities[class]);
            seen.probabilities[i].extend(ordered);
            seen.times[i].push(prediction.timing.inference.as_secs_f64() * 1e3);
            answers.push((answer, &*order));
        }
        seen.images.push(index);
        seen.truth.push(truth);
        if let [(base, base_order), (candidate, candidate_order)] = answers.as_slice()
            && is_evenly_spaced(index, options.heat_maps, total)
        {
            let probabilities = &seen.probabilities[0];
            let last = &probabilities[probabilities.len() - base_order.len()..];
            let class = first_of_the_largest(last);
            let maps = [(base, base_order), (candidate, candidate_order)]
                .map(|(answer, order)| heat_map(answer, order[class]));
            if let [Some(a), Some(b)] = maps {
                seen.maps.extend(pearson(&a, &b));
            }
        }
        Ok::<_, TrialError>(())
    })?;
    if seen.images.is_empty() {
        return Err(TrialError::NothingRead);
    }
    seen.left_out = left_out;
    Ok(seen)
}

/// Index of the largest value; the first of several equal ones, as `predict` ranks them.
pub(crate) fn first_of_the_largest(values: &[f32]) -> usize {
    let pairs = values.iter().enumerate().rev();
    pairs
        .max_by(|a, b| a.1.total_cmp(b.1))
        .map_or(0, |pair| pair.0)
}

fn report_on(
    sides: &[Side],
    dataset: &Dataset,
    seen: &Seen,
    columns: &[usize],
    options: &TrialOptions,
) -> Result<TrialReport, TrialError> {
    let labels = sides[0].classifier.labels();
    let mut models = Vec::new();
    for (i, side) in sides.iter().enumerate() {
        let mut times = seen.times[i].clone();
        times.sort_by(f64::total_cmp);
        models.push(ModelReport {
            path: side.name.clone(),
            bytes: None,
            sha256: None,
            latency_ms: times[times.len() / 2],
            peak_rss_bytes: None,
            evaluation: metrics::evaluate(
                &seen.truth,
                &seen.probabilities[i],
                labels.len(),
                &options.evaluation,
            )?,
        });
    }
    let mut report = TrialReport {
        photos: seen.images.len(),
        source: dataset.layout.to_string(),
        filtered_out: dataset.filtered_out,
        left_out: seen.left_out.photos().to_vec(),
        labels: labels.to_vec(),
        threads: options.engine.threads,
        isa: options.engine.isa.name(),
        models,
        comparison: None,
        flips: Vec::new(),
        heat_maps: HeatMapAgreement::of(&seen.maps),
        groups: Vec::new(),
    };
    let [base, candidate] = seen.probabilities.as_slice() else {
        return Ok(report);
    };
    let comparison = comparison::compare(
        &seen.truth,
        base,
        candidate,
        labels.len(),
        &options.criteria,
    )?;
    report.flips = comparison
        .flips
        .iter()
        .map(|flip| FlippedPhoto {
            file: dataset.samples[seen.images[flip.image]].name.clone(),
            truth: labels[flip.truth].clone(),
            base: labels[flip.base].clone(),
            candidate: labels[flip.candidate].clone(),
            kind: flip.kind,
        })
        .collect();
    for (&column, name) in columns.iter().zip(&options.groups) {
        let of = |&image: &usize| match dataset.samples[image].fields[column].as_str() {
            "" => "(unknown)".to_owned(),
            text => text.to_owned(),
        };
        let names: Vec<String> = seen.images.iter().map(of).collect();
        report.groups.push(GroupReport {
            column: name.clone(),
            groups: comparison.subgroups(&names, &seen.truth, base, candidate)?,
        });
    }
    report.comparison = Some(comparison);
    Ok(report)
}
