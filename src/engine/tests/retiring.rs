//! Breakers that go: idle ones, deleted ones, and what is left of them.

use std::sync::atomic::{AtomicU64, AtomicUsize};

use breaker::{EnteredBy, Stats};

use super::*;

/// Counts what it is given, as a journal does.
#[derive(Debug, Default, Clone)]
struct Numbered {
    kept: Kept,
    lsns: Arc<AtomicU64>,
    anew: Arc<AtomicUsize>,
}

impl TransitionSink for Numbered {
    fn append(&self, event: Event<'_>) -> Appended {
        self.kept.append(event);
        (self.lsns.fetch_add(1, Ordering::Relaxed) + 1).into()
    }

    fn all_changed(&self) {
        self.anew.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) const ROOM: Limits =
    Limits { breakers_max: 100, breakers_per_service_max: 100, breakers_per_caller_max: 100, ..LIMITS };
pub(super) const HOUR: u64 = 3_600;

fn engine_with(limits: Limits) -> (Engine, Numbered) {
    let sink = Numbered::default();
    let catalog = catalog(&declaration(), 1);
    (Engine::new(limits, identity(1), &catalog, Box::new(sink.clone()), at(0)), sink)
}

/// A breaker that opened and was reset: closed, at epoch 2.
fn trip_and_reset(engine: &Engine, name: &str, now: Time) {
    trip(engine, "db", name, now);
    engine.reset("db", name, ann(), now).unwrap();
}

pub(super) fn epoch(engine: &Engine, name: &str, now: Time) -> Option<u64> {
    engine.view("db", name, now).map(|view| view.view.snapshot.epoch)
}

pub(super) fn key(name: &str) -> Key {
    Key::new("db", name).unwrap()
}

#[test]
fn a_breaker_that_ever_tripped_is_retired_and_goes_on_from_its_epoch() {
    let (engine, sink) = engine_with(ROOM);
    let before = engine.allow("db", "x", at(0)).unwrap().permit;
    trip_and_reset(&engine, "x", at(0));
    assert_eq!(engine.sweep(u64::MAX, at(HOUR - 1)), 0, "not idle yet");
    assert_eq!((engine.sweep(u64::MAX, at(HOUR)), engine.len()), (1, 1), "the configured one stays");
    let all = ListQuery { limit: 9, ..ListQuery::default() };
    assert_eq!(engine.list(&all, at(HOUR), |_| true).len(), 1);

    let shown = engine.view("db", "x", at(HOUR)).unwrap();
    assert_eq!((shown.state, shown.view.snapshot.epoch), (State::Closed, 2), "as watchers are sent it");
    assert_eq!((shown.view.snapshot.entered_at, shown.view.snapshot.config_revision), (at(0), 1));
    assert_eq!(engine.len(), 1, "a look creates nothing");
    let late = engine.record(by_permit(before), &Report::plain(Outcome::Failure), at(HOUR)).unwrap();
    assert_eq!((late.recorded, late.state), (Recorded::Late, State::Closed));

    let again = engine.allow("db", "x", at(HOUR)).unwrap();
    assert_eq!((again.decision.verdict, again.decision.epoch), (Verdict::Closed, 2));
    let named = Target { service: "db", name: "x", ..by_permit(before) };
    let late = engine.record(named, &Report::plain(Outcome::Failure), at(HOUR)).unwrap();
    assert_eq!(late.recorded, Recorded::Late);
    trip(&engine, "db", "x", at(HOUR));
    let epochs: Vec<_> = sink.kept.0.lock().iter().map(|(_, change)| change.after.epoch).collect();
    assert_eq!(epochs, [1, 2, 3]);
    assert_eq!(engine.sweep(u64::MAX, at(9 * HOUR)), 0, "one that is open stays");
}

#[test]
fn a_breaker_that_was_only_configured_goes_with_its_configuration() {
    let (engine, _) = engine_with(ROOM);
    assert!(engine.knows_service("db") && engine.view("db", "db", at(0)).is_some());
    engine.apply(&Arc::default(), at(1));
    assert!(!engine.knows_service("db") && engine.is_empty());

    engine.apply(&catalog(&declaration(), 2), at(2));
    engine.allow("db", "db", at(3)).unwrap();
    engine.apply(&Arc::default(), at(4));
    assert!(engine.knows_service("db"), "it was used");
    assert_eq!(engine.sweep(u64::MAX, at(5)), 0, "and goes when it is idle");
    assert_eq!(engine.retired(), 0);
}

#[test]
fn a_breaker_stays_until_the_store_has_its_newest_state() {
    let (engine, _) = engine_with(ROOM);
    trip_and_reset(&engine, "x", at(0));
    trip_and_reset(&engine, "y", at(0));
    assert_eq!(engine.sweep(1, at(HOUR)), 0);
    assert_eq!(engine.sweep(2, at(HOUR)), 1, "x is there, y on its way");
    assert_eq!(engine.sweep(3, at(HOUR)), 0);
    assert_eq!(engine.sweep(4, at(HOUR)), 1);
}

#[test]
fn no_more_is_remembered_than_there_may_be_breakers_and_beyond_that_they_stay() {
    let (engine, _) = engine_with(Limits { breakers_max: 4, ..ROOM });
    for name in ["a", "b", "c"] {
        trip_and_reset(&engine, name, at(0));
    }
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 3);
    for name in ["d", "e", "f"] {
        trip_and_reset(&engine, name, at(HOUR));
    }
    assert_eq!((engine.sweep(u64::MAX, at(2 * HOUR)), engine.len()), (1, 3));
    // One that is used again makes room for another.
    engine.allow("db", "a", at(2 * HOUR)).unwrap();
    assert_eq!((engine.sweep(u64::MAX, at(2 * HOUR)), engine.len()), (1, 3));
    let known = ["a", "b", "c", "d", "e", "f"].map(|name| epoch(&engine, name, at(2 * HOUR)));
    assert_eq!(known, [Some(2); 6]);
}

