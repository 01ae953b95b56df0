//! How far a replica has read what others changed, and when it last did.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use breaker::Time;

/// The newest revision that was read, and when. Both are for people: they may be of two moments.
#[derive(Debug, Default)]
pub struct ReadPosition {
    revision: AtomicU64,
    /// Microseconds of the clock.
    at: AtomicU64,
}

impl ReadPosition {
    pub(super) fn note(&self, revision: u64, at: Time) {
        self.revision.store(revision, Ordering::Relaxed);
        self.at.store(at.as_micros(), Ordering::Relaxed);
    }

    /// The newest revision that was read.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// How long it is since anything was read.
    pub fn lag(&self, now: Time) -> Duration {
        now.since(Time::from_micros(self.at.load(Ordering::Relaxed)))
    }
}
