//! Reads what `dermal check` looks at: files of a project, its models, what they answer and take.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::artifact::{self, EvidenceRecord, InputKind, Model};
use crate::cli::{CheckArgs, Cli};
use crate::commands::estimate::{self, Question};
use crate::commands::failure;
use crate::commands::session::EngineChoice;
use crate::engine;
use crate::evaluate::comparison::Criteria;
use crate::evaluate::dataset::{Dataset, Labels, RowFilter};
use crate::evaluate::trial::{NamedModel, TrialOptions, compare_models, judge};
use crate::file::sha256_of_file;
use crate::kernels::Isa;
use crate::memory::budget::CpuBudget;
use crate::predict::{Limits, Predictor, resolve_inputs};
use crate::readiness::evidence::{Evidence, Judgement};
use crate::readiness::project::{
    FileFacts, GoldenResult, ModelReport, Project, Resources, SETTINGS_FILE,
};
use crate::readiness::settings::Trial;
use crate::readiness::start::Flag;
use crate::readiness::verdict::Verdict;

/// Bytes of a text that is looked at: settings are shorter.
const MAX_TEXT_BYTES: u64 = 256 * 1024;

/// Files of a project; more are a build folder that should not be here.
const MAX_FILES: usize = 20_000;

/// Folders that are not deployed, or not of the project.
const SKIPPED: [&str; 8] = [
    ".git",
    "target",
    "node_modules",
    ".venv",
    "venv",
    "__pycache__",
    ".cache",
    ".mypy_cache",
];

/// The text of a small file.
pub(super) fn small_text(path: &Path) -> Result<String> {
    let context = || format!("cannot read `{}`", path.display());
    let mut bytes = Vec::new();
    let file = File::open(path).with_context(context)?;
    file.take(MAX_TEXT_BYTES + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(failure(
            format!("`{}` has more than {MAX_TEXT_BYTES} bytes", path.display()),
            "files of settings are short: is it the right file?",
        ));
    }
    String::from_utf8(bytes).map_err(|_| {
        failure(
            format!("`{}` is no text (UTF-8)", path.display()),
            "write it again with a text editor",
        )
    })
}

/// Every file below a folder; links are not followed.
pub(super) fn files(folder: &Path) -> Result<BTreeMap<String, FileFacts>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let at = folder.join(&below);
        let context = || format!("cannot read folder `{}`", at.display());
        for entry in at.read_dir().with_context(context)? {
            let entry = entry.with_context(context)?;
            let name = entry.file_name();
            let path = below.join(&name);
            let kind = entry.file_type().with_context(context)?;
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| name == *skipped) {
                    folders.push(path);
                }
            } else if kind.is_file() {
                let shown = path.to_string_lossy().replace('\\', "/");
                found.insert(shown, facts(&folder.join(&path))?);
            }
            if found.len() > MAX_FILES {
                return Err(failure(
                    format!("`{}` has more than {MAX_FILES} files", folder.display()),
                    "give the folder that is deployed with `--config`",
                ));
            }
        }
    }
    Ok(found)
}

fn facts(path: &Path) -> Result<FileFacts> {
    let context = || format!("cannot read `{}`", path.display());
    let bytes = fs::metadata(path).with_context(context)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let looked_at = ["yaml", "yml", "toml", "json", "sh", "env", "cfg", "ini"]
        .iter()
        .any(|known| extension == *known)
        || ["Dockerfile", "Containerfile", "Procfile", ".dockerignore"].contains(&name.as_ref())
        || name.starts_with(".env");
    let text = if looked_at && bytes <= MAX_TEXT_BYTES {
        // What is no text has no settings.
        fs::read_to_string(path).ok()
    } else {
        None
    };
    let lfs_pointer = bytes < 1024 && {
        let mut start = [0; 24];
        let mut file = File::open(path).with_context(context)?;
        file.read_exact(&mut start).is_ok() && start.starts_with(b"version https://git-lfs")
    };
    Ok(FileFacts {
        bytes,
        text,
        lfs_pointer,
    })
}

/// Options of `dermal serve`: those of the command line's definition.
pub(super) fn serve_flags() -> Vec<Flag> {
    use clap::CommandFactory;
    let mut command = Cli::command();
    command.build();
    let Some(serve) = command.find_subcommand("serve") else {
        return planned_flags();
    };
    let options = serve
        .get_arguments()
        .filter(|argument| !argument.is_positional());
    options
        .flat_map(|argument| {
            let takes_value = argument.get_action().takes_values();
            let long = argument.get_long().map(|name| format!("--{name}"));
            let short = argument.get_short().map(|name| format!("-{name}"));
            long.into_iter()
                .chain(short)
                .map(move |name| Flag { name, takes_value })
        })
        .collect()
}

