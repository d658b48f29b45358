//! A project as facts, and every rule held to it.
//!
//! In: the texts and sizes of a project's files, what its models are like, what an estimate said.
//! Out: findings. Nothing is read here.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::platforms::Platform;
use super::rules::{self, Finding, Findings};
use super::secrets::{self, Variable};
use super::settings::Settings;
use super::start::{self, Flag, Serve, Start};
use super::verdict::Verdict;
use super::{docker, hosts, render};
use crate::text as suggest;
use crate::units;

/// A file of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Its size.
    pub bytes: u64,
    /// Its text, where it is one that is looked at.
    pub text: Option<String>,
    /// Whether it is a git-LFS pointer.
    pub lfs_pointer: bool,
}

/// What a model file is like.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelReport {
    /// It loads.
    Loaded {
        /// SHA-256 of the file, in hexadecimal.
        sha256: String,
        /// Class names.
        labels: Vec<String>,
        /// Whether pixels go in as 0..255 because nobody said otherwise.
        raw_pixels: bool,
        /// `fp16`, `bf16`, `int8`, if it was quantized.
        quantized: Option<String>,
        /// SHA-256 of the artifact it was made from.
        base_sha256: Option<String>,
        /// What it says of its own accuracy.
        evidence: Option<Box<Evidence>>,
    },
    /// It does not.
    Invalid {
        /// Why.
        reason: String,
    },
}

impl ModelReport {
    pub(super) fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Loaded { evidence, .. } => evidence.as_deref(),
            Self::Invalid { .. } => None,
        }
    }
}

/// What a golden image was answered with.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenResult {
    /// The photo, as dermal.yaml names it.
    pub image: String,
    /// The class it should get.
    pub expected: String,
    /// The class it got, or why there is none.
    pub got: Result<(String, f64), String>,
    /// Least probability of the expected class.
    pub at_least: Option<f64>,
}

/// What an estimate (or a proof) says about the platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Does it fit.
    pub verdict: Verdict,
    /// Bytes at the worst moment, everything included.
    pub peak_bytes: u64,
    /// The part that must fit.
    pub must_fit_bytes: u64,
    /// One request at the platform's CPU share.
    pub latency_ms: f64,
    /// From start to first answer there.
    pub cold_start_ms: f64,
    /// Program and model.
    pub disk_bytes: u64,
    /// From SIGTERM to the end of the server with as many photos inside as may come at once, where a
    /// proof came to it.
    pub drain_ms: Option<f64>,
    /// Slowest answer of the health check while they are computed, where a proof measured it.
    pub health_ms: Option<f64>,
    /// Whether a proof was made and survived.
    pub proved: Option<bool>,
}

/// A project.
#[derive(Clone, Debug, Default)]
pub struct Project {
    /// Its files by path, `/` between folders.
    pub files: BTreeMap<String, FileFacts>,
    /// dermal.yaml.
    pub settings: Settings,
    /// Whether there is a dermal.yaml.
    pub has_settings: bool,
    /// Models by path.
    pub models: BTreeMap<String, ModelReport>,
    /// Options of `dermal serve`.
    pub flags: Vec<Flag>,
    /// The platform that is asked for, and whether its profile is old.
    pub platform: Option<(Platform, bool)>,
    /// Golden answers.
    pub golden: Vec<GoldenResult>,
    /// Accuracy on the photos that dermal.yaml names, measured now.
    pub measured: Option<Evidence>,
    /// What an estimate says; `None` without platform or model.
    pub resources: Option<Resources>,
}

/// Where dermal.yaml is.
pub const SETTINGS_FILE: &str = "dermal.yaml";

/// Seconds that ending is given at least: a slow client takes its answer that long.
const LEAST_DRAIN_SECONDS: f64 = 2.0;

/// Seconds between SIGTERM and SIGKILL that `dermal serve` gives itself, unless told otherwise.
const OWN_GRACE_SECONDS: f64 = 25.0;

/// From SIGTERM to the end of the server, at worst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) seconds: f64,
    photos: u64,
    measured: bool,
}

