//! The write-ahead log: every transition stands in a local file before anybody is told of it, and in the store soon
//! after.
//!
//! Deciding does not wait for the store, and yet nothing that a caller was told of may be lost by a crash of
//! this process, of the database, or an outage between them. So a transition is appended here under the breaker's
//! lock (one small write), and a [`writer`] carries what is here to the store in batches, in order, for as long
//! as it takes. A start reads what is left, puts it into the engine, and the writer carries it on; every entry has an
//! id, so that a replay writes nothing twice.
//!
//! A crash of the process loses nothing: what was written is with the operating system. A crash of the *machine*
//! can lose the last moments, as far as the store did not have them: there is no fsync on the way of a call.
//!
//! # Where things are
//! Entries are in files, segments of some megabytes, and not in memory: what is kept of them is where each segment
//! begins and how far the store has come. `tail` is what a call writes to; `log` the segments behind it; `upkeep`
//! opens, merges and removes segments, on a thread that no call waits for.
//!
//! # Limits
//! * On disk: `bytes_max`. Beyond it, segments go that the store has acknowledged; then the oldest others are merged
//!   into one record of each breaker (`compact`): history gets a gap, state is kept.
//! * A full disk: the log goes on in a file that was allocated at the start, and is merged in another such file.
//! * A disk that fails: entries stay in memory (`overflow`), bounded in the same way, go to the store from there, and
//!   to a file as soon as one can be written.
//!
//! Segments that the store has acknowledged stay for a while all the same, and are sent again by a start: a database
//! that lost its last moments, or was put back from a backup of minutes ago, is made whole by it.

mod acknowledged_mark;
mod batches;
mod blocking;
mod compact;
mod disk;
pub mod keeper;
mod line;
mod log;
#[cfg(test)]
mod memory_disk;
mod merge;
mod overflow;
mod recover;
mod segment;
mod sizes;
mod stats;
mod tail;
mod upkeep;
pub mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use breaker::{ProposalId, Time};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use self::recover::{Recovered, RecoveredState, Unanswered};
pub use self::sizes::JournalOptions;
pub use self::stats::JournalStats;
pub use self::tail::{WRITE_BOUNDS_SECONDS, WriteTimes};

use self::compact::MergeFile;
use self::disk::{Disk, RealDisk};
use self::line::Line;
pub(crate) use self::log::Batch;
use self::log::Log;
#[cfg(test)]
pub(crate) use self::memory_disk::MemoryDisk;
use self::overflow::Overflow;
use self::segment::{acknowledged_path, pending_path};
pub(crate) use self::sizes::ACKNOWLEDGED_KEPT;
use self::sizes::Sizes;
use self::tail::{Active, Tail, new_segment};
pub(crate) use self::upkeep::Removal;
use crate::engine::{Appended, Event, Origin, TransitionSink};
use crate::store::{Change, DecidedIn, Proposal, TransitionId};

/// An entry with what an operator wrote is hardly longer.
const ENTRY_BYTES_MAX: u64 = 1024;

/// The journal of one process.
pub struct Journal {
    replica: Arc<str>,
    boot: u64,
    clock: Arc<dyn Clock>,
    disk: Arc<dyn Disk>,
    sizes: Sizes,
    next_seq: AtomicU64,
    /// Locked before `tail` where both are needed; calls never need it.
    log: Mutex<Log>,
    merging: Mutex<Option<MergeFile>>,
    tail: Mutex<Tail>,
    /// See [`Journal::stored_up_to`].
    stored_up_to: AtomicU64,
    /// Bytes in closed segments.
    closed_bytes: AtomicU64,
    store_failing: AtomicBool,
    /// The log says that nothing could be reserved.
    reserve_failure_logged: AtomicBool,
    /// Notified when there is something for the store.
    filled: Notify,
    /// Notified when the store has more than before.
    carried: Notify,
    /// Notified when the store has more of it, for the one who reads it from there.
    written: Notify,
    /// Notified when upkeep has something to do at once.
    upkeep: Notify,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("sizes", &self.sizes).finish_non_exhaustive()
    }
}

