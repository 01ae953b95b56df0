//! What operators do: over what happens by itself, and against each other.

use breaker::Attribution;

use super::*;

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
