//! `POST /jobs`, `GET /jobs/ID` and `DELETE /jobs/ID`.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::predict::{PredictRequest, json, read};
use crate::predict::decode;
use crate::serve::admission::{Caller, Reservation};
use crate::serve::answer::AnswerFormat;
use crate::serve::app::App;
use crate::serve::error::ApiError;
use crate::serve::http::document::{document, reserved_body};
use crate::serve::http::request::{RequestId, content_length};
use crate::serve::jobs::{
    JobRequest, JobState, Queue, QueueLimits, check_id, full, new_id, no_such_job, with_member,
};
use crate::serve::question::{Question, Subject};

/// `POST /jobs`.
pub(super) async fn post(
    State(app): State<Arc<App>>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    app.refuse_while_draining()?;
    let body = app.reserve_body(content_length(request.headers())).await?;
    let PredictRequest { question, format } = read(&app, request).await?;
    if format.png {
        return Err(ApiError::bad(
            "job_as_picture",
            "a job's answer is JSON that contains the picture",
        )
        .hint("leave `Accept: image/png` out"));
    }
    // A body that is not a photo is refused at once, and not when the job runs.
    if let Subject::Photo(photo) = &question.subject {
        decode::cost(photo, &app.limits)?;
    }
    let job = match &app.queue {
        None => post_local(&app, question, (format, id, body))?,
        Some(queue) => post_shared(&app, queue, &question, (format, id)).await?,
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
    question: Question,
    rest: (AnswerFormat, RequestId, Reservation),
) -> Result<String, ApiError> {
    let job = app.jobs.open()?;
    let task = tokio::spawn(run_local(Arc::clone(app), job.clone(), question, rest));
    app.jobs.set_task(&job, task.abort_handle());
    Ok(job)
}

async fn run_local(
    app: Arc<App>,
    job: String,
    question: Question,
    (format, id, body): (AnswerFormat, RequestId, Reservation),
) {
    // It cannot fail: the semaphore is never closed.
    let Ok(_turn) = app.jobs.turn.acquire().await else {
        return;
    };
    app.jobs.set(&job, JobState::Running);
    let until = Instant::now() + app.config.deadline;
    let served = app.serve(question, Caller::Job, until).await;
    drop(body);
    let state = match served.and_then(|served| document(served, format, &id)) {
        Ok(answer) => JobState::Done(Arc::new(answer)),
        Err(error) => JobState::Failed(error.to_value()),
    };
    app.jobs.set(&job, state);
}

async fn post_shared(
    app: &App,
    queue: &Queue,
    question: &Question,
    (format, id): (AnswerFormat, RequestId),
) -> Result<String, ApiError> {
    let Subject::Photo(photo) = &question.subject else {
        return Err(ApiError::internal());
    };
    // The queue is named after the content of the model.
    let until = Instant::now() + app.config.deadline;
    let model = app.model.inference.loaded(until).await?;
    // The command to Redis contains a copy of the photo.
    let _copy = app.reserve(photo.len() as u64).await?;
    let job = new_id()?;
    let mut options = question.options();
    options.extend(format.top.map(|top| ("top".to_owned(), top.to_string())));
    let request = JobRequest {
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
    if queue.push(name, limits, &request, photo).await? {
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
    let status = queue.show(check_id(&job)?).await?.ok_or_else(no_such_job)?;
    let document = status.document(&job);
    if status.answer_bytes == 0 {
        return Ok(json(document.to_string().into()));
    }
    // Once as it comes from Redis, once in the response.
    let copies = app.reserve(status.answer_bytes * 2).await?;
    let answer = queue.answer(&job).await?.ok_or_else(no_such_job)?;
    let name = if status.status == "done" {
        "result"
    } else {
        "error"
    };
    let text = with_member(&document, name, &answer);
    Ok(json(reserved_body(text, Some(copies))))
}

/// `DELETE /jobs/{id}`.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Path(job): Path<String>,
) -> Result<StatusCode, ApiError> {
    let found = match &app.queue {
        None => app.jobs.cancel(&job).is_some(),
        Some(queue) => queue.cancel(check_id(&job)?).await?,
    };
    found
        .then_some(StatusCode::NO_CONTENT)
        .ok_or_else(no_such_job)
}
