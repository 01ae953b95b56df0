//! Overrides of whole services, over a real channel: on SQLite, and with real processes where one dies.

use std::time::Duration;

use breakerd::proto::v1::{
    self, ChangeKind, ClearOverrideRequest, GetBreakerRequest, ListConfigChangesRequest, Outcome,
    RecordResult, SetOverrideRequest, State,
};
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask, report};
use crate::process::Process;

fn whole(service: &str, state: State, reason: &str) -> SetOverrideRequest {
    SetOverrideRequest {
        service: service.into(),
        state: state as i32,
        reason: reason.into(),
        whole_service: true,
        ..SetOverrideRequest::default()
    }
}

#[tokio::test]
async fn one_switch_holds_every_breaker_of_a_service_that_it_has_or_will_have() {
    let world = World::new().await;
    let (mut breakers, mut operations) = (world.breakers().await, world.operations().await);
    let before = breakers.allow_request(ask("mail", "a")).await.unwrap().into_inner();
    breakers.allow_request(ask("mail", "b")).await.unwrap();
    let set = operations.set_override(whole("mail", State::ForcedOpen, "the provider is down")).await;
    let set = set.unwrap().into_inner();
    assert_eq!((set.breakers_changed, set.breaker), (2, None));

    let late = breakers.record_outcome(report(&before, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!(late.result(), RecordResult::Late);
    for name in ["a", "b", "born-later"] {
        let denied = breakers.allow_request(ask("mail", name)).await.unwrap().into_inner();
        assert_eq!((denied.allowed, denied.state()), (false, State::ForcedOpen), "{name}");
    }
    assert!(breakers.allow_request(ask("other", "")).await.unwrap().into_inner().allowed);
    let get = GetBreakerRequest { service: "mail".into(), name: "born-later".into() };
    let shown = operations.get_breaker(get).await.unwrap().into_inner().breaker.unwrap();
    let held = shown.r#override.unwrap();
    assert!(held.of_service);
    assert_eq!((held.reason.as_str(), shown.epoch), ("the provider is down", 0));

    // It is the service's to clear, and no breaker may be reset under it.
    let clear = |name: &str, whole_service| ClearOverrideRequest {
        service: "mail".into(),
        name: name.into(),
        reason: "it is back".into(),
        whole_service,
    };
    let refused = operations.clear_override(clear("a", false)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    let cleared = operations.clear_override(clear("", true)).await.unwrap().into_inner();
    assert_eq!(cleared.breakers_changed, 3);
    for name in ["a", "born-later", "born-last"] {
        assert!(breakers.allow_request(ask("mail", name)).await.unwrap().into_inner().allowed, "{name}");
    }
    let again = operations.clear_override(clear("", true)).await.unwrap_err();
    assert_eq!(again.code(), Code::FailedPrecondition);
    assert_eq!(again.get_details_error_info().unwrap().reason, "NO_SERVICE_OVERRIDE");

    // One row of the audit for each of the two, however many breakers there are.
    let mut configs = world.configs().await;
    let asked = ListConfigChangesRequest { service: "mail".into(), ..Default::default() };
    let changes = configs.list_config_changes(asked).await.unwrap().into_inner().changes;
    let kinds: Vec<_> = changes.iter().map(v1::ConfigChange::kind).collect();
    assert_eq!(kinds, [ChangeKind::ServiceOverride, ChangeKind::ServiceOverride, ChangeKind::Declared]);
    assert!(changes[1].after_json.contains("FORCED_OPEN") && changes[0].after_json.is_empty());
    world.end().await;
}

#[tokio::test]
async fn an_override_of_a_service_that_ends_by_itself_is_gone_from_the_store_too() {
    let world = World::new().await;
    let mut operations = world.operations().await;
    let ttl = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    let request = SetOverrideRequest { ttl, ..whole("mail", State::Disabled, "a minute") };
    operations.set_override(request).await.unwrap();
    let control = &world.app.loaded().unwrap().control;
    assert!(control.end_overrides().await.unwrap().is_some(), "it has not ended yet");
    assert!(control.configuration().overrides().contains_key("mail"));
    world.clock.advance(Duration::from_mins(1));
    assert_eq!(control.end_overrides().await.unwrap(), None);
    assert!(world.store.configuration().await.unwrap().overrides.is_empty());
    world.end().await;
}

/// A kill between what the store has and what the breakers do is made good by the next start.
async fn a_switch_outlives_a_kill(database_url: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), database_url).await;
    let mut breakers = process.breakers().await;
    breakers.allow_request(ask("mail", "a")).await.unwrap();
    let mut operations = process.operations().await;
    operations.set_override(whole("mail", State::ForcedOpen, "down")).await.unwrap();
    process.kill();
    let process = Process::ready(folder.path(), database_url).await;
    let mut breakers = process.breakers().await;
    for name in ["a", "born-after-the-kill"] {
        let denied = breakers.allow_request(ask("mail", name)).await.unwrap().into_inner();
        assert_eq!((denied.allowed, denied.state()), (false, State::ForcedOpen), "{name}");
    }
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_switch_outlives_a_kill_on_sqlite() {
    a_switch_outlives_a_kill(None).await;
}

#[tokio::test]
async fn a_switch_outlives_a_kill_on_postgres() {
    let url = crate::support::new_database().await;
    a_switch_outlives_a_kill(Some(&url)).await;
}
