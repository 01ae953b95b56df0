use std::fs;
use std::path::PathBuf;

use breaker::{Key, Reason, Snapshot, State, Stats, Transition};
use breakerd_common::clock::ManualClock;

use super::disk::AppendFile;
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
        after: Snapshot { epoch, state: State::Open, ..Snapshot::pristine() },
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

/// The real file system, which fails when it is told to.
#[derive(Debug, Default)]
struct FaultyDisk {
    fault: Arc<Mutex<Option<Fault>>>,
}

#[derive(Debug, Clone, Copy)]
struct Fault {
    kind: io::ErrorKind,
    /// Bytes that are still written before it shows, by all files.
    after: usize,
    /// Files that were reserved take bytes all the same, and files can be cut off.
    spares_reserved: bool,
}

impl FaultyDisk {
    fn fails(&self, kind: io::ErrorKind, after: usize) {
        *self.fault.lock() = Some(Fault { kind, after, spares_reserved: false });
    }

    /// Only what was reserved takes anything.
    fn is_full(&self) {
        let kind = io::ErrorKind::StorageFull;
        *self.fault.lock() = Some(Fault { kind, after: 0, spares_reserved: true });
    }

    fn works(&self) {
        *self.fault.lock() = None;
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Box<dyn AppendFile>,
    fault: Arc<Mutex<Option<Fault>>>,
    is_reserved: bool,
}

impl Disk for FaultyDisk {
    fn append_to(&self, path: &Path) -> io::Result<Box<dyn AppendFile>> {
        if let Some(Fault { kind: io::ErrorKind::ReadOnlyFilesystem, .. }) = *self.fault.lock() {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let file = RealDisk.append_to(path)?;
        Ok(Box::new(FaultyFile { file, fault: Arc::clone(&self.fault), is_reserved: false }))
    }

    fn reserve(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn AppendFile>> {
        if let Some(fault) = *self.fault.lock() {
            return Err(fault.kind.into());
        }
        let file = RealDisk.reserve(path, bytes).or_else(|_| RealDisk.append_to(path))?;
        Ok(Box::new(FaultyFile { file, fault: Arc::clone(&self.fault), is_reserved: true }))
    }

    fn available(&self, _folder: &Path) -> Option<u64> {
        Some(if self.fault.lock().is_some() { 0 } else { u64::MAX })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn overwrite(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(fault) = *self.fault.lock() {
            return Err(fault.kind.into());
        }
        RealDisk.overwrite(path, bytes)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
}

impl AppendFile for FaultyFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut fault = self.fault.lock();
        let Some(fault) = fault.as_mut().filter(|fault| !(fault.spares_reserved && self.is_reserved)) else {
            return self.file.write(bytes);
        };
        if fault.after == 0 {
            return Err(fault.kind.into());
        }
        let written = self.file.write(&bytes[..bytes.len().min(fault.after)])?;
        fault.after -= written;
        Ok(written)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        match *self.fault.lock() {
            Some(fault) if !fault.spares_reserved => Err(fault.kind.into()),
            _ => self.file.truncate(length),
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()
    }
}

fn append(journal: &Journal, name: &str, epoch: u64) -> u64 {
    TransitionSink::append(
        journal,
        Event { key: &key(name), transition: &change(epoch), origin: Origin::Own },
    )
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

#[test]
fn what_the_store_does_not_have_is_there_after_a_crash() {
    let bench = Bench::new();
    let (journal, recovered) = bench.open(1);
    assert!(recovered.states.is_empty());
    for epoch in 1..=5 {
        append(&journal, "a", epoch);
    }
    let batch = journal.next(2).unwrap().unwrap();
    drop(journal);
    let (journal, recovered) = bench.open(2);
    assert_eq!((states(&recovered), recovered.entries), (named(&[("a", 5)]), 5));
    append(&journal, "b", 1);
    let all = drain(&journal);
    assert_eq!(said(&all), ["a 1", "a 2", "a 3", "a 4", "a 5", "b 1"]);
    assert_eq!(all[0].id, batch.proposals[0].id, "the ids are those of the life that made them");
    journal.close();
    drop(journal);
    let (journal, recovered) = bench.open(3);
    assert_eq!((recovered.entries, journal.stats(START).depth), (0, 0), "the store has everything");
    // It is sent once more, in case that the store lost its last moments, and knows it by its ids.
    assert_eq!(drain(&journal).len(), 6);
}

#[test]
fn what_the_store_has_of_a_segment_is_not_read_once_more() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    for epoch in 1..=6 {
        append(&journal, "a", epoch);
    }
    let first = journal.next(3).unwrap().unwrap();
    assert_eq!(said(&first.proposals), ["a 1", "a 2", "a 3"]);
    journal.done(&first);
    // So that what was read can be damaged by now.
    let [file] = bench.files().try_into().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(said(&drain(&journal)), ["a 4", "a 5", "a 6"]);
}

/// What is left when the process dies is counted as the store has it, and sent again all the same.
#[test]
fn after_a_crash_only_what_the_store_has_not_acknowledged_counts() {
    let bench = Bench::new();
    {
        let (journal, _) = bench.open(1);
        for epoch in 1..=3 {
            append(&journal, "a", epoch);
        }
        drain(&journal);
    }
    bench.clock.advance(Duration::from_mins(5));
    {
        let (journal, recovered) = bench.open(2);
        let JournalStats { depth, depth_bytes, lag, .. } = journal.stats(bench.clock.now());
        assert_eq!((recovered.entries, depth, depth_bytes, lag), (0, 0, 0, Duration::ZERO));
        assert_eq!(drain(&journal).len(), 3, "the store may have lost them since");
        append(&journal, "b", 1);
        append(&journal, "b", 2);
        let batch = journal.next(1).unwrap().unwrap();
        journal.done(&batch);
        assert_eq!(journal.stats(bench.clock.now()).depth, 1);
    }
    bench.clock.advance(Duration::from_mins(1));
    let (journal, recovered) = bench.open(3);
    let stats = journal.stats(bench.clock.now());
    assert_eq!((recovered.entries, stats.depth), (1, 1));
    assert!(stats.depth_bytes > 0);
    let batch = journal.next(3).unwrap().unwrap();
    assert_eq!(batch.proposals.len(), 3);
    journal.done(&batch);
    assert_eq!(journal.stats(bench.clock.now()).depth, 1, "those were acknowledged before");
    drain(&journal);
    let stats = journal.stats(bench.clock.now());
    assert_eq!((stats.depth, stats.depth_bytes), (0, 0));
}

#[test]
fn a_mark_that_says_nothing_or_cannot_be_written_counts_everything() {
    let bench = Bench::new();
    {
        let (journal, _) = bench.open(1);
        append(&journal, "a", 1);
        drain(&journal);
    }
    let mark = bench.folder.path().join("acknowledged");
    for text in ["", "nonsense", "99999999999999999999999 1", "00000000000000000099 00000000000000000001"] {
        fs::write(&mark, text).unwrap();
        assert_eq!(bench.open(2).1.entries, 1, "{text}");
    }
    assert!(!mark.exists(), "a segment of that number may come, and is another");
    bench.disk.fails(io::ErrorKind::StorageFull, usize::MAX);
    let (journal, _) = bench.open(3);
    append(&journal, "b", 1);
    drain(&journal);
    drop(journal);
    assert_eq!(bench.open(4).1.entries, 1);
}

#[test]
fn a_batch_that_failed_is_given_again() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    let first = journal.next(10).unwrap().unwrap();
    journal.failed();
    assert!(journal.stats(START).store_failing);
    append(&journal, "a", 2);
    let second = journal.next(10).unwrap().unwrap();
    assert_eq!(first.proposals[0].id, second.proposals[0].id);
    assert_eq!(said(&second.proposals), ["a 1", "a 2"]);
    journal.done(&second);
    assert!(!journal.stats(START).store_failing);
}

#[test]
fn a_torn_end_and_a_damaged_line_cost_no_other_line() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    for epoch in 1..=3 {
        append(&journal, "a", epoch);
    }
    drop(journal);
    let file = bench.files().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let damaged = lines[1].replace("\"epoch\":2", "\"epoch\":9");
    assert_ne!(damaged, lines[1]);
    fs::write(&file, format!("{}\n{damaged}\n{}\n{}", lines[0], lines[2], &lines[0][..40])).unwrap();
    let (journal, _) = bench.open(2);
    assert_eq!(said(&drain(&journal)), ["a 1", "a 3"]);
}

#[test]
fn a_journal_of_an_earlier_version_is_read() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    drop(journal);
    let file = bench.files().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let old = |body: &str| format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()));
    let mut lines: Vec<_> = text.lines().map(|line| old(line.split_once(" 2 ").unwrap().1)).collect();
    // It gave its gaps no id, and named what it had dropped.
    lines.push(old(
        r#"{"entry":{"replica":"","boot":0,"seq":0,"service":"db","name":"b","numbered_by_store":false,"alone":false,"gap":{"missing":4,"at_us":8,"base_epoch":2}}}"#,
    ));
    lines.push(old(r#"{"dropped":[[1,0]]}"#));
    fs::write(&file, lines.concat()).unwrap();
    let (journal, recovered) = bench.open(2);
    assert_eq!(recovered.entries, 3);
    let first = drain(&journal);
    assert_eq!(said(&first), ["a 1", "a 2", "b 0 after 4 lost"]);
    drop(journal);
    let again = drain(&bench.open(3).0);
    assert_eq!(first[2].id, again[2].id, "a gap has one id over restarts");
}

#[test]
fn a_journal_of_a_later_version_is_refused() {
    let bench = Bench::new();
    let body = r#"3 {"entry":{}}"#;
    let line = format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()));
    fs::write(bench.folder.path().join("000000000001.journal"), line).unwrap();
    let options = JournalOptions {
        replica: "r".into(),
        boot: 1,
        bytes_max: 1 << 20,
        breakers_max: 1,
        clock: Arc::new(bench.clock.clone()),
    };
    let error = Journal::open(bench.folder.path(), options).unwrap_err().to_string();
    assert!(error.contains("later version") && error.contains("000000000001.journal"), "{error}");
}

