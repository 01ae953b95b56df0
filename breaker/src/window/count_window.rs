//! A window of calls: exact, two bits for each.

use super::totals::{Kind, Totals};
use crate::call_counts::CallCounts;

/// The newest `size` outcomes, in a ring of two bits each.
#[derive(Debug, Clone)]
pub(crate) struct CountWindow {
    pub(super) size: u32,
    /// The place the next outcome goes to.
    head: u32,
    pub(super) totals: Totals,
    /// Empty until the first outcome.
    bits: Box<[u64]>,
}

impl CountWindow {
    /// Outcomes in one word.
    const PER_WORD: u32 = 32;

    pub(super) fn new(size: u32) -> Self {
        Self { size, head: 0, totals: Totals::default(), bits: Box::default() }
    }

    pub(super) fn push(&mut self, failed: bool, slow: bool) {
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

    pub(super) fn push_alike(&mut self, failed: bool, slow: bool, count: u32) {
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
    pub(super) fn push_many(&mut self, kinds: [Kind; 4]) {
        for Kind { failed, slow, .. } in spread(kinds, self.size) {
            self.push(failed, slow);
        }
    }

    /// Takes the newest out again. What they pushed out does not come back.
    pub(super) fn take_back(&mut self, newest: u64) {
        for _ in 0..newest.min(self.totals.calls.into()) {
            self.head = if self.head == 0 { self.size - 1 } else { self.head - 1 };
            let (failed, slow) = self.get(self.head);
            self.totals.remove(Totals::one(failed, slow));
        }
    }

    /// Puts outcomes before all others, as far as there is room.
    pub(super) fn fill(&mut self, kinds: [Kind; 4]) {
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

    pub(super) fn counts(&self) -> CallCounts {
        let mut counts = CallCounts::default();
        for back in 1..=self.totals.calls {
            let (failed, slow) = self.get((self.head + self.size - back) % self.size);
            counts = counts.plus(CallCounts::alike(failed, slow, 1));
        }
        counts
    }

    pub(super) fn get(&self, slot: u32) -> (bool, bool) {
        let pair = self.bits[(slot / Self::PER_WORD) as usize] >> ((slot % Self::PER_WORD) * 2);
        (pair & 0b01 != 0, pair & 0b10 != 0)
    }

    pub(super) fn resize(&mut self, size: u32) {
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
