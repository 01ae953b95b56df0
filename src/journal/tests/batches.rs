//! What the store is given, in which order, and how one waits for it.

use super::*;

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

#[test]
fn an_entry_says_whether_it_was_decided_while_the_store_was_away() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    let journal = Arc::new(journal);
    for (epoch, origin) in [(1, Origin::Own), (2, Origin::Alone)] {
        let event = Event {
            key: &key("a"),
            transition: &change(epoch),
            origin,
            numbering: Numbering::Own,
            service_override: None,
            timeline: None,
        };
        assert_eq!(TransitionSink::append(&journal, event).lsn, epoch, "they are numbered from 1 on");
    }
    let alone: Vec<_> = drain(&journal).iter().map(|proposal| proposal.store_unavailable).collect();
    assert_eq!(alone, [false, true]);
}

#[test]
fn a_segment_of_which_nothing_can_be_read_is_passed_over() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    let file = bench.files().remove(0);
    let line = fs::read_to_string(&file).unwrap();
    fs::write(&file, line.replace("CLOSED", "DAMAGE")).unwrap();
    assert!(journal.next(9).unwrap().is_none(), "no batch is empty");
    assert!(journal.is_empty());
    append(&journal, "a", 2);
    assert_eq!(said(&drain(&journal)), ["a 2"]);
}

/// Records that were merged in memory take fewer numbers in a file than they had. With nothing behind them in a file,
/// the store must be given what is in memory all the same.
#[test]
fn what_is_in_memory_goes_to_the_store_though_merged_records_stand_before_it_in_a_file() {
    let bench = Bench::sized(|sizes| sizes.memory_bytes_max = 4 * 1024);
    let (journal, _) = bench.open(1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    for epoch in 1..=100 {
        append(&journal, "a", epoch);
    }
    bench.disk.works();
    keep_up(&journal);
    assert!(journal.stats(START).dropped > 0 && journal.stats(START).in_memory == 0);
    bench.disk.fails(io::ErrorKind::Other, 0);
    let newest = append(&journal, "b", 1);
    assert_eq!(said(&drain(&journal)).last().unwrap(), "b 1");
    assert_eq!(journal.stored_up_to(), newest);
    // The same with nothing behind them at all.
    bench.disk.works();
    keep_up(&journal);
    bench.disk.fails(io::ErrorKind::Other, 0);
    let newest = (1..=100).map(|epoch| append(&journal, "c", epoch)).last();
    bench.disk.works();
    keep_up(&journal);
    drain(&journal);
    assert_eq!(Some(journal.stored_up_to()), newest);
}

/// How many entries the batches have, of a journal that has `entries`, in segments of `segment_lines`.
fn batches(entries: u64, segment_lines: u64, most: usize, most_lines: u64) -> Vec<usize> {
    let line = line_bytes();
    let bench = Bench::sized(|sizes| {
        sizes.segment_bytes = segment_lines * line;
        (sizes.batch_entries, sizes.batch_bytes) = (most, most_lines * line);
    });
    let (journal, _) = bench.open(1);
    for epoch in 1..=entries {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    let mut sizes = Vec::new();
    let mut all = Vec::new();
    while let Some(batch) = journal.next(usize::MAX).unwrap() {
        sizes.push(batch.proposals.len());
        all.extend(said(&batch.proposals));
        journal.done(&batch);
    }
    let expected: Vec<_> = (1..=entries).map(|epoch| format!("a {epoch}")).collect();
    assert_eq!(all, expected);
    sizes
}

#[test]
fn a_batch_is_bounded_in_entries_and_in_bytes_and_has_one_entry_at_least() {
    assert_eq!(batches(7, 100, 3, 100), [3, 3, 1]);
    assert_eq!(batches(7, 100, 100, 3), [3, 3, 1]);
    assert_eq!(batches(3, 100, 100, 0), [1, 1, 1]);
}

#[test]
fn a_batch_goes_over_the_ends_of_segments() {
    assert_eq!(batches(9, 2, 5, 100), [5, 4]);
    assert_eq!(batches(9, 2, 4, 100), [4, 4, 1]);
    assert_eq!(batches(9, 2, 100, 3), [3, 3, 3]);
}

#[test]
fn entries_that_are_missing_from_a_segment_are_said_in_the_log() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    let logged = Logged::start();
    drain(&journal);
    assert_eq!(logged.count("segment is damaged"), 0);
    append(&journal, "a", 3);
    append(&journal, "a", 4);
    let file = bench.files().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"epoch\":4", "\"epoch\":9")).unwrap();
    assert_eq!(said(&drain(&journal)), ["a 3"]);
    assert_eq!(logged.count("segment is damaged: transitions are missing from it"), 1);
    assert_eq!(logged.count("missing=1"), 1);
}

#[test]
fn a_segment_that_cannot_be_marked_is_said_once_in_the_log_and_sent_again() {
    let bench = Bench::sized(|sizes| sizes.segment_bytes = 1);
    let (journal, _) = bench.open(1);
    let logged = Logged::start();
    bench.disk.keeps_names(true);
    for epoch in 1..=3 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    drain(&journal);
    assert_eq!(logged.count("journal segment cannot be renamed"), 1);
    drop(journal);
    assert_eq!(drain(&bench.open(2).0).len(), 3);
}
