//! A window of time: slices that leave one by one.

use super::totals::Totals;
use crate::call_counts::CallCounts;
use crate::time::Time;

/// Slices of a window of time. Twenty, so that no outcome leaves earlier than at 95 % of the size.
pub(crate) const SLICES: u64 = SLICES_LEN as u64;
pub(crate) const SLICES_LEN: usize = 20;

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
    pub(super) totals: Totals,
    /// By slice number modulo [`SLICES`]; none until the first outcome.
    slices: Option<Box<[Totals; SLICES_LEN]>>,
}

impl TimeWindow {
    pub(super) fn new(seconds: u32) -> Self {
        let slice_micros = u64::from(seconds) * 1_000_000 / SLICES;
        Self { slice_micros, current: 0, totals: Totals::default(), slices: None }
    }

    pub(super) fn push(&mut self, outcomes: Totals, now: Time) {
        self.advance(now);
        let slices = self.slices.get_or_insert_default();
        slices[slot(self.current)].add(outcomes);
        self.totals.add(outcomes);
    }

    pub(super) fn advance(&mut self, now: Time) {
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

    pub(super) fn holds(&self, at: Time) -> bool {
        at.as_micros() / self.slice_micros + SLICES > self.current
    }

    /// A slice's outcomes go where the newest of them could stand: none leaves early, and one may stay for
    /// up to one slice of the former size too long.
    pub(super) fn resize(&mut self, seconds: u32, now: Time) {
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
    pub(super) fn put_at(&mut self, outcomes: Totals, at: Time, now: Time) {
        self.advance(now);
        self.put(outcomes, at.min(now));
    }

    pub(super) fn aged(&self, now: Time) -> Vec<(Option<Time>, CallCounts)> {
        let Some(slices) = &self.slices else { return Vec::new() };
        let oldest = (self.current + 1).saturating_sub(SLICES);
        let slices = (oldest..=self.current).map(|number| {
            let end = Time::from_micros((number + 1).saturating_mul(self.slice_micros) - 1).min(now);
            (Some(end), slices[slot(number)].counts())
        });
        slices.filter(|(_, calls)| !calls.is_empty()).collect()
    }

    pub(super) fn put(&mut self, outcomes: Totals, at: Time) {
        if !self.holds(at) {
            return;
        }
        let number = at.as_micros() / self.slice_micros;
        self.slices.get_or_insert_default()[slot(number)].add(outcomes);
        self.totals.add(outcomes);
    }
}
