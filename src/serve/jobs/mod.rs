//! Questions whose answer is fetched later: `POST /jobs`, `GET` and `DELETE /jobs/ID`.
//!
//! Without Redis a job lives and is answered in this process (`local`). With it the job goes into a
//! queue that replicas and workers share (`queue`): any replica shows it, any worker with the same
//! model answers it. A job is known by a random name that nobody can guess.

mod local;
mod queue;

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::admission::Lease;
use super::app::{App, LEASE_PATIENCE};
use super::ask::{Ask, Subject};
use super::document::{document, leased};
use super::error::ApiError;
use super::load::Patience;
use super::predict::{self, Form, Read, json};
use super::router::RequestId;

pub(super) use local::{Jobs, State as JobState};
pub(super) use queue::{Begun, Question, Queue, QueueLimits, Stats, Taken, expired};

/// Characters of a job's name: 16 bytes in hexadecimal.
const ID_CHARS: usize = 32;

/// `POST /jobs`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    app.refuse_while_draining()?;
    let lease = app.lease_body(predict::length(request.headers())).await?;
    let Read { ask, form } = predict::read(&app, request).await?;
    if form.png {
        return Err(ApiError::bad(
            "job_as_picture",
            "a job's answer is JSON, with the picture in it",
        )
        .hint("leave `Accept: image/png` out"));
    }
    // What is no photo is told at once.
    if let Subject::Photo(photo) = &ask.subject {
        crate::predict::decode::cost(photo, &app.limits)?;
    }
    let job = match &app.queue {
        None => post_local(&app, ask, (form, id, lease))?,
        Some(queue) => post_shared(&app, queue, &ask, (form, id)).await?,
    };
    let url = format!("/jobs/{job}");
    let document = serde_json::json!({ "id": job, "status": "queued", "url": url });
    let mut response = (StatusCode::ACCEPTED, axum::Json(document)).into_response();
    if let Ok(location) = HeaderValue::from_str(&url) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

fn post_local(
    app: &Arc<App>,
    ask: Ask,
    rest: (Form, RequestId, Lease),
) -> Result<String, ApiError> {
    let job = app.jobs.open()?;
    let task = tokio::spawn(run_local(Arc::clone(app), job.clone(), ask, rest));
    app.jobs.set_task(&job, task.abort_handle());
    Ok(job)
}

async fn run_local(app: Arc<App>, job: String, ask: Ask, rest: (Form, RequestId, Lease)) {
    let (form, id, lease) = rest;
    // The semaphore is never closed.
    let Ok(_turn) = app.jobs.turn.acquire().await else {
        return;
    };
    app.jobs.set(&job, JobState::Running);
    let until = Instant::now() + app.config.deadline;
    let served = app.serve(ask, Patience::Job, until).await;
    drop(lease);
    let state = match served.and_then(|served| document(served, form, &id)) {
        Ok(answer) => JobState::Done(Arc::new(answer)),
        Err(error) => JobState::Failed(error.to_value()),
    };
    app.jobs.set(&job, state);
}

async fn post_shared(
    app: &App,
    queue: &Queue,
    ask: &Ask,
    (form, id): (Form, RequestId),
) -> Result<String, ApiError> {
    let Subject::Photo(photo) = &ask.subject else {
        return Err(ApiError::internal());
    };
    // The queue is that of the model's content.
    let model = app
        .desk
        .pool
        .loaded(Instant::now() + app.config.deadline)
        .await?;
    // The command to Redis holds the photo once more.
    let copy = app
        .admission
        .lease(photo.len() as u64, LEASE_PATIENCE)
        .await;
    let _copy = copy.ok_or_else(|| app.memory_full())?;
    let job = new_id()?;
    let mut options = ask.options();
    options.extend(form.top.map(|top| ("top".to_owned(), top.to_string())));
    let question = Question {
        request_id: id.0.to_string(),
        options,
    };
    let limits = QueueLimits {
        most_open: app.config.max_jobs,
        wait: app.config.job_wait,
        expiry: app.config.job_expiry,
        answers_bytes: app.config.job_answers_bytes,
    };
    let name = (model.content.as_str(), job.as_str());
    if queue.push(name, limits, &question, photo).await? {
        Ok(job)
    } else {
        Err(full())
    }
}

/// `GET /jobs/{id}`.
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
) -> Result<Response, ApiError> {
    let Some(queue) = &app.queue else {
        return Ok(json(app.jobs.show(&job).ok_or_else(no_such_job)?));
    };
    let shown = queue.show(checked(&job)?).await?.ok_or_else(no_such_job)?;
    let document = shown.document(&job);
    if shown.answer_bytes == 0 {
        return Ok(json(document.to_string().into()));
    }
    // As it comes from Redis, and in the response.
    let lease = app
        .admission
        .lease(shown.answer_bytes * 2, LEASE_PATIENCE)
        .await
        .ok_or_else(|| app.memory_full())?;
    let answer = queue.answer(&job).await?.ok_or_else(no_such_job)?;
    let name = if shown.status == "done" {
        "result"
    } else {
        "error"
    };
    Ok(json(leased(
        with_member(&document, name, &answer),
        Some(lease),
    )))
}

/// `DELETE /jobs/{id}`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
) -> Result<StatusCode, ApiError> {
    let found = match &app.queue {
        None => app.jobs.cancel(&job).is_some(),
        Some(queue) => queue.cancel(checked(&job)?).await?,
    };
    found
        .then_some(StatusCode::NO_CONTENT)
        .ok_or_else(no_such_job)
}

fn no_such_job() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_job",
        "there is no such job, or it has expired",
    )
}

fn full() -> ApiError {
    ApiError::busy("jobs_full", "too many jobs wait already", 5)
}

fn new_id() -> Result<String, ApiError> {
    let mut random = [0; ID_CHARS / 2];
    getrandom::fill(&mut random).map_err(|_| ApiError::internal())?;
    Ok(format!("{:032x}", u128::from_le_bytes(random)))
}

/// A name that may be that of a job: nothing else becomes part of a key.
fn checked(id: &str) -> Result<&str, ApiError> {
    let is_name = id.len() == ID_CHARS && id.bytes().all(|b| b.is_ascii_hexdigit());
    is_name.then_some(id).ok_or_else(no_such_job)
}

/// What stands before and after one more member of an object.
fn around_member(document: &Value, name: &str) -> [String; 2] {
    let mut before = document.to_string();
    before.pop();
    [before + ",\"" + name + "\":", "}".to_owned()]
}

/// An object with one more member, which is JSON already and may be large.
fn with_member(document: &Value, name: &str, member: &str) -> String {
    let [before, after] = around_member(document, name);
    [&before, member, &after].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_jobs_are_random_and_nothing_else_is_one() {
        let (first, second) = (new_id().unwrap(), new_id().unwrap());
        assert_ne!(first, second);
        assert_eq!(checked(&first).unwrap(), first);
        for bad in ["", "x", "../../etc", &format!("{}*", &first[1..])] {
            assert_eq!(checked(bad).unwrap_err().kind, "no_such_job", "{bad}");
        }
    }

    #[test]
    fn an_answer_is_put_in_as_it_is() {
        let document = serde_json::json!({ "id": "x" });
        assert_eq!(
            with_member(&document, "result", "{\"a\": 1}"),
            "{\"id\":\"x\",\"result\":{\"a\": 1}}"
        );
    }
}
