//! Ended spans on their way to the exporter.

use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use prometheus::IntCounter;
use tokio::sync::mpsc;

/// Where the exporter takes ended spans from.
#[derive(Debug)]
pub struct SpanQueue(pub(super) mpsc::Receiver<SpanData>);

impl SpanQueue {
    /// Adds up to `max` spans to `spans`; waits for the first. None are left when it adds none: the tracer has gone.
    pub async fn take(&mut self, spans: &mut Vec<SpanData>, max: usize) -> usize {
        self.0.recv_many(spans, max).await
    }

    /// Adds spans that have ended by now to `spans`, until it holds `max`.
    pub fn take_ended(&mut self, spans: &mut Vec<SpanData>, max: usize) {
        while spans.len() < max
            && let Ok(span) = self.0.try_recv()
        {
            spans.push(span);
        }
    }

    /// How many spans wait.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Puts each span that ends into the queue; one that finds no room is dropped and counted.
#[derive(Debug)]
pub(super) struct Enqueue {
    pub(super) spans: mpsc::Sender<SpanData>,
    pub(super) dropped: IntCounter,
}

impl SpanProcessor for Enqueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.spans.try_send(span).is_err() {
            self.dropped.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
