//! The metrics, and how they are exported to Prometheus.
//!
//! Two kinds of metrics. What breakerd counts of itself are typed fields of structs ([`StoreMetrics`],
//! [`ConfigMetrics`]) that are passed to the code that counts. What is counted elsewhere already, in the breakers and in
//! the journal, is read at the scrape by one collector each: nothing is counted twice, and a decision pays
//! for no label. In both, the doc comment of a metric is its help text.
//!
//! docs/metrics.md lists every name; a test compares it with a scrape.
//!
//! # Names
//! Everything carries the [`Namespace`]. `<ns>_circuit_breaker_*` is about the breakers, `<ns>_breakerd_*`
//! about this process, and only `process_*` has no prefix: those names are the same in every program,
//! and dashboards know them.

mod access;
mod breakers;
mod calls;
mod envoy;
mod exemplars;
mod family;
mod field;
mod journal;
mod metered_shared_store;
mod metered_store;
mod namespace;
mod notify;
mod open_metrics;
mod store_operations;
mod traces;
mod watch;

use std::sync::{Arc, OnceLock};

use breakerd_common::clock::Clock;
use prometheus::core::Collector;
use prometheus::{
    Gauge, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry, TextEncoder,
};

use crate::engine::Engine;
use crate::journal::JournalStats;
use crate::store::StoreStatus;
use crate::version::{COMMIT, VERSION};
use field::metrics;

pub use access::Refusal;
pub use calls::{CallRow, CallsView};
pub use envoy::LogEntry;
pub use exemplars::Exemplar;
pub use metered_shared_store::{MeteredCountStore, MeteredSharedStore};
pub use metered_store::MeteredStore;
pub use namespace::{Namespace, NamespaceError};
pub use notify::NotifyTargetMetrics;
pub use store_operations::StoreOperations;
pub use traces::DroppedSpans;
pub use watch::{OpenWatch, Resyncs, Watched};

/// Reads the statistics of the journal.
pub type JournalSource = Arc<dyn Fn() -> JournalStats + Send + Sync>;

/// Reads what the gRPC transport counted.
pub type CallSource = Arc<dyn Fn() -> CallsView + Send + Sync>;

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Its media type.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// All that is counted, and the registry it is shown from.
pub struct Metrics {
    /// What is counted of the store.
    pub store: StoreMetrics,
    /// What is counted of the configuration.
    pub config: ConfigMetrics,
    /// What is counted of who may do what.
    pub access: AccessMetrics,
    /// What is counted of TLS.
    pub tls: TlsMetrics,
    /// What is counted of connections.
    pub connection: ConnectionMetrics,
    /// What is counted of long-lived tasks.
    pub task: TaskMetrics,
    /// What is counted of streams.
    pub watch: WatchMetrics,
    /// What is counted of the replicas.
    pub replica: ReplicaMetrics,
    /// What is counted of traces.
    pub tracing: TracingMetrics,
    /// What is counted of notifications.
    pub notify: NotifyMetrics,
    /// What is counted of proxies.
    pub envoy: EnvoyMetrics,
    namespace: Namespace,
    registry: Registry,
    journal: OnceLock<JournalSource>,
    calls: OnceLock<CallSource>,
}

metrics! {
    /// What is counted of the store. Clones count into the same series.
    pub struct StoreMetrics in "breakerd_store" {
        /// Duration of store operations, in seconds, including failed ones.
        operation_duration_seconds: HistogramVec["operation"],
        /// Failed store operations.
        errors_total: IntCounterVec["operation"],
        /// Whether the last ping of the store succeeded: 1 or 0.
        reachable: IntGauge[],
        /// Whether the last write of each kind succeeded: 1, or 0 while one kind fails.
        writable: IntGauge[],
        /// Newest store revision known to this replica.
        revision: IntGauge[],
        /// Time since this replica last read what other replicas changed, in seconds; 0 if the store is not shared.
        revision_lag_seconds: Gauge[],
    }
}

impl StoreMetrics {
    /// Shows the status of the store.
    pub fn show(&self, status: &StoreStatus) {
        self.reachable.set(i64::from(status.answers));
        self.writable.set(i64::from(status.takes_writes()));
    }
}

metrics! {
    /// What is counted of the configuration. Clones count into the same series.
    pub struct ConfigMetrics in "breakerd_config" {
        /// Failed reloads of the configuration file. The previous configuration stays effective.
        reload_errors_total: IntCounter[],
        /// Whether the last reload of the configuration file succeeded: 1 or 0.
        last_reload_successful: IntGauge[],
        /// Number of settings in the configuration file that differ from those that are effective, and take effect after a restart.
        settings_pending_restart: IntGauge[],
    }
}