#[test]
fn what_is_remembered_counts_in_the_share_of_its_service_and_its_caller() {
    let limits = Limits { breakers_per_service_max: 4, breakers_per_caller_max: 3, ..ROOM };
    let (engine, _) = engine_with(limits);
    let greedy = Creator::Address("10.0.0.1");
    for name in ["a", "b", "c"] {
        engine.allow_for(greedy, "db", name, at(0)).unwrap();
        trip_and_reset(&engine, name, at(0));
    }
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 3);
    let refused = engine.allow_for(greedy, "web", "", at(HOUR)).map(drop);
    assert_eq!(refused, Err(EngineError::Full { limit: BreakerLimit::Caller, max: 3 }));
    let refused = engine.allow_for(Creator::Server, "db", "d", at(HOUR)).map(drop);
    assert_eq!(refused, Err(EngineError::Full { limit: BreakerLimit::Service, max: 4 }));
    assert!(engine.allow_for(greedy, "db", "a", at(HOUR)).is_ok(), "it is counted already");
    // Forgotten for good, it counts no more.
    engine.forget(&key("b"), 2);
    assert!(engine.allow_for(greedy, "db", "e", at(HOUR)).is_ok());
}

#[test]
fn of_stored_breakers_that_are_closed_and_idle_only_the_epoch_is_kept() {
    let (engine, _) = engine_with(Limits { breakers_per_service_max: 2, ..ROOM });
    let now = at(5 * HOUR);
    let closed = |entered_at| Snapshot { epoch: 7, entered_at, ..Snapshot::pristine() };
    engine.restore(&key("idle"), &closed(at(0)), None, 0, now);
    engine.restore(&key("recent"), &closed(at(5 * HOUR - 60)), None, 0, now);
    engine.restore(&key("journaled"), &closed(at(0)), None, 5, now);
    engine.restore(&key("db"), &closed(at(0)), None, 0, now);
    assert_eq!(engine.len(), 3, "the configured one is there as well");
    for name in ["idle", "recent", "journaled", "db"] {
        assert_eq!(epoch(&engine, name, now), Some(7), "{name}");
    }
    // The journal may have a newer state of one that the store has as closed.
    let open =
        Snapshot { epoch: 8, state: State::Open, open_count: 1, entered_at: now, ..Snapshot::pristine() };
    engine.restore(&key("idle"), &open, None, 6, now);
    assert_eq!(engine.allow("db", "idle", now).unwrap().decision.verdict, Verdict::Open);
    engine.restore(&key("idle"), &closed(at(0)), None, 0, now);
    assert_eq!(epoch(&engine, "idle", now), Some(8), "an older state is nothing");
    assert_eq!(engine.sweep(4, at(9 * HOUR)), 1, "the journaled one is not in the store yet");
    assert_eq!(engine.sweep(5, at(9 * HOUR)), 1);
}

