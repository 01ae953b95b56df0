mod retiring;

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::{
    Attribution, Field, Layer, Numbering, Outcome, Override, OverrideKind, Reason, Recorded, Report, Scope,
    Stats, Value, Verdict, WallOffset,
};

use super::*;
use crate::catalog::{Changed, Declaration};

/// Keeps what it is given.
#[derive(Debug, Default, Clone)]
struct Kept(Arc<parking_lot::Mutex<Vec<(Key, Transition)>>>);

impl TransitionSink for Kept {
    fn append(&self, event: Event<'_>) -> u64 {
        let mut kept = self.0.lock();
        kept.push((event.key.clone(), event.transition.clone()));
        kept.len() as u64
    }
}

impl Kept {
    fn edges(&self) -> Vec<(State, State, Reason)> {
        self.0.lock().iter().map(|(_, change)| (change.from, change.to(), change.reason)).collect()
    }
}

const LIMITS: Limits = Limits {
    breakers_max: 4,
    breakers_per_service_max: 4,
    breakers_per_caller_max: 4,
    own_series_max: 2,
    idle_ttl: Duration::from_hours(1),
};

fn at(seconds: u64) -> Time {
    Time::from_micros(1_700_000_000_000_000) + Duration::from_secs(seconds)
}

fn identity(issuer: u64) -> StoreIdentity {
    StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer, numbering: Numbering::Own }
}

/// One failure opens `db` for 30 s; two probes of it decide.
fn declaration() -> Declaration {
    let db = Layer::default()
        .with(Field::FailureThreshold, Value::Count(1))
        .and_then(|layer| layer.with(Field::Timeout, Value::Duration(Duration::from_secs(30))))
        .unwrap();
    Declaration { enabled: true, services: BTreeMap::from([("db".to_owned(), db)]), ..Declaration::default() }
}

fn waiting(seconds: u64) -> Declaration {
    let mut declaration = declaration();
    let db = declaration.services.get_mut("db").unwrap();
    db.set(Field::Timeout, Value::Duration(Duration::from_secs(seconds))).unwrap();
    declaration
}

fn catalog(declaration: &Declaration, revision: u64) -> Arc<Catalog> {
    Arc::new(Catalog::new(declaration, revision, &BTreeMap::new()).unwrap())
}

fn engine() -> (Engine, Kept) {
    let kept = Kept::default();
    let catalog = catalog(&declaration(), 1);
    (Engine::new(LIMITS, identity(1), &catalog, Box::new(kept.clone()), at(0)), kept)
}

fn by_permit(permit: Option<Permit>) -> Target<'static> {
    Target { permit, service: "", name: "", epoch: None }
}

fn trip(engine: &Engine, service: &str, name: &str, now: Time) {
    let permit = engine.allow(service, name, now).unwrap().permit;
    if permit.is_some() {
        engine.record(by_permit(permit), &Report::plain(Outcome::Failure), now).unwrap();
    }
}

#[test]
fn configured_services_have_a_breaker_before_anybody_asks() {
    let (engine, _) = engine();
    assert_eq!(engine.len(), 1);
    assert!(engine.view("db", "", at(0)).is_some());
    assert!(engine.view("other", "", at(0)).is_none());
}

