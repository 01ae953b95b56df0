//! Makes room when the log has reached its limit: the oldest segments that the store does not have are merged into one
//! that holds a single record of each breaker. History is lost by it, and says so; state is not.
//!
//! A breaker with one record in what is merged keeps it as it is. Of others there remains a gap: how many transitions
//! it stands for, and the state behind them. It stands where they stood, so that the history goes on behind it. What is
//! merged has room of its own, allocated beforehand: the limit does not count it, and a full disk can take it.
//!
//! Records that may have been sent to the store stay as they are, since it may have them whatever it answered: as many
//! as a batch takes, from the first on that it has not acknowledged. So a record has one id, and says one thing.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;

use breaker::Key;

use super::disk::{AppendFile, Disk};
use super::line::{self, Line};
use super::log::Log;
use super::merge::{lost, merge};
use super::segment::{Records, Segment, pending_path};
use super::tail::new_segment;
use crate::store::{GapCause, Proposal};

/// Written to the file in pieces of about this size.
const CHUNK_BYTES: usize = 64_000;

/// What compacting did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Compacted {
    /// Transitions that the history will not have.
    pub(super) lost: u64,
    /// Records that there are less.
    pub(super) records: u64,
    /// Bytes of records that there are less.
    pub(super) bytes: u64,
}

/// Where the merged records are written before they take their place.
#[derive(Debug)]
pub(super) struct MergeFile {
    pub(super) path: PathBuf,
    pub(super) file: Box<dyn AppendFile>,
}

/// Merges the oldest segments until about `excess` bytes are gone, sparing the next `spared` records, into the file that
/// `target` opens. None: there is nothing to merge.
pub(super) fn compact(
    log: &mut Log,
    disk: &dyn Disk,
    target: impl FnOnce(&Log) -> io::Result<MergeFile>,
    excess: u64,
    spared: u64,
) -> io::Result<Option<Compacted>> {
    let Some((first, count)) = choose(log, excess, spared) else {
        return Ok(None);
    };
    let mut target = target(log)?;
    let chosen: Vec<Segment> = log.closed.range(first..first + count).cloned().collect();
    let path = pending_path(&log.folder, chosen[0].number);
    let (merged, compacted) = write(&chosen, disk, &mut target, path)?;
    disk.rename(&target.path, &merged.path)?;
    // From here on the old ones do not count: a start that finds them removes them.
    for segment in chosen.iter().filter(|segment| segment.path != merged.path) {
        if let Err(error) = disk.remove(&segment.path) {
            tracing::warn!(%error, file = %segment.path.display(), "journal segment cannot be removed");
        }
    }
    log.closed.drain(first..first + count);
    log.closed.insert(first, merged);
    Ok(Some(compacted))
}

/// The segments to merge: where they begin, and how many.
fn choose(log: &Log, excess: u64, spared: u64) -> Option<(usize, usize)> {
    let mut ahead = 0;
    let mut first = None;
    let (mut count, mut raw) = (0, 0);
    for (index, segment) in log.closed.iter().enumerate() {
        if segment.acknowledged_at.is_some() {
            continue;
        }
        if first.is_none() {
            if ahead < spared {
                ahead += segment.records_behind(log.cursor.lsn);
                continue;
            }
            first = Some(index);
        }
        if raw >= excess && !segment.is_merged {
            break;
        }
        count += 1;
        raw += segment.bounded_bytes();
    }
    first.filter(|_| raw > 0).map(|first| (first, count))
}

/// Reads what is to be merged, and writes what remains of it. The file will be renamed to `path`.
fn write(
    chosen: &[Segment],
    disk: &dyn Disk,
    target: &mut MergeFile,
    path: PathBuf,
) -> io::Result<(Segment, Compacted)> {
    let mut newest: HashMap<Key, (u64, Proposal)> = HashMap::new();
    let mut compacted = Compacted::default();
    let mut lost_before = 0;
    let mut order = 0;
    for segment in chosen {
        let mut lines = Records::open(disk, &segment.path, segment.number, 0..segment.bytes)?;
        while let Some(record) = lines.next()? {
            let Ok(Line::Entry(entry)) = record.line else { continue };
            order += 1;
            lost_before += lost(&entry);
            compacted.bytes += record.bytes;
            let entry = match newest.remove(&entry.key) {
                Some((_, before)) => merge(&before, *entry, GapCause::JournalFull),
                None => *entry,
            };
            newest.insert(entry.key.clone(), (order, entry));
        }
    }
    let (first, last) = (&chosen[0], &chosen[chosen.len() - 1]);
    compacted.records = chosen.iter().map(|segment| segment.records).sum::<u64>() - newest.len() as u64;
    // In the order of the newest records: so no record comes later than it did.
    let mut kept: Vec<_> = newest.into_values().collect();
    kept.sort_unstable_by_key(|(order, _)| *order);
    let mut segment = new_segment(first.number, path, first.first_lsn);
    (segment.records, segment.is_merged) = (kept.len() as u64, true);

    let mut lines = Vec::with_capacity(2 * CHUNK_BYTES);
    line::encode(&Line::Merged { up_to: last.number }, &mut lines);
    let header = lines.len() as u64;
    for (_, entry) in kept {
        compacted.lost += lost(&entry);
        line::encode(&Line::Entry(Box::new(entry)), &mut lines);
        if lines.len() >= CHUNK_BYTES {
            segment.bytes += flush(target, &mut lines)?;
        }
    }
    segment.bytes += flush(target, &mut lines)?;
    // The old segments are removed next: the machine may crash as well.
    target.file.sync()?;
    compacted.lost = compacted.lost.saturating_sub(lost_before);
    compacted.bytes = compacted.bytes.saturating_sub(segment.bytes - header);
    Ok((segment, compacted))
}

