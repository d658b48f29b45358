//! Runs the real server inside a platform's limits, and compares the kernel's counters with an
//! estimate.
//!
//! `dermal serve` runs in a cgroup with the platform's memory and CPU share, and gets photos of
//! real sizes over HTTP: one at a time, and several at once. If no cgroup can be made, it runs
//! under `RLIMIT_AS`, which is stricter: it also counts memory that is only reserved.
//!
//! In the cgroup it runs from private copies of program and model (`private_copies`). The kernel
//! charges a page of a file to the group that reads it first, so pages that other processes have
//! read already would be free. A first server, which is not measured, reads them for the group. The
//! kernel kills the server when this process is gone, and a guard process (`guard`) removes the
//! cgroup and the copies.
//!
//! In: an [`Estimate`] and a `dermal` program ([`ProofPlan`]). Out: a [`Proof`].
//!
//! ```no_run
//! use std::path::Path;
//!
//! use dermal::artifact::ModelSource;
//! use dermal::estimate::{Estimate, EstimateOptions};
//! use dermal::prove::ProofPlan;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = EstimateOptions::default();
//! let plan = ProofPlan {
//!     estimate: &Estimate::measure(&ModelSource::Embedded, &options)?,
//!     model: &ModelSource::Embedded,
//!     program: Path::new("/usr/local/bin/dermal"),
//!     limit_bytes: Some(512_000_000),
//!     cpu_share: Some(0.5),
//!     pixels: options.max_pixels,
//! };
//! let proof = plan.run(&mut |done, all| eprintln!("{done} of {all} states"))?;
//! println!("{} bytes at most", proof.peak_charged_bytes.unwrap_or(0));
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::artifact::ModelSource;
use crate::estimate::{Estimate, EstimateError, SamplePhoto, deployment};
use crate::hint::{Arguments, Hint, named};
use crate::memory::estimate::{Facts, Moment, PhotoFacts, State, estimate};
use crate::memory::measure::{self, Counters};
use crate::memory::sandbox::{Sandbox, SandboxError};
use crate::probe::HealthWatch;

mod guard;
mod private_copies;
mod server;

pub use guard::stand_guard;
pub use server::Drain;

use guard::Guard;
use private_copies::{OwnFolder, PrivateCopies};
use server::{Server, Settings, Stopped};

/// Pixels of the photo that is sent before anything is measured: few, so that it takes little time,
/// and less memory than the measured photos.
const WARM_UP_PIXELS: u64 = 10_000;

/// Why a proof cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// There is no photo to send.
    #[error(transparent)]
    Photo(#[from] EstimateError),
    /// The process that cleans up does not start.
    #[error("cannot start the process that cleans up")]
    Guard(#[source] std::io::Error),
    /// The server's process does not start.
    #[error("cannot start the server to be measured")]
    Server(#[source] std::io::Error),
    /// Waiting for the server's process fails.
    #[error("the server does not end")]
    End(#[source] std::io::Error),
}

impl Hint for ProveError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Photo(error) => error.kind(),
            Self::Guard(_) => "guard_not_started",
            Self::Server(_) => "server_not_started",
            Self::End(_) => "server_not_ended",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Photo(error) => error.hint(),
            Self::Guard(_) | Self::Server(_) | Self::End(_) => {
                "leave `--prove` out: the estimate is valid without it".to_owned()
            }
        }
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Photo(error) => error.arguments(),
            Self::Guard(_) | Self::Server(_) | Self::End(_) => named!(),
        }
    }
}

/// A hidden part of a `dermal` program as a process.
fn part(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.args(["proof-part", name]);
    command
}

/// The confinement of the server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Confinement {
    /// A cgroup.
    Cgroup {
        /// 1 or 2.
        version: u8,
    },
    /// `RLIMIT_AS`.
    AddressSpace {
        /// Why there is no cgroup.
        because: String,
    },
    /// No limit was given.
    None,
}

/// The result of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StateOutcome {
    /// All requests were answered.
    Survived,
    /// The kernel killed the server for its memory.
    Killed,
    /// The server refused to start, or refused a photo or a heat map, or an allocation failed.
    Refused,
    /// No answer arrived in time.
    NoAnswer,
}

