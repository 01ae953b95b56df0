//! Permits: what they find, how long they live, and that each counts once.

use super::*;

#[test]
fn a_permit_is_enough_to_find_its_breaker() {
    let (engine, _) = engine();
    let permit = engine.allow("db", "x", at(0)).unwrap().permit;
    let taken = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(0)).unwrap();
    assert_eq!(taken, RecordResult { recorded: Recorded::Recorded, state: State::Open });
    let again = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(0)).unwrap();
    assert_eq!(again, RecordResult { recorded: Recorded::Duplicate, state: State::Open });
    let wrong = Target { service: "db", name: "y", ..by_permit(permit) };
    let wrong = engine.record(wrong, &Report::plain(Outcome::Failure), at(0));
    assert_eq!(wrong, Err(EngineError::OtherBreaker { service: "db".into(), name: "y".into() }));
    let wrong = Target { epoch: Some(1), ..by_permit(permit) };
    let wrong = engine.record(wrong, &Report::plain(Outcome::Failure), at(0));
    assert_eq!(wrong, Err(EngineError::OtherEpoch { permit: 0, given: 1 }));
}

#[test]
fn a_permit_outlives_the_process_that_gave_it() {
    let (before, _) = engine();
    let permit = before.allow("db", "x", at(0)).unwrap().permit;
    let after =
        Engine::new(LIMITS, identity(2), &catalog(&declaration(), 1), Box::new(Kept::default()), at(1));
    let lost = after.record(by_permit(permit), &Report::plain(Outcome::Failure), at(1)).unwrap();
    assert_eq!(lost.recorded, Recorded::NotCounted, "nobody knows the name of the breaker any more");
    let named = Target { service: "db", name: "x", ..by_permit(permit) };
    let taken = after.record(named, &Report::plain(Outcome::Failure), at(1)).unwrap();
    assert_eq!(taken, RecordResult { recorded: Recorded::Recorded, state: State::Open });
    let other_timeline = Permit { timeline: 9, ..permit.unwrap() };
    let late =
        after.record(by_permit(Some(other_timeline)), &Report::plain(Outcome::Success), at(1)).unwrap();
    assert_eq!(late.recorded, Recorded::Late);
}

#[test]
fn a_permit_of_an_earlier_life_counts_once() {
    let (before, _) = engine();
    let permits = [0, 1].map(|_| before.allow("other", "x", at(0)).unwrap().permit);
    let after =
        Engine::new(LIMITS, identity(2), &catalog(&declaration(), 1), Box::new(Kept::default()), at(1));
    let named = |permit| Target { service: "other", name: "x", ..by_permit(permit) };
    let record =
        |permit, now| after.record(named(permit), &Report::plain(Outcome::Failure), now).unwrap().recorded;
    assert_eq!(record(permits[0], at(1)), Recorded::Recorded);
    for again in 2..5 {
        assert_eq!(record(permits[0], at(again)), Recorded::Duplicate);
    }
    assert_eq!(record(permits[1], at(5)), Recorded::Recorded);
    let view = after.view("other", "x", at(5)).unwrap();
    assert_eq!(view.view.stats.consecutive_failures, 2, "each once");
}

#[test]
fn a_permit_lives_a_day() {
    let (engine, _) = engine();
    let permits = [0, 1].map(|_| engine.allow("other", "x", at(0)).unwrap().permit);
    let day = PERMIT_LIFE.as_secs();
    let record = |permit, now| {
        engine.record(by_permit(permit), &Report::plain(Outcome::Failure), now).unwrap().recorded
    };
    assert_eq!(record(permits[0], at(day - 1)), Recorded::Recorded);
    assert_eq!(record(permits[1], at(day)), Recorded::Late);
    assert_eq!(record(permits[0], at(day)), Recorded::Late, "nothing is remembered for longer");
}
