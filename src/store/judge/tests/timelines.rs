//! What becomes of what was decided before the store went back.

use super::*;
use crate::protocol_rules::without;

/// The timeline of the store.
const PRESENT: u32 = 7;

/// A trip of the timeline before, of epoch 4 and with a wait of 12 s, that was decided so many seconds ago.
fn trip(age: u64) -> Proposal {
    let mut trip = transition(State::Closed, State::Open, 4);
    trip.after.wait = Some(Duration::from_secs(12));
    let age = Duration::from_secs(age);
    Proposal { age, decided_in: DecidedIn::timeline(1), ..numbered_by_store(trip) }
}

fn taken_up(to: State, epoch: u64) -> Proposal {
    let restart = Transition { reason: Reason::Restart, ..transition(State::Closed, to, epoch - 1) };
    let decided_in = DecidedIn { taken_up: Some(epoch), ..DecidedIn::timeline(PRESENT) };
    Proposal { id: id(2), decided_in, ..numbered_by_store(restart) }
}

/// A row in the new timeline, which stands for an epoch of before.
fn row(state: State, epoch: u64, reconciled: Option<u64>) -> BreakerState {
    BreakerState { is_stored: true, snapshot: snapshot(state, epoch), reconciled, ..BreakerState::pristine() }
}

/// What becomes of a batch where there is such a row.
fn judged_in_present(batch: &[Proposal], row: BreakerState) -> Judgement<'_> {
    let present = BTreeMap::from([(&batch[0].key, row)]);
    judge(batch, LockedRows { timeline: Some(PRESENT), present, ..LockedRows::default() }, at(30))
}

/// The row after it; none: it is in the history, and changes nothing.
fn after(proposal: Proposal, row: BreakerState) -> Option<BreakerState> {
    let batch = [proposal];
    let judgement = judged_in_present(&batch, row);
    let [entry] = judgement.entries.as_slice() else { panic!("{:?}", judgement.entries) };
    let changed = judgement.changed.values().next().cloned();
    assert_eq!(entry.superseded_by.is_some(), changed.is_none());
    changed
}

#[test]
fn an_unanswered_trip_opens_a_new_timeline_for_what_is_left_of_its_wait() {
    let closed = || row(State::Closed, 4, Some(4));
    let open = after(trip(8), closed()).unwrap();
    assert_eq!((open.snapshot.state, open.snapshot.epoch), (State::Open, 5));
    assert_eq!(open.snapshot.open_until(), Some(at(34)), "12 s from when it was decided, 8 s ago");
    assert_eq!(open.reconciled, Some(4), "a later state of before stands over it");
    assert!(after(trip(12), closed()).is_none(), "nothing is left");
    // It is not longer for a state that was taken up in between.
    let taken_up = BreakerState {
        snapshot: Snapshot { entered_at: at(29), ..snapshot(State::Closed, 2) },
        ..row(State::Closed, 2, Some(4))
    };
    assert_eq!(after(trip(8), taken_up).unwrap().snapshot.open_until(), Some(at(34)));
    // A breaker of which the store lost all.
    let batch = [trip(8)];
    let rows = LockedRows { timeline: Some(PRESENT), ..LockedRows::default() };
    assert_eq!(changed(&judge(&batch, rows, at(30))).map(|open| open.epoch), Some(1));
    let left_out = || without(Some(Rule::UnansweredTripOpens), || after(trip(8), closed()));
    assert!(left_out().is_none());
}

#[test]
fn an_answered_trip_opens_no_new_timeline() {
    let mut repeated = trip(8);
    repeated.decided_in.is_repeat = true;
    assert!(after(repeated, row(State::Closed, 4, Some(4))).is_none());
    // Nor does what is not a trip.
    let half_open = Transition { from: State::HalfOpen, ..transition(State::HalfOpen, State::Open, 4) };
    let half_open = Proposal { decided_in: DecidedIn::timeline(1), ..numbered_by_store(half_open) };
    assert!(after(half_open, row(State::Closed, 4, Some(4))).is_none());
    let mut state_of_before = taken_up(State::Open, 5);
    state_of_before.decided_in.timeline = Some(1);
    assert!(after(state_of_before, row(State::Closed, 4, Some(4))).is_none());
}

#[test]
fn an_unanswered_trip_opens_only_what_knows_nothing_later() {
    let opens = |state, reconciled| after(trip(8), row(state, 9, reconciled)).is_some();
    assert!(opens(State::Closed, Some(4)) && opens(State::Closed, Some(3)));
    assert!(!opens(State::Closed, Some(5)), "a later state of before");
    assert!(!opens(State::Closed, None), "something came in the new timeline");
    for state in [State::Open, State::HalfOpen] {
        assert!(opens(state, Some(3)), "{state}, and the store has lost that it was closed");
        assert!(!opens(state, Some(4)), "{state}");
    }
    for state in [State::ForcedOpen, State::Disabled, State::MetricsOnly] {
        assert!(!opens(state, Some(3)), "{state}");
    }
}

#[test]
fn a_later_state_of_before_comes_over_a_trip_that_opened_and_an_earlier_one_does_not() {
    let stands = |state, epoch| {
        let batch = [trip(8), taken_up(state, epoch)];
        changed(&judged_in_present(&batch, row(State::Closed, 2, Some(2)))).map(|row| (row.state, row.epoch))
    };
    assert_eq!(stands(State::Closed, 4), Some((State::Open, 3)), "the one that it left");
    assert_eq!(stands(State::Closed, 5), Some((State::Closed, 4)), "a store had that");
    assert_eq!(stands(State::Open, 7), Some((State::Open, 4)));
}
