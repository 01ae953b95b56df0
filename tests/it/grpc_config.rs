//! `ConfigService`, over a real channel.

use std::time::Duration;

use breakerd_api::v1;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{
    ChangeKind, ConfigSource, DeleteConfigRequest, GetConfigRequest, ListConfigChangesRequest,
    ListConfigsRequest, Outcome, State, Thresholds, UpdateConfigRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask, report, trip};
use crate::process::Process;

type Client = ConfigServiceClient<Channel>;

pub(crate) fn failures(threshold: u32) -> Thresholds {
    Thresholds { failure_threshold: Some(threshold), ..Thresholds::default() }
}

pub(crate) fn set(service: &str, thresholds: Thresholds) -> UpdateConfigRequest {
    UpdateConfigRequest {
        service: service.into(),
        thresholds: Some(thresholds),
        reason: "a drill".into(),
        ..UpdateConfigRequest::default()
    }
}

#[tokio::test]
async fn a_service_may_be_configured_before_its_first_call_unless_it_must_exist() {
    let world = World::new().await;
    let mut configs = world.configs().await;
    let strict = |service| UpdateConfigRequest { must_exist: true, ..set(service, failures(9)) };
    for request in [strict("new"), UpdateConfigRequest { validate_only: true, ..strict("new") }] {
        let status = configs.update_config(request).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.get_details_error_info().unwrap().reason, "SERVICE_NOT_FOUND");
        let resource = status.get_details_resource_info().unwrap();
        assert_eq!(
            (&*resource.resource_type, &*resource.resource_name),
            ("breakerd.v1.ServiceConfig", "new")
        );
    }
    assert!(configs.update_config(set("new", failures(8))).await.unwrap().into_inner().changed);
    assert!(configs.update_config(strict("new")).await.unwrap().into_inner().changed);
    let delete = DeleteConfigRequest { service: "new".into(), ..DeleteConfigRequest::default() };
    assert!(configs.delete_config(delete).await.unwrap().into_inner().changed);
    let status = configs.update_config(strict("new")).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound, "what was unset makes it unknown again");
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages take an Option")]
fn mask(paths: &[&str]) -> Option<prost_types::FieldMask> {
    Some(prost_types::FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

pub(crate) async fn get(client: &mut Client, service: &str) -> v1::ServiceConfig {
    let request = GetConfigRequest { service: service.into(), must_exist: false };
    client.get_config(request).await.unwrap().into_inner().config.unwrap()
}

pub(crate) async fn update(client: &mut Client, request: UpdateConfigRequest) -> (v1::ServiceConfig, bool) {
    let done = client.update_config(request).await.unwrap().into_inner();
    (done.config.unwrap(), done.changed)
}

fn faults(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn thresholds_that_are_hardly_meant_are_taken_with_a_warning() {
    let world = World::new().await;
    let mut client = world.configs().await;
    assert_eq!(get(&mut client, "orders").await.warnings, Vec::<String>::new());
    let (config, changed) = update(&mut client, set("orders", failures(0))).await;
    assert!(changed);
    assert!(config.warnings[0].contains("breakers never open"), "{:?}", config.warnings);
    assert_eq!(get(&mut client, "orders").await.warnings, config.warnings, "and are shown with it");
    let thresholds = Thresholds {
        failure_rate_threshold: Some(50.0),
        sliding_window_size: Some(50),
        minimum_number_of_calls: Some(500),
        ..Thresholds::default()
    };
    let (config, _) = update(&mut client, set("orders", thresholds)).await;
    assert_eq!(config.thresholds.unwrap().minimum_number_of_calls, Some(50), "what it comes to");
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].contains("500 has the effect of 50"), "{:?}", config.warnings);
    world.end().await;
}

#[tokio::test]
async fn each_field_is_shown_with_the_layer_it_comes_from() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let shown = get(&mut client, "sentinel").await;
    assert_eq!(shown.thresholds.as_ref().unwrap().failure_threshold, Some(3));
    assert_eq!(shown.sources["failure_threshold"], ConfigSource::FileService as i32);
    assert_eq!(shown.sources["wait_duration_in_open_state"], ConfigSource::FileService as i32);
    assert_eq!(shown.sources["multiplier"], ConfigSource::BuiltIn as i32);
    assert_eq!(shown.sources.len(), breaker::Field::ALL.len());
    assert_eq!((shown.api_thresholds, shown.revision, shown.enabled), (Some(Thresholds::default()), 1, true));

    let (after, changed) = update(&mut client, set("sentinel", failures(9))).await;
    assert!(changed);
    assert_eq!(after.sources["failure_threshold"], ConfigSource::Api as i32);
    assert_eq!((after.api_thresholds.as_ref(), after.revision), (Some(&failures(9)), 2));
    assert_ne!(after.etag, shown.etag);
    assert_eq!(get(&mut client, "sentinel").await, after);

    let nobodys = get(&mut client, "nobody").await;
    assert_eq!(nobodys.thresholds, get(&mut client, "").await.thresholds);
    assert_eq!((nobodys.revision, nobodys.deleted), (0, false));
    world.end().await;
}

