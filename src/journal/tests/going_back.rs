//! A store that went back is sent again what it had.

use super::*;

/// The epochs of the next batch, and whether the store had each.
fn next(journal: &Journal) -> Option<(Batch, Vec<(u64, bool)>)> {
    let batch = journal.next(usize::MAX).unwrap()?;
    let epochs = batch.proposals.iter().map(|proposal| {
        let Change::Transition(transition) = &proposal.change else { panic!("{proposal:?}") };
        (transition.after.epoch, proposal.decided_in.is_repeat)
    });
    let epochs = epochs.collect();
    Some((batch, epochs))
}

#[test]
fn what_the_store_had_is_sent_again_before_what_it_lacks() {
    let bench = Bench::sized(|sizes| sizes.batch_entries = 10);
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    drain(&journal);
    append(&journal, "a", 3);
    journal.send_again();
    assert_eq!(journal.stats(START).depth, 1, "what is sent again is not lacking");
    assert_eq!(journal.stored_up_to(), 0, "the store may have nothing of it");
    let (batch, epochs) = next(&journal).unwrap();
    assert_eq!(epochs, [(1, true), (2, true), (3, false)]);
    journal.done(&batch);
    assert!(journal.is_empty() && next(&journal).is_none());
    assert_eq!(journal.stored_up_to(), 3);
}

#[test]
fn an_answer_to_a_batch_from_before_settles_nothing() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    let (batch, _) = next(&journal).unwrap();
    journal.send_again();
    assert!(!journal.settle(&batch, || panic!("nobody is told")));
    assert_eq!(journal.stats(START).depth, 1);
    let (batch, epochs) = next(&journal).unwrap();
    assert_eq!(epochs, [(1, false)]);
    assert!(!journal.settle(&batch, || false), "of a timeline that is over");
    assert_eq!(journal.stats(START).depth, 1);
    let (batch, epochs) = next(&journal).unwrap();
    assert_eq!(epochs, [(1, false)]);
    assert!(journal.done(&batch) && journal.is_empty());
}

#[test]
fn closed_segments_are_sent_again_too_also_after_a_restart() {
    let bench = Bench::sized(|sizes| sizes.batch_entries = 100);
    {
        let (journal, _) = bench.open(1);
        for epoch in 1..=40 {
            append(&journal, "a", epoch);
            drain(&journal);
            journal.keep_up(bench.clock.now(), Removal::NotAsked);
        }
        journal.send_again();
        let (_, epochs) = next(&journal).unwrap();
        assert_eq!(epochs.iter().map(|(epoch, _)| *epoch).collect::<Vec<_>>(), (1..=40).collect::<Vec<_>>());
        assert!(epochs.iter().all(|(_, is_repeat)| *is_repeat));
    }
    let (journal, recovered) = bench.open(2);
    assert_eq!(recovered.entries, 0);
    assert_eq!(next(&journal).unwrap().1.len(), 40);
}

#[test]
fn what_the_store_had_before_it_was_written_down_is_a_repeat() {
    let bench = Bench::sized(|sizes| sizes.batch_entries = 10);
    {
        let (journal, _) = bench.open(1);
        append(&journal, "a", 1);
        journal.keep(super::super::merge::tests::record("a", 2));
        let (_, epochs) = next(&journal).unwrap();
        assert_eq!(epochs, [(1, false), (2, true)]);
    }
    let (journal, _) = bench.open(2);
    let (_, epochs) = next(&journal).unwrap();
    assert_eq!(epochs, [(1, false), (2, true)]);
}

/// Of the next batch, whether each was sent before.
fn sent_before(journal: &Journal) -> Option<(Batch, Vec<bool>)> {
    let batch = journal.next(usize::MAX).unwrap()?;
    let sent = batch.proposals.iter().map(|proposal| proposal.decided_in.was_sent).collect();
    Some((batch, sent))
}

#[test]
fn what_may_have_come_to_the_store_without_an_answer_is_told_from_what_is_new() {
    let bench = Bench::sized(|sizes| sizes.batch_entries = 10);
    {
        let (journal, _) = bench.open(1);
        append(&journal, "a", 1);
        assert_eq!(sent_before(&journal).unwrap().1, [false]);
        // No answer came.
        append(&journal, "a", 2);
        assert_eq!(sent_before(&journal).unwrap().1, [true, false]);
        append(&journal, "a", 3);
    }
    // Which of them the life before sent is not known.
    let (journal, _) = bench.open(2);
    append(&journal, "a", 4);
    let (batch, sent) = sent_before(&journal).unwrap();
    assert_eq!(sent, [true, true, true, false]);
    journal.done(&batch);
    journal.send_again();
    assert_eq!(sent_before(&journal).unwrap().1, [true; 4]);
}

#[test]
fn what_waits_in_memory_was_sent_before_when_no_answer_came() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    append(&journal, "a", 1);
    assert_eq!(sent_before(&journal).unwrap().1, [false]);
    journal.failed();
    append(&journal, "a", 2);
    assert_eq!(sent_before(&journal).unwrap().1, [true, false]);
}
