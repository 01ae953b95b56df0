//! What the store does not have yet, in order and bounded.

use std::collections::{HashMap, HashSet, VecDeque};

use breaker::{Key, Time};

use crate::store::{self, Change, GapCause, Proposal};

impl Gap {
    fn change(&self) -> Change {
        let Self { missing, last_at: at, base_epoch } = *self;
        let (after, cause) = (None, GapCause::JournalFull);
        Change::Gap(Box::new(store::Gap { missing, at, base_epoch, after, cause }))
    }
}

/// Entries on their way to the store, the oldest first.
///
/// When it is full the oldest go, but of each breaker the first and the last entry stay as long as any others
/// can go: the first says how the trouble began, and the last is the state that must come back after a
/// restart. How many went is kept by breaker, and becomes a row of the history.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Placed>,
    capacity: usize,
    /// The first so many are with the store right now, and must stay.
    in_flight: usize,
    gaps: HashMap<Key, Gap>,
}

/// An entry, and the line of the files that it stands in.
#[derive(Debug)]
struct Placed {
    place: u64,
    entry: Proposal,
}

/// What was dropped of one breaker and is not yet in the history.
#[derive(Debug, Clone, Copy)]
struct Gap {
    missing: u64,
    last_at: Time,
    base_epoch: u64,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), ..Self::default() }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.gaps.is_empty()
    }

    pub(super) fn oldest(&self) -> Option<&Proposal> {
        self.entries.front().map(|placed| &placed.entry)
    }

    /// The line of the oldest entry: what stands in lines before it is with the store.
    pub(super) fn oldest_place(&self) -> Option<u64> {
        self.entries.front().map(|placed| placed.place)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Proposal> {
        self.entries.iter().map(|placed| &placed.entry)
    }

    /// Puts an entry at the end. Answers the entries that had to go for it.
    pub(super) fn push(&mut self, entry: Proposal, place: u64) -> Vec<Proposal> {
        self.entries.push_back(Placed { place, entry });
        if self.entries.len() > self.capacity { self.make_room() } else { Vec::new() }
    }

    /// Takes note of an entry that was dropped in an earlier life of the process.
    pub(super) fn note_dropped(&mut self, entry: &Proposal) {
        let (at, base_epoch, missing) = match &entry.change {
            Change::Transition(transition) => (transition.at, transition.base_epoch, 1),
            Change::Gap(gap) => (gap.at, gap.base_epoch, gap.missing),
        };
        let gap = self.gaps.entry(entry.key.clone()).or_insert(Gap { missing: 0, last_at: at, base_epoch });
        gap.missing += missing;
        gap.last_at = gap.last_at.max(at);
        gap.base_epoch = gap.base_epoch.min(base_epoch);
    }

    /// The next entries for the store, at most `most`. They stay in the queue until [`Queue::done`].
    pub(super) fn next(&mut self, most: usize) -> Vec<Proposal> {
        let batch: Vec<_> = self.iter().take(most).cloned().collect();
        self.in_flight = batch.len();
        batch
    }

    /// The gaps that must stand in the history before `batch`, or, when nothing is left to come, all.
    pub(super) fn gaps_before(&self, batch: &[Proposal]) -> Vec<(Key, Change)> {
        if self.gaps.is_empty() {
            return Vec::new();
        }
        let all = batch.len() == self.entries.len();
        let mut newest = HashMap::new();
        for entry in batch {
            newest.insert(&entry.key, base_epoch(entry));
        }
        let comes_after = |key: &Key, gap: &Gap| newest.get(key).is_some_and(|epoch| *epoch > gap.base_epoch);
        self.gaps
            .iter()
            .filter(|(key, gap)| all || comes_after(key, gap))
            .map(|(key, gap)| (key.clone(), gap.change()))
            .collect()
    }

    /// Every gap that is not in the history yet.
    pub(super) fn gaps(&self) -> impl Iterator<Item = (Key, Change)> {
        self.gaps.iter().map(|(key, gap)| (key.clone(), gap.change()))
    }

    /// The store has the gaps that were asked for.
    pub(super) fn gaps_done(&mut self, done: &[(Key, Change)]) {
        for (key, change) in done {
            let Change::Gap(written) = change else { continue };
            if let Some(gap) = self.gaps.get_mut(key) {
                gap.missing = gap.missing.saturating_sub(written.missing);
                if gap.missing == 0 {
                    self.gaps.remove(key);
                }
            }
        }
    }

    /// The store has the batch that was asked for.
    pub(super) fn done(&mut self) {
        self.entries.drain(..self.in_flight);
        self.in_flight = 0;
    }

    /// The store did not take the batch; it is asked for again.
    pub(super) fn failed(&mut self) {
        self.in_flight = 0;
    }

    /// Drops an eighth of the queue, so that a full queue is not searched at every push.
    fn make_room(&mut self) -> Vec<Proposal> {
        let wanted = (self.capacity / 8).max(1).min(self.entries.len() - self.in_flight);
        let mut last_of = HashMap::new();
        for (index, entry) in self.iter().enumerate() {
            last_of.insert(entry.key.clone(), index);
        }
        let mut firsts = HashSet::new();
        let (mut between, mut first, mut last) = (Vec::new(), Vec::new(), Vec::new());
        for (index, entry) in self.iter().enumerate().skip(self.in_flight) {
            let is_first = firsts.insert(entry.key.clone());
            if last_of.get(&entry.key) == Some(&index) {
                last.push(index);
            } else if is_first {
                first.push(index);
            } else {
                between.push(index);
            }
        }
        // Those between first; then the first ones; the last ones only when there is nothing else.
        let victims: HashSet<usize> = between.into_iter().chain(first).chain(last).take(wanted).collect();
        let mut dropped = Vec::with_capacity(victims.len());
        let mut kept = VecDeque::with_capacity(self.entries.len());
        for (index, placed) in std::mem::take(&mut self.entries).into_iter().enumerate() {
            if victims.contains(&index) {
                self.note_dropped(&placed.entry);
                dropped.push(placed.entry);
            } else {
                kept.push_back(placed);
            }
        }
        self.entries = kept;
        dropped
    }
}

fn base_epoch(entry: &Proposal) -> u64 {
    match &entry.change {
        Change::Transition(transition) => transition.base_epoch,
        Change::Gap(gap) => gap.base_epoch,
    }
}
