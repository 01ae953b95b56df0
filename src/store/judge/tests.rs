mod timelines;

use std::sync::Arc;

use breaker::{Attribution, Override, OverrideKind, Scope, Stats};

use super::super::GapCause;
use super::*;
use crate::store::DecidedIn;

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
fn open_waits_from_when_it_was_decided() {
    let mut proposed = transition(State::Closed, State::Open, 4);
    proposed.after.wait = Some(Duration::from_secs(12));
    let aged =
        |seconds| Proposal { age: Duration::from_secs(seconds), ..numbered_by_store(proposed.clone()) };
    let closed = |since| Snapshot { entered_at: at(since), ..snapshot(State::Closed, 4) };
    let opened = |age, since| {
        let batch = [aged(age)];
        let judgement = judged(&batch, Some(closed(since)));
        let open = changed(&judgement)?;
        assert_eq!(judgement.entries[0].occurred_at, open.entered_at);
        Some((open.entered_at, open.open_until().unwrap()))
    };
    assert_eq!(opened(0, 0), Some((at(30), at(42))));
    assert_eq!(opened(8, 0), Some((at(22), at(34))));
    assert_eq!(opened(8, 25), Some((at(25), at(37))), "not before the state that it left was entered");
    // Nothing is left of the wait: a caller was told of it, and that is all.
    assert_eq!(opened(12, 0), None);
    let batch = [aged(12)];
    let judgement = judged(&batch, Some(closed(0)));
    assert_eq!((judgement.entries[0].epoch, judgement.entries[0].superseded_by), (None, Some(4)));
    assert_eq!(judgement.answers(Some(5)), [Answer::Lost { present: closed(0) }]);
}

#[test]
fn only_open_has_waited_already() {
    let mut forced = transition(State::Open, State::ForcedOpen, 4);
    forced.reason = Reason::OverrideSet;
    let batch = [Proposal { age: Duration::from_hours(1), ..numbered_by_store(forced) }];
    let judgement = judged(&batch, Some(snapshot(State::Open, 4)));
    assert_eq!(changed(&judgement).map(|next| next.entered_at), Some(at(30)));
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

/// An operator's act on the row of epoch 4, which had `from` then.
fn act(reason: Reason, from: State, to: State) -> Proposal {
    numbered_by_store(Transition { reason, ..transition(from, to, 4) })
}

/// What becomes of a proposal where the row holds `present` and the last act was of `act_epoch`.
fn judged_after_act<'a>(proposals: &'a [Proposal], present: &Snapshot, act_epoch: u64) -> Judgement<'a> {
    let snapshot = present.clone();
    let row = BreakerState { is_stored: true, snapshot, act_epoch, ..BreakerState::pristine() };
    let present = [(&proposals[0].key, row)].into_iter().collect();
    judge(proposals, LockedRows { present, ..LockedRows::default() }, at(30))
}

#[test]
fn an_act_beats_what_happened_by_itself_and_loses_if_another_act_came_between() {
    let disabled = Snapshot { set_by: Some(set_by(Scope::Breaker)), ..snapshot(State::Disabled, 7) };
    let present = |reason| match reason {
        Reason::OverrideCleared => disabled.clone(),
        _ => snapshot(State::Open, 7),
    };
    for reason in [Reason::OverrideSet, Reason::OverrideCleared, Reason::Reset, Reason::Deleted] {
        let batch = [act(reason, State::Closed, State::Closed)];
        let judgement = judged_after_act(&batch, &present(reason), 4);
        assert_eq!(changed(&judgement).map(|next| next.epoch), Some(8), "{reason}");
        let row = &judgement.changed[&key("eu")];
        assert_eq!(row.act_epoch, 8, "{reason} is the last act from here on");
        let (entry, from) = (&judgement.entries[0], present(reason).state);
        assert_eq!((entry.from, entry.base_epoch), (from, 7), "what it took the place of");
        let entered_by = row.entered_by.unwrap();
        assert_eq!((entered_by.from, entered_by.reason), (from, reason));

        let judgement = judged_after_act(&batch, &present(reason), 5);
        assert_eq!(changed(&judgement), None, "{reason}");
        assert_eq!(judgement.entries[0].superseded_by, Some(7), "{reason} is kept");
        assert_eq!(judgement.answers(None), [Answer::Lost { present: present(reason) }]);
    }
}

#[test]
fn an_act_that_lost_is_kept_even_if_another_one_did_the_same() {
    let batch = [act(Reason::Reset, State::Open, State::Closed)];
    let judgement = judged_after_act(&batch, &snapshot(State::Closed, 5), 5);
    assert_eq!(judgement.entries[0].superseded_by, Some(5));
}