#[test]
fn at_its_limit_history_is_lost_and_no_state() {
    let bench = Bench::sized(|sizes| sizes.bytes_max = 24 * 1024);
    let (journal, _) = bench.open(1);
    append(&journal, "quiet", 1);
    // The store may have these, whatever it said: they stay as they are.
    let sent = journal.next(3).unwrap().unwrap();
    journal.failed();
    for epoch in 1..=400 {
        for name in ["a", "b", "c"] {
            append(&journal, name, epoch);
        }
        append(&journal, &format!("once-{epoch}"), 1);
        keep_up(&journal);
        let bounded = journal.log.lock().bounded_bytes() + journal.tail.lock().active.segment.bytes;
        assert!(bounded <= bench.sizes.bytes_max + bench.sizes.segment_bytes, "{bounded} bytes");
    }
    let stats = journal.stats(START);
    assert!(stats.dropped > 0 && stats.depth < 1_601, "{stats:?}");

    // The same after a crash.
    drop(journal);
    let (journal, recovered) = bench.open(2);
    let mut expected = named(&[("a", 400), ("b", 400), ("c", 400), ("quiet", 1)]);
    expected.extend((1..=400).map(|number| (format!("once-{number}"), 1)));
    expected.sort();
    assert_eq!(states(&recovered), expected);
    assert_eq!(recovered.entries, stats.depth);
    let all = drain(&journal);
    assert_eq!(all[0], sent.proposals[0]);
    let missing: u64 = all.iter().map(merge::lost).sum();
    assert_eq!(missing, stats.dropped);
    // What is missing and what is there come to what was taken down, of each breaker and in its order.
    for name in ["a", "b", "c", "quiet", "once-1", "once-400"] {
        let mut epoch = 0;
        for proposal in all.iter().filter(|proposal| **proposal.key.name() == *name) {
            let (base, lost) = match &proposal.change {
                Change::Transition(transition) => (transition.base_epoch, 1),
                Change::Gap(gap) => {
                    assert_eq!(gap.cause, GapCause::JournalFull);
                    (gap.base_epoch, gap.lost_transitions)
                }
            };
            assert_eq!(base, epoch, "{name} goes on where it was");
            epoch += lost;
            assert_eq!(merge::state_after(proposal).unwrap().epoch, epoch);
        }
        assert!(epoch == 400 || !["a", "b", "c"].contains(&name), "{name} came to {epoch}");
    }
    // A breaker of which there is one transition keeps it: no history is lost for nothing.
    assert!(said(&all).contains(&"once-1 1".to_owned()));
    let mut ids = std::collections::HashSet::new();
    assert!(all.iter().all(|proposal| ids.insert(proposal.id.clone())), "each has an id of its own");
}

