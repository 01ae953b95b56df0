mod acts;
mod gaps;
mod history;
mod timelines;
mod times;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, Override, OverrideKind, Scope, Stats};

use super::*;
use crate::store::{Answer, DecidedIn, Gap, GapCause, TransitionId};

/// Midnight of a day; all that happens here happens on it.
const DAY: u64 = 20_000;
const MIDNIGHT: Time = Time::from_micros(DAY * 86_400_000_000);

fn at(seconds: u64) -> Time {
    MIDNIGHT + Duration::from_secs(seconds)
}

fn key(name: &str) -> Key {
    Key::new("payments", name).unwrap()
}

fn id(seq: u64) -> TransitionId {
    TransitionId { replica: Arc::from("replica-1"), boot: 1, seq }
}

fn snapshot(state: State, epoch: u64) -> Snapshot {
    Snapshot { epoch, state, entered_at: at(0), ..Snapshot::pristine() }
}

fn set_by(scope: Scope) -> Override {
    let kind = OverrideKind::ForcedOpen;
    let (actor, reason) = ("ann".to_owned(), "a drill".to_owned());
    Override { kind, scope, expires_at: Some(at(900)), ttl: None, actor, reason }
}

/// The one transition that leaves `base_epoch`, ten seconds after midnight.
fn transition(from: State, to: State, base_epoch: u64) -> Transition {
    Transition {
        from,
        reason: Reason::FailureRate,
        stats: Stats { calls: 12, failures: 7, ..Stats::default() },
        base_epoch,
        at: at(10),
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after: Snapshot { entered_at: at(10), open_count: 3, ..snapshot(to, base_epoch + 1) },
        shadow: false,
    }
}

fn proposal(seq: u64, change: Change, numbering: Numbering) -> Proposal {
    let (decided_at, age) = (Time::ZERO, Duration::ZERO);
    Proposal {
        id: id(seq),
        key: key("eu"),
        change,
        numbering,
        store_unavailable: false,
        decided_at,
        service_override: None,
        age,
        decided_in: DecidedIn::default(),
    }
}

fn own(seq: u64, transition: Transition) -> Proposal {
    proposal(seq, Change::Transition(Box::new(transition)), Numbering::Own)
}

fn numbered_by_store(transition: Transition) -> Proposal {
    proposal(1, Change::Transition(Box::new(transition)), Numbering::Store)
}

fn gap(missing: u64, base_epoch: u64, after: Option<Snapshot>) -> Proposal {
    let gap = Gap { lost_transitions: missing, at: at(20), base_epoch, after, cause: GapCause::JournalFull };
    proposal(1, Change::Gap(Box::new(gap)), Numbering::Own)
}

/// What becomes of a batch, half a minute after midnight, where the row of `payments/eu` holds `present`.
fn judged(proposals: &[Proposal], present: Option<Snapshot>) -> Judgement<'_> {
    let state = |snapshot| BreakerState { is_stored: true, snapshot, ..BreakerState::pristine() };
    let present = present.map(|snapshot| (&proposals[0].key, state(snapshot))).into_iter().collect();
    judge(proposals, LockedRows { present, ..LockedRows::default() }, at(30))
}

/// The answer to one proposal, by a transaction of revision 5.
fn answer(proposal: Proposal, present: Snapshot) -> Answer {
    judged(&[proposal], Some(present)).answers(Some(5)).remove(0)
}

fn won(epoch: u64) -> Answer {
    Answer::Won { epoch, revision: 5 }
}

/// The state that the row of `payments/eu` gets; none: it stays as it is.
fn changed(judgement: &Judgement<'_>) -> Option<Snapshot> {
    assert!(judgement.changed.keys().all(|changed| **changed == key("eu")));
    judgement.changed.values().next().map(|state| state.snapshot.clone())
}

#[test]
fn a_change_with_a_higher_number_takes_the_row_as_it_comes() {
    let first = transition(State::Closed, State::Open, 4);
    let batch = [own(1, first.clone())];
    let judgement = judged(&batch, Some(snapshot(State::Closed, 2)));
    assert_eq!(changed(&judgement), Some(first.after.clone()));
    let state = &judgement.changed[&key("eu")];
    assert!(state.is_stored);
    assert_eq!(state.entered_by, Some(first.entered_by()));
    assert_eq!(judgement.receipts, [(&id(1), Some(5))]);
    let [entry] = judgement.entries.as_slice() else { panic!("{:?}", judgement.entries) };
    assert_eq!((entry.from, entry.to, entry.epoch), (State::Closed, State::Open, Some(5)));
    assert_eq!((entry.base_epoch, entry.occurred_at, entry.superseded_by), (4, at(10), None));
    assert_eq!(judgement.answers(Some(5)), [won(5)]);
}