#[test]
fn forced_open_always_wins() {
    let batch = [act(Reason::OverrideSet, State::Closed, State::ForcedOpen)];
    for (state, act_epoch) in [(State::Closed, 9), (State::Disabled, 9), (State::HalfOpen, 5)] {
        let judgement = judged_after_act(&batch, &snapshot(state, 9), act_epoch);
        assert_eq!(changed(&judgement).map(|next| (next.state, next.epoch)), Some((State::ForcedOpen, 10)));
        assert_eq!(judgement.changed[&key("eu")].act_epoch, 10);
    }
}

#[test]
fn an_override_that_ended_by_itself_cannot_be_cleared() {
    let batch = [act(Reason::OverrideCleared, State::Disabled, State::Closed)];
    let judgement = judged_after_act(&batch, &snapshot(State::Open, 6), 4);
    assert_eq!((changed(&judgement), judgement.entries[0].superseded_by), (None, Some(6)));
}

#[test]
fn of_an_override_of_the_service_the_first_proposal_wins() {
    let set = |kind: OverrideKind| {
        let mut proposed =
            Transition { reason: Reason::OverrideSet, ..transition(State::Closed, kind.into(), 4) };
        proposed.after.set_by = Some(Override { kind, ..set_by(Scope::Service) });
        numbered_by_store(proposed)
    };
    for kind in OverrideKind::ALL {
        let second = Proposal { id: id(2), ..set(*kind) };
        let batch = [set(*kind), second];
        let judgement = judged_after_act(&batch, &snapshot(State::Closed, 4), 0);
        let present = changed(&judgement).unwrap();
        assert_eq!((present.epoch, judgement.changed[&key("eu")].act_epoch), (5, 5), "{kind}");
        assert_eq!(judgement.entries.len(), 1, "once in the history, and not once a replica");
        assert_eq!(judgement.answers(Some(5)), [won(5), Answer::Lost { present }]);
    }
    let cleared = act(Reason::OverrideCleared, State::Disabled, State::Closed);
    let batch = [cleared.clone(), Proposal { id: id(2), ..cleared }];
    let present = Snapshot { set_by: Some(set_by(Scope::Service)), ..snapshot(State::Disabled, 4) };
    let judgement = judged_after_act(&batch, &present, 4);
    assert_eq!((changed(&judgement).map(|next| next.epoch), judgement.entries.len()), (Some(5), 1));
}

/// What becomes of a part of an override of the service, at 30 s, where the service has the one of `revision`, until `ends_at`.
fn judged_part(part: Proposal, present: Snapshot, set: Option<(u64, Option<u64>)>) -> (Option<u64>, usize) {
    let state = BreakerState { is_stored: true, snapshot: present, ..BreakerState::pristine() };
    let mut services = ServiceOverrides::default();
    if let Some((revision, ends_at)) = set {
        services.insert("payments".to_owned(), revision, ends_at.map(at));
    }
    let (batch, eu) = ([part], key("eu"));
    let rows = LockedRows { present: BTreeMap::from([(&eu, state)]), services, ..LockedRows::default() };
    let judgement = judge(&batch, rows, at(30));
    (changed(&judgement).map(|next| next.epoch), judgement.entries.len())
}

#[test]
fn a_part_of_an_override_of_the_service_brings_what_the_service_has_by_now() {
    let set = |kind: OverrideKind, revision| {
        let mut proposed =
            Transition { reason: Reason::OverrideSet, ..transition(State::Closed, kind.into(), 4) };
        proposed.after.set_by = Some(Override { kind, ..set_by(Scope::Service) });
        Proposal { service_override: revision, ..numbered_by_store(proposed) }
    };
    let disabled = |revision| set(OverrideKind::Disabled, Some(revision));
    let closed = || snapshot(State::Closed, 4);
    assert_eq!(judged_part(disabled(7), closed(), Some((7, None))), (Some(5), 1));
    assert_eq!(judged_part(disabled(7), closed(), Some((9, None))), (None, 0), "another one");
    assert_eq!(judged_part(disabled(7), closed(), None), (None, 0), "cleared");
    assert_eq!(judged_part(disabled(7), closed(), Some((7, Some(30)))), (None, 0), "ended");
    assert_eq!(judged_part(disabled(7), closed(), Some((7, Some(31)))), (Some(5), 1));
    let forced = set(OverrideKind::ForcedOpen, Some(7));
    assert_eq!(judged_part(forced, closed(), None), (None, 1), "callers were told of it");
    let unknown = set(OverrideKind::Disabled, None);
    assert_eq!(judged_part(unknown, closed(), None), (Some(5), 1), "an earlier version names no revision");
    let own = Snapshot { set_by: Some(set_by(Scope::Breaker)), ..snapshot(State::Closed, 4) };
    assert_eq!(judged_part(disabled(7), own, Some((7, None))), (None, 0), "the breaker has its own");

    let cleared = act(Reason::OverrideCleared, State::Disabled, State::Closed);
    let cleared = |revision| Proposal { service_override: Some(revision), ..cleared.clone() };
    let held = |scope| Snapshot { set_by: Some(set_by(scope)), ..snapshot(State::Disabled, 4) };
    assert_eq!(judged_part(cleared(0), held(Scope::Service), None), (Some(5), 1));
    assert_eq!(judged_part(cleared(0), held(Scope::Service), Some((8, None))), (None, 0), "set again");
    assert_eq!(judged_part(cleared(0), held(Scope::Service), Some((8, Some(30)))), (Some(5), 1), "ended");
    assert_eq!(judged_part(cleared(0), held(Scope::Breaker), None), (None, 0), "not the service's");
    assert_eq!(judged_part(cleared(0), closed(), None), (None, 0), "there is nothing to clear");
}

