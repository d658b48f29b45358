//! The Open Inference Protocol, version 2, REST
//! (<https://github.com/kserve/open-inference-protocol>), with Triton's binary tensor extension
//! (<https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md>):
//! what KServe and `tritonclient[http]` speak.
//!
//! Input `image` is a photo file (`BYTES`, in JSON as base64) or a prepared tensor (`FP32`, `[N, height,
//! width, channels]`); every other input of the model is `FP32`. The outputs are `probabilities` (`FP32`)
//! and `label` (`BYTES`); with Triton's `classification` parameter an output consists of
//! `probability:index:label` texts. Fields of a patient are request parameters.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::base64;
use super::health::readiness;
use super::tensors::{Data, InferRequest, InputTensor, MAX_BATCH, most_float_bytes};
use crate::predict::ExtraInput;
use crate::serve::admission::Caller;
use crate::serve::answer::Answer;
use crate::serve::app::{App, OVERHEAD_BYTES};
use crate::serve::error::{ApiError, short};
use crate::serve::http::body::{LimitedBody, collect};
use crate::serve::http::json::from_slice;
use crate::serve::http::request::{content_length, refuse_encoded};
use crate::serve::model::{ModelInfo, Phase};
use crate::serve::question::{OPTIONS, QuestionBuilder, Subject};

/// Header with the length of the JSON part of a body with binary tensors.
const HEADER_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");

/// The name of the photo's input.
const IMAGE: &str = "image";
const PROBABILITIES: &str = "probabilities";
const LABEL: &str = "label";

/// Request parameters that Triton's clients send and that have no effect here.
const IGNORED_PARAMETERS: [&str; 7] = [
    "binary_data_output",
    "priority",
    "sequence_end",
    "sequence_id",
    "sequence_start",
    "timeout",
    "triton_enable_empty_final_response",
];

/// An error in the form of the protocol: `{"error": "..."}`.
#[derive(Debug)]
pub(super) struct ProtocolError(ApiError);

impl<E: Into<ApiError>> From<E> for ProtocolError {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for ProtocolError {
    fn into_response(self) -> Response {
        let body = Json(json!({ "error": self.0.message })).into_response();
        self.0.decorate(body)
    }
}

/// The model that a path names. Every model has the one version 1.
pub(super) struct ModelPath(String);

impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = ProtocolError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ProtocolError> {
        let extract = Path::<std::collections::HashMap<String, String>>::from_request_parts;
        let wrong = |_| ApiError::bad("bad_path", "the path is not UTF-8");
        let Path(mut names) = extract(parts, state).await.map_err(wrong)?;
        if names.get("version").is_some_and(|version| version != "1") {
            return Err(no_such_model().into());
        }
        Ok(Self(names.remove("model").unwrap_or_default()))
    }
}

fn no_such_model() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "no_such_model",
        "this server does not have that model or version",
    )
}

/// `GET /v2`.
pub(super) async fn server() -> Json<Value> {
    Json(json!({
        "name": "dermal",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": ["binary_tensor_data", "classification"],
    }))
}

/// `GET /v2/health/live`.
pub(super) async fn live() -> Json<Value> {
    Json(json!({ "live": true }))
}

/// `GET /v2/health/ready`.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    match readiness(&app) {
        Ok(_) => Json(json!({ "ready": true })).into_response(),
        Err((kind, message)) => ProtocolError(ApiError::unavailable(kind, message)).into_response(),
    }
}

/// The loaded model, if it has the name in the path. A lazy server begins to load it.
fn info(app: &App, path: &ModelPath) -> Result<Arc<ModelInfo>, ApiError> {
    let Some(info) = app.model.inference.info() else {
        let is_unloaded = matches!(app.model.inference.phase(), Phase::Unloaded);
        if is_unloaded && !app.is_draining() {
            app.model.inference.load();
        }
        return Err(ApiError::unavailable(
            "loading",
            "the model is not loaded yet",
        ));
    };
    if info.name != path.0 {
        return Err(no_such_model().hint(format!("this server has `{}`", info.name)));
    }
    Ok(info)
}

/// `GET /v2/models/{model}/ready`.
pub(super) async fn model_ready(
    State(app): State<Arc<App>>,
    path: ModelPath,
) -> Result<Json<Value>, ProtocolError> {
    let info = info(&app, &path)?;
    Ok(Json(json!({ "name": info.name, "ready": true })))
}

