//! Collects the facts for the rules of [`crate::readiness`]: files of a project, its models, their
//! answers, and their memory and time.
//!
//! In: a project's folder and its settings ([`Survey`]). Out: a [`Project`] with facts only;
//! [`Project::check`] applies every rule to it. Models are run, and with [`Survey::program`] a
//! server is started to prove that they fit. Nothing is written.
//!
//! ```
//! use std::path::Path;
//! use std::time::SystemTime;
//!
//! use dermal::readiness::calendar::Date;
//! use dermal::survey::{Survey, read_settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = Path::new("fixtures");
//! let survey = Survey {
//!     folder,
//!     settings: read_settings(&folder.join("dermal.yaml"))?,
//!     platform: Some("render-free"),
//!     flags: Vec::new(),
//!     today: Date::of(SystemTime::now()),
//!     program: None,
//! };
//! for finding in survey.run()?.check() {
//!     println!("{} ({}): {}", finding.file, finding.rule.id, finding.what);
//! }
//! # Ok(())
//! # }
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use crate::artifact::{self, EvidenceRecord, InputKind, Model, ModelSource};
use crate::classifier::{Classifier, HeatMaps};
use crate::engine;
use crate::estimate::{Estimate, EstimateOptions};
use crate::evaluate::comparison::Criteria;
use crate::evaluate::dataset::{Dataset, Labels, RowFilter};
use crate::evaluate::trial::{NamedModel, TrialOptions, compare_models, judge};
use crate::file::sha256_of_file;
use crate::memory::budget::CpuBudget;
use crate::predict::Photo;
use crate::prove::ProofPlan;
use crate::readiness::Flag;
use crate::readiness::calendar::Date;
use crate::readiness::evidence::{Evidence, Judgement};
use crate::readiness::platforms;
use crate::readiness::project::{
    FileFacts, GoldenResult, ModelReport, Project, Resources, SETTINGS_FILE,
};
use crate::readiness::settings::{Settings, Trial};
use crate::readiness::verdict::Verdict;
use crate::text::{self, TextError};

mod error;

pub use error::SurveyError;

/// Most bytes of a text that is read; settings are shorter.
const MAX_TEXT_BYTES: u64 = 256 * 1024;

/// Most files of a project. More files mean a build folder that should not be here.
const MAX_FILES: usize = 20_000;

/// Folders that are not deployed, or do not belong to the project.
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

/// What to look at, and how.
pub struct Survey<'a> {
    /// The project's folder.
    pub folder: &'a Path,
    /// Its settings, if it has any.
    pub settings: Option<Settings>,
    /// The platform, instead of the one in the settings.
    pub platform: Option<&'a str>,
    /// Options of the `dermal serve` that will run there.
    pub flags: Vec<Flag>,
    /// Today: facts about platforms grow old.
    pub today: Date,
    /// A `dermal` program that proves the estimate; without one there is no proof.
    pub program: Option<&'a Path>,
}

/// Reads a `dermal.yaml`; `None` if there is none.
///
/// # Errors
/// [`SurveyError`] for anything but a short text file of known settings.
pub fn read_settings(path: &Path) -> Result<Option<Settings>, SurveyError> {
    if path.symlink_metadata().is_err() {
        return Ok(None);
    }
    if !path.is_file() {
        return Err(SurveyError::NotAFile {
            path: path.to_owned(),
        });
    }
    let settings = Settings::read(&small_text(path)?).map_err(|error| SurveyError::Settings {
        path: path.to_owned(),
        error,
    })?;
    Ok(Some(settings))
}

impl Survey<'_> {
    /// Collects all facts.
    ///
    /// # Errors
    /// [`SurveyError`] if something prevents a judgement. Mistakes in the project itself are not
    /// errors: [`Project::check`] finds them.
    pub fn run(self) -> Result<Project, SurveyError> {
        let has_settings = self.settings.is_some();
        let mut settings = self.settings.unwrap_or_default();
        if let Some(platform) = self.platform {
            settings.platform = Some(platform.to_owned());
            settings.platform_line = None;
            settings.own_platform = None;
        }
        let named = settings.platform.as_deref().map(platforms::find);
        let platform = named
            .transpose()?
            .or_else(|| settings.own_platform.clone())
            .map(|platform| {
                let stale = platform.is_stale(self.today);
                (platform, stale)
            });
        let mut project = Project {
            files: files(self.folder)?,
            settings,
            has_settings,
            platform,
            flags: self.flags,
            ..Project::default()
        };
        open_models(self.folder, &mut project);
        judge_model(self.folder, &mut project, self.program)?;
        Ok(project)
    }
}