metrics! {
    /// What is counted of who may do what. Clones count into the same series.
    pub struct AccessMetrics in "breakerd_access" {
        /// Requests denied by access control or by a limit of one client, by protocol and reason.
        refused_total: IntCounterVec["protocol", "reason"],
        /// Failed reloads of the tokens file. The previous tokens stay active.
        reload_errors_total: IntCounter[],
        /// Whether the last reload of the tokens file succeeded: 1 or 0.
        last_reload_successful: IntGauge[],
    }
}

metrics! {
    /// What is counted of TLS. Clones count into the same series.
    pub struct TlsMetrics in "breakerd_tls" {
        /// Expiry of the active certificate chain as a Unix timestamp in seconds; 0 without TLS.
        certificate_expiry_timestamp_seconds: IntGauge[],
        /// Failed TLS handshakes, by protocol.
        handshake_errors_total: IntCounterVec["protocol"],
        /// Failed reloads of the certificate, key or CA files. The previous ones stay active.
        reload_errors_total: IntCounter[],
        /// Whether the last reload of the TLS files succeeded: 1 or 0.
        last_reload_successful: IntGauge[],
    }
}

metrics! {
    /// What is counted of long-lived tasks. Clones count into the same series.
    pub struct TaskMetrics in "breakerd_task" {
        /// Long-lived tasks that panicked, failed or returned early, by task. Most of them end the process.
        failures_total: IntCounterVec["task"],
    }
}

metrics! {
    /// What is counted of traces. Clones count into the same series.
    pub struct TracingMetrics in "breakerd_tracing" {
        /// Spans that the collector accepted.
        exported_spans_total: IntCounter[],
        /// Spans that were dropped, by reason.
        dropped_spans_total: IntCounterVec["reason"],
        /// Exports that failed, each attempt counted.
        failed_exports_total: IntCounter[],
    }
}

metrics! {
    /// What is counted of streams. Clones count into the same series.
    pub struct WatchMetrics in "breakerd_watch" {
        /// Open watch streams, by method.
        streams: IntGaugeVec["method"],
        /// Watch streams that were resynchronized with a snapshot: lagging too far, or resumed with an expired token.
        resyncs_total: IntCounterVec["method"],
        /// Lag of the in-memory transition tail behind the store, in seconds.
        tail_lag_seconds: Gauge[],
        /// Store reads by `WatchTransitions` streams: snapshots, and streams that lag behind the in-memory tail.
        store_reads_total: IntCounter[],
    }
}

metrics! {
    /// What is counted of the replicas that share the store. Clones count into the same series.
    pub struct ReplicaMetrics in "breakerd_replica" {
        /// Whether replicas share the store, and it has not answered this one for 3 seconds: 1 or 0.
        alone: IntGauge[],
        /// Replicas that the store was told of within 3 seconds, this one included; 0 if the store is not shared.
        live: IntGauge[],
    }
}

metrics! {
    /// What is counted of connections. Clones count into the same series.
    pub struct ConnectionMetrics in "breakerd" {
        /// Open connections, by protocol.
        connections: IntGaugeVec["protocol"],
        /// Limit of the open connections, by protocol. Beyond it gRPC closes a new connection, and HTTP lets it wait.
        connections_max: IntGaugeVec["protocol"],
    }
}

metrics! {
    /// What is counted of notifications. Clones count into the same series.
    pub struct NotifyMetrics in "breakerd_notify" {
        /// Notifications that the target accepted.
        sent_total: IntCounterVec["target"],
        /// Notifications that were given up: the target rejected them, or did not accept them in time.
        failed_total: IntCounterVec["target"],
        /// Notifications that were dropped because the queue of the target was full, the oldest first.
        dropped_total: IntCounterVec["target"],
        /// Failed attempts to post a notification, retried or not.
        failed_attempts_total: IntCounterVec["target"],
        /// Notifications that wait for the target, including the one that is being posted.
        queue_depth: IntGaugeVec["target"],
        /// Failed reloads of the URL, secret or CA file of the target. The previous ones stay active.
        reload_errors_total: IntCounterVec["target"],
        /// Whether the last reload of the files of the target succeeded: 1 or 0.
        last_reload_successful: IntGaugeVec["target"],
    }
}

metrics! {
    /// What is counted of proxies. Clones count into the same series.
    pub struct EnvoyMetrics in "breakerd_envoy" {
        /// Entries of the access logs of proxies, by what became of them.
        log_entries_total: IntCounterVec["result"],
    }
}

metrics! {
    struct BuildMetrics in "breakerd" {
        /// Version of breakerd, and the commit that it was built from; always 1.
        build_info: IntGaugeVec["version", "commit"],
    }
}

