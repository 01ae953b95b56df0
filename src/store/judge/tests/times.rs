//! What time brings about, by the store's clock.

use super::*;

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
