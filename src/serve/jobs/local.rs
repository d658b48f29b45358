//! Jobs of this process, for hosts that are slower than clients are patient.
//!
//! A job's photo lives until its answer does, its answer until it expires. Jobs wait behind each
//! other, so that at most one of them stands in the way of those who wait for their answer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::super::admission::Lease;
use super::super::error::ApiError;

/// What became of a job.
#[derive(Clone, Debug)]
pub(in crate::serve) enum State {
    Queued,
    Running,
    Done(Arc<str>),
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
    /// Held: the bytes that its answer takes stay set aside.
    picture: Option<Lease>,
}

/// See the module's documentation.
#[derive(Debug)]
pub(in crate::serve) struct Jobs {
    kept: Mutex<HashMap<String, Job>>,
    most: usize,
    expiry: Duration,
    /// Whose turn it is.
    pub turn: Semaphore,
}

impl Jobs {
    pub(in crate::serve) fn new(most: usize, expiry: Duration) -> Self {
        Self {
            kept: Mutex::default(),
            most,
            expiry,
            turn: Semaphore::new(1),
        }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<String, Job>> {
        let mut jobs = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.retain(|_, job| job.state.is_open() || job.changed.elapsed() < self.expiry);
        jobs
    }

    /// A new job's name. When there are too many, the oldest answered one makes room.
    pub(in crate::serve) fn open(&self) -> Result<String, ApiError> {
        let mut jobs = self.locked();
        if jobs.len() >= self.most {
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
                picture: None,
            },
        );
        Ok(id)
    }

    /// Remembers what to abort if the job is cancelled.
    pub(in crate::serve) fn set_task(&self, id: &str, task: tokio::task::AbortHandle) {
        if let Some(job) = self.locked().get_mut(id) {
            job.task = Some(task);
        }
    }

    /// Moves a job on, unless it was cancelled meanwhile.
    pub(in crate::serve) fn set(&self, id: &str, state: State, picture: Option<Lease>) {
        if let Some(job) = self.locked().get_mut(id)
            && job.state.is_open()
        {
            job.state = state;
            job.changed = Instant::now();
            job.picture = picture;
        }
    }

    /// Forgets a job, and stops it if it is not done.
    pub(in crate::serve) fn cancel(&self, id: &str) -> Option<()> {
        let job = self.locked().remove(id)?;
        if let Some(task) = job.task.filter(|_| job.state.is_open()) {
            task.abort();
        }
        Some(())
    }

    /// Stops every job that is not done: the server is going.
    pub(in crate::serve) fn cancel_all(&self) {
        for job in self.locked().values_mut().filter(|j| j.state.is_open()) {
            job.state = State::Cancelled;
            if let Some(task) = &job.task {
                task.abort();
            }
        }
    }

    /// Jobs that are not done.
    pub(in crate::serve) fn open_count(&self) -> usize {
        self.locked().values().filter(|j| j.state.is_open()).count()
    }

    /// The job as JSON text.
    pub(in crate::serve) fn show(&self, id: &str) -> Option<String> {
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
            State::Done(answer) => Some(super::with_member(&document, "result", &answer)),
            State::Failed(error) => {
                document["error"] = error;
                Some(document.to_string())
            }
            _ => Some(document.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(jobs: &Jobs, id: &str) -> Option<String> {
        let document: Value = serde_json::from_str(&jobs.show(id)?).unwrap();
        Some(document["status"].as_str().unwrap().to_owned())
    }

    #[test]
    fn answers_make_room_and_waiting_jobs_do_not() {
        let jobs = Jobs::new(2, Duration::from_mins(1));
        let first = jobs.open().unwrap();
        let second = jobs.open().unwrap();
        assert_ne!(first, second);
        assert_eq!(jobs.open().unwrap_err().kind, "jobs_full");
        jobs.set(&first, State::Done(Arc::from("{\"a\":1}")), None);
        let shown: Value = serde_json::from_str(&jobs.show(&first).unwrap()).unwrap();
        assert_eq!(shown["result"]["a"], 1);
        assert_eq!(shown["status"], "done");
        let third = jobs.open().unwrap();
        assert!(jobs.show(&first).is_none());
        assert_eq!(status(&jobs, &third).as_deref(), Some("queued"));
        assert_eq!(jobs.open_count(), 2);
        jobs.cancel_all();
        jobs.set(&third, State::Running, None);
        assert_eq!(status(&jobs, &third).as_deref(), Some("cancelled"));
        assert!(jobs.cancel(&third).is_some());
        assert!(jobs.cancel(&third).is_none());
    }

    #[test]
    fn answers_expire() {
        let jobs = Jobs::new(2, Duration::ZERO);
        let id = jobs.open().unwrap();
        assert_eq!(status(&jobs, &id).as_deref(), Some("queued"));
        jobs.set(&id, State::Failed(json!({"kind": "x"})), None);
        assert!(jobs.show(&id).is_none());
    }
}
