//! What each id was answered: a row for a range of ids.
//!
//! A process counts its ids up, and the journal sends them in order: the ids of a batch are one range, seldom a few. So what a
//! batch was answered is one row, with the epochs in the order of the ids. A batch that is sent again may have its bounds
//! elsewhere, so ids are looked up by the ranges that overlap theirs. No range has more than [`IDS_MAX`] ids: the ones
//! that overlap start at most so far before.

use std::collections::HashMap;

use sqlx::FromRow;

use super::columns::{Reader, bigint, hex, unhex};
use super::judge::{Judgement, Receipt, RowRevision};
use super::{Proposal, StoreError, TransitionId};

/// Ids in a row, at most: as many as the journal sends at one time.
pub(super) const IDS_MAX: u64 = 1_000;

/// Ids of one process that follow each other, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct IdRange<'a> {
    replica: &'a str,
    boot: u64,
    first_seq: u64,
    last_seq: u64,
}

/// A range of ids as the databases have it, to be looked up.
pub(super) struct IdLookup<'a> {
    pub(super) replica: &'a str,
    pub(super) boot: String,
    /// Ranges that start before this one do not overlap it.
    pub(super) earliest_first_seq: i64,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
}

impl<'a> IdLookup<'a> {
    fn new(ids: IdRange<'a>) -> Result<Self, StoreError> {
        let act = "read the transition ids";
        let first_seq = bigint(act, "seq", ids.first_seq)?;
        Ok(Self {
            replica: ids.replica,
            boot: hex(ids.boot),
            earliest_first_seq: first_seq.saturating_sub_unsigned(IDS_MAX - 1),
            first_seq,
            last_seq: bigint(act, "seq", ids.last_seq)?,
        })
    }
}

/// A row of `receipt`, as it is written.
pub(super) struct NewReceiptRow<'a> {
    pub(super) replica: &'a str,
    pub(super) boot: String,
    pub(super) first_seq: i64,
    pub(super) last_seq: i64,
    /// JSON: for each id the epoch that it won, null if it lost.
    pub(super) epochs: String,
}

/// A row of `receipt`, as it is read.
#[derive(FromRow)]
pub(super) struct ReceiptRow {
    replica: String,
    boot: String,
    first_seq: i64,
    epochs: String,
    revision: Option<i64>,
}

/// The ids of these proposals.
pub(super) fn id_lookups(proposals: &[Proposal]) -> Result<Vec<IdLookup<'_>>, StoreError> {
    ranges(proposals.iter().map(|proposal| (&proposal.id, ())).collect())
        .into_iter()
        .map(|(ids, _)| IdLookup::new(ids))
        .collect()
}

/// Which of these proposals were answered before, by the rows that overlap their ids.
pub(super) fn known<'a>(
    proposals: &'a [Proposal],
    rows: &[ReceiptRow],
) -> Result<HashMap<&'a TransitionId, Receipt>, StoreError> {
    let reader = Reader { act: "read the transition ids", row: "receipt" };
    let mut answered = HashMap::new();
    for row in rows {
        let boot = unhex(&row.boot).ok_or_else(|| reader.wrong("boot", &row.boot))?;
        let first_seq: u64 = reader.number("first_seq", row.first_seq)?;
        let revision = row.revision.map(|revision| reader.number("revision", revision)).transpose()?;
        let epochs: Vec<Option<u64>> = serde_json::from_str(&row.epochs)
            .map_err(|error| reader.says(format_args!("epochs cannot be read: {error}")))?;
        for (seq, epoch) in (first_seq..).zip(epochs) {
            let receipt = match (epoch, revision) {
                (Some(epoch), Some(revision)) => Receipt::Won { epoch, revision: RowRevision::At(revision) },
                _ => Receipt::Lost,
            };
            answered.insert((&*row.replica, boot, seq), receipt);
        }
    }
    let mut known = HashMap::new();
    if !answered.is_empty() {
        for Proposal { id, .. } in proposals {
            if let Some(receipt) = answered.get(&(&*id.replica, id.boot, id.seq)) {
                known.insert(id, *receipt);
            }
        }
    }
    Ok(known)
}

/// What is to be kept of what was decided.
pub(super) fn rows<'a>(judgement: &Judgement<'a>) -> Result<Vec<NewReceiptRow<'a>>, StoreError> {
    let act = "write the results";
    let row = |(ids, epochs): (IdRange<'a>, Vec<Option<u64>>)| {
        Ok(NewReceiptRow {
            replica: ids.replica,
            boot: hex(ids.boot),
            first_seq: bigint(act, "seq", ids.first_seq)?,
            last_seq: bigint(act, "seq", ids.last_seq)?,
            epochs: serde_json::to_string(&epochs)
                .map_err(|error| StoreError::Corrupt { act, problem: error.to_string() })?,
        })
    };
    ranges(judgement.receipts.clone()).into_iter().map(row).collect()
}

/// Ids in any order, each with a value, as ranges.
fn ranges<T>(mut ids: Vec<(&TransitionId, T)>) -> Vec<(IdRange<'_>, Vec<T>)> {
    ids.sort_by(|(a, _), (b, _)| (&a.replica, a.boot, a.seq).cmp(&(&b.replica, b.boot, b.seq)));
    let mut ranges: Vec<(IdRange<'_>, Vec<T>)> = Vec::new();
    for (id, value) in ids {
        let TransitionId { replica, boot, seq } = id;
        match ranges.last_mut() {
            Some((range, _))
                if range.replica == &**replica && range.boot == *boot && range.last_seq == *seq => {}
            Some((range, values))
                if range.replica == &**replica
                    && range.boot == *boot
                    && seq - range.last_seq == 1
                    && seq - range.first_seq < IDS_MAX =>
            {
                range.last_seq = *seq;
                values.push(value);
            }
            _ => {
                let range = IdRange { replica, boot: *boot, first_seq: *seq, last_seq: *seq };
                ranges.push((range, vec![value]));
            }
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn id(replica: &str, boot: u64, seq: u64) -> TransitionId {
        TransitionId { replica: Arc::from(replica), boot, seq }
    }

    #[test]
    fn ids_that_follow_each_other_are_one_range_in_whatever_order_they_come() {
        let ids = [id("a", 1, 7), id("a", 1, 5), id("b", 1, 8), id("a", 1, 6), id("a", 2, 8), id("a", 1, 6)];
        let ranges = ranges(ids.iter().map(|id| (id, id.seq)).collect());
        let range = |replica, boot, first_seq, last_seq| IdRange { replica, boot, first_seq, last_seq };
        assert_eq!(
            ranges,
            [
                (range("a", 1, 5, 7), vec![5, 6, 7]),
                (range("a", 2, 8, 8), vec![8]),
                (range("b", 1, 8, 8), vec![8])
            ]
        );
    }

    #[test]
    fn a_range_has_no_more_ids_than_are_looked_back_for() {
        let ids: Vec<_> = (0..=2 * IDS_MAX).map(|seq| id("a", 1, seq)).collect();
        let sizes: Vec<_> = ranges(ids.iter().map(|id| (id, ())).collect())
            .into_iter()
            .map(|(_, values)| values.len() as u64)
            .collect();
        assert_eq!(sizes, [IDS_MAX, IDS_MAX, 1]);
    }
}
