//! State transitions in the log: each with its breaker, reason and statistics, and a flood of them summed up by the second.
//!
//! The engine reports a transition with the breaker locked, so nothing is written there: a record goes into a bounded
//! queue, or, when that is full, into a counter of its reason. A task writes what is in the queue, at most
//! `LINES_PER_SECOND_MAX` lines a second, and then a line for each reason that was only counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use anyhow::Result;
use breaker::{Attribution, Key, Numbering, Reason, State, Stats, Transition};
use breakerd_common::clock::Clock;
use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;

use crate::engine::{Appended, Event, Origin, Standing, TransitionSink};

/// Transitions that are logged one by one, a second: those of a few services in trouble are, and a fleet-wide outage of
/// a hundred thousand breakers is not a hundred thousand lines. As many wait in the queue.
const LINES_PER_SECOND_MAX: usize = 50;
/// How long transitions are counted before they are summed up.
const SECOND: Duration = Duration::from_secs(1);

/// Passes every change on to another outbox, and has transitions logged.
pub struct LoggingSink<O> {
    inner: O,
    records: mpsc::Sender<Record>,
    counted: Arc<Counted>,
}

/// Writes transitions to the log; one task.
pub struct TransitionLog {
    records: Mutex<mpsc::Receiver<Record>>,
    counted: Arc<Counted>,
    clock: Arc<dyn Clock>,
}

/// Transitions that found no room in the queue, by [`Reason`].
struct Counted([AtomicU64; Reason::ALL.len()]);

/// What is logged of a transition.
struct Record {
    key: Key,
    from: State,
    to: State,
    reason: Reason,
    epoch: u64,
    stats: Stats,
    wait: Option<Duration>,
    attribution: Option<Attribution>,
    shadow: bool,
    /// The store does not answer, and the replica decided alone.
    alone: bool,
    /// The span that it is in, if that is sampled.
    span: Option<SpanContext>,
}

/// An outbox before `inner` and the log that it feeds, paced by `clock`.
pub fn logging<O: TransitionSink>(inner: O, clock: Arc<dyn Clock>) -> (LoggingSink<O>, TransitionLog) {
    let (sender, records) = mpsc::channel(LINES_PER_SECOND_MAX);
    let counted = Arc::new(Counted([const { AtomicU64::new(0) }; Reason::ALL.len()]));
    let log = TransitionLog { records: Mutex::new(records), counted: Arc::clone(&counted), clock };
    (LoggingSink { inner, records: sender, counted }, log)
}

impl<O: TransitionSink> TransitionSink for LoggingSink<O> {
    fn append(&self, event: Event<'_>) -> Appended {
        let appended = self.inner.append(event);
        // What the store numbers is logged once it stands; what is decided alone is in force here, and does not.
        let alone = event.origin == Origin::Alone;
        if event.numbering == Numbering::Own || event.transition.shadow || alone {
            self.record(Record {
                alone,
                ..Record::of(event.key, event.transition, event.transition.after.epoch)
            });
        }
        appended
    }

    fn stands(&self, standing: &Standing<'_>) {
        self.inner.stands(standing);
        self.record(Record::of(standing.key, standing.transition, standing.epoch));
    }

    fn moved(&self, key: &Key) {
        self.inner.moved(key);
    }

    fn all_changed(&self) {
        self.inner.all_changed();
    }
}

impl<O> LoggingSink<O> {
    fn record(&self, record: Record) {
        match self.records.try_reserve() {
            Ok(slot) => slot.send(record),
            Err(_) => self.counted.add(record.reason),
        }
    }
}

impl TransitionLog {
    /// Writes until `stop`, and then what is left.
    ///
    /// # Errors
    /// None. (A second run waits for the first.)
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        let mut records = self.records.lock().await;
        loop {
            // Sleeps until something happens: then a second begins.
            let Some(Some(first)) = stop.run_until_cancelled(records.recv()).await else { break };
            let ends_at = self.clock.now() + SECOND;
            first.log();
            let mut lines = 1;
            loop {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.clock.sleep_until(ends_at) => break,
                    Some(record) = records.recv(), if lines < LINES_PER_SECOND_MAX => {
                        record.log();
                        lines += 1;
                    }
                }
            }
            self.counted.log();
        }
        while let Ok(record) = records.try_recv() {
            record.log();
        }
        self.counted.log();
        Ok(())
    }
}

impl Counted {
    fn add(&self, reason: Reason) {
        self.0[reason as usize].fetch_add(1, Relaxed);
    }

    /// Sums up what was counted since the last time.
    fn log(&self) {
        for (counted, reason) in self.0.iter().zip(Reason::ALL) {
            let transitions = counted.swap(0, Relaxed);
            if transitions > 0 {
                tracing::warn!(%reason, transitions, "too many state transitions to log each");
            }
        }
    }
}

impl Record {
    fn of(key: &Key, transition: &Transition, epoch: u64) -> Self {
        Self {
            key: key.clone(),
            from: transition.from,
            to: transition.to(),
            reason: transition.reason,
            epoch,
            stats: transition.stats,
            wait: transition.after.wait,
            attribution: transition.attribution.clone(),
            shadow: transition.shadow,
            alone: false,
            span: current_span(),
        }
    }

    fn log(&self) {
        let Self { key, from, to, reason, epoch, stats, wait, attribution, shadow, alone, span } = self;
        // The log shows the ids of the span that is current.
        let _attached = span.clone().map(|span| Context::new().with_remote_span_context(span).attach());
        let (service, name) = (&**key.service(), &**key.name());
        let Stats { calls, failures, slow_calls, consecutive_failures, .. } = *stats;
        let (actor, why) = (
            attribution.as_ref().map(|attribution| &*attribution.actor),
            attribution.as_ref().map(|attribution| &*attribution.reason),
        );
        if *shadow {
            tracing::warn!(
                service, name, %reason, calls, failures, slow_calls, consecutive_failures,
                "circuit would have opened (METRICS_ONLY)"
            );
        } else if *alone {
            tracing::warn!(
                service, name, %from, %to, %reason, calls, failures, slow_calls,
                "circuit state changed on this replica only, as the store does not answer"
            );
        } else if *to == State::Open {
            tracing::warn!(
                service, name, %from, %reason, epoch, calls, failures, slow_calls, consecutive_failures,
                wait_seconds = wait.map(|wait| wait.as_secs_f64()),
                "circuit opened"
            );
        } else {
            tracing::info!(
                service, name, %from, %to, %reason, epoch, calls, failures, slow_calls, actor, why,
                "circuit state changed"
            );
        }
    }
}

fn current_span() -> Option<SpanContext> {
    Context::map_current(|context| {
        let span = context.span();
        Some(span.span_context()).filter(|ids| ids.is_sampled()).cloned()
    })
}

#[cfg(test)]
mod tests;
