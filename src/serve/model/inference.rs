//! The inference thread: it alone owns the model and the memory that the model runs in.
//!
//! Questions reach it through a channel, whose length admission control bounds. It decodes, runs and
//! explains one photo at a time, so the peak of memory is that of one photo; the engine's threads share
//! the work on that photo. The model is loaded once, however many requests wait for it. A panic fails
//! the request that caused it, and the model is loaded again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::session::{LoadFailure, ModelInfo, Session};
use crate::predict::{Limits, Photo};
use crate::serve::admission::{Caller, InFlight, OverloadDetector};
use crate::serve::answer::Served;
use crate::serve::cache::{Cache, CacheKeys};
use crate::serve::config::ModelConfig;
use crate::serve::error::{ApiError, ServeError};
use crate::serve::question::Question;

/// After a failed load, requests do not try again for this long.
const RETRY_LOAD_AFTER: Duration = Duration::from_secs(10);

/// How often a waiting request checks whether the model has loaded.
const CHECK_PHASE_EVERY: Duration = Duration::from_millis(20);

/// Stack of the inference thread. Candle's gradients of a small head need the most.
const STACK_BYTES: usize = 2 << 20;

/// Whether the model is loaded.
#[derive(Clone, Debug)]
pub(in crate::serve) enum Phase {
    /// Not yet: the first photo loads it.
    Unloaded,
    /// It is being loaded, after the previous attempt failed in this way.
    Loading {
        after: Option<LoadFailure>,
    },
    Ready(Arc<ModelInfo>),
    Failed(LoadFailure),
}

#[derive(Debug)]
struct Shared {
    phase: Mutex<Phase>,
    overload: Arc<OverloadDetector>,
}

/// A question that waits for the inference thread.
struct PendingQuestion {
    question: Question,
    lookup: Lookup,
    since: Instant,
    until: Instant,
    caller: Caller,
    reply: oneshot::Sender<Result<Served, ApiError>>,
    _in_flight: InFlight,
}

/// The keys under which the cache may have the answer, and the id of the model they are for.
type Lookup = Option<(String, CacheKeys)>;

enum Task {
    Load,
    Answer(Box<PendingQuestion>),
}

/// The handle that request handlers hold: it sends questions to the inference thread.
#[derive(Clone, Debug)]
pub(in crate::serve) struct Inference {
    tasks: Sender<Task>,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for Task {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Load => "Load",
            Self::Answer(_) => "Answer",
        })
    }
}

impl Inference {
    /// Starts the thread. It ends when the last `Inference` is dropped.
    pub(super) fn start(
        config: Arc<ModelConfig>,
        limits: Limits,
        cache: Arc<Cache>,
        overload: Arc<OverloadDetector>,
    ) -> Result<Self, ServeError> {
        let (tasks, receiver) = channel();
        let shared = Arc::new(Shared {
            phase: Mutex::new(Phase::Unloaded),
            overload,
        });
        let inference = Self {
            tasks,
            shared: Arc::clone(&shared),
        };
        if config.preload {
            inference.load();
        }
        std::thread::Builder::new()
            .name("inference".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                InferenceThread {
                    config,
                    limits,
                    cache,
                    shared,
                    session: None,
                    failed: None,
                }
                .run(&receiver);
            })
            .map_err(ServeError::Start)?;
        Ok(inference)
    }

    /// Loads the model, or loads it again, after the questions that wait already.
    pub(in crate::serve) fn load(&self) {
        self.shared.set_loading();
        // The thread lives as long as there is a sender.
        let _ = self.tasks.send(Task::Load);
    }

    /// Asks the model; `until` is when nobody needs the answer any more. Dropping the future cancels
    /// the work.
    pub(super) async fn answer(
        &self,
        question: Question,
        lookup: Lookup,
        (caller, until): (Caller, Instant),
    ) -> Result<Served, ApiError> {
        let (reply, answer) = oneshot::channel();
        let pending = PendingQuestion {
            question,
            lookup,
            since: Instant::now(),
            until,
            caller,
            reply,
            _in_flight: self.shared.overload.track(),
        };
        self.tasks
            .send(Task::Answer(Box::new(pending)))
            .map_err(|_| ApiError::internal())?;
        match tokio::time::timeout_at(until.into(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ApiError::internal()),
            Err(_) => Err(out_of_time()),
        }
    }

    pub(in crate::serve) fn phase(&self) -> Phase {
        self.shared.phase().clone()
    }

    /// The loaded model, if it is loaded.
    pub(in crate::serve) fn info(&self) -> Option<Arc<ModelInfo>> {
        match self.phase() {
            Phase::Ready(info) => Some(info),
            _ => None,
        }
    }

    /// Waits until the model is loaded; loads it if nobody has asked for it yet.
    pub(in crate::serve) async fn loaded(
        &self,
        until: Instant,
    ) -> Result<Arc<ModelInfo>, ApiError> {
        if matches!(self.phase(), Phase::Unloaded) {
            self.load();
        }
        loop {
            match self.phase() {
                Phase::Ready(info) => return Ok(info),
                Phase::Failed(failure) => return Err(unavailable(&failure)),
                Phase::Unloaded | Phase::Loading { .. } if Instant::now() >= until => {
                    return Err(out_of_time());
                }
                Phase::Unloaded | Phase::Loading { .. } => {
                    tokio::time::sleep(CHECK_PHASE_EVERY).await;
                }
            }
        }
    }
}