fn flush(target: &mut MergeFile, lines: &mut Vec<u8>) -> io::Result<u64> {
    target.file.write_whole(lines).map_err(|(_, error)| error)?;
    let written = lines.len() as u64;
    lines.clear();
    Ok(written)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::super::acknowledged_mark::AcknowledgedMark;
    use super::super::disk::RealDisk;
    use super::super::log::Cursor;
    use super::super::merge::tests::{gap, kept, record};
    use super::*;

    /// A closed segment of these records, written to its file.
    fn segment(folder: &Path, number: u64, first_lsn: u64, records: &[Proposal]) -> Segment {
        let mut lines = Vec::new();
        for record in records {
            line::encode(&Line::Entry(Box::new(record.clone())), &mut lines);
        }
        let path = pending_path(folder, number);
        fs::write(&path, &lines).unwrap();
        let (records, bytes) = (records.len() as u64, lines.len() as u64);
        Segment { records, bytes, ..new_segment(number, path, first_lsn) }
    }

    /// Segments 1, 2, ... of so many records each, all of breakers of their own.
    fn log(folder: &Path, segments: u64, records: u64) -> Log {
        let of = |number: u64| {
            let first_lsn = (number - 1) * records + 1;
            let lsns = first_lsn..first_lsn + records;
            segment(
                folder,
                number,
                first_lsn,
                &lsns.map(|lsn| record(&lsn.to_string(), 1)).collect::<Vec<_>>(),
            )
        };
        Log {
            folder: folder.to_owned(),
            closed: (1..=segments).map(of).collect(),
            cursor: Cursor::default(),
            mark: AcknowledgedMark::default(),
            mark_failure_logged: false,
            rounds: 0,
            sent: 0,
        }
    }

    fn target(log: &Log) -> io::Result<MergeFile> {
        let path = log.folder.join("target");
        Ok(MergeFile { file: RealDisk.append_to(&path)?, path })
    }

    /// The segments that are merged into one, from the first to the last; none: nothing was.
    fn merged(log: &mut Log, excess: u64, spared: u64) -> Option<(u64, u64)> {
        let before: Vec<_> = log.closed.iter().map(|segment| segment.number).collect();
        compact(log, &RealDisk, target, excess, spared).unwrap()?;
        let first = log.closed.iter().find(|segment| segment.is_merged).unwrap().number;
        let next = log.closed.iter().map(|segment| segment.number).find(|number| *number > first);
        let last = before.iter().rfind(|number| next.is_none_or(|next| **number < next)).unwrap();
        Some((first, *last))
    }

    /// The records of a segment, and its bytes as the file has them.
    fn read(segment: &Segment) -> (Vec<Proposal>, u64) {
        let mut records = Records::open(&RealDisk, &segment.path, segment.number, 0..u64::MAX).unwrap();
        let mut entries = Vec::new();
        while let Some(record) = records.next().unwrap() {
            if let Line::Entry(entry) = record.line.unwrap() {
                entries.push(*entry);
            }
        }
        (entries, records.offset())
    }

    #[test]
    fn as_many_of_the_oldest_segments_go_as_the_excess_needs() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = log(folder.path(), 1, 2).bytes();
        for (excess, expected) in [(1, (1, 1)), (bytes, (1, 1)), (bytes + 1, (1, 2)), (u64::MAX, (1, 4))] {
            assert_eq!(merged(&mut log(folder.path(), 4, 2), excess, 0), Some(expected), "{excess}");
        }
    }

    #[test]
    fn the_records_that_the_store_may_have_been_sent_are_spared() {
        let folder = tempfile::tempdir().unwrap();
        for (spared, first) in [(0, 1), (1, 2), (2, 2), (3, 3), (4, 3)] {
            assert_eq!(merged(&mut log(folder.path(), 4, 2), u64::MAX, spared), Some((first, 4)), "{spared}");
        }
        assert_eq!(merged(&mut log(folder.path(), 4, 2), u64::MAX, 8), None);
        // Those that the store has are not sent any more.
        let mut half_sent = log(folder.path(), 4, 2);
        half_sent.cursor.lsn = 1;
        assert_eq!(merged(&mut half_sent, u64::MAX, 2), Some((3, 4)));
        let mut acknowledged = log(folder.path(), 4, 2);
        acknowledged.closed[0].acknowledged_at = Some(breaker::Time::ZERO);
        acknowledged.cursor.lsn = 2;
        assert_eq!(merged(&mut acknowledged, u64::MAX, 1), Some((3, 4)));
    }

    #[test]
    fn a_merged_segment_is_merged_again_with_what_stands_before_it_and_not_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut alone = log(folder.path(), 1, 2);
        alone.closed[0].is_merged = true;
        assert_eq!(merged(&mut alone, u64::MAX, 0), None);
        let mut between = log(folder.path(), 3, 2);
        between.closed[1].is_merged = true;
        assert_eq!(merged(&mut between, 1, 0), Some((1, 2)));
    }

    #[test]
    fn what_is_merged_has_a_record_of_each_breaker_in_the_order_of_the_newest() {
        let folder = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..20).map(|number| format!("b{number}")).collect();
        let first: Vec<_> = names.iter().rev().map(|name| record(name, 1)).collect();
        let second: Vec<_> = names.iter().map(|name| record(name, 2)).collect();
        let mut log = log(folder.path(), 0, 0);
        log.closed.extend([segment(folder.path(), 1, 1, &first), segment(folder.path(), 2, 21, &second)]);
        let bytes = log.bytes();
        let compacted = compact(&mut log, &RealDisk, target, u64::MAX, 0).unwrap().unwrap();
        assert_eq!((log.closed.len(), compacted.lost, compacted.records), (1, 40, 20));
        let segment = &log.closed[0];
        let (records, length) = read(segment);
        let read: Vec<_> = records.iter().map(|record| record.key.name().to_string()).collect();
        assert_eq!(read, names);
        assert!(records.iter().all(|record| gap(record).lost_transitions == 2));
        assert_eq!((segment.first_lsn, segment.records, segment.bytes), (1, 20, length));
        // Beside the line that says what was merged.
        let header = fs::read_to_string(&segment.path).unwrap().lines().next().unwrap().len() as u64 + 1;
        assert_eq!(compacted.bytes, bytes - (length - header));
        // What was lost before is not lost once more.
        let third = self::segment(folder.path(), 3, 41, &[record("b0", 3)]);
        log.closed.push_back(third);
        let compacted = compact(&mut log, &RealDisk, target, u64::MAX, 0).unwrap().unwrap();
        assert_eq!((compacted.lost, compacted.records), (1, 1));
    }

    #[test]
    fn what_the_store_has_already_takes_nothing_of_the_rest_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 0, 0);
        let first = [record("eu", 1), kept("us", 1)];
        let second = [kept("eu", 2), record("us", 2)];
        log.closed.extend([segment(folder.path(), 1, 1, &first), segment(folder.path(), 2, 3, &second)]);
        let compacted = compact(&mut log, &RealDisk, target, u64::MAX, 0).unwrap().unwrap();
        assert_eq!((compacted.lost, compacted.records), (0, 2));
        let said: Vec<_> = read(&log.closed[0]).0.iter().map(|left| (left.id.seq, lost(left))).collect();
        assert_eq!(said, [(1, 0), (2, 0)]);
    }

    /// Counts how often it is written to.
    #[derive(Debug)]
    struct Counting(Box<dyn AppendFile>, std::sync::Arc<std::sync::atomic::AtomicU64>);

    impl AppendFile for Counting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.1.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.0.write(bytes)
        }

        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.0.truncate(length)
        }

        fn sync(&mut self) -> io::Result<()> {
            self.0.sync()
        }
    }

    #[test]
    fn what_is_merged_is_written_in_large_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = log(folder.path(), 2, 200);
        let writes = std::sync::Arc::default();
        let counting = |log: &Log| {
            let MergeFile { path, file } = target(log)?;
            Ok(MergeFile { path, file: Box::new(Counting(file, std::sync::Arc::clone(&writes))) })
        };
        compact(&mut log, &RealDisk, counting, u64::MAX, 0).unwrap().unwrap();
        let (records, length) = read(&log.closed[0]);
        let pieces = length / CHUNK_BYTES as u64 + 1;
        assert!(pieces > 2);
        assert_eq!((records.len(), writes.load(std::sync::atomic::Ordering::Relaxed)), (400, pieces));
    }
}