#[test]
fn the_times_of_a_retired_breaker_follow_the_wall_clock_and_its_permits_do_not() {
    let (engine, _) = engine_with(ROOM);
    trip_and_reset(&engine, "retired", at(0));
    engine.restore(
        &key("stored"),
        &Snapshot { epoch: 7, entered_at: at(0), ..Snapshot::pristine() },
        None,
        0,
        at(HOUR),
    );
    // Set after the breaker was used last, which it does not hear of before it is retired.
    engine.note_wall_offset(WallOffset::between(at(HOUR), at(3 * HOUR)), at(HOUR));
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 1);
    let times = |name, now| {
        let shown = engine.view("db", name, now).unwrap();
        (shown.view.snapshot.entered_at, shown.created_at, shown.last_used)
    };
    let used = at(2 * HOUR) + Duration::from_secs(1);
    assert_eq!(times("retired", at(HOUR)), (at(2 * HOUR), at(2 * HOUR), used));
    assert_eq!(times("stored", at(HOUR)), (at(2 * HOUR), at(2 * HOUR), at(3 * HOUR)));
    // A day ahead, and back again: a permit lives as long as it does.
    let now = at(2 * HOUR);
    engine.note_wall_offset(WallOffset::between(now, now + PERMIT_LIFE * 2), now);
    assert_eq!(times("retired", now).0, at(0) + PERMIT_LIFE * 2);
    assert!(!engine.may_forget(&key("retired"), now));
    engine.note_wall_offset(WallOffset::between(now, at(0)), now);
    assert_eq!(times("retired", now).0, at(0) - Duration::from_hours(2));
    assert!(engine.may_forget(&key("retired"), at(1) + PERMIT_LIFE));
    // It is born again with the times that were shown.
    engine.allow("db", "retired", now).unwrap();
    assert_eq!(times("retired", now).0, at(0) - Duration::from_hours(2));
}

#[test]
fn a_row_goes_only_when_no_permit_of_its_breaker_counts_any_more() {
    let (engine, _) = engine_with(ROOM);
    trip_and_reset(&engine, "x", at(0));
    let used = at(10);
    engine.allow("db", "x", used).unwrap();
    assert!(!engine.may_forget(&key("x"), used + PERMIT_LIFE * 2), "it is in use");
    assert_eq!(engine.sweep(u64::MAX, at(2 * HOUR)), 1);
    assert!(!engine.may_forget(&key("x"), used + PERMIT_LIFE));
    assert!(engine.may_forget(&key("x"), used + PERMIT_LIFE + Duration::from_secs(1)));
    engine.forget(&key("x"), 1);
    assert_eq!(epoch(&engine, "x", at(3 * HOUR)), Some(2), "that was another row");
    engine.forget(&key("x"), 2);
    assert_eq!(epoch(&engine, "x", at(3 * HOUR)), None);
}

