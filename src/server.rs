//! The whole service, put together: what main runs, and what tests run.

mod load;
mod start_alone;
mod webhooks;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use breakerd_common::clock::Clock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use self::load::{Following, Started, load};
use crate::app::{App, Loaded};
use crate::config::watch::{Method, Watcher};
use crate::config::{Config, Settings, Sources};
use crate::data_dir::{DataDir, DataDirError};
use crate::health::Health;
use crate::journal::writer::Writer;
use crate::journal::{Journal, keeper};
use crate::lifecycle;
use crate::metrics::{Metrics, Namespace};
use crate::replica::Replication;
use crate::runtime::Runtime;
use crate::security::Security;
use crate::store::StoreError;
use crate::supervisor::{Cause, Supervisor, TaskFailure};
use crate::trace_export::TraceExporter;
use crate::version::{COMMIT, VERSION};
use crate::webhook_files::WebhookFiles;
use crate::{grpc, http, trace_export};

/// The two sockets, bound.
#[derive(Debug)]
pub struct Listeners {
    /// For gRPC.
    pub grpc: TcpListener,
    /// For metrics and health pages.
    pub http: TcpListener,
}

impl Listeners {
    /// Binds both, as the settings say.
    ///
    /// # Errors
    /// When one cannot be bound: which, and what to do about it.
    pub async fn bind(settings: &Settings) -> Result<Self> {
        Ok(Self {
            grpc: bind(settings.grpc_listen, "gRPC", "grpc.listen (BREAKERD_GRPC_LISTEN, --grpc-listen)")
                .await?,
            http: bind(settings.http_listen, "HTTP", "http.listen (BREAKERD_HTTP_LISTEN, --http-listen)")
                .await?,
        })
    }
}

async fn bind(address: SocketAddr, what: &str, setting: &str) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "the port is in use by another process".to_owned(),
            io::ErrorKind::PermissionDenied => "permission denied for this port".to_owned(),
            _ => error.to_string(),
        };
        anyhow!("cannot listen on {address} ({what}): {why}; change {setting}")
    })
}

/// What a server is started with.
pub struct Start {
    /// The settings.
    pub config: Config,
    /// Where that came from, to take a changed file; none: the file is not watched.
    pub sources: Option<Sources>,
    /// Where it serves.
    pub listeners: Listeners,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Where to say, once it is ready, where it listens and what to try: for a person who has just started it. None: nowhere.
    pub greet: Option<Box<dyn Write + Send>>,
}

/// How long tasks may take to stop once everything that matters has been awaited; those that take longer are named in
/// the log and aborted.
const STOP_MAX: Duration = Duration::from_secs(5);

