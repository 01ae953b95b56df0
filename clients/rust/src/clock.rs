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

#[derive(Debug)]
pub(crate) enum Clock {
    System(SystemClock),
    Manual(ManualClock),
}

#[derive(Debug)]
pub(crate) struct SystemClock {
    made_at: Instant,
    /// Costs a third of [`Instant`]. It may run apart from it: only what was read lately is compared.
    counter: quanta::Clock,
    /// A reading of the counter, and the time then: [`Clock::align`].
    aligned: AtomicU64,
    aligned_micros: AtomicU64,
}

/// When a call began: a reading of the counter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Started(u64);

/// A counter that was not aligned for so long is not asked for the time.
const ALIGNED_MAX: Duration = Duration::from_secs(3);

impl SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the client reads the clock")]
    fn now(&self) -> Time {
        BASE + Instant::now().duration_since(self.made_at)
    }
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the client reads the clock")]
    pub(crate) fn system() -> Self {
        let counter = quanta::Clock::new();
        let (aligned, aligned_micros) = (AtomicU64::new(counter.raw()), AtomicU64::new(BASE.as_micros()));
        Self::System(SystemClock { made_at: Instant::now(), counter, aligned, aligned_micros })
    }

    pub(crate) fn now(&self) -> Time {
        match self {
            Self::System(clock) => clock.now(),
            Self::Manual(clock) => clock.now(),
        }
    }

    /// About [`Clock::now`], for less: whoever acts on it, rather than waits on, asks that one too.
    #[inline]
    pub(crate) fn about_now(&self) -> Time {
        let Self::System(clock) = self else { return self.now() };
        let since = clock.counter.delta(clock.aligned.load(Ordering::Relaxed), clock.counter.raw());
        if since > ALIGNED_MAX {
            return clock.now();
        }
        Time::from_micros(clock.aligned_micros.load(Ordering::Relaxed)) + since
    }

    /// Brings the counter to the clock. Once a second, so that they cannot run apart.
    pub(crate) fn align(&self) {
        if let Self::System(clock) = self {
            clock.aligned_micros.store(clock.now().as_micros(), Ordering::Relaxed);
            clock.aligned.store(clock.counter.raw(), Ordering::Relaxed);
        }
    }

    #[inline]
    pub(crate) fn start(&self) -> Started {
        match self {
            Self::System(clock) => Started(clock.counter.raw()),
            Self::Manual(clock) => Started(clock.now().as_micros()),
        }
    }

    #[inline]
    pub(crate) fn elapsed(&self, started: Started) -> Duration {
        match self {
            Self::System(clock) => clock.counter.delta(started.0, clock.counter.raw()),
            Self::Manual(clock) => clock.now().since(Time::from_micros(started.0)),
        }
    }
}