fn unavailable(failure: &LoadFailure) -> ApiError {
    ApiError::unavailable(failure.kind, "the model cannot be loaded")
}

/// The answer to a request that overload turns away.
pub(in crate::serve) fn overloaded() -> ApiError {
    ApiError::busy(
        "overloaded",
        "more requests arrive than this server can answer",
        1,
    )
    .hint("come back later, or use `POST /jobs` and fetch the answer")
}

fn out_of_time() -> ApiError {
    ApiError::unavailable("deadline", "the answer was not ready in time")
}

impl Shared {
    fn phase(&self) -> std::sync::MutexGuard<'_, Phase> {
        self.phase.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, phase: Phase) {
        *self.phase() = phase;
    }

    /// A model that is in use stays `Ready` while it is loaded again.
    fn set_loading(&self) {
        let mut phase = self.phase();
        let after = match &*phase {
            Phase::Ready(_) | Phase::Loading { .. } => return,
            Phase::Unloaded => None,
            Phase::Failed(failure) => Some(failure.clone()),
        };
        *phase = Phase::Loading { after };
    }
}

struct InferenceThread {
    config: Arc<ModelConfig>,
    limits: Limits,
    cache: Arc<Cache>,
    shared: Arc<Shared>,
    session: Option<Session>,
    failed: Option<(Instant, LoadFailure)>,
}

impl InferenceThread {
    fn run(mut self, tasks: &Receiver<Task>) {
        for task in tasks {
            match task {
                Task::Load => {
                    let _ = self.load();
                }
                Task::Answer(pending) => self.take(*pending),
            }
        }
    }

    /// Answers a question, unless its client has left or it waited too long.
    fn take(&mut self, pending: PendingQuestion) {
        let PendingQuestion {
            question, reply, ..
        } = pending;
        if reply.is_closed() {
            return;
        }
        let now = Instant::now();
        if now >= pending.until {
            let _ = reply.send(Err(out_of_time()));
            return;
        }
        let is_client = pending.caller == Caller::Client;
        if is_client && self.shared.overload.has_waited_too_long(pending.since, now) {
            let _ = reply.send(Err(overloaded()));
            return;
        }
        let answer = self.answer(question, pending.lookup, &|| reply.is_closed());
        let _ = reply.send(answer);
    }

    /// Loads the model. If that fails, a model that is in use stays in use.
    fn load(&mut self) -> Result<(), LoadFailure> {
        let started = Instant::now();
        if self.session.is_none() {
            self.shared.set_loading();
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
        question: Question,
        lookup: Lookup,
        client_left: &dyn Fn() -> bool,
    ) -> Result<Served, ApiError> {
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
        // Another model may have been loaded since the keys were made.
        let keys = lookup.and_then(|(id, keys)| (id == session.info.id).then_some(keys));
        let mut pixels = None;
        let mut is_cached = false;
        let mut find = |photo: &Photo| {
            let (digest, found) = self.cache.by_pixels(keys.as_ref()?, photo);
            pixels = Some(digest);
            let (answer, level) = found?;
            tracing::debug!(?level, "found in the cache");
            is_cached = true;
            Some(answer)
        };
        let answer = catch_unwind(AssertUnwindSafe(|| {
            session.answer(question, client_left, &mut find)
        }));
        let Ok(answer) = answer else {
            // The panic may have left its memory in any state.
            tracing::error!("answering a request panicked; the model is loaded again");
            self.session = None;
            let _ = self.load();
            return Err(ApiError::internal());
        };
        let answer = answer?;
        if !is_cached {
            self.shared.overload.record(started.elapsed());
            if let Some((keys, pixels)) = keys.as_ref().zip(pixels) {
                self.cache.keep(keys, pixels, &answer);
            }
        }
        Ok(Served::new(answer, is_cached))
    }
}
