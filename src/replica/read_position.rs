//! How far a replica has read what others changed, and when it last did.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use breaker::Time;

/// The newest revision that was read, and when. Both are for people: they may be of two moments.
#[derive(Debug, Default)]
pub struct ReadPosition {
    revision: AtomicU64,
    /// Microseconds of the clock.
    at: AtomicU64,
    is_read: AtomicBool,
}

impl ReadPosition {
    /// Of one who begins to read now.
    pub(super) fn from(now: Time) -> Self {
        Self { at: AtomicU64::new(now.as_micros()), ..Self::default() }
    }

    pub(super) fn note(&self, revision: u64, at: Time) {
        self.revision.store(revision, Ordering::Relaxed);
        self.at.store(at.as_micros(), Ordering::Relaxed);
    }

    /// Everything that there was has been read once.
    pub(super) fn note_whole(&self) {
        self.is_read.store(true, Ordering::Relaxed);
    }

    /// The newest revision that was read.
    pub fn revision(&self) -> u64 {
        self.revision.load(Ordering::Relaxed)
    }

    /// Whether everything that there was has been read once.
    pub fn is_read(&self) -> bool {
        self.is_read.load(Ordering::Relaxed)
    }

    /// How long it is since anything was read.
    pub fn lag(&self, now: Time) -> Duration {
        now.since(Time::from_micros(self.at.load(Ordering::Relaxed)))
    }
}