/// Serves until `shutdown`, and then ends within the grace time.
///
/// # Errors
/// When it cannot start, or a task that it needs ends while it runs ([`TaskFailure`]); [`exit_code`] makes a code of it.
/// A database that is away at the start is waited for.
pub async fn run(start: Start, shutdown: CancellationToken) -> Result<()> {
    let Start { config, sources, listeners, clock, greet } = start;
    let settings = &config.settings;
    // Until the store is closed: no other process may open it before.
    let data_dir = Arc::new(DataDir::take(&settings.data_dir)?);
    let namespace = Namespace::new(&settings.metrics_namespace).context("read metrics.namespace")?;
    let metrics = Arc::new(Metrics::new(namespace));
    let security = Security::build(settings, &metrics, clock.wall())?;
    let webhook_files = WebhookFiles::build(settings, &metrics.notify, Arc::clone(&clock))?;
    let webhooks = Arc::clone(webhook_files.webhooks());
    let (tracer, exporter) = trace_export::start(settings, &metrics.tracing, &clock)?.unzip();
    let app = App::new(Arc::clone(&clock), metrics, Health::new(settings.journal_lag_max)).traced(tracer);
    let app = Arc::new(app);

    // The transports serve before anything is loaded: clients get UNAVAILABLE, rather than a refused connection.
    log_start(settings, &listeners)?;
    let greeting = greeting(&listeners, settings)?;
    let (mut transports, health) = start_transports(&app, settings, security, listeners, &shutdown)?;
    let mut exporting = start_export(&app, exporter);
    let loaded = tokio::select! {
        loaded = load(&app, &config, &data_dir, &webhooks) => loaded.map(Some),
        () = shutdown.cancelled() => Ok(None),
        failure = transports.failed() => Err(failure.into()),
    };
    let started = match loaded {
        Ok(Some(loaded)) => loaded,
        not_loaded => {
            shutdown.cancel();
            let ended = stop(&mut transports, settings.shutdown_grace).await;
            let flushed = stop(&mut exporting, STOP_MAX).await;
            return not_loaded.map(drop).and(ended).and(flushed);
        }
    };
    health.loaded();
    let Started { runtime, following, position, alone } = started;
    let mut tasks = start_tasks(&app, &config, sources, &runtime, &position, &data_dir, &health);
    if let (Some(replication), Some(following)) = (&runtime.replication, following) {
        start_replication(&mut tasks, replication, following, &runtime.loaded);
    }
    alone.start(&mut tasks, &config, &app, &runtime.loaded);
    webhooks::start(&mut tasks, webhook_files, &app)?;
    tracing::info!(
        breakers = runtime.loaded.engine.len(),
        revision = runtime.loaded.engine.catalog().revision(),
        "ready"
    );
    if let Some(mut out) = greet
        && let Err(error) = out.write_all(greeting.as_bytes()).and_then(|()| out.flush())
    {
        // Nobody reads along; that is no reason not to serve.
        tracing::debug!(%error, "cannot write the greeting");
    }

    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        failure = transports.failed() => Err(failure.into()),
        failure = tasks.failed() => Err(failure.into()),
    };
    app.status.shut_down();
    shutdown.cancel();
    tracing::info!("shutting down: no new calls are accepted");
    let drain = async {
        transports.finished().await?;
        // A process that has lost a task may wait for ever for what that task did.
        if ended.is_ok() {
            runtime.loaded.control.finished().await;
            runtime.loaded.journal.emptied().await;
            webhooks::flush(&webhooks).await;
        }
        Ok::<(), anyhow::Error>(())
    };
    let drained = tokio::select! {
        drained = tokio::time::timeout(settings.shutdown_grace, drain) => drained.unwrap_or_else(|_| {
            tracing::warn!("shutdown grace period is over");
            Ok(())
        }),
        failure = tasks.failed() => Err(failure.into()),
    };
    let stopped = stop(&mut tasks, STOP_MAX).await;
    webhooks.log_unsent();
    let closed = close_journal(&runtime.loaded.journal, &*clock).await;
    if tokio::time::timeout(STOP_MAX, runtime.loaded.store.close()).await.is_err() {
        tracing::warn!("closing the store timed out");
    }
    // Last: all the others make spans.
    let flushed = stop(&mut exporting, STOP_MAX).await;
    tracing::info!("stopped");
    ended.and(drained).and(stopped).and(closed).and(flushed)
}

/// Closes the journal, and logs where the transitions are that the store does not have.
///
/// # Errors
/// When some of them are nowhere but in memory.
async fn close_journal(journal: &Arc<Journal>, clock: &dyn Clock) -> Result<()> {
    let closing = Arc::clone(journal);
    tokio::task::spawn_blocking(move || closing.close()).await.context("close the journal")?;
    let stats = journal.stats(clock.now());
    let in_files = stats.depth.saturating_sub(stats.in_memory);
    if stats.in_memory > 0 {
        let lost = stats.in_memory;
        tracing::error!(
            lost,
            in_journal = in_files,
            "stopped with transitions that neither the journal nor the store could write: they are lost"
        );
        return Err(anyhow!(
            "{lost} transitions are lost: neither the journal nor the store could write them"
        ));
    }
    if in_files > 0 {
        tracing::warn!(
            in_journal = in_files,
            "stopped before the store took all transitions: they are in the journal for the next start"
        );
    }
    Ok(())
}

/// Stops the tasks and waits for them, not for ever.
async fn stop(tasks: &mut Supervisor, within: Duration) -> Result<()> {
    tasks.stop_token().cancel();
    if let Ok(finished) = tokio::time::timeout(within, tasks.finished()).await {
        return finished.map_err(Into::into);
    }
    tracing::warn!(tasks = tasks.running().join(", "), "tasks did not stop in time, aborting them");
    Ok(())
}

/// The code that a process ends with when [`run`] ended with `error`: 6 when another breakerd took over what it ran on; 5
/// when a task ended early for another reason, which is a fault of breakerd; else 1.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    match error.downcast_ref::<TaskFailure>() {
        Some(TaskFailure { cause: Cause::Failed(cause), .. }) if is_overtaken(cause) => OVERTAKEN,
        Some(_) => TASK_FAILED,
        None => FAILED,
    }
}