#[test]
fn a_gap_has_one_id_through_all_attempts_and_over_restarts() {
    let bench = Bench::sized(|sizes| sizes.bytes_max = 16 * 1024);
    let (journal, _) = bench.open(1);
    for epoch in 1..=300 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    // The store takes what comes first, so that a gap is next.
    let mut next = journal.next(3).unwrap().unwrap();
    while said(&next.proposals).iter().all(|text| !text.contains("lost")) {
        journal.done(&next);
        next = journal.next(3).unwrap().unwrap();
    }
    journal.failed();
    let sent = next.proposals;
    // More is lost behind it, and it stays what it was when it was sent.
    for epoch in 301..=600 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    assert_eq!(journal.next(3).unwrap().unwrap().proposals, sent);
    drop(journal);
    let (journal, _) = bench.open(2);
    let all = drain(&journal);
    let at = all.iter().position(|proposal| *proposal == sent[0]).expect("it is the same after a restart");
    assert_eq!(all[at..at + sent.len()], sent[..]);
}

#[test]
fn a_crash_between_merging_and_removing_brings_nothing_twice() {
    let bench = Bench::sized(|sizes| (sizes.bytes_max, sizes.segment_bytes) = (16 * 1024, 1024));
    let (journal, _) = bench.open(1);
    let mut copies = Vec::new();
    let mut epoch = 0;
    while journal.stats(START).dropped == 0 {
        epoch += 1;
        append(&journal, "a", epoch);
        // As they were before anything was merged.
        copies = bench.files().into_iter().map(|path| (fs::read(&path).unwrap(), path)).collect();
        keep_up(&journal);
    }
    let stats = journal.stats(START);
    drop(journal);
    let mut came_back = 0;
    for (content, path) in copies {
        if !path.exists() {
            fs::write(path, content).unwrap();
            came_back += 1;
        }
    }
    assert!(came_back > 0, "some were removed");
    let (journal, recovered) = bench.open(2);
    assert_eq!(recovered.entries, stats.depth);
    let reported: u64 = drain(&journal).iter().map(|proposal| merge::lost(proposal).max(1)).sum();
    assert_eq!(reported, stats.appended);
}

