//! The HTTP API of this program.

use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use breakerd_client::Status;
use prometheus::TextEncoder;
use serde::{Deserialize, Serialize};
use serde_json::json;
use time::OffsetDateTime;
use uuid::Uuid;

use crate::app::{App, Handled};
use crate::call_error::CallError;
use crate::incident::{Incident, NewIncident};
use crate::notify::Delivery;
use crate::senders::Channel;

/// Bytes of a report.
const REPORT_BYTES_MAX: usize = 64 * 1024;

/// Incidents on a page.
const PAGE_MAX: u32 = 500;

/// The API.
pub fn router(app: App) -> Router {
    Router::new()
        .route("/incidents", get(list).post(report))
        .route("/incidents/{id}", get(read))
        .route("/metrics", get(metrics))
        .route("/health", get(health))
        .route("/health/circuit-breakers", get(circuit_breakers))
        .layer(DefaultBodyLimit::max(REPORT_BYTES_MAX))
        .with_state(app)
}

/// An incident, and what became of it.
#[derive(Serialize)]
struct Receipt {
    #[serde(flatten)]
    incident: Incident,
    stored: bool,
    notifications: Vec<Delivery>,
}

/// 201: the incident is stored. 202: people were notified, but it is not stored. 503: neither; report it again, with the
/// same id.
async fn report(State(app): State<App>, report: Result<Json<NewIncident>, JsonRejection>) -> Response {
    let Json(report) = match report {
        Ok(report) => report,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    let incident = match Incident::from_report(report, OffsetDateTime::now_utc()) {
        Ok(incident) => incident,
        Err(text) => return problem(StatusCode::BAD_REQUEST, &text),
    };
    let Ok(place) = app.in_progress.clone().try_acquire_owned() else {
        return retry_later(problem(StatusCode::SERVICE_UNAVAILABLE, "too many incidents in progress"), 1);
    };
    // A reporter that disconnects would otherwise cancel its incident halfway.
    let handling = app.tasks.clone().spawn(async move {
        let _place = place;
        app.handle(incident).await
    });
    match handling.await {
        Ok(handled) => receipt(handled),
        Err(error) => {
            tracing::error!(%error, "handling an incident failed");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

fn receipt(handled: Handled) -> Response {
    let Handled { incident, stored, notified } = handled;
    let (status, notifications) = match (&stored, notified) {
        (Ok(()), Ok(deliveries)) => (StatusCode::CREATED, deliveries),
        (Ok(()), Err(nobody)) => (StatusCode::CREATED, nobody.deliveries),
        // No channel is configured: that nobody was told is then no success.
        (Err(_), Ok(deliveries)) if deliveries.is_empty() => (StatusCode::SERVICE_UNAVAILABLE, deliveries),
        (Err(_), Ok(deliveries)) => (StatusCode::ACCEPTED, deliveries),
        (Err(_), Err(nobody)) => (StatusCode::SERVICE_UNAVAILABLE, nobody.deliveries),
    };
    let response =
        (status, Json(Receipt { incident, stored: stored.is_ok(), notifications })).into_response();
    match stored {
        Err(error) if status == StatusCode::SERVICE_UNAVAILABLE => retry_later(response, seconds(&error)),
        _ => response,
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    #[serde(default = "default_limit")]
    limit: u32,
}

fn default_limit() -> u32 {
    50
}

async fn list(State(app): State<App>, page: Result<Query<Page>, QueryRejection>) -> Response {
    let limit = match page {
        Ok(Query(page)) if (1..=PAGE_MAX).contains(&page.limit) => page.limit,
        Ok(Query(page)) => {
            let text = format!("limit: invalid value {}: must be 1 to {PAGE_MAX}", page.limit);
            return problem(StatusCode::BAD_REQUEST, &text);
        }
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    match app.store.list_incidents(limit).await {
        Ok(incidents) => Json(json!({ "incidents": incidents })).into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn read(State(app): State<App>, id: Result<Path<Uuid>, PathRejection>) -> Response {
    let Path(id) = match id {
        Ok(id) => id,
        Err(rejection) => return problem(rejection.status(), &rejection.body_text()),
    };
    match app.store.get_incident(id).await {
        Ok(Some(incident)) => Json(incident).into_response(),
        Ok(None) => problem(StatusCode::NOT_FOUND, "no such incident"),
        Err(error) => unavailable(&error),
    }
}

async fn metrics(State(app): State<App>) -> Response {
    match TextEncoder::new().encode_to_string(&app.registry.gather()) {
        Ok(text) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics cannot be written");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error")
        }
    }
}

/// 200 while this program serves: an open circuit is no reason to restart it.
async fn health(State(app): State<App>) -> Response {
    let circuits = app.breakers.health_check();
    let channels: Vec<Channel> = app.notifier.channels().collect();
    Json(json!({
        "status": circuits.status,
        "version": env!("CARGO_PKG_VERSION"),
        "channels": channels,
        "circuit_breakers": circuits.circuit_breakers,
    }))
    .into_response()
}

/// The circuits as this process sees them, in the form of breakerd's page: 503 while one is open.
async fn circuit_breakers(State(app): State<App>) -> Response {
    let circuits = app.breakers.health_check();
    let status = match circuits.status {
        Status::Healthy => StatusCode::OK,
        Status::Degraded => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, Json(circuits)).into_response()
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// Why the store gave no answer. What it said exactly is for the log only.
fn unavailable(error: &CallError) -> Response {
    tracing::error!(%error, "the incident store gave no answer");
    if error.is_client_fault() {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "internal error");
    }
    let response = problem(StatusCode::SERVICE_UNAVAILABLE, "the incident store is not available");
    retry_later(response, seconds(error))
}

fn seconds(error: &CallError) -> u64 {
    error.retry_after().map_or(1, |wait| wait.as_secs() + 1)
}

fn retry_later(mut response: Response, seconds: u64) -> Response {
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}
