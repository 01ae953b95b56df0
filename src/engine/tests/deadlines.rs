//! The heap of deadlines and the two clocks.

use super::*;

#[test]
fn open_turns_half_open_on_time_though_nobody_calls() {
    let (engine, kept) = engine();
    trip(&engine, "db", "", at(0));
    assert_eq!(engine.next_deadline(), Some(at(30)));
    engine.tick(at(29));
    assert_eq!(kept.edges().len(), 1);
    engine.tick(at(31));
    assert_eq!(kept.edges()[1], (State::Open, State::HalfOpen, Reason::WaitElapsed));
    let view = engine.view("db", "", at(31)).unwrap();
    assert_eq!((view.state, view.view.snapshot.entered_at), (State::HalfOpen, at(30)));
    assert_eq!(
        view.counters.opened.unwrap().transitions[&(State::Open, State::HalfOpen, Reason::WaitElapsed)],
        1
    );
    assert_eq!(engine.next_deadline(), None);
}

#[test]
fn a_stale_deadline_is_skipped_and_puts_nothing_into_the_heap() {
    let (engine, _) = engine();
    trip(&engine, "db", "", at(0));
    engine.apply(&catalog(&waiting(60), 2), at(0));
    let deadlines = || engine.timers.len();
    assert_eq!(deadlines(), 2, "the former one is still there");
    engine.tick(at(30));
    assert_eq!((deadlines(), engine.next_deadline()), (1, Some(at(60))));
}

#[test]
fn opening_and_resetting_over_and_over_does_not_make_the_heap_grow() {
    let (engine, _) = engine();
    for round in 0..5_000 {
        trip(&engine, "db", "", at(round));
        // A change of thresholds moves the deadline, and leaves the former one behind in the heap.
        engine.apply(&catalog(&waiting(1 + round % 2), round), at(round));
        engine.tick(at(round));
    }
    assert!(!engine.timers.is_bloated(engine.len()));
}

#[test]
fn the_timers_end_an_override_when_the_wall_clock_is_set_past_its_end() {
    let (engine, kept) = engine();
    let until = |end| Override { scope: Scope::Breaker, ..of_service(OverrideKind::ForcedOpen, Some(end)) };
    engine.set_override(Creator::Server, Unknown::Create, "other", "until", until(at(600)), at(0)).unwrap();
    let lasting = Override { ttl: Some(Duration::from_mins(10)), ..until(at(600)) };
    engine.set_override(Creator::Server, Unknown::Create, "other", "for", lasting, at(0)).unwrap();
    assert_eq!(engine.next_deadline(), Some(at(600)));

    let ahead = WallOffset::between(at(10), at(7_210));
    assert_eq!(engine.note_wall_offset(ahead, at(10)), Some(7_200_000_000));
    assert_eq!(engine.note_wall_offset(ahead, at(11)), None, "it was set once");
    let mut rearm = engine.rearm();
    while engine.rearm_some(&mut rearm, 1) {}
    engine.tick(at(11));
    let expired = (State::ForcedOpen, State::Closed, Reason::OverrideExpired);
    assert_eq!(kept.edges()[2..], [expired]);
    let (key, ended) = kept.0.lock().last().cloned().unwrap();
    assert_eq!((&**key.name(), ended.at), ("until", at(7_210)), "until then it was in force");

    let held = engine.view("other", "for", at(20)).unwrap();
    assert_eq!(held.view.override_ends_at, Some(at(7_800)));
    assert_eq!(held.view.snapshot.entered_at, at(7_200));
    assert_eq!(held.created_at, at(7_200));
    assert_eq!(held.last_transition.unwrap().at, at(7_200));
    engine.tick(at(600));
    assert_eq!(kept.edges()[3..], [expired]);
}

