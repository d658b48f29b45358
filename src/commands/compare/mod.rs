//! `dermal compare`: how good a model is on labelled photos, and whether another is as good.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use serde::Serialize;

use super::fields::read_field_mapping;
use super::own_process::peak_rss_of_predict;
use super::report_file::ReportFile;
use super::session::EngineChoice;
use super::{Outcome, failure};
use crate::artifact::{self, ComparisonRecord, EvidenceRecord, FieldMapping, Head, Model};
use crate::cli::{CompareArgs, EngineArgs};
use crate::engine::Engine;
use crate::evaluate::dataset::{Dataset, Labels, PhotoStream, RowFilter, RowInputs, StreamOptions};
use crate::evaluate::metrics::{self, Evaluation, Options};
use crate::evaluate::statistics::correlation::pearson;
use crate::evaluate::verdict::{self, Comparison, Criteria, Subgroup, Verdict};
use crate::explain::{self, Method, Score, Target};
use crate::file::sha256_of_file;
use crate::predict::{ExtraInput, Limits, PhotoInput, Predictor};
use crate::report::{self, Progress, SCHEMA_VERSION};

use document::Reader;

mod document;
mod thumbnail;

pub(super) fn run(args: &CompareArgs) -> Result<Outcome> {
    let file = args.report.as_deref().map(ReportFile::new).transpose()?;
    let mut trial = Trial::run(args)?;
    if args.attach {
        trial.attach()?;
    }
    trial.look_at_files()?;
    let Trial {
        dataset,
        seen,
        report,
        ..
    } = trial;
    if let Some(file) = &file {
        let photos: Vec<PathBuf> = (report.comparison.iter())
            .flat_map(|comparison| &comparison.flips)
            .map(|flip| dataset.samples[seen.images[flip.image]].path.clone())
            .collect();
        file.write(&document::of(&report, Reader::File { photos: &photos }))?;
    }
    if args.json {
        report::print_json(&report)?;
    } else {
        report::print(document::of(&report, Reader::Terminal).to_text())?;
    }
    if args.attach {
        let last = report.models.last().map_or("", |model| &model.path);
        report::note(&format!("wrote the result into {last}"));
    }
    let verdict = report.comparison.as_ref().map(|c| c.verdict);
    Ok(match verdict {
        Some(Verdict::CannotTell { .. }) if args.allow_inconclusive => Outcome::Yes,
        Some(verdict) if !verdict.passes() => Outcome::No,
        _ => Outcome::Yes,
    })
}

/// What `dermal check` asks.
pub(super) struct Question<'a> {
    pub(super) model: &'a Path,
    /// The model that this one replaces.
    pub(super) base: Option<&'a Path>,
    pub(super) photos: &'a Path,
    /// `COLUMN=VALUE` of the rows that are used.
    pub(super) rows: &'a [String],
    /// Largest loss of top-1 that counts as none, as a fraction.
    pub(super) margin: f64,
}

/// What it is told.
pub(super) fn answer(question: &Question<'_>) -> Result<EvidenceRecord> {
    let (base, candidate) = match question.base {
        Some(base) => (base, Some(question.model.to_owned())),
        None => (question.model, None),
    };
    let args = CompareArgs {
        base: base.to_owned(),
        candidate,
        fixtures: question.photos.to_owned(),
        filter: question.rows.to_vec(),
        margin: question.margin,
        group: Vec::new(),
        specificity: 0.9,
        heat_maps: 0,
        fields: None,
        input: Vec::new(),
        max_bad: 0,
        report: None,
        allow_inconclusive: false,
        attach: false,
        engine: EngineArgs {
            threads: None,
            isa: None,
        },
        json: false,
    };
    Trial::run(&args)?.record()
}

/// Models that were run on labelled photos, and what is to be said of it.
struct Trial<'a> {
    args: &'a CompareArgs,
    sides: Vec<Side>,
    dataset: Arc<Dataset>,
    seen: Seen,
    report: Report,
}