impl Drain {
    /// Why so many seconds are too few; `None` if they are not.
    pub(super) fn against(&self, given: f64) -> Option<String> {
        let how = if self.measured {
            "measured"
        } else {
            "estimated"
        };
        (given < self.seconds).then(|| {
            let Self {
                seconds, photos, ..
            } = self;
            format!("{given} s, but {photos} photos may take {seconds:.1} s to finish ({how})")
        })
    }
}

/// What host files say that is compared with one another.
#[derive(Debug, Default)]
pub(super) struct HostFacts {
    pub(super) starts: Vec<Start>,
    pub(super) variables: Vec<Variable>,
    /// Sources of COPY in the deployed stage.
    pub(super) shipped: Vec<Shipped>,
    /// Files of the image that are copied under another name, and their sources.
    pub(super) renamed: Vec<(String, String)>,
    /// Whether a host runs the repository itself, without a container.
    pub(super) native: bool,
    /// A platform's name, by the plan that is ordered.
    pub(super) plan: Option<(String, String, usize)>,
    /// Seconds between SIGTERM and SIGKILL.
    pub(super) grace: Option<(f64, String, usize)>,
    pub(super) fly: bool,
    /// Whether there is a file of Railway's, which has a rule of its own.
    pub(super) railway: bool,
    pub(super) fly_port: Option<(f64, usize)>,
    pub(super) fly_grace: Option<(f64, usize)>,
    /// Memory of the machine that is ordered.
    pub(super) machine: Option<(u64, String, usize)>,
}

/// A source that is copied into the image.
#[derive(Debug)]
pub(super) struct Shipped {
    pub(super) source: String,
}

