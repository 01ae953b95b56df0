//! The room that is reserved for a full disk: how much, when it is used, and when it is left again.

use super::*;

#[test]
fn room_is_reserved_for_every_breaker_but_no_more_than_a_small_disk_can_spare() {
    let room = |free| {
        let bench = Bench::new();
        bench.disk.has_free(free);
        let (journal, _) = bench.open(1);
        let tail = journal.tail.lock();
        tail.spare.as_ref().unwrap().room
    };
    assert_eq!([u64::MAX, 80_000, 0].map(room), [64 * 1024, 10_000, 1]);
}

#[test]
fn what_was_used_of_the_reserve_is_reserved_again() {
    let bench = Bench::sized(|sizes| (sizes.bytes_max, sizes.segment_bytes) = (8 * 1024, 1024));
    let (journal, _) = bench.open(1);
    // Merging takes one of the two files, and leaves the other.
    for epoch in 1..=100 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    assert!(journal.stats(START).dropped > 0);
    assert!(journal.merging.lock().is_some() && journal.tail.lock().spare.is_some());
}

#[test]
fn the_journal_leaves_the_reserve_once_the_disk_has_twice_what_a_segment_needs() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    bench.disk.is_full();
    append(&journal, "a", 1);
    let is_in_reserve = || journal.tail.lock().active.room.is_some();
    assert!(is_in_reserve());
    bench.disk.works();
    for (free, stays) in [(0, true), (8_192, true), (8_193, false)] {
        bench.disk.has_free(free);
        keep_up(&journal);
        assert_eq!(is_in_reserve(), stays, "{free} bytes are free");
    }
}

#[test]
fn what_stands_in_the_reserve_is_not_reserved_anew() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    bench.disk.is_full();
    append(&journal, "a", 1);
    bench.disk.works();
    bench.disk.has_free(0);
    // It cannot be given its own name, and so stands where the next reserve would.
    bench.disk.keeps_names(true);
    keep_up(&journal);
    append(&journal, "a", 2);
    assert_eq!(said(&drain(&journal)), ["a 1", "a 2"]);
    bench.disk.has_free(u64::MAX);
    keep_up(&journal);
    append(&journal, "a", 3);
    keep_up(&journal);
    drop(journal);
    bench.disk.keeps_names(false);
    assert_eq!(states(&bench.open(2).1), named(&[("a", 3)]));
}

#[test]
fn on_a_full_disk_what_the_store_has_goes_at_once() {
    for reserved in [true, false] {
        let bench = Bench::sized(|sizes| sizes.segment_bytes = 1);
        let (journal, _) = bench.open(1);
        append(&journal, "a", 1);
        keep_up(&journal);
        drain(&journal);
        assert!(bench.bytes("acked") > 0);
        assert!(!journal.keep_up(START, Removal::NotAsked).wants_removal, "it is seconds old");
        if !reserved {
            journal.tail.lock().spare = None;
        }
        bench.disk.is_full();
        append(&journal, "a", 2);
        assert_eq!(journal.stats(START).write_failing, !reserved);
        assert!(journal.keep_up(START, Removal::NotAsked).wants_removal, "reserved: {reserved}");
    }
}

#[test]
fn the_segments_are_merged_when_half_of_the_reserve_is_used() {
    let line = line_bytes();
    let bench = Bench::sized(|sizes| (sizes.segment_bytes, sizes.room_bytes) = (2 * line, 4 * line));
    let (journal, _) = bench.open(1);
    for epoch in 1..=8 {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    bench.disk.is_full();
    for (epoch, are_merged) in [(9, false), (8, true)] {
        append(&journal, "a", epoch);
        keep_up(&journal);
        assert_eq!(journal.stats(START).dropped > 0, are_merged);
    }
}

#[test]
fn a_reserve_that_cannot_be_had_is_said_once_in_the_log() {
    let bench = Bench::new();
    bench.disk.fails(io::ErrorKind::StorageFull, 1 << 20);
    let logged = Logged::start();
    let (journal, _) = bench.open(1);
    for outage in 1..=2 {
        for _ in 0..3 {
            keep_up(&journal);
        }
        assert_eq!(logged.count("no disk space reserved"), outage);
        bench.disk.works();
        keep_up(&journal);
        journal.tail.lock().spare = None;
        bench.disk.fails(io::ErrorKind::StorageFull, 1 << 20);
    }
}