#[tokio::test]
async fn a_change_acts_on_running_breakers_and_leaves_their_counts() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut client = world.configs().await;
    // Scenario 37: three failures are counted under a threshold of 5, and the threshold becomes 3.
    for _ in 0..3 {
        let allowed = breakers.allow_request(ask("orders", "")).await.unwrap().into_inner();
        breakers.record_outcome(report(&allowed, Outcome::Failure)).await.unwrap();
    }
    update(&mut client, set("orders", failures(3))).await;
    let allowed = breakers.allow_request(ask("orders", "")).await.unwrap().into_inner();
    assert_eq!((allowed.state(), allowed.config_revision), (State::Closed, 2), "never on a change");
    let done = breakers.record_outcome(report(&allowed, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!(done.state(), State::Open);
    // Scenario 38: the same again is nothing.
    let (same, changed) = update(&mut client, set("orders", failures(3))).await;
    assert_eq!((same.revision, changed), (2, false));
    assert_eq!(world.store.revision().await.unwrap(), 2);
    world.end().await;
}

#[tokio::test]
async fn a_wait_that_is_changed_ends_at_its_new_end_and_the_store_says_so() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut client = world.configs().await;
    trip(&mut breakers, "orders", "").await;
    world.write_behind().await;
    let wait = prost_types::Duration { seconds: 20, nanos: 0 };
    let thresholds = Thresholds { wait_duration_in_open_state: Some(wait), ..Thresholds::default() };
    update(&mut client, set("orders", thresholds)).await;
    let stored = world.store.breakers(None, 9).await.unwrap();
    assert_eq!(stored[0].snapshot.wait, Some(Duration::from_secs(20)));
    assert_eq!(stored[0].revision, 3);
    world.clock.advance(Duration::from_secs(19));
    assert!(!breakers.allow_request(ask("orders", "")).await.unwrap().into_inner().allowed);
    world.clock.advance(Duration::from_secs(1));
    let allowed = breakers.allow_request(ask("orders", "")).await.unwrap().into_inner();
    assert_eq!((allowed.allowed, allowed.state()), (true, State::HalfOpen));
    world.end().await;
}

#[tokio::test]
async fn a_mask_says_what_is_meant() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let both = Thresholds { success_threshold: Some(4), ..failures(9) };
    update(&mut client, set("a", both.clone())).await;
    // What is named and not given is taken back; what is given and not named is left.
    let one = UpdateConfigRequest {
        update_mask: mask(&["success_threshold"]),
        ..set("a", Thresholds { minimum_reporters: Some(2), ..failures(7) })
    };
    let (after, _) = update(&mut client, one).await;
    assert_eq!(after.api_thresholds, Some(failures(9)));
    let whole = UpdateConfigRequest { update_mask: mask(&["*"]), ..set("a", both.clone()) };
    assert_eq!(update(&mut client, whole).await.0.api_thresholds, Some(both));
    let wait = UpdateConfigRequest { update_mask: mask(&["timeout_seconds"]), ..set("a", failures(1)) };
    assert!(!update(&mut client, wait).await.1, "the file's name will do, and nothing is set under it");
    let wrong = UpdateConfigRequest {
        service: "no good".into(),
        update_mask: mask(&["failure_treshold"]),
        ..set("", Thresholds { failure_rate_threshold: Some(120.0), ..Thresholds::default() })
    };
    let status = client.update_config(wrong).await.unwrap_err();
    assert_eq!(faults(&status), ["thresholds.failure_rate_threshold", "update_mask.paths[0]", "service"]);
    assert!(status.message().contains("did you mean failure_threshold?"), "{}", status.message());
    let status = client
        .update_config(UpdateConfigRequest { update_mask: mask(&["*", "max_wait"]), ..set("a", failures(1)) })
        .await
        .unwrap_err();
    assert_eq!(faults(&status), ["update_mask"]);
    world.end().await;
}

#[tokio::test]
async fn what_the_layers_come_to_is_checked_whole() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let wait = prost_types::Duration { seconds: 30, nanos: 0 };
    let contradiction =
        Thresholds { max_wait: Some(wait), slow_call_rate_threshold: Some(50.0), ..Thresholds::default() };
    let status = client.update_config(set("sentinel", contradiction)).await.unwrap_err();
    assert_eq!(faults(&status), ["thresholds.slow_call_rate_threshold", "thresholds.max_wait"]);
    assert!(status.message().contains("at least timeout_seconds (2m)"), "{}", status.message());
    assert_eq!(world.store.revision().await.unwrap(), 1, "nothing was changed");
    world.end().await;
}

