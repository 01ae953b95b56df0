//! The task that sends spans.

use std::mem;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use breakerd_common::clock::Clock;
use opentelemetry_proto::transform::common::tonic::ResourceAttributesWithSchema;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

use super::collector::Collector;
use super::headers::HeadersFile;
use super::request::{Batch, ExportError, Taken};
use crate::metrics::{DroppedSpans, TracingMetrics};
use crate::traces::{BATCH_MAX, EndedSpan, SpanQueue};

/// How long spans are collected before fewer are sent.
const COLLECTED_FOR: Duration = Duration::from_secs(1);
/// How often a batch is sent until it is dropped.
const ATTEMPTS_MAX: u32 = 5;
/// The pause before the second attempt; it doubles.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// How long a batch that is on its way at the shutdown may take: cut off and sent again, it would come twice.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(1);
/// How long what is left may take behind it, all together. Both are shorter than the time that tasks have to stop.
const FLUSH_MAX: Duration = Duration::from_secs(3);

/// Sends spans to the collector; one task.
pub struct TraceExporter {
    sender: Mutex<Sender>,
    metrics: TracingMetrics,
    clock: Arc<dyn Clock>,
}

struct Sender {
    queue: SpanQueue,
    collector: Collector,
    headers: HeadersFile,
    resource: ResourceAttributesWithSchema,
    timeout: Duration,
    /// Whether the log has that the collector does not take spans.
    is_failing: bool,
    /// Whether it has that the collector warns of spans which it takes.
    is_warned: bool,
}

/// What became of a batch.
#[derive(PartialEq, Eq)]
enum Settled {
    /// It is taken, or dropped.
    Done,
    /// The shutdown came first.
    CutOff,
}

impl std::fmt::Debug for TraceExporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TraceExporter").finish_non_exhaustive()
    }
}

impl TraceExporter {
    pub(super) fn new(
        queue: SpanQueue,
        collector: Collector,
        headers: HeadersFile,
        resource: ResourceAttributesWithSchema,
        timeout: Duration,
        metrics: TracingMetrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let (is_failing, is_warned) = (false, false);
        let sender = Sender { queue, collector, headers, resource, timeout, is_failing, is_warned };
        Self { sender: Mutex::new(sender), metrics, clock }
    }

