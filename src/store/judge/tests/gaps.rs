//! Gaps in the history, and the state behind them.

use super::*;

#[test]
fn the_state_behind_a_gap_takes_the_row_when_it_is_newer() {
    let after = Snapshot { entered_at: at(15), ..snapshot(State::HalfOpen, 6) };
    let batch = [gap(3, 2, Some(after.clone()))];
    let judgement = judged(&batch, Some(snapshot(State::Open, 2)));
    assert_eq!(changed(&judgement), Some(after));
    assert_eq!(judgement.changed[&key("eu")].entered_by, None, "that is among what is missing");
    let entry = &judgement.entries[0];
    assert_eq!((entry.from, entry.to, entry.epoch), (State::Open, State::HalfOpen, Some(6)));
    assert_eq!((entry.base_epoch, entry.occurred_at), (2, at(20)));
    // OPEN had been left by the time that the next state was entered.
    let [open_time] = judgement.open_time.values().collect::<Vec<_>>()[..] else { panic!() };
    assert_eq!((open_time.open_us, open_time.openings), (15_000_000, 1));
    assert_eq!(judgement.answers(Some(5)), [won(6)]);
}

/// Where the store numbers the epochs: what stands after a gap, ten seconds old, with this state behind it.
fn gap_numbered_here(after: Snapshot, present: &Snapshot) -> Option<Snapshot> {
    gap_of(after, present, false)
}

fn gap_of(after: Snapshot, present: &Snapshot, store_unavailable: bool) -> Option<Snapshot> {
    let gap = Proposal { store_unavailable, ..gap(3, 4, Some(after)) };
    let batch = [Proposal { numbering: Numbering::Store, age: Duration::from_secs(10), ..gap }];
    let judgement = judged(&batch, Some(present.clone()));
    assert_eq!(judgement.entries.len(), 1, "it is in the history in any case");
    changed(&judgement)
}

#[test]
fn an_emergency_stop_behind_a_gap_wins_whatever_came_since() {
    let stop = Snapshot { set_by: Some(set_by(Scope::Breaker)), ..snapshot(State::ForcedOpen, 5) };
    for present in [snapshot(State::Closed, 4), snapshot(State::Closed, 9), snapshot(State::HalfOpen, 5)] {
        let stands = gap_numbered_here(stop.clone(), &present).unwrap();
        assert_eq!((stands.state, stands.epoch), (State::ForcedOpen, present.epoch + 1), "{present:?}");
        assert_eq!((stands.set_by, stands.entered_at), (stop.set_by.clone(), at(30)));
    }
}

#[test]
fn a_gap_of_a_replica_lets_no_call_through_again() {
    let open = |wait| Snapshot { wait: Some(Duration::from_secs(wait)), ..snapshot(State::Open, 5) };
    let closed = snapshot(State::Closed, 4);
    let stands = gap_numbered_here(open(11), &closed).unwrap();
    assert_eq!((stands.state, stands.epoch, stands.entered_at), (State::Open, 5, at(20)), "it is 10 s old");
    assert_eq!(gap_numbered_here(open(10), &closed), None, "its wait is over");
    assert_eq!(gap_numbered_here(open(11), &snapshot(State::Closed, 5)), None, "something came between");
    assert_eq!(gap_numbered_here(open(11), &snapshot(State::Disabled, 4)), None);
    let half_open = snapshot(State::HalfOpen, 4);
    assert!(gap_numbered_here(open(11), &half_open).is_some());
    assert_eq!(gap_of(open(11), &half_open, true), None, "others are closing it");
    assert!(gap_of(open(11), &closed, true).is_some());
    for state in [State::Closed, State::HalfOpen, State::Disabled] {
        assert_eq!(gap_numbered_here(snapshot(state, 5), &snapshot(State::Open, 4)), None, "{state}");
    }
}

#[test]
fn a_gap_without_a_newer_state_only_says_that_rows_are_missing() {
    for after in [None, Some(snapshot(State::Closed, 4)), Some(snapshot(State::Closed, 3))] {
        let batch = [gap(3, 2, after)];
        let judgement = judged(&batch, Some(snapshot(State::Closed, 4)));
        assert_eq!(changed(&judgement), None);
        let entry = &judgement.entries[0];
        assert_eq!((entry.from, entry.to, entry.epoch), (State::Closed, State::Closed, None));
        assert_eq!(judgement.answers(Some(5)), [won(2)]);
    }
}

#[test]
fn a_gap_within_an_outage_is_counted_in_the_row_though_its_state_stays() {
    let open = [own(1, transition(State::Closed, State::Open, 0))];
    let current = judged(&open, None).changed.remove(&key("eu")).unwrap();
    let batch = [gap(3, 1, None)];
    let present = [(&batch[0].key, current.clone())].into_iter().collect();
    let judgement = judge(&batch, LockedRows { present, ..LockedRows::default() }, at(30));
    let state = &judgement.changed[&key("eu")];
    assert_eq!(state.snapshot, current.snapshot);
    assert_eq!(state.entered_by, current.entered_by);
    assert_eq!(state.episode.as_ref().unwrap().missing, 3);
    assert!(judgement.open_time.is_empty(), "it has not left OPEN");
}
