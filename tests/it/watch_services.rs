//! What `WatchBreakers` says of services, and whose states it sends: over a real channel.

use std::sync::Arc;
use std::time::Duration;

use breakerd::catalog::{Catalog, Declaration};
use breakerd::store::Position;
use breakerd_api::v1::watch_breakers_response::Event;
use breakerd_api::v1::{self, State, WatchBreakersRequest};

use breakerd_common::clock::Clock as _;

use crate::grpc_breakers::wire;
use crate::grpc_world::{World, ask, trip};
use crate::watch_breakers::event;

type Stream = tonic::Streaming<v1::WatchBreakersResponse>;

async fn watch(world: &World, services: &[&str]) -> Stream {
    let services = services.iter().map(|service| (*service).to_owned()).collect();
    let request = WatchBreakersRequest { services, service_prefix: String::new() };
    world.breakers().await.watch_breakers(request).await.unwrap().into_inner()
}

async fn service(stream: &mut Stream) -> v1::ServiceState {
    match event(stream).await {
        Event::Service(state) => state,
        other => panic!("{other:?}"),
    }
}

/// Reads the snapshot: the services in it.
async fn services(stream: &mut Stream) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        match event(stream).await {
            Event::Service(state) => names.push(state.service),
            Event::Bookmark(_) => return names,
            Event::Hello(_) | Event::Breaker(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

fn update(service: &str, failures: u32) -> v1::UpdateConfigRequest {
    v1::UpdateConfigRequest {
        service: service.into(),
        thresholds: Some(v1::Thresholds {
            failure_threshold: Some(failures),
            wait_duration_in_open_state: wire(30, 0),
            ..v1::Thresholds::default()
        }),
        ..v1::UpdateConfigRequest::default()
    }
}

#[tokio::test]
async fn a_snapshot_says_whose_it_is_and_what_services_are_judged_by_ahead_of_their_breakers() {
    let world = World::new().await;
    trip(&mut world.breakers().await, "sentinel", "a").await;
    let mut stream = watch(&world, &[]).await;
    let Event::Hello(hello) = event(&mut stream).await else { panic!("no hello") };
    let engine = &world.app.loaded().unwrap().engine;
    assert_eq!((hello.boot, hello.enabled), (engine.issuer(), true));
    assert_eq!(hello.heartbeat_interval, wire(5, 0));
    let defaults = service(&mut stream).await;
    let thresholds = defaults.thresholds.unwrap();
    assert_eq!((&*defaults.service, thresholds.failure_threshold, defaults.deleted), ("", Some(5), false));
    let sentinel = service(&mut stream).await;
    assert_eq!((&*sentinel.service, sentinel.config_revision), ("sentinel", 1));
    assert_eq!(sentinel.override_state(), State::Unspecified);
    let thresholds = sentinel.thresholds.unwrap();
    assert_eq!(
        (thresholds.failure_threshold, thresholds.wait_duration_in_open_state),
        (Some(3), wire(120, 0))
    );
    let Event::Breaker(state) = event(&mut stream).await else { panic!("no breaker") };
    assert_eq!((&*state.name, state.state(), state.open_count), ("a", State::Open, 1));
    assert!(matches!(event(&mut stream).await, Event::Bookmark(_)));
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn new_thresholds_are_sent_ahead_of_the_states_that_are_judged_by_them() {
    let world = World::new().await;
    trip(&mut world.breakers().await, "sentinel", "a").await;
    let mut stream = watch(&world, &["sentinel"]).await;
    assert_eq!(services(&mut stream).await, ["", "sentinel"]);
    for round in 1..20 {
        // Of another service: nobody here asked for it.
        world.configs().await.update_config(update("database", round)).await.unwrap();
        let mut longer = update("sentinel", 7);
        longer.thresholds.as_mut().unwrap().wait_duration_in_open_state = wire(30 + i64::from(round), 0);
        world.configs().await.update_config(longer).await.unwrap();
        let sentinel = service(&mut stream).await;
        assert_eq!(sentinel.thresholds.unwrap().failure_threshold, Some(7));
        let Event::Breaker(state) = event(&mut stream).await else { panic!("no breaker") };
        assert_eq!(state.config_revision, sentinel.config_revision, "round {round}");
        assert_eq!(state.remaining_wait, wire(30 + i64::from(round), 0));
    }
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_state_that_is_judged_by_thresholds_before_they_are_published_waits_for_them() {
    let world = World::new().await;
    trip(&mut world.breakers().await, "sentinel", "a").await;
    let mut stream = watch(&world, &["sentinel"]).await;
    services(&mut stream).await;
    // As in the middle of a change: the engine has the new thresholds, and moves the end of the wait.
    let wait = breaker::Value::Duration(Duration::from_secs(40));
    let layer = breaker::Layer::default().with(breaker::Field::Timeout, wait).unwrap();
    let set = [("sentinel".to_owned(), layer)].into();
    let catalog = Catalog::new(&Declaration { enabled: true, ..Declaration::default() }, 2, &set).unwrap();
    world.app.loaded().unwrap().engine.apply(&Arc::new(catalog), world.clock.now());
    for _ in 0..100 {
        world.breakers().await.allow_request(ask("database", "")).await.unwrap();
    }
    world.configs().await.update_config(update("sentinel", 7)).await.unwrap();
    assert_eq!(service(&mut stream).await.config_revision, 2);
    let Event::Breaker(state) = event(&mut stream).await else { panic!("no breaker") };
    assert_eq!((state.config_revision, state.remaining_wait), (2, wire(30, 0)));
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn an_override_of_a_service_is_sent_with_what_is_left_of_it_and_its_end_too() {
    let world = World::new().await;
    let mut operations = world.operations().await;
    let mut stream = watch(&world, &[]).await;
    assert_eq!(services(&mut stream).await, ["", "sentinel"]);
    let set = v1::SetOverrideRequest {
        service: "mail".into(),
        state: State::ForcedOpen as i32,
        reason: "the provider is down".into(),
        service_wide: true,
        create: true,
        ttl: wire(600, 0),
        ..v1::SetOverrideRequest::default()
    };
    operations.set_override(set).await.unwrap();
    let mail = service(&mut stream).await;
    assert_eq!((&*mail.service, mail.override_state()), ("mail", State::ForcedOpen));
    assert_eq!((mail.remaining_override, mail.deleted), (wire(600, 0), false));

    world.clock.advance(Duration::from_mins(4));
    let mut later = watch(&world, &["mail"]).await;
    let Event::Hello(_) = event(&mut later).await else { panic!("no hello") };
    assert_eq!(service(&mut later).await.service, "");
    assert_eq!(service(&mut later).await.remaining_override, wire(360, 0));

    let clear = v1::ClearOverrideRequest {
        service: "mail".into(),
        reason: "it is back".into(),
        service_wide: true,
        ..v1::ClearOverrideRequest::default()
    };
    operations.clear_override(clear).await.unwrap();
    let mail = service(&mut stream).await;
    assert_eq!((mail.override_state(), mail.deleted), (State::Unspecified, true));
    drop((stream, later));
    world.end().await;
}

#[tokio::test]
async fn a_service_without_a_configuration_of_its_own_any_more_is_sent_as_deleted() {
    let world = World::new().await;
    world.configs().await.update_config(update("database", 7)).await.unwrap();
    let mut stream = watch(&world, &["database"]).await;
    assert_eq!(services(&mut stream).await, ["", "database"]);
    let delete = v1::DeleteConfigRequest { service: "database".into(), ..v1::DeleteConfigRequest::default() };
    world.configs().await.delete_config(delete).await.unwrap();
    let database = service(&mut stream).await;
    assert!(database.deleted);
    assert_eq!(database.thresholds.unwrap().failure_threshold, Some(5), "the defaults");
    drop(stream);
    world.end().await;
}

/// A declaration of so many services.
fn declaration(services: usize) -> Declaration {
    let layer =
        breaker::Layer::default().with(breaker::Field::FailureThreshold, breaker::Value::Count(7)).unwrap();
    let services = (0..services).map(|number| (format!("service-{number:03}"), layer.clone())).collect();
    Declaration { enabled: true, services, ..Declaration::default() }
}

#[tokio::test]
async fn services_that_change_together_are_each_sent_or_a_snapshot_if_there_are_too_many() {
    let world = World::new().await;
    let mut stream = watch(&world, &[]).await;
    services(&mut stream).await;
    // All of them under one revision: the store takes a file whole.
    let control = &world.app.loaded().unwrap().control;
    control.declare(&declaration(40)).await.unwrap();
    let mut sent = std::collections::BTreeSet::new();
    while sent.len() < 41 {
        sent.insert(service(&mut stream).await.service);
    }
    assert!(sent.contains("sentinel"), "it has no configuration of its own any more");

    control.declare(&declaration(400)).await.unwrap();
    assert!(matches!(event(&mut stream).await, Event::Resync(_)));
    assert_eq!(services(&mut stream).await.len(), 401);
    world.configs().await.update_config(update("service-007", 9)).await.unwrap();
    assert_eq!(service(&mut stream).await.service, "service-007");
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn when_the_store_goes_back_the_states_are_sent_again_under_its_new_timeline() {
    let world = World::new().await;
    trip(&mut world.breakers().await, "sentinel", "a").await;
    let mut stream = watch(&world, &[]).await;
    let Event::Hello(before) = event(&mut stream).await else { panic!("no hello") };
    services(&mut stream).await;
    let restored = Position { timeline: 7, ..world.store.position(0).await.unwrap() };
    world.app.loaded().unwrap().feeds.reset(&restored, world.clock.now());
    assert!(matches!(event(&mut stream).await, Event::Resync(_)));
    let Event::Hello(after) = event(&mut stream).await else { panic!("no hello") };
    assert_eq!((after.timeline, after.boot), (7, before.boot));
    assert_ne!(after.timeline, before.timeline);
    assert_eq!(services(&mut stream).await, ["", "sentinel"]);
    drop(stream);
    world.end().await;
}
