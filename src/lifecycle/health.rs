//! Health checks: whether the store answers and is writable, and whether the data folder is still locked by this process.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use breaker::Time;
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::data_dir::{DataDir, DataDirError};
use crate::grpc::{HealthRegistry, Part, Serving};
use crate::health::Problem;
use crate::store::{OperationKind, StoreAdmin, StoreError, StoreStatus};

/// The interval of pinging the store, and of checking the lock on the data folder.
const CHECK_EVERY: Duration = Duration::from_secs(1);
/// A store to which nothing was written for so long is sent a write that changes nothing; one that rejected a
/// write, at each check. Rare enough that an idle breakerd hardly writes.
const WRITE_CHECK_AFTER: Duration = Duration::from_secs(10);
/// A store that has not answered a check by then counts as one that does not answer. It is waited for all the same: to
/// give up in the middle of an operation would cost its connection.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Asks the store whether it answers, and whether it takes writes when nothing else has been written for a while, so
/// that it is known before something has to be written.
///
/// # Errors
/// [`StoreError::LockedByAnother`] when another breakerd has the store: this process must not decide any more.
pub async fn run_store_check(
    store: Arc<dyn StoreAdmin>,
    app: Arc<App>,
    stop: CancellationToken,
) -> Result<()> {
    let monitor = Arc::clone(app.health.store());
    let checks = async {
        loop {
            within_timeout(&app, OperationKind::Ping, store.ping()).await;
            if is_write_check_due(&monitor.get(), app.clock.now()) {
                within_timeout(&app, OperationKind::ConfigWrite, store.check_writable()).await;
            }
            app.clock.sleep_until(app.clock.now() + CHECK_EVERY).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        reason = monitor.overtaken() => Err(StoreError::LockedByAnother(reason.to_string()).into()),
        never = checks => never,
    }
}

/// Whether to try a write. Not while the store does not answer: that would only wait, too.
fn is_write_check_due(status: &StoreStatus, now: Time) -> bool {
    let is_quiet = status.written_at.is_none_or(|at| now.since(at) >= WRITE_CHECK_AFTER);
    status.answers && (status.refuses_config_writes || is_quiet)
}

/// Waits for a response; its result is recorded by the store's metrics.
async fn within_timeout(app: &App, kind: OperationKind, check: impl Future<Output = Result<(), StoreError>>) {
    let mut check = std::pin::pin!(check);
    if tokio::time::timeout(ANSWER_MAX, check.as_mut()).await.is_err() {
        app.health.store().note_silence(kind, app.clock.now());
        app.metrics.store.show(&app.health.store().get());
        // How it ends is noted as well.
        let _ = check.await;
    }
}

/// Has gRPC health and the log follow [`App::problems`]: what reads or writes the store is NOT_SERVING
/// while there is one. Deciding goes on.
///
/// # Errors
/// None: it runs until `stop`.
pub async fn run_health(app: Arc<App>, registry: Arc<HealthRegistry>, stop: CancellationToken) -> Result<()> {
    let mut store = app.health.store().watch();
    let mut known = Vec::new();
    loop {
        store.mark_unchanged();
        let problems = app.problems();
        log_difference(&known, &problems);
        for part in [Part::Configs, Part::Operations] {
            registry.set(part, if problems.is_empty() { Serving::Yes } else { Serving::No });
        }
        known = problems;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            // The store's responses are seen at once, the journal's state at the next poll.
            changed = store.changed() => changed.context("watch the store's status")?,
            () = app.clock.sleep_until(app.clock.now() + CHECK_EVERY) => {}
        }
    }
}

fn log_difference(before: &[Problem], now: &[Problem]) {
    for problem in now.iter().filter(|problem| !before.contains(problem)) {
        tracing::warn!(problem = problem.as_str(), "degraded: decisions go on, writes are affected");
    }
    for problem in before.iter().filter(|problem| !now.contains(problem)) {
        tracing::info!(problem = problem.as_str(), healthy = now.is_empty(), "problem resolved");
    }
}

/// Checks that the data folder is still this process's own: it may have been replaced, lock and all, and used to start
/// another breakerd on it.
///
/// # Errors
/// [`DataDirError::LockedByAnother`] when another process has it.
pub async fn run_data_folder_lock(
    data_dir: Arc<DataDir>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<()> {
    let mut known: Option<String> = None;
    while stop.run_until_cancelled(clock.sleep_until(clock.now() + CHECK_EVERY)).await.is_some() {
        let held = Arc::clone(&data_dir);
        let held =
            tokio::task::spawn_blocking(move || held.hold()).await.context("check the data folder's lock")?;
        match held {
            Err(error @ DataDirError::LockedByAnother { .. }) => return Err(error.into()),
            // Nobody else has it; whether it can be written the journal and the store find out.
            Err(error) => {
                let problem = error.to_string();
                if known.as_ref() != Some(&problem) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "data folder lock cannot be checked"
                    );
                }
                known = Some(problem);
            }
            Ok(()) => known = None,
        }
    }
    Ok(())
}
