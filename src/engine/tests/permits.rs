//! Permits: what they find, how long they live, and that each counts once.

use super::*;

#[test]
fn a_permit_is_enough_to_find_its_breaker() {
    let (engine, _) = engine();
    let permit = engine.allow("db", "x", at(0)).unwrap().permit;
    let taken = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(0)).unwrap();
    assert_eq!((taken.recorded, taken.state), (Recorded::Recorded, State::Open));
    let again = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(0)).unwrap();
    assert_eq!((again.recorded, again.state), (Recorded::Duplicate, State::Open));
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
    assert_eq!((taken.recorded, taken.state), (Recorded::Recorded, State::Open));
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

#[test]
fn what_is_named_beside_a_permit_has_to_be_a_breaker_and_that_of_the_permit() {
    let (engine, _) = engine();
    let permit = engine.allow("db", "x", at(0)).unwrap().permit;
    let record = |service, name| {
        let target = Target { service, name, ..by_permit(permit) };
        engine.record(target, &Report::plain(Outcome::Success), at(0)).map(|taken| taken.recorded)
    };
    assert!(matches!(record("", "x"), Err(EngineError::Key(_))));
    assert!(matches!(record("db", ""), Err(EngineError::OtherBreaker { .. })));
    assert_eq!(record("db", "x"), Ok(Recorded::Recorded));
}

#[test]
fn an_own_permit_counts_once_for_as_long_as_it_lives() {
    let (engine, _) = engine();
    let permit = engine.allow("other", "x", at(0)).unwrap().permit;
    let record =
        |now| engine.record(by_permit(permit), &Report::plain(Outcome::Success), now).unwrap().recorded;
    assert_eq!(record(at(0)), Recorded::Recorded);
    assert_eq!(record(at(7_200)), Recorded::Duplicate);
}

#[test]
fn an_outcome_that_is_late_is_counted_as_such() {
    let (engine, _) = engine();
    let permit = engine.allow("other", "x", at(0)).unwrap().permit;
    let late = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(PERMIT_LIFE.as_secs()));
    assert_eq!(late.unwrap().recorded, Recorded::Late);
    assert_eq!(engine.view("other", "x", at(0)).unwrap().counters.late, 1);
}

#[test]
fn a_permit_that_was_given_while_breakerd_was_disabled_counts_for_nothing() {
    let (engine, _) = engine();
    engine.apply(&catalog(&Declaration { enabled: false, ..declaration() }, 2), at(0));
    let permit = engine.allow("db", "", at(0)).unwrap().permit;
    engine.apply(&catalog(&declaration(), 3), at(1));
    let taken = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(1)).unwrap();
    assert_eq!((taken.recorded, taken.state), (Recorded::NotCounted, State::Closed));
}

#[test]
fn a_probe_that_is_given_back_is_another_calls() {
    let (engine, _) = engine();
    trip(&engine, "db", "", at(0));
    let permits = [0, 1, 2].map(|_| engine.allow("db", "", at(30)).unwrap().permit);
    assert!(permits[1].is_some() && permits[2].is_none());
    engine.release(&permits[0].unwrap(), at(30));
    assert!(engine.allow("db", "", at(30)).unwrap().permit.is_some());
}

#[test]
fn only_what_was_recorded_is_timed() {
    let (engine, _) = engine();
    let count = || engine.durations().iter().map(|view| view.count).sum::<u64>();
    let took = Some(Duration::from_secs(1));
    let record = |outcome, duration| {
        let permit = engine.allow("other", "x", at(0)).unwrap().permit;
        let report = Report { duration, ..Report::plain(outcome) };
        engine.record(by_permit(permit), &report, at(0)).unwrap();
        let once = count();
        engine.record(by_permit(permit), &report, at(0)).unwrap();
        assert_eq!(count(), once, "the second time it is a repeat");
    };
    record(Outcome::Success, None);
    record(Outcome::Ignored, took);
    assert_eq!(count(), 0);
    record(Outcome::Failure, took);
    assert_eq!(count(), 1);
    let permit = engine.allow("other", "x", at(0)).unwrap().permit;
    engine
        .record(by_permit(permit), &Report { duration: took, ..Report::plain(Outcome::Success) }, at(0))
        .unwrap();
    assert_eq!(count(), 2);
}