#[test]
fn a_duration_is_not_longer_after_a_restart_with_a_clock_that_went_back() {
    let (engine, _) = engine();
    let ttl = Some(Duration::from_mins(2));
    let of_breaker =
        Override { scope: Scope::Breaker, ttl, ..of_service(OverrideKind::ForcedOpen, Some(at(120))) };
    let forced = |set_by| Snapshot {
        epoch: 3,
        state: State::ForcedOpen,
        entered_at: at(0),
        set_by: Some(set_by),
        ..Snapshot::pristine()
    };
    // The new life begins with a wall clock that is a day behind.
    let day = Duration::from_hours(24);
    let start = at(10) - day;
    let of_its_service = Override { ttl, ..of_service(OverrideKind::ForcedOpen, Some(at(120))) };
    engine.note_service_overrides([("a".to_owned(), of_its_service.clone().into())], start);
    engine.restore(&Key::new("b", "").unwrap(), &forced(of_breaker), None, 0, start);
    engine.restore(&Key::new("a", "").unwrap(), &forced(of_its_service.clone()), None, 0, start);
    for (service, name) in [("a", ""), ("b", ""), ("a", "born")] {
        let rest = engine.allow(service, name, start).unwrap().decision.retry_after;
        assert_eq!(rest, ttl, "{service} {name}");
    }
    // Another change of the configuration brings the same override once more.
    engine.note_service_overrides([("a".to_owned(), of_its_service.into())], start + Duration::from_mins(1));
    let rest = engine.allow("a", "born", start + Duration::from_mins(1)).unwrap().decision.retry_after;
    assert_eq!(rest, Some(Duration::from_mins(1)));
    engine.tick(start + Duration::from_mins(2));
    for (service, name) in [("a", ""), ("b", ""), ("a", "born")] {
        let verdict = engine.allow(service, name, start + Duration::from_mins(2)).unwrap().decision.verdict;
        assert_eq!(verdict, Verdict::Closed, "{service} {name}");
    }
}

#[test]
fn what_goes_to_the_outbox_says_the_wall_clock_of_its_moment() {
    let (engine, kept) = engine();
    engine.note_wall_offset(WallOffset::between(at(0), at(3_600)), at(0));
    trip(&engine, "db", "", at(1));
    let (_, opened) = kept.0.lock().last().cloned().unwrap();
    assert_eq!((opened.at, opened.after.entered_at), (at(3_601), at(3_601)));
    assert_eq!(engine.next_deadline(), Some(at(31)), "waits are counted on the monotonic clock");
}

#[test]
fn a_deadline_that_is_over_leaves_no_other_in_the_heap() {
    let (engine, _) = engine();
    trip(&engine, "db", "", at(0));
    engine.reset("db", "", ann(), at(1)).unwrap();
    assert_eq!(engine.timers.len(), 1, "that of the wait, which is stale");
}

#[test]
fn what_the_wall_clock_says_is_what_it_was_found_to_say() {
    let (engine, _) = engine();
    assert_eq!(engine.wall(at(1)), at(1));
    engine.note_wall_offset(WallOffset::between(at(0), at(60)), at(0));
    assert_eq!(engine.wall(at(1)), at(61));
}

#[test]
fn a_wall_clock_that_is_fifty_milliseconds_off_was_set() {
    let (engine, _) = engine();
    let off = |micros| engine.note_wall_offset(WallOffset::from_micros(micros), at(0));
    assert_eq!((off(49_999), off(50_000)), (None, Some(50_000)));
    assert_eq!((off(1), off(0)), (None, Some(-50_000)));
}

#[test]
fn an_override_of_a_service_keeps_its_end_until_another_takes_its_place() {
    let (engine, _) = engine();
    let lasting = |minutes| {
        let ttl = Duration::from_mins(minutes);
        // The wall clock was an hour ahead when it was set.
        Override { ttl: Some(ttl), ..of_service(OverrideKind::ForcedOpen, Some(at(3_600) + ttl)) }
    };
    let of_one_born = |minutes, now| {
        engine.note_service_overrides([("a".to_owned(), lasting(minutes).into())], now);
        let name = now.as_micros().to_string();
        engine.allow("a", &name, now).unwrap().decision.retry_after.unwrap().as_secs()
    };
    // Its duration is counted from when it was noted first.
    assert_eq!((of_one_born(5, at(0)), of_one_born(5, at(60)), of_one_born(9, at(90))), (300, 240, 540));
}
