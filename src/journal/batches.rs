//! What the writer reads: the next batch for the store, and how far the store has come with it.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use breaker::Time;
use breakerd_common::clock::Clock;

use super::log::{Batch, Cursor, Log, Source};
use super::merge::happened_at;
use super::overflow::Sent;
use super::tail::{InFlight, Tail};
use super::{Journal, monotonic};
use crate::store::Proposal;

impl Journal {
    /// The most entries of a batch.
    pub(crate) fn batch_entries(&self) -> usize {
        self.sizes.batch_entries
    }

    /// The next batch for the store, at most `most` entries; none: it has everything. For one writer, and for a thread
    /// that may wait for the disk.
    ///
    /// # Errors
    /// When a segment cannot be read.
    pub(crate) fn next(&self, most: usize) -> io::Result<Option<Batch>> {
        let mut log = self.log.lock();
        let bounds = (most.min(self.sizes.batch_entries), self.sizes.batch_bytes);
        loop {
            let active = {
                let mut tail = self.tail.lock();
                log.take_sealed(&mut tail);
                tail.active.segment.clone()
            };
            match log.read(&active, &*self.disk, bounds)? {
                Some(batch) if batch.proposals.is_empty() => self.finish(&mut log, &batch),
                Some(batch) => {
                    if let Source::Files { records: 1.., first_due, .. } = batch.source {
                        let oldest = batch.proposals.get(first_due);
                        self.tail.lock().oldest_at = oldest.map(|oldest| appended_at(oldest, &*self.clock));
                    }
                    return Ok(Some(batch));
                }
                None => break,
            }
        }
        let mut tail = self.tail.lock();
        // What was written to a file meanwhile goes first; the call that wrote it wakes the writer.
        if tail.overflow.first_lsn() != Some(log.first_pending_lsn(&tail)) {
            return Ok(None);
        }
        let Sent { proposals, lsn, bytes } = tail.overflow.send(most, self.sizes.batch_bytes);
        tail.oldest_at = proposals.first().map(|first| appended_at(first, &*self.clock));
        tail.in_flight = Some(InFlight::InMemory { lsn });
        // They may be written to a file before they are sent again.
        log.sent = log.sent.max(lsn);
        Ok(Some(Batch { proposals, source: Source::Memory { lsn, bytes }, round: log.rounds }))
    }

    /// The store answered the batch: `tell` tells of that, and nothing of the batch is lacking any more. False: the answers say
    /// nothing, and the batch is given again. It was read before all was to be sent again, or `tell` says so: then nobody was told. For
    /// a thread that may wait for the disk.
    ///
    /// `tell` is called with the log locked, so that nothing is sent again of which it told. It may lock breakers, whose calls never wait
    /// for the log; it must do no IO.
    pub(crate) fn settle(&self, batch: &Batch, tell: impl FnOnce() -> bool) -> bool {
        let mut log = self.log.lock();
        if batch.round != log.rounds || !tell() {
            self.tail.lock().in_flight = None;
            return false;
        }
        self.finish(&mut log, batch);
        drop(log);
        self.store_failing.store(false, Ordering::Relaxed);
        self.carried.notify_waiters();
        self.written.notify_one();
        true
    }

    /// The store has the batch, of which nobody is to be told.
    #[cfg(test)]
    pub(crate) fn done(&self, batch: &Batch) -> bool {
        self.settle(batch, || true)
    }

    /// The store went back: what is kept of the last minutes is sent again. An answer to a batch that was read before settles nothing.
    pub fn send_again(&self) {
        let mut log = self.log.lock();
        let mut tail = self.tail.lock();
        log.take_sealed(&mut tail);
        log.begin_again(&mut tail.active.segment);
        tail.in_flight = None;
        self.note_stored(&log, &tail);
        drop(tail);
        drop(log);
        self.filled.notify_one();
    }

    /// The store did not take the batch, which is given again.
    pub(crate) fn failed(&self) {
        self.tail.lock().in_flight = None;
        self.store_failing.store(true, Ordering::Relaxed);
    }

    fn finish(&self, log: &mut Log, batch: &Batch) {
        let now = self.clock.now();
        match batch.source {
            Source::Files { end, records, bytes, .. } => {
                log.advance(end, &*self.disk, now);
                self.tail.lock().stored(records, bytes);
            }
            Source::Memory { lsn, bytes } => {
                let mut tail = self.tail.lock();
                let in_flight = tail.in_flight.take();
                let cursor = if let Some(InFlight::Moved { lsn }) = in_flight {
                    Cursor { lsn, next: None }
                } else {
                    tail.overflow.stored(lsn);
                    Cursor { lsn: lsn.max(log.cursor.lsn), next: None }
                };
                tail.stored(batch.proposals.len() as u64, bytes);
                drop(tail);
                log.advance(cursor, &*self.disk, now);
            }
        }
        self.note_stored(log, &self.tail.lock());
    }

    pub(super) fn note_stored(&self, log: &Log, tail: &Tail) {
        self.stored_up_to.store(log.first_pending_lsn(tail) - 1, Ordering::Release);
        self.closed_bytes.store(log.bytes(), Ordering::Relaxed);
    }

    /// How long ago a change was decided: by the monotonic clock within the life that decided it, and by the wall clock across a
    /// restart.
    pub(crate) fn age_of(&self, proposal: &Proposal) -> Duration {
        let is_of_this_life = proposal.id.boot == self.boot && proposal.decided_at > Time::ZERO;
        let decided_at =
            if is_of_this_life { proposal.decided_at } else { appended_at(proposal, &*self.clock) };
        self.clock.now().since(decided_at)
    }
}

/// When a record was appended, on the monotonic clock, as far as its stamp tells.
fn appended_at(proposal: &Proposal, clock: &dyn Clock) -> Time {
    monotonic(happened_at(proposal), clock)
}
