//! The whole service, put together: what main runs, and what tests run.

mod load;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::load::{House, load};
use crate::app::App;
use crate::config::watch::{Method, Watcher};
use crate::config::{Config, Settings, Sources};
use crate::data_dir::DataDir;
use crate::doors::Doors;
use crate::engine::Clock;
use crate::journal::writer::Writer;
use crate::lifecycle;
use crate::metrics::{Metrics, Namespace};
use crate::{grpc, http};

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
            io::ErrorKind::PermissionDenied => "the port needs rights that this process lacks".to_owned(),
            _ => error.to_string(),
        };
        anyhow!("cannot serve {what} on {address}: {why}; {setting} names another")
    })
}

/// What a server is started with.
pub struct Start {
    /// What it was told.
    pub config: Config,
    /// Where that came from, to take a changed file; none: the file is not watched.
    pub sources: Option<Sources>,
    /// Where it serves.
    pub listeners: Listeners,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// Serves until `shutdown`, and then ends within the grace time.
///
/// # Errors
/// When it cannot start, or an edge fails while it runs. A database that is away at the start is waited for.
pub async fn run(start: Start, shutdown: CancellationToken) -> Result<()> {
    let Start { config, sources, listeners, clock } = start;
    let settings = &config.settings;
    let data_dir = DataDir::take(&settings.data_dir)?;
    let namespace = Namespace::new(&settings.metrics_namespace).context("read metrics.namespace")?;
    let metrics = Arc::new(Metrics::new(namespace));
    let doors = Doors::build(settings, &metrics, clock.now())?;
    let app = Arc::new(App::new(Arc::clone(&clock), metrics));

    // The edges stand before anything is loaded: who asks is told that it is not, rather than refused.
    tell_start(settings, &listeners)?;
    let edges = Edges::start(&app, settings, doors, listeners, &shutdown)?;
    let house = tokio::select! {
        loaded = load(&app, &config, &data_dir) => loaded.map(Some),
        () = shutdown.cancelled() => Ok(None),
        failed = edges.failed() => Err(failed),
    };
    let house = match house {
        Ok(house) => house,
        Err(error) => {
            shutdown.cancel();
            edges.ended().await;
            return Err(error);
        }
    };
    let Some(house) = house else {
        edges.ended().await;
        return Ok(());
    };
    edges.health.loaded();
    let tasks = Tasks::start(&app, &config, sources, &house, &edges.health);
    tracing::info!(breakers = house.engine.len(), revision = house.engine.catalog().revision(), "ready");

    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(()),
        failed = edges.failed() => Err(failed),
    };
    app.status.shut_down();
    shutdown.cancel();
    tracing::info!("stopping: no new calls are taken");
    let drained = tokio::time::timeout(settings.shutdown_grace, async {
        edges.ended().await;
        house.control.finished().await;
        house.journal.emptied().await;
    });
    if drained.await.is_err() {
        let left = house.journal.stats(clock.now()).depth;
        tracing::warn!(left, "the grace time is over; what is left stands in the journal for the next start");
    }
    tasks.stop().await;
    house.store.close().await;
    tracing::info!("stopped");
    ended
}

/// The two servers, each a task.
struct Edges {
    tracker: TaskTracker,
    health: Arc<grpc::HealthBoard>,
    failed: watch::Receiver<Option<String>>,
}

impl Edges {
    fn start(
        app: &Arc<App>,
        settings: &Settings,
        doors: Doors,
        listeners: Listeners,
        stop: &CancellationToken,
    ) -> Result<Self> {
        // Within the grace there must be time left to write the journal out.
        let grace = settings.shutdown_grace.mul_f64(0.7);
        let limits = grpc::Limits {
            connections_per_address_max: settings.grpc_connections_per_address_max,
            in_flight_per_caller_max: settings.grpc_in_flight_per_caller_max,
            watches_max: settings.grpc_watches_max,
            watches_per_caller_max: settings.grpc_watches_per_caller_max,
            health_needs_token: settings.auth_health_needs_token,
            message_bytes_max: settings.grpc_message_size_max,
            streams_max: settings.grpc_streams_max,
            in_flight_max: settings.grpc_in_flight_max,
            grace,
            ..grpc::Limits::default()
        };
        doors.call_out(listeners.grpc.local_addr()?, listeners.http.local_addr()?);
        let edge = grpc::Edge::behind(doors.grpc.clone(), Arc::clone(app), limits)?;
        let health = Arc::clone(edge.health());
        let calls = Arc::clone(edge.calls());
        app.metrics
            .show_calls(Arc::new(move || {
                calls.snapshot().into_iter().map(grpc::CallView::into_row).collect()
            }))
            .context("show the calls")?;
        let tracker = TaskTracker::new();
        let (report, failed) = watch::channel(None);
        tracker.spawn(grpc::serve(edge, listeners.grpc, stop.clone()));
        let http = http::serve(Arc::clone(app), doors.http.clone(), listeners.http, stop.clone(), grace);
        tracker.spawn(async move {
            if let Err(error) = http.await {
                report.send_replace(Some(format!("HTTP: {error}")));
            }
        });
        tracker.spawn(doors.keep_up(Arc::clone(&app.metrics), Arc::clone(&app.clock), stop.clone()));
        tracker.close();
        Ok(Self { tracker, health, failed })
    }

