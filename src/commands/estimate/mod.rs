//! `dermal estimate`: will it fit, how fast will it be there, and what would make it fit.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Instant, SystemTime};

use anyhow::{Context, Result};
use serde::Serialize;

use self::facts::Times;
use self::prove::Proof;
use self::what_if::Row;
use super::session::EngineChoice;
use super::{Outcome, failure};
use crate::artifact::{Model, ModelSource};
use crate::cli::{EstimateArgs, InputSize, ProofPart, Switch};
use crate::kernels::Isa;
use crate::memory::estimate::{Calibration, Facts, Load, PhotoFacts, State, estimate, worst};
use crate::memory::measure::Counters;
use crate::memory::{cage, limit};
use crate::readiness::calendar::Date;
use crate::readiness::platforms::{self, Platform};
use crate::readiness::verdict::{DOES_NOT_FIT, Demand, FITS, Verdict};
use crate::report::{self, SCHEMA_VERSION};

mod advise;
mod deployment;
mod facts;
mod keeper;
mod photo;
mod prove;
mod server;
mod table;
mod what_if;

#[derive(Serialize)]
struct Report {
    schema_version: u32,
    model: String,
    disk_bytes: Disk,
    limit: Option<Limit>,
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<Platform>,
    facts: Facts,
    states: Vec<StateRecord>,
    /// Index of the state that takes most.
    peak: Peak,
    times: Times,
    latency_ms: Latency,
    what_if: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<Proof>,
}

/// What is put on the platform.
#[derive(Clone, Copy, Serialize)]
struct Disk {
    program: u64,
    model: u64,
}

/// The memory that may be used, and who says so.
#[derive(Clone, Serialize)]
struct Limit {
    bytes: u64,
    from: String,
    verdict: Verdict,
    margin_bytes: i64,
    margin_percent: f64,
    fits_up_to: f64,
    does_not_fit_from: f64,
    /// With a smaller budget the server does not start, or turns the load away.
    admission_bytes: u64,
}

#[derive(Serialize)]
struct StateRecord {
    #[serde(flatten)]
    state: State,
    resident_bytes: u64,
    anonymous_bytes: u64,
    charged_bytes: u64,
}

#[derive(Serialize)]
struct Peak {
    moment: &'static str,
    photos: u64,
    resident_bytes: u64,
    unreclaimable_bytes: u64,
    charged_bytes: u64,
}

/// Wall time of one request.
#[derive(Clone, Copy, Serialize)]
struct Latency {
    here: f64,
    /// At the platform's CPU share.
    there: Option<f64>,
    cpu_share: Option<f64>,
    cold_start_here: f64,
    cold_start_there: Option<f64>,
}

pub(super) fn run(args: &EstimateArgs) -> Result<Outcome> {
    if args.platform.as_deref() == Some("list") {
        return list(args.json);
    }
    let platform = args.platform.as_deref().map(platforms::find).transpose()?;
    let today = Date::of(SystemTime::now());
    if let Some(platform) = platform.as_ref().filter(|p| p.is_stale(today)) {
        warn_stale(platform);
    }
    let subject = Subject::new(args)?;
    if args.advise {
        return advise::run(args, &subject, today);
    }
    let states = estimate(&subject.facts);
    let limit = limit_of(args, platform.as_ref(), &subject.facts);
    let proof = if args.prove {
        Some(
            prove::Plan {
                model: args.model.as_deref(),
                facts: subject.facts,
                times: subject.times,
                query: deployment::query(&subject.model),
                isa: subject.choice.isa.name(),
                limit_bytes: limit.as_ref().map(|limit| limit.bytes),
                cpu_share: platform.as_ref().map(|p| p.cpu.value),
                pixels: args.max_pixels,
            }
            .run()?,
        )
    } else {
        None
    };
    let report = Report::new(args, subject, states, limit, platform, proof);
    if args.json {
        report::print_json(&report)?;
    } else {
        table::print(&report)?;
    }
    let fits = report
        .limit
        .as_ref()
        .is_none_or(|limit| limit.verdict != Verdict::DoesNotFit);
    let survived = report.proof.as_ref().is_none_or(|proof| proof.survived);
    Ok(if fits && survived {
        Outcome::Yes
    } else {
        Outcome::No
    })
}

/// What is to be estimated.
struct Asked<'a> {
    model: Option<&'a Path>,
    image_size: Option<InputSize>,
    max_pixels: u64,
    concurrency: u64,
    gradcam: bool,
}

/// What `dermal check` asks.
pub(super) struct Question<'a> {
    pub(super) model: Option<&'a Path>,
    pub(super) platform: &'a Platform,
    pub(super) concurrency: u64,
    pub(super) gradcam: bool,
    pub(super) max_pixels: u64,
}