impl<'a> Trial<'a> {
    fn run(args: &'a CompareArgs) -> Result<Self> {
        let choice = EngineChoice::new(&args.engine)?;
        let mut sides = vec![Side::load(&args.base, args, &choice)?];
        if let Some(path) = &args.candidate {
            sides.push(Side::load(path, args, &choice)?);
            align(&mut sides)?;
        }
        let filters: Vec<RowFilter> = args
            .filter
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()?;
        let context = || format!("cannot use the photos of `{}`", args.fixtures.display());
        let labels = sides[0].model.manifest.labels.clone();
        let dataset = Dataset::open(&args.fixtures, Labels::Required(&labels), &filters)
            .with_context(context)?;
        if dataset.samples.is_empty() {
            return Err(failure(
                format!("`{}` has no photos", args.fixtures.display()),
                "give labelled photos with `--fixtures`",
            ));
        }
        let groups: Vec<usize> = args
            .group
            .iter()
            .map(|name| dataset.column(name))
            .collect::<Result<_, _>>()?;
        let dataset = Arc::new(dataset);
        for side in &sides {
            side.rows(args).check(&dataset).with_context(context)?;
        }
        let seen = classify(args, &choice, &dataset, &mut sides)?;
        let report = judge(args, &choice, &dataset, &sides, &seen, &groups)?;
        Ok(Self {
            args,
            sides,
            dataset,
            seen,
            report,
        })
    }

    /// What it found about the last of the models, as an artifact carries it.
    fn record(&self) -> Result<EvidenceRecord> {
        let (Some(side), Some(model)) = (self.sides.last(), self.report.models.last()) else {
            anyhow::bail!("no model was judged");
        };
        let evaluation = &model.evaluation;
        let mut sensitivity = vec![None; side.order.len()];
        for (&own, class) in side.order.iter().zip(&evaluation.classes) {
            sensitivity[own] = class.sensitivity.as_ref().map(|share| share.value);
        }
        let comparison = self.report.comparison.as_ref().map(|comparison| {
            Ok::<_, anyhow::Error>(ComparisonRecord {
                base_sha256: sha256(&self.sides[0].path)?,
                verdict: comparison.verdict.name().to_owned(),
                sentence: comparison.sentence.clone(),
                margin: comparison.criteria.margin,
            })
        });
        let source = self.args.fixtures.file_name().unwrap_or_default();
        Ok(EvidenceRecord {
            tool_version: env!("CARGO_PKG_VERSION").to_owned(),
            source: source.to_string_lossy().into_owned(),
            photos: self.report.photos,
            top1: evaluation.top1.value,
            sensitivity,
            comparison: comparison.transpose()?,
        })
    }

    /// Writes that into the last of the models.
    fn attach(&self) -> Result<()> {
        let record = self.record()?;
        let Some(side) = self.sides.last() else {
            return Ok(());
        };
        let path = Path::new(&side.path);
        let mut model =
            artifact::load(path).with_context(|| format!("cannot load model `{}`", side.path))?;
        model.manifest.evidence = Some(record);
        artifact::write(path, &model).with_context(|| format!("cannot write `{}`", side.path))?;
        Ok(())
    }

    /// What is to be seen of the files alone: their hashes, and what a process with each takes.
    fn look_at_files(&mut self) -> Result<()> {
        let first = &self.dataset.samples[self.seen.images[0]];
        for (model, side) in self.report.models.iter_mut().zip(&self.sides) {
            let extra = side.rows(self.args).of(&self.dataset, first)?;
            let path = Path::new(&side.path);
            model.peak_rss_bytes = peak_rss_of_predict(path, &first.path, &side.model, &extra);
            model.sha256 = Some(sha256(&side.path)?);
            model.bytes = path.metadata().map(|m| m.len()).ok();
        }
        Ok(())
    }
}

fn sha256(path: &str) -> Result<String> {
    sha256_of_file(Path::new(path), &mut |_, _| {}).with_context(|| format!("cannot read `{path}`"))
}

/// One of the models.
struct Side {
    path: String,
    model: Model,
    mapping: Option<FieldMapping>,
    predictor: Predictor<Engine>,
    photo: PhotoInput,
    target: Option<Target>,
    /// For each label of the base the index of this model's.
    order: Vec<usize>,
}

impl Side {
    fn load(path: &Path, args: &CompareArgs, choice: &EngineChoice) -> Result<Self> {
        let model = artifact::load(path)
            .with_context(|| format!("cannot load model `{}`", path.display()))?;
        if model.manifest.head == Head::MultiLabelSigmoid {
            return Err(failure(
                format!(
                    "the classes of `{}` do not exclude each other",
                    path.display()
                ),
                "accuracy and its tests are for models that answer with one class; judge each \
                 class of this one as a model of its own",
            ));
        }
        let mapping = match &args.fields {
            Some(file) => Some(read_field_mapping(file, &model.vector_inputs())?),
            None => None,
        };
        let wanted = args.heat_maps > 0 && args.candidate.is_some();
        // A model without a feature map is judged all the same.
        let target = wanted
            .then(|| Target::find(&model.graph, None).ok())
            .flatten();
        let engine = match &target {
            Some(target) => choice.engine(target.graph(), target.keep())?,
            None => choice.engine(&model.graph, Vec::new())?,
        };
        let order = (0..model.manifest.labels.len()).collect();
        Ok(Self {
            path: path.display().to_string(),
            photo: PhotoInput::of(&model)?,
            predictor: Predictor::new(&model, engine)?,
            mapping,
            model,
            target,
            order,
        })
    }

