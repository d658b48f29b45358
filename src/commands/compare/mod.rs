//! `dermal compare`: how good a model is on labelled photos, and whether another is as good.

use std::path::Path;

use super::{Context, Result};

use super::fields::read_field_mapping;
use super::own_process::peak_rss_of_predict;
use super::report_file::ReportFile;
use super::spare::spare_photos;
use super::watch::Watcher;
use super::{CommandError, Outcome, Versioned, engine_options, row_filters};
use crate::artifact;
use crate::cli::CompareArgs;
use crate::evaluate::comparison::{Criteria, Verdict};
use crate::evaluate::dataset::{Dataset, Labels};
use crate::evaluate::metrics::EvaluationOptions;
use crate::evaluate::trial::{NamedModel, Trial, TrialOptions, compare_models, judge};
use crate::file::{Guard, Output, sha256_of_file};
use crate::report;

use document::Reader;

mod document;
mod thumbnail;

pub(super) fn run(args: &CompareArgs) -> Result<Outcome> {
    let mut guard = Guard::new();
    // `--attach` reads the last model and writes it, on purpose. It must not be any other file that
    // is read.
    let last = args.candidate.as_ref().unwrap_or(&args.base);
    if args.candidate.is_some() || !args.attach {
        guard.reads("the model in use", &args.base)?;
    }
    guard.may_read("the field mapping", args.fields.as_ref())?;
    let attached = if args.attach {
        let output = guard.writes("--attach", last);
        Some(output.with_context(|| format!("cannot write `{}`", last.display()))?)
    } else {
        guard.reads("the model", last)?;
        None
    };
    let file = args.report.as_deref();
    let file = file.map(|path| ReportFile::new(path, &mut guard));
    let file = file.transpose()?;
    if guard.replaces_files() {
        let context = || format!("cannot load model `{}`", args.base.display());
        let model = artifact::load(&args.base).with_context(context)?;
        spare_photos(&mut guard, &args.fixtures, &model.manifest.labels)?;
    }
    let mut trial = trial(args)?;
    if let Some(output) = &attached {
        attach(&trial, args, output)?;
    }
    look_at_files(&mut trial, args)?;
    let report = trial.report();
    if let Some(file) = &file {
        let photos = trial.flipped_photos();
        file.write(&document::of(report, Reader::File { photos: &photos }))?;
    }
    if args.json {
        report::print_json(&Versioned::new(report))?;
    } else {
        report::print(document::of(report, Reader::Terminal).to_text())?;
    }
    if args.attach {
        report::note(&format!("wrote the result into {}", last.display()));
    }
    Ok(match report.comparison.as_ref().map(|c| c.verdict) {
        Some(Verdict::CannotTell { .. }) if args.allow_inconclusive => Outcome::Yes,
        Some(Verdict::CannotTell { .. }) => Outcome::CannotTell,
        Some(verdict) if !verdict.passes() => Outcome::No,
        _ => Outcome::Yes,
    })
}

/// Runs the models on the photos of `--fixtures`.
fn trial(args: &CompareArgs) -> Result<Trial> {
    let engine = engine_options(&args.engine)?;
    let base = load(&args.base, args)?;
    let candidate = args.candidate.as_ref().map(|path| load(path, args));
    let candidate = candidate.transpose()?;
    let labels = Labels::Required(&base.model.manifest.labels);
    let photos = Dataset::open(&args.fixtures, labels, &row_filters(&args.filter)?)
        .with_context(|| format!("cannot use the photos of `{}`", args.fixtures.display()))?;
    if photos.samples.is_empty() {
        return Err(CommandError::EmptySet {
            path: args.fixtures.clone(),
            wanted: "labelled photos with `--fixtures`",
        }
        .into());
    }
    let options = TrialOptions {
        engine,
        criteria: Criteria {
            margin: args.margin,
            ..Criteria::default()
        },
        evaluation: EvaluationOptions {
            specificity: args.specificity,
            ..EvaluationOptions::default()
        },
        groups: args.group.clone(),
        heat_maps: args.heat_maps,
        inputs: args.input.clone(),
        max_bad: args.max_bad,
        ..TrialOptions::default()
    };
    let mut watcher = Watcher::default();
    let mut watch = |event: crate::evaluate::pass::Event<'_>| watcher.show(event);
    let trial = match candidate {
        None => judge(base, photos, &options, &mut watch),
        Some(candidate) => compare_models(base, candidate, photos, &options, &mut watch),
    };
    Ok(trial?)
}

fn load(path: &Path, args: &CompareArgs) -> Result<NamedModel> {
    let model =
        artifact::load(path).with_context(|| format!("cannot load model `{}`", path.display()))?;
    let mapping = match &args.fields {
        Some(file) => Some(read_field_mapping(file, &model.vector_inputs())?),
        None => None,
    };
    Ok(NamedModel {
        mapping,
        ..NamedModel::new(path.display().to_string(), model)
    })
}

/// Writes the result into the last of the models.
fn attach(trial: &Trial, args: &CompareArgs, output: &Output) -> Result<()> {
    let path = output.path();
    let source = args.fixtures.file_name().unwrap_or_default();
    let base_sha256 = match &args.candidate {
        Some(_) => Some(sha256(&args.base)?),
        None => None,
    };
    let mut model =
        artifact::load(path).with_context(|| format!("cannot load model `{}`", path.display()))?;
    model.manifest.evidence = Some(trial.evidence(&source.to_string_lossy(), base_sha256));
    artifact::write(output.path(), &model)
        .with_context(|| format!("cannot write `{}`", path.display()))?;
    Ok(())
}

/// What the files alone show: their sizes and hashes, and the peak memory of a process with each.
fn look_at_files(trial: &mut Trial, args: &CompareArgs) -> Result<()> {
    let files = std::iter::once(&args.base).chain(&args.candidate);
    for (i, path) in files.enumerate() {
        let extra = trial.first_extra_inputs(i)?;
        let peak = peak_rss_of_predict(path, trial.first_photo(), trial.model(i), &extra);
        let model = &mut trial.report_mut().models[i];
        model.peak_rss_bytes = peak;
        model.sha256 = Some(sha256(path)?);
        model.bytes = path.metadata().map(|m| m.len()).ok();
    }
    Ok(())
}

fn sha256(path: &Path) -> Result<String, CommandError> {
    sha256_of_file(path, &mut |_, _| {}).map_err(|source| CommandError::Read {
        path: path.to_owned(),
        source,
    })
}