#[test]
fn a_deleted_breaker_is_closed_and_gone_once_the_store_has_that() {
    let (engine, sink) = engine_with(ROOM);
    let permit = engine.allow("db", "x", at(0)).unwrap().permit;
    trip(&engine, "db", "x", at(0));
    assert_eq!(engine.delete("db", "x", ann(), at(1)), Ok(Deleted { epoch: 2, changed: true }));
    let (_, last) = sink.kept.0.lock().last().cloned().unwrap();
    assert_eq!((last.from, last.to(), last.reason), (State::Open, State::Closed, Reason::Deleted));
    assert_eq!(last.attribution, Some(ann()));
    assert!(!engine.retire_deleted("db", "x", 1, at(1)), "the store does not have it yet");
    assert_eq!((engine.sweep(1, at(1)), engine.len()), (0, 2));
    assert_eq!(engine.retired(), 0, "it takes no room of those that are");
    assert!(engine.retire_deleted("db", "x", 2, at(1)));
    assert_eq!(engine.retired(), 1);
    assert_eq!((engine.len(), epoch(&engine, "x", at(1))), (1, Some(2)));
    let late = engine.record(by_permit(permit), &Report::plain(Outcome::Failure), at(1)).unwrap();
    assert_eq!(late.recorded, Recorded::Late);
    assert_eq!(engine.delete("db", "x", ann(), at(2)), Ok(Deleted { epoch: 2, changed: false }));
    assert_eq!(engine.delete("db", "y", ann(), at(2)), Err(OperatorError::NotThere));
    let again = engine.allow("db", "x", at(3)).unwrap().decision;
    assert_eq!((again.verdict, again.epoch), (Verdict::Closed, 2));
}

#[test]
fn a_configured_breaker_that_is_deleted_comes_back_closed_at_its_next_use() {
    let (engine, _) = engine_with(ROOM);
    assert_eq!(engine.delete("db", "", ann(), at(0)), Ok(Deleted { epoch: 0, changed: false }), "never used");
    trip(&engine, "db", "", at(0));
    assert_eq!(engine.delete("db", "", ann(), at(1)), Ok(Deleted { epoch: 2, changed: true }));
    assert_eq!((engine.sweep(u64::MAX, at(1)), engine.len()), (1, 0));
    assert_eq!(engine.allow("db", "", at(2)).unwrap().decision.verdict, Verdict::Closed);
    // One that is used again before it went stays.
    assert!(engine.delete("db", "", ann(), at(3)).unwrap().changed);
    engine.allow("db", "", at(3)).unwrap();
    assert!(!engine.retire_deleted("db", "", u64::MAX, at(3)));
    assert_eq!((engine.sweep(u64::MAX, at(3)), engine.len()), (0, 1));
}

#[test]
fn a_breaker_under_its_services_override_is_not_deleted() {
    let (engine, _) = engine_with(ROOM);
    walk(&engine, "db", Some(of_service(OverrideKind::ForcedOpen, None)), at(0));
    assert!(matches!(engine.delete("db", "", ann(), at(1)), Err(OperatorError::WrongState(_))));
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 0);
    assert_eq!(engine.allow("db", "", at(HOUR)).unwrap().decision.verdict, Verdict::ForcedOpen);
}

#[test]
fn an_operator_finds_a_breaker_that_was_retired() {
    let (engine, _) = engine_with(ROOM);
    trip_and_reset(&engine, "x", at(0));
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 1);
    let reset = engine.reset("db", "x", ann(), at(HOUR)).unwrap();
    assert_eq!(reset.breaker.view.snapshot.epoch, 3);
    assert!(matches!(engine.probe("db", "y", ann(), at(HOUR)), Err(OperatorError::NotThere)));
}

