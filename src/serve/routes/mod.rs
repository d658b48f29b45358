//! The routes: which handler answers which path.

mod base64;
mod form;
mod health;
mod infer;
mod jobs;
mod json_body;
mod middleware;
mod page;
mod predict;
mod tensors;

use std::sync::Arc;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::app::App;
use super::error::{ApiError, short};
use middleware::{guard, surround};

/// Every route.
pub(super) fn router(app: &Arc<App>) -> Router {
    let guarded = Router::new()
        .route("/predict", post(predict::predict))
        .route("/upload", post(predict::predict))
        .route("/jobs", post(jobs::post))
        .route("/jobs/{id}", get(jobs::get).delete(jobs::delete))
        .route("/v2/models/{model}/infer", post(infer::infer))
        .route(
            "/v2/models/{model}/versions/{version}/infer",
            post(infer::infer),
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
        .route("/v2", get(infer::server))
        .route("/v2/health/live", get(infer::live))
        .route("/v2/health/ready", get(infer::ready))
        .route("/v2/models/{model}", get(infer::model))
        .route("/v2/models/{model}/ready", get(infer::model_ready))
        .route("/v2/models/{model}/versions/{version}", get(infer::model))
        .route(
            "/v2/models/{model}/versions/{version}/ready",
            get(infer::model_ready),
        );
    let router = guarded
        .merge(open)
        .fallback(|| async { not_found() })
        .method_not_allowed_fallback(|method: Method| async move {
            let message = format!("this path does not answer `{}`", short(method.as_str()));
            ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method", message)
        })
        // Every handler has its own limit, which depends on the kind of body.
        .layer(DefaultBodyLimit::disable())
        .with_state(Arc::clone(app));
    let router = match cors(&app.config.cors_origins) {
        Some(layer) => router.layer(layer),
        None => router,
    };
    router.layer(from_fn_with_state(Arc::clone(app), surround))
}

/// Lets pages of the given origins call this server.
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

fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "nothing is served at this path",
    )
    .hint("`/openapi.json` lists all paths; `/docs` shows them to people")
}
