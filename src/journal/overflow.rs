//! What could not be written to a file, in memory until it can be, or until the store has it.

use std::collections::{BTreeMap, HashMap};

use breaker::Key;

use super::merge::{lost, merge};
use crate::store::{GapCause, Proposal};

/// What a record takes in memory beside the length of its line: the maps' own, and what a line says shorter.
const OVERHEAD_BYTES: u64 = 400;

/// Records by log sequence number, bounded: beyond `bytes_max` a breaker has one record more at most, since each
/// newer one is merged with the one before into a gap. So no state is ever lost, only history, and memory is bounded by
/// `bytes_max` and the number of breakers.
#[derive(Debug)]
pub(super) struct Overflow {
    entries: BTreeMap<u64, Held>,
    /// Log sequence number of the newest record of each breaker that has one here.
    newest: HashMap<Key, u64>,
    bytes: u64,
    bytes_max: u64,
    /// Records up to this one have been sent to the store, which may have them whatever it answered.
    sent: u64,
    /// Records up to this one are being written to a file.
    flushing: u64,
}

#[derive(Debug)]
struct Held {
    proposal: Proposal,
    bytes: u64,
}

impl Overflow {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self { entries: BTreeMap::new(), newest: HashMap::new(), bytes: 0, bytes_max, sent: 0, flushing: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_half_full(&self) -> bool {
        self.bytes > self.bytes_max / 2
    }

    pub(super) fn first_lsn(&self) -> Option<u64> {
        self.entries.first_key_value().map(|(lsn, _)| *lsn)
    }

    /// Puts a record at the end. Answers how many transitions were lost to the history by it, and how many records
    /// there are less than were put in.
    pub(super) fn push(&mut self, lsn: u64, proposal: Proposal, line_bytes: u64) -> Merged {
        let mut bytes = line_bytes + OVERHEAD_BYTES;
        let mut proposal = proposal;
        let mut merged = Merged::default();
        if self.bytes + bytes > self.bytes_max
            && let Some(before) = self.newest.get(&proposal.key).copied()
            && before > self.sent.max(self.flushing)
            && let Some(older) = self.entries.remove(&before)
        {
            self.bytes -= older.bytes;
            bytes = bytes.max(older.bytes);
            let lost_before = lost(&older.proposal) + lost(&proposal);
            proposal = merge(&older.proposal, proposal, GapCause::JournalUnwritable);
            merged = Merged { lost: lost(&proposal) - lost_before, records: 1 };
        }
        self.bytes += bytes;
        self.newest.insert(proposal.key.clone(), lsn);
        self.entries.insert(lsn, Held { proposal, bytes });
        merged
    }

    /// The first records, at most `most` and about `bytes_max`, for the store. From now on they stay as they are.
    pub(super) fn send(&mut self, most: usize, bytes_max: u64) -> Sent {
        let mut batch = Sent::default();
        for (lsn, held) in self.entries.iter().take(most) {
            let bytes = held.bytes - OVERHEAD_BYTES;
            if batch.bytes + bytes > bytes_max && !batch.proposals.is_empty() {
                break;
            }
            batch.bytes += bytes;
            batch.lsn = *lsn;
            batch.proposals.push(held.proposal.clone());
        }
        self.sent = self.sent.max(batch.lsn);
        batch
    }

    /// The store has every record up to `lsn`.
    pub(super) fn stored(&mut self, lsn: u64) {
        while let Some(first) = self.entries.first_entry()
            && *first.key() <= lsn
        {
            let (lsn, held) = first.remove_entry();
            self.bytes -= held.bytes;
            if self.newest.get(&held.proposal.key) == Some(&lsn) {
                self.newest.remove(&held.proposal.key);
            }
        }
    }

    /// Some records behind `after`, to be written to a file: they stay as they are until [`Overflow::flushed`] or
    /// [`Overflow::not_flushed`].
    pub(super) fn flush(&mut self, after: u64, most: usize) -> Vec<(u64, Proposal)> {
        let behind = self.entries.range(after + 1..).take(most);
        let some: Vec<_> = behind.map(|(lsn, held)| (*lsn, held.proposal.clone())).collect();
        if let Some((last, _)) = some.last() {
            self.flushing = *last;
        }
        some
    }

    /// Everything stands in a file. Answers how many of the records came before or at `lsn`.
    pub(super) fn flushed(&mut self, lsn: u64) -> u64 {
        let count = self.entries.range(..=lsn).count() as u64;
        *self = Self::new(self.bytes_max);
        count
    }

    /// Writing to the file failed.
    pub(super) fn not_flushed(&mut self) {
        self.flushing = 0;
    }
}

/// Records for the store.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) proposals: Vec<Proposal>,
    /// Log sequence number of the last of them.
    pub(super) lsn: u64,
    /// The bytes of their lines.
    pub(super) bytes: u64,
}

/// What merging cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Transitions that the history will not have.
    pub(super) lost: u64,
    /// Records that there are less.
    pub(super) records: u64,
}
