//! The page of the replicas.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::{PageState, problem};
use crate::roster::Roster;
use crate::store::StoredReplica;

#[derive(Serialize)]
struct Page {
    /// Whether replicas share the store.
    shared: bool,
    /// Whether the replica that answers has no connection to the store.
    alone: bool,
    /// The newest revision of the store.
    revision: u64,
    replicas: Vec<Replica>,
}

#[derive(Serialize)]
struct Replica {
    name: String,
    version: String,
    uptime_seconds: u64,
    revision: u64,
    waiting_transitions: u64,
    /// Since it last wrote to the store.
    silent_seconds: f64,
    /// It is the one that answers.
    this_one: bool,
}

pub(super) async fn replicas(State(state): State<PageState>) -> Response {
    let Some(loaded) = state.app.loaded() else {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "breakerd is loading");
    };
    let roster = Roster::read(&state.app, loaded).await;
    let answering = roster.answering;
    let shown = |StoredReplica { replica, silent }| Replica {
        uptime_seconds: replica.uptime.as_secs(),
        revision: replica.revision,
        waiting_transitions: replica.waiting,
        silent_seconds: silent.as_secs_f64(),
        this_one: replica.boot == answering,
        name: replica.name,
        version: replica.version,
    };
    let page = Page {
        shared: roster.is_shared,
        alone: roster.is_alone,
        revision: roster.revision,
        replicas: roster.replicas.into_iter().map(shown).collect(),
    };
    Json(page).into_response()
}
