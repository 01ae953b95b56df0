//! Health pages: two for probes, two for people.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use breaker::{State as Circuit, Time};
use serde::Serialize;
use serde_json::json;

use super::{PageState, internal};
use crate::app::App;
use crate::engine::{BreakerView, Engine};
use crate::health::Problem;
use crate::version::VERSION;

/// Breakers that are shown one by one.
const DETAILS_MAX: usize = 1_000;

/// Whether calls are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Readiness {
    Ready,
    /// The store has not been read yet.
    Loading,
    ShuttingDown,
}

impl Readiness {
    fn of(app: &App) -> Self {
        if app.status.is_shutting_down() {
            Self::ShuttingDown
        } else if app.loaded().is_none() {
            Self::Loading
        } else {
            Self::Ready
        }
    }

    fn status(self) -> StatusCode {
        match self {
            Self::Ready => StatusCode::OK,
            Self::Loading | Self::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

pub(super) async fn livez() -> Response {
    Json(json!({ "status": "alive" })).into_response()
}

/// The store does not change the answer once its content is loaded: decisions are made without it, and an outage of the database must not take
/// every replica out of service at once.
pub(super) async fn readyz(State(state): State<PageState>) -> Response {
    let readiness = Readiness::of(&state.app);
    let body = match readiness {
        Readiness::Ready => json!({ "status": "ready" }),
        Readiness::Loading | Readiness::ShuttingDown => {
            let mut body = json!({ "status": "not_ready", "reason": readiness });
            if let Some(since) = state.app.store_away_since() {
                body["store_unreachable_since"] = since.to_string().into();
            }
            body
        }
    };
    (readiness.status(), Json(body)).into_response()
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    version: &'static str,
    uptime_seconds: u64,
    loaded: bool,
    /// What is not well, by name.
    problems: Vec<Problem>,
    store: StoreHealth,
    journal: Option<JournalHealth>,
    breakers: usize,
}

#[derive(Serialize)]
struct StoreHealth {
    /// It answered the last ping.
    reachable: bool,
    /// It took the last write of each kind.
    writable: bool,
    /// Since when it has not answered; none: it answers, or was not asked yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    unreachable_since: Option<String>,
}

#[derive(Serialize)]
struct JournalHealth {
    depth: u64,
    lag_seconds: f64,
    dropped: u64,
    /// Its file can be written.
    writable: bool,
}

pub(super) async fn health(State(state): State<PageState>) -> Response {
    let app = &state.app;
    let readiness = Readiness::of(app);
    let problems = app.problems();
    let store = app.health.store().get();
    let status = match readiness {
        Readiness::Ready if problems.is_empty() => "healthy",
        Readiness::Ready => "degraded",
        Readiness::Loading => "loading",
        Readiness::ShuttingDown => "shutting_down",
    };
    let journal = app.metrics.journal().map(|stats| JournalHealth {
        depth: stats.depth,
        lag_seconds: stats.lag.as_secs_f64(),
        dropped: stats.dropped,
        writable: !stats.write_failing,
    });
    let health = Health {
        status,
        version: VERSION,
        uptime_seconds: app.clock.now().since(app.started_at).as_secs(),
        loaded: app.loaded().is_some(),
        problems,
        store: StoreHealth {
            reachable: store.answers,
            writable: store.takes_writes(),
            unreachable_since: app.store_away_since().map(|since| since.to_string()),
        },
        journal,
        breakers: app.loaded().map_or(0, |loaded| loaded.engine.len()),
    };
    (readiness.status(), Json(health)).into_response()
}

#[derive(Serialize)]
struct Circuits {
    status: &'static str,
    circuit_breakers: Totals,
    details: Vec<Detail>,
}

/// How many circuits there are. What an operator set counts as what it does to calls: `FORCED_OPEN` as open,
/// `DISABLED` and `METRICS_ONLY` as closed, so that the three always add up to the total.
#[derive(Default, Serialize)]
struct Totals {
    total: u64,
    closed: u64,
    open: u64,
    half_open: u64,
}

#[derive(Serialize)]
struct Detail {
    name: Arc<str>,
    service: Arc<str>,
    state: &'static str,
    consecutive_failures: u32,
    consecutive_successes: u32,
    transition_count: u64,
}

pub(super) async fn circuit_breakers(State(state): State<PageState>) -> Response {
    let read = |app: &App| app.loaded().map(|loaded| Circuits::read(&loaded.engine, app.clock.now()));
    let Some(read) = state.read(read).await else { return internal() };
    let circuits = read.unwrap_or_else(Circuits::loading);
    let status = if circuits.status == "healthy" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(circuits)).into_response()
}

impl Circuits {
    /// Nothing is known of any circuit yet.
    fn loading() -> Self {
        Self { status: "loading", circuit_breakers: Totals::default(), details: Vec::new() }
    }

    /// Keeps no more than are shown, however many there are: those not closed first, then by name.
    fn read(engine: &Engine, now: Time) -> Self {
        let mut totals = Totals::default();
        let mut details = BTreeMap::new();
        engine.for_each(now, |view| {
            totals.add(view.state);
            let (service, name) = (Arc::clone(view.key.service()), Arc::clone(view.key.name()));
            let place = (view.state == Circuit::Closed, name, service);
            if details.len() < DETAILS_MAX {
                details.insert(place, Detail::from(&view));
            } else if details.last_key_value().is_some_and(|(last, _)| place < *last) {
                details.pop_last();
                details.insert(place, Detail::from(&view));
            }
        });
        let status = if totals.open > 0 { "degraded" } else { "healthy" };
        Self { status, circuit_breakers: totals, details: details.into_values().collect() }
    }
}

impl Totals {
    fn add(&mut self, state: Circuit) {
        self.total += 1;
        match state {
            Circuit::Closed | Circuit::Disabled | Circuit::MetricsOnly => self.closed += 1,
            Circuit::Open | Circuit::ForcedOpen => self.open += 1,
            Circuit::HalfOpen => self.half_open += 1,
        }
    }
}

impl From<&BreakerView> for Detail {
    fn from(breaker: &BreakerView) -> Self {
        let stats = breaker.view.stats;
        Self {
            name: Arc::clone(breaker.key.name()),
            service: Arc::clone(breaker.key.service()),
            state: state_name(breaker.state),
            consecutive_failures: stats.consecutive_failures,
            consecutive_successes: stats.consecutive_successes,
            transition_count: breaker.view.snapshot.epoch,
        }
    }
}

/// As this page writes them; everywhere else they are written as in the API.
fn state_name(state: Circuit) -> &'static str {
    match state {
        Circuit::Closed => "Closed",
        Circuit::Open => "Open",
        Circuit::HalfOpen => "HalfOpen",
        Circuit::ForcedOpen => "ForcedOpen",
        Circuit::Disabled => "Disabled",
        Circuit::MetricsOnly => "MetricsOnly",
    }
}
