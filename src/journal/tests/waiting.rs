//! What one can wait for, and that nobody is woken for nothing.

use std::pin::pin;

use futures_util::poll;

use super::*;

#[tokio::test]
async fn the_journal_is_emptied_once_the_store_has_everything() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    journal.emptied().await;
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    let mut emptied = pin!(journal.emptied());
    for _ in 0..2 {
        assert!(!journal.is_empty() && poll!(&mut emptied).is_pending());
        let batch = journal.next(1).unwrap().unwrap();
        journal.done(&batch);
    }
    emptied.await;
}

#[tokio::test]
async fn there_is_room_until_the_journal_is_more_than_half_full() {
    let bench = Bench::sized(|sizes| sizes.bytes_max = 4 * line_bytes());
    let (journal, _) = bench.open(1);
    for epoch in 1..=2 {
        append(&journal, "a", epoch);
        assert!(poll!(pin!(journal.has_room())).is_ready(), "{epoch} of four");
    }
    append(&journal, "a", 3);
    let mut room = pin!(journal.has_room());
    assert!(poll!(&mut room).is_pending());
    let batch = journal.next(1).unwrap().unwrap();
    journal.done(&batch);
    room.await;
}

#[tokio::test]
async fn there_is_no_room_while_memory_is_more_than_half_full() {
    // An entry in memory counts with 400 bytes beside its line.
    let bench = Bench::sized(|sizes| sizes.memory_bytes_max = 2 * (line_bytes() + 400));
    let (journal, _) = bench.open(1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    append(&journal, "a", 1);
    assert!(poll!(pin!(journal.has_room())).is_ready());
    append(&journal, "a", 2);
    let mut room = pin!(journal.has_room());
    assert!(poll!(&mut room).is_pending());
    bench.disk.works();
    keep_up(&journal);
    room.await;
}

#[test]
fn half_of_the_journal_takes_an_entry_for_each_kibibyte_and_one_at_least() {
    for (bytes_max, half) in [(1 << 20, 512), (6 * 1024, 3), (1, 1)] {
        let bench = Bench::sized(|sizes| sizes.bytes_max = bytes_max);
        assert_eq!(bench.open(1).0.half(), half);
    }
}

#[tokio::test]
async fn whoever_reads_the_store_is_woken_when_it_has_more() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    assert!(poll!(pin!(journal.written())).is_pending());
    drain(&journal);
    journal.written().await;
    assert!(poll!(pin!(journal.written())).is_pending(), "once");
}

#[tokio::test]
async fn the_writer_is_woken_by_a_start_and_by_each_entry_and_by_nothing_else() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    journal.filled().await;
    assert!(journal.next(9).unwrap().is_none());
    assert!(poll!(pin!(journal.filled())).is_pending());
    append(&journal, "a", 1);
    journal.filled().await;
    drain(&journal);
    assert!(poll!(pin!(journal.filled())).is_pending(), "the store has everything");
}

#[tokio::test]
async fn upkeep_is_woken_by_a_segment_that_is_full() {
    let bench = Bench::sized(|sizes| sizes.segment_bytes = 2 * line_bytes());
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    assert!(poll!(pin!(journal.needs_upkeep())).is_pending());
    append(&journal, "a", 2);
    assert!(poll!(pin!(journal.needs_upkeep())).is_ready());
}

#[tokio::test]
async fn upkeep_is_woken_while_the_journal_cannot_be_written_or_stands_in_the_reserve() {
    for full in [false, true] {
        let bench = Bench::new();
        let (journal, _) = bench.open(1);
        if full {
            bench.disk.is_full();
        } else {
            bench.disk.fails(io::ErrorKind::Other, 0);
        }
        for epoch in 1..=2 {
            append(&journal, "a", epoch);
            assert!(poll!(pin!(journal.needs_upkeep())).is_ready(), "full: {full}");
        }
        assert_eq!(journal.stats(START).write_failing, !full);
    }
}
