//! A segment: a file of lines. Its name says where it stands in the log, and whether the store has all of it.

use std::io::{self, BufRead, Read, Take};
use std::ops::Range;
use std::path::{Path, PathBuf};

use breaker::Time;

use super::disk::Disk;
use super::line::{self, Line, Unreadable};
use crate::store::{Proposal, TransitionId};

/// The file reserved for appending to on a full disk.
pub(super) const SPARE_NAME: &str = "spare.reserved";
/// The file reserved for merging on a full disk.
pub(super) const MERGING_NAME: &str = "merge.reserved";

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
pub(super) fn list(folder: &Path, disk: &dyn Disk) -> io::Result<Vec<Found>> {
    let mut found = Vec::new();
    for path in disk.list(folder)? {
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
pub(super) struct Records {
    input: Take<Box<dyn BufRead + Send>>,
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
    /// Those in some bytes of a file, at the first of which a line begins.
    pub(super) fn open(disk: &dyn Disk, path: &Path, number: u64, bytes: Range<u64>) -> io::Result<Self> {
        let Range { start: offset, end } = bytes;
        let input = disk.read_from(path, offset)?.take(end.saturating_sub(offset));
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

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::disk::RealDisk;
    use super::super::merge::tests::record;
    use super::*;

    fn segment(first_lsn: u64, records: u64) -> Segment {
        Segment {
            number: 1,
            path: PathBuf::new(),
            first_lsn,
            records,
            acknowledged_before: 0,
            bytes: 700,
            is_merged: false,
            acknowledged_at: None,
        }
    }

    #[test]
    fn a_segment_knows_its_records_by_their_numbers() {
        assert_eq!([segment(11, 0), segment(11, 1), segment(11, 3)].map(|it| it.last_lsn()), [10, 11, 13]);
        let behind = [0, 10, 11, 12, 13, 14].map(|lsn| segment(11, 3).records_behind(lsn));
        assert_eq!(behind, [3, 3, 2, 1, 0, 0]);
        assert_eq!(segment(11, 0).records_behind(0), 0);
        let before = [0, 2].map(|acknowledged_before| Segment { acknowledged_before, ..segment(11, 3) });
        assert_eq!(before.map(|segment| segment.acknowledged_lsn()), [10, 12]);
    }

    #[test]
    fn merged_records_do_not_count_toward_the_limit() {
        assert_eq!(segment(1, 1).bounded_bytes(), 700);
        assert_eq!(Segment { is_merged: true, ..segment(1, 1) }.bounded_bytes(), 0);
    }

    #[test]
    fn the_segments_of_a_folder_come_in_the_order_of_their_numbers() {
        let folder = tempfile::tempdir().unwrap();
        let pending = pending_path(folder.path(), 20);
        let acknowledged = acknowledged_path(folder.path(), 3);
        let long = pending_path(folder.path(), 1_234_567_890_123);
        let others = ["spare", "x.journal", "4.other", "journal"].map(|name| folder.path().join(name));
        for path in [&long, &pending, &acknowledged].into_iter().chain(&others) {
            fs::write(path, "").unwrap();
        }
        let found: Vec<_> = list(folder.path(), &RealDisk)
            .unwrap()
            .into_iter()
            .map(|found| (found.number, found.path, found.is_acknowledged))
            .collect();
        assert_eq!(found, [(3, acknowledged, true), (20, pending, false), (1_234_567_890_123, long, false)]);
    }

    /// Where a line begins and how long it is, the epoch that its record enters or what is wrong with it, and whether it
    /// has an end.
    type ReadLine = (u64, u64, Result<u64, String>, bool);

    /// The lines of a file of these bytes, from `offset` on, and where the next would begin.
    fn read(bytes: &[u8], offset: u64) -> (Vec<ReadLine>, u64) {
        let folder = tempfile::tempdir().unwrap();
        let path = pending_path(folder.path(), 7);
        fs::write(&path, bytes).unwrap();
        let mut records = Records::open(&RealDisk, &path, 7, offset..bytes.len() as u64).unwrap();
        let mut lines = Vec::new();
        while let Some(record) = records.next().unwrap() {
            let line = match record.line {
                Ok(Line::Entry(entry)) => Ok(entry.id.seq),
                Ok(other) => panic!("{other:?}"),
                Err(problem) => Err(problem.to_string()),
            };
            lines.push((record.begins, record.bytes, line, record.is_whole));
        }
        (lines, records.offset())
    }

    fn line(epoch: u64) -> Vec<u8> {
        let mut line = Vec::new();
        line::encode(&Line::Entry(Box::new(record("eu", epoch))), &mut line);
        line
    }

    #[test]
    fn each_line_is_read_from_where_it_begins_to_where_the_file_ends() {
        let (first, second) = (line(1), line(2));
        let length = first.len() as u64;
        assert_eq!(second.len() as u64, length);
        let bytes = [&first[..], b"\n\n", &second[..]].concat();
        let one = (0, length, Ok(1), true);
        let two = (length + 2, length, Ok(2), true);
        let end = 2 * length + 2;
        assert_eq!(read(&bytes, 0), (vec![one, two.clone()], end), "empty lines say nothing");
        assert_eq!(read(&bytes, length), (vec![two.clone()], end));
        assert_eq!(read(&bytes, length + 2), (vec![two], end));
        assert_eq!(read(&bytes, end), (vec![], end));
    }

    #[test]
    fn a_line_without_an_end_is_read_as_far_as_it_goes() {
        let (whole, mut torn) = (line(1), line(2));
        torn.truncate(20);
        let length = whole.len() as u64;
        let (lines, end) = read(&[whole, torn].concat(), 0);
        let [one, (begins, bytes, Err(_), false)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!(*one, (0, length, Ok(1), true));
        assert_eq!((*begins, *bytes, end), (length, 20, length + 20));
    }

    #[test]
    fn nothing_behind_the_end_that_was_asked_for_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = pending_path(folder.path(), 7);
        let length = line(1).len() as u64;
        fs::write(&path, [line(1), line(2)].concat()).unwrap();
        let mut records = Records::open(&RealDisk, &path, 7, 0..length).unwrap();
        assert!(records.next().unwrap().is_some());
        assert!(records.next().unwrap().is_none());
        assert_eq!(records.offset(), length);
    }

    #[test]
    fn a_line_that_is_too_long_costs_no_other_line() {
        let most = 262_144;
        let last = line(1);
        let tell = |length: usize| {
            let bytes = [&vec![b'x'; length - 1][..], b"\n", &last].concat();
            let (lines, _) = read(&bytes, 0);
            let [(0, first, Err(problem), true), (begins, _, Ok(1), true)] = lines.as_slice() else {
                panic!("{lines:?}")
            };
            assert_eq!((*first, *begins), (length as u64, length as u64));
            problem.clone()
        };
        for length in [most + 1, most + 2, 2 * most, 2 * most + 1, 3 * most] {
            assert_eq!(tell(length), "line is too long", "{length} bytes");
        }
        // What is within the bound is read, and found to be no record.
        assert_eq!(tell(most), "it has no checksum");
        // One that has no end is read once.
        let (lines, end) = read(&vec![b'x'; 2 * most + 5], 0);
        let [(0, length, Err(problem), false)] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((*length, end), (524_293, 524_293));
        assert_eq!(problem, "line is too long");
    }

    #[test]
    fn a_record_without_an_id_gets_one_from_where_it_stands() {
        let nameless = |epoch| {
            let record = record("eu", epoch);
            let id = TransitionId { replica: "".into(), boot: 0, seq: 0 };
            let mut line = Vec::new();
            line::encode(&Line::Entry(Box::new(Proposal { id, ..record })), &mut line);
            line
        };
        let (first, second) = (nameless(1), nameless(2));
        let sum = |line: &[u8]| u64::from(crc32fast::hash(&line[..line.len() - 1]));
        let folder = tempfile::tempdir().unwrap();
        let path = pending_path(folder.path(), 7);
        fs::write(&path, [&first[..], &second, &line(3)].concat()).unwrap();
        let number = (1 << 32) + 7;
        let mut records = Records::open(&RealDisk, &path, number, 0..u64::MAX).unwrap();
        let mut next = || match records.next().unwrap().unwrap().line {
            Ok(Line::Entry(entry)) => entry.id,
            other => panic!("{other:?}"),
        };
        let id = |line: &[u8], begins| {
            let boot = sum(line) << 32 | 7;
            TransitionId { replica: "journal".into(), boot, seq: begins }
        };
        assert_eq!(next(), id(&first, 0));
        assert_eq!(next(), id(&second, first.len() as u64));
        assert_eq!(next(), record("eu", 3).id, "it has one");
    }
}
