//! A project as facts, and every rule about it.
//!
//! In: the texts and sizes of a project's files, the facts about its models, the result of an
//! estimate. Out: findings. Nothing is read here.

use std::collections::BTreeMap;

use super::evidence::Evidence;
use super::hosts::{self, Hosts};
use super::image::files::{Origin, base_name};
use super::judge::{self, Served};
use super::launch::serve::Flag;
use super::platforms::Platform;
use super::rules::{self, Finding, Findings};
use super::secrets;
use super::settings::Settings;
use super::verdict::Verdict;
use crate::text as suggest;
use crate::units;

/// A file of the project.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FileFacts {
    /// Its size.
    pub bytes: u64,
    /// Its text, if the check reads it.
    pub text: Option<String>,
    /// Whether it is a git-LFS pointer.
    pub lfs_pointer: bool,
}

/// The facts about a model file.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelReport {
    /// It loads.
    Loaded {
        /// SHA-256 of the file, in hexadecimal.
        sha256: String,
        /// Class names.
        labels: Vec<String>,
        /// Whether pixels go in as 0..255 because nobody chose another preprocessing.
        raw_pixels: bool,
        /// What its import warned about: the warning's kind, and its sentence.
        warnings: Vec<(String, String)>,
        /// `fp16`, `bf16`, `int8`, if it was quantized.
        quantized: Option<String>,
        /// SHA-256 of the artifact it was made from.
        base_sha256: Option<String>,
        /// Its own record of its accuracy.
        evidence: Option<Box<Evidence>>,
    },
    /// It does not load.
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

/// The answer to a golden image.
#[derive(Clone, Debug, PartialEq)]
pub struct GoldenResult {
    /// The photo, as dermal.yaml names it.
    pub image: String,
    /// The expected class.
    pub expected: String,
    /// The model's class, or why there is none.
    pub got: Result<(String, f64), String>,
    /// Least probability of the expected class.
    pub at_least: Option<f64>,
}

/// The result of an estimate (or a proof) for the platform.
#[derive(Clone, Debug, PartialEq)]
pub struct Resources {
    /// Whether it fits.
    pub verdict: Verdict,
    /// Bytes at the worst moment, everything included.
    pub peak_bytes: u64,
    /// The part that must fit.
    pub must_fit_bytes: u64,
    /// The time of one request at the platform's CPU share.
    pub latency_ms: f64,
    /// The time from the start to the first answer there.
    pub cold_start_ms: f64,
    /// The size of program and model.
    pub disk_bytes: u64,
    /// The time from SIGTERM to the end of the server, with as many photos in work as may come at
    /// once. Only a proof measures it.
    pub drain_ms: Option<f64>,
    /// The slowest answer of the health check while these photos are computed. Only a proof
    /// measures it.
    pub health_ms: Option<f64>,
    /// Whether a proof was made and the server survived it.
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
    /// The chosen platform, and whether its profile is old.
    pub platform: Option<(Platform, bool)>,
    /// Golden answers.
    pub golden: Vec<GoldenResult>,
    /// Accuracy on the photos that dermal.yaml names, measured now.
    pub measured: Option<Evidence>,
    /// The result of an estimate; `None` without platform or model.
    pub resources: Option<Resources>,
}

/// The path of dermal.yaml.
pub const SETTINGS_FILE: &str = "dermal.yaml";

/// Least number of seconds for ending: a slow client may take that long for its answer.
const LEAST_DRAIN_SECONDS: f64 = 2.0;

/// Memory of a Fly machine if nothing orders more, in bytes.
const FLY_DEFAULT_BYTES: u64 = 256_000_000;

/// Seconds that `dermal serve` takes at most after SIGTERM, unless set otherwise.
const OWN_GRACE_SECONDS: f64 = 25.0;

/// The time from SIGTERM to the end of the server, at worst.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    pub(super) seconds: f64,
    photos: u64,
    measured: bool,
}

