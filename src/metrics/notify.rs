//! Counts notifications, by target.

use prometheus::{IntCounter, IntGauge};

use super::NotifyMetrics;

/// The series of one target.
#[derive(Debug, Clone)]
pub struct NotifyTargetMetrics {
    /// Those that it took.
    pub sent_total: IntCounter,
    /// Those that were given up.
    pub failed_total: IntCounter,
    /// Those for which there was no room.
    pub dropped_total: IntCounter,
    /// Attempts that failed.
    pub failed_attempts_total: IntCounter,
    /// Those that wait, or are being posted.
    pub queue_depth: IntGauge,
}

impl NotifyMetrics {
    /// Creates every series of a target, so that its first failure is an increase and no new series.
    pub fn of_target(&self, target: &str) -> NotifyTargetMetrics {
        // A process that starts has loaded its files.
        self.last_reload_successful.with_label_values(&[target]).set(1);
        self.reload_errors_total.with_label_values(&[target]);
        NotifyTargetMetrics {
            sent_total: self.sent_total.with_label_values(&[target]),
            failed_total: self.failed_total.with_label_values(&[target]),
            dropped_total: self.dropped_total.with_label_values(&[target]),
            failed_attempts_total: self.failed_attempts_total.with_label_values(&[target]),
            queue_depth: self.queue_depth.with_label_values(&[target]),
        }
    }
}
