//! The closed segments, and how far the store has come in them. Whoever holds this may read and write files; calls do
//! not wait for it.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;

use breaker::Time;

use super::acknowledged_mark::AcknowledgedMark;
use super::disk::Disk;
use super::line::Line;
use super::segment::{Records, Segment, acknowledged_path};
use super::tail::Tail;
use crate::store::Proposal;

#[derive(Debug)]
pub(super) struct Log {
    pub(super) folder: PathBuf,
    /// The oldest first.
    pub(super) closed: VecDeque<Segment>,
    pub(super) cursor: Cursor,
    /// The same, for the next start.
    pub(super) mark: AcknowledgedMark,
    /// The log says that acknowledged segments cannot be marked.
    pub(super) mark_failure_logged: bool,
    /// How often it was begun again: a batch from before says nothing of how far the store has come since.
    pub(super) rounds: u64,
    /// Records up to this one were sent, or may have been by an earlier life: the store may have them, whatever it answered.
    pub(super) sent: u64,
}

/// How far the store has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// It has every record up to this log sequence number.
    pub(super) lsn: u64,
    /// Where the next record begins: in the segment of this number, at this offset. None: to be looked for.
    pub(super) next: Option<(u64, u64)>,
}

/// Records for the store, in order.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) proposals: Vec<Proposal>,
    pub(super) source: Source,
    /// [`Log::rounds`] when it was read.
    pub(super) round: u64,
}

/// Where a batch comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From files: where the store has come to with it, and the records and bytes that it does not lack any more; the
    /// first of these records is `first_due`.
    Files { end: Cursor, records: u64, bytes: u64, first_due: usize },
    /// From memory, up to this log sequence number.
    Memory { lsn: u64, bytes: u64 },
}

impl Log {
    /// Takes over the segments that were closed in the middle of calls.
    pub(super) fn take_sealed(&mut self, tail: &mut Tail) {
        self.closed.extend(tail.sealed.drain(..));
    }

    /// All records that are kept are sent again, the oldest first. Those that the store has had do not count as lacking.
    pub(super) fn begin_again(&mut self, active: &mut Segment) {
        let cursor = std::mem::take(&mut self.cursor).lsn;
        self.rounds += 1;
        for segment in self.closed.iter_mut().chain([active]) {
            let had = (cursor + 1).saturating_sub(segment.first_lsn).min(segment.records);
            segment.acknowledged_before = segment.acknowledged_before.max(had);
        }
    }

    /// The next records in files, at most `most` and about `bytes_max`, up to the end of `active`. None: the store has
    /// everything that is in files.
    pub(super) fn read(
        &mut self,
        active: &Segment,
        disk: &dyn Disk,
        (most, bytes_max): (usize, u64),
    ) -> io::Result<Option<Batch>> {
        let mut proposals = Vec::new();
        let mut end = self.cursor;
        let (mut bytes, mut due_bytes, mut records) = (0, 0, 0);
        let mut first_due = None;
        for segment in self.closed.iter().chain([active]) {
            if segment.records == 0 || segment.last_lsn() <= end.lsn {
                continue;
            }
            let is_due = segment.acknowledged_at.is_none();
            let (mut lsn, offset) = match end.next {
                Some((number, offset)) if number == segment.number => (end.lsn, offset),
                _ => (segment.first_lsn - 1, 0),
            };
            // What the store acknowledged in an earlier life is sent again, and is not lacking.
            let from = end.lsn.max(segment.acknowledged_lsn());
            let mut lines = Records::open(disk, &segment.path, segment.number, offset..segment.bytes)?;
            let mut is_full = false;
            while let Some(record) = lines.next()? {
                // What is damaged was told when it was found, at the start or below.
                let Ok(Line::Entry(proposal)) = record.line else { continue };
                lsn += 1;
                if lsn <= end.lsn {
                    continue;
                }
                is_full =
                    proposals.len() >= most || (!proposals.is_empty() && bytes + record.bytes > bytes_max);
                if is_full {
                    lsn -= 1;
                    end = Cursor { lsn, next: Some((segment.number, record.begins)) };
                    break;
                }
                bytes += record.bytes;
                if is_due && lsn > from {
                    due_bytes += record.bytes;
                    first_due.get_or_insert(proposals.len());
                }
                let mut proposal = *proposal;
                proposal.decided_in.is_repeat |= !is_due || lsn <= segment.acknowledged_lsn();
                proposal.decided_in.was_sent = lsn <= self.sent;
                proposals.push(proposal);
            }
            if !is_full {
                let missing = segment.last_lsn().saturating_sub(lsn);
                if missing > 0 {
                    tracing::error!(
                        file = %segment.path.display(),
                        missing,
                        "journal segment is damaged: transitions are missing from it"
                    );
                }
                end = Cursor { lsn: segment.last_lsn(), next: Some((segment.number, lines.offset())) };
            }
            if is_due {
                records += end.lsn.saturating_sub(from);
            }
            if is_full || proposals.len() >= most {
                break;
            }
        }
        if end.lsn == self.cursor.lsn {
            return Ok(None);
        }
        self.sent = self.sent.max(end.lsn);
        let first_due = first_due.unwrap_or_default();
        let source = Source::Files { end, records, bytes: due_bytes, first_due };
        Ok(Some(Batch { proposals, source, round: self.rounds }))
    }

    /// The store has come to `cursor`. Marks the segments that it has all of.
    pub(super) fn advance(&mut self, cursor: Cursor, disk: &dyn Disk, now: Time) {
        self.cursor = cursor;
        if let Some((number, offset)) = cursor.next {
            self.mark.advance(&self.folder, disk, number, offset);
        }
        for segment in &mut self.closed {
            if segment.acknowledged_at.is_some() || segment.last_lsn() > cursor.lsn {
                continue;
            }
            segment.acknowledged_at = Some(now);
            let path = acknowledged_path(&self.folder, segment.number);
            match disk.rename(&segment.path, &path) {
                Ok(()) => segment.path = path,
                // The next start sends them to the store once more, which knows them.
                Err(error) if !std::mem::replace(&mut self.mark_failure_logged, true) => {
                    tracing::warn!(%error, "journal segment cannot be renamed: the next start will send it to the store again");
                }
                Err(_) => {}
            }
        }
    }

    /// Log sequence number of the first record that the store does not have.
    pub(super) fn first_pending_lsn(&self, tail: &Tail) -> u64 {
        let segments = self.closed.iter().chain(&tail.sealed).chain([&tail.active.segment]);
        let in_files = segments
            .filter(|segment| segment.records > 0 && segment.last_lsn() > self.cursor.lsn)
            .map(|segment| segment.first_lsn.max(self.cursor.lsn + 1))
            .min();
        let in_memory = tail.overflow.first_lsn();
        in_files.into_iter().chain(in_memory).min().unwrap_or(tail.lsn + 1)
    }

    /// Bytes of the segments, those that count toward the limit.
    pub(super) fn bounded_bytes(&self) -> u64 {
        self.closed.iter().map(Segment::bounded_bytes).sum()
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.closed.iter().map(|segment| segment.bytes).sum()
    }
}
