//! What an earlier life of the process left in the folder: read line by line, whatever its size.

use std::collections::HashMap;
use std::collections::hash_map::Entry::{Occupied, Vacant};
use std::io;
use std::path::Path;

use breaker::{EarlierAnswer, EnteredBy, Key, Numbering, ProposalId, Snapshot, State, Time, Transition};

use super::acknowledged_mark::AcknowledgedMark;
use super::disk::Disk;
use super::line::Line;
use super::log::{Cursor, Log};
use super::merge::{entered_by, happened_at, state_after};
use super::segment::{Found, MERGING_NAME, Records, SPARE_NAME, Segment, list, pending_path};
use crate::store::proposal::{is_emergency_stop, is_of_probes};
use crate::store::{Change, Proposal};

/// What the journal had at the start.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The newest state of each breaker that has one in the journal, in no order.
    pub states: Vec<RecoveredState>,
    /// Entries that the store may not have.
    pub entries: u64,
    /// The newest transition of each breaker that the store is to number and may not have, in no order.
    pub unanswered: Vec<Unanswered>,
}

/// A transition that is sent to the store, and that it may have had before.
#[derive(Debug, Clone, PartialEq)]
pub struct Unanswered {
    /// The breaker.
    pub key: Key,
    /// What it is known by.
    pub id: ProposalId,
    /// The transition.
    pub transition: Box<Transition>,
    /// Whether the store had answered it when it was written down.
    pub answer: EarlierAnswer,
}

/// The newest state of a breaker in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveredState {
    /// The breaker.
    pub key: Key,
    /// Its state.
    pub snapshot: Snapshot,
    /// How it came into this state; none: not known.
    pub entered_by: Option<EnteredBy>,
    /// Log sequence number of the entry that brought it, as [`super::Journal::stored_up_to`] counts them.
    pub lsn: u64,
}

/// The log as it was found.
pub(super) struct Contents {
    pub(super) log: Log,
    pub(super) recovered: Recovered,
    pub(super) bytes: u64,
    pub(super) oldest_at: Option<Time>,
    pub(super) last_lsn: u64,
    pub(super) last_number: u64,
}

/// The newest entries of each breaker.
#[derive(Default)]
struct NewestEntries {
    states: HashMap<Key, RecoveredState>,
    unanswered: HashMap<Key, Unanswered>,
}

impl NewestEntries {
    fn note_unanswered(&mut self, entry: &Proposal) {
        let Change::Transition(transition) = &entry.change else { return };
        // A trip may hold over a half-open that entered again, and is not answered yet.
        let is_of_store = (transition.from, transition.after.state) == (State::HalfOpen, State::HalfOpen);
        // What was decided alone is over with the process that was alone; a change that it stood over is not.
        if entry.numbering == Numbering::Store
            && !transition.shadow
            && !entry.store_unavailable
            && !is_of_store
        {
            // What the outcome of a probe decided may be told when the breaker has changed again.
            let is_of_probes = is_of_probes(transition.reason);
            let newest = self.unanswered.get(&entry.key);
            let newest_base = newest.map(|known| known.transition.base_epoch);
            if is_of_probes && newest_base > Some(transition.base_epoch) {
                return;
            }
            let is_answered = entry.decided_in.is_repeat;
            // FORCED_OPEN stands whatever the store has answered since, until it answers that.
            let holds = |known: &Unanswered| {
                known.answer == EarlierAnswer::Missing && is_emergency_stop(&known.transition.after)
            };
            if is_answered && newest.is_some_and(holds) {
                return;
            }
            let answer = if is_answered { EarlierAnswer::Given } else { EarlierAnswer::Missing };
            let id = ProposalId { boot: entry.id.boot, number: entry.id.seq };
            let (key, transition) = (entry.key.clone(), transition.clone());
            self.unanswered.insert(entry.key.clone(), Unanswered { key, id, transition, answer });
        }
    }
}

