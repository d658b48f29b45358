//! Jobs that live in this process, for hosts on which an answer takes longer than clients wait.
//!
//! A job's photo is kept until the job is answered, the answer until it expires. Jobs run one after the
//! other, so that at most one of them delays the clients that wait for their answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::serve::error::ApiError;
use crate::serve::http::document::Document;

/// The state of a job.
#[derive(Clone, Debug)]
pub(in crate::serve) enum State {
    Queued,
    Running,
    Done(Arc<Document>),
    Failed(Value),
    Cancelled,
}

impl State {
    fn name(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Done(_) => "done",
            Self::Failed(_) => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    fn is_open(&self) -> bool {
        matches!(self, Self::Queued | Self::Running)
    }
}

#[derive(Debug)]
struct Job {
    state: State,
    changed: Instant,
    task: Option<tokio::task::AbortHandle>,
}

impl Job {
    fn reserved_bytes(&self) -> u64 {
        match &self.state {
            State::Done(document) => document.reserved_bytes(),
            _ => 0,
        }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct LocalJobs {
    kept: Mutex<HashMap<String, Job>>,
    max_jobs: usize,
    /// Most bytes that the pictures in all answers may take.
    max_picture_bytes: u64,
    expiry: Duration,
    /// Held by the job that runs.
    pub turn: Semaphore,
}

impl LocalJobs {
    pub(in crate::serve) fn new(max_jobs: usize, expiry: Duration, max_picture_bytes: u64) -> Self {
        Self {
            kept: Mutex::default(),
            max_jobs,
            max_picture_bytes,
            expiry,
            turn: Semaphore::new(1),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Job>> {
        let mut jobs = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| job.state.is_open() || job.changed.elapsed() < self.expiry);
        jobs
    }

    /// Opens a job and returns its id. If there are too many, the oldest answered job is removed.
    pub(in crate::serve) fn open(&self) -> Result<String, ApiError> {
        let mut jobs = self.locked();
        if jobs.len() >= self.max_jobs {
            let answered = jobs.iter().filter(|(_, job)| !job.state.is_open());
            let oldest = answered.min_by_key(|(_, job)| job.changed);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                return Err(super::full());
            };
            jobs.remove(&oldest);
        }
        let id = super::new_id()?;
        jobs.insert(
            id.clone(),
            Job {
                state: State::Queued,
                changed: Instant::now(),
                task: None,
            },
        );
        Ok(id)
    }

    /// Remembers the task to abort if the job is cancelled.
    pub(in crate::serve) fn set_task(&self, id: &str, task: tokio::task::AbortHandle) {
        if let Some(job) = self.locked().get_mut(id) {
            job.task = Some(task);
        }
    }

    /// Changes the state of a job, unless it was cancelled. If the answers take too much memory, the
    /// oldest are removed.
    pub(in crate::serve) fn set(&self, id: &str, state: State) {
        let mut jobs = self.locked();
        if let Some(job) = jobs.get_mut(id)
            && job.state.is_open()
        {
            job.state = state;
            job.changed = Instant::now();
        }
        while jobs.values().map(Job::reserved_bytes).sum::<u64>() > self.max_picture_bytes {
            let others = jobs
                .iter()
                .filter(|(other, job)| *other != id && job.reserved_bytes() > 0);
            let oldest = others.min_by_key(|(_, job)| job.changed);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else {
                break;
            };
            jobs.remove(&oldest);
        }
    }

    /// Removes a job, and stops it if it still runs.
    pub(in crate::serve) fn cancel(&self, id: &str) -> Option<()> {
        let job = self.locked().remove(id)?;
        if let Some(task) = job.task.filter(|_| job.state.is_open()) {
            task.abort();
        }
        Some(())
    }

    /// Stops every job that still waits or runs: the server is stopping.
    pub(in crate::serve) fn cancel_all(&self) {
        for job in self.locked().values_mut().filter(|j| j.state.is_open()) {
            job.state = State::Cancelled;
            if let Some(task) = &job.task {
                task.abort();
            }
        }
    }

    /// Number of jobs that wait or run.
    pub(in crate::serve) fn open_count(&self) -> usize {
        self.locked().values().filter(|j| j.state.is_open()).count()
    }

    /// The job as JSON.
    pub(in crate::serve) fn show(&self, id: &str) -> Option<Body> {
        let (state, left) = {
            let jobs = self.locked();
            let job = jobs.get(id)?;
            let left = self.expiry.saturating_sub(job.changed.elapsed());
            (job.state.clone(), left.as_secs())
        };
        let mut document = json!({ "id": id, "status": state.name() });
        if !state.is_open() {
            document["expires_in_seconds"] = left.into();
        }
        match state {
            State::Done(answer) => {
                let [before, after] = super::around_member(&document, "result");
                Some(answer.body_between(&before, &after))
            }
            State::Failed(error) => {
                document["error"] = error;
                Some(document.to_string().into())
            }
            _ => Some(document.to_string().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    fn done(text: &str) -> State {
        State::Done(Arc::new(Document::from(text.to_owned())))
    }

    async fn shown(jobs: &LocalJobs, id: &str) -> Option<Value> {
        let body = jobs.show(id)?.collect().await.unwrap().to_bytes();
        Some(serde_json::from_slice(&body).unwrap())
    }

    async fn status(jobs: &LocalJobs, id: &str) -> Option<String> {
        Some(shown(jobs, id).await?["status"].as_str()?.to_owned())
    }

    #[tokio::test]
    async fn answered_jobs_make_room_and_waiting_jobs_do_not() {
        let jobs = LocalJobs::new(2, Duration::from_mins(1), 0);
        let first = jobs.open().unwrap();
        let second = jobs.open().unwrap();
        assert_ne!(first, second);
        assert_eq!(jobs.open().unwrap_err().kind, "jobs_full");
        jobs.set(&first, done("{\"a\":1}"));
        let document = shown(&jobs, &first).await.unwrap();
        assert_eq!(document["result"]["a"], 1);
        assert_eq!(document["status"], "done");
        let third = jobs.open().unwrap();
        assert!(jobs.show(&first).is_none());
        assert_eq!(status(&jobs, &third).await.as_deref(), Some("queued"));
        assert_eq!(jobs.open_count(), 2);
        jobs.cancel_all();
        jobs.set(&third, State::Running);
        assert_eq!(status(&jobs, &third).await.as_deref(), Some("cancelled"));
        assert!(jobs.cancel(&third).is_some());
        assert!(jobs.cancel(&third).is_none());
    }

    #[tokio::test]
    async fn answers_expire() {
        let jobs = LocalJobs::new(2, Duration::ZERO, 0);
        let id = jobs.open().unwrap();
        assert_eq!(status(&jobs, &id).await.as_deref(), Some("queued"));
        jobs.set(&id, State::Failed(json!({"kind": "x"})));
        assert!(jobs.show(&id).is_none());
    }
}
