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
    /// It has no permit: its request was denied, or passed without a decision. Or it is not of the end of a request.
    NoPermit,
    /// Its permit is not of this breakerd, or its client may not report.
    Rejected,
}

impl LogEntry {
    const ALL: [Self; 6] =
        [Self::Recorded, Self::Duplicate, Self::Late, Self::NotCounted, Self::NoPermit, Self::Rejected];

    const fn label(self) -> &'static str {
        match self {
            Self::Recorded => "recorded",
            Self::Duplicate => "duplicate",
            Self::Late => "late",
            Self::NotCounted => "not_counted",
            Self::NoPermit => "no_permit",
            Self::Rejected => "rejected",
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
