//! Streams: how many are open, and how often one had to begin anew.

use prometheus::{IntCounter, IntGauge};

use super::WatchMetrics;

/// What a stream tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watched {
    /// The states of breakers.
    Breakers,
    /// The configuration.
    Config,
    /// The history.
    Transitions,
}

impl Watched {
    const ALL: [Self; 3] = [Self::Breakers, Self::Config, Self::Transitions];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Breakers => "WatchBreakers",
            Self::Config => "WatchConfig",
            Self::Transitions => "WatchTransitions",
        }
    }
}

/// A stream, counted while it is there.
#[derive(Debug)]
pub struct OpenWatch(IntGauge);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Where a stream says that it had to begin anew.
#[derive(Debug)]
pub struct Restarts(IntCounter);

impl Restarts {
    /// It had to, once more.
    pub fn count(&self) {
        self.0.inc();
    }
}

impl WatchMetrics {
    /// A stream is open, until the answer is dropped.
    pub fn open(&self, watched: Watched) -> OpenWatch {
        let watchers = self.watchers.with_label_values(&[watched.as_str()]);
        watchers.inc();
        OpenWatch(watchers)
    }

    /// Where a stream of `watched` counts its restarts.
    pub fn restarts(&self, watched: Watched) -> Restarts {
        Restarts(self.restarts_total.with_label_values(&[watched.as_str()]))
    }

    /// Every series from the beginning, so that the first watch is an increase and no new series.
    pub(super) fn begin(&self) {
        for watched in Watched::ALL {
            self.watchers.with_label_values(&[watched.as_str()]);
            self.restarts_total.with_label_values(&[watched.as_str()]);
        }
    }
}