impl Metrics {
    /// Metrics whose names begin with `namespace`.
    pub fn new(namespace: Namespace) -> Self {
        let registry = Registry::new();
        let store = StoreMetrics::new(&namespace);
        // Nothing was refused yet.
        store.writable.set(1);
        let config = ConfigMetrics::new(&namespace);
        // A process that starts has loaded its configuration.
        config.last_reload_successful.set(1);
        let access = AccessMetrics::new(&namespace);
        let tls = TlsMetrics::new(&namespace);
        let connection = ConnectionMetrics::new(&namespace);
        access.begin();
        tls.begin();
        let task = TaskMetrics::new(&namespace);
        let watch = WatchMetrics::new(&namespace);
        watch.begin();
        let replica = ReplicaMetrics::new(&namespace);
        let tracing = TracingMetrics::new(&namespace);
        tracing.begin();
        let notify = NotifyMetrics::new(&namespace);
        let envoy = EnvoyMetrics::new(&namespace);
        envoy.begin();
        let build = BuildMetrics::new(&namespace);
        build.build_info.with_label_values(&[VERSION, COMMIT]).set(1);
        let (journal, calls) = (OnceLock::new(), OnceLock::new());
        let metrics = Self {
            store,
            config,
            access,
            tls,
            connection,
            task,
            watch,
            replica,
            tracing,
            notify,
            envoy,
            namespace,
            registry,
            journal,
            calls,
        };
        let fields = [
            metrics.store.collectors(),
            metrics.config.collectors(),
            metrics.access.collectors(),
            metrics.tls.collectors(),
            metrics.connection.collectors(),
            metrics.task.collectors(),
            metrics.watch.collectors(),
            metrics.replica.collectors(),
            metrics.tracing.collectors(),
            metrics.notify.collectors(),
            metrics.envoy.collectors(),
            build.collectors(),
        ];
        for collector in fields.into_iter().flatten() {
            metrics.register_own(collector);
        }
        #[cfg(target_os = "linux")]
        metrics.register_own(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        metrics
    }

    /// What every name begins with.
    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// Shows another source at every scrape.
    ///
    /// # Errors
    /// When a name in it is taken.
    pub fn register(&self, source: Box<dyn Collector>) -> prometheus::Result<()> {
        self.registry.register(source)
    }

    /// Shows the breakers of `engine` at every scrape, as they are by `clock`.
    ///
    /// # Errors
    /// When an engine is shown already.
    pub fn show_breakers(&self, engine: Arc<Engine>, clock: Arc<dyn Clock>) -> prometheus::Result<()> {
        self.register(Box::new(breakers::Breakers::new(engine, clock, &self.namespace)))
    }

    /// Shows the calls of gRPC at every scrape, and in OpenMetrics with those of them that are sampled.
    ///
    /// # Errors
    /// When a transport is shown already.
    pub fn show_calls(&self, source: CallSource) -> prometheus::Result<()> {
        self.register(Box::new(calls::Calls::new(Arc::clone(&source), &self.namespace)))?;
        // Registering fails for a second one.
        let _ = self.calls.set(source);
        Ok(())
    }

    /// Exports the status of the journal at every scrape, and through [`Metrics::journal`].
    ///
    /// # Errors
    /// When a journal is shown already.
    pub fn show_journal(&self, source: JournalSource) -> prometheus::Result<()> {
        self.register(Box::new(journal::Journal::new(Arc::clone(&source), &self.namespace)))?;
        // Registering fails for a second one.
        let _ = self.journal.set(source);
        Ok(())
    }

    /// The status of the journal; none: there is no journal yet.
    pub fn journal(&self) -> Option<JournalStats> {
        self.journal.get().map(|stats| stats())
    }

    /// Everything as it is now. Takes milliseconds with a thousand breakers: not for a thread that others wait for.
    ///
    /// # Errors
    /// When a source that was registered gives a family without a name or a sample.
    pub fn render(&self, format: Format) -> prometheus::Result<String> {
        match format {
            Format::Text => TextEncoder::new().encode_to_string(&self.registry.gather()),
            Format::OpenMetrics => {
                // Before the samples: then these count every call that is an exemplar.
                let exemplars = self.calls.get().map(|calls| calls::exemplars(calls, &self.namespace));
                Ok(open_metrics::encode(&self.registry.gather(), &exemplars.unwrap_or_default()))
            }
        }
    }

    /// Names of ours, each given once, in a namespace that was checked: there is nothing to fail.
    fn register_own(&self, collector: Box<dyn Collector>) {
        let registered = self.registry.register(collector);
        debug_assert!(registered.is_ok(), "{registered:?}");
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(Namespace::default())
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_doc_comment_is_the_help_text() {
        let text = Metrics::default().render(Format::Text).unwrap();
        assert!(text.contains(
            "# HELP llm_incident_manager_breakerd_store_revision Newest store revision known to this \
             replica.\n# TYPE llm_incident_manager_breakerd_store_revision gauge\n\
             llm_incident_manager_breakerd_store_revision 0\n"
        ));
    }
}
