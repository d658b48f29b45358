//! `POST /predict` and its alias `/upload`: a photo in, classes out.

use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{FromRequest, Multipart, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http_body::Frame;
use serde::Serialize;

use super::admission::Lease;
use super::app::{App, OVERHEAD_BYTES, Served};
use super::ask::{Ask, Asked, MAX_TEXT_BYTES, Subject};
use super::body::{Faults, Paced, collect};
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
    let (entry, request) = app.admit(request).await?;
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
    let ask = asked.finish(Subject::Photo(photo), app.config.model.gradcam)?;
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

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    request_id: &'a str,
    model: &'a str,
    top1: &'a str,
    predictions: Vec<ClassRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    image: Option<Size>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<FieldsRecord<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradcam: Option<GradcamRecord<'a>>,
    /// A heat map was asked for, but the server had too much to do.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    gradcam_shed: bool,
    cached: bool,
    timing_ms: TimingRecord,
}

#[derive(Serialize)]
struct ClassRecord<'a> {
    class: &'a str,
    index: usize,
    probability: f32,
}

#[derive(Serialize)]
struct Size {
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct FieldsRecord<'a> {
    used: &'a [String],
    missing: &'a [String],
}

#[derive(Serialize)]
struct GradcamRecord<'a> {
    layer: &'a str,
    class: Option<&'a str>,
    method: &'a str,
    map_size: [usize; 2],
    blank: bool,
    width: usize,
    height: usize,
    content_type: &'static str,
    png_base64: String,
}

#[derive(Serialize)]
struct TimingRecord {
    decode: f64,
    preprocess: f64,
    inference: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gradcam: Option<f64>,
}

pub(super) fn document(served: &Served, form: Form, id: &RequestId) -> Result<String, ApiError> {
    let answer = &served.answer;
    let ranked = answer.prediction.ranked();
    let predictions: Vec<_> = ranked
        .iter()
        .take(form.top.unwrap_or(usize::MAX))
        .map(|&(index, probability)| ClassRecord {
            class: &answer.labels[index],
            index,
            probability,
        })
        .collect();
    let timing = answer.prediction.timing;
    let ms = |time: std::time::Duration| time.as_secs_f64() * 1e3;
    let has_fields = !(answer.used_fields.is_empty() && answer.missing_fields.is_empty());
    let document = Document {
        schema_version: 1,
        request_id: &id.0,
        model: &answer.model,
        top1: &answer.labels[answer.prediction.top1()],
        predictions,
        image: answer.photo.map(|[width, height]| Size { width, height }),
        fields: has_fields.then_some(FieldsRecord {
            used: &answer.used_fields,
            missing: &answer.missing_fields,
        }),
        gradcam: answer.heat_map.as_ref().map(|map| GradcamRecord {
            layer: &map.layer,
            class: map.class.as_deref(),
            method: map.method,
            map_size: map.map_size,
            blank: map.blank,
            width: map.size[0],
            height: map.size[1],
            content_type: "image/png",
            png_base64: STANDARD.encode(&map.png),
        }),
        gradcam_shed: served.shed,
        cached: served.cached,
        timing_ms: TimingRecord {
            decode: ms(timing.decode),
            preprocess: ms(timing.preprocess),
            inference: ms(timing.inference),
            gradcam: answer.heat_map.as_ref().map(|_| answer.gradcam_ms),
        },
    };
    serde_json::to_string(&document).map_err(|error| {
        tracing::error!(%error, "an answer cannot be written as JSON");
        ApiError::internal()
    })
}

fn respond(served: Served, form: Form, id: &RequestId) -> Result<Response, ApiError> {
    if !form.png {
        let text = document(&served, form, id)?;
        return Ok(leased(json(text.into()), served.picture));
    }
    let Some(map) = &served.answer.heat_map else {
        return Err(ApiError::busy(
            "heat_map_shed",
            "heat maps are left out while the server has too much to do",
            2,
        ));
    };
    let mut response = Response::new(Body::from(map.png.clone()));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("image/png"));
    let top1 = &served.answer.labels[served.answer.prediction.top1()];
    if let Ok(value) = HeaderValue::from_str(top1) {
        headers.insert("x-dermal-top1", value);
    }
    Ok(leased(response, served.picture))
}

pub(super) fn json(text: Body) -> Response {
    let mut response = Response::new(text);
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A response whose bytes stay set aside until the client has them.
pub(super) fn leased(response: Response, lease: Option<Lease>) -> Response {
    match lease {
        None => response,
        Some(lease) => response.map(|inner| {
            Body::new(Leased {
                inner,
                _lease: lease,
            })
        }),
    }
}

struct Leased {
    inner: Body,
    _lease: Lease,
}

impl HttpBody for Leased {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        std::pin::Pin::new(&mut self.inner).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.inner.size_hint()
    }
}
