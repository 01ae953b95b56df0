//! What operators do, and what is known of the breakers that they name.

use super::*;

fn own(kind: OverrideKind) -> Override {
    Override { scope: Scope::Breaker, ..of_service(kind, None) }
}

#[test]
fn an_override_of_a_breaker_that_nobody_knows_is_refused_if_it_is_not_to_be_created() {
    let (engine, _) = engine();
    engine.allow("other", "x", at(0)).unwrap();
    let set = |service, name| {
        engine
            .set_override(
                Creator::Server,
                Unknown::Refuse,
                service,
                name,
                own(OverrideKind::ForcedOpen),
                at(0),
            )
            .map(drop)
    };
    assert_eq!(set("other", "slip"), Err(OperatorError::NotThere));
    assert_eq!(engine.len(), 2, "nothing is created");
    assert_eq!((set("other", "x"), set("db", "")), (Ok(()), Ok(())));
}

#[test]
fn a_service_is_known_by_its_configuration_its_override_or_a_breaker() {
    let (engine, _) = engine();
    engine.allow("used", "x", at(0)).unwrap();
    engine.note_service_overrides(
        [("held".to_owned(), of_service(OverrideKind::Disabled, None).into())],
        at(0),
    );
    let known = ["db", "used", "held", "none"].map(|service| engine.knows_service(service));
    assert_eq!(known, [true, true, true, false]);
    for (service, name, is_known) in [
        ("db", "", true),
        ("db", "x", false),
        ("used", "x", true),
        ("used", "", false),
        ("held", "", true),
        ("held", "held", true),
        ("held", "x", false),
        ("none", "", false),
    ] {
        assert_eq!(engine.knows_breaker(service, name, at(0)), is_known, "{service} {name}");
    }
}

#[test]
fn the_override_of_a_service_is_shown_on_its_own_breaker_though_that_is_not_in_use() {
    let (engine, _) = engine();
    engine.note_service_overrides(
        [("held".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())],
        at(0),
    );
    let state = |service, name| engine.view_inherited(service, name, at(0)).map(|view| view.state);
    assert_eq!(state("held", ""), Some(State::ForcedOpen));
    assert_eq!(state("held", "held"), Some(State::ForcedOpen));
    assert_eq!((state("held", "x"), state("none", "")), (None, None));
    assert_eq!(engine.len(), 1, "a look creates nothing");
}

#[test]
fn a_configured_breaker_that_was_used_is_there_to_delete() {
    let (engine, _) = engine();
    assert!(!engine.delete("db", "", ann(), at(0)).unwrap().changed, "nobody has used it");
    engine.allow("db", "", at(0)).unwrap();
    assert!(engine.delete("db", "", ann(), at(0)).unwrap().changed);
}

#[test]
fn a_configured_breaker_that_changed_its_state_in_an_earlier_life_is_there_to_delete() {
    let (engine, _) = engine();
    let closed = Snapshot { epoch: 7, entered_at: at(0), ..Snapshot::pristine() };
    engine.restore(&Key::new("db", "").unwrap(), &closed, None, 0, at(0));
    assert_eq!(engine.delete("db", "", ann(), at(0)), Ok(Deleted { epoch: 8, changed: true }));
}

#[test]
fn debug_output_of_an_engine_counts_its_breakers() {
    assert_eq!(format!("{:?}", engine().0), "Engine { breakers: 1, .. }");
}

#[test]
fn of_breakers_with_an_override_of_their_own_ten_are_named_and_all_are_counted() {
    let limits =
        Limits { breakers_max: 100, breakers_per_service_max: 100, breakers_per_caller_max: 100, ..LIMITS };
    let catalog = catalog(&declaration(), 1);
    let engine = Engine::new(limits, identity(1), &catalog, Box::new(Kept::default()), at(0));
    for number in 10..22 {
        let name = format!("b{number}");
        let set = own(OverrideKind::Disabled);
        engine.set_override(Creator::Server, Unknown::Create, "web", &name, set, at(0)).unwrap();
    }
    engine.note_service_overrides(
        [("web".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())],
        at(0),
    );
    let mut walk = engine.walk(Some("web"), ann());
    while engine.walk_on(&mut walk, 1, at(0)) {}
    let reached = walk.reached();
    assert_eq!((reached.changed, reached.own_overrides), (0, 12));
    let named: Vec<_> = reached.own_override_keys.iter().map(|key| key.name().to_string()).collect();
    assert_eq!(named, (10..20).map(|number| format!("b{number}")).collect::<Vec<_>>());
}

#[test]
fn a_walk_stops_when_so_many_have_changed() {
    let (engine, _) = engine();
    for name in ["a", "b", "c"] {
        engine.allow("db", name, at(0)).unwrap();
    }
    engine.note_service_overrides(
        [("db".to_owned(), of_service(OverrideKind::ForcedOpen, None).into())],
        at(0),
    );
    let mut walk = engine.walk(Some("db"), ann());
    assert!(engine.walk_on(&mut walk, 3, at(0)));
    assert_eq!(walk.reached().changed, 3);
    assert!(!engine.walk_on(&mut walk, 3, at(0)));
    assert_eq!(walk.reached().changed, 4);
}

#[test]
fn what_metrics_only_keeps_from_opening_is_counted_and_is_no_transition() {
    let (engine, kept) = engine();
    for times in [1, 2] {
        let set = own(OverrideKind::MetricsOnly);
        engine.set_override(Creator::Server, Unknown::Create, "db", "", set, at(0)).unwrap();
        trip(&engine, "db", "", at(0));
        let counted = engine.view("db", "", at(0)).unwrap().counters.opened.unwrap();
        assert_eq!(counted.shadows, times);
        assert!(counted.transitions.keys().all(|(_, to, _)| *to != State::Open));
        engine.clear_override("db", "", ann(), at(0)).unwrap();
    }
    assert_eq!(kept.edges().len(), 6, "the crossing is in the history");
}