impl Journal {
    /// Opens the journal in `folder` and reads what an earlier life left there.
    ///
    /// # Errors
    /// When the folder cannot be created, read or written, or was written by a later version. A damaged line is not an
    /// error: it is logged, and what can be read is kept.
    pub fn open(folder: &Path, options: JournalOptions) -> io::Result<(Self, Recovered)> {
        let sizes = Sizes::of(&options);
        Self::open_on(Arc::new(RealDisk), folder, options, sizes)
    }

    /// As [`Self::open`], on a disk in memory.
    #[cfg(test)]
    pub(crate) fn open_in_memory(
        disk: &MemoryDisk,
        options: JournalOptions,
    ) -> io::Result<(Self, Recovered)> {
        let sizes = Sizes::of(&options);
        Self::open_on(Arc::new(disk.clone()), Path::new("journal"), options, sizes)
    }

    fn open_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        options: JournalOptions,
        sizes: Sizes,
    ) -> io::Result<(Self, Recovered)> {
        let now = options.clock.now();
        let contents = recover::recover(folder, &*disk, now)?;
        let number = contents.last_number + 1;
        let path = pending_path(folder, number);
        let active = Active {
            file: disk.append_to(&path)?,
            segment: new_segment(number, path, contents.last_lsn + 1),
            torn: 0,
            opened_at: now,
            room: None,
        };
        let tail = Tail {
            active,
            sealed: Vec::new(),
            spare: None,
            next_number: number + 1,
            lsn: contents.last_lsn,
            depth: contents.recovered.entries,
            depth_bytes: contents.bytes,
            oldest_at: contents.oldest_at.map(|at| monotonic(at, &*options.clock)),
            failing: false,
            is_out_of_space: false,
            overflow: Overflow::new(sizes.memory_bytes_max),
            in_flight: None,
            appended: 0,
            dropped: 0,
            write_errors: 0,
            write_times: WriteTimes::default(),
        };
        let journal = Self {
            replica: options.replica,
            boot: options.boot,
            clock: options.clock,
            disk,
            sizes,
            next_seq: AtomicU64::new(0),
            closed_bytes: AtomicU64::new(contents.log.bytes()),
            log: Mutex::new(contents.log),
            merging: Mutex::new(None),
            tail: Mutex::new(tail),
            stored_up_to: AtomicU64::new(0),
            store_failing: AtomicBool::new(false),
            reserve_failure_logged: AtomicBool::new(false),
            filled: Notify::new(),
            carried: Notify::new(),
            written: Notify::new(),
            upkeep: Notify::new(),
        };
        {
            let log = journal.log.lock();
            journal.reserve(&log);
            journal.note_stored(&log, &journal.tail.lock());
        }
        journal.filled.notify_one();
        Ok((journal, contents.recovered))
    }

    /// The name of this replica.
    pub fn replica(&self) -> Arc<str> {
        Arc::clone(&self.replica)
    }

    /// Random for each life of the process.
    pub fn boot(&self) -> u64 {
        self.boot
    }

    /// How it stands at `now`, on the monotonic clock.
    pub fn stats(&self, now: Time) -> JournalStats {
        let tail = self.tail.lock();
        JournalStats {
            depth: tail.depth,
            depth_bytes: tail.depth_bytes,
            lag: tail.oldest_at.filter(|_| tail.depth > 0).map_or(Duration::ZERO, |at| now.since(at)),
            bytes: self.closed_bytes.load(Ordering::Relaxed)
                + tail.active.segment.bytes
                + tail.sealed.iter().map(|segment| segment.bytes).sum::<u64>(),
            bytes_max: self.sizes.bytes_max,
            in_memory: tail.overflow.len() as u64,
            write_failing: tail.failing,
            store_failing: self.store_failing.load(Ordering::Relaxed),
            dropped: tail.dropped,
            write_errors: tail.write_errors,
            appended: tail.appended,
            write_times: tail.write_times,
        }
    }

    /// Whether the store did not take the last batch it was given.
    pub fn is_store_failing(&self) -> bool {
        self.store_failing.load(Ordering::Relaxed)
    }

    /// Whether the store has everything.
    pub fn is_empty(&self) -> bool {
        self.tail.lock().depth == 0
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

    /// The log sequence number up to which the store has everything, of those that [`TransitionSink::append`] answers: a breaker
    /// whose newest one is not beyond it is in the store as it is.
    pub fn stored_up_to(&self) -> u64 {
        self.stored_up_to.load(Ordering::Acquire)
    }

    /// Ends when the store has everything that was taken down up to now; false: some of what the journal held had
    /// to be dropped from the history meanwhile.
    pub async fn settled(&self) -> bool {
        let (lsn, dropped) = {
            let tail = self.tail.lock();
            (tail.lsn, tail.dropped)
        };
        loop {
            let carried = self.carried.notified();
            if self.stored_up_to() >= lsn {
                return self.tail.lock().dropped == dropped;
            }
            carried.await;
        }
    }

    /// Ends when it is at most half full.
    pub async fn has_room(&self) {
        loop {
            let carried = self.carried.notified();
            {
                let tail = self.tail.lock();
                if tail.depth_bytes <= self.sizes.bytes_max / 2 && !tail.overflow.is_half_full() {
                    return;
                }
            }
            carried.await;
        }
    }

    /// How many entries fit into half of it, at least.
    pub fn half(&self) -> usize {
        usize::try_from(self.sizes.bytes_max / 2 / ENTRY_BYTES_MAX).unwrap_or(usize::MAX).max(1)
    }

    /// Ends when the store has been given something since the last call. For one task.
    pub async fn written(&self) {
        self.written.notified().await;
    }

    /// Marks what the store has, so that the next start does not read it for nothing, and tries once more to write what
    /// is in memory. For the end of the process; blocks.
    pub fn close(&self) {
        self.keep_up(self.clock.now(), Removal::NotAsked);
        let log = self.log.lock();
        let mut tail = self.tail.lock();
        if tail.depth > 0 || tail.active.segment.records == 0 {
            return;
        }
        let path = acknowledged_path(&log.folder, tail.active.segment.number);
        match self.disk.rename(&tail.active.segment.path, &path) {
            Ok(()) => tail.active.segment.path = path,
            Err(error) => tracing::debug!(%error, "journal segment cannot be renamed"),
        }
    }

    /// Ends when there may be something for the store.
    pub(crate) async fn filled(&self) {
        self.filled.notified().await;
    }

    /// Ends when upkeep has something to do at once.
    pub(crate) async fn needs_upkeep(&self) {
        self.upkeep.notified().await;
    }
}

