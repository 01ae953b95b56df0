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
