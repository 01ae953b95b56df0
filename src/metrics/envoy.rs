//! Counts entries of the access logs of proxies.

use super::EnvoyMetrics;

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogEntry {
    /// It is the outcome of its permit.
    Recorded,
    /// The outcome of its permit had come already.
    Duplicate,
    /// It came too late to count.
    Late,
    /// Its breaker counts nothing now.
    NotCounted,
    /// It is of the end of a request that has no permit: it was denied, or passed without a decision.
    NoPermit,
    /// It was written before its request ended, or at the end of an attempt.
    InProgress,
    /// Its permit is not of this breakerd, or was changed.
    Rejected,
    /// breakerd could not take it in: the store is away, or a limit is reached.
    Failed,
    /// It is no entry.
    Undecodable,
}

impl LogEntry {
    const ALL: [Self; 9] = [
        Self::Recorded,
        Self::Duplicate,
        Self::Late,
        Self::NotCounted,
        Self::NoPermit,
        Self::InProgress,
        Self::Rejected,
        Self::Failed,
        Self::Undecodable,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::NotCounted => "not_counted",
            Self::NoPermit => "no_permit",
            Self::InProgress => "in_progress",
            Self::Rejected => "rejected",
            Self::Failed => "failed",
            Self::Undecodable => "undecodable",
        }
    }
}

impl EnvoyMetrics {
    pub(super) fn begin(&self) {
        for entry in LogEntry::ALL {
            self.log_entries_total.with_label_values(&[entry.label()]);
        }
    }

    /// An entry came.
    pub fn count(&self, entry: LogEntry) {
        self.log_entries_total.with_label_values(&[entry.label()]).inc();
    }
}
