//! `POST /predict` and its alias `/upload`: a photo in, classes out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;

use super::{form, json_body};
use crate::serve::admission::Caller;
use crate::serve::answer::{AnswerFormat, Omission, Served};
use crate::serve::app::{App, OVERHEAD_BYTES};
use crate::serve::error::ApiError;
use crate::serve::http::body::{LimitedBody, collect};
use crate::serve::http::document::{document, reserved_body};
use crate::serve::http::request::{RequestId, content_length, refuse_encoded};
use crate::serve::question::{Question, QuestionBuilder, Subject};

/// A request that was read.
pub(super) struct PredictRequest {
    pub question: Question,
    pub format: AnswerFormat,
}

/// `POST /predict`.
pub(super) async fn predict(
    State(app): State<Arc<App>>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let admitted = app.admit(content_length(request.headers())).await?;
    let PredictRequest { question, format } = read(&app, request).await?;
    let served = app.serve(question, Caller::Client, admitted.until).await?;
    drop(admitted);
    respond(served, format, &id)
}

/// Reads a photo and its options, in whichever form they come.
pub(super) async fn read(app: &App, request: Request) -> Result<PredictRequest, ApiError> {
    let headers = request.headers();
    refuse_encoded(headers)?;
    let mut question = QuestionBuilder::from_query(request.uri().query().unwrap_or_default())?;
    question.fresh = QuestionBuilder::wants_fresh(headers);
    let png = QuestionBuilder::wants_png(headers);
    if png {
        question.want_heat_map();
    }
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let expected = content_length(headers);
    let limit = app.config.max_upload_bytes;
    let photo = if kind == "multipart/form-data" {
        form::read(request, &mut question, limit + OVERHEAD_BYTES).await?
    } else if kind == "application/json" {
        // Base64 has four bytes for three.
        let limit = limit / 3 * 4 + OVERHEAD_BYTES;
        let (body, errors) = LimitedBody::new(request.into_body(), limit);
        let body = collect(body, &errors, expected).await?;
        json_body::read(&body, &mut question)?
    } else if kind.starts_with("image/") || kind == "application/octet-stream" {
        let (body, errors) = LimitedBody::new(request.into_body(), limit);
        collect(body, &errors, expected).await?
    } else {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "the body is not a form, a photo or JSON",
        )
        .hint(
            "curl -F image=@photo.jpg URL, or send the photo with `Content-Type: image/jpeg`, \
             or JSON with `image` as base64",
        ));
    };
    finish(app, question, photo, png)
}

fn finish(
    app: &App,
    question: QuestionBuilder,
    photo: Bytes,
    png: bool,
) -> Result<PredictRequest, ApiError> {
    let format = AnswerFormat {
        top: question.top,
        png,
    };
    let mut question = question.finish(Subject::Photo(photo), app.config.model.gradcam)?;
    question.heat_map_only = png;
    Ok(PredictRequest { question, format })
}

fn respond(served: Served, format: AnswerFormat, id: &RequestId) -> Result<Response, ApiError> {
    if !format.png {
        return Ok(json(document(served, format, id)?.into_body()));
    }
    let Some(map) = &served.answer.heat_map else {
        return Err(Omission::Busy.into());
    };
    let mut response = Response::new(reserved_body(map.png.clone(), served.picture));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    let top1 = &served.answer.labels[served.answer.prediction.top1()];
    if let Ok(value) = HeaderValue::from_str(top1) {
        headers.insert("x-dermal-top1", value);
    }
    Ok(response)
}

/// A response of JSON text.
pub(super) fn json(text: Body) -> Response {
    let mut response = Response::new(text);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