/// A stamp is a time of the wall clock, which may have been set since.
fn monotonic(stamp: Time, clock: &dyn Clock) -> Time {
    clock.wall_offset().to_monotonic(stamp).min(clock.now())
}

impl TransitionSink for Journal {
    fn append(&self, event: Event<'_>) -> Appended {
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        let proposal = Proposal {
            id: TransitionId { replica: Arc::clone(&self.replica), boot: self.boot, seq },
            key: event.key.clone(),
            change: Change::Transition(Box::new(event.transition.clone())),
            numbering: event.numbering,
            store_unavailable: event.origin == Origin::Alone,
            decided_at: self.clock.now(),
            service_override: event.service_override,
            age: Duration::ZERO,
            decided_in: DecidedIn { timeline: event.timeline, ..DecidedIn::default() },
        };
        Appended { lsn: self.write(proposal), id: Some(ProposalId { boot: self.boot, number: seq }) }
    }
}

impl Journal {
    /// Takes down what the store has already, which is sent once more: should the store go back, it is kept here.
    pub(crate) fn keep(&self, proposal: Proposal) {
        let decided_in = DecidedIn { is_repeat: true, ..proposal.decided_in };
        self.write(Proposal { decided_in, ..proposal });
    }

    /// Appends, and answers the log sequence number.
    fn write(&self, proposal: Proposal) -> u64 {
        // Nothing but the write itself waits for other breakers' writes.
        let entry = Line::Entry(Box::new(proposal));
        let mut line = Vec::with_capacity(512);
        line::encode(&entry, &mut line);
        let Line::Entry(proposal) = entry else { return 0 };
        let mut tail = self.tail.lock();
        tail.append(*proposal, &line, &*self.clock);
        let lsn = tail.lsn;
        let needs_upkeep = tail.failing
            || tail.active.room.is_some()
            || tail.active.segment.bytes >= self.sizes.segment_bytes;
        drop(tail);
        self.filled.notify_one();
        if needs_upkeep {
            self.upkeep.notify_one();
        }
        lsn
    }
}

impl TransitionSink for Arc<Journal> {
    fn append(&self, event: Event<'_>) -> Appended {
        Journal::append(self, event)
    }
}
