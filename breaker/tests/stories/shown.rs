//! What a breaker says of itself, beside its state.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use breaker::{
    ActiveOverride, Attribution, Breaker, CallerId, Identity, Numbering, Outcome, Override, OverrideKind,
    Report, Scope, Snapshot, State, Stats, Ticket, Time, WallOffset,
};

use crate::thresholds::thresholds;

const START: Time = Time::from_micros(1_000_000_000_000_000);

fn identity() -> Identity {
    Identity {
        key_hash: 7,
        salt: 1,
        first_number: 0,
        numbering: Numbering::Own,
        stagger: Duration::ZERO,
        wall: WallOffset::ZERO,
    }
}

fn after(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

#[test]
fn a_state_is_kept_with_the_revision_it_was_entered_under() {
    let mut breaker = Breaker::new(thresholds("failure_threshold 1"), 7, identity(), START);
    assert_eq!((breaker.config_revision(), breaker.snapshot().config_revision), (7, 7));
    breaker.set_thresholds(thresholds("failure_threshold 2"), 9, START);
    assert_eq!((breaker.config_revision(), breaker.snapshot().config_revision), (9, 7));
    for _ in 0..2 {
        breaker.record(Ticket::Bare { epoch: None }, &Report::plain(Outcome::Failure), START);
    }
    assert_eq!((breaker.state(), breaker.snapshot().config_revision), (State::Open, 9));
    // Equal thresholds of a later revision are of that revision.
    breaker.set_thresholds(thresholds("failure_threshold 2"), 10, START);
    assert_eq!(breaker.config_revision(), 10);
}

#[test]
fn a_breaker_says_how_far_it_knows_the_wall_clock_to_be_ahead() {
    let mut breaker = Breaker::new(thresholds(""), 0, identity(), START);
    assert_eq!(breaker.wall_offset(), WallOffset::ZERO);
    breaker.set_wall_offset(WallOffset::from_micros(-5), START);
    assert_eq!(breaker.wall_offset(), WallOffset::from_micros(-5));
}

#[test]
fn a_breaker_says_which_thresholds_it_is_judged_by() {
    let given = thresholds("failure_threshold 3");
    let breaker = Breaker::new(Arc::clone(&given), 0, identity(), START);
    assert!(Arc::ptr_eq(breaker.thresholds(), &given));
}

#[test]
fn half_open_shows_the_runs_of_its_probes() {
    let open = Snapshot { epoch: 1, state: State::Open, entered_at: START, ..Snapshot::pristine() };
    let settings = thresholds("permitted_number_of_calls_in_half_open_state 9, success_threshold 5");
    let mut breaker = Breaker::restore(settings, 0, identity(), open, START);
    let stats = |breaker: &mut Breaker, outcomes: &[Outcome]| {
        for outcome in outcomes {
            let pass = breaker.allow(after(60)).0.pass.unwrap();
            breaker.record(Ticket::Own(pass), &Report::plain(*outcome), after(60));
        }
        let Stats { consecutive_failures, consecutive_successes, calls, failures, .. } =
            breaker.view(after(60)).stats;
        (consecutive_failures, consecutive_successes, calls, failures)
    };
    let (failed, succeeded) = (Outcome::Failure, Outcome::Success);
    assert_eq!(stats(&mut breaker, &[failed, failed]), (2, 0, 2, 2));
    assert_eq!(stats(&mut breaker, &[succeeded, succeeded]), (0, 2, 4, 2));
    assert_eq!(stats(&mut breaker, &[failed]), (1, 0, 5, 3));
}

#[test]
fn rates_are_judged_once_the_window_holds_the_minimum_number_of_calls() {
    let settings = thresholds("failure_rate_threshold 100, minimum_number_of_calls 3, failure_threshold 4");
    let mut breaker = Breaker::new(settings, 0, identity(), START);
    let mut judged_after = |outcome| {
        breaker.record(Ticket::Bare { epoch: None }, &Report::plain(outcome), START);
        let view = breaker.view(START);
        (view.snapshot.state, view.stats.calls, view.rates_judged)
    };
    assert_eq!(judged_after(Outcome::Success), (State::Closed, 1, false));
    assert_eq!(judged_after(Outcome::Failure), (State::Closed, 2, false));
    assert_eq!(judged_after(Outcome::Failure), (State::Closed, 3, true));
    judged_after(Outcome::Failure);
    // OPEN shows what was counted when it opened, and judges nothing.
    assert_eq!(judged_after(Outcome::Failure), (State::Open, 5, false));
}

#[test]
fn a_trip_says_how_many_callers_it_took() {
    let tripped = |settings: &str| {
        let mut breaker = Breaker::new(thresholds(settings), 0, identity(), START);
        let mut transitions = (1..=3).flat_map(|caller| {
            let failure = Report { caller: CallerId(caller), ..Report::plain(Outcome::Failure) };
            breaker.record(Ticket::Bare { epoch: None }, &failure, START).1
        });
        transitions.next().map(|transition| transition.stats.reporters)
    };
    assert_eq!(tripped("failure_threshold 2, minimum_reporters 2"), Some(2));
    assert_eq!(
        tripped("failure_threshold 3, minimum_reporters 2"),
        Some(2),
        "of those there were, as many as it took"
    );
    assert_eq!(tripped("failure_threshold 3, minimum_reporters 4"), None);
    assert_eq!(tripped("failure_threshold 3"), Some(0), "nobody counted them");
}

#[test]
fn a_trip_that_metrics_only_kept_from_happening_says_how_many_callers_it_took() {
    let settings = thresholds("failure_threshold 2, minimum_reporters 2");
    let mut breaker = Breaker::new(settings, 0, identity(), START);
    breaker.set_override(metrics_only(), START);
    let transitions = [1, 2].map(|caller| {
        let failure = Report { caller: CallerId(caller), ..Report::plain(Outcome::Failure) };
        breaker.record(Ticket::Bare { epoch: None }, &failure, START).1
    });
    assert!(transitions[0].is_empty());
    assert_eq!((transitions[1][0].shadow, transitions[1][0].stats.reporters), (true, 2));
}

fn metrics_only() -> Override {
    let (kind, scope) = (OverrideKind::MetricsOnly, Scope::Breaker);
    let (actor, reason) = ("ann".to_owned(), "a drill".to_owned());
    Override { kind, scope, expires_at: None, ttl: None, actor, reason }
}

#[test]
fn metrics_only_would_deny_for_the_wait_that_the_trip_would_have_drawn() {
    let settings = thresholds("failure_threshold 1, randomization_factor 0.9");
    let mut breaker = Breaker::new(Arc::clone(&settings), 0, identity(), START);
    breaker.set_override(metrics_only(), START);
    breaker.record(Ticket::Bare { epoch: None }, &Report::plain(Outcome::Failure), START);
    // The counts are below the trip again, so that only the wait denies.
    breaker.record(Ticket::Bare { epoch: None }, &Report::plain(Outcome::Success), START);
    let next = Snapshot { epoch: 2, state: State::Open, open_count: 1, ..Snapshot::pristine() };
    let until = START + next.wait_under(&settings, identity().key_hash).unwrap();
    assert!(breaker.allow(until - Duration::from_micros(1)).0.would_deny);
    assert!(!breaker.allow(until).0.would_deny);
}

#[test]
fn every_probe_of_every_life_of_the_process_can_be_told_from_the_others() {
    let mut nonces = HashSet::new();
    // As random as those of four processes.
    let golden = 0x9e37_79b9_7f4a_7c15_u64;
    for salt in (1..=4).map(|life| golden.wrapping_mul(life)) {
        let open = Snapshot { epoch: 1, state: State::Open, entered_at: START, ..Snapshot::pristine() };
        let settings = thresholds("permitted_number_of_calls_in_half_open_state 50");
        let mut breaker = Breaker::restore(settings, 0, Identity { salt, ..identity() }, open, START);
        for _ in 0..50 {
            nonces.insert(breaker.allow(after(60)).0.pass.unwrap().probe.unwrap().nonce);
        }
    }
    assert_eq!(nonces.len(), 4 * 50);
}

#[test]
fn an_operation_that_the_state_does_not_allow_says_which_would() {
    let ann = || Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
    let mut breaker = Breaker::new(thresholds(""), 0, identity(), START);
    let refused = breaker.probe(ann(), START).0.unwrap_err();
    assert_eq!(refused.to_string(), "breaker is CLOSED: operation requires OPEN");
    let refused = breaker.clear_override(ann(), START).0.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "breaker is CLOSED: operation requires FORCED_OPEN, DISABLED or METRICS_ONLY"
    );
    let service = Override { scope: Scope::Service, ..metrics_only() };
    let service = ActiveOverride::new(service, WallOffset::ZERO, START);
    breaker.set_service_override(Some(Arc::new(service)), &ann(), START);
    let refused = breaker.clear_override(ann(), START).0.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "breaker is METRICS_ONLY: operation requires an override of the breaker itself"
    );
    let refused = breaker.reset(ann(), START).0.unwrap_err();
    assert_eq!(refused.to_string(), "breaker is METRICS_ONLY: operation requires no service-wide override");
}

#[test]
fn an_override_of_the_breaker_is_told_from_that_of_its_service() {
    let ann = Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
    let mut breaker = Breaker::new(thresholds(""), 0, identity(), START);
    assert!(!breaker.has_own_override());
    let service = Override { scope: Scope::Service, ..metrics_only() };
    let service = ActiveOverride::new(service, WallOffset::ZERO, START);
    breaker.set_service_override(Some(Arc::new(service)), &ann, START);
    assert!(!breaker.has_own_override());
    breaker.set_override(metrics_only(), START);
    assert!(breaker.has_own_override());
}
