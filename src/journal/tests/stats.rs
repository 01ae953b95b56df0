//! What the journal says of itself.

use super::*;

#[test]
fn the_lag_is_the_age_of_the_oldest_entry_that_the_store_lacks() {
    let bench = Bench::new();
    let lag = |journal: &Journal| journal.stats(bench.clock.now()).lag.as_secs();
    let (journal, _) = bench.open(1);
    append_at(&journal, "a", 1, bench.clock.now());
    bench.clock.advance(Duration::from_secs(10));
    append_at(&journal, "a", 2, bench.clock.now());
    bench.clock.advance(Duration::from_secs(5));
    assert_eq!(lag(&journal), 15);
    let first = journal.next(1).unwrap().unwrap();
    journal.done(&first);
    let second = journal.next(1).unwrap().unwrap();
    assert_eq!(lag(&journal), 5, "the first is with the store");
    drop(journal);
    // The same after a crash, as the stamps tell.
    bench.clock.advance(Duration::from_secs(1));
    let (journal, _) = bench.open(2);
    assert_eq!(lag(&journal), 6);
    drain(&journal);
    bench.clock.advance(Duration::from_secs(1));
    assert_eq!(lag(&journal), 0, "the store has everything");
    drop((first, second));
}

#[test]
fn an_entry_of_a_clock_that_was_ahead_has_no_age() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append_at(&journal, "a", 1, START + Duration::from_hours(1));
    drop(journal);
    let (journal, _) = bench.open(2);
    bench.clock.advance(Duration::from_secs(3));
    assert_eq!(journal.stats(bench.clock.now()).lag.as_secs(), 3, "it was found three seconds ago");
}

#[test]
fn the_bytes_are_those_of_the_files() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    let bytes = || bench.bytes("journal") + bench.bytes("acked") + bench.bytes("reserved");
    for epoch in 1..=30 {
        append(&journal, "a", epoch);
        keep_up(&journal);
        assert_eq!(journal.stats(START).bytes, bytes(), "at {epoch}");
    }
    assert!(bench.files().len() > 2);
    // In the reserve: the file before was closed in the middle of a call, and nobody has looked after it yet.
    bench.disk.is_full();
    append(&journal, "a", 31);
    assert_eq!(journal.stats(START).bytes, bytes());
}

#[test]
fn debug_output_names_the_limits_and_not_the_contents() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "secret", 1);
    let text = format!("{journal:?}");
    assert!(text.contains("bytes_max: 1048576") && !text.contains("secret"), "{text}");
}

#[test]
fn the_limits_follow_from_the_settings() {
    let sizes = |bytes_max, breakers_max| {
        Sizes::of(&JournalOptions {
            replica: "r".into(),
            boot: 1,
            bytes_max,
            breakers_max,
            clock: Arc::new(ManualClock::new(START)),
        })
    };
    // A sixteenth of the limit goes at one time, within bounds.
    let segments = [1, 1 << 21, 1 << 30].map(|bytes_max| sizes(bytes_max, 1).segment_bytes);
    assert_eq!(segments, [65_536, 131_072, 8_388_608]);
    let Sizes { bytes_max, batch_entries, batch_bytes, memory_bytes_max, room_bytes, .. } =
        sizes(1 << 30, 1_000);
    assert_eq!((bytes_max, batch_entries, batch_bytes), (1 << 30, 1_000, 1_048_576));
    assert_eq!((memory_bytes_max, room_bytes), (67_108_864, 512_000));
}

#[test]
fn the_depth_is_what_the_store_lacks_in_entries_and_in_bytes_of_lines() {
    let bench = Bench::new();
    let line = line_bytes();
    let (journal, _) = bench.open(1);
    for epoch in 1..=3 {
        append(&journal, "a", epoch);
    }
    let depth = || (journal.stats(START).depth, journal.stats(START).depth_bytes);
    assert_eq!(depth(), (3, 3 * line));
    let first = journal.next(1).unwrap().unwrap();
    assert_eq!(depth(), (3, 3 * line), "it is only under way");
    journal.done(&first);
    assert_eq!(depth(), (2, 2 * line));
}

#[test]
fn entries_that_were_merged_in_memory_are_one() {
    let bench = Bench::sized(|sizes| sizes.memory_bytes_max = 2 * (line_bytes() + 400));
    let line = line_bytes();
    let (journal, _) = bench.open(1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    for (epoch, entries, dropped) in [(1, 1, 0), (2, 2, 0), (3, 2, 2), (4, 2, 3)] {
        append(&journal, "a", epoch);
        let JournalStats { depth, depth_bytes, in_memory, dropped: lost, .. } = journal.stats(START);
        assert_eq!((depth, depth_bytes, in_memory, lost), (entries, entries * line, entries, dropped));
    }
}

#[test]
fn what_the_store_acknowledged_before_a_crash_is_no_part_of_the_depth_and_the_lag() {
    let bench = Bench::new();
    let line = line_bytes();
    let (journal, _) = bench.open(1);
    for epoch in 1..=5 {
        append_at(&journal, "a", epoch, START + Duration::from_secs(epoch));
    }
    let first = journal.next(2).unwrap().unwrap();
    journal.done(&first);
    drop(journal);
    bench.clock.advance(Duration::from_secs(100));
    let (journal, recovered) = bench.open(2);
    let stats = || journal.stats(bench.clock.now());
    assert_eq!((recovered.entries, stats().depth, stats().depth_bytes), (3, 3, 3 * line));
    // The batch begins with what the store has, for a store that lost its last moments.
    let batch = journal.next(3).unwrap().unwrap();
    assert_eq!(said(&batch.proposals), ["a 1", "a 2", "a 3"]);
    assert_eq!(stats().lag.as_secs(), 97, "of the first that counts");
    journal.done(&batch);
    assert_eq!((stats().depth, stats().depth_bytes), (2, 2 * line));
}
