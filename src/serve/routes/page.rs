//! The web page at `/`, the OpenAPI description, and a page that shows the description. All of it is
//! part of the program: nothing is read from disk, and the pages load nothing from other servers.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{Html, IntoResponse};
use serde_json::Value;

use crate::serve::error::ApiError;

/// The description of the interface (OpenAPI 3.1).
pub(super) const OPENAPI: &str = include_str!("page/openapi.json");

fn text(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers: [(HeaderName, HeaderValue); 2] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (
            header::CACHE_CONTROL,
            HeaderValue::from_static("max-age=300"),
        ),
    ];
    (headers, text)
}

/// `GET /`.
pub(super) async fn index() -> impl IntoResponse {
    text("text/html; charset=utf-8", include_str!("page/index.html"))
}

/// `GET /page.js`.
pub(super) async fn script() -> impl IntoResponse {
    text(
        "text/javascript; charset=utf-8",
        include_str!("page/page.js"),
    )
}

/// `GET /page.css`.
pub(super) async fn style() -> impl IntoResponse {
    text("text/css; charset=utf-8", include_str!("page/page.css"))
}

/// `GET /openapi.json`.
pub(super) async fn openapi() -> impl IntoResponse {
    text("application/json", OPENAPI)
}

/// `GET /docs`: the description as a page.
pub(super) async fn docs() -> Result<Html<String>, ApiError> {
    let document: Value = serde_json::from_str(OPENAPI).map_err(|error| {
        tracing::error!(%error, "openapi.json is damaged");
        ApiError::internal()
    })?;
    Ok(Html(render(&document)))
}

fn render(document: &Value) -> String {
    let words = |value: &Value| escape(value.as_str().unwrap_or_default());
    let info = &document["info"];
    let mut html = format!(
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width'>\
         <link rel=stylesheet href=/page.css><title>{title}</title><main><h1>{title}</h1>\
         <p>{about}</p><p><a href=/openapi.json>openapi.json</a></p>",
        title = words(&info["title"]),
        about = words(&info["description"]),
    );
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            html.push_str(&format!(
                "<h2><code>{} {}</code></h2><p>{}</p>",
                method.to_uppercase(),
                escape(path),
                words(&operation["summary"])
            ));
            let parameters = operation["parameters"].as_array();
            for parameter in parameters.into_iter().flatten() {
                html.push_str(&format!(
                    "<p><code>{}</code> {}</p>",
                    words(&parameter["name"]),
                    words(&parameter["description"])
                ));
            }
            for (status, response) in operation["responses"].as_object().into_iter().flatten() {
                html.push_str(&format!(
                    "<p>{}: {}</p>",
                    escape(status),
                    words(&response["description"])
                ));
            }
        }
    }
    html.push_str("</main></html>");
    html
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every route that clients use is described. The routes are read from the source, so that none is
    /// forgotten.
    #[test]
    fn the_description_has_every_route() {
        let document: Value = serde_json::from_str(OPENAPI).unwrap();
        let described = document["paths"].as_object().unwrap();
        let source = include_str!("mod.rs");
        let mut routes = 0;
        for part in source.split(".route(").skip(1) {
            let path = part.split('"').nth(1).unwrap();
            if path.contains("/versions/") || path.starts_with("/page.") {
                continue;
            }
            routes += 1;
            assert!(described.contains_key(path), "{path} is not described");
        }
        assert!(routes > 15);
        let page = render(&document);
        assert!(page.contains("POST /predict"));
        assert!(!page.contains("<script"));
    }
}
