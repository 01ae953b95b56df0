//! The tasks of a process, each of them supervised.

use std::path::Path;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::load::Following;
use crate::app::{App, Loaded};
use crate::config::watch::{Method, Watcher};
use crate::config::{Config, Sources};
use crate::data_dir::DataDir;
use crate::journal::keeper;
use crate::journal::writer::Writer;
use crate::replica::Replication;
use crate::runtime::Runtime;
use crate::supervisor::Supervisor;
use crate::trace_export::TraceExporter;
use crate::{grpc, lifecycle};

/// Who sends spans, if tracing is enabled. It has a stop of its own, behind that of whatever makes spans.
pub(super) fn start_export(app: &App, exporter: Option<TraceExporter>) -> Supervisor {
    let stop = CancellationToken::new();
    let mut exporting = Supervisor::new(stop.clone(), app.metrics.task.clone(), Arc::clone(&app.clock));
    if let Some(exporter) = exporter.map(Arc::new) {
        exporting.spawn_restarted("trace_exporter", move || {
            let (exporter, stop) = (Arc::clone(&exporter), stop.clone());
            async move { exporter.run(stop).await }
        });
    }
    exporting
}

/// The tasks behind the transports. They outlive them, so that what the last calls caused is written.
pub(super) fn start_tasks(
    app: &Arc<App>,
    config: &Config,
    sources: Option<Sources>,
    runtime: &Runtime,
    position: &Path,
    data_dir: &Arc<DataDir>,
    health: &Arc<grpc::HealthRegistry>,
) -> Supervisor {
    let stop = CancellationToken::new();
    let mut tasks = Supervisor::new(stop.clone(), app.metrics.task.clone(), Arc::clone(&app.clock));
    let Loaded { engine, store, journal, control, feeds, .. } = &runtime.loaded;
    let transition_log = &runtime.transition_log;
    let clock = || Arc::clone(&app.clock);
    tasks
        .spawn("timer", lifecycle::run_timer(Arc::clone(engine), Arc::clone(journal), clock(), stop.clone()));
    tasks.spawn("wall_clock", lifecycle::run_wall_clock(Arc::clone(engine), clock(), stop.clone()));
    tasks.spawn(
        "service_overrides",
        lifecycle::run_overrides(Arc::clone(engine), Arc::clone(control), clock(), stop.clone()),
    );
    tasks.spawn("configuration_sync", lifecycle::run_configuration_reload(Arc::clone(control), stop.clone()));
    tasks.spawn("store_check", lifecycle::run_store_check(store.clone(), Arc::clone(app), stop.clone()));
    tasks.spawn("health", lifecycle::run_health(Arc::clone(app), Arc::clone(health), stop.clone()));
    tasks.spawn(
        "data_folder_lock",
        lifecycle::run_data_folder_lock(Arc::clone(data_dir), clock(), stop.clone()),
    );
    let (permit_keys, stopping) = (Arc::clone(&runtime.loaded.permit_keys), stop.clone());
    tasks.spawn("permit_keys", async move {
        permit_keys.run(stopping).await;
        Ok(())
    });
    let keeper = keeper::run(Arc::clone(journal), store.clone(), clock(), stop.clone());
    tasks.spawn("journal_upkeep", async move {
        keeper.await;
        Ok(())
    });
    let writer = match &runtime.replication {
        Some(replication) => replication.writer(),
        None => Writer::new(Arc::clone(journal), store.clone()),
    };
    let writer = writer.run(stop.clone());
    tasks.spawn("journal_writer", async move {
        writer.await;
        Ok(())
    });
    tasks.spawn(
        "history_tail",
        lifecycle::run_tail(
            Arc::clone(feeds),
            Arc::clone(control),
            Arc::clone(journal),
            clock(),
            runtime.replication.as_ref().map(Replication::history_hint).unwrap_or_default(),
            lifecycle::PositionFile::at(position.to_owned()),
            stop.clone(),
        ),
    );

    // Housekeeping: without it breakerd uses more space than it should, or keeps an old file in effect, and logs that.
    let idle_ttl = config.settings.idle_breaker_ttl;
    let (sweeping, stored, time) = (Arc::clone(engine), Arc::clone(journal), clock());
    let stopping = stop.clone();
    tasks.spawn_restarted("idle_breaker_sweeper", move || {
        let (engine, journal, clock) = (Arc::clone(&sweeping), Arc::clone(&stored), Arc::clone(&time));
        lifecycle::run_sweeper(engine, journal, clock, idle_ttl, stopping.clone())
    });
    let (transition_log, stopping) = (Arc::clone(transition_log), stop.clone());
    tasks.spawn_restarted("transition_log", move || {
        let (transition_log, stop) = (Arc::clone(&transition_log), stopping.clone());
        async move { transition_log.run(stop).await }
    });
    let kept = config.settings.store_history_retention;
    let (pruned, known, time) = (Arc::clone(store), Arc::clone(engine), clock());
    let stopping = stop.clone();
    tasks.spawn_restarted("history_retention", move || {
        let (store, engine, clock) = (Arc::clone(&pruned), Arc::clone(&known), Arc::clone(&time));
        lifecycle::run_retention(store, engine, clock, kept, stopping.clone())
    });
    if let Some(sources) = sources {
        let (control, metrics) = (Arc::clone(control), app.metrics.config.clone());
        let config = config.clone();
        tasks.spawn_restarted("config_file_reload", move || {
            let watcher = Watcher::start(sources.clone(), &config, Method::Folder);
            let running = config.has_file().then(|| config.declaration.clone());
            lifecycle::run_file(Arc::clone(&control), metrics.clone(), running, watcher, stop.clone())
        });
    }
    tasks
}

/// What a replica runs beside the tasks that every process has.
pub(super) fn start_replication(
    tasks: &mut Supervisor,
    replication: &Replication,
    following: Following,
    loaded: &Loaded,
) {
    let Following { tail, counts } = following;
    let Loaded { control, presence, .. } = loaded;
    let stop = tasks.stop_token();
    let (coordinator, stopping) = (replication.coordinator(), stop.clone());
    tasks.spawn("probe_coordinator", async move {
        coordinator.run(stopping).await;
        Ok(())
    });
    let (control, stopping) = (Arc::clone(control), stop.clone());
    tasks.spawn("configuration_follow", async move {
        stopping.run_until_cancelled(control.run_follow()).await;
        Ok(())
    });
    let (listening, stopping) = (replication.clone(), stop.clone());
    tasks.spawn("change_listener", async move {
        listening.listen(stopping).await;
        Ok(())
    });
    if let Some(presence) = presence {
        let (presence, stopping) = (Arc::clone(presence), stop.clone());
        tasks.spawn("presence", async move {
            presence.run(stopping).await;
            Ok(())
        });
    }
    let stopping = stop.clone();
    tasks.spawn("count_sharing", async move {
        counts.run(stopping).await;
        Ok(())
    });
    let (row_use, stopping) = (replication.row_use(), stop.clone());
    tasks.spawn("row_use", async move {
        row_use.run(stopping).await;
        Ok(())
    });
    tasks.spawn("row_tail", async move {
        tail.run(stop).await;
        Ok(())
    });
}
