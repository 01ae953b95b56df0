//! What a start finds: after a clean end, after a crash, and in files that are damaged or of another version.

use breaker::{EarlierAnswer, Override, OverrideKind, Scope};

use super::*;

#[test]
fn what_the_store_does_not_have_is_there_after_a_crash() {
    let bench = Bench::new();
    let (journal, recovered) = bench.open(1);
    assert!(recovered.states.is_empty());
    for epoch in 1..=5 {
        append(&journal, "a", epoch);
    }
    let batch = journal.next(2).unwrap().unwrap();
    drop(journal);
    let (journal, recovered) = bench.open(2);
    assert_eq!((states(&recovered), recovered.entries), (named(&[("a", 5)]), 5));
    append(&journal, "b", 1);
    let all = drain(&journal);
    assert_eq!(said(&all), ["a 1", "a 2", "a 3", "a 4", "a 5", "b 1"]);
    assert_eq!(all[0].id, batch.proposals[0].id, "the ids are those of the life that made them");
    journal.close();
    drop(journal);
    let (journal, recovered) = bench.open(3);
    assert_eq!((recovered.entries, journal.stats(START).depth), (0, 0), "the store has everything");
    // It is sent once more, in case that the store lost its last moments, and knows it by its ids.
    assert_eq!(drain(&journal).len(), 6);
}

#[test]
fn what_the_store_has_of_a_segment_is_not_read_once_more() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    for epoch in 1..=6 {
        append(&journal, "a", epoch);
    }
    let first = journal.next(3).unwrap().unwrap();
    assert_eq!(said(&first.proposals), ["a 1", "a 2", "a 3"]);
    journal.done(&first);
    // So that what was read can be damaged by now.
    let [file] = bench.files().try_into().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    bytes[0] ^= 1;
    fs::write(&file, bytes).unwrap();
    assert_eq!(said(&drain(&journal)), ["a 4", "a 5", "a 6"]);
}

/// What is left when the process dies is counted as the store has it, and sent again all the same.
#[test]
fn after_a_crash_only_what_the_store_has_not_acknowledged_counts() {
    let bench = Bench::new();
    {
        let (journal, _) = bench.open(1);
        for epoch in 1..=3 {
            append(&journal, "a", epoch);
        }
        drain(&journal);
    }
    bench.clock.advance(Duration::from_mins(5));
    {
        let (journal, recovered) = bench.open(2);
        let JournalStats { depth, depth_bytes, lag, .. } = journal.stats(bench.clock.now());
        assert_eq!((recovered.entries, depth, depth_bytes, lag), (0, 0, 0, Duration::ZERO));
        assert_eq!(drain(&journal).len(), 3, "the store may have lost them since");
        append(&journal, "b", 1);
        append(&journal, "b", 2);
        let batch = journal.next(1).unwrap().unwrap();
        journal.done(&batch);
        assert_eq!(journal.stats(bench.clock.now()).depth, 1);
    }
    bench.clock.advance(Duration::from_mins(1));
    let (journal, recovered) = bench.open(3);
    let stats = journal.stats(bench.clock.now());
    assert_eq!((recovered.entries, stats.depth), (1, 1));
    assert!(stats.depth_bytes > 0);
    let batch = journal.next(3).unwrap().unwrap();
    assert_eq!(batch.proposals.len(), 3);
    journal.done(&batch);
    assert_eq!(journal.stats(bench.clock.now()).depth, 1, "those were acknowledged before");
    drain(&journal);
    let stats = journal.stats(bench.clock.now());
    assert_eq!((stats.depth, stats.depth_bytes), (0, 0));
}

#[test]
fn a_mark_that_says_nothing_or_cannot_be_written_counts_everything() {
    let bench = Bench::new();
    {
        let (journal, _) = bench.open(1);
        append(&journal, "a", 1);
        drain(&journal);
    }
    let mark = bench.folder.path().join("acknowledged");
    for text in ["", "nonsense", "99999999999999999999999 1", "00000000000000000099 00000000000000000001"] {
        fs::write(&mark, text).unwrap();
        assert_eq!(bench.open(2).1.entries, 1, "{text}");
    }
    assert!(!mark.exists(), "a segment of that number may come, and is another");
    bench.disk.fails(io::ErrorKind::StorageFull, usize::MAX);
    let (journal, _) = bench.open(3);
    append(&journal, "b", 1);
    drain(&journal);
    drop(journal);
    assert_eq!(bench.open(4).1.entries, 1);
}

