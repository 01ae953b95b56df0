//! The time that breakers were OPEN, by day, kept as it passes, so that nobody has to go through all of the history. Pure.
//!
//! A state in OPEN or `FORCED_OPEN` counts for the days it lasted on, and as one opening of its first day, once it
//! was left; the present one is in the breaker's row.

use std::time::Duration;

use breaker::{State, Time};

/// Days that one state can be spread over. A state that lasted longer (a FORCED_OPEN that nobody cleared, a clock that was
/// years behind) counts on its newest days only; no history is kept for longer by default.
const DAYS_MAX: u64 = 400;
const DAY_US: u64 = 86_400_000_000;

/// A part of a day in OPEN or `FORCED_OPEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenTime {
    /// Days since the Unix epoch, in UTC.
    pub(super) day: u64,
    pub(super) open_us: u64,
    /// Whether it was entered on this day.
    pub(super) openings: u64,
}

/// Whether it rejects all calls.
pub(super) fn is_open(state: State) -> bool {
    matches!(state, State::Open | State::ForcedOpen)
}

/// The parts of days that a state was OPEN or `FORCED_OPEN` on, which was left at `until` after it had lasted so long.
pub(super) fn open_time(state: State, until: Time, lasted: Duration) -> Vec<OpenTime> {
    // What is at the end of time, by a clock that is wrong, is on no day.
    let until = until.as_micros();
    if !is_open(state) || until >= 100_000 * DAY_US {
        return Vec::new();
    }
    let since = until.saturating_sub(micros(lasted));
    let (entered_on, last) = (since / DAY_US, until.saturating_sub(1).max(since) / DAY_US);
    let first = entered_on.max(last.saturating_sub(DAYS_MAX - 1));
    (first..=last)
        .map(|day| OpenTime {
            day,
            open_us: until.min((day + 1) * DAY_US) - since.max(day * DAY_US),
            openings: u64::from(day == entered_on),
        })
        .collect()
}

/// Whole microseconds; never more than the databases' integers hold.
fn micros(duration: Duration) -> u64 {
    super::columns::micros(duration).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(day: u64, hours: u64) -> Time {
        Time::from_micros(day * DAY_US + hours * 3_600_000_000)
    }

    #[test]
    fn a_state_counts_on_each_day_that_it_lasted_on() {
        let parts = open_time(State::Open, at(11, 2), HOUR * 28);
        let expected = [(9, 2, 1), (10, 24, 0), (11, 2, 0)];
        let expected =
            expected.map(|(day, hours, openings)| OpenTime { day, open_us: hours * 3_600_000_000, openings });
        assert_eq!(parts, expected);
        assert_eq!(open_time(State::HalfOpen, at(11, 2), HOUR), []);
    }

    #[test]
    fn a_state_that_ends_at_midnight_has_no_part_in_the_next_day() {
        let parts = open_time(State::ForcedOpen, at(11, 0), HOUR);
        assert_eq!(parts, [OpenTime { day: 10, open_us: 3_600_000_000, openings: 1 }]);
        // One that did not last was entered all the same.
        let parts = open_time(State::Open, at(11, 0), Duration::ZERO);
        assert_eq!(parts, [OpenTime { day: 11, open_us: 0, openings: 1 }]);
    }

    #[test]
    fn a_state_of_many_years_is_spread_over_a_bounded_number_of_days() {
        let parts = open_time(State::Open, at(20_000, 1), Duration::MAX);
        assert_eq!(parts.len() as u64, DAYS_MAX);
        assert_eq!(parts.last().map(|part| (part.day, part.openings)), Some((20_000, 0)));
        assert_eq!(open_time(State::Open, Time::MAX, HOUR), []);
    }

    #[test]
    fn a_day_that_no_calendar_has_is_none() {
        let last = at(100_000, 0);
        assert_eq!(open_time(State::Open, last, HOUR), []);
        let parts = open_time(State::Open, Time::from_micros(last.as_micros() - 1), HOUR);
        assert_eq!(parts, [OpenTime { day: 99_999, open_us: 3_600_000_000, openings: 1 }]);
    }
}
