//! Pages of breakers.

use std::cell::Cell;
use std::ops::Bound;

use breaker::KEY_PART_BYTES_MAX;

use super::*;
use crate::engine::index::{ByKey, Page, Selected};

const MANY: Limits =
    Limits { breakers_max: 2_000, breakers_per_service_max: 2_000, breakers_per_caller_max: 2_000, ..LIMITS };

/// With breakers of its own of `services`.
fn of_services(services: impl IntoIterator<Item = String>) -> Engine {
    let (kept, catalog) = (Box::new(Kept::default()), catalog(&declaration(), 1));
    let engine = Engine::new(MANY, identity(1), &catalog, kept, at(0));
    for service in services {
        engine.allow(&service, "", at(0)).unwrap();
    }
    engine
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
    let engine = of_services([]);
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
    let engine = of_services([]);
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
fn the_services_and_the_breakers_in_use_come_in_order_and_no_more_than_are_wanted() {
    let engine = of_services([]);
    for number in 0..300 {
        engine.allow("many", &format!("b{number:03}"), at(0)).unwrap();
    }
    engine.allow("web", "", at(0)).unwrap();
    let services = |most| -> Vec<_> {
        let found = engine.services_in_use(most, |service| service != "db");
        found.iter().map(|key| key.service().to_string()).collect()
    };
    assert_eq!(
        (services(0), services(1), services(9)),
        (vec![], vec!["many".into()], vec!["many".into(), "web".into()])
    );
    let breakers = [0, 1, 299, 300, 301].map(|most| engine.breakers_in_use("many", most).len());
    assert_eq!(breakers, [0, 1, 299, 300, 300]);
    assert_eq!(engine.breakers_in_use("many", 2)[1].name().to_string(), "b001");
}

#[test]
fn a_list_of_a_service_begins_with_it_wherever_the_page_before_ended() {
    let (engine, _) = engine();
    engine.allow("db", "a", at(0)).unwrap();
    let list = |service, name, name_prefix| {
        let after = Key::new(service, name).unwrap();
        let query = ListQuery {
            after: Some(&after),
            service: Some("db"),
            name_prefix,
            limit: 9,
            ..ListQuery::default()
        };
        engine.list(&query, at(0), |_| true).len()
    };
    engine.allow("aaa", "x", at(0)).unwrap();
    assert_eq!(list("aa", "a", ""), 2);
    assert_eq!(list("db", "a", "a"), 0, "it ended with this one");
}

#[test]
fn one_look_at_many_changes_no_more_than_sixty_four() {
    let limits =
        Limits { breakers_max: 200, breakers_per_service_max: 200, breakers_per_caller_max: 200, ..LIMITS };
    let (kept, catalog) = (Kept::default(), catalog(&declaration(), 1));
    let engine = Engine::new(limits, identity(1), &catalog, Box::new(kept.clone()), at(0));
    let keys: Vec<_> = (0..100).map(|number| Key::new("db", &format!("b{number}")).unwrap()).collect();
    for key in &keys {
        trip(&engine, "db", key.name(), at(0));
    }
    assert_eq!(engine.views(&keys, at(30)).len(), 100);
    assert_eq!(kept.edges().len(), 100 + 64);
}

#[test]
fn a_list_has_no_more_than_its_limit_though_most_that_it_looks_at_are_of_other_names() {
    let engine = of_services((0..250).map(|number| format!("a{number:03}")));
    for number in 0..50 {
        engine.allow("b", &format!("b{number:02}"), at(0)).unwrap();
    }
    // So that its first page, of 256, has some of them.
    let query = ListQuery { name_prefix: "b", limit: 10, ..ListQuery::default() };
    let listed = engine.list(&query, at(0), |_| true);
    let names: Vec<_> = listed.iter().map(|view| view.key.name().to_string()).collect();
    assert_eq!(names, (0..10).map(|number| format!("b{number:02}")).collect::<Vec<_>>());
}

#[test]
fn one_that_was_retired_is_not_in_use() {
    let (engine, _) = engine();
    engine.allow("web", "x", at(0)).unwrap();
    assert_eq!(engine.sweep(u64::MAX, at(3_600)), 1);
    assert_eq!(engine.services_in_use(9, |_| true), [Key::new("db", "").unwrap()]);
    assert!(engine.breakers_in_use("web", 9).is_empty());
}

#[test]
fn a_page_ends_when_it_has_what_is_wanted_or_after_so_many_looks() {
    let engine = of_services((0..300).map(|number| format!("s{number:03}")));
    let page = |most, selected| {
        let looks = Cell::new(0);
        let select = |_: &Key| {
            looks.set(looks.get() + 1);
            selected
        };
        let Page { entries, next } = engine.registry.index().page(State::ALL, Bound::Unbounded, most, select);
        (looks.get(), entries.len(), next)
    };
    let behind = |service: &str, name: &str| Some(Bound::Excluded(Key::new(service, name).unwrap()));
    assert_eq!(page(3, Selected::Yes), (3, 3, behind("s001", "s001")), "db is the first");
    assert_eq!(page(256, Selected::Yes), (256, 256, behind("s254", "s254")));
    assert_eq!(page(301, Selected::Yes), (256, 256, behind("s254", "s254")));
    assert_eq!(page(1, Selected::No), (256, 0, behind("s254", "s254")));
    assert_eq!(page(1, Selected::NoneAfter), (1, 0, None));
    let (looks, found, next) = page(1, Selected::NoneOfService);
    assert_eq!((looks, found, next), (256, 0, behind("s254", &"z".repeat(KEY_PART_BYTES_MAX))));
}

#[test]
fn pointers_to_breakers_compare_as_their_keys() {
    let engine = of_services(["a".to_owned(), "b".to_owned()]);
    let pointer = |wanted: &str| {
        let entry = engine.registry.entries_of(|service| service == wanted).remove(0);
        ByKey(entry)
    };
    let (a, b) = (pointer("a"), pointer("b"));
    assert!(a == pointer("a") && a != b);
    assert!(a < b);
}
