//! The inference thread: it alone owns the model and the memory the model runs in.
//!
//! Work comes through a channel whose length the door ([`super::admission`]) bounds; one photo is
//! decoded, run and explained at a time, so the peak of memory is that of one photo, and loading
//! happens once however many requests wait for it. Threads of the engine share one photo's work.
//! A panic costs the request that caused it: the model is loaded again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::ask::Ask;
use super::cache::{Cache, Digest, Level, Wanted};
use super::config::ModelConfig;
use super::error::{ApiError, ServeError};
use super::load::{Inside, Load, Patience};
use super::session::{Answer, LoadFailure, ModelInfo, Session};
use crate::predict::{Limits, Photo};

/// How long a failed load is not tried again by requests.
const RETRY_LOAD_AFTER: Duration = Duration::from_secs(10);

/// How often who waits for the model looks whether it is loaded.
const LOOK_AT_PHASE: Duration = Duration::from_millis(20);

/// Stack of the inference thread: the deepest calls are candle's gradients of a small head.
const STACK_BYTES: usize = 2 << 20;

/// Where the model is.
#[derive(Clone, Debug)]
pub(super) enum Phase {
    /// Loaded at the first photo.
    Waiting,
    Loading,
    Ready(Arc<ModelInfo>),
    Failed(LoadFailure),
}

#[derive(Debug)]
struct Shared {
    phase: Mutex<Phase>,
    load: Arc<Load>,
}

/// A question on its way to the model.
struct Waiting {
    ask: Ask,
    lookup: Lookup,
    since: Instant,
    until: Instant,
    patience: Patience,
    reply: oneshot::Sender<Result<Answered, ApiError>>,
    _inside: Inside,
}

/// What to look for in the cache, if it is this model that answers.
type Lookup = Option<(String, Wanted)>;

enum Work {
    Load,
    Answer(Box<Waiting>),
}

/// An answer of the inference thread.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub answer: Arc<Answer>,
    /// The hash of the photo's pixels, if it was looked for in the cache.
    pub pixels: Option<Digest>,
    /// Where it was found, if it was not computed.
    pub found: Option<Level>,
}

/// The end of the channel that handlers hold.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    work: Sender<Work>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Load => "Load",
            Self::Answer(_) => "Answer",
        })
    }
}

impl Pool {
    /// Starts the thread. It ends when the last `Pool` is dropped.
    pub(super) fn start(
        config: Arc<ModelConfig>,
        limits: Limits,
        cache: Arc<Cache>,
        load: Arc<Load>,
    ) -> Result<Self, ServeError> {
        let (work, todo) = channel();
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Waiting),
            load,
        });
        let pool = Self {
            work,
            shared: Arc::clone(&shared),
        };
        if config.preload {
            pool.load();
        }
        std::thread::Builder::new()
            .name("inference".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                Worker {
                    config,
                    limits,
                    cache,
                    shared,
                    session: None,
                    failed: None,
                }
                .run(&todo);
            })
            .map_err(ServeError::Start)?;
        Ok(pool)
    }

    /// Has the model loaded, or loaded again, after the work that waits already.
    pub(super) fn load(&self) {
        if !matches!(self.phase(), Phase::Ready(_)) {
            self.shared.set(Phase::Loading);
        }
        // The thread lives as long as there is a sender.
        let _ = self.work.send(Work::Load);
    }

    /// Asks the model; `until` is when the answer is of no use any more. Dropping the future drops
    /// the work.
    pub(super) async fn answer(
        &self,
        ask: Ask,
        lookup: Lookup,
        (patience, until): (Patience, Instant),
    ) -> Result<Answered, ApiError> {
        let (reply, answer) = oneshot::channel();
        let waiting = Waiting {
            ask,
            lookup,
            since: Instant::now(),
            until,
            patience,
            reply,
            _inside: self.shared.load.enter(),
        };
        self.work
            .send(Work::Answer(Box::new(waiting)))
            .map_err(|_| ApiError::internal())?;
        match tokio::time::timeout_at(until.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ApiError::internal()),
            Err(_) => Err(out_of_time()),
        }
    }

    pub(super) fn phase(&self) -> Phase {
        let phase = self.shared.phase.lock();
        phase.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The loaded model.
    pub(super) fn info(&self) -> Option<Arc<ModelInfo>> {
        match self.phase() {
            Phase::Ready(info) => Some(info),
            _ => None,
        }
    }

    /// The model, once it is loaded; a lazy one is loaded for it.
    pub(super) async fn loaded(&self, until: Instant) -> Result<Arc<ModelInfo>, ApiError> {
        if matches!(self.phase(), Phase::Waiting) {
            self.load();
        }
        loop {
            match self.phase() {
                Phase::Ready(info) => return Ok(info),
                Phase::Failed(failure) => return Err(unavailable(&failure)),
                Phase::Waiting | Phase::Loading if Instant::now() >= until => {
                    return Err(out_of_time());
                }
                Phase::Waiting | Phase::Loading => tokio::time::sleep(LOOK_AT_PHASE).await,
            }
        }
    }
}

