//! What keeps the log in order, beside the calls: new segments, the limit, acknowledged segments that go, and what
//! could not be written, written as soon as it can be.

use std::io;

use breaker::Time;

use super::Journal;
use super::compact::{MergeFile, compact};
use super::line::{self, Line};
use super::log::Log;
use super::segment::{MERGING_NAME, SPARE_NAME, Segment, pending_path};
use super::tail::{Active, InFlight, Spare, new_segment};
use crate::store::Proposal;

/// Records that are written to a file in one go, without the lock that calls need.
const FLUSH_ENTRIES: usize = 2_000;
/// As few as this are written under it, and then there are none left.
const FLUSH_LAST_ENTRIES: usize = 200;

/// What upkeep may do with segments that the store has acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The store has not been asked whether it still has what it acknowledged.
    NotAsked,
    /// It has, or it is away and said nothing else.
    Allowed,
    /// It is not the one that acknowledged them: they stay.
    Forbidden,
}

/// What upkeep found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Upkeep {
    /// Acknowledged segments could go: the store is to be asked first.
    pub(crate) wants_removal: bool,
}

impl Journal {
    /// Puts the log in order as of `now`. Reads and writes files: not for a thread that others wait for.
    pub(crate) fn keep_up(&self, now: Time, removal: Removal) -> Upkeep {
        let mut log = self.log.lock();
        let mut upkeep = Upkeep::default();
        log.take_sealed(&mut self.tail.lock());
        self.name_spare(&mut log);
        if let Err(error) = self.rotate(&mut log, now) {
            self.tail.lock().failed(&error);
        }
        let removable = self.removable(&log, now);
        if removable > 0 {
            match removal {
                Removal::NotAsked => upkeep.wants_removal = true,
                Removal::Allowed => self.remove(&mut log, removable),
                Removal::Forbidden => {}
            }
        }
        // While acknowledged segments may still go, no history is lost for room.
        if !upkeep.wants_removal {
            self.bound(&mut log);
        }
        self.reserve(&log);
        let is_failing = self.tail.lock().failing;
        if is_failing && let Err(error) = self.flush(&mut log, now) {
            tracing::debug!(%error, "the journal still cannot be written");
        }
        self.note_stored(&log, &self.tail.lock());
        drop(log);
        self.carried.notify_waiters();
        upkeep
    }

    /// What was written to the room for a full disk takes its place among the segments.
    fn name_spare(&self, log: &mut Log) {
        let spare = log.folder.join(SPARE_NAME);
        let mut tail = self.tail.lock();
        let used =
            log.closed.iter_mut().chain([&mut tail.active.segment]).find(|segment| segment.path == spare);
        let Some(used) = used else { return };
        let path = pending_path(&log.folder, used.number);
        match self.disk.rename(&spare, &path) {
            Ok(()) => used.path = path,
            Err(error) => tracing::debug!(%error, "the journal's spare segment cannot be renamed"),
        }
    }

    /// Begins a new segment when the open one has enough, or when the store has had all of it for long.
    fn rotate(&self, log: &mut Log, now: Time) -> io::Result<()> {
        let number = {
            let tail = self.tail.lock();
            let active = &tail.active;
            let is_done = active.segment.records > 0
                && tail.depth == 0
                && now.since(active.opened_at) >= self.sizes.acknowledged_kept;
            let is_large = active.segment.bytes >= self.sizes.segment_bytes;
            // Off the room for a full disk as soon as the disk is not full any more.
            let has_room_again = active.room.is_some_and(|room| {
                let enough = 2 * room.min(self.sizes.segment_bytes);
                self.disk.available(&log.folder).is_none_or(|bytes| bytes > enough)
            });
            let is_large = active.room.is_none() && is_large;
            if tail.failing || !(is_done || is_large || has_room_again) {
                return Ok(());
            }
            tail.next_number
        };
        let path = pending_path(&log.folder, number);
        let file = self.disk.append_to(&path)?;
        let mut tail = self.tail.lock();
        if tail.next_number != number {
            // A call took the spare meanwhile, whose number this is.
            drop((tail, file));
            return self.disk.remove(&path);
        }
        tail.next_number += 1;
        let segment = new_segment(number, path, tail.lsn + 1);
        tail.replace(Active { segment, file, torn: 0, opened_at: now, room: None });
        log.take_sealed(&mut tail);
        drop(tail);
        let cursor = log.cursor;
        log.advance(cursor, &*self.disk, now);
        Ok(())
    }

