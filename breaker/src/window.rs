//! The sliding window: what the rates are taken over.
//!
//! A window of calls is exact: the newest `size` outcomes, two bits each (failed, slow). A window of time
//! has [`SLICES`] slices aligned to the clock; an outcome leaves with its slice, so that it lives between
//! 0.95 of the size and the size. Both keep running totals, take nothing until their first outcome, and do
//! not grow with traffic.

use crate::call_counts::{AgedCalls, CallCounts};
use crate::thresholds::WindowKind;
use crate::time::Time;

/// Slices of a window of time. Twenty, so that no outcome leaves earlier than at 95 % of the size.
pub(crate) const SLICES: u64 = SLICES_LEN as u64;
pub(crate) const SLICES_LEN: usize = 20;

/// What is in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Totals {
    pub(crate) calls: u32,
    pub(crate) failures: u32,
    pub(crate) slow: u32,
}

impl Totals {
    fn add(&mut self, other: Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.failures = self.failures.saturating_add(other.failures);
        self.slow = self.slow.saturating_add(other.slow);
    }

    fn one(failed: bool, slow: bool) -> Self {
        Self { calls: 1, failures: failed.into(), slow: slow.into() }
    }

    fn remove(&mut self, other: Self) {
        self.calls = self.calls.saturating_sub(other.calls);
        self.failures = self.failures.saturating_sub(other.failures);
        self.slow = self.slow.saturating_sub(other.slow);
    }
}

/// So many outcomes of one kind.
#[derive(Debug, Clone, Copy)]
struct Kind {
    number: u32,
    failed: bool,
    slow: bool,
}

impl CallCounts {
    fn kinds(self) -> [Kind; 4] {
        let kind = |number: u64, failed, slow| {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            Kind { number, failed, slow }
        };
        [
            kind(self.successes, false, false),
            kind(self.slow_successes, false, true),
            kind(self.failures, true, false),
            kind(self.slow_failures, true, true),
        ]
    }
}

impl Totals {
    fn of(calls: CallCounts) -> Self {
        let mut sum = Self::default();
        for Kind { number, failed, slow } in calls.kinds() {
            let only = |counts: bool| if counts { number } else { 0 };
            sum.add(Self { calls: number, failures: only(failed), slow: only(slow) });
        }
        sum
    }

    /// The same calls by kind, as far as totals say: no more of them failed and were slow than there have to be.
    fn counts(self) -> CallCounts {
        let Self { calls, failures, slow } = self;
        let both = failures.saturating_add(slow).saturating_sub(calls);
        CallCounts {
            successes: calls.saturating_sub(failures).saturating_sub(slow - both.min(slow)).into(),
            slow_successes: slow.saturating_sub(both).into(),
            failures: failures.saturating_sub(both).into(),
            slow_failures: both.into(),
        }
    }
}

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

/// The newest `size` outcomes, in a ring of two bits each.
#[derive(Debug, Clone)]
pub(crate) struct CountWindow {
    size: u32,
    /// The place the next outcome goes to.
    head: u32,
    totals: Totals,
    /// Empty until the first outcome.
    bits: Box<[u64]>,
}

impl CountWindow {
    /// Outcomes in one word.
    const PER_WORD: u32 = 32;

    fn new(size: u32) -> Self {
        Self { size, head: 0, totals: Totals::default(), bits: Box::default() }
    }

    fn push(&mut self, failed: bool, slow: bool) {
        if self.bits.is_empty() {
            self.bits = vec![0; self.size.div_ceil(Self::PER_WORD) as usize].into();
        }
        if self.totals.calls == self.size {
            let (failed, slow) = self.get(self.head);
            self.totals.remove(Totals::one(failed, slow));
        }
        self.totals.add(Totals::one(failed, slow));
        let shift = (self.head % Self::PER_WORD) * 2;
        let word = &mut self.bits[(self.head / Self::PER_WORD) as usize];
        *word = (*word & !(0b11 << shift)) | (u64::from(failed) + 2 * u64::from(slow)) << shift;
        self.head = if self.head + 1 == self.size { 0 } else { self.head + 1 };
    }

    fn push_alike(&mut self, failed: bool, slow: bool, count: u32) {
        for _ in 0..count.min(self.size) {
            self.push(failed, slow);
        }
    }

    /// Whether one more outcome of this kind takes the place of another of it: no total changes by it, however many come.
    pub(crate) fn is_full_of(&self, failed: bool, slow: bool) -> bool {
        let only = |counts: bool| if counts { self.size } else { 0 };
        self.totals == Totals { calls: self.size, failures: only(failed), slow: only(slow) }
    }

    /// At most as many as it holds.
    fn push_many(&mut self, kinds: [Kind; 4]) {
        for Kind { failed, slow, .. } in spread(kinds, self.size) {
            self.push(failed, slow);
        }
    }

    /// Takes the newest out again. What they pushed out does not come back.
    fn take_back(&mut self, newest: u64) {
        for _ in 0..newest.min(self.totals.calls.into()) {
            self.head = if self.head == 0 { self.size - 1 } else { self.head - 1 };
            let (failed, slow) = self.get(self.head);
            self.totals.remove(Totals::one(failed, slow));
        }
    }

