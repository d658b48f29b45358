//! `POST /predict` and its alias `/upload`: a photo in, classes out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::app::{App, OVERHEAD_BYTES, Served, Shed};
use super::ask::{Ask, Asked, MAX_TEXT_BYTES, Subject};
use super::body::{Faults, Paced, collect};
use super::document::{document, leased};
use super::error::ApiError;
use super::load::Patience;
use super::router::RequestId;

/// Parts of a multipart body: the photo, options and fields.
const MAX_PARTS: usize = 80;

/// Names of the multipart field that holds the photo. `file` is what many existing clients send.
const PHOTO_FIELDS: [&str; 2] = ["image", "file"];

/// A request that was read: the question, and how its answer is to look.
pub(super) struct Read {
    pub ask: Ask,
    pub form: Form,
}

/// How an answer is to look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    pub top: Option<usize>,
    pub png: bool,
}

/// `POST /predict`.
pub(super) async fn predict(
    State(app): State<Arc<App>>,
    id: RequestId,
    request: Request,
) -> Result<Response, ApiError> {
    let entry = app.enter(length(request.headers())).await?;
    let Read { ask, form } = read(&app, request).await?;
    let served = app.serve(ask, Patience::Client, entry.until).await?;
    drop(entry);
    respond(served, form, &id)
}

pub(super) fn length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Bodies are taken as they are: a compressed one could become any size.
pub(super) fn refuse_encoded(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "body_encoded",
            "bodies with a content encoding are not taken",
        )
        .hint("send the photo as it is: it is compressed already")),
        _ => Ok(()),
    }
}

pub(super) async fn read(app: &App, request: Request) -> Result<Read, ApiError> {
    let headers = request.headers();
    refuse_encoded(headers)?;
    let mut asked = Asked::from_query(request.uri().query().unwrap_or_default())?;
    asked.fresh = Asked::wants_fresh(headers);
    let png = Asked::wants_png(headers);
    if png {
        asked.want_heat_map();
    }
    let kind = headers.get(header::CONTENT_TYPE);
    let kind = kind.and_then(|v| v.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    let expected = length(headers);
    let limit = app.config.max_upload_bytes;
    let photo = if kind == "multipart/form-data" {
        read_multipart(request, &mut asked, limit + OVERHEAD_BYTES, expected).await?
    } else if kind == "application/json" {
        let (paced, faults) = Paced::new(request.into_body(), limit / 3 * 4 + OVERHEAD_BYTES);
        let body = collect(paced, &faults, expected).await?;
        asked.take_json(&body)?
    } else if kind.starts_with("image/") || kind == "application/octet-stream" {
        let (paced, faults) = Paced::new(request.into_body(), limit);
        collect(paced, &faults, expected).await?
    } else {
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "the body is neither a form, nor a photo, nor JSON",
        )
        .hint(
            "curl -F image=@photo.jpg URL, or send the photo with `Content-Type: image/jpeg`, \
             or JSON with `image` as base64",
        ));
    };
    let form = Form {
        top: asked.top,
        png,
    };
    let mut ask = asked.finish(Subject::Photo(photo), app.config.model.gradcam)?;
    ask.picture_only = png;
    Ok(Read { ask, form })
}

async fn read_multipart(
    request: Request,
    asked: &mut Asked,
    limit: u64,
    expected: Option<u64>,
) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    let (paced, faults) = Paced::new(body, limit);
    let request = Request::from_parts(parts, Body::new(paced));
    let broken = |faults: &Faults| {
        faults.or(limit, || {
            ApiError::bad("bad_form", "the multipart body is damaged or cut off")
                .hint("curl -F image=@photo.jpg URL")
        })
    };
    let mut form = Multipart::from_request(request, &())
        .await
        .map_err(|_| broken(&faults))?;
    let mut photo = None;
    let mut parts = 0;
    while let Some(mut field) = form.next_field().await.map_err(|_| broken(&faults))? {
        parts += 1;
        if parts > MAX_PARTS {
            return Err(ApiError::bad(
                "too_many_parts",
                format!("the form has more than {MAX_PARTS} parts"),
            ));
        }
        let name = field.name().unwrap_or_default().to_owned();
        let is_photo = PHOTO_FIELDS.contains(&name.as_str());
        if is_photo && photo.is_some() {
            return Err(
                ApiError::bad("several_photos", "the form has more than one photo")
                    .hint("send one request for each"),
            );
        }
        let capacity = if is_photo { expected.unwrap_or(0) } else { 0 };
        let mut content = Vec::with_capacity(usize::try_from(capacity.min(limit)).unwrap_or(0));
        while let Some(piece) = field.chunk().await.map_err(|_| broken(&faults))? {
            if !is_photo && content.len() + piece.len() > MAX_TEXT_BYTES {
                return Err(ApiError::bad(
                    "field_too_long",
                    format!("a form field has more than {MAX_TEXT_BYTES} bytes"),
                )
                .hint("the photo goes into the field `image`"));
            }
            content.extend_from_slice(&piece);
        }
        if is_photo {
            photo = Some(Bytes::from(content));
        } else {
            let text = String::from_utf8(content)
                .map_err(|_| ApiError::bad("bad_option", "a form field is not UTF-8"))?;
            asked.set(&name, text.trim())?;
        }
    }
    photo.ok_or_else(|| {
        ApiError::bad("photo_missing", "the form has no field `image`")
            .hint("curl -F image=@photo.jpg URL")
    })
}

fn respond(served: Served, form: Form, id: &RequestId) -> Result<Response, ApiError> {
    if !form.png {
        return Ok(json(document(served, form, id)?.into_body()));
    }
    let Some(map) = &served.answer.heat_map else {
        return Err(Shed::Crowded.into());
    };
    let mut response = Response::new(leased(map.png.clone(), served.picture));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    let top1 = &served.answer.labels[served.answer.prediction.top1()];
    if let Ok(value) = HeaderValue::from_str(top1) {
        headers.insert("x-dermal-top1", value);
    }
    Ok(response)
}

pub(super) fn json(text: Body) -> Response {
    let mut response = Response::new(text);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}
