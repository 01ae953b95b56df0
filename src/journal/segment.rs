//! A segment: a file of lines. Its name says where it stands in the log, and whether the store has all of it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};

use breaker::Time;

use super::line::{self, Line, Unreadable};
use crate::store::{Proposal, TransitionId};

/// The longest line that is read: several times what the longest names and reasons come to. A longer one is damaged.
const LINE_BYTES_MAX: u64 = 256 * 1024;
/// Of a segment that the store does not have, or not all of it.
const PENDING: &str = "journal";
/// Of a segment that the store has all of.
const ACKNOWLEDGED: &str = "acked";

/// A segment that is not written to any more.
#[derive(Debug, Clone)]
pub(super) struct Segment {
    /// Orders the segments.
    pub(super) number: u64,
    pub(super) path: PathBuf,
    /// Log sequence number of its first record. Within a segment they count up by one; between two there may be a jump.
    pub(super) first_lsn: u64,
    /// Lines that say something.
    pub(super) records: u64,
    /// Bytes that were written whole.
    pub(super) bytes: u64,
    /// It holds one record of each breaker, merged from segments that were dropped.
    pub(super) is_merged: bool,
    /// Since when the store has all of it.
    pub(super) acknowledged_at: Option<Time>,
    /// So many of its first records the store had acknowledged before this start. They are sent again, and do not count as
    /// records that the store does not have.
    pub(super) acknowledged_before: u64,
}

impl Segment {
    /// Log sequence number of its last record; one below its first when it has none.
    pub(super) fn last_lsn(&self) -> u64 {
        self.first_lsn + self.records - 1
    }

    /// Bytes that count toward the limit: merged records have room of their own.
    pub(super) fn bounded_bytes(&self) -> u64 {
        if self.is_merged { 0 } else { self.bytes }
    }

    /// Log sequence number of the last record that the store had acknowledged before this start.
    pub(super) fn acknowledged_lsn(&self) -> u64 {
        self.first_lsn + self.acknowledged_before - 1
    }

    /// How many of its records come after `lsn`.
    pub(super) fn records_behind(&self, lsn: u64) -> u64 {
        self.last_lsn().saturating_sub(lsn.max(self.first_lsn - 1))
    }
}

/// The path of a segment that the store does not have all of.
pub(super) fn pending_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.{PENDING}"))
}

/// The path of a segment that the store has all of.
pub(super) fn acknowledged_path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:012}.{ACKNOWLEDGED}"))
}

/// A segment found in the folder.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) path: PathBuf,
    pub(super) is_acknowledged: bool,
}

/// The segments in a folder, the oldest first.
pub(super) fn list(folder: &Path) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let is_acknowledged = match path.extension().and_then(|extension| extension.to_str()) {
            Some(PENDING) => false,
            Some(ACKNOWLEDGED) => true,
            _ => continue,
        };
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let Some(number) = number {
            found.push(Found { number, path, is_acknowledged });
        }
    }
    found.sort_by_key(|segment| segment.number);
    Ok(found)
}

/// Reads the records of a segment, one at a time: a segment is never in memory as a whole.
#[derive(Debug)]
pub(super) struct Records {
    input: Take<BufReader<File>>,
    number: u64,
    /// Where the next line begins.
    offset: u64,
    line: Vec<u8>,
}

/// A line of a segment.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) line: Result<Line, Unreadable>,
    /// Where it begins.
    pub(super) begins: u64,
    /// Its length, the end of the line included.
    pub(super) bytes: u64,
    /// It has an end: a line without one was being written when the process or the disk failed.
    pub(super) is_whole: bool,
}

impl Records {
    /// From `offset`, where a line begins, up to `end`.
    pub(super) fn open(path: &Path, number: u64, offset: u64, end: u64) -> io::Result<Self> {
        let mut file = File::open(path)?;
        file.seek(SeekFrom::Start(offset))?;
        let input = BufReader::with_capacity(64 * 1024, file).take(end.saturating_sub(offset));
        Ok(Self { input, number, offset, line: Vec::new() })
    }

    /// The next line that is not empty; none: there is no more.
    pub(super) fn next(&mut self) -> io::Result<Option<Record>> {
        loop {
            let begins = self.offset;
            self.line.clear();
            let read = (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
            if read == 0 {
                return Ok(None);
            }
            let mut bytes = read as u64;
            let mut is_whole = self.line.pop_if(|last| *last == b'\n').is_some();
            let is_too_long = !is_whole && bytes >= LINE_BYTES_MAX;
            while !is_whole && bytes >= LINE_BYTES_MAX {
                self.line.clear();
                let more = (&mut self.input).take(LINE_BYTES_MAX).read_until(b'\n', &mut self.line)?;
                if more == 0 {
                    break;
                }
                bytes += more as u64;
                is_whole = self.line.ends_with(b"\n");
            }
            self.offset += bytes;
            let line = if is_too_long { Err(Unreadable::too_long()) } else { line::decode(&self.line) };
            if self.line.is_empty() && is_whole && !is_too_long {
                continue;
            }
            let line = line.map(|line| self.with_id(line, begins));
            return Ok(Some(Record { line, begins, bytes, is_whole }));
        }
    }

    /// Where the next line begins.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// A gap that an earlier version wrote has no id; where it stands makes one, the same at each attempt.
    fn with_id(&self, line: Line, begins: u64) -> Line {
        match line {
            Line::Entry(entry) if entry.id.replica.is_empty() => {
                let boot = u64::from(crc32fast::hash(&self.line)) << 32 | (self.number & 0xffff_ffff);
                let id = TransitionId { replica: "journal".into(), boot, seq: begins };
                Line::Entry(Box::new(Proposal { id, ..*entry }))
            }
            other => other,
        }
    }
}
