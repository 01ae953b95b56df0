//! When a segment is closed, and which go when there is too much.

use super::*;

/// Segments of two lines each, with `entries` of one breaker, and no limit yet.
fn pairs(bench: &Bench, entries: u64) -> Journal {
    let (journal, _) = bench.open(1);
    for epoch in 1..=entries {
        append(&journal, "a", epoch);
        keep_up(&journal);
    }
    journal
}

fn of_pairs() -> Bench {
    Bench::sized(|sizes| sizes.segment_bytes = line_bytes() * 3 / 2)
}

#[test]
fn a_segment_is_closed_when_it_is_large_enough() {
    let bench = of_pairs();
    let journal = pairs(&bench, 1);
    assert_eq!(bench.files().len(), 1);
    append(&journal, "a", 2);
    keep_up(&journal);
    assert_eq!(bench.files().len(), 2);
}

#[test]
fn a_segment_is_closed_when_the_store_has_had_all_of_it_for_ten_minutes() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    let closed = || journal.log.lock().closed.len();
    // Nothing in it, however old.
    bench.clock.advance(Duration::from_mins(11));
    keep_up(&journal);
    assert_eq!(closed(), 0);
    append(&journal, "a", 1);
    keep_up(&journal);
    assert_eq!(closed(), 0, "the store does not have it");
    drain(&journal);
    keep_up(&journal);
    assert_eq!(closed(), 1);
    append(&journal, "a", 2);
    drain(&journal);
    bench.clock.advance(Duration::from_mins(9));
    keep_up(&journal);
    assert_eq!(journal.tail.lock().active.segment.records, 1, "it was begun nine minutes ago");
}

#[test]
fn no_more_of_what_the_store_has_goes_for_room_than_must() {
    let bench = of_pairs();
    let mut journal = pairs(&bench, 8);
    drain(&journal);
    assert_eq!(journal.log.lock().closed.len(), 4);
    let bytes = journal.stats(START).bytes;
    let first = journal.log.lock().closed[0].bytes;
    for (bytes_max, left) in [(bytes, 4), (bytes - 1, 3), (bytes - first, 3), (bytes - first - 1, 2)] {
        journal.sizes.bytes_max = bytes_max;
        keep_up(&journal);
        assert_eq!(journal.log.lock().closed.len(), left, "{bytes_max}");
    }
}

/// An eighth of the limit is made room for beyond what must go, so that it is not met again at once.
#[test]
fn as_much_history_goes_for_room_as_must_and_an_eighth_of_the_limit() {
    let bench = of_pairs();
    let mut journal = pairs(&bench, 40);
    let (bytes, line) = (journal.stats(START).bytes, line_bytes());
    let logged = Logged::start();
    journal.sizes.bytes_max = bytes;
    keep_up(&journal);
    assert_eq!((journal.stats(START).dropped, logged.count("journal is at its limit")), (0, 0));
    // Four lines must go, and four and a half for the eighth: five segments of two.
    journal.sizes.bytes_max = bytes - 4 * line;
    keep_up(&journal);
    assert_eq!((journal.stats(START).dropped, logged.count("journal is at its limit")), (10, 1));
    assert_eq!(journal.stats(START).depth, 31);
}

#[test]
fn records_of_breakers_of_their_own_are_merged_without_a_loss_and_without_a_word() {
    let bench = of_pairs();
    let (mut journal, _) = bench.open(1);
    for number in 0..20 {
        append(&journal, &format!("b{number}"), 1);
        keep_up(&journal);
    }
    let logged = Logged::start();
    journal.sizes.bytes_max = journal.stats(START).bytes / 2;
    keep_up(&journal);
    assert!(journal.log.lock().closed.iter().any(|segment| segment.is_merged));
    assert_eq!((journal.stats(START).dropped, logged.count("journal is at its limit")), (0, 0));
    assert_eq!(drain(&journal).len(), 20);
}