#[test]
fn what_the_store_has_stays_ten_minutes_and_is_the_first_to_go_at_the_limit() {
    let bench = Bench::sized(|sizes| sizes.bytes_max = 32 * 1024);
    let (journal, _) = bench.open(1);
    let write = |from: u64, to: u64| {
        for epoch in from..=to {
            append(&journal, "a", epoch);
            journal.keep_up(journal.clock.now(), Removal::NotAsked);
        }
    };
    write(1, 30);
    drain(&journal);
    assert!(bench.bytes("acked") > 0);
    let kept = bench.bytes("acked");
    bench.clock.advance(Duration::from_mins(9));
    assert!(!journal.keep_up(bench.clock.now(), Removal::NotAsked).wants_removal);
    assert_eq!(bench.bytes("acked"), kept);

    // At the limit: the store is asked first, and nothing is lost meanwhile.
    write(31, 120);
    assert!(journal.keep_up(bench.clock.now(), Removal::NotAsked).wants_removal);
    assert_eq!((bench.bytes("acked"), journal.stats(START).dropped), (kept, 0));
    journal.keep_up(bench.clock.now(), Removal::Allowed);
    assert!(bench.bytes("acked") < kept);

    // What the store has had for ten minutes goes; it has to be the store that had it.
    drain(&journal);
    keep_up(&journal);
    bench.clock.advance(Duration::from_mins(11));
    assert!(journal.keep_up(bench.clock.now(), Removal::NotAsked).wants_removal);
    let kept = bench.bytes("acked");
    assert!(kept > 0);
    journal.keep_up(bench.clock.now(), Removal::Forbidden);
    assert_eq!(bench.bytes("acked"), kept);
    journal.keep_up(bench.clock.now(), Removal::Allowed);
    bench.clock.advance(Duration::from_mins(11));
    journal.keep_up(bench.clock.now(), Removal::Allowed);
    assert_eq!((bench.bytes("acked"), bench.bytes("journal")), (0, 0));
    assert_eq!(journal.stats(bench.clock.now()).bytes, 0);
}

