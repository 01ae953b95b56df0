//! The sliding window: what the rates are taken over.
//!
//! A window of calls is exact: the newest `size` outcomes, two bits each (failed, slow). A window of time
//! has [`SLICES`] slices aligned to the clock; an outcome leaves with its slice, so that it lives between
//! 0.95 of the size and the size. Both keep running totals, take nothing until their first outcome, and do
//! not grow with traffic.

mod count_window;
mod time_window;
mod totals;

use self::count_window::CountWindow;
use self::time_window::TimeWindow;
pub(crate) use self::time_window::{SLICES, SLICES_LEN};
use self::totals::Totals;
use crate::call_counts::{AgedCalls, CallCounts};
use crate::thresholds::WindowKind;
use crate::time::Time;
#[derive(Debug, Clone)]
pub(crate) enum Window {
    Count(CountWindow),
    Time(TimeWindow),
}

impl Window {
    pub(crate) fn new(kind: WindowKind, size: u32) -> Self {
        match kind {
            WindowKind::Count => Self::Count(CountWindow::new(size)),
            WindowKind::Time => Self::Time(TimeWindow::new(size)),
        }
    }

    /// Counts what others counted, and how many of it were pushed.
    ///
    /// In a window of time each has its age. In one of calls nobody knows the order: the own ones, which are the newest here,
    /// are mixed with the others evenly, and of more than it can hold there is their share. Calls of unknown age go where
    /// there is room, before all others.
    pub(crate) fn mix(
        &mut self,
        own: CallCounts,
        calls: CallCounts,
        earlier: &[AgedCalls],
        now: Time,
    ) -> u64 {
        match self {
            Self::Count(window) => {
                let (mut others, mut before) = (calls, CallCounts::default());
                for AgedCalls { age, calls } in earlier {
                    let sum = if age.is_some() { &mut others } else { &mut before };
                    *sum = sum.plus(*calls);
                }
                if !others.is_empty() {
                    window.take_back(own.total());
                    window.push_many(own.plus(others).kinds());
                }
                window.fill(before.kinds());
                others.total().min(window.size.into())
            }
            Self::Time(window) => {
                for AgedCalls { age, calls } in earlier {
                    if let Some(age) = age {
                        window.put_at(Totals::of(*calls), now - *age, now);
                    }
                }
                let sum = Totals::of(calls);
                if sum.calls > 0 {
                    window.push(sum, now);
                }
                calls.total()
            }
        }
    }

    /// What is in it, by age, oldest first: in a window of time by slice and the time of its end, in one of calls all at an
    /// unknown time.
    pub(crate) fn aged(&self, now: Time) -> Vec<(Option<Time>, CallCounts)> {
        match self {
            Self::Count(window) => vec![(None, window.counts())],
            Self::Time(window) => window.aged(now),
        }
    }

    /// Pushes `count` outcomes alike; of a window of calls at most as many steps as it holds.
    pub(crate) fn push(&mut self, failed: bool, slow: bool, count: u32, now: Time) {
        match self {
            Self::Count(window) => window.push_alike(failed, slow, count),
            Self::Time(window) => {
                let only = |counts: bool| if counts { count } else { 0 };
                window.push(Totals { calls: count, failures: only(failed), slow: only(slow) }, now);
            }
        }
    }

    /// Lets go of what has left the window by `now`.
    pub(crate) fn advance(&mut self, now: Time) {
        if let Self::Time(window) = self {
            window.advance(now);
        }
    }

    pub(crate) fn totals(&self) -> Totals {
        match self {
            Self::Count(window) => window.totals,
            Self::Time(window) => window.totals,
        }
    }

    /// Whether an outcome that was the `ordinal`-th of `pushed`, at `at`, is still in the window.
    pub(crate) fn holds(&self, pushed: u64, ordinal: u64, at: Time) -> bool {
        match self {
            Self::Count(window) => ordinal + u64::from(window.totals.calls) >= pushed,
            Self::Time(window) => window.holds(at),
        }
    }

