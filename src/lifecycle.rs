//! Tasks that live as long as the process: the timer, the sweeper, the look at the store, the file.

use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::config::watch::{FileEvent, Watcher};
use crate::engine::{Clock, Engine};
use crate::feed::HistoryTail;
use crate::grpc::{HealthBoard, Part, Serving};
use crate::journal::Journal;
use crate::metrics::ConfigMetrics;
use crate::store::Store;

/// How often the store is asked whether it answers.
const PING_EVERY: Duration = Duration::from_secs(1);
/// How often the store is asked for history that others wrote.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Idle breakers are looked for so many times within the time after which they may go.
const SWEEPS_PER_TTL: u32 = 10;
/// But no more often than this.
const SWEEP_EVERY_MIN: Duration = Duration::from_secs(1);

/// Turns breakers on time, though nobody calls.
pub async fn run_timer(engine: Arc<Engine>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    loop {
        let deadline = engine.next_deadline().unwrap_or(Time::MAX);
        tokio::select! {
            () = stop.cancelled() => return,
            () = engine.earlier_deadline() => {}
            () = clock.sleep_until(deadline) => engine.tick(clock.now()),
        }
    }
}

/// Retires breakers that nobody uses.
pub async fn run_sweeper(
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    idle_ttl: Duration,
    stop: CancellationToken,
) {
    let every = (idle_ttl / SWEEPS_PER_TTL).max(SWEEP_EVERY_MIN);
    loop {
        let next = clock.now() + every;
        if stop.run_until_cancelled(clock.sleep_until(next)).await.is_none() {
            return;
        }
        let retired = engine.sweep(clock.now());
        if retired > 0 {
            tracing::debug!(retired, left = engine.len(), "idle breakers were retired");
        }
    }
}

/// Asks the store whether it answers, so that its absence is known before something has to be written. Deciding
/// goes on without it; what reads or writes the store says that it does not serve.
pub async fn run_ping(store: Arc<dyn Store>, health: Arc<HealthBoard>, stop: CancellationToken) {
    let mut reachable = true;
    loop {
        let Some(answer) = stop.run_until_cancelled(store.ping()).await else { return };
        if let Err(error) = &answer
            && reachable
        {
            tracing::warn!(error = error as &dyn std::error::Error, "the store does not answer");
        } else if answer.is_ok() && !reachable {
            tracing::info!("the store answers again");
        }
        reachable = answer.is_ok();
        for part in [Part::Configs, Part::Operations] {
            health.set(part, if reachable { Serving::Yes } else { Serving::No });
        }
        if stop.run_until_cancelled(tokio::time::sleep(PING_EVERY)).await.is_none() {
            return;
        }
    }
}

/// Reads the end of the history for those who follow it: as soon as this process has written to it, and each second
/// for what others wrote.
pub async fn run_tail(
    tail: Arc<HistoryTail>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    let mut reachable = true;
    loop {
        let Some(looked) = stop.run_until_cancelled(tail.look(clock.now())).await else { return };
        if let Err(error) = &looked
            && reachable
        {
            tracing::warn!(
                error = error as &dyn std::error::Error,
                "the history is not followed at the moment"
            );
        }
        reachable = looked.is_ok();
        tokio::select! {
            () = stop.cancelled() => return,
            () = journal.written(), if reachable => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Takes a changed file at once; a wrong one is refused whole, and the last good one stays.
pub async fn run_file(app: Arc<App>, mut watcher: Watcher, stop: CancellationToken) {
    while let Some(Some(event)) = stop.run_until_cancelled(watcher.next()).await {
        let reload = &app.metrics.config;
        let refused = || refuse(reload);
        match event {
            FileEvent::Loaded { config, needs_restart } => {
                if !needs_restart.is_empty() {
                    let keys = needs_restart.join(", ");
                    tracing::warn!(keys, "these settings of the changed file wait for a restart");
                }
                let Some(loaded) = app.loaded() else { continue };
                let declare = loaded.control.declare(&config.declaration);
                match stop.run_until_cancelled(declare).await {
                    None => return,
                    Some(Ok(revision)) => {
                        reload.last_reload_successful.set(1);
                        tracing::info!(revision, "the changed file is in force");
                    }
                    Some(Err(error)) => {
                        refused();
                        tracing::error!(
                            error = &error as &dyn std::error::Error,
                            "the changed file is not in force; the last good one stays"
                        );
                    }
                }
            }
            FileEvent::Wrong(errors) => {
                refused();
                for problem in &errors {
                    tracing::error!(%problem, "the changed file is wrong; the last good one stays in force");
                }
            }
            FileEvent::Unreadable(problem) => {
                refused();
                tracing::error!(%problem, "the file cannot be read; the last good one stays in force");
            }
        }
    }
}

fn refuse(reload: &ConfigMetrics) {
    reload.reload_errors_total.inc();
    reload.last_reload_successful.set(0);
}