/// What a proof found.
pub(super) struct Proven {
    pub(super) survived: bool,
    /// From SIGTERM to the end, with as many photos inside as may come at once.
    pub(super) drain_ms: Option<f64>,
    /// Slowest answer of `/health` while they were computed.
    pub(super) health_ms: Option<f64>,
}

/// What it is told.
pub(super) struct Answer {
    pub(super) demand: Demand,
    pub(super) latency_ms: f64,
    pub(super) cold_start_ms: f64,
    pub(super) disk_bytes: u64,
    subject: Subject,
}

/// The estimate of a model on a platform, whose CPUs it may use.
pub(super) fn answer(question: &Question<'_>) -> Result<Answer> {
    let choice = EngineChoice {
        threads: 1,
        isa: Isa::detect(),
    };
    let asked = Asked {
        model: question.model,
        image_size: None,
        max_pixels: question.max_pixels,
        concurrency: question.concurrency,
        gradcam: question.gradcam,
    };
    let subject = Subject::measure(&asked, choice)?;
    let latency = subject.latency(Some(question.platform));
    Ok(Answer {
        demand: deployment::demand(&subject.facts),
        latency_ms: latency.there.unwrap_or(latency.here),
        cold_start_ms: latency.cold_start_there.unwrap_or(latency.cold_start_here),
        disk_bytes: subject.disk.program + subject.disk.model,
        subject,
    })
}

impl Answer {
    /// Runs it inside the platform's limits.
    pub(super) fn prove(&self, question: &Question<'_>) -> Result<Proven> {
        let proof = prove::Plan {
            model: question.model,
            facts: self.subject.facts,
            times: self.subject.times,
            query: deployment::query(&self.subject.model),
            isa: self.subject.choice.isa.name(),
            limit_bytes: Some(question.platform.ram_bytes()),
            cpu_share: Some(question.platform.cpu.value),
            pixels: question.max_pixels,
        };
        let proof = proof.run()?;
        Ok(Proven {
            survived: proof.survived,
            drain_ms: proof.drain.map(|drain| drain.ms),
            health_ms: proof.health_ms,
        })
    }
}

/// A model and what is known about it.
struct Subject {
    model: Model,
    name: String,
    choice: EngineChoice,
    facts: Facts,
    times: Times,
    disk: Disk,
}

impl Subject {
    fn new(args: &EstimateArgs) -> Result<Self> {
        let choice = EngineChoice::new(&args.engine)?;
        let asked = Asked {
            model: args.model.as_deref(),
            image_size: args.image_size,
            max_pixels: args.max_pixels,
            concurrency: args.concurrency.into(),
            gradcam: args.gradcam == Switch::On,
        };
        Self::measure(&asked, choice)
    }

    fn measure(asked: &Asked<'_>, choice: EngineChoice) -> Result<Self> {
        let idle = Counters::of(std::process::id());
        let since = Instant::now();
        let source = ModelSource::of(asked.model);
        let (mut model, name) = (source.load()?, source.to_string());
        if let Some(size) = asked.image_size {
            model = facts::with_image_size(model, size).map_err(|error| {
                failure(
                    format!("{error:#}"),
                    "its layers fix the size; train it for a smaller one",
                )
            })?;
        }
        let file_bytes = asked.model.map_or(0, file_bytes);
        let one = EngineChoice {
            threads: 1,
            isa: choice.isa,
        };
        let mut single = one.engine(&model.graph, Vec::new())?;
        single.run();
        let loaded = Counters::of(std::process::id());
        let added = idle
            .zip(loaded)
            .map(|(idle, loaded)| loaded.anonymous_bytes.saturating_sub(idle.anonymous_bytes));
        let load_ms = since.elapsed().as_secs_f64() * 1e3;
        let model_facts = facts::of_model(&model, file_bytes, &single, added)?;
        let times = Times::measure(&model, &choice, load_ms, single)?;
        let gradcam = asked.gradcam && model_facts.feature_map_bytes > 0;
        let mut photo = PhotoFacts::of_pixels(asked.max_pixels);
        if let Some(drawing) = &times.heat_map {
            photo.set_picture_bytes_per_pixel(drawing.png_bytes_per_pixel);
        }
        let facts = Facts {
            model: model_facts,
            photo,
            load: Load {
                photos_at_once: asked.concurrency,
                threads: choice.threads as u64,
                gradcam,
                cache_bytes: deployment::CACHE_BYTES,
            },
            calibration: Calibration::with_program(
                idle.map(|counters| counters.file_bytes),
                loaded.map(|counters| counters.file_bytes.saturating_sub(file_bytes)),
            ),
        };
        let program = std::env::current_exe().map_or(0, |path| self::file_bytes(&path));
        Ok(Self {
            model,
            name,
            choice,
            facts,
            times,
            disk: Disk {
                program,
                model: file_bytes,
            },
        })
    }

