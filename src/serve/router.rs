//! Which path is answered by whom, and what surrounds every answer: request id, keys, rates, log
//! line, metrics, security headers.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::app::{App, not_found};
use super::body::Rest;
use super::error::{ApiError, ErrorKind};
use super::keys::{Client, client_address};
use super::predict::length;
use super::random::random;
use super::{health, jobs, page, predict, protocol};

/// Longest request id that is taken over from a client.
const MAX_ID_CHARS: usize = 64;

/// What the page may load: itself, and pictures that it made.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// Names a request in its answer and in the log.
#[derive(Clone, Debug)]
pub(super) struct RequestId(pub Arc<str>);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let id = parts.extensions.get::<Self>().cloned();
        id.ok_or_else(ApiError::internal)
    }
}

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub IpAddr);

/// Every route.
pub(super) fn router(app: &Arc<App>) -> Router {
    let guarded = Router::new()
        .route("/predict", post(predict::predict))
        .route("/upload", post(predict::predict))
        .route("/jobs", post(jobs::post))
        .route("/jobs/{id}", get(jobs::get).delete(jobs::delete))
        .route("/v2/models/{model}/infer", post(protocol::infer))
        .route(
            "/v2/models/{model}/versions/{version}/infer",
            post(protocol::infer),
        )
        .route_layer(from_fn_with_state(Arc::clone(app), guard));
    let open = Router::new()
        .route("/health", get(health::health))
        .route("/livez", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/memory", get(health::memory))
        .route("/metrics", get(health::metrics))
        .route("/version", get(health::version))
        .route("/openapi.json", get(page::openapi))
        .route("/docs", get(page::docs))
        .route("/", get(page::index))
        .route("/page.js", get(page::script))
        .route("/page.css", get(page::style))
        .route("/v2", get(protocol::server))
        .route("/v2/health/live", get(protocol::live))
        .route("/v2/health/ready", get(protocol::ready))
        .route("/v2/models/{model}", get(protocol::model))
        .route("/v2/models/{model}/ready", get(protocol::model_ready))
        .route(
            "/v2/models/{model}/versions/{version}",
            get(protocol::model),
        )
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(protocol::model_ready),
        );
    let router = guarded
        .merge(open)
        .fallback(|| async { not_found() })
        .method_not_allowed_fallback(|method: Method| async move {
            let message = format!("`{method}` does nothing here");
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", message)
        })
        // Bodies have limits of their own, which depend on what they are.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app));
    let router = match cors(&app.config.cors_origins) {
        Some(layer) => router.layer(layer),
        None => router,
    };
    router.layer(from_fn_with_state(Arc::clone(app), surround))
}

/// Lets pages of other origins in, if any are named.
fn cors(origins: &[String]) -> Option<CorsLayer> {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|o| o.parse().ok()).collect();
    if origins.is_empty() {
        return None;
    }
    let allowed = if origins.iter().any(|o| o == "*") {
        AllowOrigin::any()
    } else {
        AllowOrigin::list(origins)
    };
    Some(
        CorsLayer::new()
            .allow_origin(allowed)
            .allow_methods([Method::GET, Method::POST, Method::DELETE])
            .allow_headers([
                header::CONTENT_TYPE,
                header::ACCEPT,
                header::AUTHORIZATION,
                HeaderName::from_static("x-api-key"),
                HeaderName::from_static("x-request-id"),
            ])
            .expose_headers([
                HeaderName::from_static("x-request-id"),
                HeaderName::from_static("x-dermal-top1"),
                header::RETRY_AFTER,
            ]),
    )
}

/// `/health/` is `/health`.
pub(super) fn without_trailing_slash(uri: &Uri) -> Option<Uri> {
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

/// Keys and rates.
async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let key = match app.keys.check(headers) {
        Ok(key) => key,
        Err(error) => return error.into_response(),
    };
    if let Some(rates) = &app.rates {
        let client = match (key, request.extensions().get::<Peer>()) {
            (Some(key), _) => Some(Client::Key(key)),
            (None, Some(peer)) => {
                let proxies = app.config.trusted_proxies;
                Some(Client::Address(client_address(peer.0, headers, proxies)))
            }
            (None, None) => None,
        };
        if let Some(Err(error)) = client.map(|client| rates.check(client, Instant::now())) {
            return error.into_response();
        }
    }
    next.run(request).await
}

/// What surrounds every answer.
async fn surround(State(app): State<Arc<App>>, mut request: Request, next: Next) -> Response {
    let started = Instant::now();
    let id = request_id(&request);
    request.extensions_mut().insert(id.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let body_bytes = length(request.headers());
    let address = app.config.log_addresses.then(|| {
        let peer = request.extensions().get::<Peer>().copied();
        let proxies = app.config.trusted_proxies;
        peer.map(|peer| client_address(peer.0, request.headers(), proxies))
    });
    let mut unfinished = Unfinished {
        app: &app,
        route: &route,
        id: &id,
        started,
        done: false,
    };
    let (request, rest) = Rest::of(request);
    let mut response = next.run(request).await;
    let status = response.status();
    // Who is too slow would be waited for in vain.
    if status != StatusCode::REQUEST_TIMEOUT {
        rest.discard().await;
    }
    unfinished.done = true;
    app.desk.metrics.request(&route, status.as_u16());
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert("x-request-id", value);
    }
    secure(&mut response);
    let kind = response.extensions().get::<ErrorKind>();
    // Probes come every few seconds and say nothing.
    let quiet = status.is_success() && method == Method::GET;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let address = address.flatten().map(|a| a.to_string());
    if quiet {
        tracing::debug!(
            request_id = &*id.0, %method, route, status = status.as_u16(), ms, address, "request"
        );
    } else {
        tracing::info!(
            request_id = &*id.0, %method, route, status = status.as_u16(), ms, body_bytes,
            error = kind.map(|k| k.0), address, "request"
        );
    }
    response
}

/// Logs a request whose client left: its future is dropped.
struct Unfinished<'a> {
    app: &'a App,
    route: &'a str,
    id: &'a RequestId,
    started: Instant,
    done: bool,
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if !self.done {
            // nginx's number for it; it is never sent.
            self.app.desk.metrics.request(self.route, 499);
            let ms = self.started.elapsed().as_secs_f64() * 1e3;
            tracing::info!(
                request_id = &*self.id.0,
                route = self.route,
                status = 499,
                ms,
                "client gone"
            );
        }
    }
}

/// The client's own id if it is harmless, else a random one.
fn request_id(request: &Request) -> RequestId {
    let given = request.headers().get("x-request-id");
    let given = given.and_then(|value| value.to_str().ok()).filter(|text| {
        let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !text.is_empty() && text.len() <= MAX_ID_CHARS && text.chars().all(fine)
    });
    if let Some(text) = given {
        return RequestId(text.into());
    }
    RequestId(format!("{:016x}", random()).into())
}

fn secure(response: &mut Response) {
    let headers = response.headers_mut();
    let fixed = HeaderValue::from_static;
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, fixed("nosniff"));
    headers.insert(header::X_FRAME_OPTIONS, fixed("DENY"));
    headers.insert(header::REFERRER_POLICY, fixed("no-referrer"));
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        fixed(CONTENT_SECURITY_POLICY),
    );
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(fixed("no-store"));
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
            request_id(&request.body(axum::body::Body::empty()).unwrap())
        };
        assert_eq!(&*id("abc-1.2_3").0, "abc-1.2_3");
        for bad in ["", "a b", "a\"b", &"x".repeat(65)] {
            assert_ne!(&*id(bad).0, bad);
            assert_eq!(id(bad).0.len(), 16);
        }
    }
}