/// One state, estimated and measured.
#[derive(Clone, Debug, Serialize)]
pub struct StateProof {
    /// The activity of the server.
    pub moment: Moment,
    /// Photos in work.
    pub photos: u64,
    /// Whether heat maps are drawn.
    pub gradcam: bool,
    /// The result.
    pub outcome: StateOutcome,
    /// Resident memory, estimated.
    pub predicted_bytes: u64,
    /// `VmHWM`; absent if the server is gone.
    pub measured_bytes: Option<u64>,
    /// The part that the kernel cannot take back, estimated.
    pub predicted_anonymous_bytes: u64,
    /// The same, measured.
    pub measured_anonymous_bytes: Option<u64>,
    /// Predicted minus measured, in percent of the measured. This compares the resident peak, or
    /// its anonymous part if the limit is so tight that the kernel drops pages of files.
    pub error_percent: Option<f64>,
    /// Requests that were sent.
    pub requests: u64,
    /// Time of all of them, or of starting and loading.
    pub wall_ms: f64,
    /// The estimate of that time; absent if there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicted_wall_ms: Option<f64>,
    /// The server's message about a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The result of a proof: `proof` of the document of `dermal estimate --prove --json`.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The confinement of the server.
    pub confinement: Confinement,
    /// What ran.
    pub load: &'static str,
    /// Memory that the server may use.
    pub limit_bytes: Option<u64>,
    /// CPU time that the server may use: 1 is a whole CPU.
    pub cpu_share: Option<f64>,
    /// The photos that were sent.
    pub photo: PhotoFacts,
    /// Each state, up to the first that failed.
    pub rows: Vec<StateProof>,
    /// The state with the largest measured peak.
    pub worst_moment: Option<Moment>,
    /// Processes that the kernel killed in the cgroup for their memory.
    pub oom_kills: Option<u64>,
    /// High-water mark of the cgroup, including the page cache of program and model. Absent without
    /// a cgroup, and if the kernel may have charged these pages to other groups.
    pub peak_charged_bytes: Option<u64>,
    /// Why pages of program and model may have been charged to other groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shared_pages_because: Option<String>,
    /// From starting the server to a loaded model.
    pub cold_start_ms: Option<f64>,
    /// Slowest answer of `/health` while the requested number of photos was computed.
    pub health_ms: Option<f64>,
    /// How it ended on SIGTERM with these photos in work; absent if the proof did not get that far.
    pub drain: Option<Drain>,
    /// Whether every state was reached, and the end was clean.
    pub survived: bool,
}

/// What is proved, and with which program.
#[derive(Clone, Copy)]
pub struct ProofPlan<'a> {
    /// The estimate that is compared with the kernel's counters.
    pub estimate: &'a Estimate,
    /// The source of the estimated model.
    pub model: &'a ModelSource,
    /// A `dermal` program that serves and cleans up. For `dermal` itself this is `/proc/self/exe`,
    /// which stays the same file if the program is replaced in the meantime.
    pub program: &'a Path,
    /// Memory that the server may use.
    pub limit_bytes: Option<u64>,
    /// CPU time that it may use: 1 is a whole CPU.
    pub cpu_share: Option<f64>,
    /// Pixels of each photo that is sent.
    pub pixels: u64,
}