#[test]
fn a_write_that_fails_in_the_middle_of_a_line_costs_no_other_line() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::StorageFull] {
        for after in [1, 40, 200] {
            let bench = Bench::sized(|sizes| sizes.room_bytes = 0);
            let (journal, _) = bench.open(1);
            journal.tail.lock().spare = None;
            append(&journal, "before", 1);
            bench.disk.fails(kind, after);
            append(&journal, "torn", 1);
            assert!(journal.stats(START).write_failing);
            bench.disk.works();
            append(&journal, "behind", 1);
            keep_up(&journal);
            append(&journal, "last", 1);
            assert_eq!(journal.stats(START).in_memory, 0);
            drop(journal);
            let (journal, recovered) = bench.open(2);
            let expected = [("before", 1), ("behind", 1), ("last", 1), ("torn", 1)];
            assert_eq!(states(&recovered), named(&expected), "{kind} after {after}");
            assert_eq!(said(&drain(&journal)), ["before 1", "torn 1", "behind 1", "last 1"]);
        }
    }
}

#[test]
fn a_torn_line_in_a_file_that_goes_on_is_closed() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    let mut tail = journal.tail.lock();
    let line = |name: &str| {
        let id = TransitionId { replica: "r".into(), boot: 1, seq: 9 };
        let change = Change::Transition(Box::new(change(1)));
        let proposal =
            Proposal { id, key: key(name), change, numbering: Numbering::Own, store_unavailable: false };
        let mut line = Vec::new();
        line::encode(&Line::Entry(Box::new(proposal.clone())), &mut line);
        (proposal, line)
    };
    for (name, fails) in [("a", false), ("b", true), ("c", false), ("d", false)] {
        if fails {
            bench.disk.fails(io::ErrorKind::Other, 30);
        }
        let (proposal, line) = line(name);
        tail.append(proposal, &line, &bench.clock);
        bench.disk.works();
        // As if the same file were tried again.
        tail.failing = false;
    }
    drop(tail);
    drop(journal);
    assert_eq!(states(&bench.open(2).1), named(&[("a", 1), ("c", 1), ("d", 1)]));
}