/// The text of a small file.
fn small_text(path: &Path) -> Result<String, SurveyError> {
    text::read(path, MAX_TEXT_BYTES).map_err(|error| match error {
        TextError::TooLong { path, limit } => SurveyError::TooLong { path, most: limit },
        TextError::Encoding { path, .. } | TextError::NotText { path, .. } => {
            SurveyError::NotText { path }
        }
        TextError::Missing(path) => SurveyError::read(&path, ErrorKind::NotFound.into()),
        TextError::Directory(path) => SurveyError::read(&path, ErrorKind::IsADirectory.into()),
        TextError::Io { path, source } => SurveyError::read(&path, source),
    })
}

/// Every file below a folder; links are not followed.
fn files(folder: &Path) -> Result<BTreeMap<String, FileFacts>, SurveyError> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(below) = folders.pop() {
        let at = folder.join(&below);
        let unreadable = |source| SurveyError::ReadFolder {
            folder: at.clone(),
            source,
        };
        for entry in at.read_dir().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let name = entry.file_name();
            let path = below.join(&name);
            let kind = entry.file_type().map_err(unreadable)?;
            if kind.is_dir() {
                if !SKIPPED.iter().any(|skipped| name == *skipped) {
                    folders.push(path);
                }
            } else if kind.is_file() {
                let shown = path.to_string_lossy().replace('\\', "/");
                found.insert(shown, facts(&folder.join(&path))?);
            }
            if found.len() > MAX_FILES {
                return Err(SurveyError::TooManyFiles {
                    folder: folder.to_owned(),
                    most: MAX_FILES,
                });
            }
        }
    }
    Ok(found)
}

fn facts(path: &Path) -> Result<FileFacts, SurveyError> {
    let unreadable = |source| SurveyError::read(path, source);
    let bytes = fs::metadata(path).map_err(unreadable)?.len();
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_ascii_lowercase();
    let looked_at = [
        "yaml", "yml", "toml", "json", "sh", "bash", "env", "cfg", "ini",
    ]
    .iter()
    .any(|known| extension == *known)
        || name == "Procfile"
        || name.ends_with(".dockerignore")
        || name.to_ascii_lowercase().contains("dockerfile")
        || name.starts_with("Containerfile")
        || name.starts_with(".env")
        || is_script(path);
    let text = if looked_at && bytes <= MAX_TEXT_BYTES {
        // A file that is not text has no settings.
        text::read(path, MAX_TEXT_BYTES).ok()
    } else {
        None
    };
    let lfs_pointer = bytes < 1024 && {
        let mut start = [0; 24];
        let mut file = File::open(path).map_err(unreadable)?;
        file.read_exact(&mut start).is_ok() && start.starts_with(b"version https://git-lfs")
    };
    Ok(FileFacts {
        bytes,
        text,
        lfs_pointer,
    })
}

/// Whether a file begins like a script, whatever its name.
fn is_script(path: &Path) -> bool {
    let mut start = [0; 2];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut start));
    read.is_ok() && start == *b"#!"
}