fn unavailable(failure: &LoadFailure) -> ApiError {
    ApiError::unavailable(failure.kind, "the model cannot be loaded")
}

/// More requests come than can be answered.
pub(super) fn overloaded() -> ApiError {
    ApiError::busy("overloaded", "more requests come than can be answered", 1)
        .hint("come back later, or ask with `POST /jobs` and fetch the answer")
}

fn out_of_time() -> ApiError {
    ApiError::unavailable("deadline", "the answer was not ready in time")
}

impl Shared {
    fn set(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(PoisonError::into_inner) = phase;
    }
}

struct Worker {
    config: Arc<ModelConfig>,
    limits: Limits,
    cache: Arc<Cache>,
    shared: Arc<Shared>,
    session: Option<Session>,
    failed: Option<(Instant, LoadFailure)>,
}

impl Worker {
    fn run(mut self, todo: &Receiver<Work>) {
        for work in todo {
            match work {
                Work::Load => {
                    let _ = self.load();
                }
                Work::Answer(waiting) => {
                    let Waiting { ask, reply, .. } = *waiting;
                    if reply.is_closed() {
                        continue;
                    }
                    let now = Instant::now();
                    if now >= waiting.until {
                        let _ = reply.send(Err(out_of_time()));
                        continue;
                    }
                    let is_client = waiting.patience == Patience::Client;
                    if is_client && self.shared.load.has_waited(waiting.since, now) {
                        let _ = reply.send(Err(overloaded()));
                        continue;
                    }
                    let answer = self.answer(ask, waiting.lookup, &|| reply.is_closed());
                    let _ = reply.send(answer);
                }
            }
        }
    }

    /// Loads the model; one that is in use stays if that fails.
    fn load(&mut self) -> Result<(), LoadFailure> {
        let started = Instant::now();
        if self.session.is_none() {
            self.shared.set(Phase::Loading);
        }
        let loaded = catch_unwind(AssertUnwindSafe(|| {
            Session::load(&self.config, self.limits)
        }))
        .unwrap_or_else(|_| {
            Err(LoadFailure {
                kind: "model_not_runnable",
                detail: "loading the model panicked".to_owned(),
            })
        });
        match loaded {
            Ok(session) => {
                let info = Arc::new(session.info.clone());
                tracing::info!(
                    model = info.id,
                    precision = info.precision,
                    self_test = info.self_test,
                    ms = started.elapsed().as_secs_f64() * 1e3,
                    "model loaded"
                );
                self.session = Some(session);
                self.failed = None;
                self.shared.set(Phase::Ready(info));
                Ok(())
            }
            Err(failure) => {
                tracing::error!(
                    kind = failure.kind,
                    reason = failure.detail,
                    "the model cannot be loaded"
                );
                if self.session.is_none() {
                    self.shared.set(Phase::Failed(failure.clone()));
                    self.failed = Some((Instant::now(), failure.clone()));
                }
                Err(failure)
            }
        }
    }

    fn answer(
        &mut self,
        ask: Ask,
        lookup: Lookup,
        gone: &dyn Fn() -> bool,
    ) -> Result<Answered, ApiError> {
        if self.session.is_none() {
            if let Some((when, failure)) = &self.failed
                && when.elapsed() < RETRY_LOAD_AFTER
            {
                return Err(unavailable(failure));
            }
            self.load().map_err(|failure| unavailable(&failure))?;
        }
        let Some(session) = &mut self.session else {
            return Err(ApiError::internal());
        };
        let started = Instant::now();
        // A model that was swapped in meanwhile answers under another name.
        let wanted = lookup.filter(|(model, _)| *model == session.info.id);
        let mut pixels = None;
        let mut found = None;
        let mut known = |photo: &Photo| {
            let (_, wanted) = wanted.as_ref()?;
            let (digest, known) = self.cache.by_pixels(wanted, photo);
            pixels = Some(digest);
            let (answer, level) = known?;
            found = Some(level);
            Some(answer)
        };
        let answer = catch_unwind(AssertUnwindSafe(|| session.answer(ask, gone, &mut known)));
        if let Ok(answer) = answer {
            if answer.is_ok() && found.is_none() {
                self.shared.load.took(started.elapsed());
            }
            return answer.map(|answer| Answered {
                answer,
                pixels,
                found,
            });
        }
        // Its memory may be in any state.
        tracing::error!("answering a request panicked; the model is loaded again");
        self.session = None;
        let _ = self.load();
        Err(ApiError::internal())
    }
}