/// `GET /v2/models/{model}`.
pub(super) async fn model(
    State(app): State<Arc<App>>,
    path: ModelPath,
) -> Result<Json<Value>, ProtocolError> {
    let info = info(&app, &path)?;
    let mut inputs = vec![json!({ "name": IMAGE, "datatype": "BYTES", "shape": [-1] })];
    for input in &info.extra_inputs {
        inputs.push(json!({
            "name": input.name,
            "datatype": "FP32",
            "shape": [-1, input.len],
            "parameters": { "optional": input.optional },
        }));
    }
    Ok(Json(json!({
        "name": info.name,
        "versions": ["1"],
        "platform": "dermal",
        "inputs": inputs,
        "outputs": [
            { "name": PROBABILITIES, "datatype": "FP32", "shape": [-1, info.labels.len()] },
            { "name": LABEL, "datatype": "BYTES", "shape": [-1] },
        ],
    })))
}

/// The values of an input: one entry for each photo or number.
#[derive(Debug, PartialEq)]
enum Values {
    Bytes(Vec<Bytes>),
    Floats(Vec<f32>),
}

fn bad(message: impl Into<String>) -> ApiError {
    ApiError::bad("bad_tensor", message)
}

/// `POST /v2/models/{model}/infer`.
pub(super) async fn infer(
    State(app): State<Arc<App>>,
    path: ModelPath,
    request: Request,
) -> Result<Response, ProtocolError> {
    let admitted = app.admit(content_length(request.headers())).await?;
    refuse_encoded(request.headers())?;
    let info = info(&app, &path)?;
    let header_length = match request.headers().get(HEADER_LENGTH) {
        None => None,
        Some(value) => {
            let number = value.to_str().ok().and_then(|text| text.parse().ok());
            Some(number.ok_or_else(|| bad("Inference-Header-Content-Length is not a number"))?)
        }
    };
    let expected = content_length(request.headers());
    let limit = app.config.max_upload_bytes / 3 * 4 + OVERHEAD_BYTES;
    let (limited, errors) = LimitedBody::new(request.into_body(), limit);
    let mut body = collect(limited, &errors, expected).await?;
    let binary = match header_length {
        Some(at) if at <= body.len() => body.split_off(at),
        Some(_) => {
            return Err(bad("Inference-Header-Content-Length is larger than the body").into());
        }
        None => Bytes::new(),
    };
    // A number may take more memory than its text.
    let more = most_float_bytes(&body).saturating_sub(body.len() as u64);
    let _numbers = app.reserve(more).await?;
    let mut asked: InferRequest =
        from_slice(&body).map_err(|error| bad(format!("bad JSON: {error}")))?;
    drop(body);
    let elements = elements(&info, &mut asked, binary)?;
    let mut base = QuestionBuilder::default();
    for (name, value) in &asked.parameters {
        if IGNORED_PARAMETERS.contains(&name.as_str()) {
            continue;
        }
        if OPTIONS.contains(&name.as_str()) {
            return Err(bad(format!("option `{name}` has no effect in this protocol")).into());
        }
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        base.set(name, &text)?;
    }
    let mut answers = Vec::with_capacity(elements.len());
    for Element { subject, inputs } in elements {
        let mut question = base.clone().finish(subject, app.config.model.gradcam)?;
        question.inputs.extend(inputs);
        answers.push(
            app.serve(question, Caller::Client, admitted.until)
                .await?
                .answer,
        );
    }
    Ok(respond(&info, &asked, &answers)?)
}

/// One photo of a batch, and the numbers that belong to it.
struct Element {
    subject: Subject,
    inputs: Vec<ExtraInput>,
}