#[test]
fn sixty_four_callers_at_open_until_get_exactly_two_probes() {
    let (engine, _) = engine();
    trip(&engine, "db", "", at(0));
    let allowed = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                if engine.allow("db", "", at(30)).unwrap().permit.is_some() {
                    allowed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(allowed.into_inner(), 2);
}

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

#[test]
fn disabled_lets_everything_pass_and_records_nothing() {
    let (engine, kept) = engine();
    trip(&engine, "db", "", at(0));
    engine.apply(&catalog(&Declaration { enabled: false, ..declaration() }, 2), at(1));
    let allowed = engine.allow("db", "", at(1)).unwrap();
    assert_eq!((allowed.decision.verdict, allowed.decision.state), (Verdict::Disabled, State::Disabled));
    let taken = engine.record(by_permit(allowed.permit), &Report::plain(Outcome::Failure), at(1)).unwrap();
    assert_eq!(taken, RecordResult { recorded: Recorded::NotCounted, state: State::Disabled });
    assert_eq!(engine.view("db", "", at(1)).unwrap().state, State::Disabled);
    engine.apply(&catalog(&declaration(), 3), at(2));
    assert_eq!(engine.allow("db", "", at(2)).unwrap().decision.verdict, Verdict::Open);
    let taken = engine.record(by_permit(allowed.permit), &Report::plain(Outcome::Failure), at(2)).unwrap();
    assert_eq!(taken.recorded, Recorded::NotCounted, "it was given while nothing was recorded");
    assert_eq!(kept.edges().len(), 1);
}

#[test]
fn another_catalog_acts_on_running_breakers_at_once() {
    let (engine, kept) = engine();
    trip(&engine, "db", "", at(0));
    engine.apply(&catalog(&waiting(10), 2), at(5));
    assert_eq!(engine.next_deadline(), Some(at(10)), "the deadline moved with the wait");
    engine.apply(&catalog(&waiting(2), 3), at(6));
    assert_eq!(kept.edges()[1], (State::Open, State::HalfOpen, Reason::ThresholdsChanged));
    assert_eq!(engine.allow("db", "", at(6)).unwrap().config_revision, 3);
}

#[test]
fn a_change_of_one_service_passes_the_others_by() {
    let (engine, _) = engine();
    engine.allow("web", "", at(0)).unwrap();
    let changed = |revision| Changed { revision, at: Time::ZERO };
    let all = BTreeMap::from([(String::new(), changed(1)), ("db".to_owned(), changed(2))]);
    engine.apply(&Arc::new(Catalog::clone(&catalog(&waiting(10), 2)).at_revision(2, all)), at(1));
    let revision = |service| engine.view(service, "", at(1)).unwrap().config_revision;
    assert_eq!((revision("db"), revision("web")), (2, 1));
    engine.allow("web", "born-later", at(1)).unwrap();
    assert_eq!(engine.view("web", "born-later", at(1)).unwrap().config_revision, 1);
}

#[test]
fn lists_come_in_the_order_of_their_keys_a_page_at_a_time() {
    let (engine, _) = engine();
    for name in ["c", "a", "b"] {
        engine.allow("db", name, at(0)).unwrap();
    }
    trip(&engine, "db", "b", at(0));
    let names =
        |views: &[BreakerView]| views.iter().map(|view| view.key.name().to_string()).collect::<Vec<_>>();
    let page = |after, limit, states| {
        engine.list(&ListQuery { after, states, limit, ..ListQuery::default() }, at(0), |_| true)
    };
    let first = page(None, 2, &[]);
    assert_eq!(names(&first), ["a", "b"]);
    let second = page(Some(&first[1].key), 2, &[]);
    assert_eq!(names(&second), ["c", "db"]);
    assert!(page(Some(&second[1].key), 2, &[]).is_empty());
    assert_eq!(names(&page(None, 9, &[State::Open])), ["b"]);
    assert_eq!(names(&page(None, 9, &[State::Closed, State::Open])), ["a", "b", "c", "db"]);
    assert!(page(None, 0, &[]).is_empty());
}

#[test]
fn a_list_shows_what_time_alone_has_changed() {
    let (engine, _) = engine();
    trip(&engine, "db", "b", at(0));
    let in_state = |state, now| {
        let query = ListQuery { states: &[state], limit: 9, ..ListQuery::default() };
        engine.list(&query, now, |_| true).len()
    };
    assert_eq!((in_state(State::Open, at(29)), in_state(State::HalfOpen, at(29))), (1, 0));
    assert_eq!((in_state(State::HalfOpen, at(30)), in_state(State::Open, at(30))), (1, 0));
}

#[test]
fn lists_of_every_filter_agree_with_a_walk_over_all_breakers() {
    let limits = Limits {
        breakers_max: 2_000,
        breakers_per_service_max: 2_000,
        breakers_per_caller_max: 2_000,
        ..LIMITS
    };
    let engine =
        Engine::new(limits, identity(1), &catalog(&declaration(), 1), Box::new(Kept::default()), at(0));
    let mut random = 7_u32;
    let mut draw = |below: u32| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) % below
    };
    for number in 0..1_500 {
        let (service, name) =
            (format!("s{}", draw(20)), format!("{}{number}", ["a", "b-", "zz"][draw(3) as usize]));
        engine.allow(&service, &name, at(0)).unwrap();
        if draw(3) == 0 {
            let (actor, reason) = ("ann".to_owned(), String::new());
            let (kind, scope, expires_at) = (OverrideKind::ALL[draw(3) as usize], Scope::Breaker, None);
            let set_by = Override { kind, scope, expires_at, ttl: None, actor, reason };
            engine.set_override(Creator::Server, Unknown::Create, &service, &name, set_by, at(0)).unwrap();
        }
    }
    let mut all = Vec::new();
    engine.for_each(at(0), |view| all.push((view.key, view.state)));
    all.sort();
    assert_eq!(all.len(), 1_501);
    for states in [&[][..], &[State::Closed], &[State::ForcedOpen, State::Disabled], &[State::Open]] {
        for (service, name_prefix) in
            [(None, ""), (None, "b-"), (Some("s7"), ""), (Some("s7"), "zz"), (Some("no"), "")]
        {
            for hidden in ["", "1", "s1"] {
                let may_see = |service: &str| hidden.is_empty() || !service.ends_with(hidden);
                let expected: Vec<_> = all
                    .iter()
                    .filter(|(key, state)| {
                        service.is_none_or(|service| **key.service() == *service)
                            && key.name().starts_with(name_prefix)
                            && (states.is_empty() || states.contains(state))
                            && may_see(key.service())
                    })
                    .cloned()
                    .collect();
                let (mut listed, mut after) = (Vec::new(), None);
                loop {
                    let query = ListQuery { after: after.as_ref(), service, name_prefix, states, limit: 70 };
                    let page = engine.list(&query, at(0), may_see);
                    listed.extend(page.iter().map(|view| (view.key.clone(), view.state)));
                    if page.len() < query.limit {
                        break;
                    }
                    after = page.last().map(|view| view.key.clone());
                }
                assert_eq!(listed, expected, "{states:?} {service:?} {name_prefix:?} {hidden:?}");
            }
        }
    }
}