#[test]
fn a_torn_end_and_a_damaged_line_cost_no_other_line() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    for epoch in 1..=3 {
        append(&journal, "a", epoch);
    }
    drop(journal);
    let file = bench.files().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let lines: Vec<_> = text.lines().collect();
    let damaged = lines[1].replace("\"epoch\":2", "\"epoch\":9");
    assert_ne!(damaged, lines[1]);
    fs::write(&file, format!("{}\n{damaged}\n{}\n{}", lines[0], lines[2], &lines[0][..40])).unwrap();
    let logged = Logged::start();
    let (journal, _) = bench.open(2);
    assert_eq!(logged.count("journal line is damaged"), 1, "not the torn one: nobody was told of it");
    assert_eq!(logged.count(&format!("offset={}", lines[0].len() + 1)), 1, "and says where it is");
    assert_eq!(said(&drain(&journal)), ["a 1", "a 3"]);
}

#[test]
fn the_newest_state_of_a_breaker_is_that_of_the_highest_epoch_wherever_it_stands() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 5);
    append(&journal, "a", 4);
    append(&journal, "b", 4);
    append(&journal, "b", 5);
    drop(journal);
    let (_, recovered) = bench.open(2);
    assert_eq!(states(&recovered), named(&[("a", 5), ("b", 5)]));
    let mut lsns: Vec<_> = recovered.states.iter().map(|state| state.lsn).collect();
    lsns.sort_unstable();
    assert_eq!(lsns, [2, 4], "what the store must have before it has all of it");
}

#[test]
fn a_journal_of_an_earlier_version_is_read() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    append(&journal, "a", 2);
    drop(journal);
    let file = bench.files().remove(0);
    let text = fs::read_to_string(&file).unwrap();
    let old = |body: &str| format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()));
    let mut lines: Vec<_> = text.lines().map(|line| old(line.split_once(" 2 ").unwrap().1)).collect();
    // It gave its gaps no id, and named what it had dropped.
    lines.push(old(
        r#"{"entry":{"replica":"","boot":0,"seq":0,"service":"db","name":"b","numbered_by_store":false,"alone":false,"gap":{"missing":4,"at_us":8,"base_epoch":2}}}"#,
    ));
    lines.push(old(r#"{"dropped":[[1,0]]}"#));
    fs::write(&file, lines.concat()).unwrap();
    let (journal, recovered) = bench.open(2);
    assert_eq!(recovered.entries, 3);
    let first = drain(&journal);
    assert_eq!(said(&first), ["a 1", "a 2", "b 0 after 4 lost"]);
    drop(journal);
    let again = drain(&bench.open(3).0);
    assert_eq!(first[2].id, again[2].id, "a gap has one id over restarts");
}

#[test]
fn a_journal_of_a_later_version_is_refused() {
    let bench = Bench::new();
    let body = r#"3 {"entry":{}}"#;
    let line = format!("{:08x} {body}\n", crc32fast::hash(body.as_bytes()));
    fs::write(bench.folder.path().join("000000000001.journal"), line).unwrap();
    let options = JournalOptions {
        replica: "r".into(),
        boot: 1,
        bytes_max: 1 << 20,
        breakers_max: 1,
        clock: Arc::new(bench.clock.clone()),
    };
    let error = Journal::open(bench.folder.path(), options).unwrap_err().to_string();
    assert!(error.contains("later version") && error.contains("000000000001.journal"), "{error}");
}

#[test]
fn a_clean_end_marks_what_the_store_has_and_nothing_else() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    journal.close();
    assert_eq!((bench.bytes("acked"), bench.files().len()), (0, 1), "of nothing there is nothing to mark");
    assert!(bench.files()[0].extension().unwrap() == "journal");
    append(&journal, "a", 1);
    journal.close();
    assert_eq!(bench.bytes("acked"), 0, "the store does not have it");
    drain(&journal);
    journal.close();
    assert!(bench.bytes("acked") > 0);
    assert_eq!(bench.bytes("journal"), 0);
}

#[test]
fn a_clean_end_writes_what_is_in_memory_if_the_disk_works_again() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    bench.disk.fails(io::ErrorKind::Other, 0);
    append(&journal, "a", 1);
    bench.disk.works();
    journal.close();
    drop(journal);
    assert_eq!(states(&bench.open(2).1), named(&[("a", 1)]));
}

#[test]
fn the_age_of_a_change_is_by_the_monotonic_clock_within_a_life_and_by_the_wall_clock_after_it() {
    let bench = Bench::new();
    let age = |journal: &Journal| {
        let batch = journal.next(1).unwrap().unwrap();
        journal.failed();
        journal.age_of(&batch.proposals[0])
    };
    let (journal, _) = bench.open(1);
    append(&journal, "a", 1);
    bench.clock.set_wall(START + Duration::from_hours(2));
    bench.clock.advance(Duration::from_secs(7));
    assert_eq!(age(&journal), Duration::from_secs(7), "the wall clock was set");
    drop(journal);
    let (journal, _) = bench.open(2);
    assert_eq!(age(&journal), Duration::from_hours(2) + Duration::from_secs(7));
    // It was set back while the process was down.
    bench.clock.set_wall(START - Duration::from_hours(1));
    assert_eq!(age(&journal), Duration::ZERO);
}

