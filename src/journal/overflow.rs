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
            merged = Merged { lost: lost(&proposal).saturating_sub(lost_before), records: 1 };
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
            let mut proposal = held.proposal.clone();
            proposal.decided_in.was_sent = *lsn <= self.sent;
            batch.proposals.push(proposal);
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

#[cfg(test)]
mod tests {
    use super::super::merge::tests::{gap, kept, record};
    use super::*;

    /// Bytes of the line of a record that counts as 500.
    const LINE: u64 = 100;

    /// Room for two records, and the first of `eu`.
    fn with_one() -> Overflow {
        let mut overflow = Overflow::new(1_000);
        assert_eq!(overflow.push(1, record("eu", 1), LINE), Merged::default());
        overflow
    }

    fn epochs(proposals: &[Proposal]) -> Vec<u64> {
        proposals.iter().map(|proposal| proposal.id.seq).collect()
    }

    #[test]
    fn records_are_kept_one_by_one_up_to_the_bound() {
        let mut overflow = with_one();
        assert!(overflow.len() > 0 && !overflow.is_half_full());
        assert_eq!(overflow.push(2, record("eu", 2), LINE), Merged::default());
        assert!(overflow.is_half_full());
        assert_eq!((overflow.len(), overflow.first_lsn()), (2, Some(1)));
        assert_eq!((Overflow::new(1_000).len(), Overflow::new(1_000).first_lsn()), (0, None));
    }

    #[test]
    fn beyond_the_bound_a_record_is_merged_with_the_one_before_of_its_breaker() {
        let mut overflow = with_one();
        overflow.push(2, record("eu", 2), LINE);
        assert_eq!(overflow.push(3, record("eu", 3), LINE), Merged { lost: 2, records: 1 });
        // Only what is lost by it now.
        assert_eq!(overflow.push(4, record("eu", 4), LINE), Merged { lost: 1, records: 1 });
        let sent = overflow.send(10, 10_000);
        assert_eq!((epochs(&sent.proposals), sent.lsn), (vec![1, 4], 4));
        let gap = gap(&sent.proposals[1]);
        assert_eq!((gap.lost_transitions, gap.base_epoch, gap.cause), (3, 1, GapCause::JournalUnwritable));
        assert_eq!(gap.after.as_ref().map(|after| after.epoch), Some(4));
    }

    #[test]
    fn what_a_gap_stands_for_is_not_lost_once_more() {
        let mut overflow = Overflow::new(1);
        overflow.push(1, record("eu", 1), LINE);
        let earlier = merge(&record("eu", 2), record("eu", 3), GapCause::JournalFull);
        assert_eq!(overflow.push(2, earlier, LINE), Merged { lost: 1, records: 1 });
    }

    #[test]
    fn what_the_store_has_already_takes_nothing_of_the_rest_with_it() {
        let mut overflow = Overflow::new(1);
        overflow.push(1, record("eu", 1), LINE);
        assert_eq!(overflow.push(2, kept("eu", 2), LINE), Merged { lost: 0, records: 1 });
        assert_eq!(overflow.push(3, kept("eu", 3), LINE), Merged { lost: 0, records: 1 });
        overflow.push(4, kept("us", 1), LINE);
        assert_eq!(overflow.push(5, record("us", 2), LINE), Merged { lost: 0, records: 1 });
        // A gap of an earlier version may be marked as well: nothing is lost by leaving it out.
        let decided_in = kept("cn", 1).decided_in;
        let gap = merge(&record("cn", 1), record("cn", 2), GapCause::JournalFull);
        overflow.push(6, Proposal { decided_in, ..gap }, LINE);
        assert_eq!(overflow.push(7, record("cn", 3), LINE), Merged { lost: 0, records: 1 });
        let sent = overflow.send(10, 10_000);
        assert_eq!((sent.proposals, sent.lsn), (vec![record("eu", 1), record("us", 2), record("cn", 3)], 7));
    }

    #[test]
    fn beyond_the_bound_each_breaker_has_one_record_more() {
        let mut overflow = with_one();
        overflow.push(2, record("eu", 2), LINE);
        assert_eq!(overflow.push(3, record("us", 1), LINE), Merged::default(), "no state is lost");
        assert_eq!(overflow.push(4, record("us", 2), LINE), Merged { lost: 2, records: 1 });
        assert_eq!(overflow.len(), 3);
    }