#[test]
fn what_happens_by_itself_leaves_the_last_act_as_it_was() {
    let is_timed =
        |reason| matches!(reason, Reason::OverrideExpired | Reason::HalfOpenTimeout | Reason::Idle);
    for reason in Reason::ALL.iter().filter(|reason| !is_act(**reason) && !is_timed(**reason)) {
        let batch = [act(*reason, State::Closed, State::Open)];
        let judgement = judged_after_act(&batch, &snapshot(State::Closed, 4), 3);
        assert_eq!(judgement.changed[&key("eu")].act_epoch, 3, "{reason}");
        // And is compared with the row, whatever came between.
        let judgement = judged_after_act(&batch, &snapshot(State::Closed, 5), 3);
        assert_eq!(changed(&judgement), None, "{reason}");
    }
}

#[test]
fn a_process_alone_takes_note_of_acts_and_no_act_of_its_own_loses() {
    let reset = Transition { reason: Reason::Reset, ..transition(State::Open, State::Closed, 4) };
    let batch = [own(1, reset)];
    let judgement = judged_after_act(&batch, &snapshot(State::Open, 4), 9);
    assert_eq!(judgement.changed[&key("eu")].act_epoch, 5);
    let batch = [gap(3, 4, Some(snapshot(State::Open, 6)))];
    let judgement = judged_after_act(&batch, &snapshot(State::Open, 4), 2);
    assert_eq!(judgement.changed[&key("eu")].act_epoch, 6, "one may be missing");
}

#[test]
fn a_wait_is_over_when_the_stores_clock_says_so() {
    let open = |wait| Snapshot { wait: Some(Duration::from_secs(wait)), ..snapshot(State::Open, 4) };
    let elapsed = Transition { reason: Reason::WaitElapsed, ..transition(State::Open, State::HalfOpen, 4) };
    assert_eq!(answer(numbered_by_store(elapsed.clone()), open(30)), won(5));
    assert_eq!(answer(numbered_by_store(elapsed.clone()), snapshot(State::Open, 4)), won(5), "it has none");
    // Too early: the history has nothing to say of it.
    let batch = [numbered_by_store(elapsed.clone())];
    let judgement = judged(&batch, Some(open(31)));
    assert!(judgement.entries.is_empty());
    assert_eq!(judgement.receipts, [(&id(1), None)]);
    assert_eq!(judgement.answers(None), [Answer::Lost { present: open(31) }]);
    // Who asks for probes does not wait.
    let requested = Transition { reason: Reason::ProbeRequested, ..elapsed };
    assert_eq!(answer(numbered_by_store(requested), open(31)), won(5));
}

/// What becomes of a change that time brings about, half a minute after midnight; none: it came too early, and is forgotten.
fn timed(reason: Reason, present: &Snapshot, first_probe_at: Option<Time>) -> Option<u64> {
    let lasted = Some(Duration::from_secs(20));
    let proposed = Transition { reason, lasted, ..transition(present.state, State::Closed, present.epoch) };
    let batch = [numbered_by_store(proposed)];
    let row = BreakerState {
        is_stored: true,
        snapshot: present.clone(),
        first_probe_at,
        ..BreakerState::pristine()
    };
    let present = [(&batch[0].key, row)].into_iter().collect();
    let judgement = judge(&batch, LockedRows { present, ..LockedRows::default() }, at(30));
    let won = changed(&judgement).map(|next| next.epoch);
    assert_eq!(judgement.entries.is_empty(), won.is_none());
    won
}