#[tokio::test]
async fn to_only_try_a_change_changes_nothing() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let before = get(&mut client, "sentinel").await;
    let tried = UpdateConfigRequest { validate_only: true, ..set("sentinel", failures(9)) };
    let (would_be, changed) = update(&mut client, tried).await;
    assert_eq!((would_be.api_thresholds.unwrap(), changed), (failures(9), true));
    assert_eq!(get(&mut client, "sentinel").await, before);
    assert_eq!(world.store.revision().await.unwrap(), 1);
    world.end().await;
}

#[tokio::test]
async fn no_change_is_lost_between_eight_who_read_and_write() {
    let world = World::new().await;
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let mut client = world.configs().await;
        racers.spawn(async move {
            for _ in 0..5 {
                loop {
                    let read = get(&mut client, "shared").await;
                    let next = read.api_thresholds.unwrap().failure_threshold.unwrap_or(1) + 1;
                    let request = UpdateConfigRequest { etag: read.etag, ..set("shared", failures(next)) };
                    match client.update_config(request).await {
                        Ok(_) => break,
                        Err(status) => {
                            assert_eq!(status.code(), Code::Aborted, "{status:?}");
                            let info = status.get_details_error_info().unwrap();
                            assert_eq!(info.reason, "ETAG_MISMATCH");
                        }
                    }
                }
            }
        });
    }
    while let Some(ended) = racers.join_next().await {
        ended.unwrap();
    }
    let mut client = world.configs().await;
    let last = get(&mut client, "shared").await;
    assert_eq!(last.api_thresholds.unwrap().failure_threshold, Some(41));
    assert_eq!(last.revision, 41);
    world.end().await;
}

#[tokio::test]
async fn an_etag_is_of_one_service_and_not_of_the_others() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let read = get(&mut client, "a").await;
    update(&mut client, set("b", failures(9))).await;
    let request = UpdateConfigRequest { etag: read.etag, ..set("a", failures(9)) };
    assert!(update(&mut client, request).await.1);
    world.end().await;
}

#[tokio::test]
async fn a_request_sent_again_is_made_once() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let read = get(&mut client, "a").await;
    let request = UpdateConfigRequest { etag: read.etag, request_id: "6f1c".into(), ..set("a", failures(9)) };
    assert!(update(&mut client, request.clone()).await.1);
    update(&mut client, set("a", failures(4))).await;
    // Its answer was lost: it comes again, with the etag of before.
    let (config, changed) = update(&mut client, request.clone()).await;
    assert_eq!((config.api_thresholds.unwrap(), changed), (failures(4), false));
    let other = UpdateConfigRequest { reason: "another".into(), ..request };
    let status = client.update_config(other).await.unwrap_err();
    assert_eq!(status.code(), Code::AlreadyExists);
    assert_eq!(status.get_details_error_info().unwrap().reason, "REQUEST_ID_REUSED");
    world.end().await;
}

#[tokio::test]
async fn what_was_set_is_taken_back_whole() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let before = get(&mut client, "sentinel").await;
    update(&mut client, set("sentinel", failures(9))).await;
    let delete = |service: &str| DeleteConfigRequest {
        service: service.into(),
        reason: "over".into(),
        ..DeleteConfigRequest::default()
    };
    let gone = client.delete_config(delete("sentinel")).await.unwrap().into_inner();
    assert!(gone.changed);
    let config = gone.config.unwrap();
    assert_eq!((&config.thresholds, &config.etag), (&before.thresholds, &before.etag));
    assert_eq!(config.revision, 3);
    assert!(!client.delete_config(delete("sentinel")).await.unwrap().into_inner().changed);
    let status = client.delete_config(delete("")).await.unwrap_err();
    assert_eq!(faults(&status), ["service"]);
    world.end().await;
}

#[tokio::test]
async fn configurations_are_listed_page_by_page() {
    let world = World::new().await;
    let mut client = world.configs().await;
    for service in ["zoo", "a.1", "a.2"] {
        update(&mut client, set(service, failures(2))).await;
    }
    let mut seen = Vec::new();
    let mut request = ListConfigsRequest { page_size: 2, ..ListConfigsRequest::default() };
    loop {
        let page = client.list_configs(request.clone()).await.unwrap().into_inner();
        assert!(page.configs.len() <= 2);
        seen.extend(page.configs.into_iter().map(|config| config.service));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, ["a.1", "a.2", "sentinel", "zoo"]);
    let prefix = ListConfigsRequest { service_prefix: "a.".into(), ..ListConfigsRequest::default() };
    assert_eq!(client.list_configs(prefix).await.unwrap().into_inner().configs.len(), 2);
    let foreign = ListConfigsRequest { service_prefix: "z".into(), ..request };
    assert_eq!(faults(&client.list_configs(foreign).await.unwrap_err()), ["page_token"]);
    world.end().await;
}

