//! Errors of one request ([`ApiError`]), and of the server itself ([`ServeError`]).
//!
//! The error of a request tells the client what it can do. Paths, addresses and causes are only in the
//! log, and a message never repeats more than the beginning of what the client sent ([`short`]).

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::explain::ExplainError;
pub(super) use crate::text::shorten as short;

use crate::hint::{Arguments, Hint, named};
use crate::predict::{DecodeError, FieldError, InputError, PredictError};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is in use, or belongs to another machine.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address that was asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The operating system does not give a thread or a signal handler.
    #[error("cannot start the server")]
    Start(#[source] std::io::Error),
    /// The URL of Redis cannot be parsed. It may contain a password, so the message does not repeat it.
    #[error("the URL of Redis cannot be parsed")]
    RedisUrl,
    /// The certificate for Redis is not one, or the URL does not use TLS.
    #[error("the certificate for Redis cannot be used")]
    RedisCa,
    /// The file with API keys cannot be read.
    #[error("cannot read the keys in `{}`", path.display())]
    KeysFile {
        /// The path that was asked for.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The file with the certificates for Redis cannot be read.
    #[error("cannot read `--redis-ca` (or DERMAL_REDIS_CA) `{}`", path.display())]
    RedisCaFile {
        /// The path that was asked for.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// There is no file at the model's path.
    #[error("{} `{}`", if *.is_folder { "the model is a folder:" } else { "there is no model" }, path.display())]
    NoModel {
        /// The path that was asked for.
        path: PathBuf,
        /// Whether there is a folder.
        is_folder: bool,
    },
    /// The model of a worker cannot be loaded.
    #[error("the model cannot be loaded: {0}")]
    Model(String),
    /// The budget is too small for the program and one photo.
    #[error("a budget of {budget} bytes is too small: {needed} are needed for the smallest photo")]
    Budget {
        /// The budget that was asked for.
        budget: u64,
        /// What the program, uploads and one small photo take.
        needed: u64,
    },
}

impl Hint for ServeError {
    fn kind(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Start(_) => "start",
            Self::RedisUrl => "redis_url",
            Self::RedisCa => "redis_ca",
            Self::KeysFile { .. } => "keys_file",
            Self::RedisCaFile { .. } => "redis_ca_file",
            Self::NoModel { .. } => "no_model",
            Self::Model(_) => "model",
            Self::Budget { .. } => "budget",
        }
    }

    fn hint(&self) -> String {
        match self {
            Self::Bind { .. } => {
                "choose another port with `--port` (or PORT), or stop the program that uses it"
            }
            Self::Start(_) => "raise the limit of threads or open files of this user",
            Self::RedisUrl => {
                "write `redis://[user:password@]host[:port][/number]`, or `rediss://` for TLS"
            }
            Self::RedisCa => {
                "give a PEM file with the authority's certificate, and a URL that begins with \
                 `rediss://`"
            }
            Self::KeysFile { .. } => {
                "check the path (`--api-keys-file`, or the variable DERMAL_API_KEYS_FILE): a text file \
                 with one key a line"
            }
            Self::RedisCaFile { .. } => {
                "check the path: a PEM file with the authority's certificate; without the option \
                 public authorities are trusted"
            }
            Self::NoModel { .. } => {
                "check the path (MODEL, or the variable DERMAL_MODEL); in a container, whether the image \
                 has the file or the volume is mounted"
            }
            Self::Model(_) => "name another artifact, or import the model again",
            Self::Budget { .. } => "raise `--budget`, or lower `--max-upload` and `--queue`",
        }
        .to_owned()
    }

    fn arguments(&self) -> Arguments {
        match self {
            Self::Bind { address, .. } => named!(%address),
            Self::KeysFile { path, .. } | Self::RedisCaFile { path, .. } => named!(path),
            Self::NoModel { path, is_folder } => named!(path, is_folder),
            Self::Model(problem) => named!(problem),
            Self::Budget { budget, needed } => named!(budget, needed),
            Self::Start(_) | Self::RedisUrl | Self::RedisCa => named!(),
        }
    }
}

/// Why a request is refused or fails.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub status: StatusCode,
    /// A stable name of the kind of error.
    pub kind: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// The values in the message of the library's errors, which a page can say in its own language.
    arguments: Arguments,
    /// After how many seconds the client may try again.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            hint: None,
            arguments: Arguments::default(),
            retry_after: None,
        }
    }

    pub(super) fn bad(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// The server is too busy; the client may try again after `seconds`.
    pub(super) fn busy(kind: &'static str, message: impl Into<String>, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds.max(1)),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, kind, message)
        }
    }

    pub(super) fn unavailable(kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            retry_after: Some(2),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, kind, message)
        }
    }

    pub(super) fn internal() -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "the server failed; its log has the reason, under this request id",
        )
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of the library, without its hint.
    fn library(status: StatusCode, error: &impl Hint) -> Self {
        Self {
            arguments: error.arguments(),
            ..Self::new(status, error.kind(), error.to_string())
        }
    }

    /// Adds a hint of the library, unless the hint is about the command line.
    fn library_hint(self, hint: String) -> Self {
        if hint.contains("`--") || hint.contains("`dermal ") {
            self
        } else {
            self.hint(hint)
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<DecodeError> for ApiError {
    fn from(error: DecodeError) -> Self {
        let status = match &error {
            DecodeError::TooManyBytes { .. }
            | DecodeError::TooManyPixels { .. }
            | DecodeError::TooMuchMemory { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            DecodeError::NotAPhoto(_) | DecodeError::Unsupported { .. } => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            _ => StatusCode::BAD_REQUEST,
        };
        let hint = match &error {
            DecodeError::TooManyBytes { .. } | DecodeError::TooManyPixels { .. } => {
                "scale the photo down".to_owned()
            }
            DecodeError::TooMuchMemory { .. } => {
                "save it as a smaller or non-progressive JPEG".to_owned()
            }
            other => other.hint(),
        };
        Self::library(status, &error).hint(hint)
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::library(StatusCode::BAD_REQUEST, &error).library_hint(error.hint())
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        Self::library(StatusCode::BAD_REQUEST, &error).library_hint(error.hint())
    }
}

impl From<PredictError> for ApiError {
    fn from(error: PredictError) -> Self {
        match error {
            PredictError::Decode(error) => error.into(),
            PredictError::Input(error) => error.into(),
            PredictError::NotFinite { .. } | PredictError::NotProbability { .. } => {
                Self::library(StatusCode::UNPROCESSABLE_ENTITY, &error)
            }
            other => {
                tracing::error!(kind = other.kind(), error = %other, "prediction failed");
                Self::internal()
            }
        }
    }
}

impl From<ExplainError> for ApiError {
    fn from(error: ExplainError) -> Self {
        match &error {
            ExplainError::NoMap | ExplainError::Class { .. } => {
                Self::library(StatusCode::UNPROCESSABLE_ENTITY, &error)
            }
            other => {
                tracing::error!(kind = other.kind(), error = %other, "heat map failed");
                Self::internal()
            }
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: Body<'a>,
}

#[derive(Serialize)]
struct Body<'a> {
    kind: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<&'a str>,
    #[serde(skip_serializing_if = "Arguments::is_empty")]
    arguments: &'a Arguments,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

/// The kind of error, attached to a response for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorKind(pub &'static str);

impl ApiError {
    /// The error as a JSON value, for the documents of jobs.
    pub(super) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        Body {
            kind: self.kind,
            message: &self.message,
            hint: self.hint.as_deref(),
            arguments: &self.arguments,
            retry_after_seconds: self.retry_after,
        }
    }

    /// Adds status, headers and the kind for the log to a response.
    pub(super) fn decorate(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(
            self.status,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        ) {
            // The rest of the body is not read, so the connection cannot be used again.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(ErrorKind(self.kind));
        response
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = axum::Json(Envelope { error: self.body() }).into_response();
        self.decorate(body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_of_the_command_line_stay_there() {
        let error = InputError::Missing {
            name: "patient".into(),
            expected: 3,
        };
        assert!(error.hint().contains("`--input"));
        let error = ApiError::from(error);
        assert_eq!(error.hint, None);
        assert_eq!(error.status, StatusCode::BAD_REQUEST);
        let error = ApiError::from(DecodeError::NotAPhoto("a PDF"));
        assert_eq!(error.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert!(error.hint.unwrap().contains("JPEG"));
    }

    #[test]
    fn values_of_a_message_are_fields_of_their_own() {
        let error = ApiError::from(DecodeError::TooManyPixels {
            width: 9000,
            height: 8000,
            limit: 40_000_000,
        });
        let expected = serde_json::json!({
            "kind": "too_many_pixels",
            "message": "the photo has 9000x8000 pixels, the limit is 40000000 in all",
            "hint": "scale the photo down",
            "arguments": {"height": 8000, "limit": 40_000_000, "width": 9000},
        });
        assert_eq!(error.to_value(), expected);
        // No more of what a client sent than in the message.
        let error = ApiError::from(InputError::Unknown {
            name: "x".repeat(500),
            hint: String::new(),
        });
        let name = error.to_value()["arguments"]["name"].to_string();
        assert!(name.len() < 90, "{name}");
        let busy = ApiError::busy("queue_full", "wait", 3).to_value();
        assert_eq!(busy.get("arguments"), None);
    }
}
