//! Counts what became of spans.

use prometheus::IntCounter;

use super::TracingMetrics;

/// Why a span was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DroppedSpans {
    /// The queue had no room.
    QueueFull,
    /// The collector did not take its batch.
    ExportFailed,
    /// The collector took its batch, but not the span.
    Rejected,
    /// breakerd ended before it was exported.
    Shutdown,
}

impl DroppedSpans {
    const ALL: [Self; 4] = [Self::QueueFull, Self::ExportFailed, Self::Rejected, Self::Shutdown];

    /// As a label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ExportFailed => "export_failed",
            Self::Rejected => "rejected",
            Self::Shutdown => "shutdown",
        }
    }
}

impl TracingMetrics {
    /// The counter of spans that were dropped for this reason.
    pub fn dropped(&self, reason: DroppedSpans) -> IntCounter {
        self.dropped_spans_total.with_label_values(&[reason.as_str()])
    }

    pub(super) fn begin(&self) {
        for reason in DroppedSpans::ALL {
            self.dropped(reason);
        }
    }
}