#[test]
fn a_page_locks_no_breaker_that_it_does_not_show() {
    let limits = Limits {
        breakers_max: 2_000,
        breakers_per_service_max: 2_000,
        breakers_per_caller_max: 2_000,
        ..LIMITS
    };
    let engine =
        Engine::new(limits, identity(1), &catalog(&declaration(), 1), Box::new(Kept::default()), at(0));
    for number in 0..1_000 {
        engine.allow("busy", &number.to_string(), at(0)).unwrap();
    }
    trip(&engine, "db", "", at(0));
    // Whoever locks one of these waits for ever.
    let busy = engine.registry.entries_of(|service| service == "busy");
    let _held: Vec<_> = busy.iter().map(|entry| entry.inner.lock()).collect();
    let by_service = ListQuery { service: Some("db"), limit: 9, ..ListQuery::default() };
    assert_eq!(engine.list(&by_service, at(0), |_| true).len(), 1);
    let by_state = ListQuery { states: &[State::Open], limit: 9, ..ListQuery::default() };
    assert_eq!(engine.list(&by_state, at(0), |_| true).len(), 1);
    let by_right = ListQuery { limit: 9, ..ListQuery::default() };
    assert_eq!(engine.list(&by_right, at(0), |service| service == "db").len(), 1);
}

