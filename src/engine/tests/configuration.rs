//! Catalogs: what is configured, and what changes with it.

use super::*;

#[test]
fn configured_services_have_a_breaker_before_anybody_asks() {
    let (engine, _) = engine();
    assert_eq!(engine.len(), 1);
    assert!(engine.view("db", "", at(0)).is_some());
    assert!(engine.view("other", "", at(0)).is_none());
}

#[test]
fn disabled_lets_everything_pass_and_records_nothing() {
    let (engine, kept) = engine();
    trip(&engine, "db", "", at(0));
    engine.apply(&catalog(&Declaration { enabled: false, ..declaration() }, 2), at(1));
    let allowed = engine.allow("db", "", at(1)).unwrap();
    assert_eq!((allowed.decision.verdict, allowed.decision.state), (Verdict::Disabled, State::Disabled));
    let taken = engine.record(by_permit(allowed.permit), &Report::plain(Outcome::Failure), at(1)).unwrap();
    assert_eq!((taken.recorded, taken.state), (Recorded::NotCounted, State::Disabled));
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