    /// How many of the oldest segments the store has had for long enough, or must go for room.
    fn removable(&self, log: &Log, now: Time) -> usize {
        let (active, short_of_space) = {
            let tail = self.tail.lock();
            (tail.active.segment.bytes, tail.is_out_of_space || tail.active.room.is_some())
        };
        let mut bytes = log.bounded_bytes() + active;
        let mut removable = 0;
        for segment in &log.closed {
            let Some(since) = segment.acknowledged_at else { break };
            let is_over = now.since(since) >= self.sizes.acknowledged_kept;
            if !is_over && !short_of_space && bytes <= self.sizes.bytes_max {
                break;
            }
            bytes -= segment.bounded_bytes();
            removable += 1;
        }
        removable
    }

    fn remove(&self, log: &mut Log, count: usize) {
        for _ in 0..count {
            let Some(segment) = log.closed.pop_front() else { return };
            if let Err(error) = self.disk.remove(&segment.path) {
                tracing::warn!(%error, file = %segment.path.display(), "journal segment cannot be removed");
                log.closed.push_front(segment);
                return;
            }
        }
    }

    /// Keeps the log within its limit, and within what a full disk leaves.
    fn bound(&self, log: &mut Log) {
        let (active, short_of_space) = {
            let tail = self.tail.lock();
            let used = tail.active.segment.bytes;
            let is_filling = tail.active.room.is_some_and(|room| used >= room / 2);
            (used, tail.is_out_of_space || is_filling)
        };
        let bytes = log.bounded_bytes() + active;
        let max = self.sizes.bytes_max;
        let excess = match short_of_space {
            true => u64::MAX,
            false if bytes > max => bytes - max + max / 8,
            false => return,
        };
        let spared = self.sizes.batch_entries as u64;
        match compact(log, &*self.disk, |log| self.merge_file(log), excess, spared) {
            Ok(None) => {}
            Ok(Some(compacted)) => {
                let mut tail = self.tail.lock();
                tail.depth = tail.depth.saturating_sub(compacted.records);
                tail.depth_bytes = tail.depth_bytes.saturating_sub(compacted.bytes);
                tail.dropped += compacted.lost;
                let depth = tail.depth;
                drop(tail);
                if compacted.lost > 0 {
                    tracing::error!(
                        lost = compacted.lost,
                        depth,
                        bytes,
                        bytes_max = max,
                        disk_full = short_of_space,
                        "journal is at its limit: transitions are lost to the history, no state is"
                    );
                }
            }
            Err(error) => tracing::error!(%error, bytes, "journal is at its limit and cannot be compacted"),
        }
    }

    /// The file to merge into, reserved before or made now.
    fn merge_file(&self, log: &Log) -> io::Result<MergeFile> {
        if let Some(reserved) = self.merging.lock().take() {
            return Ok(reserved);
        }
        let path = log.folder.join(MERGING_NAME);
        Ok(MergeFile { file: self.disk.append_to(&path)?, path })
    }

    /// Room for one record of each breaker, or what a small disk can spare of it.
    fn room_bytes(&self, log: &Log) -> u64 {
        let available = self.disk.available(&log.folder).unwrap_or(u64::MAX);
        self.sizes.room_bytes.min(available / 8).max(1)
    }

    /// Allocates what a full disk must still take: once to append to, once to merge into.
    pub(super) fn reserve(&self, log: &Log) {
        let mut merging = self.merging.lock();
        let has_spare = self.tail.lock().spare.is_some();
        if merging.is_some() && has_spare {
            return;
        }
        let bytes = self.room_bytes(log);
        if merging.is_none() {
            let path = log.folder.join(MERGING_NAME);
            *merging =
                self.log_failed_reserve(self.disk.reserve(&path, bytes)).map(|file| MergeFile { path, file });
        }
        drop(merging);
        if !has_spare {
            let path = log.folder.join(SPARE_NAME);
            // Not while a segment still has that name.
            let is_taken = log.closed.iter().any(|segment| segment.path == path)
                || self.tail.lock().active.segment.path == path;
            if !is_taken && let Some(file) = self.log_failed_reserve(self.disk.reserve(&path, bytes)) {
                self.tail.lock().spare = Some(Spare { path, file, room: bytes });
            }
        }
    }