/// Where the program has no server built in: the options of the one it is made for.
fn planned_flags() -> Vec<Flag> {
    const SWITCHES: [&str; 3] = ["--preload", "--lazy", "--no-gradcam"];
    const VALUES: [&str; 9] = [
        "--bind",
        "--budget",
        "--max-upload",
        "--max-pixels",
        "--queue",
        "--threads",
        "--isa",
        "--api-key",
        "--redis",
    ];
    let flag = |name: &&str, takes_value| Flag {
        name: (*name).to_owned(),
        takes_value,
    };
    let switches = SWITCHES.iter().map(|name| flag(name, false));
    switches
        .chain(VALUES.iter().map(|name| flag(name, true)))
        .collect()
}

/// Opens every artifact of the project.
pub(super) fn models(folder: &Path, project: &mut Project) {
    let named: Vec<String> = project
        .files
        .keys()
        .filter(|path| path.ends_with(".safetensors"))
        .cloned()
        .collect();
    for path in named {
        let report = model_report(&folder.join(&path), &path);
        project.models.insert(path, report);
    }
}

fn model_report(path: &Path, name: &str) -> ModelReport {
    let invalid = |reason: String| ModelReport::Invalid { reason };
    let model = match artifact::load(path) {
        Ok(model) => model,
        Err(error) => return invalid(error.to_string()),
    };
    match sha256_of_file(path, &mut |_, _| {}) {
        Ok(sha256) => ModelReport::Loaded {
            sha256,
            labels: model.manifest.labels.clone(),
            raw_pixels: has_raw_pixels(&model),
            quantized: model.manifest.quantization.as_ref().map(|q| q.to.clone()),
            base_sha256: model
                .manifest
                .quantization
                .as_ref()
                .map(|q| q.base_sha256.clone()),
            evidence: (model.manifest.evidence.as_ref())
                .map(|record| Box::new(evidence(record, &model, name, None))),
        },
        Err(error) => invalid(error.to_string()),
    }
}

/// A record of `dermal compare`, as the check reads it; `file` of the project says it.
fn evidence(record: &EvidenceRecord, model: &Model, file: &str, line: Option<usize>) -> Evidence {
    let labels = model.manifest.labels.iter().cloned();
    Evidence {
        file: file.to_owned(),
        line,
        sha256: None,
        comparison: record.comparison.as_ref().map(|comparison| Judgement {
            verdict: comparison.verdict.clone(),
            sentence: comparison.sentence.clone(),
        }),
        top1: Some(record.top1),
        sensitivity: labels.zip(record.sensitivity.iter().copied()).collect(),
    }
}

/// The model's accuracy on the photos that dermal.yaml names.
fn measure(trial: &Trial, model: &Model, folder: &Path, project: &Project) -> Result<Evidence> {
    let is_there = |path: &str| {
        // A link is no file of the project, and could lead out of it.
        let below = format!("{}/", path.trim_end_matches('/'));
        let mut files = project.files.keys();
        files.any(|file| file == path || file.starts_with(&below))
    };
    let named = [Some(&trial.photos), trial.base.as_ref()];
    for path in named.into_iter().flatten() {
        if !is_there(path) {
            return Err(failure(
                format!(
                    "{SETTINGS_FILE}:{}: there is no `{path}` in this project",
                    trial.line
                ),
                "correct `photos` and `base` under `accuracy`",
            ));
        }
    }
    let record = judge_on_photos(trial, model, folder, project).with_context(|| {
        format!(
            "{SETTINGS_FILE}:{}: accuracy cannot be measured",
            trial.line
        )
    })?;
    Ok(evidence(&record, model, SETTINGS_FILE, Some(trial.line)))
}