    /// Sends until `stop`, and then what is left, for 4 s at most.
    ///
    /// # Errors
    /// None. (A second run waits for the first.)
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        let mut sender = self.sender.lock().await;
        let sender = &mut *sender;
        let (mut spans, mut unsent) = (Vec::new(), None);
        // Sleeps until a span ends; then others have a moment to join it.
        while let Some(1..) = stop.run_until_cancelled(sender.queue.take(&mut spans)).await {
            self.collect(sender, &mut spans, &stop).await;
            if stop.is_cancelled() {
                break;
            }
            let batch = Batch::of(mem::take(&mut spans), &sender.resource);
            if self.send_again(sender, &batch, &stop).await == Settled::CutOff {
                unsent = Some(batch);
                break;
            }
        }
        let flushed = tokio::time::timeout(FLUSH_MAX, self.flush(sender, &mut unsent, &mut spans)).await;
        // Those of the batch that was cut off, and all behind it.
        let lost = unsent.map_or(0, |batch| batch.spans) + spans.len() + sender.queue.len();
        if flushed.is_err() {
            self.drop_spans(DroppedSpans::Shutdown, lost);
            tracing::warn!(lost, "spans were not exported before the shutdown");
        }
        Ok(())
    }

    /// Adds spans to a batch once it can be full, after a moment, or at `stop`.
    async fn collect(&self, sender: &mut Sender, spans: &mut Vec<EndedSpan>, stop: &CancellationToken) {
        let ends_at = self.clock.now() + COLLECTED_FOR;
        if spans.len() < BATCH_MAX {
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.clock.sleep_until(ends_at) => {}
                () = sender.queue.batch_waits() => {}
            }
        }
        sender.queue.take_ended(spans);
    }

    /// Sends a batch until it is taken, refused, or has been tried often enough; or until `stop`.
    async fn send_again(&self, sender: &mut Sender, batch: &Batch, stop: &CancellationToken) -> Settled {
        let mut pause = PAUSE_FIRST;
        for attempt in 1..=ATTEMPTS_MAX {
            let cut_off = async {
                stop.cancelled().await;
                tokio::time::sleep(IN_FLIGHT_MAX).await;
            };
            let sent = tokio::select! {
                biased;
                sent = sender.send(batch) => sent,
                () = cut_off => return Settled::CutOff,
            };
            let Some(error) = self.sent(sender, sent, batch) else { return Settled::Done };
            if !error.can_retry || attempt == ATTEMPTS_MAX {
                break;
            }
            let again_at = self.clock.now() + pause;
            if stop.run_until_cancelled(self.clock.sleep_until(again_at)).await.is_none() {
                return Settled::CutOff;
            }
            pause *= 2;
        }
        self.drop_spans(DroppedSpans::ExportFailed, batch.spans);
        Settled::Done
    }

    /// Sends what is left, each batch once. The first that fails ends it: the others would too.
    async fn flush(&self, sender: &mut Sender, unsent: &mut Option<Batch>, spans: &mut Vec<EndedSpan>) {
        loop {
            if unsent.is_none() {
                sender.queue.take_ended(spans);
                if spans.is_empty() {
                    return;
                }
            }
            let batch = unsent.get_or_insert_with(|| Batch::of(mem::take(spans), &sender.resource));
            let sent = sender.send(batch).await;
            if self.sent(sender, sent, batch).is_some() {
                self.drop_spans(DroppedSpans::Shutdown, batch.spans + sender.queue.len());
                *unsent = None;
                return;
            }
            *unsent = None;
        }
    }

    /// Notes what came of a batch, which is done with if that is no error.
    fn sent(
        &self,
        sender: &mut Sender,
        sent: Result<Taken, ExportError>,
        batch: &Batch,
    ) -> Option<ExportError> {
        match sent {
            Ok(Taken { rejected, problem }) => {
                let all = u64::try_from(batch.spans).unwrap_or(u64::MAX);
                let rejected = rejected.min(all);
                self.metrics.exported_spans_total.inc_by(all - rejected);
                self.metrics.dropped(DroppedSpans::Rejected).inc_by(rejected);
                if rejected > 0 {
                    sender.is_failing = warn_once(sender.is_failing, "collector rejected spans", &problem);
                    return None;
                }
                if mem::take(&mut sender.is_failing) {
                    tracing::info!("spans are exported again");
                }
                sender.is_warned = !problem.is_empty()
                    && warn_once(sender.is_warned, "collector accepted spans with a warning", &problem);
                None
            }
            Err(error) => {
                self.metrics.failed_exports_total.inc();
                let message = if error.can_retry {
                    "cannot export spans, retrying"
                } else {
                    "cannot export spans, dropping them"
                };
                sender.is_failing = warn_once(sender.is_failing, message, &error.problem);
                Some(error)
            }
        }
    }

    fn drop_spans(&self, reason: DroppedSpans, spans: usize) {
        self.metrics.dropped(reason).inc_by(u64::try_from(spans).unwrap_or(u64::MAX));
    }
}

/// Until it works again, further failures are only counted.
fn warn_once(is_failing: bool, message: &'static str, problem: &str) -> bool {
    if !is_failing {
        tracing::warn!(problem, "{message}");
    }
    true
}

impl Sender {
    async fn send(&mut self, batch: &Batch) -> Result<Taken, ExportError> {
        let headers = self.headers.current().await;
        let sent = self.collector.current().await.send(batch.message.clone(), headers);
        tokio::time::timeout(self.timeout, sent).await.unwrap_or_else(|_| {
            let problem = format!("no answer within {} ms", self.timeout.as_millis());
            Err(ExportError { problem, can_retry: true })
        })
    }
}