    fn log_failed_reserve<T>(&self, reserved: io::Result<T>) -> Option<T> {
        use std::sync::atomic::Ordering::Relaxed;
        match reserved {
            Ok(reserved) => {
                self.reserve_failure_logged.store(false, Relaxed);
                Some(reserved)
            }
            Err(error) => {
                if !self.reserve_failure_logged.swap(true, Relaxed) {
                    tracing::warn!(%error, "no disk space reserved for the journal: on a full disk transitions stay in memory");
                }
                None
            }
        }
    }

    /// Writes what is in memory to a new segment, and then lets calls write to the file behind it again.
    fn flush(&self, log: &mut Log, now: Time) -> io::Result<()> {
        let (number, first_lsn) = {
            let tail = self.tail.lock();
            (tail.next_number, tail.overflow.first_lsn())
        };
        let flush_path = pending_path(&log.folder, number);
        let active_path = pending_path(&log.folder, number + 1);
        let flushed = self.write_overflow(log, now, (number, first_lsn), (&flush_path, &active_path));
        if flushed.is_err() {
            self.tail.lock().overflow.not_flushed();
            for path in [flush_path, active_path] {
                // What stands in it says nothing new: its records keep their ids.
                let _ = self.disk.remove(&path);
            }
        }
        flushed
    }

    fn write_overflow(
        &self,
        log: &mut Log,
        now: Time,
        (number, first_lsn): (u64, Option<u64>),
        (flush_path, active_path): (&std::path::Path, &std::path::Path),
    ) -> io::Result<()> {
        let whole = |written: Result<(), (u64, io::Error)>| written.map_err(|(_, error)| error);
        let mut active = self.disk.append_to(active_path)?;
        // An empty line says nothing, and shows whether the disk takes any.
        whole(active.write_whole(b"\n"))?;
        let mut file = self.disk.append_to(flush_path)?;
        let mut segment = new_segment(number, flush_path.to_owned(), first_lsn.unwrap_or(1));
        let mut write = |some: Vec<(u64, Proposal)>| {
            let mut lines = Vec::new();
            let count = some.len() as u64;
            for (_, proposal) in some {
                line::encode(&Line::Entry(Box::new(proposal)), &mut lines);
            }
            whole(file.write_whole(&lines))?;
            segment.records += count;
            segment.bytes += lines.len() as u64;
            io::Result::Ok(())
        };
        let mut after = 0;
        let mut tail = loop {
            let mut tail = self.tail.lock();
            let some = tail.overflow.flush(after, FLUSH_ENTRIES);
            after = some.last().map_or(after, |(lsn, _)| *lsn);
            if some.len() <= FLUSH_LAST_ENTRIES {
                // The last of them, with nothing coming in between.
                write(some)?;
                break tail;
            }
            drop(tail);
            write(some)?;
        };
        let sent_up_to = tail.in_flight.map_or(0, InFlight::lsn);
        let sent = tail.overflow.flushed(sent_up_to);
        if let Some(InFlight::InMemory { .. }) = tail.in_flight {
            tail.in_flight = Some(InFlight::Moved { lsn: segment.first_lsn + sent - 1 });
        }
        let opened = Active {
            segment: Segment { bytes: 1, ..new_segment(number + 1, active_path.to_owned(), tail.lsn + 1) },
            file: active,
            torn: 0,
            opened_at: now,
            room: None,
        };
        tail.next_number = number + 2;
        tail.replace(opened);
        let is_empty = segment.records == 0;
        if !is_empty {
            tail.sealed.push(segment.clone());
        }
        log.take_sealed(&mut tail);
        (tail.failing, tail.is_out_of_space) = (false, false);
        drop(tail);
        if is_empty {
            // An empty file says nothing, and the next start removes it.
            let _ = self.disk.remove(flush_path);
        }
        tracing::info!(transitions = segment.records, "the journal can be written again");
        Ok(())
    }
}
