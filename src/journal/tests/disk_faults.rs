//! Disks that fail, are full, or take half a line.

use super::*;

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
        let proposal = Proposal {
            id,
            key: key(name),
            change,
            numbering: Numbering::Own,
            store_unavailable: false,
            decided_at: Time::ZERO,
            service_override: None,
            age: Duration::ZERO,
            decided_in: crate::store::DecidedIn::default(),
        };
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

/// As above, on a disk that cuts nothing off: what is torn is made a line of its own, which says nothing.
#[test]
fn a_torn_line_that_cannot_be_cut_off_is_closed() {
    let bench = Bench::sized(|sizes| sizes.room_bytes = 0);
    let (journal, _) = bench.open(1);
    bench.disk.keeps_length();
    append(&journal, "a", 1);
    let torn = 30;
    bench.disk.fails(io::ErrorKind::Other, torn);
    append(&journal, "b", 1);
    bench.disk.works();
    // As if the same file were tried again, twice.
    journal.tail.lock().failing = false;
    let whole = bench.bytes("journal") - torn as u64;
    append(&journal, "c", 1);
    append(&journal, "d", 1);
    let active = journal.tail.lock().active.segment.clone();
    assert_eq!((active.bytes, active.records), (bench.bytes("journal"), 3));
    assert_eq!(active.bytes, 3 * whole + torn as u64 + 1);
    drop(journal);
    assert_eq!(states(&bench.open(2).1), named(&[("a", 1), ("c", 1), ("d", 1)]));
}

#[test]
fn a_disk_that_fails_is_said_once_in_the_log() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    let logged = Logged::start();
    for outage in 1..=2 {
        bench.disk.fails(io::ErrorKind::Other, 0);
        for epoch in 1..=3 {
            append(&journal, "a", epoch);
            keep_up(&journal);
        }
        assert_eq!(logged.count("journal write failed"), outage);
        assert_eq!(journal.stats(START).write_errors, outage as u64, "it is not tried at each transition");
        bench.disk.works();
        keep_up(&journal);
        assert_eq!(logged.count("the journal can be written again"), outage);
    }
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
    assert_eq!(stats.depth, stats.in_memory);
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