#[test]
fn a_change_of_a_breaker_without_a_row_makes_one() {
    let batch = [own(1, transition(State::Closed, State::Open, 0))];
    let judgement = judged(&batch, None);
    assert!(!judgement.changed[&key("eu")].is_stored);
    assert_eq!(judgement.answers(Some(5)), [won(1)]);
}

#[test]
fn a_change_whose_number_is_not_higher_is_superseded_by_what_stands() {
    for base_epoch in [3, 2] {
        let batch = [own(1, transition(State::Closed, State::Open, base_epoch))];
        let present = snapshot(State::Disabled, 4);
        let judgement = judged(&batch, Some(present.clone()));
        assert_eq!(changed(&judgement), None);
        assert_eq!(judgement.receipts, [(&id(1), None)]);
        assert_eq!((judgement.entries[0].epoch, judgement.entries[0].superseded_by), (None, Some(4)));
        assert_eq!(judgement.answers(Some(5)), [Answer::Lost { present }]);
    }
}

#[test]
fn the_store_numbers_and_times_what_saw_the_state_that_stands() {
    let proposed = transition(State::Closed, State::Open, 4);
    let batch = [numbered_by_store(proposed.clone())];
    let judgement = judged(&batch, Some(snapshot(State::Closed, 4)));
    let next = Snapshot { epoch: 5, entered_at: at(30), ..proposed.after };
    assert_eq!(changed(&judgement), Some(next));
    let entry = &judgement.entries[0];
    assert_eq!((entry.from, entry.to, entry.epoch), (State::Closed, State::Open, Some(5)));
    assert_eq!((entry.base_epoch, entry.occurred_at), (4, at(30)), "when the store heard of it");
    assert_eq!(judgement.answers(Some(5)), [won(5)]);
}

#[test]
fn what_was_decided_alone_happened_when_it_was_decided() {
    let proposed = numbered_by_store(transition(State::Closed, State::Open, 4));
    let batch = [Proposal { store_unavailable: true, ..proposed }];
    let judgement = judged(&batch, Some(snapshot(State::Closed, 4)));
    assert_eq!(judgement.entries[0].occurred_at, at(10));
}

#[test]
fn what_saw_another_state_or_another_epoch_loses_and_is_kept() {
    for present in [snapshot(State::Closed, 5), snapshot(State::Open, 4), snapshot(State::Disabled, 9)] {
        let batch = [numbered_by_store(transition(State::Closed, State::HalfOpen, 4))];
        let judgement = judged(&batch, Some(present.clone()));
        assert_eq!(changed(&judgement), None);
        assert_eq!(judgement.entries[0].superseded_by, Some(present.epoch));
        assert_eq!(judgement.answers(None), [Answer::Lost { present }]);
    }
}

#[test]
fn the_second_of_two_that_want_the_same_is_forgotten_unless_it_was_decided_alone() {
    let second = numbered_by_store(transition(State::Closed, State::Open, 4));
    let superseded = |proposal: &Proposal, present| {
        let batch = std::slice::from_ref(proposal);
        let judgement = judged(batch, Some(present));
        assert_eq!(changed(&judgement), None);
        judgement.entries.first().map(|entry| entry.superseded_by)
    };
    let same = snapshot(State::Open, 5);
    assert_eq!(superseded(&second, same.clone()), None);
    // The same state at another epoch, and another state at that epoch, are not what it wanted.
    assert_eq!(superseded(&second, snapshot(State::Open, 6)), Some(Some(6)));
    assert_eq!(superseded(&second, snapshot(State::Disabled, 5)), Some(Some(5)));
    assert_eq!(superseded(&Proposal { store_unavailable: true, ..second }, same), Some(Some(5)));
}