    fn latency(&self, platform: Option<&Platform>) -> Latency {
        let (times, load) = (&self.times, &self.facts.load);
        let wall_ms = |share| {
            let photo = &self.facts.photo;
            times.wall_ms(photo, load.gradcam, load.threads, share)
        };
        let share = platform.map(|p| p.cpu.value);
        let added = platform
            .and_then(|p| p.added_latency_ms)
            .map_or(0.0, |ms| ms.value);
        Latency {
            here: wall_ms(None),
            there: share.map(|share| wall_ms(Some(share)) + added),
            cpu_share: share,
            cold_start_here: times.load_ms,
            cold_start_there: share.map(|share| times.load_ms / share.min(1.0)),
        }
    }
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The limit that is asked for, or that of this process's cgroup.
fn limit_of(args: &EstimateArgs, platform: Option<&Platform>, facts: &Facts) -> Option<Limit> {
    let (bytes, from) = match (args.budget, platform) {
        (Some(bytes), _) => (bytes, "--budget".to_owned()),
        (None, Some(platform)) => (platform.ram_bytes(), platform.title.clone()),
        (None, None) => (
            limit::memory_limit_bytes()?,
            "the limit of this cgroup".to_owned(),
        ),
    };
    let signed = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let demand = deployment::demand(facts);
    let margin_bytes = signed(bytes) - signed(demand.all_bytes);
    Some(Limit {
        bytes,
        from,
        verdict: Verdict::of(&demand, bytes),
        admission_bytes: demand.admission_bytes,
        margin_bytes,
        margin_percent: margin_bytes as f64 / bytes as f64 * 100.0,
        fits_up_to: FITS,
        does_not_fit_from: DOES_NOT_FIT,
    })
}

impl Report {
    fn new(
        args: &EstimateArgs,
        subject: Subject,
        states: Vec<State>,
        limit: Option<Limit>,
        platform: Option<Platform>,
        proof: Option<Proof>,
    ) -> Self {
        let most = worst(&states);
        let peak = Peak {
            moment: most.moment.name(),
            photos: most.photos,
            resident_bytes: most.resident_bytes(),
            unreclaimable_bytes: most.unreclaimable_bytes(),
            charged_bytes: most.charged_bytes(),
        };
        let what_if = what_if::rows(
            &subject.model,
            &subject.facts,
            limit.as_ref().map(|limit| limit.bytes),
        );
        let latency_ms = subject.latency(platform.as_ref());
        let name = match args.image_size {
            Some(size) => format!(
                "{} for photos of {} x {}",
                subject.name, size.height, size.width
            ),
            None => subject.name,
        };
        Self {
            schema_version: SCHEMA_VERSION,
            model: name,
            disk_bytes: subject.disk,
            limit,
            platform,
            facts: subject.facts,
            states: states
                .into_iter()
                .map(|state| StateRecord {
                    resident_bytes: state.resident_bytes(),
                    anonymous_bytes: state.anonymous_bytes(),
                    charged_bytes: state.charged_bytes(),
                    state,
                })
                .collect(),
            peak,
            times: subject.times,
            latency_ms,
            what_if,
            proof,
        }
    }
}

fn warn_stale(platform: &Platform) {
    report::warn(
        &format!("{}: check its numbers", platform.age_in_words()),
        Some("they stand on the platform's own pages; `--budget` takes any"),
    );
}

#[derive(Serialize)]
struct PlatformList {
    schema_version: u32,
    platforms: Vec<Platform>,
}

fn list(json: bool) -> Result<Outcome> {
    let all = platforms::all()?;
    if json {
        report::print_json(&PlatformList {
            schema_version: SCHEMA_VERSION,
            platforms: all,
        })?;
    } else {
        table::platforms(&all, Date::of(SystemTime::now()))?;
    }
    Ok(Outcome::Yes)
}

/// A process of a proof.
pub(super) fn run_part(part: &ProofPart) -> Result<()> {
    match part {
        ProofPart::Enter {
            parent,
            door,
            address_space,
            command,
        } => {
            cage::die_with_parent(*parent).context("cannot be bound to the proof")?;
            cage::enter(door, 0).context("cannot enter the cgroup")?;
            if let Some(bytes) = address_space {
                cage::limit_address_space(*bytes).context("cannot limit the address space")?;
            }
            let (program, rest) = command.split_first().context("no program is given")?;
            Err(Command::new(program).args(rest).exec()).context("cannot start the program")
        }
        ProofPart::Keep { groups } => {
            keeper::keep(groups);
            Ok(())
        }
    }
}
