use std::fs;

use breaker::{Figures, Reason, Snapshot, State, Transition};

use super::*;

fn change(epoch: u64) -> Transition {
    Transition {
        from: State::Closed,
        reason: Reason::ConsecutiveFailures,
        figures: Figures::default(),
        base_epoch: epoch - 1,
        at: Time::from_micros(epoch),
        asked: None,
        after: Snapshot { epoch, state: State::Open, ..Snapshot::pristine() },
        shadow: false,
    }
}

fn key(name: &str) -> Key {
    Key::new("db", name).unwrap()
}

fn open(folder: &Path, boot: u64, capacity: usize) -> (Journal, Vec<Proposal>) {
    Journal::open(folder, "r".into(), boot, capacity).unwrap()
}

fn append(journal: &Journal, name: &str, epoch: u64) {
    place_of(journal, name, epoch);
}

fn place_of(journal: &Journal, name: &str, epoch: u64) -> u64 {
    Outbox::append(journal, Event { key: &key(name), transition: &change(epoch), origin: Origin::Own })
}

/// What stands in a list of proposals: name and epoch, or name and how many are missing.
fn said(proposals: &[Proposal]) -> Vec<String> {
    proposals
        .iter()
        .map(|proposal| match &proposal.change {
            Change::Transition(transition) => format!("{} {}", proposal.key.name(), transition.after.epoch),
            Change::Gap(gap) => format!("{} misses {}", proposal.key.name(), gap.missing),
        })
        .collect()
}

fn drain(journal: &Journal) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(batch) = journal.next(3) {
        all.extend(said(&batch.proposals));
        journal.done(&batch);
    }
    all
}

#[test]
fn what_the_store_does_not_have_is_there_after_a_crash() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, recovered) = open(folder.path(), 1, 100);
    assert!(recovered.is_empty());
    for epoch in 1..=5 {
        append(&journal, "a", epoch);
    }
    let batch = journal.next(2).unwrap();
    drop(journal);
    let (journal, recovered) = open(folder.path(), 2, 100);
    assert_eq!(said(&recovered), ["a 1", "a 2", "a 3", "a 4", "a 5"]);
    assert_eq!(recovered[0].id, batch.proposals[0].id, "the ids are those of the life that made them");
    append(&journal, "b", 1);
    assert_eq!(drain(&journal), ["a 1", "a 2", "a 3", "a 4", "a 5", "b 1"]);
    assert!(journal.is_empty());
    drop(journal);
    let (_, recovered) = open(folder.path(), 3, 100);
    assert!(recovered.is_empty(), "the store has everything");
}

#[test]
fn a_batch_that_failed_is_given_again() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 100);
    append(&journal, "a", 1);
    let first = journal.next(10).unwrap();
    journal.failed();
    append(&journal, "a", 2);
    let second = journal.next(10).unwrap();
    assert_eq!(first.proposals[0].id, second.proposals[0].id);
    assert_eq!(said(&second.proposals), ["a 1", "a 2"]);
}

#[test]
fn a_torn_end_and_a_damaged_line_cost_no_other_line() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 100);
    for epoch in 1..=3 {
        append(&journal, "a", epoch);
    }
    drop(journal);
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let damaged = lines[1].replace("\"epoch\":2", "\"epoch\":9");
    assert_ne!(damaged, lines[1]);
    fs::write(&file, format!("{}\n{damaged}\n{}\n{}", lines[0], lines[2], &lines[0][..40])).unwrap();
    let (_, recovered) = open(folder.path(), 2, 100);
    assert_eq!(said(&recovered), ["a 1", "a 3"]);
}