/// A branch is over with the process that stood on it.
#[test]
fn a_start_looks_at_the_change_that_the_store_has_not_answered_and_not_at_what_was_decided_alone_over_it() {
    let bench = Bench::new();
    let (journal, _) = bench.open(1);
    for (epoch, origin) in [(4, Origin::Own), (5, Origin::Alone), (6, Origin::Alone)] {
        let event = Event {
            key: &key("a"),
            transition: &change(epoch),
            origin,
            numbering: Numbering::Store,
            service_override: None,
            timeline: None,
        };
        TransitionSink::append(&journal, event);
    }
    // Nor at a half-open that entered again in a new timeline, over which the change stands.
    let mut again = super::super::merge::tests::record("a", 7);
    let Change::Transition(transition) = &mut again.change else { panic!("{again:?}") };
    (transition.from, transition.after.state) = (State::HalfOpen, State::HalfOpen);
    journal.keep(Proposal { numbering: Numbering::Store, ..again });
    drop(journal);
    let (_, recovered) = bench.open(2);
    let [unanswered] = &recovered.unanswered[..] else { panic!("{:?}", recovered.unanswered) };
    assert_eq!(unanswered.transition.after.epoch, 4);
}

/// The answer to the outcome was lost at first, and the breaker opened again meanwhile.
#[test]
fn what_an_outcome_decided_is_not_looked_at_behind_a_later_change_that_is_not_answered() {
    let decided = |epoch| Transition { reason: Reason::ProbesSucceeded, ..change(epoch) };
    for (transitions, newest) in [([change(4), decided(2)], 4), ([change(2), decided(3)], 3)] {
        let bench = Bench::new();
        let (journal, _) = bench.open(1);
        for transition in &transitions {
            let event = Event {
                key: &key("a"),
                transition,
                origin: Origin::Own,
                numbering: Numbering::Store,
                service_override: None,
                timeline: None,
            };
            TransitionSink::append(&journal, event);
        }
        drop(journal);
        let (_, recovered) = bench.open(2);
        let [unanswered] = &recovered.unanswered[..] else { panic!("{:?}", recovered.unanswered) };
        assert_eq!(unanswered.transition.after.epoch, newest);
    }
}

/// An act, or what an outcome decided, is written down once the store has it. An emergency stop that it has not answered stands behind.
#[test]
fn what_the_store_had_is_told_from_what_it_has_not_answered() {
    let stop = |epoch| {
        let set_by = Override {
            kind: OverrideKind::ForcedOpen,
            scope: Scope::Breaker,
            expires_at: None,
            ttl: None,
            actor: "ann".to_owned(),
            reason: String::new(),
        };
        let after =
            Snapshot { epoch, state: State::ForcedOpen, set_by: Some(set_by), ..Snapshot::pristine() };
        Transition { from: State::HalfOpen, reason: Reason::OverrideSet, after, ..change(epoch) }
    };
    let decided = |epoch| Transition { reason: Reason::ProbesFailed, from: State::HalfOpen, ..change(epoch) };
    let (missing, given) = (EarlierAnswer::Missing, EarlierAnswer::Given);
    for (transitions, newest) in [
        (vec![(stop(3), given)], (State::ForcedOpen, given)),
        (vec![(stop(3), missing)], (State::ForcedOpen, missing)),
        (vec![(stop(3), missing), (decided(3), given)], (State::ForcedOpen, missing)),
        (vec![(stop(3), given), (decided(5), given)], (State::Open, given)),
        (vec![(stop(3), given), (change(5), missing)], (State::Open, missing)),
    ] {
        let bench = Bench::new();
        let (journal, _) = bench.open(1);
        for (transition, answer) in transitions {
            let entry = super::super::merge::tests::record("a", 1);
            let change = Change::Transition(Box::new(transition));
            let entry = Proposal { numbering: Numbering::Store, change, ..entry };
            if answer == given {
                journal.keep(entry);
            } else {
                journal.write(entry);
            }
        }
        drop(journal);
        let (_, recovered) = bench.open(2);
        let [unanswered] = &recovered.unanswered[..] else { panic!("{:?}", recovered.unanswered) };
        assert_eq!((unanswered.transition.after.state, unanswered.answer), newest);
    }
}
