//! Runs of outcomes, and what the answer to an outcome says of its breaker.

use super::*;
use crate::engine::{Run, RunDurations};

/// So many calls of `web` that went so.
fn run(outcome: Outcome, count: u32) -> Run<'static> {
    Run { epoch: None, report: Report::plain(outcome), slow: false, count, durations: None }
}

/// What became of it: recorded, late, not counted; and as a whole.
fn record(engine: &Engine, name: &str, run: &Run<'_>, now: Time) -> ([u32; 3], RecordResult) {
    let RunResult { recorded, after } =
        engine.record_run_for(Creator::Server, "web", name, run, now).unwrap();
    ([recorded.recorded, recorded.late, recorded.not_counted], after)
}

fn engine_where(service: &str, field: Field, value: Value) -> Engine {
    let mut declaration = declaration();
    declaration.services.entry(service.to_owned()).or_default().set(field, value).unwrap();
    Engine::new(LIMITS, identity(1), &catalog(&declaration, 1), Box::new(Kept::default()), at(0))
}

#[test]
fn a_run_counts_as_so_many_outcomes() {
    let (engine, _) = engine();
    let (counted, after) = record(&engine, "", &run(Outcome::Failure, 3), at(0));
    assert_eq!(counted, [3, 0, 0]);
    let expected =
        RecordResult { recorded: Recorded::Recorded, state: State::Closed, epoch: 0, remaining: None };
    assert_eq!(after, expected);
    record(&engine, "", &run(Outcome::Success, 4), at(1));
    record(&engine, "", &run(Outcome::Ignored, 5), at(2));
    let view = engine.view("web", "", at(2)).unwrap();
    let Counters { successful, failed, ignored, slow, .. } = view.counters;
    assert_eq!((successful, failed, ignored, slow), (4, 3, 5, 0));
    assert!(view.is_used && view.last_used == at(2));
}

#[test]
fn a_run_of_another_epoch_is_late() {
    let (engine, _) = engine();
    engine.allow("web", "", at(0)).unwrap();
    let durations = Some(RunDurations { buckets: &[9], sum: Duration::from_secs(1) });
    engine.reset("web", "", ann(), at(0)).unwrap();
    let of_the_former = Run { epoch: Some(0), durations, ..run(Outcome::Failure, 9) };
    let (counted, after) = record(&engine, "", &of_the_former, at(0));
    assert_eq!((counted, after.recorded, after.epoch), ([0, 9, 0], Recorded::Late, 1));
    assert_eq!(engine.view("web", "", at(0)).unwrap().counters.late, 9);
    assert_eq!(engine.durations().iter().map(|view| view.count).sum::<u64>(), 0, "nor is it timed");
}

#[test]
fn a_run_while_breakerd_is_disabled_does_not_count() {
    let (engine, _) = engine();
    engine.apply(&catalog(&Declaration { enabled: false, ..declaration() }, 2), at(0));
    let (counted, after) = record(&engine, "", &run(Outcome::Failure, 7), at(1));
    assert_eq!((counted, after.recorded), ([0, 0, 7], Recorded::NotCounted));
    assert_eq!(after.state, State::Disabled);
    let view = engine.view("web", "", at(1)).unwrap();
    assert_eq!((view.counters.failed, view.last_used), (0, at(1)));
}

#[test]
fn what_says_that_its_calls_were_slow_counts_as_slow() {
    let slow = Value::Duration(Duration::from_secs(2));
    let engine = engine_where("web", Field::SlowCallDurationThreshold, slow);
    record(&engine, "", &Run { slow: true, ..run(Outcome::Success, 3) }, at(0));
    record(&engine, "", &run(Outcome::Success, 2), at(0));
    let counters = engine.view("web", "", at(0)).unwrap().counters;
    assert_eq!((counters.slow, counters.successful), (3, 5));
}

