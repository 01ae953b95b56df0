//! Every change of state stands in a local file before anybody is told of it, and in the store soon after.
//!
//! Deciding does not wait for the store, and yet nothing that a caller was told of may be lost by a crash of
//! this process, of the database, or an outage between them. So a change is appended here under the breaker's
//! lock (one small write), and a [`writer`] carries what is here to the store in batches, in order, for as long
//! as it takes. What the store has is removed. A start reads what is left, puts it into the engine, and the
//! writer carries it on; every entry has an id, so that a replay writes nothing twice.
//!
//! A crash of the process loses nothing: what was written is with the operating system. A crash of the *machine*
//! can lose the last moments, as far as the store did not have them: there is no fsync on the way of a call.
//!
//! # When it is full
//! The queue holds `capacity` entries. Beyond it the oldest are dropped and counted, the first and the last of
//! each breaker staying as long as possible, and the history gets a row that says how many are missing.

mod file;
mod line;
mod queue;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, Numbering, Time};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::engine::{Event, Origin, Outbox};
use crate::store::{Change, Proposal, TransitionId};
use file::Segments;
use line::Line;
use queue::Queue;

/// Bytes on disk, for each entry of the capacity, beyond which the files are written anew without what was
/// dropped: several times what an entry takes.
const BYTES_PER_ENTRY_MAX: u64 = 2_048;

/// The line that what an earlier life left stands in, all of it.
const FIRST_PLACE: u64 = 1;

/// How the journal stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalStats {
    /// Entries that the store does not have yet.
    pub depth: u64,
    /// Age of the oldest of them.
    pub lag: Duration,
    /// Entries dropped since the start because the journal was full.
    pub dropped: u64,
    /// Writes to the file that failed since the start.
    pub write_errors: u64,
    /// Entries taken down since the start.
    pub appended: u64,
}

/// The journal of one process.
#[derive(Debug)]
pub struct Journal {
    replica: Arc<str>,
    boot: u64,
    inner: Mutex<Inner>,
    /// Told when there is something for the store.
    filled: Notify,
    /// Told when the store has more than before.
    carried: Notify,
    /// Told when the store has more of it, for the one who reads it from there.
    written: Notify,
}

#[derive(Debug)]
struct Inner {
    segments: Segments,
    queue: Queue,
    capacity: u64,
    next_seq: u64,
    /// The line that was written last; lines count up from the start.
    place: u64,
    appended: u64,
    dropped: u64,
    write_errors: u64,
    /// The file cannot be written; said once in the log until it can again.
    failing: bool,
    line: Vec<u8>,
}

/// A batch on its way to the store.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Gaps first, then entries.
    pub(crate) proposals: Vec<Proposal>,
    gaps: Vec<(Key, Change)>,
}

impl Batch {
    /// Changes in it, gaps aside.
    pub(crate) fn entries(&self) -> &[Proposal] {
        &self.proposals[self.gaps.len()..]
    }
}

impl Journal {
    /// Opens the journal in `folder` and reads what an earlier life left there, the oldest first.
    ///
    /// # Errors
    /// When the folder cannot be made, read or written. A damaged line is not an error: it is logged, and
    /// what can be read is kept.
    pub fn open(
        folder: &Path,
        replica: Arc<str>,
        boot: u64,
        capacity: usize,
    ) -> io::Result<(Self, Vec<Proposal>)> {
        let (segments, contents) = Segments::open(folder)?;
        let recovered = recover(&contents);
        let mut queue = Queue::new(capacity);
        for entry in &recovered.dropped {
            queue.note_dropped(entry);
        }
        let mut dropped = 0;
        for entry in &recovered.entries {
            dropped += queue.push(entry.clone(), FIRST_PLACE).len() as u64;
        }
        let mut inner = Inner {
            segments,
            queue,
            capacity: capacity as u64,
            next_seq: 0,
            place: FIRST_PLACE,
            appended: 0,
            dropped,
            write_errors: 0,
            failing: false,
            line: Vec::new(),
        };
        inner.rewrite()?;
        let journal = Self {
            replica,
            boot,
            inner: Mutex::new(inner),
            filled: Notify::new(),
            carried: Notify::new(),
            written: Notify::new(),
        };
        journal.filled.notify_one();
        Ok((journal, recovered.entries))
    }

