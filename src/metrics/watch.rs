//! Watch streams: how many are open, and how often one was resynchronized.

use prometheus::{IntCounter, IntGauge};

use super::WatchMetrics;

/// What a stream follows.
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

/// An open stream, counted until it is dropped.
#[derive(Debug)]
pub struct OpenWatch(IntGauge);

impl Drop for OpenWatch {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Counts the resynchronizations of a stream.
#[derive(Debug)]
pub struct Resyncs(IntCounter);

impl Resyncs {
    /// Counts one more.
    pub fn count(&self) {
        self.0.inc();
    }
}

impl WatchMetrics {
    /// Counts a stream as open until the returned value is dropped.
    pub fn open(&self, watched: Watched) -> OpenWatch {
        let streams = self.streams.with_label_values(&[watched.as_str()]);
        streams.inc();
        OpenWatch(streams)
    }

    /// The counter of a stream of `watched`.
    pub fn resyncs(&self, watched: Watched) -> Resyncs {
        Resyncs(self.resyncs_total.with_label_values(&[watched.as_str()]))
    }

    /// Every series from the beginning, so that the first watch is an increase and no new series.
    pub(super) fn begin(&self) {
        for watched in Watched::ALL {
            self.streams.with_label_values(&[watched.as_str()]);
            self.resyncs_total.with_label_values(&[watched.as_str()]);
        }
    }
}
