//! The clock: the only module that reads the time.
//!
//! Two clocks. Waits, leases, windows and durations are counted on the monotonic one ([`Clock::now`]): it never jumps. What
//! is stored or shown to people is a time of the wall clock, as that is set at the moment ([`Clock::wall`]); the engine
//! converts at its edge ([`WallOffset`]). The monotonic clock is anchored to the wall clock at the start, so that the two
//! agree until somebody sets the wall clock.
//!
//! On Linux the monotonic clock is `CLOCK_BOOTTIME`, which goes on while the machine is suspended: a wait, or a window,
//! that was over meanwhile is over at once. Elsewhere it is the standard library's `Instant`.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use breaker::{Time, WallOffset};
use tokio::sync::watch;

/// The longest sleep before the clock is read again: tokio's timers stop while the machine is
/// suspended, and a deadline may be past when it wakes.
const SLEEP_MAX: Duration = Duration::from_secs(1);
/// How often the two clocks are read to know how far they are apart; the reading that took the shortest counts.
const READINGS_MAX: u32 = 8;
/// A reading within this time is good enough.
const READING_GOOD: Duration = Duration::from_micros(20);

/// What time it is, and waking up at a time.
pub trait Clock: Send + Sync + 'static {
    /// What time it is on the monotonic clock.
    fn now(&self) -> Time;

    /// How far the wall clock is ahead of the monotonic clock, measured now; exact to some microseconds.
    fn wall_offset(&self) -> WallOffset;

    /// The wall clock's time.
    fn wall(&self) -> Time {
        self.wall_offset().to_wall(self.now())
    }

    /// Ends when it is `deadline` or later on the monotonic clock.
    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// A time of the wall clock as people read it: in UTC, to the second.
#[derive(Debug, Clone, Copy)]
pub struct WallTime(pub Time);

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + self.0.since(Time::ZERO);
        write!(f, "{}", humantime::format_rfc3339_seconds(time))
    }
}

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    anchor: monotonic::Moment,
    anchored_at: Time,
}

impl SystemClock {
    /// Anchors the monotonic clock to the wall clock's time now.
    pub fn start() -> Self {
        Self { anchor: monotonic::Moment::now(), anchored_at: wall_clock() }
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Time {
        self.anchored_at + monotonic::Moment::now().since(self.anchor)
    }

    fn wall_offset(&self) -> WallOffset {
        let mut best = (Duration::MAX, WallOffset::ZERO);
        for _ in 0..READINGS_MAX {
            let before = self.now();
            let wall = wall_clock();
            let took = self.now().since(before);
            // Whoever is interrupted between the two readings reads clocks that were never so at one moment.
            if took < best.0 {
                best = (took, WallOffset::between(before + took / 2, wall));
            }
            if took <= READING_GOOD {
                break;
            }
        }
        best.1
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            loop {
                let rest = deadline.since(self.now());
                if rest.is_zero() {
                    return;
                }
                // tokio's timers count milliseconds, and may fire early within the requested one.
                tokio::time::sleep(rest.clamp(Duration::from_millis(1), SLEEP_MAX)).await;
            }
        })
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where clock calls live")]
fn wall_clock() -> Time {
    // A wall clock of before 1970 is one that was never set.
    Time::ZERO + SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[cfg(target_os = "linux")]
mod monotonic {
    use std::time::Duration;

    use rustix::time::{ClockId, clock_gettime};

    /// Time since the machine was started, suspended or not.
    #[derive(Debug, Clone, Copy)]
    pub(super) struct Moment(Duration);

    impl Moment {
        pub(super) fn now() -> Self {
            let read = clock_gettime(ClockId::Boottime);
            let seconds = u64::try_from(read.tv_sec).unwrap_or_default();
            Self(Duration::new(seconds, u32::try_from(read.tv_nsec).unwrap_or_default()))
        }

        pub(super) fn since(self, earlier: Self) -> Duration {
            self.0.saturating_sub(earlier.0)
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod monotonic {
    use std::time::{Duration, Instant};

    #[derive(Debug, Clone, Copy)]
    pub(super) struct Moment(Instant);

    impl Moment {
        #[expect(clippy::disallowed_methods, reason = "this is where clock calls live")]
        pub(super) fn now() -> Self {
            Self(Instant::now())
        }

        pub(super) fn since(self, earlier: Self) -> Duration {
            self.0.saturating_duration_since(earlier.0)
        }
    }
}

/// A clock for tests that advances only by [`advance`](Self::advance). Its wall clock advances with it, and can be set.
#[derive(Debug, Clone)]
pub struct ManualClock {
    now: Arc<watch::Sender<Reading>>,
}

#[derive(Debug, Clone, Copy)]
struct Reading {
    now: Time,
    wall: WallOffset,
}

impl ManualClock {
    /// Stands at `now`, on both clocks.
    pub fn new(now: Time) -> Self {
        Self { now: Arc::new(watch::Sender::new(Reading { now, wall: WallOffset::ZERO })) }
    }

    /// Advances by `by`, and wakes every sleeper whose time has come.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|reading| reading.now = reading.now + by);
    }

    /// Sets the wall clock.
    pub fn set_wall(&self, wall: Time) {
        self.now.send_modify(|reading| reading.wall = WallOffset::between(reading.now, wall));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Time {
        self.now.borrow().now
    }

    fn wall_offset(&self) -> WallOffset {
        self.now.borrow().wall
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut readings = self.now.subscribe();
        Box::pin(async move {
            // Fails only when the clock was dropped: then there is nothing to wait for.
            let _ = readings.wait_for(|reading| reading.now >= deadline).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clocks_agree_at_the_start() {
        let clock = SystemClock::start();
        let apart = clock.wall_offset().as_micros().unsigned_abs();
        // Whoever sets the clock of this machine in the meantime has to run the test again.
        assert!(apart < 1_000_000, "{apart} us");
        assert!(clock.wall() >= clock.anchored_at);
    }

    #[test]
    fn a_wall_clock_that_is_set_moves_no_monotonic_time() {
        let clock = ManualClock::new(Time::from_micros(5_000_000));
        clock.set_wall(Time::from_micros(3_000_000));
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Time::from_micros(6_000_000));
        assert_eq!(clock.wall(), Time::from_micros(4_000_000));
    }
}