    fn rows(&self, args: &CompareArgs) -> RowInputs<'_> {
        let given = args.input.iter().map(|named| ExtraInput {
            name: named.name.clone(),
            values: named.values.clone(),
        });
        RowInputs::new(&self.model, self.mapping.as_ref(), given.collect())
    }

    /// The heat map of a class (index of the base's labels) after a prediction.
    fn heat_map(&self, class: usize) -> Option<Vec<f32>> {
        let target = self.target.as_ref()?;
        let score = Score::of_class(self.order[class], self.model.manifest.head);
        let engine = self.predictor.runner();
        let map = explain::explain(target, Method::GradCam, score, &|id| engine.value(id));
        map.ok().map(|map| map.raw)
    }
}

/// Brings the candidate's classes into the base's order.
fn align(sides: &mut [Side]) -> Result<()> {
    let base = sides[0].model.manifest.labels.clone();
    let candidate = &sides[1].model.manifest.labels;
    let order: Option<Vec<usize>> = base
        .iter()
        .map(|label| candidate.iter().position(|other| other == label))
        .collect();
    match order {
        Some(order) if base.len() == candidate.len() => {
            sides[1].order = order;
            Ok(())
        }
        _ => {
            let missing: Vec<&String> = base.iter().filter(|l| !candidate.contains(l)).collect();
            let extra: Vec<&String> = candidate.iter().filter(|l| !base.contains(l)).collect();
            Err(failure(
                format!(
                    "the models have other classes: only `{}` has {missing:?}, only `{}` has {extra:?}",
                    sides[0].path, sides[1].path
                ),
                "compare models of the same classes; labels are given when importing",
            ))
        }
    }
}

/// What the models said.
struct Seen {
    /// Index among the dataset's samples of each row below.
    images: Vec<usize>,
    truth: Vec<usize>,
    /// Row-major probabilities of each model, in the base's order of classes.
    probabilities: Vec<Vec<f32>>,
    /// Milliseconds of each inference.
    times: Vec<Vec<f64>>,
    /// Correlations of the two models' heat maps.
    maps: Vec<f64>,
    left_out: Vec<String>,
}

fn classify(
    args: &CompareArgs,
    choice: &EngineChoice,
    dataset: &Arc<Dataset>,
    sides: &mut [Side],
) -> Result<Seen> {
    let inputs: Vec<PhotoInput> = sides.iter().map(|side| side.photo.clone()).collect();
    let options = StreamOptions {
        threads: choice.threads,
        limits: Limits::default(),
    };
    let stream = PhotoStream::new(dataset.clone(), &inputs, options)
        .context("cannot start threads that read photos")?;
    let total = dataset.samples.len();
    let mapped = args.heat_maps.min(total);
    let mut progress = Progress::items("photos");
    let mut seen = Seen {
        images: Vec::with_capacity(total),
        truth: Vec::with_capacity(total),
        probabilities: vec![Vec::new(); sides.len()],
        times: vec![Vec::new(); sides.len()],
        maps: Vec::new(),
        left_out: Vec::new(),
    };
    for prepared in stream {
        let index = prepared.index;
        let sample = &dataset.samples[index];
        progress.set(index as u64 + 1, total as u64);
        let photo = match prepared.photo {
            Ok(photo) => photo,
            Err(error) => {
                let text = format!("`{}`: {error}", sample.path.display());
                seen.left_out.push(text.clone());
                let count = seen.left_out.len();
                if count > args.max_bad {
                    return Err(failure(
                        format!(
                            "cannot read photo {text} (unreadable photos: {count}, allowed: {})",
                            args.max_bad
                        ),
                        "repair or remove it, or allow some with `--max-bad N`",
                    ));
                }
                progress.suspend(|| report::warn(&format!("left out {text}"), None));
                continue;
            }
        };
        // Every label is known: `Labels::Required`.
        let Some(truth) = sample.label else { continue };
        for (i, side) in sides.iter_mut().enumerate() {
            let extra = side.rows(args).of(dataset, sample)?;
            let prediction = side
                .predictor
                .predict_prepared(photo.input(i), &extra)
                .with_context(|| format!("photo `{}`", sample.path.display()))?;
            let ordered = side
                .order
                .iter()
                .map(|&class| prediction.probabilities[class]);
            seen.probabilities[i].extend(ordered);
            seen.times[i].push(prediction.timing.inference.as_secs_f64() * 1e3);
        }
        seen.images.push(index);
        seen.truth.push(truth);
        let chosen = (index + 1) * mapped / total != index * mapped / total;
        if let ([base, candidate], true) = (&*sides, chosen) {
            let classes = base.order.len();
            let last = &seen.probabilities[0][seen.probabilities[0].len() - classes..];
            let pairs = last.iter().enumerate().rev();
            let class = pairs.max_by(|a, b| a.1.total_cmp(b.1)).map_or(0, |p| p.0);
            if let (Some(a), Some(b)) = (base.heat_map(class), candidate.heat_map(class)) {
                let wide = |map: Vec<f32>| map.into_iter().map(f64::from).collect::<Vec<_>>();
                seen.maps.extend(pearson(&wide(a), &wide(b)));
            }
        }
    }
    if seen.images.is_empty() {
        return Err(failure(
            "no photo could be read",
            "the warnings above say why",
        ));
    }
    Ok(seen)
}

