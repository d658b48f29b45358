//! What every request carries: an id, the address of its client, the length of its body.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, Uri, header};

use crate::serve::error::ApiError;
use crate::serve::random::random;

/// Longest request id that is taken over from a client.
const MAX_ID_CHARS: usize = 64;

/// Names a request in its answer and in the log.
#[derive(Clone, Debug)]
pub(in crate::serve) struct RequestId(pub Arc<str>);

impl RequestId {
    /// The client's own id if it is harmless, otherwise a random one.
    pub(in crate::serve) fn of(request: &Request) -> Self {
        let given = request.headers().get("x-request-id");
        let given = given.and_then(|value| value.to_str().ok()).filter(|text| {
            let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            !text.is_empty() && text.len() <= MAX_ID_CHARS && text.chars().all(fine)
        });
        match given {
            Some(text) => Self(text.into()),
            None => Self(format!("{:016x}", random()).into()),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let id = parts.extensions.get::<Self>().cloned();
        id.ok_or_else(ApiError::internal)
    }
}

/// The address of the other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(in crate::serve) struct Peer(pub IpAddr);

/// The length of the body, if the request states it.
pub(in crate::serve) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// Refuses a body with a content encoding: a compressed one could expand to any size.
pub(in crate::serve) fn refuse_encoded(headers: &HeaderMap) -> Result<(), ApiError> {
    match headers.get(header::CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "body_encoded",
            "this server does not accept bodies with a content encoding",
        )
        .hint("send the photo as it is: it is compressed already")),
        _ => Ok(()),
    }
}

/// `/health` for `/health/`; `None` if there is no trailing slash.
pub(in crate::serve) fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trimmed = path.trim_end_matches('/');
    if trimmed == path || trimmed.is_empty() {
        return None;
    }
    match uri.query() {
        Some(query) => format!("{trimmed}?{query}").parse().ok(),
        None => trimmed.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trailing_slashes_mean_nothing() {
        let trim = |text: &str| {
            let uri: Uri = text.parse().unwrap();
            without_trailing_slash(&uri).map(|uri| uri.to_string())
        };
        assert_eq!(trim("/health/").as_deref(), Some("/health"));
        assert_eq!(trim("/health//?a=1").as_deref(), Some("/health?a=1"));
        assert_eq!(trim("/health"), None);
        assert_eq!(trim("/"), None);
    }

    #[test]
    fn foreign_request_ids_are_taken_only_if_harmless() {
        let id = |text: &str| {
            let request = Request::builder().header("x-request-id", text);
            RequestId::of(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert_eq!(&*id("abc-1.2_3").0, "abc-1.2_3");
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            assert_ne!(&*id(bad).0, bad);
            assert_eq!(id(bad).0.len(), 16);
        }
    }
}