    /// Puts outcomes before all others, as far as there is room.
    fn fill(&mut self, kinds: [Kind; 4]) {
        let room = self.size - self.totals.calls;
        if room == 0 || kinds.iter().all(|kind| kind.number == 0) {
            return;
        }
        let (mut filled, kept) = (Self::new(self.size), self.totals.calls);
        for Kind { failed, slow, .. } in spread(kinds, room) {
            filled.push(failed, slow);
        }
        for back in (1..=kept).rev() {
            let (failed, slow) = self.get((self.head + self.size - back) % self.size);
            filled.push(failed, slow);
        }
        *self = filled;
    }

    fn counts(&self) -> CallCounts {
        let mut counts = CallCounts::default();
        for back in 1..=self.totals.calls {
            let (failed, slow) = self.get((self.head + self.size - back) % self.size);
            counts = counts.plus(CallCounts::alike(failed, slow, 1));
        }
        counts
    }

    fn get(&self, slot: u32) -> (bool, bool) {
        let pair = self.bits[(slot / Self::PER_WORD) as usize] >> ((slot % Self::PER_WORD) * 2);
        (pair & 0b01 != 0, pair & 0b10 != 0)
    }

    fn resize(&mut self, size: u32) {
        if size == self.size {
            return;
        }
        let mut resized = Self::new(size);
        let kept = self.totals.calls.min(size);
        for back in (1..=kept).rev() {
            let (failed, slow) = self.get((self.head + self.size - back) % self.size);
            resized.push(failed, slow);
        }
        *self = resized;
    }
}

/// At most `most` outcomes of these kinds: each time the kind that lags farthest behind its share is next.
fn spread(kinds: [Kind; 4], most: u32) -> impl Iterator<Item = Kind> {
    let all: i64 = kinds.iter().map(|kind| i64::from(kind.number)).sum();
    let mut done = [0_i64; 4];
    (1..=all.min(most.into())).map(move |pushed| {
        let lag = |slot: &usize| i64::from(kinds[*slot].number) * pushed - all * done[*slot];
        let next = (0..kinds.len()).max_by_key(lag).unwrap_or(0);
        done[next] += 1;
        kinds[next]
    })
}

/// Where the slice of this number is kept.
const fn slot(number: u64) -> usize {
    (number % SLICES) as usize
}

/// The newest `size` seconds, in slices.
#[derive(Debug, Clone)]
pub(crate) struct TimeWindow {
    /// Microseconds of one slice.
    slice_micros: u64,
    /// The number, since the epoch of time, of the slice that `now` is in.
    current: u64,
    totals: Totals,
    /// By slice number modulo [`SLICES`]; none until the first outcome.
    slices: Option<Box<[Totals; SLICES_LEN]>>,
}

impl TimeWindow {
    fn new(seconds: u32) -> Self {
        let slice_micros = u64::from(seconds) * 1_000_000 / SLICES;
        Self { slice_micros, current: 0, totals: Totals::default(), slices: None }
    }

    fn push(&mut self, outcomes: Totals, now: Time) {
        self.advance(now);
        let slices = self.slices.get_or_insert_default();
        slices[slot(self.current)].add(outcomes);
        self.totals.add(outcomes);
    }

    fn advance(&mut self, now: Time) {
        let current = now.as_micros() / self.slice_micros;
        if current <= self.current {
            return;
        }
        if let Some(slices) = &mut self.slices {
            let gone = (current - self.current).min(SLICES);
            for step in 1..=gone {
                let slice = &mut slices[slot(self.current + step)];
                self.totals.remove(std::mem::take(slice));
            }
        }
        self.current = current;
    }

    fn holds(&self, at: Time) -> bool {
        at.as_micros() / self.slice_micros + SLICES > self.current
    }

    /// A slice's outcomes go where the newest of them could stand: none leaves early, and one may stay for
    /// up to one slice of the former size too long.
    fn resize(&mut self, seconds: u32, now: Time) {
        let mut resized = Self::new(seconds);
        if resized.slice_micros == self.slice_micros {
            return;
        }
        self.advance(now);
        resized.advance(now);
        if let Some(slices) = &self.slices {
            let oldest = (self.current + 1).saturating_sub(SLICES);
            for number in oldest..=self.current {
                let outcomes = slices[slot(number)];
                let newest = Time::from_micros((number + 1).saturating_mul(self.slice_micros) - 1).min(now);
                resized.put(outcomes, newest);
            }
        }
        *self = resized;
    }

    /// Counts outcomes that came at a time which may be past.
    fn put_at(&mut self, outcomes: Totals, at: Time, now: Time) {
        self.advance(now);
        self.put(outcomes, at.min(now));
    }

    fn aged(&self, now: Time) -> Vec<(Option<Time>, CallCounts)> {
        let Some(slices) = &self.slices else { return Vec::new() };
        let oldest = (self.current + 1).saturating_sub(SLICES);
        let slices = (oldest..=self.current).map(|number| {
            let end = Time::from_micros((number + 1).saturating_mul(self.slice_micros) - 1).min(now);
            (Some(end), slices[slot(number)].counts())
        });
        slices.filter(|(_, calls)| !calls.is_empty()).collect()
    }

    fn put(&mut self, outcomes: Totals, at: Time) {
        if !self.holds(at) {
            return;
        }
        let number = at.as_micros() / self.slice_micros;
        self.slices.get_or_insert_default()[slot(number)].add(outcomes);
        self.totals.add(outcomes);
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
