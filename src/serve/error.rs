//! What can go wrong: for one request ([`ApiError`]), and for the server itself ([`ServeError`]).
//!
//! A request's error says what the client can act on. Paths, addresses and sources of errors stay
//! in the log.

use std::fmt;
use std::net::SocketAddr;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::explain::ExplainError;
use crate::predict::{DecodeError, FieldError, InputError, PredictError};

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error("cannot listen on {address}")]
    Bind {
        /// As asked for.
        address: SocketAddr,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The operating system gives no thread or no signal handler.
    #[error("cannot start the server")]
    Start(#[source] std::io::Error),
    /// The address of Redis is not understood. It may hold a password, so it is not repeated.
    #[error("the URL of Redis is not understood")]
    RedisUrl,
    /// The certificate that Redis is to be known by is none, or there is no TLS to use it for.
    #[error("the certificate of Redis' authority cannot be used")]
    RedisCa,
    /// A worker's model cannot be loaded.
    #[error("the model cannot be loaded: {0}")]
    Model(String),
    /// The budget does not hold the model and one photo.
    #[error("a budget of {budget} bytes is too small: {needed} are needed for the smallest photo")]
    Budget {
        /// As asked for.
        budget: u64,
        /// What the program, uploads and one small photo take.
        needed: u64,
    },
}

impl ServeError {
    /// A stable name of the kind of error.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "bind",
            Self::Start(_) => "start",
            Self::RedisUrl => "redis_url",
            Self::RedisCa => "redis_ca",
            Self::Model(_) => "model",
            Self::Budget { .. } => "budget",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Bind { .. } => {
                "choose another port with `--port` (or PORT), or stop what uses it"
            }
            Self::Start(_) => "raise the limit of threads or open files of this user",
            Self::RedisUrl => {
                "write `redis://[user:password@]host[:port][/number]`, or `rediss://` for TLS"
            }
            Self::RedisCa => {
                "give a PEM file with the authority's certificate, and a URL that begins with \
                 `rediss://`"
            }
            Self::Model(_) => "name another artifact, or import the model again",
            Self::Budget { .. } => "raise `--budget`, or lower `--max-upload` and `--queue`",
        }
    }
}

/// Why a request gets no answer. Small enough to be passed around by value.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    pub status: StatusCode,
    /// A stable name.
    pub kind: &'static str,
    pub message: String,
    pub hint: Option<String>,
    /// Seconds after which trying again makes sense.
    pub retry_after: Option<u64>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            kind,
            message: message.into(),
            hint: None,
            retry_after: None,
        }
    }

    pub(super) fn bad(kind: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, kind, message)
    }

    /// Too much to do. Trying again after `seconds` makes sense.
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
            "the server failed; its log has the reason under this request id",
        )
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A hint of the library, unless it speaks of the command line.
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
                "scale the photo down"
            }
            DecodeError::TooMuchMemory { .. } => "save it as a smaller or non-progressive JPEG",
            other => other.hint(),
        };
        Self::new(status, error.kind(), error.to_string()).hint(hint)
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self::bad(error.kind(), error.to_string()).library_hint(error.hint())
    }
}

impl From<InputError> for ApiError {
    fn from(error: InputError) -> Self {
        Self::bad(error.kind(), error.to_string()).library_hint(error.hint())
    }
}

impl From<PredictError> for ApiError {
    fn from(error: PredictError) -> Self {
        match error {
            PredictError::Decode(error) => error.into(),
            PredictError::Input(error) => error.into(),
            PredictError::NotFinite { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                error.kind(),
                error.to_string(),
            ),
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
            ExplainError::NoMap | ExplainError::Class { .. } => Self::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                error.kind(),
                error.to_string(),
            ),
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
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

/// The kind of the error that a response carries, for the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorKind(pub &'static str);

impl ApiError {
    /// The error as a value for documents that hold several answers.
    pub(super) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self.body()).unwrap_or_default()
    }

    fn body(&self) -> Body<'_> {
        Body {
            kind: self.kind,
            message: &self.message,
            hint: self.hint.as_deref(),
            retry_after_seconds: self.retry_after,
        }
    }

    /// Status, headers and log entry around a body that a protocol prescribes.
    pub(super) fn dress(&self, mut response: Response) -> Response {
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if matches!(
            self.status,
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::REQUEST_TIMEOUT
        ) {
            // The rest of the body is not wanted, so the connection cannot go on.
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
        self.dress(body)
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
}
