//! The HTTP transport: metrics for Prometheus, health for people, probes for orchestrators.
//!
//! Every page is read only and takes no body. `/livez` and `/readyz` are for probes; the other pages are for
//! people and dashboards: an open circuit, or a database that is away, is no reason to restart breakerd or to
//! send its callers elsewhere. Those other pages show every service, and with authentication, they require
//! the right to read every service (`access`).

mod access;
mod health;
mod negotiation;
mod replicas;
mod scrape;
mod server;

use std::sync::Arc;

use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{from_fn_with_state, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::sync::Semaphore;

use crate::app::App;
use crate::log_throttle::LogThrottle;

pub use server::{Timeouts, serve};

/// Pages that read every breaker, rendered at one time: each keeps a core busy. Others wait for a permit.
const READERS_MAX: usize = 1;

const INDEX: &str = "\
breakerd

/metrics                  for Prometheus
/livez                    200 while the process runs
/readyz                   200 while calls are answered
/health                   how breakerd stands
/health/circuit-breakers  how the circuits stand: 503 while one is open
/health/replicas          which replicas share the store
";

/// What the pages are made from.
#[derive(Clone)]
struct PageState {
    app: Arc<App>,
    readers: Arc<Semaphore>,
    scrapes: Arc<scrape::Scrapes>,
    /// Throttles the log of rejected requests.
    log: Arc<LogThrottle>,
}

/// The pages.
pub fn router(app: Arc<App>) -> Router {
    let readers = Arc::new(Semaphore::new(READERS_MAX));
    let state = PageState { app, readers, scrapes: Arc::default(), log: Arc::default() };
    let for_readers = Router::new()
        .route("/metrics", get(scrape::metrics))
        .route("/health", get(health::health))
        .route("/health/circuit-breakers", get(health::circuit_breakers))
        .route("/health/replicas", get(replicas::replicas))
        .route_layer(from_fn_with_state(state.clone(), access::authorize));
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/livez", get(health::livez))
        .route("/readyz", get(health::readyz))
        .merge(for_readers)
        .fallback(|| async { problem(StatusCode::NOT_FOUND, "no such page: / lists them") })
        .method_not_allowed_fallback(|| async {
            let problem = problem(StatusCode::METHOD_NOT_ALLOWED, "pages are only read: GET or HEAD");
            ([(header::ALLOW, "GET, HEAD")], problem)
        })
        .layer(map_response(uncached))
        .with_state(state)
}

impl PageState {
    /// Does `work` on a blocking thread, a bounded number at a time. None: it failed, and has
    /// been logged.
    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&App) -> T + Send + 'static) -> Option<T> {
        // Nobody closes it.
        let turn = Arc::clone(&self.readers).acquire_owned().await.ok()?;
        let app = Arc::clone(&self.app);
        let reading = tokio::task::spawn_blocking(move || {
            let done = work(&app);
            // Held to the end of the work, also when the client has disconnected meanwhile.
            drop(turn);
            done
        });
        reading.await.inspect_err(|error| tracing::error!(%error, "HTTP response failed")).ok()
    }
}

fn problem(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// For what is known only to the log.
fn internal() -> Response {
    problem(StatusCode::INTERNAL_SERVER_ERROR, "the page could not be made; breakerd's log says why")
}

/// Every page is about this moment.
async fn uncached(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