    /// A smaller window keeps its newest outcomes, a larger one all; another kind starts empty, which is true
    /// then.
    pub(crate) fn reshape(&mut self, kind: WindowKind, size: u32, now: Time) -> bool {
        match (&mut *self, kind) {
            (Self::Count(window), WindowKind::Count) => window.resize(size),
            (Self::Time(window), WindowKind::Time) => window.resize(size, now),
            _ => {
                *self = Self::new(kind, size);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Time {
        Time::ZERO + std::time::Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_window_of_calls_holds_exactly_the_newest() {
        let mut window = Window::new(WindowKind::Count, 70);
        for i in 0..200_u32 {
            window.push(i % 3 == 0, i % 5 == 0, 1, Time::ZERO);
            let newest = (i + 1).saturating_sub(70)..=i;
            let expected = Totals {
                calls: (i + 1).min(70),
                failures: newest.clone().map(|i| u32::from(i % 3 == 0)).sum(),
                slow: newest.map(|i| u32::from(i % 5 == 0)).sum(),
            };
            assert_eq!(window.totals(), expected);
        }
    }

    #[test]
    fn a_smaller_window_keeps_its_newest_outcomes() {
        let mut window = Window::new(WindowKind::Count, 10);
        for i in 0..13 {
            window.push(i >= 10, false, 1, Time::ZERO);
        }
        window.reshape(WindowKind::Count, 5, Time::ZERO);
        assert_eq!(window.totals(), Totals { calls: 5, failures: 3, slow: 0 });
        window.reshape(WindowKind::Count, 50, Time::ZERO);
        assert_eq!(window.totals(), Totals { calls: 5, failures: 3, slow: 0 });
        window.push(false, true, 1, Time::ZERO);
        assert_eq!(window.totals(), Totals { calls: 6, failures: 3, slow: 1 });
        window.reshape(WindowKind::Time, 5, Time::ZERO);
        assert_eq!(window.totals(), Totals::default());
    }

    #[test]
    fn an_outcome_lives_between_095_of_the_size_and_the_size() {
        for start in [100.0, 100.01, 100.25, 100.49, 100.4999] {
            let mut window = Window::new(WindowKind::Time, 10);
            window.push(true, false, 1, at(start));
            window.advance(at(start + 9.5));
            assert_eq!(window.totals().failures, 1, "started at {start}");
            window.advance(at(start + 10.0));
            assert_eq!(window.totals().failures, 0, "started at {start}");
        }
    }

    #[test]
    fn a_window_of_time_made_smaller_forgets_only_what_is_old() {
        let mut window = Window::new(WindowKind::Time, 10);
        window.push(true, false, 1, at(100.0));
        window.push(true, false, 1, at(108.0));
        window.reshape(WindowKind::Time, 5, at(109.0));
        assert_eq!(window.totals().failures, 1);
        window.reshape(WindowKind::Time, 3_600, at(109.0));
        assert_eq!(window.totals().failures, 1);
        window.advance(at(3_900.0));
        assert_eq!(window.totals(), Totals::default());
    }

    #[test]
    fn a_long_silence_empties_a_window_of_time() {
        let mut window = Window::new(WindowKind::Time, 10);
        window.push(true, true, 1, at(1.0));
        window.advance(at(1_000_000.0));
        assert_eq!(window.totals(), Totals::default());
        window.push(false, false, 1, at(1_000_000.0));
        assert_eq!(window.totals().calls, 1);
    }

    #[test]
    fn a_window_of_time_of_another_size_holds_each_slice_to_the_last_moment_of_its_newest() {
        // Slices of half a second become slices of a quarter: what came in the first half of one may stay as
        // if it had come at its end.
        let mut window = Window::new(WindowKind::Time, 10);
        window.push(true, false, 1, at(100.0));
        window.reshape(WindowKind::Time, 5, at(101.0));
        window.advance(at(105.249_999));
        assert_eq!(window.totals().failures, 1);
        window.advance(at(105.25));
        assert_eq!(window.totals().failures, 0);
    }

    #[test]
    fn a_window_of_time_of_another_size_counts_each_outcome_once() {
        for (size, outcomes) in [(3_600, 3), (10, 3), (2, 1)] {
            let mut window = Window::new(WindowKind::Time, 5);
            for seconds in [104.0, 105.0, 108.0] {
                window.push(true, true, 1, at(seconds));
            }
            window.reshape(WindowKind::Time, size, at(108.0));
            assert_eq!(window.totals(), Totals { calls: outcomes, failures: outcomes, slow: outcomes });
            // None is from the future: all leave with their time.
            window.advance(at(108.0 + f64::from(size)));
            assert_eq!(window.totals(), Totals::default(), "{size} s");
        }
    }
}