#[test]
fn what_comes_too_early_is_forgotten_as_nobody_was_told_of_it() {
    let half_open = Snapshot { entered_at: at(10), ..snapshot(State::HalfOpen, 4) };
    let ends = |to| Transition {
        reason: Reason::HalfOpenTimeout,
        lasted: Some(Duration::from_mins(1)),
        ..transition(State::HalfOpen, to, 4)
    };
    for to in [State::Open, State::Closed] {
        let batch = [numbered_by_store(ends(to))];
        let judgement = judged(&batch, Some(half_open.clone()));
        assert!(changed(&judgement).is_none(), "{to}");
        assert_eq!(judgement.entries.len(), 0, "{to}: it is tried again, and each time would be a row");
    }
}

#[test]
fn what_comes_too_early_or_is_refused_is_kept_if_it_may_have_been_told_of() {
    let open = Snapshot { wait: Some(Duration::from_secs(31)), ..snapshot(State::Open, 4) };
    let elapsed = Transition { reason: Reason::WaitElapsed, ..transition(State::Open, State::HalfOpen, 4) };
    let first = DecidedIn::timeline(1);
    let kept = |proposal: &Proposal, present: &Snapshot, decided_in| {
        let batch = [Proposal { decided_in, ..proposal.clone() }];
        let judgement = judged(&batch, Some(present.clone()));
        assert!(changed(&judgement).is_none(), "the row stays as it is");
        judgement.entries.iter().map(|entry| entry.superseded_by).collect::<Vec<_>>()
    };
    let half_open = numbered_by_store(elapsed);
    let disabled = transition(State::Closed, State::Disabled, 4);
    let part = Transition { reason: Reason::OverrideSet, ..disabled };
    // The service has no such override any more.
    let part = Proposal { service_override: Some(9), ..numbered_by_store(part) };
    let forced = snapshot(State::ForcedOpen, 6);
    for (proposal, present) in [(&half_open, &open), (&part, &snapshot(State::Closed, 4)), (&part, &forced)] {
        assert_eq!(kept(proposal, present, first), [], "{present:?}");
        for sent in [DecidedIn { was_sent: true, ..first }, DecidedIn { is_repeat: true, ..first }] {
            assert_eq!(kept(proposal, present, sent), [Some(present.epoch)], "{present:?}");
        }
    }
    let brought_about = snapshot(State::HalfOpen, 5);
    assert_eq!(kept(&half_open, &brought_about, DecidedIn { was_sent: true, ..first }), []);
}

#[test]
fn an_override_ends_when_the_stores_clock_says_so() {
    let ends = |scope, expires_at: Option<u64>, ttl: Option<u64>| {
        let (expires_at, ttl) = (expires_at.map(at), ttl.map(Duration::from_secs));
        let set_by = Some(Override { expires_at, ttl, ..set_by(scope) });
        let present = Snapshot { set_by, entered_at: at(10), ..snapshot(State::ForcedOpen, 4) };
        timed(Reason::OverrideExpired, &present, None)
    };
    assert_eq!(ends(Scope::Breaker, Some(30), None), Some(5));
    assert_eq!(ends(Scope::Breaker, Some(31), None), None);
    assert_eq!(ends(Scope::Breaker, None, None), None, "it has no end");
    // The replica that set it for a duration had another wall clock.
    assert_eq!(ends(Scope::Breaker, Some(7_200), Some(20)), Some(5));
    assert_eq!(ends(Scope::Breaker, Some(0), Some(21)), None);
    // One of the service may be older than the breaker's state.
    assert_eq!(ends(Scope::Service, Some(30), Some(3_600)), Some(5));
    assert_eq!(ends(Scope::Service, Some(31), Some(1)), None);
}

#[test]
fn a_half_open_times_out_by_the_first_probe_that_the_store_gave() {
    let half_open = |max_wait: Option<u64>| {
        let terms = breaker::HalfOpenTerms {
            permitted: 1,
            failures_to_open: 1,
            slow_to_open: None,
            lease: Duration::from_mins(1),
            max_wait: max_wait.map(Duration::from_secs),
            after_max_wait: breaker::AfterMaxWait::Closed,
        };
        Snapshot { half_open: Some(terms), ..snapshot(State::HalfOpen, 4) }
    };
    let ends = |max_wait, first| timed(Reason::HalfOpenTimeout, &half_open(max_wait), first);
    assert_eq!(ends(Some(20), Some(at(10))), Some(5));
    assert_eq!(ends(Some(20), Some(at(11))), None);
    assert_eq!(ends(Some(20), None), None, "no probe was given");
    assert_eq!(ends(None, Some(at(0))), None);
}