#[test]
fn whoever_follows_hears_of_an_override_though_the_breakers_it_knows_as_closed_were_retired() {
    let (engine, sink) = engine_with(ROOM);
    trip_and_reset(&engine, "x", at(0));
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 1);
    assert_eq!(sink.anew.load(Ordering::Relaxed), 0);
    walk(&engine, "db", Some(of_service(OverrideKind::ForcedOpen, None)), at(HOUR));
    assert_eq!(sink.anew.load(Ordering::Relaxed), 1, "no breaker is there to tell of it");
    let shown = engine.view("db", "x", at(HOUR)).unwrap();
    assert_eq!((shown.state, shown.view.snapshot.epoch), (State::ForcedOpen, 3));
    let used = engine.allow("db", "x", at(HOUR)).unwrap().decision;
    assert_eq!((used.verdict, used.epoch), (Verdict::ForcedOpen, 3), "as it was shown");
}

#[test]
fn one_that_is_about_to_be_told_of_an_override_is_not_retired_before() {
    let (engine, _) = engine_with(ROOM);
    trip_and_reset(&engine, "x", at(0));
    engine.note_service_overrides(
        [("db".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())],
        at(HOUR),
    );
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 0);
    let mut walk = engine.walk(Some("db"), ann());
    while engine.walk_on(&mut walk, 9, at(HOUR)) {}
    assert_eq!(walk.reached().changed, 2);
}

#[test]
fn a_tripped_breaker_that_nobody_calls_any_more_is_closed_and_retired() {
    let (engine, sink) = engine_with(ROOM);
    trip(&engine, "db", "forgotten", at(0));
    trip(&engine, "db", "called", at(0));
    trip(&engine, "db", "", at(0));
    let half_open = at(30);
    engine.tick(half_open);
    let close = |now| {
        let mut walk = Engine::idle_walk();
        while engine.close_idle(&mut walk, 1, now) {}
    };
    close(half_open + Duration::from_secs(HOUR - 1));
    assert_eq!(sink.kept.0.lock().iter().filter(|(_, change)| change.reason == Reason::Idle).count(), 0);

    engine.allow("db", "called", at(HOUR)).unwrap();
    close(half_open + Duration::from_secs(HOUR));
    let closed: Vec<_> = sink.kept.0.lock().iter().rev().take(1).cloned().collect();
    let (forgotten, change) = &closed[0];
    assert_eq!((forgotten, change.reason, change.after.epoch), (&key("forgotten"), Reason::Idle, 3));
    let states = |name| engine.view("db", name, at(HOUR + 30)).unwrap().state;
    assert_eq!(["forgotten", "called", ""].map(states), [State::Closed, State::HalfOpen, State::HalfOpen]);

    let retired = engine.sweep(u64::MAX, at(HOUR + 30));
    assert_eq!((retired, epoch(&engine, "forgotten", at(HOUR + 30))), (1, Some(3)));
}

#[test]
fn what_was_deleted_is_not_there_again_after_a_restart() {
    let (engine, _) = engine_with(ROOM);
    let closed = Snapshot { epoch: 7, entered_at: at(0), ..Snapshot::pristine() };
    let deleted = |from, reason| Some(EnteredBy { from, reason, stats: Stats::default() });
    // The store has the first, and the journal still keeps it; the other is only in the journal.
    engine.restore(&key("stored"), &closed, deleted(State::Open, Reason::Deleted), 0, at(1));
    engine.restore(&key("idle"), &closed, deleted(State::HalfOpen, Reason::Idle), 0, at(1));
    engine.restore(&key("reset"), &closed, deleted(State::Open, Reason::Reset), 0, at(1));
    engine.restore(&key("stored"), &closed, deleted(State::Open, Reason::Deleted), 4, at(1));
    engine.restore(&key("journaled"), &closed, deleted(State::Open, Reason::Deleted), 5, at(1));
    let all = ListQuery { service: Some("db"), limit: 9, ..ListQuery::default() };
    let listed = || {
        let names = engine.list(&all, at(1), |_| true);
        names.iter().map(|view| view.key.name().to_string()).collect::<Vec<_>>()
    };
    // Deleted while the store was away: the store still has it as it was before.
    let open = Snapshot { epoch: 6, state: State::Open, entered_at: at(0), ..Snapshot::pristine() };
    engine.restore(&key("away"), &open, None, 0, at(1));
    engine.restore(&key("away"), &closed, deleted(State::Open, Reason::Deleted), 6, at(1));
    assert_eq!(listed(), ["db", "reset"]);
    engine.restore(&key("db"), &closed, deleted(State::Open, Reason::Deleted), 0, at(1));
    assert_eq!(listed(), ["reset"], "nor is a configured one, until it is used again");
    for name in ["stored", "idle", "journaled", "away"] {
        assert_eq!(epoch(&engine, name, at(1)), Some(7), "{name} goes on from its epoch");
    }
}

