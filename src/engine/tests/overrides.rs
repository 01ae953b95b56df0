//! Overrides of services and of breakers.

use super::*;

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
    engine
        .note_service_overrides([("db".to_owned(), of_service(OverrideKind::Disabled, None).into())], at(0));
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
        fn append(&self, _: Event<'_>) -> Appended {
            Appended::default()
        }

        fn all_changed(&self) {
            *self.0.lock() += 1;
        }
    }
    let anew = Anew::default();
    let engine = Engine::new(LIMITS, identity(1), &catalog(&declaration(), 1), Box::new(anew.clone()), at(0));
    let set = |kind| [("other".to_owned(), of_service(kind, None).into())];
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
    engine.note_service_overrides(
        [("other".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())],
        at(0),
    );
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
    engine
        .note_service_overrides([("a".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())], at(0));
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
