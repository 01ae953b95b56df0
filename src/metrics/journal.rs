//! The journal, read at the scrape.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{Names, Page, families, number};
use super::{JournalSource, Namespace};

families! {
    enum Shown {
        /// Changes of state in the journal that the store does not have yet.
        Depth: GAUGE "breakerd_journal_depth" [],
        /// Age of the oldest change in the journal that the store does not have yet, in seconds; 0 without one.
        Lag: GAUGE "breakerd_journal_lag_seconds" [],
        /// Changes of state written to the journal.
        Appended: COUNTER "breakerd_journal_appended_total" [],
        /// Changes of state dropped from the journal because it was full: the history misses them.
        Dropped: COUNTER "breakerd_journal_dropped_total" [],
        /// Writes to the journal's file that failed.
        WriteErrors: COUNTER "breakerd_journal_write_errors_total" [],
    }
}

/// Asks the journal how it stands, at every scrape.
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
        page.into_families(&self.names)
    }
}