/// What stood on a branch of a replica that was alone.
#[test]
fn what_was_decided_alone_takes_a_row_only_as_open_over_the_closed_that_it_began_at() {
    let decided = |from, to, present: Snapshot| {
        let mut made = transition(from, to, 4);
        made.after.wait = (to == State::Open).then_some(Duration::from_secs(12));
        let age = Duration::from_secs(5);
        let batch = [Proposal { store_unavailable: true, age, ..numbered_by_store(made) }];
        let judgement = judged(&batch, Some(present));
        assert_eq!(judgement.entries.len(), 1, "it is in the history in any case");
        changed(&judgement).map(|row| (row.state, row.epoch))
    };
    let (closed, open, half_open) = (State::Closed, State::Open, State::HalfOpen);
    // The row that it stood over is as it was, and all the same these change nothing.
    assert_eq!(decided(open, half_open, snapshot(open, 4)), None);
    assert_eq!(decided(half_open, closed, snapshot(half_open, 4)), None);
    assert_eq!(decided(half_open, open, snapshot(half_open, 4)), None);
    assert_eq!(decided(half_open, half_open, snapshot(half_open, 4)), None);
    // A trip that no store had answered was the first of it.
    assert_eq!(decided(half_open, open, snapshot(closed, 4)), Some((open, 5)));
    assert_eq!(decided(half_open, open, snapshot(closed, 6)), None);
    assert_eq!(decided(half_open, closed, snapshot(closed, 4)), None);
}

#[test]
fn a_shadow_is_in_the_history_and_changes_no_row() {
    let after = Snapshot { entered_at: at(10), ..snapshot(State::MetricsOnly, 4) };
    let shadow = Transition { shadow: true, after, ..transition(State::MetricsOnly, State::Open, 4) };
    let batch = [own(1, shadow)];
    // Also where the row has gone on.
    let judgement = judged(&batch, Some(snapshot(State::Closed, 9)));
    assert_eq!(changed(&judgement), None);
    let [entry] = judgement.entries.as_slice() else { panic!("{:?}", judgement.entries) };
    assert_eq!((entry.from, entry.to), (State::MetricsOnly, State::Open));
    assert_eq!((entry.epoch, entry.base_epoch, entry.superseded_by), (None, 4, None));
    assert_eq!((entry.occurred_at, entry.lasted), (at(10), None));
    assert_eq!(judgement.receipts, [(&id(1), Some(4))]);
    assert_eq!(judgement.answers(Some(5)), [won(4)]);
}

#[test]
fn a_later_change_of_a_batch_meets_what_an_earlier_one_left() {
    let batch = [
        own(1, transition(State::Closed, State::Open, 0)),
        Proposal { key: key("us"), ..own(2, transition(State::Closed, State::Open, 8)) },
        own(3, transition(State::Open, State::HalfOpen, 1)),
        own(4, transition(State::Closed, State::Open, 0)),
    ];
    let judgement = judge(&batch, LockedRows::default(), at(30));
    let epochs: Vec<_> = judgement.entries.iter().map(|entry| entry.epoch).collect();
    assert_eq!(epochs, [Some(1), Some(9), Some(2), None]);
    let changed: Vec<_> =
        judgement.changed.iter().map(|(key, state)| (key.to_string(), state.snapshot.epoch)).collect();
    assert_eq!(changed, [("payments/eu".to_owned(), 2), ("payments/us".to_owned(), 9)]);
    let present = Snapshot { epoch: 2, ..transition(State::Open, State::HalfOpen, 1).after };
    assert_eq!(judgement.answers(Some(5)), [won(1), won(9), won(2), Answer::Lost { present }]);
}

#[test]
fn a_change_that_is_known_gets_its_first_answer_and_is_not_written_again() {
    let batch = [
        own(1, transition(State::Closed, State::Open, 4)),
        own(2, transition(State::Closed, State::Open, 5)),
        own(3, transition(State::Closed, State::Open, 6)),
        own(3, transition(State::Closed, State::Open, 6)),
    ];
    let first = Receipt::Won { epoch: 3, revision: RowRevision::At(2) };
    let known = [(&batch[0].id, first), (&batch[1].id, Receipt::Lost)].into_iter().collect();
    let judgement = judge(&batch, LockedRows { known, ..LockedRows::default() }, at(30));
    assert_eq!(judgement.entries.len(), 1);
    assert_eq!(judgement.receipts, [(&id(3), Some(7))]);
    assert_eq!(
        judgement.answers(Some(5)),
        [
            Answer::Won { epoch: 3, revision: 2 },
            Answer::Lost { present: Snapshot::pristine() },
            won(7),
            won(7)
        ]
    );
}
