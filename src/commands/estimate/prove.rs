//! `--prove`: the real server, held to the platform's memory and CPU share, and real load: photos of
//! real sizes, one at a time and several at once; what the kernel counted, beside what was estimated.
//!
//! The server stands in a cgroup where one may be made, else under `RLIMIT_AS`, which also counts
//! memory that is only reserved and so is stricter. The kernel kills it when this process is gone; a
//! keeper process removes the group.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde::Serialize;

use super::deployment;
use super::facts::Times;
use super::keeper::Keeper;
use super::photo::Photo;
use super::server::{Drain, Failure, Server, Settings};
use crate::memory::cage::{Cage, CageError};
use crate::memory::estimate::{Facts, Moment, PhotoFacts, State, estimate};
use crate::memory::measure::{self, Counters};
use crate::probe::Watch;
use crate::report::Progress;

/// What holds the server.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub(super) enum Confinement {
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
    /// No limit was asked for.
    None,
}

/// How a state ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// Everything was answered.
    Survived,
    /// The kernel killed the server for its memory.
    Killed,
    /// The server refused to start, a photo or a heat map, or an allocation failed.
    Refused,
    /// Nothing came within the time that is waited.
    NoAnswer,
}

/// One state, estimated and measured.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Row {
    pub(super) moment: Moment,
    pub(super) photos: u64,
    pub(super) gradcam: bool,
    pub(super) outcome: Outcome,
    pub(super) predicted_bytes: u64,
    /// `VmHWM`; absent if the server is gone.
    pub(super) measured_bytes: Option<u64>,
    pub(super) predicted_anonymous_bytes: u64,
    pub(super) measured_anonymous_bytes: Option<u64>,
    /// Predicted less measured, in percent of the measured, of what can be compared under this
    /// limit: the resident peak, or where file pages had to go, its anonymous part.
    pub(super) error_percent: Option<f64>,
    /// Requests that were sent.
    pub(super) requests: u64,
    /// Of all of them, or of starting and loading.
    pub(super) wall_ms: f64,
    /// What the estimate says of that time; absent where it says nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) predicted_wall_ms: Option<f64>,
    /// What the server said of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) message: Option<String>,
}

/// What a proof found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Proof {
    pub(super) confinement: Confinement,
    /// What ran.
    pub(super) load: &'static str,
    pub(super) limit_bytes: Option<u64>,
    pub(super) cpu_share: Option<f64>,
    pub(super) photo: PhotoFacts,
    pub(super) rows: Vec<Row>,
    pub(super) worst_moment: Option<Moment>,
    pub(super) oom_kills: Option<u64>,
    /// High-water mark of the cgroup, page cache included.
    pub(super) peak_charged_bytes: Option<u64>,
    /// From starting the server to a loaded model.
    pub(super) cold_start_ms: Option<f64>,
    /// Slowest answer of `/health` while as many photos as asked for were computed.
    pub(super) health_ms: Option<f64>,
    /// How it ended on SIGTERM with these photos inside; absent if it did not come to it.
    pub(super) drain: Option<Drain>,
    pub(super) survived: bool,
}

/// What is to be proved.
pub(super) struct Plan<'a> {
    pub(super) model: Option<&'a Path>,
    pub(super) facts: Facts,
    pub(super) times: Times,
    /// Options that every request needs: `input.NAME=...`.
    pub(super) query: String,
    pub(super) isa: &'static str,
    pub(super) limit_bytes: Option<u64>,
    pub(super) cpu_share: Option<f64>,
    pub(super) pixels: u64,
}

