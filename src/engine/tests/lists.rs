//! Pages of breakers.

use super::*;

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
fn the_services_and_the_breakers_in_use_come_in_order_and_no_more_than_are_wanted() {
    let limits = Limits {
        breakers_max: 2_000,
        breakers_per_service_max: 2_000,
        breakers_per_caller_max: 2_000,
        ..LIMITS
    };
    let engine =
        Engine::new(limits, identity(1), &catalog(&declaration(), 1), Box::new(Kept::default()), at(0));
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
