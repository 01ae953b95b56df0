//! The time of a client: a monotonic clock, or one that a test sets.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use breaker::Time;

/// What a clock shows when it is made. Not zero, so that a time before it can be told.
const BASE: Time = Time::from_micros(1_000_000_000_000);

/// A clock that shows what a test sets, for [`crate::testing`].
#[derive(Debug, Clone)]
pub struct ManualClock {
    micros: Arc<AtomicU64>,
}

impl Default for ManualClock {
    fn default() -> Self {
        Self { micros: Arc::new(AtomicU64::new(BASE.as_micros())) }
    }
}

impl ManualClock {
    /// Lets time pass, to the microsecond.
    pub fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        let add = |now: u64| Some(now.saturating_add(micros));
        let _ = self.micros.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
    }

    fn now(&self) -> Time {
        Time::from_micros(self.micros.load(Ordering::Acquire))
    }
}

#[derive(Debug, Clone)]
pub(crate) enum Clock {
    System {
        made_at: Instant,
        /// For durations of calls only: it costs a third of [`Instant`], and an error of its own stays within one call.
        counter: quanta::Clock,
    },
    Manual(ManualClock),
}

/// When a call began: a reading of the counter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started(u64);

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the client reads the clock")]
    pub(crate) fn system() -> Self {
        Self::System { made_at: Instant::now(), counter: quanta::Clock::new() }
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where the client reads the clock")]
    pub(crate) fn now(&self) -> Time {
        match self {
            Self::System { made_at, .. } => BASE + Instant::now().duration_since(*made_at),
            Self::Manual(clock) => clock.now(),
        }
    }

    #[inline]
    pub(crate) fn start(&self) -> Started {
        match self {
            Self::System { counter, .. } => Started(counter.raw()),
            Self::Manual(clock) => Started(clock.now().as_micros()),
        }
    }

    #[inline]
    pub(crate) fn elapsed(&self, started: Started) -> Duration {
        match self {
            Self::System { counter, .. } => counter.delta(started.0, counter.raw()),
            Self::Manual(clock) => clock.now().since(Time::from_micros(started.0)),
        }
    }
}
