//! The end of the log, where changes are appended: the file that is open, the room for a full disk, and what could not
//! be written to either. What is here is all that a call waits for.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use breaker::Time;
use breakerd_common::clock::Clock;

use super::disk::{AppendFile, is_out_of_space};
use super::overflow::Overflow;
use super::segment::Segment;
use crate::store::Proposal;

/// The upper bounds of the histogram of write times, in seconds.
pub const WRITE_BOUNDS_SECONDS: [f64; 10] =
    [0.000_01, 0.000_03, 0.000_1, 0.000_3, 0.001, 0.003, 0.01, 0.1, 1.0, 10.0];

/// How long writes to the file took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WriteTimes {
    /// How many took no longer than each of [`WRITE_BOUNDS_SECONDS`].
    pub cumulative: [u64; WRITE_BOUNDS_SECONDS.len()],
    /// How many there were.
    pub count: u64,
    /// How long they took together.
    pub sum: Duration,
}

impl WriteTimes {
    fn add(&mut self, took: Duration) {
        let seconds = took.as_secs_f64();
        for (bound, count) in WRITE_BOUNDS_SECONDS.iter().zip(&mut self.cumulative) {
            *count += u64::from(seconds <= *bound);
        }
        self.count += 1;
        self.sum += took;
    }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) segment: Segment,
    pub(super) file: Box<dyn AppendFile>,
    /// Bytes behind the last whole line: a write failed in the middle, and they could not be cut off.
    pub(super) torn: u64,
    pub(super) opened_at: Time,
    /// It is the file that was reserved for a full disk, with room for so many bytes.
    pub(super) room: Option<u64>,
}

/// A file that has room though the disk is full.
#[derive(Debug)]
pub(super) struct Spare {
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn AppendFile>,
    /// How many bytes it takes at least.
    pub(super) room: u64,
}

/// The batch that is with the store, when it came from memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum InFlight {
    /// It ends at this log sequence number, and is still in memory.
    InMemory { lsn: u64 },
    /// It was written to a file meanwhile, where it ends at this log sequence number.
    Moved { lsn: u64 },
}

impl InFlight {
    pub(super) fn lsn(self) -> u64 {
        match self {
            Self::InMemory { lsn } | Self::Moved { lsn } => lsn,
        }
    }
}

#[derive(Debug)]
pub(super) struct Tail {
    pub(super) active: Active,
    /// Closed in the middle of a call, for whoever keeps the list of segments.
    pub(super) sealed: Vec<Segment>,
    pub(super) spare: Option<Spare>,
    pub(super) next_number: u64,
    /// Log sequence number of the newest record; they count up from the start.
    pub(super) lsn: u64,
    /// Records that the store does not have, and the bytes of their lines.
    pub(super) depth: u64,
    pub(super) depth_bytes: u64,
    /// When the oldest of them was appended, on the monotonic clock.
    pub(super) oldest_at: Option<Time>,
    /// Files cannot be written: records stay in memory until [`super::upkeep`] has found that they can be.
    pub(super) failing: bool,
    /// And that is because there is no room.
    pub(super) is_out_of_space: bool,
    pub(super) overflow: Overflow,
    pub(super) in_flight: Option<InFlight>,
    pub(super) appended: u64,
    pub(super) dropped: u64,
    pub(super) write_errors: u64,
    pub(super) write_times: WriteTimes,
}

impl Tail {
    /// Takes a record down: to the file, and when that fails to memory.
    pub(super) fn append(&mut self, proposal: Proposal, line: &[u8], clock: &dyn Clock) {
        self.lsn += 1;
        self.appended += 1;
        if self.depth == 0 {
            self.oldest_at = Some(clock.now());
        }
        self.depth += 1;
        self.depth_bytes += line.len() as u64;
        if !self.failing && self.write(line, clock).is_ok() {
            self.active.segment.records += 1;
            return;
        }
        let merged = self.overflow.push(self.lsn, proposal, line.len() as u64);
        self.depth -= merged.records;
        if merged.records > 0 {
            self.depth_bytes = self.depth_bytes.saturating_sub(line.len() as u64);
        }
        self.dropped += merged.lost;
    }

    /// The store has so many more of the records, of so many bytes.
    pub(super) fn stored(&mut self, records: u64, bytes: u64) {
        self.depth = self.depth.saturating_sub(records);
        self.depth_bytes = if self.depth == 0 { 0 } else { self.depth_bytes.saturating_sub(bytes) };
    }

    fn write(&mut self, line: &[u8], clock: &dyn Clock) -> io::Result<()> {
        let begun = clock.now();
        let mut written = self.active.append(line);
        if let Err(error) = &written
            && is_out_of_space(error)
            && self.take_spare(begun)
        {
            self.write_errors += 1;
            tracing::error!(%error, "disk full: the journal continues in the space reserved for this");
            written = self.active.append(line);
        }
        self.write_times.add(clock.now().since(begun));
        if let Err(error) = &written {
            self.failed(error);
        }
        written
    }

    pub(super) fn failed(&mut self, error: &io::Error) {
        self.write_errors += 1;
        self.is_out_of_space = is_out_of_space(error);
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(
                %error,
                "journal write failed: transitions stay in memory until the store has them or the disk works again"
            );
        }
    }

    /// Goes on, with the record that is being appended, in the file that has room. It is given its own name later.
    fn take_spare(&mut self, now: Time) -> bool {
        let Some(Spare { path, file, room }) = self.spare.take() else { return false };
        let segment = new_segment(self.next_number, path, self.lsn);
        self.next_number += 1;
        self.replace(Active { segment, file, torn: 0, opened_at: now, room: Some(room) });
        true
    }

    /// Goes on in another file.
    pub(super) fn replace(&mut self, active: Active) {
        let before = std::mem::replace(&mut self.active, active);
        self.sealed.push(before.segment);
    }
}

/// A segment with nothing in it.
pub(super) fn new_segment(number: u64, path: PathBuf, first_lsn: u64) -> Segment {
    Segment {
        number,
        path,
        first_lsn,
        records: 0,
        bytes: 0,
        is_merged: false,
        acknowledged_at: None,
        acknowledged_before: 0,
    }
}

impl Active {
    /// Appends a whole line, or nothing that a reader would take for one: half a line is cut off or, where that is not
    /// possible, closed, so that it does not take the next line with it.
    fn append(&mut self, line: &[u8]) -> io::Result<()> {
        self.mend()?;
        match self.file.write_whole(line) {
            Ok(()) => {
                self.segment.bytes += line.len() as u64;
                Ok(())
            }
            Err((written, error)) => {
                self.torn = match self.file.truncate(self.segment.bytes) {
                    Ok(()) => 0,
                    Err(_) => written,
                };
                Err(error)
            }
        }
    }

    /// Cuts off what an earlier write left behind the last whole line, or closes it.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn == 0 {
            return Ok(());
        }
        if self.file.truncate(self.segment.bytes).is_err() {
            self.file.write_whole(b"\n").map_err(|(_, error)| error)?;
            self.segment.bytes += self.torn + 1;
        }
        self.torn = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_write_counts_in_every_bucket_that_it_is_not_above() {
        let mut times = WriteTimes::default();
        times.add(Duration::from_millis(1));
        times.add(Duration::from_secs(20));
        assert_eq!((times.count, times.sum), (2, Duration::from_millis(20_001)));
        assert_eq!(times.cumulative, [0, 0, 0, 0, 1, 1, 1, 1, 1, 1]);
    }
}