#[tokio::test]
async fn the_audit_says_who_changed_what_and_why() {
    let world = World::new().await;
    let mut client = world.configs().await;
    update(&mut client, set("a", failures(2))).await;
    update(&mut client, set("a", failures(3))).await;
    update(&mut client, set("b", failures(2))).await;
    let all = ListConfigChangesRequest { service: "a".into(), ..ListConfigChangesRequest::default() };
    let changes = client.list_config_changes(all).await.unwrap().into_inner().changes;
    let kinds: Vec<_> = changes.iter().map(v1::ConfigChange::kind).collect();
    assert_eq!(kinds, [ChangeKind::Thresholds, ChangeKind::Thresholds, ChangeKind::FileApplied]);
    let newest = &changes[0];
    assert_eq!((newest.service.as_str(), newest.reason.as_str(), newest.revision), ("a", "a drill", 3));
    assert!(newest.actor.starts_with("anonymous"), "{}", newest.actor);
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    assert_eq!(json(&newest.before_json), serde_json::json!({ "failure_threshold": 2 }));
    assert_eq!(json(&newest.after_json), serde_json::json!({ "failure_threshold": 3 }));
    assert_eq!((changes[2].actor.as_str(), changes[2].service.as_str()), ("file", ""));
    let wrong = ListConfigChangesRequest { kinds: vec![0], page_size: -1, ..Default::default() };
    assert_eq!(faults(&client.list_config_changes(wrong).await.unwrap_err()), ["page_size", "kinds[0]"]);
    world.end().await;
}

#[tokio::test]
async fn while_the_store_is_away_nothing_is_changed_and_reading_goes_on() {
    let world = World::new().await;
    let mut client = world.configs().await;
    let before = get(&mut client, "sentinel").await;
    world.store.close().await;
    let status = client.update_config(set("sentinel", failures(9))).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.get_details_retry_info().is_some());
    assert_eq!(get(&mut client, "sentinel").await, before);
    world.end().await;
}

/// What was set outlives the process, and the file's own changes go on below it.
async fn what_is_set_outlives_a_kill_and_a_changed_file(database_url: Option<&str>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("breakerd.toml");
    std::fs::write(&file, "[circuit_breaker.a]\nfailure_threshold = 3\n").unwrap();
    let process = Process::ready(folder.path(), database_url).await;
    let mut client = ConfigServiceClient::connect(process.grpc.clone()).await.unwrap();
    let set_one = Thresholds { success_threshold: Some(4), ..Thresholds::default() };
    update(&mut client, set("a", set_one.clone())).await;
    process.kill();
    // The new file has no word on what was set, and contradicts nothing.
    std::fs::write(&file, "[circuit_breaker.a]\nfailure_threshold = 7\n").unwrap();
    let process = Process::ready(folder.path(), database_url).await;
    let mut client = ConfigServiceClient::connect(process.grpc.clone()).await.unwrap();
    let shown = get(&mut client, "a").await;
    let thresholds = shown.thresholds.unwrap();
    assert_eq!((thresholds.failure_threshold, thresholds.success_threshold), (Some(7), Some(4)));
    assert_eq!((shown.api_thresholds, shown.revision), (Some(set_one), 3));
    process.kill();
    // This one contradicts it: what was in force stays, and breakerd starts.
    std::fs::write(&file, "[circuit_breaker.a]\npermitted_number_of_calls_in_half_open_state = 2\n").unwrap();
    let process = Process::ready(folder.path(), database_url).await;
    let mut client = ConfigServiceClient::connect(process.grpc.clone()).await.unwrap();
    assert_eq!(get(&mut client, "a").await.thresholds.unwrap().failure_threshold, Some(7));
    assert!(crate::process::log_of(folder.path()).contains("conflicts with thresholds set through the API"));
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn what_is_set_outlives_a_kill_and_a_changed_file_on_sqlite() {
    what_is_set_outlives_a_kill_and_a_changed_file(None).await;
}

#[tokio::test]
async fn what_is_set_outlives_a_kill_and_a_changed_file_on_postgres() {
    let url = crate::support::new_database().await;
    what_is_set_outlives_a_kill_and_a_changed_file(Some(&url)).await;
}