#[test]
fn a_run_is_timed_if_it_counted_and_a_call_takes_no_more_than_a_day() {
    let (engine, _) = engine();
    let mut buckets = [0; BOUNDS_SECONDS.len() + 1];
    (buckets[1], buckets[2], buckets[BOUNDS_SECONDS.len()]) = (2, 1, 4);
    let timed = |outcome, buckets, sum| {
        let durations = Some(RunDurations { buckets, sum });
        record(&engine, "", &Run { durations, ..run(outcome, 7) }, at(0));
        engine.durations().iter().find(|view| *view.service == *"web").cloned().unwrap()
    };
    assert_eq!(timed(Outcome::Ignored, &buckets, Duration::from_secs(9)).count, 0);
    let view = timed(Outcome::Success, &buckets, Duration::from_secs(500));
    assert_eq!((view.count, view.sum_seconds), (7, 500.0));
    assert_eq!(view.cumulative[..4], [0, 2, 3, 3]);
    let view = timed(Outcome::Success, &[0, 2], Duration::MAX);
    assert_eq!((view.count, view.sum_seconds), (9, 500.0 + 2.0 * 86_400.0));
    let engine_counts = || engine.durations().iter().map(|view| view.count).sum::<u64>();
    record(&engine, "", &run(Outcome::Success, 7), at(0));
    assert_eq!(engine_counts(), 9, "nobody timed these");
}

#[test]
fn the_answer_to_an_outcome_says_how_long_its_state_lasts_at_least() {
    let limit = Value::Duration(Duration::from_mins(5));
    let engine = engine_where("db", Field::MaxWaitInHalfOpen, limit);
    let answer = |now| {
        let target = Target { permit: None, service: "db", name: "", epoch: None };
        let taken = engine.record(target, &Report::plain(Outcome::Failure), now).unwrap();
        (taken.state, taken.epoch, taken.remaining.map(|remaining| remaining.as_secs()))
    };
    assert_eq!(answer(at(0)), (State::Open, 1, Some(30)));
    assert_eq!(answer(at(20)), (State::Open, 1, Some(10)));
    engine.allow("db", "", at(30)).unwrap();
    assert!(engine.next_deadline().is_some());
    assert_eq!(answer(at(31)), (State::HalfOpen, 2, None), "it ends by its probes");
    engine.reset("db", "", ann(), at(31)).unwrap();
    let disabled = Override { scope: Scope::Breaker, ..of_service(OverrideKind::Disabled, Some(at(90))) };
    engine.set_override(Creator::Server, Unknown::Create, "db", "", disabled, at(31)).unwrap();
    assert_eq!(answer(at(31)), (State::Disabled, 4, Some(59)));
    engine.apply(&catalog(&Declaration { enabled: false, ..declaration() }, 2), at(32));
    assert_eq!(answer(at(32)), (State::Disabled, 4, None), "nobody knows how long");
}

#[test]
fn the_answer_to_a_permit_of_a_breaker_that_is_not_in_use_says_its_epoch() {
    let (engine, _) = engine();
    let closed = Snapshot { epoch: 7, entered_at: at(0), ..Snapshot::pristine() };
    let permit = |epoch| {
        let permit = engine.allow("db", "", at(3_600)).unwrap().permit.unwrap();
        let pass = breaker::Pass { epoch, ..permit.pass };
        by_permit(Some(Permit { key: engine.seals().key_id("web", "x"), pass, ..permit }))
    };
    let record = |epoch| {
        let taken = engine.record(permit(epoch), &Report::plain(Outcome::Success), at(3_600)).unwrap();
        (taken.recorded, taken.epoch, taken.state)
    };
    assert_eq!(record(3), (Recorded::NotCounted, 0, State::Closed), "nothing is known of it");
    engine.restore(&Key::new("web", "x").unwrap(), &closed, None, 0, at(3_600));
    assert_eq!(record(6), (Recorded::Late, 7, State::Closed));
    assert_eq!(record(7), (Recorded::NotCounted, 7, State::Closed));
}

#[test]
fn a_probe_says_how_long_its_place_is_held_and_no_other_call_does() {
    let engine = engine_where("db", Field::HalfOpenPermitTimeout, Value::Duration(Duration::from_secs(7)));
    assert_eq!(engine.allow("db", "", at(0)).unwrap().decision.lease, None);
    trip(&engine, "db", "", at(0));
    assert_eq!(engine.allow("db", "", at(30)).unwrap().decision.lease, Some(Duration::from_secs(7)));
}