fn judge_on_photos(
    trial: &Trial,
    model: &Model,
    folder: &Path,
    project: &Project,
) -> Result<EvidenceRecord> {
    let named = project.settings.model.as_ref();
    let (name, _) = named.context("no model is named")?;
    let candidate = NamedModel::new(folder.join(name).display().to_string(), model.clone());
    let base = match &trial.base {
        Some(name) => {
            let path = folder.join(name);
            let model = artifact::load(&path)
                .with_context(|| format!("cannot load model `{}`", path.display()))?;
            Some((NamedModel::new(path.display().to_string(), model), path))
        }
        None => None,
    };
    let first = base.as_ref().map_or(&candidate, |(base, _)| base);
    let filters = trial.rows.iter().map(|text| text.parse());
    let filters: Vec<RowFilter> = filters.collect::<Result<_, _>>()?;
    let path = folder.join(&trial.photos);
    let photos = Dataset::open(
        &path,
        Labels::Required(&first.model.manifest.labels),
        &filters,
    )
    .with_context(|| format!("cannot use the photos of `{}`", path.display()))?;
    let options = TrialOptions {
        engine: engine::Options {
            threads: CpuBudget::detect().threads(),
            ..engine::Options::default()
        },
        criteria: Criteria {
            margin: trial.margin_points / 100.0,
            ..Criteria::default()
        },
        heat_maps: 0,
        ..TrialOptions::default()
    };
    let source = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((base, base_path)) = base else {
        let found = judge(candidate, photos, &options, &mut |_| {})?;
        return Ok(found.evidence(&source, None));
    };
    let found = compare_models(base, candidate, photos, &options, &mut |_| {})?;
    let base_sha256 = sha256_of_file(&base_path, &mut |_, _| {})
        .with_context(|| format!("cannot read `{}`", base_path.display()))?;
    Ok(found.evidence(&source, Some(base_sha256)))
}

/// Whether pixels go in as they are because nobody said otherwise.
fn has_raw_pixels(model: &Model) -> bool {
    let mut options = model.manifest.provenance.options.iter();
    if options.any(|option| option.starts_with("--preprocess ")) {
        return false;
    }
    model.manifest.inputs.iter().any(|input| match &input.kind {
        InputKind::Image { preprocessing } => preprocessing.preset.as_deref() == Some("raw"),
        InputKind::Vector { .. } => false,
    })
}

/// Golden answers and the estimate of the model that dermal.yaml names.
pub(super) fn judge_model(args: &CheckArgs, folder: &Path, project: &mut Project) -> Result<()> {
    let Some((name, _)) = project.settings.model.clone() else {
        return Ok(());
    };
    if !matches!(project.models.get(&name), Some(ModelReport::Loaded { .. })) {
        return Ok(());
    }
    let path = folder.join(&name);
    let model =
        artifact::load(&path).with_context(|| format!("cannot load model `{}`", path.display()))?;
    for golden in &project.settings.golden {
        // A link is no file of the project, and could lead out of it.
        let got = if project.files.contains_key(&golden.image) {
            let photo = folder.join(&golden.image);
            answer(&model, &photo, &golden.class).map_err(|error| format!("{error:#}"))
        } else {
            Err("it is no file of this project".to_owned())
        };
        project.golden.push(GoldenResult {
            image: golden.image.clone(),
            expected: golden.class.clone(),
            got,
            at_least: golden.at_least,
        });
    }
    if let Some(trial) = &project.settings.trial {
        project.measured = Some(measure(trial, &model, folder, project)?);
    }
    let Some((platform, _)) = &project.platform else {
        return Ok(());
    };
    let question = Question {
        model: Some(&path),
        platform,
        concurrency: project.settings.concurrency,
        gradcam: project.settings.gradcam,
        max_pixels: project.settings.max_pixels,
    };
    let answer = estimate::answer(&question)?;
    let demand = answer.demand;
    let proven = if args.prove {
        Some(answer.prove(&question)?)
    } else {
        None
    };
    project.resources = Some(Resources {
        verdict: Verdict::of(&demand, platform.ram_bytes()),
        peak_bytes: demand.all_bytes,
        must_fit_bytes: demand.least_bytes(),
        latency_ms: answer.latency_ms,
        cold_start_ms: answer.cold_start_ms,
        disk_bytes: answer.disk_bytes,
        drain_ms: proven.as_ref().and_then(|proven| proven.drain_ms),
        health_ms: proven.as_ref().and_then(|proven| proven.health_ms),
        proved: proven.map(|proven| proven.survived),
    });
    Ok(())
}

/// The likeliest class of a photo, and the probability of `class`.
fn answer(model: &Model, photo: &Path, class: &str) -> Result<(String, f64)> {
    let labels = &model.manifest.labels;
    let index = labels.iter().position(|label| label == class);
    let index = index.with_context(|| format!("the model has no class `{class}`"))?;
    let choice = EngineChoice {
        threads: 1,
        isa: Isa::detect(),
    };
    let extra = resolve_inputs(model, &[])?;
    let engine = choice.engine(&model.graph, Vec::new())?;
    let mut predictor = Predictor::new(model, engine)?;
    let (_, prediction) = predictor.predict_file(photo, &Limits::default(), &extra)?;
    let probability = f64::from(prediction.probabilities[index]);
    Ok((labels[prediction.top1()].clone(), probability))
}
