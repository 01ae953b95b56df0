//! What goes when the journal has reached its limit, and what stays.

use super::*;

/// Proposals as they are in each attempt: whether they were sent before is another thing.
fn of_any_attempt(proposals: &[Proposal]) -> Vec<Proposal> {
    let unsent = |proposal: &Proposal| {
        let mut proposal = proposal.clone();
        proposal.decided_in.was_sent = false;
        proposal
    };
    proposals.iter().map(unsent).collect()
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
    assert_eq!(of_any_attempt(&all[..1]), of_any_attempt(&sent.proposals[..1]));
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
    assert_eq!(of_any_attempt(&journal.next(3).unwrap().unwrap().proposals), of_any_attempt(&sent));
    drop(journal);
    let (journal, _) = bench.open(2);
    let all = drain(&journal);
    let at = all.iter().position(|proposal| proposal.id == sent[0].id).expect("it is there after a restart");
    assert_eq!(of_any_attempt(&all[at..at + sent.len()]), of_any_attempt(&sent));
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
