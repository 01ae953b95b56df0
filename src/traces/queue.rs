//! Ended spans on their way to the exporter.

use std::sync::Arc;

use opentelemetry_sdk::trace::SpanData;
use prometheus::IntCounter;
use tokio::sync::{Notify, mpsc};

/// The most spans that are sent together: some hundred kilobytes.
pub const BATCH_MAX: usize = 512;

/// A span that has ended, where it was recorded.
#[derive(Debug)]
pub struct EndedSpan(Box<SpanData>);

impl EndedSpan {
    pub(super) fn new(data: Box<SpanData>) -> Self {
        Self(data)
    }

    /// What the library encodes.
    pub fn into_data(self) -> SpanData {
        *self.0
    }
}

/// Where the exporter takes ended spans from.
#[derive(Debug)]
pub struct SpanQueue {
    spans: mpsc::Receiver<EndedSpan>,
    /// Told when a batch of spans waits.
    batch_waits: Arc<Notify>,
}

/// A queue of at most `max` ended spans. Those that find no room are counted in `dropped`.
pub(super) fn of(max: usize, dropped: IntCounter) -> (Enqueue, SpanQueue) {
    let (sender, receiver) = mpsc::channel(max);
    let batch_waits = Arc::new(Notify::new());
    // Before it is full: what ends meanwhile needs room.
    let batch = BATCH_MAX.min(max.div_ceil(2));
    let enqueue = Enqueue {
        spans: sender,
        room_beside_batch: max - batch,
        batch_waits: Arc::clone(&batch_waits),
        dropped,
    };
    (enqueue, SpanQueue { spans: receiver, batch_waits })
}

impl SpanQueue {
    /// Adds a batch of spans at most to `spans`; waits for the first. None are left when it adds none: the tracer has gone.
    pub async fn take(&mut self, spans: &mut Vec<EndedSpan>) -> usize {
        self.spans.recv_many(spans, BATCH_MAX).await
    }

    /// Waits until a batch of spans waits, or half a queue that is shorter than two. Each span would wake who waits for
    /// it, which costs more than the span. It may return early once, for spans that were taken before.
    pub async fn batch_waits(&self) {
        self.batch_waits.notified().await;
    }

    /// Adds spans that have ended by now to `spans`, until it holds a batch.
    pub fn take_ended(&mut self, spans: &mut Vec<EndedSpan>) {
        while spans.len() < BATCH_MAX
            && let Ok(span) = self.spans.try_recv()
        {
            spans.push(span);
        }
    }

    /// How many spans wait.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
}

/// Puts each span that ends into the queue; one that finds no room is dropped and counted.
#[derive(Debug)]
pub(super) struct Enqueue {
    spans: mpsc::Sender<EndedSpan>,
    /// The room that is left once a batch waits.
    room_beside_batch: usize,
    batch_waits: Arc<Notify>,
    dropped: IntCounter,
}

impl Enqueue {
    pub(super) fn put(&self, span: EndedSpan) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
        if self.spans.capacity() <= self.room_beside_batch {
            self.batch_waits.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context as TaskContext, Poll, Waker};

    use super::*;
    use crate::traces::ended_span;

    fn is_told(queue: &SpanQueue) -> bool {
        let waits = pin!(queue.batch_waits());
        waits.poll(&mut TaskContext::from_waker(Waker::noop())) == Poll::Ready(())
    }

    #[test]
    fn who_sends_is_told_once_a_batch_waits() {
        for (max, batch) in [(4096, BATCH_MAX), (65, 33), (64, 32), (1, 1)] {
            let dropped = IntCounter::new("dropped", "dropped").unwrap();
            let (enqueue, mut queue) = of(max, dropped.clone());
            for _ in 1..batch {
                enqueue.put(ended_span("call"));
            }
            assert!(!is_told(&queue), "{} of {max} wait", batch - 1);
            enqueue.put(ended_span("call"));
            assert!(is_told(&queue), "{batch} of {max} wait");
            assert_eq!(dropped.get(), 0);
            let mut spans = Vec::new();
            queue.take_ended(&mut spans);
            assert_eq!((spans.len(), queue.len()), (batch, 0));
            enqueue.put(ended_span("call"));
            assert_eq!(is_told(&queue), batch == 1, "one of {max} waits");
        }
    }
}
