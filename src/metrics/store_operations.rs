//! How long each operation of a store takes, how many fail, and what their results mean for its status.

use std::future::Future;
use std::sync::Arc;

use breakerd_common::clock::Clock;

use super::StoreMetrics;
use crate::store::{OperationKind, Proposal, StoreError, StoreMonitor};
use crate::traces::Tracer;

/// Counts operations of a store.
///
/// An operation whose future is dropped is not counted.
#[derive(Clone)]
pub struct StoreOperations {
    pub(super) metrics: StoreMetrics,
    monitor: Arc<StoreMonitor>,
    clock: Arc<dyn Clock>,
    tracer: Option<Tracer>,
}

impl StoreOperations {
    /// Has `monitor` note every answer.
    pub fn new(metrics: StoreMetrics, monitor: Arc<StoreMonitor>, clock: Arc<dyn Clock>) -> Self {
        Self { metrics, monitor, clock, tracer: None }
    }

    /// Makes spans of operations too.
    #[must_use]
    pub fn traced(self, tracer: Option<Tracer>) -> Self {
        Self { tracer, ..self }
    }

    /// Each of these has its series from here on.
    pub(super) fn show(&self, operations: &[&'static str]) {
        for operation in operations {
            self.metrics.operation_duration_seconds.with_label_values(&[operation]);
            self.metrics.errors_total.with_label_values(&[operation]);
        }
    }

    pub(super) async fn watch<T>(
        &self,
        operation: &'static str,
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        self.watch_writing(operation, &[], call).await
    }

    /// As [`StoreOperations::watch`], of an operation that writes `proposals`.
    pub(super) async fn watch_writing<T>(
        &self,
        operation: &'static str,
        proposals: &[Proposal],
        call: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let begun_at = self.clock.now();
        let span = self.tracer.as_ref().and_then(|tracer| tracer.store_operation(operation, proposals));
        let result = match span {
            Some(span) => span.run(call).await,
            None => call.await,
        };
        let now = self.clock.now();
        let took = now.since(begun_at);
        self.metrics.operation_duration_seconds.with_label_values(&[operation]).observe(took.as_secs_f64());
        self.monitor.note(kind_of(operation), &result, now);
        self.metrics.show(&self.monitor.get());
        if result.is_err() {
            self.metrics.errors_total.with_label_values(&[operation]).inc();
        }
        result
    }

    /// This revision was seen.
    pub(super) fn saw(&self, revision: u64) {
        let revision = i64::try_from(revision).unwrap_or(i64::MAX);
        // Two responses can cross here; the next one corrects it.
        if revision > self.metrics.revision.get() {
            self.metrics.revision.set(revision);
        }
    }
}

/// What the result of an operation means for the store's status.
fn kind_of(operation: &str) -> OperationKind {
    match operation {
        // The first operation of a start, before it is pinged.
        "ping" | "meta" => OperationKind::Ping,
        "propose" | "propose_shared" => OperationKind::TransitionWrite,
        "write_config" | "keep_request" | "renew_timeline" | "check_writable" => OperationKind::ConfigWrite,
        _ => OperationKind::Other,
    }
}
