//! `/metrics`.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use super::{Edge, internal};

/// The text format, as Prometheus names it.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

pub(super) async fn metrics(State(edge): State<Edge>) -> Response {
    match edge.read(|app| app.metrics.render()).await {
        Some(Ok(text)) => ([(header::CONTENT_TYPE, TEXT_FORMAT)], text).into_response(),
        Some(Err(error)) => {
            tracing::error!(%error, "metrics could not be rendered");
            internal()
        }
        None => internal(),
    }
}
