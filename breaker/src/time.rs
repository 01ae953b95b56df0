//! A point in time, given to the machine by whoever calls it, and what the wall clock says at it.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since the Unix epoch.
///
/// The machine never asks what time it is. Whoever calls passes a `Time` of a monotonic clock, which never jumps:
/// waits, leases and windows are counted on it. It was anchored to the wall clock once, and the wall clock may have been
/// set since: [`WallOffset`] converts. Each `now` is a time of the monotonic clock; each time that is stored or shown is
/// one of the wall clock.
///
/// Microseconds, because that is what Postgres keeps: nothing is lost on the way to the store and back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time(u64);

impl Time {
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);
    /// Later than everything.
    pub const MAX: Self = Self(u64::MAX);

    /// From microseconds since the Unix epoch.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long it is from `earlier` to this; zero when `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// How far the wall clock is ahead of the monotonic clock, in microseconds; negative: behind. It changes when somebody
/// sets the wall clock, and only then.
///
/// [`Time::MAX`] is later than everything on either clock; what would lie before the Unix epoch is the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WallOffset(i64);

impl WallOffset {
    /// The two clocks say the same.
    pub const ZERO: Self = Self(0);

    /// What it is when the clocks say `monotonic` and `wall` at one moment.
    pub const fn between(monotonic: Time, wall: Time) -> Self {
        let ahead = wall.0.wrapping_sub(monotonic.0).cast_signed();
        Self(match (wall.0 >= monotonic.0, ahead >= 0) {
            (true, false) => i64::MAX,
            (false, true) => i64::MIN,
            _ => ahead,
        })
    }

    /// From microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// In microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// What the wall clock says at a time of the monotonic clock.
    pub const fn to_wall(self, monotonic: Time) -> Time {
        match monotonic {
            Time::MAX => Time::MAX,
            Time(micros) => Time(micros.saturating_add_signed(self.0)),
        }
    }

    /// When, on the monotonic clock, the wall clock says `wall`.
    pub const fn to_monotonic(self, wall: Time) -> Time {
        match wall {
            Time::MAX => Time::MAX,
            Time(micros) => Time(micros.saturating_sub_signed(self.0)),
        }
    }
}

/// A duration in whole microseconds; what does not fit counts as the most that does.
pub(crate) fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Add<Duration> for Time {
    type Output = Self;

    /// Saturates: a time past the end of time is the end of time.
    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl Sub<Duration> for Time {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

impl fmt::Debug for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:06}", self.0 / 1_000_000, self.0 % 1_000_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEAR: Time = Time::from_micros(31_536_000_000_000);

    #[test]
    fn the_wall_clock_is_as_far_ahead_as_the_two_clocks_say() {
        let between = |monotonic: u64, wall: u64| {
            WallOffset::between(Time::from_micros(monotonic), Time::from_micros(wall)).as_micros()
        };
        assert_eq!(between(7, 7), 0);
        assert_eq!(between(7, 10), 3);
        assert_eq!(between(10, 7), -3);
        assert_eq!(between(0, i64::MAX.unsigned_abs()), i64::MAX);
        // What no offset can hold is the most or the least that one can.
        assert_eq!(between(0, u64::MAX), i64::MAX);
        assert_eq!(between(u64::MAX, 0), i64::MIN);
        assert_eq!(between(1 << 63, 0), i64::MIN);
    }

    #[test]
    fn a_time_of_one_clock_is_found_on_the_other() {
        for micros in [5, -5, 0] {
            let wall = WallOffset::from_micros(micros);
            assert_eq!(wall.to_wall(YEAR).as_micros(), YEAR.as_micros().wrapping_add_signed(micros));
            assert_eq!(wall.to_monotonic(wall.to_wall(YEAR)), YEAR);
            assert_eq!((wall.to_wall(Time::MAX), wall.to_monotonic(Time::MAX)), (Time::MAX, Time::MAX));
        }
        // Nothing is before the Unix epoch.
        assert_eq!(WallOffset::from_micros(-5).to_wall(Time::from_micros(3)), Time::ZERO);
        assert_eq!(WallOffset::from_micros(5).to_monotonic(Time::from_micros(3)), Time::ZERO);
    }

    #[test]
    fn times_end_where_they_can_go_no_further() {
        let second = Duration::from_secs(1);
        assert_eq!(YEAR + second - second, YEAR);
        assert_eq!((YEAR - second).as_micros(), 31_535_999_000_000);
        assert_eq!((Time::ZERO - second, Time::MAX + second), (Time::ZERO, Time::MAX));
        assert_eq!((YEAR + second).since(YEAR), second);
        assert_eq!(YEAR.since(YEAR + second), Duration::ZERO);
        assert_eq!(YEAR + Duration::MAX, Time::MAX);
    }

    #[test]
    fn a_time_is_written_in_seconds() {
        assert_eq!(format!("{:?}", Time::from_micros(12_000_345)), "12.000345");
    }
}