/// Splits the tensors into one element for each photo.
fn elements(
    info: &ModelInfo,
    asked: &mut InferRequest,
    mut binary: Bytes,
) -> Result<Vec<Element>, ApiError> {
    let mut photos = None;
    let mut extras: Vec<(&str, Vec<f32>)> = Vec::new();
    for tensor in &mut asked.inputs {
        let values = values(tensor, &mut binary)?;
        if tensor.name == IMAGE {
            if photos.is_some() {
                return Err(bad("input `image` is given twice"));
            }
            photos = Some(subjects(values, &tensor.shape)?);
            continue;
        }
        let Some(known) = info.extra_inputs.iter().find(|i| i.name == tensor.name) else {
            let names: Vec<_> = info.extra_inputs.iter().map(|i| i.name.as_str()).collect();
            let names = names.join("`, `");
            return Err(bad(format!(
                "the model has no input `{}`; it has `{IMAGE}`{}{names}{}",
                short(&tensor.name),
                if names.is_empty() { "" } else { ", `" },
                if names.is_empty() { "" } else { "`" },
            )));
        };
        let Values::Floats(numbers) = values else {
            return Err(bad(format!("input `{}`: expected FP32", known.name)));
        };
        if extras.iter().any(|(name, _)| *name == known.name) {
            return Err(bad(format!("input `{}` is given twice", known.name)));
        }
        extras.push((&known.name, numbers));
    }
    if !binary.is_empty() {
        return Err(bad("the body has more bytes than its tensors"));
    }
    let photos = photos.ok_or_else(|| bad("input `image` is missing"))?;
    let count = photos.len();
    let mut elements: Vec<Element> = photos
        .into_iter()
        .map(|subject| Element {
            subject,
            inputs: Vec::new(),
        })
        .collect();
    for (name, numbers) in extras {
        if numbers.is_empty() || numbers.len() % count != 0 {
            return Err(bad(format!(
                "input `{name}`: {} numbers for {count} photos",
                numbers.len()
            )));
        }
        let each = numbers.len() / count;
        for (element, values) in elements.iter_mut().zip(numbers.chunks_exact(each)) {
            element.inputs.push(ExtraInput {
                name: name.to_owned(),
                values: values.to_vec(),
            });
        }
    }
    Ok(elements)
}

fn subjects(values: Values, shape: &[u64]) -> Result<Vec<Subject>, ApiError> {
    let subjects: Vec<Subject> = match values {
        Values::Bytes(photos) => photos.into_iter().map(Subject::Photo).collect(),
        Values::Floats(mut numbers) => {
            // [height, width, channels], or with a batch in front.
            let count = match shape {
                [n, _, _, _] => usize::try_from(*n).unwrap_or(usize::MAX),
                [_, _, _] => 1,
                _ => return Err(bad("input `image`: expected [N, height, width, channels]")),
            };
            if count == 0 || count > MAX_BATCH || numbers.len() % count != 0 {
                return Err(bad(format!(
                    "input `image`: expected 1 to {MAX_BATCH} photos"
                )));
            }
            let each = numbers.len() / count;
            // Taken from the back, so that no number is in memory twice.
            let mut photos: Vec<_> = (1..count)
                .map(|_| {
                    let last = numbers.split_off(numbers.len() - each);
                    numbers.shrink_to_fit();
                    Subject::Tensor(last)
                })
                .collect();
            photos.push(Subject::Tensor(numbers));
            photos.reverse();
            photos
        }
    };
    if subjects.is_empty() || subjects.len() > MAX_BATCH {
        return Err(bad(format!(
            "input `image`: expected 1 to {MAX_BATCH} photos"
        )));
    }
    Ok(subjects)
}

/// The values of a tensor, from JSON or from the front of the binary part.
fn values(tensor: &mut InputTensor, binary: &mut Bytes) -> Result<Values, ApiError> {
    let name = short(&tensor.name);
    let count = tensor
        .shape
        .iter()
        .try_fold(1_usize, |n, &extent| {
            n.checked_mul(usize::try_from(extent).ok()?)
        })
        .ok_or_else(|| bad(format!("input `{name}`: its shape is too large")))?;
    let values = if let Some(size) = tensor.parameters.get("binary_data_size") {
        let size = size.as_u64().and_then(|size| usize::try_from(size).ok());
        let size = size.filter(|&size| size <= binary.len());
        let size =
            size.ok_or_else(|| bad(format!("input `{name}`: its bytes reach past the body")))?;
        let own = binary.split_to(size);
        from_binary(&name, &tensor.datatype, own)?
    } else {
        let data = tensor.data.take();
        let data = data.ok_or_else(|| bad(format!("input `{name}` has no data")))?;
        from_json(&name, &tensor.datatype, data)?
    };
    let got = match &values {
        Values::Bytes(values) => values.len(),
        Values::Floats(values) => values.len(),
    };
    if got != count {
        return Err(bad(format!(
            "input `{name}`: its shape has {count} values, its data {got}"
        )));
    }
    Ok(values)
}

fn from_binary(name: &str, datatype: &str, mut own: Bytes) -> Result<Values, ApiError> {
    match datatype {
        "FP32" => {
            let (words, rest) = own.as_chunks::<4>();
            if !rest.is_empty() {
                return Err(bad(format!("input `{name}`: FP32 has 4 bytes a number")));
            }
            let numbers: Vec<f32> = words.iter().map(|w| f32::from_le_bytes(*w)).collect();
            finite(name, numbers)
        }
        "BYTES" => {
            let cut = || bad(format!("input `{name}`: an element is cut off"));
            let mut elements = Vec::new();
            while !own.is_empty() {
                let length = own.first_chunk::<4>().ok_or_else(cut)?;
                let length = u32::from_le_bytes(*length) as usize;
                let _ = own.split_to(4);
                if length > own.len() || elements.len() >= MAX_BATCH {
                    return Err(cut());
                }
                elements.push(own.split_to(length));
            }
            Ok(Values::Bytes(elements))
        }
        other => Err(wrong_type(name, other)),
    }
}