impl ProofPlan<'_> {
    /// Starts the server, sends it photos, and compares the kernel's counters with the estimate.
    /// Takes seconds to minutes; `watch` gets the number of states that are done and the number of
    /// all.
    ///
    /// # Errors
    /// [`ProveError`] if the proof cannot be made. If the server fails, that is not an error: the
    /// [`Proof`] says so.
    pub fn run(&self, watch: &mut dyn FnMut(u64, u64)) -> Result<Proof, ProveError> {
        let photo = SamplePhoto::of_pixels(self.pixels)?;
        // The estimate is repeated for the very photo that is sent.
        let mut facts = self.estimate.facts;
        facts.photo = PhotoFacts {
            picture_bytes: facts.photo.picture_bytes,
            ..photo.facts
        };
        let states = estimate(&facts);
        let (sandbox, confinement) = self.sandbox();
        let folder = sandbox.is_some().then(OwnFolder::on_a_disk);
        let (folder, mut shared_pages_because) = match folder.transpose() {
            Ok(folder) => (folder, None),
            Err(error) => (None, Some(error.to_string())),
        };
        // From here on nothing is left behind, however this process ends.
        let guard = Guard::start(
            self.program,
            &sandbox.as_ref().map_or(Vec::new(), Sandbox::folders),
            folder.as_ref().map(OwnFolder::path),
        )?;
        let copies =
            folder.map(|folder| PrivateCopies::new(folder, self.program, self.model_file()));
        let copies = copies.transpose().unwrap_or_else(|error| {
            shared_pages_because = Some(error.to_string());
            None
        });
        let mut proof = Proof {
            confinement,
            load: "`dermal serve` over HTTP",
            limit_bytes: self.limit_bytes,
            cpu_share: self.cpu_share,
            photo: facts.photo,
            rows: Vec::new(),
            worst_moment: None,
            oom_kills: None,
            peak_charged_bytes: None,
            shared_pages_because,
            cold_start_ms: None,
            health_ms: None,
            drain: None,
            survived: true,
        };
        let mut run = Run {
            plan: self,
            facts,
            query: deployment::query(&self.estimate.model),
            photo: &photo,
            sandbox: sandbox.as_ref(),
            copies: copies.as_ref(),
            server: None,
            sent: 0,
            health: None,
        };
        if copies.is_some() {
            run.warm_up()?;
        }
        let since = Instant::now();
        for (i, state) in states.iter().enumerate() {
            watch(i as u64, states.len() as u64);
            let row = run.row(state)?;
            let survived = row.outcome == StateOutcome::Survived;
            if state.moment == Moment::Loaded && survived {
                proof.cold_start_ms = Some(since.elapsed().as_secs_f64() * 1e3);
            }
            proof.rows.push(row);
            if !survived {
                proof.survived = false;
                break;
            }
        }
        if proof.survived
            && let Some(last) = states.last()
        {
            proof.health_ms = run.health.map(|slowest| slowest.as_secs_f64() * 1e3);
            proof.drain = run.drain(last)?;
            proof.survived = proof.drain.as_ref().is_none_or(Drain::is_clean);
        }
        drop(run);
        let most = proof.rows.iter().max_by_key(|row| row.measured_bytes);
        proof.worst_moment = most.map(|row| row.moment);
        if let Some(sandbox) = &sandbox {
            proof.oom_kills = sandbox.oom_kills();
            let charged = copies.is_some().then(|| sandbox.peak_charged_bytes());
            proof.peak_charged_bytes = charged.flatten();
        }
        // The server is gone. Its cgroup is removed before the guard ends, which then has nothing
        // to do.
        drop(sandbox);
        drop(copies);
        drop(guard);
        Ok(proof)
    }

    /// The artifact; `None` for the embedded model.
    fn model_file(&self) -> Option<&Path> {
        match self.model {
            ModelSource::File(path) => Some(path),
            ModelSource::Embedded => None,
        }
    }

    fn sandbox(&self) -> (Option<Sandbox>, Confinement) {
        let Some(limit) = self.limit_bytes else {
            return (None, Confinement::None);
        };
        match Sandbox::new(limit, self.cpu_share) {
            Ok(sandbox) => {
                let version = sandbox.version();
                (Some(sandbox), Confinement::Cgroup { version })
            }
            Err(error) => {
                let because = match &error {
                    SandboxError::NotAvailable(_) => error.to_string(),
                    SandboxError::Limit { source, .. } => format!("{error}: {source}"),
                };
                (None, Confinement::AddressSpace { because })
            }
        }
    }
}

/// A proof in progress.
struct Run<'a> {
    plan: &'a ProofPlan<'a>,
    facts: Facts,
    /// The query that every request needs: `input.NAME=...`.
    query: String,
    photo: &'a SamplePhoto,
    sandbox: Option<&'a Sandbox>,
    copies: Option<&'a PrivateCopies>,
    server: Option<Server>,
    /// Requests so far.
    sent: usize,
    /// Slowest answer of the health check in the last state that had photos.
    health: Option<Duration>,
}