/// Reads the folder, which is created if need be.
pub(super) fn recover(folder: &Path, disk: &dyn Disk, now: Time) -> io::Result<Contents> {
    disk.create_folder(folder)?;
    take_back(folder, disk)?;
    let mut found = Contents {
        log: Log {
            folder: folder.to_owned(),
            closed: [].into(),
            cursor: Cursor::default(),
            mark: AcknowledgedMark::read(folder, disk),
            mark_failure_logged: false,
            rounds: 0,
            sent: 0,
        },
        recovered: Recovered::default(),
        bytes: 0,
        oldest_at: None,
        last_lsn: 0,
        last_number: 0,
    };
    let mut newest = NewestEntries::default();
    // Segments up to this number were merged into an earlier one, and a crash came before they were removed.
    let mut merged_up_to = 0;
    let segments = list(folder, disk)?;
    // One beyond all segments is of others, which are gone.
    found.log.mark.forget_beyond(segments.last().map_or(0, |last| last.number), folder, disk)?;
    for segment in segments {
        found.last_number = segment.number;
        // An empty one, or one with the empty line that showed that the disk works, says nothing.
        let is_empty = disk.length(&segment.path)? <= 1;
        if is_empty || segment.number <= merged_up_to {
            disk.remove(&segment.path)?;
            continue;
        }
        merged_up_to = found.read(&segment, disk, &mut newest, now)?.unwrap_or(merged_up_to);
    }
    // The life that wrote them may have sent them all.
    found.log.sent = found.last_lsn;
    found.recovered.states = newest.states.into_values().collect();
    found.recovered.unanswered = newest.unanswered.into_values().collect();
    Ok(found)
}

impl Contents {
    /// Reads a segment. Answers up to which number segments were merged into it, if it is such a one.
    fn read(
        &mut self,
        found: &Found,
        disk: &dyn Disk,
        newest: &mut NewestEntries,
        now: Time,
    ) -> io::Result<Option<u64>> {
        let end = disk.length(&found.path)?;
        let mut segment = Segment {
            number: found.number,
            path: found.path.clone(),
            first_lsn: self.last_lsn + 1,
            records: 0,
            bytes: end,
            is_merged: false,
            acknowledged_at: found.is_acknowledged.then_some(now),
            acknowledged_before: 0,
        };
        let mut merged_up_to = None;
        let mut lines = Records::open(disk, &found.path, found.number, 0..end)?;
        while let Some(record) = lines.next()? {
            match record.line {
                Ok(Line::Entry(entry)) => {
                    segment.records += 1;
                    let lsn = segment.last_lsn();
                    if found.is_acknowledged || self.log.mark.covers(found.number, record.begins) {
                        segment.acknowledged_before = segment.records;
                    } else {
                        self.recovered.entries += 1;
                        self.bytes += record.bytes;
                        self.oldest_at = self.oldest_at.or_else(|| Some(happened_at(&entry)));
                        newest.note_unanswered(&entry);
                    }
                    if let Some(after) = state_after(&entry) {
                        let found = RecoveredState {
                            key: entry.key.clone(),
                            snapshot: after.clone(),
                            entered_by: entered_by(&entry),
                            lsn,
                        };
                        match newest.states.entry(entry.key.clone()) {
                            Vacant(vacant) => {
                                vacant.insert(found);
                            }
                            Occupied(mut known) if after.epoch >= known.get().snapshot.epoch => {
                                known.insert(found);
                            }
                            Occupied(mut known) => known.get_mut().lsn = lsn,
                        }
                    }
                }
                Ok(Line::Merged { up_to }) => {
                    segment.is_merged = true;
                    merged_up_to = Some(up_to);
                }
                // An earlier version dropped entries by naming them; they are still there, and are sent.
                Ok(Line::Dropped(_)) => {}
                Err(problem) if problem.is_newer() => {
                    let problem = format!("{}: {problem}", found.path.display());
                    return Err(io::Error::new(io::ErrorKind::Unsupported, problem));
                }
                // The process died, or the disk failed, while this was written: nobody was told of that change.
                Err(_) if !record.is_whole => {}
                Err(problem) => tracing::error!(
                    file = %found.path.display(),
                    offset = record.begins,
                    %problem,
                    "journal line is damaged and is left out"
                ),
            }
        }
        self.last_lsn = segment.last_lsn();
        self.log.closed.push_back(segment);
        Ok(merged_up_to)
    }
}

/// What was written to the room for a full disk is the newest segment; what was being merged had not begun to count.
fn take_back(folder: &Path, disk: &dyn Disk) -> io::Result<()> {
    disk.remove(&folder.join(MERGING_NAME))?;
    let spare = folder.join(SPARE_NAME);
    let is_used = disk.length(&spare).is_ok_and(|bytes| bytes > 0);
    if !is_used {
        return disk.remove(&spare);
    }
    let number = list(folder, disk)?.last().map_or(1, |last| last.number + 1);
    disk.rename(&spare, &pending_path(folder, number))
}