    /// How it stands at `now`.
    pub fn stats(&self, now: Time) -> JournalStats {
        let inner = self.inner.lock();
        let lag = inner.queue.oldest().map_or(Duration::ZERO, |oldest| match &oldest.change {
            Change::Transition(transition) => now.since(transition.at),
            Change::Gap(gap) => now.since(gap.at),
        });
        JournalStats {
            depth: inner.queue.len() as u64,
            lag,
            dropped: inner.dropped,
            write_errors: inner.write_errors,
            appended: inner.appended,
        }
    }

    /// Whether the store has everything.
    pub fn is_empty(&self) -> bool {
        self.inner.lock().queue.is_empty()
    }

    /// Ends when the store has everything.
    pub async fn emptied(&self) {
        loop {
            let carried = self.carried.notified();
            if self.is_empty() {
                return;
            }
            carried.await;
        }
    }

    /// The place up to which the store has everything, of those that [`Outbox::append`] answers: a breaker whose newest
    /// place is not beyond it stands in the store as it is.
    pub fn stored_up_to(&self) -> u64 {
        let inner = self.inner.lock();
        inner.queue.oldest_place().map_or(inner.place, |oldest| oldest - 1)
    }

    /// Ends when the store has everything that was taken down up to now; false: some of what the journal held had
    /// to be dropped meanwhile.
    pub async fn settled(&self) -> bool {
        let (place, dropped) = {
            let inner = self.inner.lock();
            (inner.place, inner.dropped)
        };
        loop {
            let carried = self.carried.notified();
            {
                let inner = self.inner.lock();
                if inner.queue.oldest_place().is_none_or(|oldest| oldest > place) {
                    return inner.dropped == dropped;
                }
            }
            carried.await;
        }
    }

    /// Ends when it is at most half full.
    pub async fn has_room(&self) {
        loop {
            let carried = self.carried.notified();
            {
                let inner = self.inner.lock();
                if inner.queue.len() as u64 <= inner.capacity / 2 {
                    return;
                }
            }
            carried.await;
        }
    }

    /// How many entries fit into half of it.
    pub fn half(&self) -> usize {
        let capacity = self.inner.lock().capacity;
        usize::try_from(capacity / 2).unwrap_or(usize::MAX).max(1)
    }

    /// Ends when the store has been given something since the last call. For one task.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    /// Ends when there may be something for the store.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// The next batch for the store; none: it has everything.
    pub(crate) fn next(&self, most: usize) -> Option<Batch> {
        let mut inner = self.inner.lock();
        if inner.queue.is_empty() {
            return None;
        }
        let entries = inner.queue.next(most);
        let gaps = inner.queue.gaps_before(&entries);
        let mut proposals = Vec::with_capacity(gaps.len() + entries.len());
        for (key, change) in &gaps {
            let id =
                TransitionId { replica: Arc::clone(&self.replica), boot: self.boot, seq: inner.next_seq };
            inner.next_seq += 1;
            let (key, change) = (key.clone(), change.clone());
            proposals.push(Proposal { id, key, change, numbering: Numbering::Own, alone: false });
        }
        proposals.extend(entries);
        Some(Batch { proposals, gaps })
    }

    /// The store has the batch.
    pub(crate) fn done(&self, batch: &Batch) {
        let mut inner = self.inner.lock();
        inner.queue.done();
        inner.queue.gaps_done(&batch.gaps);
        let empty = inner.queue.is_empty();
        let until = inner.queue.oldest_place().map_or(inner.place, |oldest| oldest - 1);
        if let Err(error) = inner.segments.remove_until(until, empty) {
            tracing::warn!(%error, "the journal's files cannot be removed; they are read again at the next start");
        }
        drop(inner);
        self.carried.notify_waiters();
        self.written.notify_one();
    }

    /// The store did not take the batch.
    pub(crate) fn failed(&self) {
        self.inner.lock().queue.failed();
    }
}