impl Run<'_> {
    fn query_with(&self, gradcam: bool) -> String {
        let heat_map = if gradcam { "&gradcam=1" } else { "" };
        format!("{}{heat_map}", self.query)
    }

    /// How long this many photos should take in a state, or how long loading the model should take.
    fn wall_ms(&self, state: &State, photos: f64) -> Option<f64> {
        let (times, share) = (&self.plan.estimate.times, self.plan.cpu_share);
        match state.moment {
            Moment::Idle => None,
            Moment::Loaded => Some(times.load_ms / share.unwrap_or(1.0).min(1.0)),
            _ => {
                let (photo, threads) = (&self.facts.photo, self.facts.load.threads);
                Some(photos * times.wall_ms(photo, state.gradcam, threads, share))
            }
        }
    }

    fn start(&self) -> Result<Result<Server, Stopped>, ProveError> {
        let ProofPlan {
            program,
            limit_bytes,
            ..
        } = *self.plan;
        let model = self.plan.model_file();
        let claims = deployment::claims(&self.facts);
        Server::start(&Settings {
            program,
            server_program: self.copies.map_or(program, PrivateCopies::program),
            model: self.copies.map_or(model, PrivateCopies::model),
            gradcam: self.facts.load.gradcam,
            threads: self.facts.load.threads,
            isa: self.plan.estimate.engine.isa.name(),
            budget_bytes: limit_bytes,
            max_pixels: self.facts.photo.pixels(),
            max_upload_bytes: claims.max_upload_bytes,
            queue: claims.queue,
            max_jobs: claims.max_jobs,
            cache_bytes: claims.cache_bytes,
            sandbox: self.sandbox,
            address_space: limit_bytes.filter(|_| self.sandbox.is_none()),
        })
    }

    /// Lets the group read program and model once, so that their pages are cached and charged to it
    /// when the measured server starts. The kernel maps pages around a fault only if they are
    /// cached, and the estimate assumes that. If this fails, the measured server fails as well, and
    /// the failure is reported there.
    fn warm_up(&self) -> Result<(), ProveError> {
        let photo = SamplePhoto::of_pixels(WARM_UP_PIXELS)?.jpeg;
        let Ok(mut server) = self.start()? else {
            return Ok(());
        };
        if server.load().is_ok() {
            let gradcam = self.facts.load.gradcam;
            let _ = server.send(&[photo], &self.query_with(gradcam), gradcam);
        }
        Ok(())
    }

    fn row(&mut self, state: &State) -> Result<StateProof, ProveError> {
        let before = self.sent;
        let since = Instant::now();
        let done = self.bring_about(state)?;
        let wall_ms = since.elapsed().as_secs_f64() * 1e3;
        let (outcome, message) = match done {
            Ok(()) => (StateOutcome::Survived, None),
            Err(stopped) => (stopped.outcome, stopped.message),
        };
        let id = self.server.as_ref().map(Server::id);
        let measured = id
            .and_then(Counters::of)
            .filter(|_| outcome == StateOutcome::Survived);
        if let Some(id) = id {
            // Each state has its own peak.
            let _ = measure::reset_peak(id);
        }
        let squeezed = self
            .plan
            .limit_bytes
            .is_some_and(|l| state.charged_bytes() > l);
        let error_percent = measured.map(|measured| {
            let (predicted, measured) = if squeezed {
                (state.anonymous_bytes(), measured.peak_anonymous_bytes())
            } else {
                (state.resident_bytes(), measured.peak_rss_bytes)
            };
            (predicted as f64 / measured as f64 - 1.0) * 100.0
        });
        Ok(StateProof {
            moment: state.moment,
            photos: state.photos,
            gradcam: state.gradcam,
            outcome,
            predicted_bytes: state.resident_bytes(),
            measured_bytes: measured.map(|m| m.peak_rss_bytes),
            predicted_anonymous_bytes: state.anonymous_bytes(),
            measured_anonymous_bytes: measured.map(|m| m.peak_anonymous_bytes()),
            error_percent,
            requests: (self.sent - before) as u64,
            wall_ms,
            predicted_wall_ms: self.wall_ms(state, (self.sent - before) as f64),
            message,
        })
    }

    fn bring_about(&mut self, state: &State) -> Result<Result<(), Stopped>, ProveError> {
        if state.moment == Moment::Idle {
            return Ok(match self.start()? {
                Ok(server) => {
                    self.server = Some(server);
                    Ok(())
                }
                Err(stopped) => Err(stopped),
            });
        }
        let query = self.query_with(state.gradcam);
        let Some(server) = &mut self.server else {
            return Ok(Err(Stopped {
                outcome: StateOutcome::Refused,
                message: Some("no server was started".to_owned()),
            }));
        };
        if state.moment == Moment::Loaded {
            return Ok(server.load());
        }
        let watch = HealthWatch::start(server.url());
        let mut done = Ok(());
        for _ in 0..self.facts.rounds(state) {
            let photos = self.photo.variants(&mut self.sent, state.photos);
            done = server.send(&photos, &query, state.gradcam);
            if done.is_err() {
                break;
            }
        }
        self.health = watch.stop();
        Ok(done)
    }

    /// Ends the server with the photos of a state in work.
    fn drain(&mut self, state: &State) -> Result<Option<Drain>, ProveError> {
        let Some(server) = self.server.take() else {
            return Ok(None);
        };
        let photos = self.photo.variants(&mut self.sent, state.photos);
        let query = self.query_with(state.gradcam);
        server.drain(&photos, &query, state.gradcam).map(Some)
    }
}