#[test]
fn a_half_open_is_idle_when_it_has_lasted_as_long_for_the_store() {
    let idle = |since| {
        let present = Snapshot { entered_at: at(since), ..snapshot(State::HalfOpen, 4) };
        timed(Reason::Idle, &present, None)
    };
    assert_eq!((idle(10), idle(11)), (Some(5), None));
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

#[test]
fn an_override_of_the_service_is_told_from_one_of_the_breaker() {
    let of_service = |reason, set: Option<Scope>, stood: Option<Scope>| {
        let mut proposed = Transition { reason, ..transition(State::Closed, State::ForcedOpen, 4) };
        proposed.attribution = Some(Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() });
        proposed.after.set_by = set.map(set_by);
        let present = Snapshot { set_by: stood.map(set_by), ..snapshot(State::ForcedOpen, 4) };
        let batch = [own(1, proposed)];
        let judgement = judged(&batch, Some(present));
        let entry = &judgement.entries[0];
        assert_eq!(entry.replaced_expires_at, stood.map(|_| at(900)));
        entry.of_service
    };
    let (breaker, service) = (Some(Scope::Breaker), Some(Scope::Service));
    assert!(of_service(Reason::OverrideSet, service, None));
    assert!(!of_service(Reason::OverrideSet, breaker, None));
    assert!(!of_service(Reason::OverrideSet, breaker, service), "what it replaces does not matter");
    assert!(of_service(Reason::OverrideCleared, None, service));
    assert!(!of_service(Reason::OverrideCleared, None, breaker));
    assert!(!of_service(Reason::OverrideExpired, None, service), "it ends by itself in each breaker");
    let batch = [gap(1, 4, None)];
    assert!(!judged(&batch, None).entries[0].of_service);
}

#[test]
fn time_in_open_adds_up_by_day_and_breaker() {
    let lasted =
        |transition, seconds| Transition { lasted: Some(Duration::from_secs(seconds)), ..transition };
    let us = Proposal { key: key("us"), ..own(4, lasted(transition(State::Open, State::HalfOpen, 1), 7)) };
    let batch = [
        own(1, lasted(transition(State::Open, State::HalfOpen, 1), 3)),
        own(2, transition(State::HalfOpen, State::Open, 2)),
        own(3, lasted(transition(State::Open, State::Closed, 3), 4)),
        us,
    ];
    let judgement = judge(&batch, LockedRows::default(), at(30));
    let open_time: Vec<_> = judgement
        .open_time
        .iter()
        .map(|((day, key), time)| (*day, key.to_string(), time.day, time.open_us, time.openings))
        .collect();
    assert_eq!(
        open_time,
        [
            (DAY, "payments/eu".to_owned(), DAY, 7_000_000, 2),
            (DAY, "payments/us".to_owned(), DAY, 7_000_000, 1)
        ]
    );
}

#[test]
fn an_outage_that_is_over_names_the_row_that_ended_it() {
    let batch = [
        own(1, transition(State::Closed, State::Open, 0)),
        own(2, transition(State::Open, State::HalfOpen, 1)),
        own(3, transition(State::HalfOpen, State::Closed, 2)),
    ];
    let judgement = judged(&batch, None);
    let [(entry, key, ended)] = judgement.ended.as_slice() else { panic!("{:?}", judgement.ended) };
    assert_eq!((*entry, key.to_string()), (2, "payments/eu".to_owned()));
    assert_eq!((ended.episode.epoch, ended.closed_at), (1, Some(at(10))));
    assert_eq!(judgement.changed.values().next().unwrap().episode, None);
    // While it lasts it stands in the row.
    let judgement = judged(&batch[..2], None);
    assert!(judgement.ended.is_empty());
    let episode = judgement.changed.values().next().unwrap().episode.clone().unwrap();
    assert_eq!((episode.epoch, episode.half_open_at_us), (1, Some(at(10).as_micros())));
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

#[test]
fn a_row_of_the_history_says_how_long_the_state_had_lasted() {
    let lasted = |transition| {
        let batch = [own(1, transition)];
        judged(&batch, Some(snapshot(State::Closed, 4))).entries[0].lasted
    };
    let measured = Some(Duration::from_secs(3));
    assert_eq!(
        lasted(Transition { lasted: measured, ..transition(State::Closed, State::Open, 4) }),
        measured
    );
    // By the times of the history, where it follows on what stands.
    assert_eq!(lasted(transition(State::Closed, State::Open, 4)), Some(Duration::from_secs(10)));
    assert_eq!(lasted(transition(State::Closed, State::Open, 5)), None);
}
