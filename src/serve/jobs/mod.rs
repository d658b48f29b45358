//! Jobs: questions whose answer the client fetches later.
//!
//! Without Redis a job lives and is answered in this process (`local`). With Redis it goes into a queue
//! that replicas and workers share (`queue`): any replica shows it, any worker with the same model
//! answers it. A job has a random id that nobody can guess.

mod local;
mod queue;

use axum::http::StatusCode;
use serde_json::Value;

use super::error::ApiError;

pub(super) use local::{LocalJobs, State as JobState};
pub(super) use queue::{JobRequest, JobStart, Queue, QueueLimits, QueueStats, TakenJob, expired};

/// Characters of a job's id: 16 bytes in hexadecimal.
const ID_CHARS: usize = 32;

pub(super) fn no_such_job() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_job",
        "there is no such job, or it has expired",
    )
}

pub(super) fn full() -> ApiError {
    ApiError::busy("jobs_full", "too many jobs are waiting already", 5)
}

/// A random id for a new job.
pub(super) fn new_id() -> Result<String, ApiError> {
    let mut random = [0; ID_CHARS / 2];
    getrandom::fill(&mut random).map_err(|_| ApiError::internal())?;
    Ok(format!("{:032x}", u128::from_le_bytes(random)))
}

/// Checks that a text may be the id of a job, so that nothing else becomes part of a key in Redis.
pub(super) fn check_id(id: &str) -> Result<&str, ApiError> {
    let is_id = id.len() == ID_CHARS && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(id).ok_or_else(no_such_job)
}

/// The texts before and after one more member of an object.
fn around_member(document: &Value, name: &str) -> [String; 2] {
    let mut before = document.to_string();
    before.pop();
    [before + ",\"" + name + "\":", "}".to_owned()]
}

/// An object with one more member, which is JSON already and may be large.
pub(super) fn with_member(document: &Value, name: &str, member: &str) -> String {
    let [before, after] = around_member(document, name);
    [&before, member, &after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_random_and_nothing_else_is_one() {
        let (first, second) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(first, second);
        assert_eq!(check_id(&first).unwrap(), first);
        for bad in ["", "x", "../../etc", &format!("{}*", &first[1..])] {
            assert_eq!(check_id(bad).unwrap_err().kind, "no_such_job", "{bad}");
        }
    }

    #[test]
    fn an_answer_is_inserted_unchanged() {
        let document = serde_json::json!({ "id": "x" });
        assert_eq!(
            with_member(&document, "result", "{\"a\": 1}"),
            "{\"id\":\"x\",\"result\":{\"a\": 1}}"
        );
    }
}