#[test]
fn a_restored_breaker_still_says_why_it_is_open() {
    let (engine, _) = engine_with(ROOM);
    let wait = Some(Duration::from_mins(10));
    let open = Snapshot { epoch: 3, state: State::Open, entered_at: at(0), wait, ..Snapshot::pristine() };
    let stats = Stats { consecutive_failures: 5, ..Stats::default() };
    let entered_by = EnteredBy { from: State::Closed, reason: Reason::ConsecutiveFailures, stats };
    engine.restore(&key("x"), &open, Some(entered_by), 0, at(1));
    let last = engine.view("db", "x", at(1)).unwrap().last_transition.unwrap();
    assert_eq!((last.from, last.to, last.epoch, last.at), (State::Closed, State::Open, 3, at(0)));
    assert_eq!((last.reason, last.stats), (entered_by.reason, stats));
}

/// Half-open since `now`, and used last then.
fn half_open(engine: &Engine, name: &str, now: Time) {
    trip(engine, "db", name, now - Duration::from_secs(30));
    let probe = engine.allow("db", name, now).unwrap().permit.unwrap();
    engine.release(&probe, now);
}

#[test]
fn as_many_idle_breakers_are_closed_at_a_time_as_are_wanted() {
    let (engine, sink) = engine_with(ROOM);
    for name in ["a", "b", "c"] {
        half_open(&engine, name, at(30));
    }
    let mut walk = Engine::idle_walk();
    let mut close = |most| {
        let goes_on = engine.close_idle(&mut walk, most, at(30 + HOUR));
        let closed = sink.kept.edges().iter().filter(|(_, _, reason)| *reason == Reason::Idle).count();
        (goes_on, closed)
    };
    assert_eq!((close(1), close(2), close(1)), ((true, 1), (true, 3), (false, 3)));
}

#[test]
fn what_is_not_idle_for_long_enough_does_not_count_as_closed() {
    let (engine, sink) = engine_with(ROOM);
    // Half-open for long, and called a moment ago; and called long ago, and half-open for a moment only.
    half_open(&engine, "called", at(30));
    let probe = engine.allow("db", "called", at(HOUR)).unwrap().permit.unwrap();
    engine.release(&probe, at(HOUR));
    trip(&engine, "db", "waited", at(0));
    engine.apply(&catalog(&waiting(HOUR), 2), at(0));
    engine.tick(at(HOUR));
    let mut walk = Engine::idle_walk();
    assert!(!engine.close_idle(&mut walk, 1, at(HOUR + 31)));
    assert_eq!(sink.kept.edges().iter().filter(|(_, _, reason)| *reason == Reason::Idle).count(), 0);
}

#[test]
fn a_permit_of_the_last_epoch_of_a_retired_breaker_is_not_late() {
    let (engine, _) = engine_with(ROOM);
    let earlier = engine.allow("db", "x", at(0)).unwrap().permit;
    trip_and_reset(&engine, "x", at(0));
    let last = engine.allow("db", "x", at(0)).unwrap().permit;
    assert_eq!(engine.sweep(u64::MAX, at(HOUR)), 1);
    let record = |permit| {
        engine.record(by_permit(permit), &Report::plain(Outcome::Success), at(HOUR)).unwrap().recorded
    };
    assert_eq!((record(earlier), record(last)), (Recorded::Late, Recorded::NotCounted));
}