    #[test]
    fn a_merged_record_takes_as_much_as_the_longer_of_the_two() {
        let mut overflow = with_one();
        overflow.push(2, record("eu", 2), LINE);
        overflow.push(3, record("eu", 3), 10);
        // 500 and 500 still: the first is gone, and one of just 500 fits beside the other.
        overflow.stored(1);
        assert_eq!(overflow.push(4, record("eu", 4), LINE), Merged::default());
        // A longer one makes it longer.
        assert_eq!(overflow.push(5, record("eu", 5), 600).records, 1);
        overflow.stored(3);
        assert_eq!(overflow.push(6, record("eu", 6), LINE).records, 1, "1,000 of 1,000 are taken");
    }

    #[test]
    fn what_is_with_the_store_is_not_merged_any_more() {
        let mut overflow = with_one();
        overflow.push(2, record("eu", 2), LINE);
        assert_eq!(epochs(&overflow.send(2, 10_000).proposals), [1, 2]);
        assert_eq!(overflow.push(3, record("eu", 3), LINE), Merged::default());
        assert_eq!(overflow.push(4, record("eu", 4), LINE), Merged { lost: 2, records: 1 });
        // It was sent before, and is so although less is sent now.
        assert_eq!(epochs(&overflow.send(1, 10_000).proposals), [1]);
        overflow.stored(1);
        overflow.send(2, 10_000);
        assert_eq!(overflow.push(5, record("eu", 5), LINE), Merged::default());
    }

    #[test]
    fn what_is_being_written_to_a_file_is_not_merged_until_that_failed() {
        let mut overflow = with_one();
        overflow.push(2, record("eu", 2), LINE);
        overflow.flush(0, 10);
        assert_eq!(overflow.push(3, record("eu", 3), LINE), Merged::default());
        overflow.flush(0, 10);
        overflow.not_flushed();
        assert_eq!(overflow.push(4, record("eu", 4), LINE), Merged { lost: 2, records: 1 });
    }

    #[test]
    fn a_batch_for_the_store_has_a_bound_in_records_and_in_bytes_of_lines() {
        let mut overflow = Overflow::new(1_000_000);
        for lsn in 1..=4 {
            overflow.push(lsn, record("eu", lsn), LINE);
        }
        let sent = overflow.send(3, 10_000);
        assert_eq!((epochs(&sent.proposals), sent.lsn, sent.bytes), (vec![1, 2, 3], 3, 3 * LINE));
        let sent = overflow.send(10, 2 * LINE);
        assert_eq!((epochs(&sent.proposals), sent.lsn, sent.bytes), (vec![1, 2], 2, 2 * LINE));
        assert_eq!(epochs(&overflow.send(10, 2 * LINE - 1).proposals), [1]);
        assert_eq!(epochs(&overflow.send(10, 1).proposals), [1], "one at least, however long");
        assert_eq!(Overflow::new(1).send(10, 1).lsn, 0);
    }

    #[test]
    fn what_the_store_has_makes_room() {
        let mut overflow = with_one();
        overflow.push(2, record("eu", 2), LINE);
        overflow.stored(1);
        assert_eq!((overflow.len(), overflow.first_lsn()), (1, Some(2)));
        assert!(!overflow.is_half_full());
        assert_eq!(overflow.push(3, record("eu", 3), LINE), Merged::default());
        // The newest is still known, and is merged with.
        assert_eq!(overflow.push(4, record("eu", 4), LINE).records, 1);
        overflow.stored(4);
        assert!(overflow.len() == 0 && overflow.newest.is_empty());
    }

    #[test]
    fn a_record_that_the_store_has_is_not_merged_with() {
        let mut overflow = Overflow::new(1);
        overflow.push(1, record("eu", 1), LINE);
        overflow.stored(1);
        assert_eq!(overflow.push(2, record("eu", 2), LINE), Merged::default());
    }

    #[test]
    fn what_is_written_to_a_file_is_taken_in_order_and_counted() {
        let mut overflow = Overflow::new(1_000_000);
        for lsn in 1..=5 {
            overflow.push(lsn, record("eu", lsn), LINE);
        }
        let lsns = |some: Vec<(u64, Proposal)>| {
            assert!(some.iter().all(|(lsn, proposal)| *lsn == proposal.id.seq));
            some.into_iter().map(|(lsn, _)| lsn).collect::<Vec<_>>()
        };
        assert_eq!(lsns(overflow.flush(0, 2)), [1, 2]);
        assert_eq!(lsns(overflow.flush(2, 10)), [3, 4, 5]);
        assert_eq!(lsns(overflow.flush(5, 10)), [0; 0]);
        assert_eq!(overflow.flushed(3), 3, "of these, which the store has asked for");
        assert!(overflow.len() == 0 && !overflow.is_half_full());
        assert_eq!(overflow.push(6, record("eu", 6), LINE), Merged::default());
    }
}