/// Another breakerd has the store or the data folder.
fn is_overtaken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(StoreError::LockedByAnother(_)))
        || matches!(error.downcast_ref(), Some(DataDirError::LockedByAnother { .. }))
}

/// It could not start.
const FAILED: u8 = 1;
/// A task that the process needs ended early. Not 2 to 4, which the client commands use.
const TASK_FAILED: u8 = 5;
/// Another breakerd decides now.
const OVERTAKEN: u8 = 6;

/// The two servers, and what keeps their files up to date: tasks that end with `shutdown`.
fn start_transports(
    app: &Arc<App>,
    settings: &Settings,
    security: Security,
    listeners: Listeners,
    shutdown: &CancellationToken,
) -> Result<(Supervisor, Arc<grpc::HealthRegistry>)> {
    security.warn_if_exposed(listeners.grpc.local_addr()?, listeners.http.local_addr()?);
    let grpc = grpc::GrpcServices::with_security(
        security.grpc.clone(),
        Arc::clone(app),
        grpc::Limits::from(settings),
        grpc::EnvoySettings::of(settings),
    )?;
    let health = Arc::clone(grpc.health());
    let calls = grpc.call_source();
    app.metrics.show_calls(calls).context("show the calls")?;
    let mut transports = Supervisor::new(shutdown.clone(), app.metrics.task.clone(), Arc::clone(&app.clock));
    let grpc = grpc::serve(grpc, listeners.grpc, shutdown.clone());
    transports.spawn("grpc", async move {
        grpc.await;
        Ok(())
    });
    let timeouts = http::Timeouts { write: settings.http_write_timeout, grace: settings.drain_grace() };
    let http =
        http::serve(Arc::clone(app), security.http.clone(), listeners.http, shutdown.clone(), timeouts);
    transports.spawn("http", async move {
        http.await;
        Ok(())
    });
    let (security, app, stop) = (Arc::new(security), Arc::clone(app), shutdown.clone());
    // The last valid files stay in effect meanwhile.
    transports.spawn_restarted("security_file_reload", move || {
        let (security, app, stop) = (Arc::clone(&security), Arc::clone(&app), stop.clone());
        async move { security.reload_on_change(&app.metrics, &*app.clock, stop).await }
    });
    Ok((transports, health))
}

/// Who sends spans, if tracing is enabled. It has a stop of its own, behind that of whatever makes spans.
fn start_export(app: &App, exporter: Option<TraceExporter>) -> Supervisor {
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
fn start_tasks(
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
fn start_replication(
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

/// Logs the version, the addresses and the store of this process.
fn log_start(settings: &Settings, listeners: &Listeners) -> io::Result<()> {
    let tls = match (&settings.tls_certificate, &settings.tls_client_ca) {
        (None, _) => "off",
        (Some(_), None) => "on",
        (Some(_), Some(_)) => "mutual",
    };
    tracing::info!(
        version = VERSION,
        commit = COMMIT,
        replica = %settings.replica,
        grpc = %listeners.grpc.local_addr()?,
        http = %listeners.http.local_addr()?,
        store = if settings.has_database() { "Postgres" } else { "SQLite" },
        data_dir = %settings.data_dir.display(),
        tls,
        tokens = settings.auth_tokens_file.is_some(),
        "starting"
    );
    Ok(())
}

/// Where it listens, and what to try: for a person who has just started it.
fn greeting(listeners: &Listeners, settings: &Settings) -> io::Result<String> {
    let (grpc, http) = (listeners.grpc.local_addr()?, listeners.http.local_addr()?);
    let has_tls = settings.tls_certificate.is_some();
    let scheme = if has_tls && settings.http_tls { "https" } else { "http" };
    let listens = format!("breakerd is listening: gRPC on {grpc}, HTTP on {scheme}://{http}\n\n");
    if has_tls || settings.auth_tokens_file.is_some() {
        return Ok(listens + "To authenticate, see docs/security.md\n\n");
    }
    Ok(format!(
        "{listens}Try it in another terminal:
  grpcurl -plaintext -d '{{\"service\": \"sentinel\"}}' {grpc} breakerd.v1.BreakerService/AllowRequest
  grpcurl -plaintext -d '{{\"service\": \"sentinel\", \"outcome\": \"OUTCOME_FAILURE\"}}' {grpc} breakerd.v1.BreakerService/RecordOutcome
  curl http://{http}/health/circuit-breakers

"
    ))
}