/// One model's share of the report.
#[derive(Serialize)]
struct ModelReport {
    path: String,
    bytes: Option<u64>,
    /// Of the file, in hexadecimal.
    sha256: Option<String>,
    /// Median, interleaved with the other model's on the same photos.
    latency_ms: f64,
    /// Of a process of its own that classifies one of the photos.
    peak_rss_bytes: Option<u64>,
    evaluation: Evaluation,
}

/// How alike the heat maps are.
#[derive(Serialize)]
struct HeatMapDrift {
    photos: usize,
    median_correlation: f64,
    worst_correlation: f64,
}

/// A photo whose class changed.
#[derive(Serialize)]
struct FlipReport {
    file: String,
    truth: String,
    base: String,
    candidate: String,
    kind: verdict::FlipKind,
}

#[derive(Serialize)]
struct GroupReport {
    column: String,
    groups: Vec<Subgroup>,
}

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    photos: usize,
    source: String,
    filtered_out: usize,
    left_out: Vec<String>,
    labels: Vec<String>,
    threads: usize,
    isa: &'static str,
    models: Vec<ModelReport>,
    comparison: Option<Comparison>,
    flips: Vec<FlipReport>,
    heat_maps: Option<HeatMapDrift>,
    groups: Vec<GroupReport>,
}

fn judge(
    args: &CompareArgs,
    choice: &EngineChoice,
    dataset: &Dataset,
    sides: &[Side],
    seen: &Seen,
    groups: &[usize],
) -> Result<Report> {
    let labels = &sides[0].model.manifest.labels;
    let options = Options {
        specificity: args.specificity,
        ..Options::default()
    };
    let mut models = Vec::new();
    for (i, side) in sides.iter().enumerate() {
        let mut times = seen.times[i].clone();
        times.sort_by(f64::total_cmp);
        models.push(ModelReport {
            path: side.path.clone(),
            bytes: None,
            sha256: None,
            latency_ms: times[times.len() / 2],
            peak_rss_bytes: None,
            evaluation: metrics::evaluate(
                &seen.truth,
                &seen.probabilities[i],
                labels.len(),
                &options,
            )?,
        });
    }
    let mut report = Report {
        schema_version: SCHEMA_VERSION,
        photos: seen.images.len(),
        source: dataset.layout.to_string(),
        filtered_out: dataset.filtered_out,
        left_out: seen.left_out.clone(),
        labels: labels.clone(),
        threads: choice.threads,
        isa: choice.isa.name(),
        models,
        comparison: None,
        flips: Vec::new(),
        heat_maps: heat_map_drift(&seen.maps),
        groups: Vec::new(),
    };
    let [base, candidate] = seen.probabilities.as_slice() else {
        return Ok(report);
    };
    let criteria = Criteria {
        margin: args.margin,
        ..Criteria::default()
    };
    let comparison = verdict::compare(&seen.truth, base, candidate, labels.len(), &criteria)?;
    report.flips = comparison
        .flips
        .iter()
        .map(|flip| FlipReport {
            file: dataset.samples[seen.images[flip.image]].name.clone(),
            truth: labels[flip.truth].clone(),
            base: labels[flip.base].clone(),
            candidate: labels[flip.candidate].clone(),
            kind: flip.kind,
        })
        .collect();
    for (&column, name) in groups.iter().zip(&args.group) {
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

fn heat_map_drift(correlations: &[f64]) -> Option<HeatMapDrift> {
    let mut sorted = correlations.to_vec();
    sorted.sort_by(f64::total_cmp);
    Some(HeatMapDrift {
        photos: sorted.len(),
        median_correlation: *sorted.get(sorted.len() / 2)?,
        worst_correlation: *sorted.first()?,
    })
}
