//! The whole service, put together: what main runs, and what tests run.

mod greeting;
mod listeners;
mod load;
mod start_alone;
mod tasks;
mod webhooks;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use self::greeting::{greeting, log_start};
pub use self::listeners::Listeners;
use self::load::{Started, load};
use self::tasks::{start_export, start_replication, start_tasks};
use crate::app::App;
use crate::config::{Config, Settings, Sources};
use crate::data_dir::{DataDir, DataDirError};
use crate::health::Health;
use crate::journal::Journal;
use crate::metrics::{Metrics, Namespace};
use crate::security::Security;
use crate::store::StoreError;
use crate::supervisor::{Cause, Supervisor, TaskFailure};
use crate::webhook_files::WebhookFiles;
use crate::{grpc, http, trace_export};

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