/// Opens every artifact of the project.
fn open_models(folder: &Path, project: &mut Project) {
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
            warnings: (model.manifest.provenance.warnings.iter())
                .map(|warning| (warning.kind.clone(), warning.message.clone()))
                .collect(),
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

/// A record of `dermal compare` as evidence; `file` of the project contains it.
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
fn measure(
    trial: &Trial,
    model: &Model,
    folder: &Path,
    project: &Project,
) -> Result<Evidence, SurveyError> {
    let is_there = |path: &str| {
        // A link is not a file of the project, and could lead out of it.
        let below = format!("{}/", path.trim_end_matches('/'));
        let mut files = project.files.keys();
        files.any(|file| file == path || file.starts_with(&below))
    };
    let named = [Some(&trial.photos), trial.base.as_ref()];
    for path in named.into_iter().flatten() {
        if !is_there(path) {
            return Err(SurveyError::NotInProject {
                line: trial.line,
                path: path.clone(),
            });
        }
    }
    let record =
        judge_on_photos(trial, model, folder, project).map_err(|source| SurveyError::Accuracy {
            line: trial.line,
            source: Box::new(source),
        })?;
    Ok(evidence(&record, model, SETTINGS_FILE, Some(trial.line)))
}

fn judge_on_photos(
    trial: &Trial,
    model: &Model,
    folder: &Path,
    project: &Project,
) -> Result<EvidenceRecord, SurveyError> {
    let named = |path: &Path, model| NamedModel::new(path.display().to_string(), model);
    let name = project.settings.model.as_ref().map_or("", |(name, _)| name);
    let candidate = named(&folder.join(name), model.clone());
    let base = match trial.base.as_ref().map(|name| folder.join(name)) {
        Some(path) => Some((named(&path, load(&path)?), path)),
        None => None,
    };
    let first = base.as_ref().map_or(&candidate, |(base, _)| base);
    let filters = trial.rows.iter().map(|text| text.parse());
    let filters: Vec<RowFilter> = filters.collect::<Result<_, _>>()?;
    let path = folder.join(&trial.photos);
    let labels = Labels::Required(&first.model.manifest.labels);
    let photos = Dataset::open(&path, labels, &filters).map_err(|source| SurveyError::Photos {
        path: path.clone(),
        source,
    })?;
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
        .map_err(|source| SurveyError::read(&base_path, source))?;
    Ok(found.evidence(&source, Some(base_sha256)))
}

fn load(path: &Path) -> Result<Model, SurveyError> {
    Ok(ModelSource::File(path.to_owned()).load()?)
}

/// Whether pixels go in unchanged because nobody chose a recipe.
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

/// Golden answers, accuracy, and the estimate of the model that dermal.yaml names.
fn judge_model(
    folder: &Path,
    project: &mut Project,
    program: Option<&Path>,
) -> Result<(), SurveyError> {
    let Some((name, _)) = project.settings.model.clone() else {
        return Ok(());
    };
    if !matches!(project.models.get(&name), Some(ModelReport::Loaded { .. })) {
        return Ok(());
    }
    let path = folder.join(&name);
    let model = load(&path)?;
    for golden in &project.settings.golden {
        // A link is not a file of the project, and could lead out of it.
        let got = if project.files.contains_key(&golden.image) {
            answer(&model, &folder.join(&golden.image), &golden.class)
        } else {
            Err("it is not a file of this project".to_owned())
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
    let options = EstimateOptions {
        max_pixels: project.settings.max_pixels,
        photos_at_once: project.settings.concurrency,
        gradcam: project.settings.gradcam,
        ..EstimateOptions::default()
    };
    let source = ModelSource::File(path);
    let estimate = Estimate::measure(&source, &options)?;
    let proof = match program {
        None => None,
        Some(program) => {
            let plan = ProofPlan {
                estimate: &estimate,
                model: &source,
                program,
                limit_bytes: Some(platform.ram_bytes()),
                cpu_share: Some(platform.cpu.value),
                pixels: options.max_pixels,
            };
            Some(plan.run(&mut |_, _| {})?)
        }
    };
    let demand = estimate.demand();
    let latency = estimate.latency(Some(platform));
    project.resources = Some(Resources {
        verdict: Verdict::of(&demand, platform.ram_bytes()),
        peak_bytes: demand.all_bytes,
        must_fit_bytes: demand.least_bytes(),
        latency_ms: latency.there.unwrap_or(latency.here),
        cold_start_ms: latency.cold_start_there.unwrap_or(latency.cold_start_here),
        disk_bytes: estimate.disk.program + estimate.disk.model,
        drain_ms: proof.as_ref().and_then(|proof| Some(proof.drain?.ms)),
        health_ms: proof.as_ref().and_then(|proof| proof.health_ms),
        proved: proof.map(|proof| proof.survived),
    });
    Ok(())
}

/// The likeliest class of a photo, and the probability of `class`; or why there is none.
fn answer(model: &Model, photo: &Path, class: &str) -> Result<(String, f64), String> {
    let labels = &model.manifest.labels;
    let index = labels.iter().position(|label| label == class);
    let index = index.ok_or_else(|| format!("the model has no class `{class}`"))?;
    let classifier = Classifier::options().threads(1).heat_maps(HeatMaps::Off);
    let classifier = classifier.build(model.clone());
    let mut classifier = classifier.map_err(|error| chain(&error))?;
    let photo = Photo::open(photo).map_err(|error| chain(&error))?;
    let answer = classifier.predict(&photo).map_err(|error| chain(&error))?;
    let probability = f64::from(answer.prediction().probabilities[index]);
    Ok((answer.label().to_owned(), probability))
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