    /// Ends when an edge fails, with why.
    async fn failed(&self) -> anyhow::Error {
        let mut failed = self.failed.clone();
        match failed.wait_for(Option::is_some).await.map(|why| why.clone()) {
            Ok(why) => anyhow!("stopped serving {}", why.unwrap_or_default()),
            // Both ended without a failure: that is the shutdown, and who waits for it hears of it.
            Err(_) => std::future::pending().await,
        }
    }

    async fn ended(&self) {
        self.tracker.wait().await;
    }
}

/// The tasks behind the edges.
struct Tasks {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tasks {
    fn start(
        app: &Arc<App>,
        config: &Config,
        sources: Option<Sources>,
        house: &House,
        health: &Arc<grpc::HealthBoard>,
    ) -> Self {
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let House { engine, store, journal, control, feeds } = house;
        let clock = || Arc::clone(&app.clock);
        let idle_ttl = config.settings.idle_breaker_ttl;
        tracker.spawn(lifecycle::run_timer(Arc::clone(engine), clock(), stop.clone()));
        tracker.spawn(lifecycle::run_sweeper(Arc::clone(engine), clock(), idle_ttl, stop.clone()));
        let kept = config.settings.store_history_retention;
        tracker.spawn(lifecycle::run_retention(Arc::clone(store), clock(), kept, stop.clone()));
        tracker.spawn(lifecycle::run_overrides(
            Arc::clone(engine),
            Arc::clone(control),
            clock(),
            stop.clone(),
        ));
        tracker.spawn(lifecycle::run_keep_up(Arc::clone(control), stop.clone()));
        tracker.spawn(lifecycle::run_ping(Arc::clone(store), Arc::clone(health), stop.clone()));
        tracker.spawn(Writer::new(Arc::clone(journal), Arc::clone(store)).run(stop.clone()));
        let tail = Arc::clone(&feeds.tail);
        tracker.spawn(lifecycle::run_tail(tail, Arc::clone(journal), clock(), stop.clone()));
        if let Some(sources) = sources {
            let watcher = Watcher::start(sources, config, Method::Folder);
            let (control, metrics) = (Arc::clone(control), app.metrics.config.clone());
            let running = config.has_file().then(|| config.declaration.clone());
            tracker.spawn(lifecycle::run_file(control, metrics, running, watcher, stop.clone()));
        }
        tracker.close();
        Self { tracker, stop }
    }

    async fn stop(&self) {
        self.stop.cancel();
        self.tracker.wait().await;
    }
}

/// What whoever reads the log later asks first: which breakerd this was, where it listened, on what it stood.
fn tell_start(settings: &Settings, listeners: &Listeners) -> io::Result<()> {
    let tls = match (&settings.tls_certificate, &settings.tls_client_ca) {
        (None, _) => "off",
        (Some(_), None) => "on",
        (Some(_), Some(_)) => "mutual",
    };
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        replica = %settings.replica,
        grpc = %listeners.grpc.local_addr()?,
        http = %listeners.http.local_addr()?,
        store = if settings.store_url.is_some() { "Postgres" } else { "SQLite" },
        data_dir = %settings.data_dir.display(),
        tls,
        tokens = settings.auth_tokens_file.is_some(),
        "starting"
    );
    Ok(())
}

/// Says where it listens, and what to try: for a person who has just started it.
///
/// # Errors
/// When `out` cannot be written.
pub fn announce(listeners: &Listeners, settings: &Settings, out: &mut dyn Write) -> io::Result<()> {
    let (grpc, http) = (listeners.grpc.local_addr()?, listeners.http.local_addr()?);
    let has_tls = settings.tls_certificate.is_some();
    let scheme = if has_tls && settings.http_tls { "https" } else { "http" };
    writeln!(out, "breakerd listens: gRPC on {grpc}, HTTP on {scheme}://{http}\n")?;
    if has_tls || settings.auth_tokens_file.is_some() {
        return writeln!(out, "Who may do what, and how to ask: docs/security.md\n");
    }
    writeln!(
        out,
        "Try, from another terminal:
  grpcurl -plaintext -d '{{\"service\": \"sentinel\"}}' {grpc} breakerd.v1.BreakerService/AllowRequest
  grpcurl -plaintext -d '{{\"service\": \"sentinel\", \"outcome\": \"OUTCOME_FAILURE\"}}' {grpc} breakerd.v1.BreakerService/RecordOutcome
  curl http://{http}/health/circuit-breakers
"
    )
}
