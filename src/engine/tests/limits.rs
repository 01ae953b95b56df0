//! How many breakers there may be, in all, of a service and of a client.

use super::*;

#[test]
fn a_full_engine_refuses_the_new_and_keeps_the_old() {
    let (engine, _) = engine();
    for name in ["a", "b", "c"] {
        engine.allow("db", name, at(0)).unwrap();
    }
    assert_eq!(engine.allow("db", "d", at(1)), Err(EngineError::Full { limit: BreakerLimit::Total, max: 4 }));
    assert!(engine.allow("db", "a", at(1)).is_ok());
    trip(&engine, "db", "b", at(2));
    // An hour later: "a" and "c" went unused; "b" tripped, and the service's own is configured.
    let later = at(2 + 3_600);
    assert_eq!(
        engine.allow("db", "d", later),
        Err(EngineError::Full { limit: BreakerLimit::Total, max: 4 }),
        "nobody sweeps in a decision"
    );
    assert_eq!(engine.sweep(u64::MAX, later), 2);
    assert!(engine.allow("db", "d", later).is_ok());
    assert_eq!(engine.len(), 3);
    assert!(engine.view("db", "a", at(4_000)).is_none());
    assert!(engine.view("db", "b", at(4_000)).is_some());
}

#[test]
fn a_stored_breaker_comes_back_even_beyond_the_limit() {
    let (engine, _) = engine();
    let open = Snapshot {
        epoch: 3,
        state: State::Open,
        open_count: 1,
        entered_at: at(0) - Duration::from_secs(10),
        wait: Some(Duration::from_secs(30)),
        ..Snapshot::pristine()
    };
    for name in ["a", "b", "c", "d", "e"] {
        engine.restore(&Key::new("db", name).unwrap(), &open, None, 0, at(0));
    }
    assert_eq!(engine.len(), 6);
    let denied = engine.allow("db", "e", at(0)).unwrap().decision;
    assert_eq!((denied.verdict, denied.retry_after), (Verdict::Open, Some(Duration::from_secs(20))));
    engine.tick(at(20));
    assert_eq!(engine.view("db", "e", at(20)).unwrap().state, State::HalfOpen);
    // What the store had is older than what has happened since.
    engine.restore(&Key::new("db", "e").unwrap(), &open, None, 0, at(21));
    assert_eq!(engine.view("db", "e", at(21)).unwrap().state, State::HalfOpen);
}

#[test]
fn counters_of_retired_breakers_without_series_of_their_own_are_kept() {
    let (engine, _) = engine();
    for name in ["a", "b", "c"] {
        let permit = engine.allow("x", name, at(0)).unwrap().permit;
        engine.record(by_permit(permit), &Report::plain(Outcome::Success), at(0)).unwrap();
    }
    let mut own = 0;
    engine.for_each(at(0), |view| own += usize::from(view.own_series));
    assert_eq!(own, 2, "the configured one and the first");
    assert_eq!(engine.sweep(u64::MAX, at(3_600)), 3);
    assert_eq!(engine.retired_counters().successful, 2);
    engine.allow("x", "d", at(3_600)).unwrap();
    assert!(engine.view("x", "d", at(3_600)).unwrap().own_series, "its place became free");
}

#[test]
fn a_service_and_a_caller_that_have_their_share_leave_the_rest_to_others() {
    let limits =
        Limits { breakers_max: 8, breakers_per_service_max: 4, breakers_per_caller_max: 3, ..LIMITS };
    let engine =
        Engine::new(limits, identity(1), &catalog(&declaration(), 1), Box::new(Kept::default()), at(0));
    let (greedy, other) = (Creator::Address("10.0.0.1"), Creator::Identity("checkout"));
    let full = |limit, max| Err(EngineError::Full { limit, max });
    for name in ["a", "b", "c"] {
        engine.allow_for(greedy, "web", name, at(0)).unwrap();
    }
    // However often it tries, and with whatever: by a question, a report or by hand.
    for name in ["d", "e"] {
        assert_eq!(engine.allow_for(greedy, "web", name, at(0)).map(drop), full(BreakerLimit::Caller, 3));
        let target = Target { permit: None, service: "mail", name, epoch: None };
        let answer = engine.record_for(greedy, target, &Report::plain(Outcome::Failure), at(0));
        assert_eq!(answer.map(drop), full(BreakerLimit::Caller, 3));
    }
    assert!(engine.allow_for(greedy, "web", "a", at(0)).is_ok(), "what it has it may use");
    engine.allow_for(other, "web", "d", at(0)).unwrap();
    assert_eq!(engine.allow_for(other, "web", "e", at(0)).map(drop), full(BreakerLimit::Service, 4));
    engine.allow_for(other, "mail", "", at(0)).unwrap();
    assert_eq!(engine.len(), 6);
    // What goes is theirs to use again.
    assert_eq!(engine.sweep(u64::MAX, at(3_600)), 5);
    assert!(engine.allow_for(greedy, "web", "d", at(3_600)).is_ok());
}

#[test]
fn a_refusal_names_the_limit_and_its_setting() {
    let text = |limit| EngineError::Full { limit, max: 4 }.to_string();
    assert_eq!(text(BreakerLimit::Total), "breaker limit reached (4): increase limits.breakers_max");
    assert_eq!(
        text(BreakerLimit::Caller),
        "breaker limit of this client reached (4): increase limits.breakers_per_caller_max"
    );
}

#[tokio::test]
async fn the_sweeper_is_woken_when_no_more_than_an_eighth_of_the_room_is_left() {
    let limits =
        Limits { breakers_max: 16, breakers_per_service_max: 16, breakers_per_caller_max: 16, ..LIMITS };
    let catalog = catalog(&declaration(), 1);
    let engine = Engine::new(limits, identity(1), &catalog, Box::new(Kept::default()), at(0));
    let is_woken = async || futures_util::poll!(std::pin::pin!(engine.sweep_wanted())).is_ready();
    // One is configured.
    for number in 1..14 {
        engine.allow("web", &number.to_string(), at(0)).unwrap();
    }
    assert!(!is_woken().await);
    engine.allow("web", "14", at(0)).unwrap();
    assert!(is_woken().await);
    // What was stored has its place whatever the room.
    let open = Snapshot { epoch: 1, state: State::Open, entered_at: at(0), ..Snapshot::pristine() };
    engine.restore(&Key::new("web", "stored").unwrap(), &open, None, 0, at(0));
    assert!(!is_woken().await);
}