#[test]
fn a_full_disk_takes_a_transition_of_every_breaker_and_loses_none_to_a_crash() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "before", 1);
    bench.disk.is_full();
    for number in 0..100 {
        append(&journal, &format!("breaker-{number}"), 1);
    }
    let stats = journal.stats(START);
    assert_eq!((stats.in_memory, stats.write_failing, stats.write_errors), (0, false, 1));
    drop(journal);
    let (journal, recovered) = bench.open(2);
    assert_eq!(recovered.states.len(), 101);

    // The disk has room again: nothing was lost, and another full disk is met in the same way.
    bench.disk.works();
    keep_up(&journal);
    append(&journal, "again", 1);
    bench.disk.is_full();
    append(&journal, "full", 1);
    keep_up(&journal);
    append(&journal, "more", 1);
    drop(journal);
    bench.disk.works();
    let (journal, recovered) = bench.open(3);
    assert_eq!(recovered.states.len(), 104);
    let all = said(&drain(&journal));
    assert_eq!((all.len(), &all[0], &all[103]), (104, &"before 1".to_owned(), &"more 1".to_owned()));
}

#[test]
fn on_a_full_disk_the_segments_are_merged_into_what_was_reserved() {
    let bench = Bench::sized(|sizes| sizes.room_bytes = 8 * 1024);
    let (journal, _) = bench.open(1);
    for epoch in 1..=100 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    assert_eq!(journal.stats(START).dropped, 0);
    bench.disk.is_full();
    for epoch in 101..=140 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    let stats = journal.stats(START);
    assert!(stats.dropped > 0, "{stats:?}");
    drop(journal);
    bench.disk.works();
    let (journal, recovered) = bench.open(2);
    assert_eq!(states(&recovered), named(&[("a", 140)]));
    let reported: u64 = drain(&journal).iter().map(|proposal| merge::lost(proposal).max(1)).sum();
    assert_eq!(reported, 140);
}

#[test]
fn a_disk_that_fails_leaves_everything_in_memory_until_it_works_again() {
    for kind in [io::ErrorKind::Other, io::ErrorKind::ReadOnlyFilesystem] {
        let bench = Bench::new();
        let (journal, _) = bench.open(1);
        append(&journal, "a", 1);
        bench.disk.fails(kind, 0);
        for epoch in 2..=500 {
            append(&journal, "a", epoch);
        }
        append(&journal, "b", 1);
        keep_up(&journal);
        let stats = journal.stats(START);
        assert_eq!((stats.in_memory, stats.depth, stats.write_failing), (500, 501, true));
        // A store that is well takes it from memory, in order.
        for _ in 0..2 {
            let batch = journal.next(3).unwrap().unwrap();
            journal.done(&batch);
        }
        assert_eq!(journal.stats(START).depth, 497);
        // And a batch that is with the store while the disk comes back is there once.
        let batch = journal.next(3).unwrap().unwrap();
        assert_eq!(said(&batch.proposals), ["a 5", "a 6", "a 7"]);
        bench.disk.works();
        keep_up(&journal);
        assert_eq!((journal.stats(START).in_memory, journal.stats(START).write_failing), (0, false));
        journal.done(&batch);
        assert_eq!(journal.stats(START).depth, 494);
        append(&journal, "a", 501);
        drop(journal);
        let (journal, recovered) = bench.open(2);
        assert_eq!(states(&recovered), named(&[("a", 501), ("b", 1)]));
        let all = said(&drain(&journal));
        let first = all.iter().position(|text| text == "a 8").expect("it goes on behind the batch");
        assert_eq!(all.len() - first, 495);
        assert_eq!(all[all.len() - 2..], ["b 1", "a 501"]);
    }
}

