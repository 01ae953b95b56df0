//! Overrides of whole services, over a real channel, and after a crash in the middle of one.

use std::time::Duration;

use breaker::{Attribution, OverrideKind};
use breakerd::store::{ConfigEdit, ConfigWrite, ConfigWritten, ServiceOverride, Target, open};
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::{
    ClearOverrideRequest, GetBreakerRequest, Outcome, RecordResult, ResetBreakerRequest, SetOverrideRequest,
    State,
};
use tonic::Code;
use tonic::transport::Channel;
use tonic_types::StatusExt as _;

use crate::grpc_operator_actions::{clear, force_open, history, reset, seconds, wrong_state};
use crate::grpc_world::{START, World, ask, report};
use crate::process::{Process, eventually};
use crate::support::new_database;

/// The state of a breaker, and whether it has that from its service.
async fn state(
    operations: &mut OperationsServiceClient<Channel>,
    service: &str,
    name: &str,
) -> (State, Option<bool>) {
    let get = GetBreakerRequest { service: service.into(), name: name.into() };
    let breaker = operations.get_breaker(get).await.unwrap().into_inner().breaker.unwrap();
    (breaker.state(), breaker.r#override.map(|set| set.service_wide))
}

#[tokio::test]
async fn an_override_of_a_service_that_has_ended_is_not_shown() {
    let world = World::new().await;
    world.keep_writing();
    let (mut operations, mut configs) = (world.operations().await, world.configs().await);
    let whole = SetOverrideRequest { service_wide: true, ttl: Some(seconds(60)), ..force_open("db") };
    operations.set_override(whole).await.unwrap();
    world.clock.advance(Duration::from_secs(59));
    assert!(crate::grpc_config::get(&mut configs, "db").await.r#override.is_some());
    // Nobody has taken it out of the store yet.
    world.clock.advance(Duration::from_secs(1));
    assert!(world.store.configuration().await.unwrap().overrides.contains_key("db"));
    assert_eq!(crate::grpc_config::get(&mut configs, "db").await.r#override, None);
    let list = breakerd_api::v1::ListConfigsRequest::default();
    let listed = configs.list_configs(list).await.unwrap().into_inner().configs;
    assert!(listed.iter().all(|config| config.r#override.is_none()), "{listed:?}");
    let watch = breakerd_api::v1::WatchConfigRequest::default();
    let mut stream = crate::watch_config::watch(&mut configs, watch).await;
    loop {
        use breakerd_api::v1::watch_config_response::Event;
        match crate::watch_config::news(&mut stream).await.0 {
            Event::Config(config) => assert_eq!(config.r#override, None, "{}", config.service),
            Event::Bookmark(_) => break,
            other => panic!("{other:?}"),
        }
    }
    drop(stream);
    world.end().await;
}

#[tokio::test]
async fn a_whole_service_is_switched_off_with_all_the_breakers_it_has_and_will_have() {
    let world = World::new().await;
    world.keep_writing();
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let before = breakers.allow_request(ask("db", "a")).await.unwrap().into_inner();
    breakers.allow_request(ask("db", "")).await.unwrap();
    breakers.allow_request(ask("other", "")).await.unwrap();
    let own = SetOverrideRequest {
        name: "own".into(),
        state: State::Disabled as i32,
        ttl: Some(seconds(60)),
        ..force_open("db")
    };
    operations.set_override(own).await.unwrap();

    let whole = SetOverrideRequest { service_wide: true, ..force_open("db") };
    let set = operations.set_override(whole.clone()).await.unwrap().into_inner();
    assert_eq!(
        (set.breakers_changed, set.persisted, set.breaker),
        (2, true, None),
        "all but the one of its own"
    );
    let again = operations.set_override(whole).await.unwrap().into_inner();
    assert_eq!(again.breakers_changed, 0, "the same again is no change");
    for (service, name, allowed) in [
        ("db", "a", false),
        ("db", "", false),
        ("db", "born", false),
        ("db", "own", true),
        ("other", "", true),
    ] {
        let answer = breakers.allow_request(ask(service, name)).await.unwrap().into_inner();
        assert_eq!(answer.allowed, allowed, "{service} {name}");
    }
    let late = breakers.record_outcome(report(&before, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!(late.result(), RecordResult::Late);
    assert_eq!(state(&mut operations, "db", "born").await, (State::ForcedOpen, Some(true)));

    let of_service = ClearOverrideRequest { name: "a".into(), ..clear("db") };
    let status = operations.clear_override(of_service).await.unwrap_err();
    assert_eq!(wrong_state(&status).0, "FORCED_OPEN");
    let status = operations.reset_breaker(reset("db")).await.unwrap_err();
    assert_eq!(wrong_state(&status).1, "no service-wide override");
    let cleared = ClearOverrideRequest { name: "own".into(), ..clear("db") };
    let cleared = operations.clear_override(cleared).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!((cleared.state(), cleared.epoch), (State::ForcedOpen, 3), "it takes its service's up");

    let whole = ClearOverrideRequest { service_wide: true, ..clear("db") };
    let cleared = operations.clear_override(whole.clone()).await.unwrap().into_inner();
    assert_eq!((cleared.breakers_changed, cleared.persisted, cleared.breaker), (4, true, None));
    for name in ["", "a", "born", "own", "newborn"] {
        assert!(breakers.allow_request(ask("db", name)).await.unwrap().into_inner().allowed, "{name}");
    }
    let status = operations.clear_override(whole).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert_eq!(status.get_details_error_info().unwrap().reason, "NO_OVERRIDE");
    let rows = history(&mut operations, "db").await;
    let cleared = "FORCED_OPEN CLOSED OVERRIDE_CLEARED anonymous@127.0.0.1: done";
    assert_eq!(rows[..4], [cleared; 4]);
    world.end().await;
}

#[tokio::test]
async fn an_override_of_a_service_ends_by_itself_on_every_breaker() {
    let world = World::new().await;
    world.keep_writing();
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    breakers.allow_request(ask("db", "old")).await.unwrap();
    let whole = SetOverrideRequest { service_wide: true, ttl: Some(seconds(90)), ..force_open("db") };
    operations.set_override(whole).await.unwrap();
    let denied = breakers.allow_request(ask("db", "born")).await.unwrap().into_inner();
    assert_eq!((denied.allowed, denied.retry_after), (false, Some(seconds(90))));
    world.clock.advance(Duration::from_secs(90));
    for name in ["old", "born", "newborn"] {
        assert!(breakers.allow_request(ask("db", name)).await.unwrap().into_inner().allowed, "{name}");
    }
    let whole = ClearOverrideRequest { service_wide: true, ..clear("db") };
    let status = operations.clear_override(whole).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "it has ended");
    let loaded = world.app.loaded().unwrap();
    let control = &loaded.control;
    assert!(control.configuration().overrides().contains_key("db"));
    let ended = loaded.engine.ended_service_overrides(breakerd_common::clock::Clock::now(&world.clock));
    let (service, ended) = ended.into_iter().next().unwrap();
    let another = breaker::Override { reason: "set meanwhile".to_owned(), ..ended.clone() };
    control.forget_override(&service, another).await.unwrap();
    assert!(control.configuration().overrides().contains_key("db"), "that one has not ended");
    control.forget_override(&service, ended).await.unwrap();
    assert!(control.configuration().overrides().is_empty());
    world.end().await;
}

#[tokio::test]
async fn while_the_store_is_away_a_whole_service_is_refused_and_nothing_changes() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    breakers.allow_request(ask("db", "")).await.unwrap();
    world.store.close().await;
    let whole = SetOverrideRequest { service_wide: true, ..force_open("db") };
    let status = operations.set_override(whole).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status:?}");
    assert!(breakers.allow_request(ask("db", "")).await.unwrap().into_inner().allowed);
    world.end().await;
}

#[tokio::test]
async fn what_a_crash_left_of_a_services_override_is_made_good_at_the_start_on_sqlite() {
    made_good(None).await;
}

#[tokio::test]
async fn what_a_crash_left_of_a_services_override_is_made_good_at_the_start_on_postgres() {
    made_good(Some(new_database().await)).await;
}

/// The row of one service is gone from the store, and that of another is there, and no breaker has heard of it.
async fn made_good(url: Option<String>) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\n").unwrap();
    let process = Process::ready(folder.path(), url.as_deref()).await;
    let mut breakers = process.breakers().await;
    let mut operations = process.operations().await;
    for service in ["left", "missed"] {
        // One transition, so that the store knows of the breaker.
        breakers.allow_request(ask(service, "")).await.unwrap();
        let request = ResetBreakerRequest { service: service.into(), ..reset("db") };
        assert!(operations.reset_breaker(request).await.unwrap().into_inner().persisted);
    }
    let whole = SetOverrideRequest { service_wide: true, ..force_open("left") };
    assert!(operations.set_override(whole).await.unwrap().into_inner().persisted);
    process.kill();

    let target = match &url {
        Some(url) => Target::Postgres(url.clone()),
        None => Target::Sqlite(folder.path().join("data/breakerd.db")),
    };
    let store = open(&target).await.unwrap();
    for (service, set) in [("left", None), ("missed", Some(OverrideKind::Disabled))] {
        let attribution = Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() };
        let set = set.map(|kind| ServiceOverride {
            kind,
            expires_at: None,
            ttl: None,
            attribution: attribution.clone(),
            set_at: START,
            revision: 0,
        });
        let write = ConfigWrite {
            based_on: store.configuration().await.unwrap().revision,
            edit: ConfigEdit::Override { service: service.to_owned(), set, not_before: None },
            touched: [service.to_owned()].into(),
            attribution,
            request: None,
            waits: &|_, _| None,
        };
        assert!(matches!(store.write_config(&write).await.unwrap(), ConfigWritten::Written(_)));
    }
    store.close().await;

    let process = Process::ready(folder.path(), url.as_deref()).await;
    let operations = process.operations().await;
    eventually("the breakers are as their services are, and the history has it", async || {
        state(&mut operations.clone(), "left", "").await == (State::Closed, None)
            && state(&mut operations.clone(), "missed", "").await == (State::Disabled, Some(true))
            && history(&mut operations.clone(), "missed").await.len() == 2
    })
    .await;
    assert!(process.stop().await.success());
}