#[test]
fn a_disk_that_stands_still_under_one_breaker_holds_up_no_other_of_its_shard() {
    /// Waits with the first change until it is let go of.
    #[derive(Debug, Clone)]
    struct Stalled(Arc<std::sync::Barrier>);
    impl TransitionSink for Stalled {
        fn append(&self, _: Event<'_>) -> u64 {
            self.0.wait();
            self.0.wait();
            0
        }
    }
    let stalled = Stalled(Arc::new(std::sync::Barrier::new(2)));
    let limits = Limits {
        breakers_max: 2_000,
        breakers_per_service_max: 2_000,
        breakers_per_caller_max: 2_000,
        ..LIMITS
    };
    let catalog = catalog(&declaration(), 1);
    let engine = Engine::new(limits, identity(1), &catalog, Box::new(stalled.clone()), at(0));
    std::thread::scope(|scope| {
        scope.spawn(|| trip(&engine, "db", "", at(0)));
        stalled.0.wait();
        // The trip is on its way to the disk. A thousand others, new ones in every shard, and a sweep all go on.
        for number in 0..1_000 {
            engine.allow("web", &number.to_string(), at(0)).unwrap();
        }
        assert_eq!(engine.len(), 1_001);
        stalled.0.wait();
    });
    assert_eq!(engine.view("db", "", at(0)).unwrap().state, State::Open);
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

fn of_service(kind: OverrideKind, expires_at: Option<Time>) -> Override {
    Override {
        kind,
        scope: Scope::Service,
        expires_at,
        ttl: None,
        actor: "bob".to_owned(),
        reason: "a drill".to_owned(),
    }
}

fn ann() -> Attribution {
    Attribution { actor: "ann".to_owned(), reason: "done".to_owned() }
}

fn walk(engine: &Engine, service: &str, set: Option<Override>, now: Time) -> usize {
    engine.note_service_overrides(set.map(|set| (service.to_owned(), set)), now);
    let mut walk = engine.walk(Some(service), ann());
    while engine.walk_on(&mut walk, 1, now) {}
    walk.reached().changed
}

#[test]
fn an_override_of_a_service_is_on_every_breaker_it_has_and_on_those_that_are_born() {
    let (engine, kept) = engine();
    let before = engine.allow("db", "old", at(0)).unwrap().permit;
    engine.allow("other", "", at(0)).unwrap();
    assert_eq!(walk(&engine, "db", Some(of_service(OverrideKind::ForcedOpen, None)), at(1)), 2);
    assert_eq!(
        walk(&engine, "db", Some(of_service(OverrideKind::ForcedOpen, None)), at(1)),
        0,
        "the same again"
    );
    let late = engine.record(by_permit(before), &Report::plain(Outcome::Success), at(1)).unwrap();
    assert_eq!(late.recorded, Recorded::Late);
    for (service, name, verdict) in [
        ("db", "", Verdict::ForcedOpen),
        ("db", "old", Verdict::ForcedOpen),
        ("db", "new", Verdict::ForcedOpen),
        ("other", "", Verdict::Closed),
    ] {
        assert_eq!(engine.allow(service, name, at(2)).unwrap().decision.verdict, verdict, "{service} {name}");
    }
    assert_eq!(kept.edges().len(), 2, "of a birth no transition tells");
    assert_eq!(engine.view("db", "new", at(2)).unwrap().view.snapshot.epoch, 0);
    assert_eq!(engine.service_override("db", at(2)).unwrap().kind, OverrideKind::ForcedOpen);

    assert_eq!(walk(&engine, "db", None, at(3)), 3);
    assert_eq!(engine.allow("db", "new", at(3)).unwrap().decision.verdict, Verdict::Closed);
    let (_, cleared) = kept.0.lock().last().cloned().unwrap();
    assert_eq!((cleared.reason, cleared.attribution), (Reason::OverrideCleared, Some(ann())));
}

#[test]
fn one_that_was_born_under_its_services_override_may_be_retired() {
    let (engine, _) = engine();
    engine.note_service_overrides([("db".to_owned(), of_service(OverrideKind::Disabled, None))], at(0));
    engine.allow("db", "new", at(0)).unwrap();
    assert_eq!(engine.sweep(u64::MAX, at(3_600)), 1);
    assert_eq!(engine.allow("db", "new", at(3_601)).unwrap().decision.verdict, Verdict::Disabled);
}

#[test]
fn whoever_was_told_of_an_override_that_one_was_born_into_hears_of_its_end_though_it_was_retired() {
    /// How often everything is to be looked at anew.
    #[derive(Debug, Default, Clone)]
    struct Anew(Arc<parking_lot::Mutex<usize>>);
    impl TransitionSink for Anew {
        fn append(&self, _: Event<'_>) -> u64 {
            0
        }

        fn all_changed(&self) {
            *self.0.lock() += 1;
        }
    }
    let anew = Anew::default();
    let engine = Engine::new(LIMITS, identity(1), &catalog(&declaration(), 1), Box::new(anew.clone()), at(0));
    let set = |kind| [("other".to_owned(), of_service(kind, None))];
    engine.note_service_overrides(set(OverrideKind::ForcedOpen), at(0));
    engine.allow("other", "idle", at(0)).unwrap();
    assert_eq!(engine.sweep(u64::MAX, at(3_600)), 1);
    assert_eq!(*anew.0.lock(), 0, "it would be born into the same again");
    engine.note_service_overrides(set(OverrideKind::ForcedOpen), at(0));
    assert_eq!(*anew.0.lock(), 0);
    engine.note_service_overrides([], at(0));
    assert_eq!(*anew.0.lock(), 1, "no breaker is there to tell of it");
    engine.note_service_overrides(set(OverrideKind::Disabled), at(0));
    engine.note_service_overrides([], at(0));
    assert_eq!(*anew.0.lock(), 1, "nobody was told of anything since");
}

#[test]
fn one_that_was_retired_while_a_walk_was_under_way_is_told_nothing() {
    let (engine, kept) = engine();
    engine.allow("other", "idle", at(0)).unwrap();
    engine.note_service_overrides([("other".to_owned(), of_service(OverrideKind::ForcedOpen, None))], at(0));
    let mut walk = engine.walk(Some("other"), ann());
    assert_eq!(engine.sweep(u64::MAX, at(3_600)), 1);
    assert!(!engine.walk_on(&mut walk, 9, at(3_601)));
    assert_eq!(
        (walk.reached().changed, kept.edges()),
        (0, vec![]),
        "nobody has it any more, and its key may be another's"
    );
    engine.allow("other", "idle", at(3_602)).unwrap();
    assert_eq!(engine.view("other", "idle", at(3_602)).unwrap().view.snapshot.epoch, 0);
}

#[test]
fn an_override_of_a_service_ends_by_the_timers_and_no_birth_is_under_it_then() {
    let (engine, kept) = engine();
    walk(&engine, "db", Some(of_service(OverrideKind::ForcedOpen, Some(at(90)))), at(0));
    engine.allow("db", "new", at(1)).unwrap();
    assert_eq!(engine.next_deadline(), Some(at(90)));
    assert!(engine.ended_service_overrides(at(89)).is_empty());
    engine.tick(at(90));
    let ended = engine.ended_service_overrides(at(90));
    assert_eq!(ended, [("db".into(), of_service(OverrideKind::ForcedOpen, Some(at(90))))]);
    assert!(engine.service_override("db", at(90)).is_none());
    let expired = (State::ForcedOpen, State::Closed, Reason::OverrideExpired);
    assert_eq!(kept.edges()[1..], [expired, expired]);
    assert_eq!(engine.allow("db", "newer", at(91)).unwrap().decision.verdict, Verdict::Closed);
    assert_eq!(walk(&engine, "db", None, at(92)), 0, "there is nothing left to take back");
}

#[test]
fn what_a_crash_left_between_the_store_and_the_breakers_is_made_good() {
    let open = |epoch| Snapshot {
        epoch,
        state: State::Open,
        open_count: 1,
        entered_at: at(0),
        ..Snapshot::pristine()
    };
    let forced = |kind| Snapshot {
        epoch: 3,
        state: State::ForcedOpen,
        entered_at: at(0),
        set_by: Some(of_service(kind, None)),
        ..Snapshot::pristine()
    };
    let (engine, kept) = engine();
    engine.note_service_overrides([("a".to_owned(), of_service(OverrideKind::ForcedOpen, None))], at(0));
    let key = |service: &str, name: &str| Key::new(service, name).unwrap();
    engine.restore(&key("a", "missed"), &open(7), None, 0, at(1));
    engine.restore(&key("a", "reached"), &forced(OverrideKind::ForcedOpen), None, 0, at(1));
    engine.restore(&key("b", "left"), &forced(OverrideKind::ForcedOpen), None, 0, at(1));
    // Whoever looks before the walk comes there sees what was, and changes nothing: the walk alone keeps the pace.
    assert_eq!(engine.view("a", "missed", at(1)).unwrap().view.snapshot.state, State::Open);
    assert_eq!(engine.allow("a", "missed", at(1)).unwrap().decision.verdict, Verdict::Open);
    assert_eq!(kept.edges(), []);
    let mut walk = engine.walk(None, ann());
    while engine.walk_on(&mut walk, 1, at(2)) {}
    assert_eq!(walk.reached().changed, 2);
    let mut edges = kept.edges();
    edges.sort_unstable();
    let expected = [
        (State::Open, State::ForcedOpen, Reason::OverrideSet),
        (State::ForcedOpen, State::Closed, Reason::OverrideCleared),
    ];
    assert_eq!(edges, expected);
}

#[test]
fn a_breakers_own_override_stands_over_its_services() {
    let (engine, _) = engine();
    let own = Override { scope: Scope::Breaker, ..of_service(OverrideKind::Disabled, None) };
    engine.set_override(Creator::Server, Unknown::Create, "db", "", own.clone(), at(0)).unwrap();
    assert_eq!(walk(&engine, "db", Some(of_service(OverrideKind::ForcedOpen, None)), at(1)), 0);
    assert_eq!(engine.allow("db", "", at(1)).unwrap().decision.verdict, Verdict::Disabled);
    let cleared = engine.clear_override("db", "", ann(), at(2)).unwrap();
    assert_eq!(cleared.breaker.state, State::ForcedOpen);
    for refused in [engine.clear_override("db", "", ann(), at(2)), engine.reset("db", "", ann(), at(2))] {
        assert!(matches!(refused, Err(OperatorError::WrongState(_))));
    }
    assert!(matches!(engine.reset("nobody", "", ann(), at(2)), Err(OperatorError::NotThere)));
    engine.set_override(Creator::Server, Unknown::Create, "db", "", own, at(3)).unwrap();
    assert_eq!(walk(&engine, "db", None, at(4)), 0, "only what it has from its service is taken back");
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
    engine.note_service_overrides([("a".to_owned(), of_its_service.clone())], start);
    engine.restore(&Key::new("b", "").unwrap(), &forced(of_breaker), None, 0, start);
    engine.restore(&Key::new("a", "").unwrap(), &forced(of_its_service.clone()), None, 0, start);
    for (service, name) in [("a", ""), ("b", ""), ("a", "born")] {
        let rest = engine.allow(service, name, start).unwrap().decision.retry_after;
        assert_eq!(rest, ttl, "{service} {name}");
    }
    // Another change of the configuration brings the same override once more.
    engine.note_service_overrides([("a".to_owned(), of_its_service)], start + Duration::from_mins(1));
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
