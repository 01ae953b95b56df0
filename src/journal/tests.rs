mod batches;
mod carrying;
mod disk_faults;
mod faulty_disk;
mod faulty_store;
mod flushing;
mod going_back;
mod keeping;
mod limit;
mod logged;
mod reserve;
mod restart;
mod segments;
mod stats;
mod waiting;

use std::fs;
use std::path::PathBuf;

use breaker::{Key, Numbering, Reason, Snapshot, State, Stats, Transition};
use breakerd_common::clock::ManualClock;

use self::faulty_disk::FaultyDisk;
use self::logged::Logged;
use super::*;
use crate::store::GapCause;

/// A day after 1970, so that no age is cut off at the beginning of time.
const START: Time = Time::from_micros(86_400_000_000);

fn change(epoch: u64) -> Transition {
    Transition {
        from: State::Closed,
        reason: Reason::ConsecutiveFailures,
        stats: Stats::default(),
        base_epoch: epoch - 1,
        at: START,
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after: Snapshot {
            epoch,
            state: State::Open,
            wait: Some(Duration::from_secs(30)),
            ..Snapshot::pristine()
        },
        shadow: false,
    }
}

fn key(name: &str) -> Key {
    Key::new("db", name).unwrap()
}

/// A folder, a disk and a clock that outlive the journals on them.
struct Bench {
    folder: tempfile::TempDir,
    disk: Arc<FaultyDisk>,
    clock: ManualClock,
    sizes: Sizes,
}

impl Bench {
    fn new() -> Self {
        let sizes = Sizes {
            bytes_max: 1 << 20,
            segment_bytes: 4 * 1024,
            batch_entries: 3,
            batch_bytes: 1 << 20,
            memory_bytes_max: 1 << 20,
            room_bytes: 64 * 1024,
            acknowledged_kept: ACKNOWLEDGED_KEPT,
        };
        let folder = tempfile::tempdir().unwrap();
        Self { folder, disk: Arc::default(), clock: ManualClock::new(START), sizes }
    }

    fn sized(change: impl FnOnce(&mut Sizes)) -> Self {
        let mut bench = Self::new();
        change(&mut bench.sizes);
        bench
    }

    fn open(&self, boot: u64) -> (Journal, Recovered) {
        let options = JournalOptions {
            replica: "r".into(),
            boot,
            bytes_max: self.sizes.bytes_max,
            breakers_max: 100,
            clock: Arc::new(self.clock.clone()),
        };
        let disk = Arc::clone(&self.disk) as Arc<dyn Disk>;
        Journal::open_on(disk, self.folder.path(), options, self.sizes).unwrap()
    }

    fn bytes(&self, extension: &str) -> u64 {
        let files = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap());
        let files = files.filter(|file| file.path().extension().is_some_and(|found| found == extension));
        files.map(|file| file.metadata().unwrap().len()).sum()
    }

    fn files(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> =
            fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|found| found == "journal"));
        files.sort();
        files
    }
}

fn append(journal: &Journal, name: &str, epoch: u64) -> u64 {
    append_at(journal, name, epoch, START)
}

/// What happened at `at` by the wall clock.
fn append_at(journal: &Journal, name: &str, epoch: u64, at: Time) -> u64 {
    let transition = Transition { at, ..change(epoch) };
    TransitionSink::append(
        journal,
        Event {
            key: &key(name),
            transition: &transition,
            origin: Origin::Own,
            numbering: Numbering::Own,
            service_override: None,
            timeline: None,
        },
    )
    .lsn
}

/// What a list of proposals says: name and epoch; of a gap also how many are missing.
fn said(proposals: &[Proposal]) -> Vec<String> {
    proposals
        .iter()
        .map(|proposal| match &proposal.change {
            Change::Transition(transition) => format!("{} {}", proposal.key.name(), transition.after.epoch),
            Change::Gap(gap) => {
                let epoch = gap.after.as_ref().map_or(0, |after| after.epoch);
                format!("{} {epoch} after {} lost", proposal.key.name(), gap.lost_transitions)
            }
        })
        .collect()
}

fn drain(journal: &Journal) -> Vec<Proposal> {
    let mut all = Vec::new();
    while let Some(batch) = journal.next(usize::MAX).unwrap() {
        assert!(batch.proposals.len() <= journal.sizes.batch_entries, "no batch is larger than its bound");
        all.extend(batch.proposals.iter().cloned());
        journal.done(&batch);
    }
    assert!(journal.is_empty());
    all
}

fn keep_up(journal: &Journal) {
    journal.keep_up(journal.clock.now(), Removal::Allowed);
}

/// Epochs that are there after a start, by name.
fn states(recovered: &Recovered) -> Vec<(String, u64)> {
    let mut states: Vec<_> =
        recovered.states.iter().map(|state| (state.key.name().to_string(), state.snapshot.epoch)).collect();
    states.sort();
    states
}

fn named(states: &[(&str, u64)]) -> Vec<(String, u64)> {
    states.iter().map(|(name, epoch)| ((*name).to_owned(), *epoch)).collect()
}

/// The bytes of the line of an entry of `append`, as long as its numbers have one digit.
fn line_bytes() -> u64 {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    journal.stats(START).depth_bytes
}
