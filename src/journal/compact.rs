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
use crate::store::{GapCause, Proposal};

/// Written to the file in pieces of about this size.
const CHUNK_BYTES: usize = 64 * 1024;

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

/// Merges the oldest segments until about `excess` bytes are gone, sparing the next `spared` records. None: there is
/// nothing to merge.
pub(super) fn compact(
    log: &mut Log,
    disk: &dyn Disk,
    mut target: MergeFile,
    excess: u64,
    spared: u64,
) -> io::Result<Option<Compacted>> {
    let Some((first, count)) = choose(log, excess, spared) else {
        return Ok(None);
    };
    let chosen: Vec<Segment> = log.closed.range(first..first + count).cloned().collect();
    let (merged, compacted) = write(&chosen, &mut target)?;
    let path = pending_path(&log.folder, merged.number);
    disk.rename(&target.path, &path)?;
    // From here on the old ones do not count: a start that finds them removes them.
    for segment in chosen.iter().filter(|segment| segment.path != path) {
        if let Err(error) = disk.remove(&segment.path) {
            tracing::warn!(%error, file = %segment.path.display(), "journal segment cannot be removed");
        }
    }
    log.closed.drain(first..first + count);
    log.closed.insert(first, Segment { path, ..merged });
    Ok(Some(compacted))
}

/// Whether [`compact`] has something to do.
pub(super) fn is_possible(log: &Log, spared: u64) -> bool {
    choose(log, 1, spared).is_some()
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

/// Reads what is to be merged, and writes what remains of it.
fn write(chosen: &[Segment], target: &mut MergeFile) -> io::Result<(Segment, Compacted)> {
    let mut newest: HashMap<Key, (u64, Proposal)> = HashMap::new();
    let mut compacted = Compacted::default();
    let mut lost_before = 0;
    let mut order = 0;
    for segment in chosen {
        let mut lines = Records::open(&segment.path, segment.number, 0, segment.bytes)?;
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
    let mut segment = Segment {
        records: kept.len() as u64,
        bytes: 0,
        is_merged: true,
        acknowledged_before: 0,
        ..first.clone()
    };

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