fn wrong_type(name: &str, got: &str) -> ApiError {
    bad(format!(
        "input `{name}`: expected BYTES or FP32, got `{}`",
        short(got)
    ))
}

fn finite(name: &str, numbers: Vec<f32>) -> Result<Values, ApiError> {
    if numbers.iter().all(|v| v.is_finite()) {
        Ok(Values::Floats(numbers))
    } else {
        Err(bad(format!(
            "input `{name}` has numbers that are not finite"
        )))
    }
}

fn from_json(name: &str, datatype: &str, data: Data) -> Result<Values, ApiError> {
    let Data { floats, texts } = data;
    match datatype {
        "FP32" if texts.is_empty() => finite(name, floats),
        "FP32" => Err(bad(format!("input `{name}`: expected numbers"))),
        "BYTES" if floats.is_empty() => {
            let photos = texts
                .into_iter()
                .map(|text| base64::decode(name, text.as_bytes()));
            Ok(Values::Bytes(photos.collect::<Result<_, _>>()?))
        }
        "BYTES" => Err(bad(format!("input `{name}`: expected base64"))),
        other => Err(wrong_type(name, other)),
    }
}

/// One output of the answer.
struct Output {
    name: &'static str,
    datatype: &'static str,
    shape: Vec<usize>,
    values: OutputValues,
    binary: bool,
}

enum OutputValues {
    Floats(Vec<f32>),
    Texts(Vec<String>),
}

impl Output {
    fn to_json(&self) -> Value {
        let mut document = json!({
            "name": self.name, "datatype": self.datatype, "shape": self.shape,
        });
        if self.binary {
            document["parameters"] = json!({ "binary_data_size": self.to_bytes().len() });
        } else {
            document["data"] = match &self.values {
                OutputValues::Floats(values) => json!(values),
                OutputValues::Texts(values) => json!(values),
            };
        }
        document
    }

    fn to_bytes(&self) -> Vec<u8> {
        match &self.values {
            OutputValues::Floats(values) => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            OutputValues::Texts(values) => {
                let mut bytes = Vec::new();
                for text in values {
                    // A label is far shorter than 4 GB.
                    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
                    bytes.extend(length.to_le_bytes());
                    bytes.extend(text.as_bytes());
                }
                bytes
            }
        }
    }
}

