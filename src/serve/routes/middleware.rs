//! What surrounds every handler: API keys and rates, request ids, the log line, metrics, security
//! headers.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::serve::app::App;
use crate::serve::error::{ErrorKind, short};
use crate::serve::http::access::{Client, client_address};
use crate::serve::http::body::UnreadBody;
use crate::serve::http::request::{Peer, RequestId, content_length};

/// What the page may load: its own files, and pictures that it made itself.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'";

/// Checks the API key and the rate of a client.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
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

/// Surrounds every answer.
pub(super) async fn surround(
    State(app): State<Arc<App>>,
    mut request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id = RequestId::of(&request);
    request.extensions_mut().insert(id.clone());
    let is_get = request.method() == Method::GET;
    let method = short(request.method().as_str());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());
    let body_bytes = content_length(request.headers());
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
    let (request, unread) = UnreadBody::of(request);
    let mut response = next.run(request).await;
    let status = response.status();
    // A client that was too slow would not send the rest in time either.
    if status != StatusCode::REQUEST_TIMEOUT {
        unread.discard().await;
    }
    unfinished.done = true;
    app.model.metrics.request(&route, status.as_u16());
    if let Ok(value) = HeaderValue::from_str(&id.0) {
        response.headers_mut().insert("x-request-id", value);
    }
    secure(&mut response);
    let kind = response.extensions().get::<ErrorKind>();
    // Health checks come every few seconds and are not worth a line.
    let quiet = status.is_success() && is_get;
    let ms = started.elapsed().as_secs_f64() * 1e3;
    let address = address.flatten().map(|a| a.to_string());
    if quiet {
        tracing::debug!(
            request_id = &*id.0,
            method,
            route,
            status = status.as_u16(),
            ms,
            address,
            "request"
        );
    } else {
        tracing::info!(
            request_id = &*id.0,
            method,
            route,
            status = status.as_u16(),
            ms,
            body_bytes,
            error = kind.map(|k| k.0),
            address,
            "request"
        );
    }
    response
}

/// Logs and counts a request whose client left before the answer: its future is dropped.
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
            // The status that nginx logs in this case. It is never sent.
            self.app.model.metrics.request(self.route, 499);
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