#[test]
fn a_full_journal_keeps_the_first_and_the_last_of_each_breaker_and_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 8);
    append(&journal, "quiet", 1);
    for epoch in 1..=20 {
        append(&journal, "busy", epoch);
    }
    let stats = journal.stats(Time::from_micros(1_000_001));
    assert_eq!((stats.depth, stats.dropped, stats.appended), (8, 13, 21));
    assert_eq!(stats.lag, Duration::from_secs(1));
    let expected = ["quiet 1", "busy 1", "busy misses 13", "busy 15", "busy 16", "busy 17", "busy 18"];
    let expected: Vec<_> = expected.into_iter().chain(["busy 19", "busy 20"]).map(str::to_owned).collect();

    // The same after a crash: what was dropped stays dropped, and counted.
    drop(journal);
    let (journal, recovered) = open(folder.path(), 2, 8);
    assert_eq!(recovered.len(), 8);
    let mut all = drain(&journal);
    let place = all.iter().position(|line| line.contains("misses")).unwrap();
    let gap = all.remove(place);
    all.insert(2, gap);
    assert_eq!(all, expected);
}

#[test]
fn a_gap_that_was_not_written_yet_is_not_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 4);
    for epoch in 1..=9 {
        append(&journal, "a", epoch);
    }
    drop(journal);
    // Two crashes: the second start reads what the first wrote anew.
    drop(open(folder.path(), 2, 4));
    let (journal, _) = open(folder.path(), 3, 4);
    let all = drain(&journal);
    assert!(all.contains(&"a misses 5".to_owned()), "{all:?}");
    assert_eq!(all.last().unwrap(), "a 9");
}

#[test]
fn more_breakers_than_places_lose_the_oldest() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 2);
    for name in ["a", "b", "c"] {
        append(&journal, name, 1);
    }
    let all = drain(&journal);
    assert_eq!(all, ["a misses 1", "b 1", "c 1"]);
}

#[test]
fn entries_with_the_store_are_not_dropped_under_it() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 4);
    for epoch in 1..=4 {
        append(&journal, "a", epoch);
    }
    let batch = journal.next(3).unwrap();
    for epoch in 5..=7 {
        append(&journal, "a", epoch);
    }
    journal.done(&batch);
    assert_eq!(said(&batch.proposals), ["a 1", "a 2", "a 3"]);
    assert_eq!(drain(&journal).last().unwrap(), "a 7");
}

#[test]
fn the_files_do_not_grow_while_the_store_keeps_up() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 100_000);
    // Always one entry left, so that the journal is never empty: closed segments go all the same.
    append(&journal, "a", 1);
    for epoch in 2..=40_000 {
        append(&journal, "a", epoch);
        let batch = journal.next(1).unwrap();
        journal.done(&batch);
    }
    let bytes: u64 =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 2 * 8 * 1024 * 1024 + 4_096, "{bytes} bytes for one entry");
    drop(journal);
    let (_, recovered) = open(folder.path(), 2, 100_000);
    assert_eq!(said(&recovered).last().unwrap(), "a 40000");
}

#[tokio::test]
async fn what_was_taken_down_is_settled_once_the_store_has_it_and_not_before() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 100);
    assert!(journal.settled().await, "nothing was taken down");
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    assert!(journal.stored_up_to() < place_of(&journal, "a", 3), "what was just taken down is not stored");
    let settled = journal.settled();
    let mut settled = std::pin::pin!(settled);
    assert!(futures_util::poll!(&mut settled).is_pending());
    // What comes later need not be there.
    append(&journal, "b", 1);
    for _ in 0..3 {
        assert!(futures_util::poll!(&mut settled).is_pending());
        let batch = journal.next(1).unwrap();
        journal.done(&batch);
    }
    assert!(settled.await);
}

#[tokio::test]
async fn what_was_dropped_is_not_settled() {
    let folder = tempfile::tempdir().unwrap();
    let (journal, _) = open(folder.path(), 1, 2);
    for epoch in 1..=2 {
        append(&journal, "a", epoch);
    }
    let mut settled = std::pin::pin!(journal.settled());
    assert!(futures_util::poll!(&mut settled).is_pending());
    for epoch in 1..=2 {
        append(&journal, "b", epoch);
    }
    drain(&journal);
    assert!(!settled.await);
}