fn respond(
    info: &ModelInfo,
    asked: &InferRequest,
    answers: &[Arc<Answer>],
) -> Result<Response, ApiError> {
    let flag =
        |parameters: &Map<String, Value>, name: &str| parameters.get(name).and_then(Value::as_bool);
    let all_binary = flag(&asked.parameters, "binary_data_output").unwrap_or(false);
    let mut outputs = Vec::new();
    if asked.outputs.is_empty() {
        for name in [PROBABILITIES, LABEL] {
            outputs.push(output(name, answers, None, all_binary)?);
        }
    }
    for wanted in &asked.outputs {
        let classes = wanted.parameters.get("classification");
        let classes = classes.and_then(Value::as_u64).filter(|&n| n > 0);
        let classes = classes.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
        let binary = flag(&wanted.parameters, "binary_data").unwrap_or(all_binary);
        outputs.push(output(&wanted.name, answers, classes, binary)?);
    }
    let mut document = json!({
        "model_name": info.name,
        "model_version": "1",
        "outputs": outputs.iter().map(Output::to_json).collect::<Vec<_>>(),
        "parameters": { "model_id": answers.first().map_or(&info.id, |a| &a.model) },
    });
    if let Some(id) = &asked.id {
        document["id"] = Value::from(id.chars().take(256).collect::<String>());
    }
    let mut body = document.to_string().into_bytes();
    let json_length = body.len();
    let has_binary = outputs.iter().any(|output| output.binary);
    for output in outputs.iter().filter(|output| output.binary) {
        body.extend(output.to_bytes());
    }
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    let kind = if has_binary {
        headers.insert(HEADER_LENGTH, HeaderValue::from(json_length));
        "application/octet-stream"
    } else {
        "application/json"
    };
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn output(
    name: &str,
    answers: &[Arc<Answer>],
    classes: Option<usize>,
    binary: bool,
) -> Result<Output, ApiError> {
    let count = answers.len();
    let (name, datatype, shape, values) = match (name, classes) {
        (PROBABILITIES, Some(top)) => {
            let mut texts = Vec::new();
            let mut each = 0;
            for answer in answers {
                let ranked = answer.prediction.ranked();
                each = ranked.len().min(top);
                for &(index, probability) in &ranked[..each] {
                    texts.push(format!("{probability}:{index}:{}", answer.labels[index]));
                }
            }
            let values = OutputValues::Texts(texts);
            (PROBABILITIES, "BYTES", vec![count, each], values)
        }
        (PROBABILITIES, None) => {
            let all = answers.iter().flat_map(|a| &a.prediction.probabilities);
            let values: Vec<f32> = all.copied().collect();
            let shape = vec![count, values.len() / count.max(1)];
            (PROBABILITIES, "FP32", shape, OutputValues::Floats(values))
        }
        (LABEL, None) => {
            let top1 = |a: &Arc<Answer>| a.labels[a.prediction.top1()].clone();
            let values = OutputValues::Texts(answers.iter().map(top1).collect());
            (LABEL, "BYTES", vec![count], values)
        }
        (LABEL, Some(_)) => return Err(bad("`classification` is for output `probabilities`")),
        (other, _) => {
            return Err(bad(format!(
                "there is no output `{}`; the outputs are `{PROBABILITIES}` and `{LABEL}`",
                short(other)
            )));
        }
    };
    Ok(Output {
        name,
        datatype,
        shape,
        values,
        binary,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tensor(json: &str) -> InputTensor {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn binary_tensors_are_taken_from_the_front() {
        let mut binary = Bytes::from_static(b"\x02\0\0\0ab\x01\0\0\0c\0\0\x80\x3f");
        let mut photos = tensor(
            r#"{"name":"image","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":11}}"#,
        );
        let expected = [Bytes::from_static(b"ab"), Bytes::from_static(b"c")];
        let got = values(&mut photos, &mut binary).unwrap();
        assert_eq!(got, Values::Bytes(expected.to_vec()));
        let mut number = tensor(
            r#"{"name":"x","shape":[1,1],"datatype":"FP32","parameters":{"binary_data_size":4}}"#,
        );
        assert_eq!(
            values(&mut number, &mut binary).unwrap(),
            Values::Floats(vec![1.0])
        );
        assert!(binary.is_empty());
    }

    #[test]
    fn lying_tensors_are_refused() {
        for (json, bytes, says) in [
            (
                r#"{"name":"i","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":9}}"#,
                &b"\x05\0\0\0ab"[..],
                "past the body",
            ),
            (
                r#"{"name":"i","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":6}}"#,
                b"\x05\0\0\0ab",
                "cut off",
            ),
            (
                r#"{"name":"i","shape":[2],"datatype":"BYTES","parameters":{"binary_data_size":6}}"#,
                b"\x02\0\0\0ab",
                "its shape has 2 values, its data 1",
            ),
            (
                r#"{"name":"i","shape":[4294967296,4294967296],"datatype":"FP32","data":[]}"#,
                b"",
                "too large",
            ),
            (
                r#"{"name":"i","shape":[1],"datatype":"INT64","data":[1]}"#,
                b"",
                "got `INT64`",
            ),
            (
                r#"{"name":"i","shape":[1],"datatype":"FP32"}"#,
                b"",
                "no data",
            ),
            (
                r#"{"name":"i","shape":[1],"datatype":"FP32","data":["1"]}"#,
                b"",
                "expected numbers",
            ),
            (
                r#"{"name":"i","shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}}"#,
                b"\0\0\x80\x7f",
                "not finite",
            ),
        ] {
            let mut binary = Bytes::from_static(bytes);
            let error = values(&mut tensor(json), &mut binary).unwrap_err();
            assert!(error.message.contains(says), "{json}: {error}");
        }
    }

    #[test]
    fn a_batch_is_split_in_order() {
        let numbers: Vec<f32> = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0].to_vec();
        let taken = |shape: &[u64]| -> Vec<Vec<f32>> {
            let all = subjects(Values::Floats(numbers.clone()), shape).unwrap();
            all.into_iter()
                .map(|one| match one {
                    Subject::Tensor(numbers) => numbers,
                    Subject::Photo(_) => Vec::new(),
                })
                .collect()
        };
        assert_eq!(taken(&[1, 2, 3]), [numbers.as_slice()]);
        assert_eq!(taken(&[3, 1, 1, 2]), [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]);
        assert!(subjects(Values::Floats(Vec::new()), &[2, 0, 1, 3]).is_ok());
    }
}