impl Outbox for Journal {
    fn append(&self, event: Event<'_>) -> u64 {
        let mut inner = self.inner.lock();
        let id = TransitionId { replica: Arc::clone(&self.replica), boot: self.boot, seq: inner.next_seq };
        inner.next_seq += 1;
        let proposal = Proposal {
            id,
            key: event.key.clone(),
            change: Change::Transition(Box::new(event.transition.clone())),
            numbering: Numbering::Own,
            alone: event.origin == Origin::Alone,
        };
        inner.append(proposal);
        let place = inner.place;
        drop(inner);
        self.filled.notify_one();
        place
    }
}

impl Outbox for Arc<Journal> {
    fn append(&self, event: Event<'_>) -> u64 {
        Journal::append(self, event)
    }
}

impl Inner {
    fn append(&mut self, proposal: Proposal) {
        self.appended += 1;
        self.write(&Line::Entry(Box::new(proposal.clone())));
        let dropped = self.queue.push(proposal, self.place);
        if dropped.is_empty() {
            return;
        }
        if self.dropped == 0 {
            tracing::error!(
                capacity = self.capacity,
                "the journal is full: the store has been away for too long, and the history will have gaps"
            );
        }
        self.dropped += dropped.len() as u64;
        self.write(&Line::Dropped(dropped.iter().map(|entry| (entry.id.boot, entry.id.seq)).collect()));
        if self.segments.bytes() > self.capacity * BYTES_PER_ENTRY_MAX {
            let rewritten = self.rewrite();
            self.note(rewritten);
        }
    }

    fn write(&mut self, line: &Line) {
        self.place += 1;
        self.line.clear();
        line::encode(line, &mut self.line);
        let written = self.segments.append(&self.line, self.place);
        self.note(written);
    }

    /// Writes the files anew: what is in the queue, and a gap for what is not.
    fn rewrite(&mut self) -> io::Result<()> {
        let mut lines = Vec::new();
        for (key, change) in self.queue.gaps() {
            // A gap keeps no id: it is given one when it goes to the store.
            let id = TransitionId { replica: "".into(), boot: 0, seq: 0 };
            let gap = Proposal { id, key, change, numbering: Numbering::Own, alone: false };
            line::encode(&Line::Entry(Box::new(gap)), &mut lines);
        }
        for entry in self.queue.iter() {
            line::encode(&Line::Entry(Box::new(entry.clone())), &mut lines);
        }
        self.segments.start_over(&lines, self.place)
    }

    /// A write that failed: the entry is still in memory and goes to the store from there.
    fn note(&mut self, written: io::Result<()>) {
        match written {
            Ok(()) => self.failing = false,
            Err(error) => {
                self.write_errors += 1;
                if !self.failing {
                    tracing::error!(
                        %error,
                        "the journal cannot be written: changes are kept in memory until the store has them"
                    );
                }
                self.failing = true;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Recovered {
    entries: Vec<Proposal>,
    /// Dropped in an earlier life, and not yet in the history.
    dropped: Vec<Proposal>,
}

/// Reads the segments of an earlier life.
fn recover(contents: &[file::Content]) -> Recovered {
    let mut entries: Vec<Proposal> = Vec::new();
    let mut gaps = Vec::new();
    let mut dropped = std::collections::HashSet::new();
    for (path, content) in contents {
        let mut lines = content.split(|byte| *byte == b'\n').enumerate().peekable();
        while let Some((index, text)) = lines.next() {
            if text.is_empty() {
                continue;
            }
            match line::decode(text) {
                Ok(Line::Entry(entry)) => match entry.change {
                    Change::Gap(_) => gaps.push(*entry),
                    Change::Transition(_) => entries.push(*entry),
                },
                Ok(Line::Dropped(ids)) => dropped.extend(ids),
                // The process died while it wrote its last line: nobody was told of that change.
                Err(_) if lines.peek().is_none() => {}
                Err(problem) => tracing::error!(
                    file = %path.display(),
                    line = index + 1,
                    %problem,
                    "a line of the journal is damaged and is left out"
                ),
            }
        }
    }
    // A crash between writing the files anew and removing the old ones leaves an entry twice.
    let mut known = std::collections::HashSet::new();
    entries.retain(|entry| known.insert(entry.id.clone()));
    let (lost, entries) =
        entries.into_iter().partition(|entry| dropped.contains(&(entry.id.boot, entry.id.seq)));
    let mut recovered = Recovered { entries, dropped: lost };
    recovered.dropped.extend(gaps);
    recovered
}
