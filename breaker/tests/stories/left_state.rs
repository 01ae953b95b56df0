//! What a transition says of the state that it left, and of the outcome that caused it.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Breaker, CausingOutcome, Field, Identity, Layer, Numbering, Origin, Outcome, Report, State, Thresholds,
    Ticket, Time, Transition, Value, WallOffset, merge,
};

const START: Time = Time::from_micros(1_000_000_000);
const IDENTITY: Identity = Identity {
    key_hash: 1,
    salt: 2,
    first_number: 3,
    numbering: Numbering::Own,
    stagger: Duration::ZERO,
    wall: WallOffset::ZERO,
};

fn at(seconds: u64) -> Time {
    START + Duration::from_secs(seconds)
}

/// Two failures open it for 10 s.
fn thresholds() -> Arc<Thresholds> {
    let layer = Layer::default()
        .with(Field::FailureThreshold, Value::Count(2))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_secs(10))))
        .unwrap();
    Arc::new(merge(&[(Origin::Api, &layer)]).unwrap().thresholds)
}

fn fail(breaker: &mut Breaker, now: Time, error_class: &str, caller_name: &str) -> Vec<Transition> {
    let report = Report { error_class, caller_name, ..Report::plain(Outcome::Failure) };
    breaker.record(Ticket::Bare { epoch: None }, &report, now).1
}

#[test]
fn a_transition_says_how_long_the_state_before_had_lasted_and_what_was_rejected_in_it() {
    let mut breaker = Breaker::new(thresholds(), 1, IDENTITY, at(0));
    assert_eq!(fail(&mut breaker, at(3), "Refused", "web-1"), []);
    let opened = fail(&mut breaker, at(5), "Timeout", "web-2");
    assert_eq!(opened[0].lasted, Some(Duration::from_secs(5)));
    assert_eq!(opened[0].rejected_calls, 0);
    let outcome = CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-2".to_owned() };
    assert_eq!(opened[0].outcome, Some(outcome));

    for second in 6..9 {
        assert!(breaker.allow(at(second)).0.pass.is_none());
    }
    // Looked at late: HALF_OPEN began when the wait was over.
    let waited = breaker.poll(at(30));
    assert_eq!((waited[0].lasted, waited[0].rejected_calls), (Some(Duration::from_secs(10)), 3));
    assert_eq!(waited[0].outcome, None, "time did it");
}

#[test]
fn a_restart_counts_what_it_left_by_the_times_and_never_below_nothing() {
    let mut breaker = Breaker::new(thresholds(), 1, IDENTITY, at(0));
    fail(&mut breaker, at(3), "", "");
    fail(&mut breaker, at(5), "", "");
    let snapshot = breaker.snapshot();
    assert_eq!(snapshot.state, State::Open);
    // The wall clock went on, or was set back, while nobody ran.
    for (now, lasted) in [(at(100), 10), (at(1), 10)] {
        let mut again = Breaker::restore(thresholds(), 1, IDENTITY, snapshot.clone(), now);
        let waited = again.poll(now + Duration::from_secs(10));
        assert_eq!(waited[0].lasted, Some(Duration::from_secs(lasted)));
    }
}