impl Plan<'_> {
    /// Runs it. The estimate is made again for the very photo that is used.
    pub(super) fn run(mut self) -> Result<Proof> {
        let photo = Photo::of_pixels(self.pixels)?;
        let picture_bytes = self.facts.photo.picture_bytes;
        self.facts.photo = PhotoFacts {
            picture_bytes,
            ..photo.facts
        };
        let states = estimate(&self.facts);
        let (cage, confinement) = self.cage();
        let groups = cage.as_ref().map_or(Vec::new(), Cage::folders);
        let keeper = Keeper::start(groups)?;
        let mut proof = Proof {
            confinement,
            load: "`dermal serve` over HTTP",
            limit_bytes: self.limit_bytes,
            cpu_share: self.cpu_share,
            photo: self.facts.photo,
            rows: Vec::new(),
            worst_moment: None,
            oom_kills: None,
            peak_charged_bytes: None,
            cold_start_ms: None,
            health_ms: None,
            drain: None,
            survived: true,
        };
        let mut run = Run {
            plan: &self,
            photo: &photo,
            cage: cage.as_ref(),
            server: None,
            sent: 0,
            health: None,
        };
        let mut progress = Progress::items("proving");
        let since = Instant::now();
        for (i, state) in states.iter().enumerate() {
            progress.set(i as u64, states.len() as u64);
            let row = run.row(state)?;
            if state.moment == Moment::Loaded && row.outcome == Outcome::Survived {
                proof.cold_start_ms = Some(since.elapsed().as_secs_f64() * 1e3);
            }
            let survived = row.outcome == Outcome::Survived;
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
        drop(progress);
        drop(run);
        let most = proof.rows.iter().max_by_key(|row| row.measured_bytes);
        proof.worst_moment = most.map(|row| row.moment);
        proof.oom_kills = cage.as_ref().and_then(Cage::oom_kills);
        proof.peak_charged_bytes = cage.as_ref().and_then(Cage::peak_charged_bytes);
        drop(cage);
        drop(keeper);
        Ok(proof)
    }

    fn cage(&self) -> (Option<Cage>, Confinement) {
        let Some(limit) = self.limit_bytes else {
            return (None, Confinement::None);
        };
        match Cage::new(limit, self.cpu_share) {
            Ok(cage) => {
                let version = cage.version();
                (Some(cage), Confinement::Cgroup { version })
            }
            Err(error) => {
                let because = match &error {
                    CageError::NotAvailable(_) => error.to_string(),
                    CageError::Limit { source, .. } => format!("{error}: {source}"),
                };
                (None, Confinement::AddressSpace { because })
            }
        }
    }

    fn query_of(&self, state: &State) -> String {
        let heat_map = if state.gradcam { "&gradcam=1" } else { "" };
        format!("{}{heat_map}", self.query)
    }

    /// How long so many photos should take in a state, or loading the model.
    fn wall_ms(&self, state: &State, photos: f64) -> Option<f64> {
        match state.moment {
            Moment::Idle => None,
            Moment::Loaded => Some(self.times.load_ms / self.cpu_share.unwrap_or(1.0).min(1.0)),
            _ => {
                let (photo, threads) = (&self.facts.photo, self.facts.load.threads);
                let one = (self.times).wall_ms(photo, state.gradcam, threads, self.cpu_share);
                Some(photos * one)
            }
        }
    }

    fn start(&self, cage: Option<&Cage>) -> Result<Result<Server, Failure>> {
        let claims = deployment::claims(&self.facts);
        Server::start(&Settings {
            model: self.model,
            gradcam: self.facts.load.gradcam,
            threads: self.facts.load.threads,
            isa: self.isa,
            budget_bytes: self.limit_bytes,
            max_pixels: self.facts.photo.pixels(),
            max_upload_bytes: claims.max_upload_bytes,
            queue: claims.queue,
            max_jobs: claims.max_jobs,
            cache_bytes: claims.cache_bytes,
            cage,
            address_space: self.limit_bytes.filter(|_| cage.is_none()),
        })
    }
}

/// A proof as it goes on.
struct Run<'a> {
    plan: &'a Plan<'a>,
    photo: &'a Photo,
    cage: Option<&'a Cage>,
    server: Option<Server>,
    /// Requests so far.
    sent: usize,
    /// Slowest answer of the health check in the last state so far that had photos.
    health: Option<Duration>,
}

impl Run<'_> {
    fn row(&mut self, state: &State) -> Result<Row> {
        let before = self.sent;
        let since = Instant::now();
        let done = self.bring_about(state)?;
        let wall_ms = since.elapsed().as_secs_f64() * 1e3;
        let (outcome, message) = match done {
            Ok(()) => (Outcome::Survived, None),
            Err(failure) => (failure.outcome, failure.message),
        };
        let id = self.server.as_ref().map(Server::id);
        let measured = id
            .and_then(Counters::of)
            .filter(|_| outcome == Outcome::Survived);
        if let Some(id) = id {
            // Each state has a peak of its own.
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
        Ok(Row {
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
            predicted_wall_ms: self.plan.wall_ms(state, (self.sent - before) as f64),
            message,
        })
    }

    fn bring_about(&mut self, state: &State) -> Result<Result<(), Failure>> {
        if state.moment == Moment::Idle {
            return Ok(match self.plan.start(self.cage)? {
                Ok(server) => {
                    self.server = Some(server);
                    Ok(())
                }
                Err(failure) => Err(failure),
            });
        }
        let Some(server) = &mut self.server else {
            anyhow::bail!("no server was started");
        };
        if state.moment == Moment::Loaded {
            return Ok(server.load());
        }
        let query = self.plan.query_of(state);
        let watch = Watch::start(server.url());
        let mut done = Ok(());
        for _ in 0..self.plan.facts.rounds(state) {
            let photos = self.photo.variants(&mut self.sent, state.photos);
            done = server.send(&photos, &query, state.gradcam);
            if done.is_err() {
                break;
            }
        }
        self.health = watch.stop();
        Ok(done)
    }

    /// Ends the server while the photos of a state are inside.
    fn drain(&mut self, state: &State) -> Result<Option<Drain>> {
        let Some(server) = self.server.take() else {
            return Ok(None);
        };
        let photos = self.photo.variants(&mut self.sent, state.photos);
        let query = self.plan.query_of(state);
        server.drain(&photos, &query, state.gradcam).map(Some)
    }
}