impl Drain {
    /// Why this number of seconds is too small; `None` if it is not.
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

impl Project {
    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path)?.text.as_deref()
    }

    /// Whether a file is deployed: in an image, if there is one, or in the repository that a host
    /// runs.
    pub(super) fn is_shipped(&self, path: &str, hosts: &Hosts) -> bool {
        let container = self.files.keys().any(|file| hosts::is_dockerfile(file));
        if hosts.native || !container {
            return true;
        }
        let images = hosts
            .deployments
            .iter()
            .filter_map(|deployment| deployment.image.as_ref());
        images
            .flat_map(|image| image.machine.tree.files())
            .any(|(_, origin)| matches!(origin, Origin::Project(own) if own == path))
    }

    /// The project's file for a path elsewhere (`/app/model.safetensors`), if only one file has its
    /// name.
    pub(super) fn named_like(&self, path: &str) -> Option<&str> {
        let name = base_name(path);
        let mut found = self.files.keys().filter(|own| base_name(own) == name);
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

    /// Every finding, worst first, without the rules that dermal.yaml allows.
    #[must_use]
    pub fn check(&self) -> Vec<Finding> {
        let mut out = Findings::default();
        let hosts = hosts::read(self, &mut out);
        let served = judge::check(self, &hosts, &mut out);
        self.texts(&hosts, &mut out);
        self.budgets(&hosts, &served, &mut out);
        self.machine(&hosts, &mut out);
        self.shutdown(&hosts, &served, &mut out);
        self.models(&served, &mut out);
        self.shipped(&hosts, &mut out);
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

    /// Secrets and debug flags, in variables and in texts.
    fn texts(&self, hosts: &Hosts, out: &mut Findings) {
        for variable in &hosts.variables {
            secrets::check_variable(variable, out);
        }
        for (file, facts) in &self.files {
            if let Some(text) = &facts.text {
                secrets::check_text(file, text, out);
            }
        }
    }

    /// The budgets of servers.
    fn budgets(&self, hosts: &Hosts, served: &[Served], out: &mut Findings) {
        for served in served {
            if let Some(word) = served.serve.value("--budget") {
                if !word.runtime {
                    self.budget(
                        &word.text,
                        &served.place.file,
                        served.place.line,
                        hosts,
                        out,
                    );
                }
            } else if let Some((text, place)) = served.launch.machine.env.known("DERMAL_BUDGET") {
                self.budget(text, &place.file, place.line, hosts, out);
            }
        }
    }

    /// Compares a budget with the machine's memory.
    fn budget(&self, text: &str, file: &str, line: usize, hosts: &Hosts, out: &mut Findings) {
        let Some(budget) = units::parse_bytes(text) else {
            let shown = suggest::shorten(text);
            let what = format!("the budget `{shown}` is not a size such as `512MB`");
            return out.add(&rules::START_UNKNOWN_FLAG, file, line, what);
        };
        let platform = self
            .platform
            .as_ref()
            .map(|(platform, _)| platform.ram_bytes());
        let machine = hosts.machines.first().map(|(bytes, _)| *bytes).or(platform);
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

    /// Compares the ordered plan with the one that is checked.
    fn machine(&self, hosts: &Hosts, out: &mut Findings) {
        let wanted = self.settings.platform.as_deref().unwrap_or_default();
        if let Some((plan, place)) = hosts.plans.first()
            && wanted.starts_with("render-")
            && hosts.plans.iter().all(|(plan, _)| plan != wanted)
        {
            let what = format!("{SETTINGS_FILE} checks for {wanted}, this orders {plan}");
            out.add(&rules::PLATFORM_DIFFERS, &place.file, place.line, what);
        }
        let platform = self
            .platform
            .as_ref()
            .map(|(platform, _)| platform.ram_bytes());
        for (bytes, place) in &hosts.machines {
            let fly = place.file == "fly.toml";
            let mb = bytes / 1_000_000;
            if let Some(checked) = platform.filter(|_| fly && wanted.starts_with("fly-"))
                && *bytes < checked
            {
                let what = format!("{SETTINGS_FILE} checks for {wanted}, this orders {mb} MB");
                out.add(&rules::PLATFORM_DIFFERS, &place.file, place.line, what);
            }
            if let Some(resources) = &self.resources
                && resources.must_fit_bytes > *bytes
            {
                let rule = if fly {
                    &rules::FLY_MEMORY
                } else {
                    &rules::COMPOSE_MEMORY
                };
                let what = format!(
                    "{mb} MB, but {} MB must fit",
                    resources.must_fit_bytes / 1_000_000
                );
                out.add(rule, &place.file, place.line, what);
            }
        }
        if hosts.fly_default
            && platform
                .is_some_and(|checked| wanted.starts_with("fly-") && checked > FLY_DEFAULT_BYTES)
        {
            let what = format!("there is no [[vm]], and {SETTINGS_FILE} checks for {wanted}");
            out.add(&rules::FLY_MEMORY_DEFAULT, "fly.toml", None, what);
        }
    }

    /// Compares the time to end with the time that the host grants.
    fn shutdown(&self, hosts: &Hosts, served: &[Served], out: &mut Findings) {
        let drain = self.drain();
        for (seconds, place, rule) in &hosts.graces {
            if let Some(what) = drain.against(*seconds) {
                out.add(rule, &place.file, place.line, what);
            }
        }
        // If no host's file sets it, the platform does.
        let platform = self.platform.as_ref().and_then(|(p, _)| p.grace_s);
        if let Some(what) = platform
            .filter(|_| hosts.graces.is_empty())
            .and_then(|seconds| drain.against(seconds.value))
        {
            let line = self.settings.platform_line;
            out.add(&rules::SHUTDOWN_PLATFORM, SETTINGS_FILE, line, what);
        }
        // The server's own limit counts as well.
        for served in served {
            let variable = served.launch.machine.env.known("DERMAL_GRACE");
            let (text, place) = match (served.serve.value("--grace"), variable) {
                (Some(word), _) => (Some(word.text.as_str()), &served.place),
                (None, Some((text, place))) => (Some(text), place),
                (None, None) => (None, &served.place),
            };
            let seconds = text.map_or(Some(OWN_GRACE_SECONDS), |text| text.parse().ok());
            if let Some(what) = seconds.and_then(|seconds| drain.against(seconds)) {
                out.add(&rules::SHUTDOWN_GRACE, &place.file, place.line, what);
            }
        }
    }

    /// Files that do not belong on a server.
    fn shipped(&self, hosts: &Hosts, out: &mut Findings) {
        for (path, file) in &self.files {
            let name = base_name(path);
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
            if self.is_shipped(path, hosts) {
                let size = units::Bytes(file.bytes);
                out.add(rule, path, None, format!("{size} would be deployed"));
            }
        }
    }
}