#[test]
fn memory_is_bounded_while_neither_disk_nor_store_take_anything() {
    let bench = Bench::sized(|sizes| sizes.memory_bytes_max = 64 * 1024);
    let (journal, _) = bench.open(1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    for epoch in 1..=2_000 {
        for name in ["a", "b"] {
            append(&journal, name, epoch);
        }
        if epoch % 100 == 0 {
            keep_up(&journal);
        }
    }
    let stats = journal.stats(START);
    assert!(stats.in_memory < 100, "{stats:?}");
    assert!(stats.dropped > 3_000, "{stats:?}");
    bench.disk.works();
    keep_up(&journal);
    drop(journal);
    let (journal, recovered) = bench.open(2);
    assert_eq!(states(&recovered), named(&[("a", 2_000), ("b", 2_000)]));
    let all = drain(&journal);
    let reported: u64 = all.iter().map(|proposal| merge::lost(proposal).max(1)).sum();
    assert_eq!(reported, 4_000, "the history knows of every one that it misses");
    let unwritable = |proposal: &Proposal| matches!(&proposal.change, Change::Gap(gap) if gap.cause == GapCause::JournalUnwritable);
    assert!(all.iter().any(unwritable), "and why");
}

#[test]
fn a_place_is_stored_once_the_store_has_the_entry_and_not_before() {
    let bench = Bench::sized(|sizes| sizes.bytes_max = 16 * 1024);
    let (journal, _) = bench.open(1);
    assert_eq!(journal.stored_up_to(), 0);
    let mut newest = std::collections::HashMap::new();
    for round in 1..=300_u64 {
        match round {
            100 => bench.disk.fails(io::ErrorKind::Other, 10),
            200 => bench.disk.is_full(),
            150 | 250 => bench.disk.works(),
            _ => {}
        }
        let name = format!("b{}", round % 7);
        newest.insert(name.clone(), (append(&journal, &name, round), round));
        if round % 5 == 0 {
            keep_up(&journal);
        }
        if round % 40 == 0 {
            let batch = journal.next(3).unwrap().unwrap();
            journal.done(&batch);
        }
    }
    keep_up(&journal);
    let mut stored = std::collections::HashMap::new();
    loop {
        let up_to = journal.stored_up_to();
        for (name, (lsn, epoch)) in &newest {
            assert!(*lsn > up_to || stored.get(name) >= Some(epoch), "{name} is not stored at {up_to}");
        }
        let Some(batch) = journal.next(3).unwrap() else { break };
        for proposal in &batch.proposals {
            let epoch = merge::state_after(proposal).unwrap().epoch;
            stored.insert(proposal.key.name().to_string(), epoch);
        }
        journal.done(&batch);
    }
    assert!(newest.values().all(|(lsn, _)| *lsn <= journal.stored_up_to()));
}

#[test]
fn the_writes_are_timed() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    for epoch in 1..=3 {
        append(&journal, "a", epoch);
    }
    let times = journal.stats(START).write_times;
    assert_eq!((times.count, times.cumulative), (3, [3; WRITE_BOUNDS_SECONDS.len()]));
}

#[tokio::test]
async fn what_was_taken_down_is_settled_once_the_store_has_it_and_not_before() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    assert!(journal.settled().await, "nothing was taken down");
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    let settled = journal.settled();
    let mut settled = std::pin::pin!(settled);
    assert!(futures_util::poll!(&mut settled).is_pending());
    // What comes later need not be there.
    append(&journal, "b", 1);
    for _ in 0..2 {
        assert!(futures_util::poll!(&mut settled).is_pending());
        let batch = journal.next(1).unwrap().unwrap();
        journal.done(&batch);
    }
    assert!(settled.await);
}

#[tokio::test]
async fn what_was_dropped_is_not_settled() {
    let bench = Bench::sized(|sizes| sizes.bytes_max = 8 * 1024);
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    let mut settled = std::pin::pin!(journal.settled());
    assert!(futures_util::poll!(&mut settled).is_pending());
    for epoch in 2..=200 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    drain(&journal);
    assert!(!settled.await);
}
