//! The journal, read at the scrape.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{Buckets, Names, Page, families, number};
use super::{JournalSource, Namespace};
use crate::journal::WRITE_BOUNDS_SECONDS;

families! {
    enum Shown {
        /// Transitions in the journal that are not in the store yet.
        Depth: GAUGE "breakerd_journal_depth" [],
        /// Age of the oldest transition in the journal that is not in the store yet, in seconds; 0 without one.
        Lag: GAUGE "breakerd_journal_lag_seconds" [],
        /// Transitions appended to the journal.
        Appended: COUNTER "breakerd_journal_appended_total" [],
        /// Transitions lost to the history, because the journal reached its limit or could not be written.
        Dropped: COUNTER "breakerd_journal_dropped_total" [],
        /// Failed writes to the journal.
        WriteErrors: COUNTER "breakerd_journal_write_errors_total" [],
        /// Duration of writes to the journal, in seconds. An RPC that causes a transition waits for one.
        WriteTimes: HISTOGRAM "breakerd_journal_write_duration_seconds" [],
        /// Size of the journal on disk, in bytes, including segments that are in the store and kept for ten minutes.
        Bytes: GAUGE "breakerd_journal_bytes" [],
        /// Limit of the size of the journal on disk, in bytes: `journal.bytes_max`.
        BytesMax: GAUGE "breakerd_journal_bytes_max" [],
        /// Transitions held in memory only, because the journal cannot be written. A crash loses them.
        InMemory: GAUGE "breakerd_journal_in_memory" [],
    }
}

/// Reads the status of the journal, at every scrape.
pub(super) struct Journal {
    stats: JournalSource,
    names: Names,
}

impl Journal {
    pub(super) fn new(stats: JournalSource, namespace: &Namespace) -> Self {
        Self { stats, names: Names::of::<Shown>(namespace) }
    }
}

impl Collector for Journal {
    fn desc(&self) -> Vec<&Desc> {
        self.names.descs()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let stats = (self.stats)();
        let mut page = Page::new();
        page.gauge(Shown::Depth, &[], number(stats.depth));
        page.gauge(Shown::Lag, &[], stats.lag.as_secs_f64());
        page.count(Shown::Appended, &[], stats.appended);
        page.count(Shown::Dropped, &[], stats.dropped);
        page.count(Shown::WriteErrors, &[], stats.write_errors);
        let times = Buckets {
            bounds_seconds: &WRITE_BOUNDS_SECONDS,
            cumulative: &stats.write_times.cumulative,
            count: stats.write_times.count,
            sum_seconds: stats.write_times.sum.as_secs_f64(),
        };
        page.histogram(Shown::WriteTimes, &[], &times);
        page.gauge(Shown::Bytes, &[], number(stats.bytes));
        page.gauge(Shown::BytesMax, &[], number(stats.bytes_max));
        page.gauge(Shown::InMemory, &[], number(stats.in_memory));
        page.into_families(&self.names)
    }
}