impl Project {
    /// The text of a file.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    /// Whether .dockerignore leaves a path out. The last pattern that matches decides.
    pub(super) fn is_ignored(&self, path: &str) -> bool {
        let text = self.text(".dockerignore").unwrap_or_default();
        let mut ignored = false;
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (pattern, out) = match line.strip_prefix('!') {
                Some(pattern) => (pattern, false),
                None => (line, true),
            };
            let pattern = pattern.trim_matches('/');
            let mut above = Some(path);
            while let Some(part) = above {
                if docker::matches_pattern(pattern, part) {
                    ignored = out;
                    break;
                }
                above = part.rfind('/').map(|at| &part[..at]);
            }
        }
        ignored
    }

    /// Whether a file is deployed: in the image, where there is one, or in the repository that a
    /// host runs.
    pub(super) fn is_shipped(&self, path: &str, facts: &HostFacts) -> bool {
        let container = self.files.keys().any(|file| is_dockerfile(file));
        if facts.native || !container {
            return true;
        }
        let path = self.named_like(path, facts).unwrap_or(path);
        !self.is_ignored(path)
            && facts
                .shipped
                .iter()
                .any(|shipped| docker::covers(&shipped.source, path))
    }

    /// The project's file that a path of another place (`/app/model.safetensors`) means.
    pub(super) fn named_like(&self, path: &str, facts: &HostFacts) -> Option<&str> {
        let last = |path: &str| path.rsplit('/').next().map(str::to_owned);
        let mut renamed = facts.renamed.iter();
        if let Some((_, source)) = renamed.find(|(to, _)| last(to) == last(path))
            && let Some((own, _)) = self.files.get_key_value(source)
        {
            return Some(own);
        }
        if let Some((own, _)) = self.files.get_key_value(path.trim_start_matches("./")) {
            return Some(own);
        }
        let name = path.rsplit('/').next()?;
        let mut found = self
            .files
            .keys()
            .filter(|own| own.rsplit('/').next() == Some(name));
        match (found.next(), found.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// How long the server may take to end.
    pub(super) fn drain(&self) -> Drain {
        let photos = self.settings.concurrency;
        let resources = self.resources.as_ref();
        let measured = resources.and_then(|r| r.drain_ms);
        let estimated = || resources.map_or(0.0, |r| r.latency_ms * photos as f64);
        Drain {
            seconds: (measured.unwrap_or_else(estimated) / 1e3).max(LEAST_DRAIN_SECONDS),
            photos,
            measured: measured.is_some(),
        }
    }

    /// Every finding, worst first. Rules that dermal.yaml allows are left out.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut out = Findings::default();
        let mut facts = HostFacts::default();
        render::check(self, &mut facts, &mut out);
        hosts::procfile(self, &mut facts, &mut out);
        hosts::fly(self, &mut facts, &mut out);
        hosts::railway(self, &mut facts, &mut out);
        let dockerfiles: Vec<&String> = self.files.keys().filter(|f| is_dockerfile(f)).collect();
        for file in dockerfiles {
            docker::check(self, file, &mut facts, &mut out);
        }
        let served = self.starts(&facts, &mut out);
        self.environment(&facts, &served, &mut out);
        self.machine(&facts, &served, &mut out);
        self.shutdown(&facts, &served, &mut out);
        self.models(&facts, &served, &mut out);
        self.shipped(&facts, &mut out);
        self.accuracy(&mut out);
        self.resources(&mut out);
        let allowed = |finding: &Finding| {
            let allow = &self.settings.allow;
            allow.iter().any(|id| id == finding.rule.id)
        };
        let mut findings = out.sorted();
        findings.retain(|finding| !allowed(finding));
        findings
    }

    fn starts<'a>(&self, facts: &'a HostFacts, out: &mut Findings) -> Vec<(&'a Start, Serve)> {
        let mut served: Vec<(&Start, Serve)> = Vec::new();
        for start in &facts.starts {
            let gradcam = self.settings.gradcam;
            let Some(serve) = start::check(start, &self.flags, gradcam, out) else {
                continue;
            };
            if let Some((first, other)) = served.first() {
                let name = |serve: &Serve| {
                    let model = serve.model.as_deref().unwrap_or("the demo");
                    let model = self.named_like(model, facts).unwrap_or(model);
                    model.rsplit('/').next().unwrap_or_default().to_owned()
                };
                if name(other) != name(&serve) {
                    out.add(
                        &rules::FILES_DISAGREE,
                        &start.file,
                        start.line,
                        format!(
                            "it serves `{}`, {} serves `{}`",
                            suggest::shorten(&name(&serve)),
                            first.file,
                            suggest::shorten(&name(other))
                        ),
                    );
                }
            }
            served.push((start, serve));
        }
        served
    }

    fn environment(&self, facts: &HostFacts, served: &[(&Start, Serve)], out: &mut Findings) {
        for variable in &facts.variables {
            secrets::check_variable(variable, out);
            let (file, line) = (variable.file.as_str(), variable.line);
            let value = variable.value.trim().to_ascii_lowercase();
            let off = matches!(value.as_str(), "0" | "false" | "off" | "no");
            let on = matches!(value.as_str(), "1" | "true" | "on" | "yes");
            let told = |option: &str| served.iter().any(|(_, serve)| serve.has(option));
            let against = match variable.name.as_str() {
                "PRELOAD_MODEL" | "DERMAL_PRELOAD" if off && told("--preload") => "--preload",
                "PRELOAD_MODEL" | "DERMAL_PRELOAD" if on && told("--lazy") => "--lazy",
                "ENABLE_GRADCAM" | "DERMAL_GRADCAM" if on && told("--no-gradcam") => "--no-gradcam",
                _ => "",
            };
            if !against.is_empty() {
                out.add(
                    &rules::START_CONTRADICTION,
                    file,
                    line,
                    format!(
                        "`{}={value}`, but the server is started with `{against}`",
                        variable.name
                    ),
                );
            }
            if matches!(variable.name.as_str(), "ENABLE_GRADCAM" | "DERMAL_GRADCAM")
                && off
                && self.settings.gradcam
            {
                out.add(
                    &rules::START_GRADCAM_OFF,
                    file,
                    line,
                    format!("`{}={value}`", variable.name),
                );
            }
            if variable.name == "DERMAL_BUDGET" {
                self.budget(&variable.value, file, line, facts, out);
            }
        }
        for (start, serve) in served {
            if let Some(budget) = serve.value("--budget") {
                self.budget(budget, &start.file, start.line, facts, out);
            }
            if let Some(key) = serve.value("--api-key")
                && !key.starts_with('$')
            {
                out.add(
                    &rules::SECRET,
                    &start.file,
                    start.line,
                    "`--api-key` with its value",
                );
            }
        }
        for (file, text) in self
            .files
            .iter()
            .filter_map(|(f, t)| Some((f, t.text.as_ref()?)))
        {
            secrets::check_text(file, text, out);
        }
    }

    /// A budget that the server is given, against the machine's memory.
    fn budget(&self, text: &str, file: &str, line: usize, facts: &HostFacts, out: &mut Findings) {
        let Some(budget) = units::parse_bytes(text) else {
            if !text.starts_with('$') {
                let shown = suggest::shorten(text);
                out.add(
                    &rules::START_UNKNOWN_FLAG,
                    file,
                    line,
                    format!("the budget `{shown}` is no size such as `512MB`"),
                );
            }
            return;
        };
        let platform = self
            .platform
            .as_ref()
            .map(|(platform, _)| platform.ram_bytes());
        let machine = facts
            .machine
            .as_ref()
            .map(|(bytes, ..)| *bytes)
            .or(platform);
        if let Some(machine) = machine.filter(|machine| budget > *machine) {
            out.add(
                &rules::MEMORY_BUDGET,
                file,
                line,
                format!(
                    "a budget of {} MB on a machine of {} MB",
                    budget / 1_000_000,
                    machine / 1_000_000
                ),
            );
        }
    }

    /// What is ordered, against what is checked.
    fn machine(&self, facts: &HostFacts, served: &[(&Start, Serve)], out: &mut Findings) {
        let wanted = self.settings.platform.as_deref();
        if let (Some(wanted), Some((plan, file, line))) = (wanted, &facts.plan)
            && wanted.starts_with("render-")
            && wanted != plan
        {
            out.add(
                &rules::PLATFORM_DIFFERS,
                file,
                *line,
                format!("{SETTINGS_FILE} checks for {wanted}, this orders {plan}"),
            );
        }
        if let (Some((bytes, file, line)), Some(resources)) = (&facts.machine, &self.resources)
            && resources.must_fit_bytes > *bytes
        {
            out.add(
                &rules::FLY_MEMORY,
                file,
                *line,
                format!(
                    "{} MB, but {} MB must fit",
                    bytes / 1_000_000,
                    resources.must_fit_bytes / 1_000_000
                ),
            );
        }
        if let Some((port, line)) = facts.fly_port {
            let bound = served.iter().find_map(|(start, serve)| {
                let port = serve.port()?;
                let fly = matches!(start.file.as_str(), "fly.toml") || is_dockerfile(&start.file);
                fly.then(|| port.parse::<f64>().ok())?
            });
            let variable = facts.variables.iter().find(|v| v.name == "PORT");
            let bound = bound.or(variable.and_then(|v| v.value.parse().ok()));
            if let Some(bound) = bound.filter(|bound| *bound != port) {
                out.add(
                    &rules::FLY_PORT,
                    "fly.toml",
                    line,
                    format!("`internal_port = {port}`, but the server binds {bound}"),
                );
            }
        }
    }

    /// Time to end, against the time that is given.
    fn shutdown(&self, facts: &HostFacts, served: &[(&Start, Serve)], out: &mut Findings) {
        let drain = self.drain();
        if let Some((seconds, file, line)) = &facts.grace
            && let Some(what) = drain.against(*seconds)
        {
            out.add(&rules::RENDER_SHUTDOWN, file, *line, what);
        }
        if let Some((seconds, line)) = facts.fly_grace.filter(|_| facts.fly)
            && let Some(what) = drain.against(seconds)
        {
            out.add(&rules::FLY_SHUTDOWN, "fly.toml", line, what);
        }
        // Where no file says it, the platform does.
        let said = facts.grace.is_some() || facts.fly || facts.railway;
        let platform = self.platform.as_ref().and_then(|(p, _)| p.grace_s);
        if let Some(what) = platform
            .filter(|_| !said)
            .and_then(|s| drain.against(s.value))
        {
            let line = self.settings.platform_line;
            out.add(&rules::SHUTDOWN_PLATFORM, SETTINGS_FILE, line, what);
        }
        // And the server's own patience.
        let variable = facts.variables.iter().find(|v| v.name == "DERMAL_GRACE");
        for (start, serve) in served {
            let (text, file, line) = match (serve.value("--grace"), variable) {
                (Some(text), _) => (Some(text), &start.file, start.line),
                (None, Some(variable)) => {
                    (Some(variable.value.as_str()), &variable.file, variable.line)
                }
                (None, None) => (None, &start.file, start.line),
            };
            let seconds = text.map_or(Some(OWN_GRACE_SECONDS), |text| text.parse().ok());
            if let Some(what) = seconds.and_then(|seconds| drain.against(seconds)) {
                out.add(&rules::SHUTDOWN_GRACE, file, line, what);
            }
        }
    }

    fn models(&self, facts: &HostFacts, served: &[(&Start, Serve)], out: &mut Findings) {
        let settings = &self.settings;
        for (start, serve) in served {
            let Some(model) = &serve.model else { continue };
            let own = self.named_like(model, facts);
            if own.is_none() && !model.contains('$') {
                out.add(
                    &rules::MODEL_MISSING,
                    &start.file,
                    start.line,
                    format!("there is no `{}`", suggest::shorten(model)),
                );
            }
            if let (Some(wanted), Some(own)) = (&settings.model, own)
                && wanted.0 != own
            {
                out.add(
                    &rules::MODEL_NOT_SERVED,
                    &start.file,
                    start.line,
                    format!("`{own}` is served, {SETTINGS_FILE} checks `{}`", wanted.0),
                );
            }
            if let Some(own) = own {
                self.better_file(own, start, out);
            }
        }
        if let Some((model, line)) = &settings.model {
            if !self.files.contains_key(model) {
                out.add(
                    &rules::MODEL_MISSING,
                    SETTINGS_FILE,
                    *line,
                    format!("there is no `{}`", suggest::shorten(model)),
                );
            }
            self.pinned(model, out);
        }
        for (path, report) in &self.models {
            let used = served
                .iter()
                .filter_map(|(_, serve)| serve.model.as_deref())
                .filter_map(|model| self.named_like(model, facts))
                .chain(settings.model.as_ref().map(|(model, _)| model.as_str()))
                .any(|model| model == path);
            if used {
                self.artifact(path, report, out);
            }
        }
        for golden in &self.golden {
            let what = match &golden.got {
                Err(reason) => format!("`{}`: {reason}", golden.image),
                Ok((class, _)) if *class != golden.expected => {
                    format!(
                        "`{}` is `{class}`, expected `{}`",
                        golden.image, golden.expected
                    )
                }
                Ok((_, probability)) => match golden.at_least {
                    Some(least) if *probability < least => format!(
                        "`{}`: `{}` has {probability:.3}, expected {least} or more",
                        golden.image, golden.expected
                    ),
                    _ => continue,
                },
            };
            out.add(
                &rules::MODEL_GOLDEN,
                SETTINGS_FILE,
                settings.golden_line,
                what,
            );
        }
    }

    /// Whether a quantized file of the same model lies beside the one that is served.
    fn better_file(&self, served: &str, start: &Start, out: &mut Findings) {
        let Some(ModelReport::Loaded {
            sha256,
            quantized: None,
            ..
        }) = self.models.get(served)
        else {
            return;
        };
        for (path, report) in &self.models {
            if let ModelReport::Loaded {
                quantized: Some(to),
                base_sha256: Some(base),
                ..
            } = report
                && base == sha256
            {
                out.add(
                    &rules::MODEL_QUANTIZED_UNUSED,
                    &start.file,
                    start.line,
                    format!("`{path}` ({to}) was made of `{served}`, which is served"),
                );
            }
        }
    }

    fn pinned(&self, model: &str, out: &mut Findings) {
        let Some(ModelReport::Loaded { sha256, labels, .. }) = self.models.get(model) else {
            return;
        };
        match &self.settings.sha256 {
            None => out.add(
                &rules::MODEL_UNPINNED,
                SETTINGS_FILE,
                None,
                format!("`sha256: {sha256}` is not there"),
            ),
            Some((pinned, line)) if !pinned.eq_ignore_ascii_case(sha256) => out.add(
                &rules::MODEL_HASH,
                SETTINGS_FILE,
                *line,
                format!("`{model}` has {sha256}"),
            ),
            Some(_) => {}
        }
        if let Some((wanted, line)) = &self.settings.labels
            && wanted != labels
        {
            out.add(
                &rules::MODEL_LABELS,
                SETTINGS_FILE,
                *line,
                format!("the artifact has {}", suggest::shorten(&labels.join(", "))),
            );
        }
    }

    fn artifact(&self, path: &str, report: &ModelReport, out: &mut Findings) {
        if self.files.get(path).is_some_and(|file| file.lfs_pointer) {
            out.add(
                &rules::MODEL_LFS_POINTER,
                path,
                None,
                "it is a git-LFS pointer",
            );
            return;
        }
        match report {
            ModelReport::Invalid { reason } => {
                out.add(&rules::MODEL_INVALID, path, None, reason.clone());
            }
            ModelReport::Loaded {
                labels,
                raw_pixels,
                quantized,
                ..
            } => {
                let placeholder = |(i, label): (usize, &String)| *label == format!("class_{i}");
                if !labels.is_empty() && labels.iter().enumerate().all(placeholder) {
                    out.add(
                        &rules::MODEL_LABELS_PLACEHOLDER,
                        path,
                        None,
                        format!("its classes are {}", suggest::shorten(&labels.join(", "))),
                    );
                }
                if *raw_pixels {
                    out.add(
                        &rules::MODEL_PREPROCESSING,
                        path,
                        None,
                        "its preprocessing is `raw`",
                    );
                }
                if quantized.is_some() && self.has_settings && !self.is_compared(path, report) {
                    out.add(
                        &rules::ACCURACY_NO_EVIDENCE,
                        path,
                        None,
                        "it is quantized, and nothing compares it with what it was made from",
                    );
                }
            }
        }
    }

    /// Whether something says how a model does beside the one that it replaces.
    fn is_compared(&self, path: &str, report: &ModelReport) -> bool {
        let settings = &self.settings;
        let own = report.evidence();
        let named = settings
            .model
            .as_ref()
            .is_some_and(|(model, _)| model == path);
        let measured = self.measured.as_ref().filter(|_| named);
        settings.evidence.is_some()
            || [own, measured]
                .into_iter()
                .flatten()
                .any(|e| e.comparison.is_some())
    }

    /// Files that have no business on a server.
    fn shipped(&self, facts: &HostFacts, out: &mut Findings) {
        for (path, file) in &self.files {
            let name = path.rsplit('/').next().unwrap_or(path);
            let extension = name
                .rsplit_once('.')
                .map_or("", |(_, e)| e)
                .to_ascii_lowercase();
            let rule = match extension.as_str() {
                "pkl" | "pickle" | "joblib" | "pt" | "pth" | "ckpt" => &rules::MODEL_PICKLE,
                "h5" | "hdf5" | "keras" | "tflite" => &rules::MODEL_TRAINING_FILE,
                _ if name == ".env"
                    || (name.starts_with(".env.")
                        && !matches!(extension.as_str(), "example" | "sample" | "template")) =>
                {
                    &rules::ENV_FILE
                }
                _ => continue,
            };
            if self.is_shipped(path, facts) {
                let size = units::Bytes(file.bytes);
                out.add(rule, path, None, format!("{size} would be deployed"));
            }
        }
    }
}

fn is_dockerfile(path: &str) -> bool {
    path == "Dockerfile" || path == "Containerfile" || path.ends_with("/Dockerfile")
}
