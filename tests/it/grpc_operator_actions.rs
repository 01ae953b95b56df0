//! What an operator does by hand, over a real channel: on SQLite, and with real processes where one dies.

use std::path::Path;
use std::time::Duration;

use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::{
    self, AllowReason, BreakerOverride, ClearOverrideRequest, GetBreakerRequest, ListTransitionsRequest,
    Outcome, ProbeBreakerRequest, RecordResult, ResetBreakerRequest, SetOverrideRequest, State,
    TransitionReason,
};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

use crate::grpc_world::{BREAKERS_MAX, START, World, ask, report, trip};
use crate::process::Process;
use crate::support::new_database;

/// Who does it here.
const ACTOR: &str = "anonymous@127.0.0.1";

/// To force `service`'s own breaker open, whether or not anybody has used it.
pub(crate) fn force_open(service: &str) -> SetOverrideRequest {
    SetOverrideRequest {
        service: service.into(),
        state: State::ForcedOpen as i32,
        reason: "its disks are being changed".into(),
        create: true,
        ..SetOverrideRequest::default()
    }
}

pub(crate) fn clear(service: &str) -> ClearOverrideRequest {
    ClearOverrideRequest { service: service.into(), reason: "done".into(), ..ClearOverrideRequest::default() }
}

pub(crate) fn reset(service: &str) -> ResetBreakerRequest {
    ResetBreakerRequest { service: service.into(), name: String::new(), reason: "it was us".into() }
}

fn probe(service: &str) -> ProbeBreakerRequest {
    ProbeBreakerRequest { service: service.into(), name: String::new(), reason: "it is back".into() }
}

pub(crate) fn seconds(seconds: i64) -> prost_types::Duration {
    prost_types::Duration { seconds, nanos: 0 }
}

fn at(seconds: i64) -> prost_types::Timestamp {
    let start = i64::try_from(START.as_micros() / 1_000_000).unwrap();
    prost_types::Timestamp { seconds: start + seconds, nanos: 0 }
}

/// The fields at fault.
fn faults(status: &Status) -> Vec<String> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
    violations.into_iter().map(|violation| violation.field).collect()
}

/// The state that a refused call found, and the one that it needs.
pub(crate) fn wrong_state(status: &Status) -> (String, String) {
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.reason, "WRONG_STATE");
    let violations = status.get_details_precondition_failure().expect("PreconditionFailure").violations;
    assert_eq!((violations.len(), violations[0].r#type.as_str()), (1, "STATE"));
    assert_eq!(violations[0].subject, info.metadata["breaker"]);
    (info.metadata["state"].clone(), info.metadata["needed"].clone())
}

/// The newest rows of the history, as `from to reason actor actor's reason`.
pub(crate) async fn history(operations: &mut OperationsServiceClient<Channel>, service: &str) -> Vec<String> {
    let request = ListTransitionsRequest { service: service.into(), ..ListTransitionsRequest::default() };
    let rows = operations.list_transitions(request).await.unwrap().into_inner().transitions;
    rows.iter()
        .map(|row| {
            let name = |text: &'static str| text.rsplit_once("STATE_").unwrap().1;
            let (from, to) = (name(row.from_state().as_str_name()), name(row.to_state().as_str_name()));
            let reason = row.reason().as_str_name().trim_start_matches("TRANSITION_REASON_");
            format!("{from} {to} {reason} {}: {}", row.actor, row.actor_reason)
        })
        .collect()
}

#[tokio::test]
async fn an_override_denies_is_shown_and_cleared_and_all_of_it_is_in_the_history() {
    let world = World::new().await;
    world.keep_writing();
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let before = breakers.allow_request(ask("db", "")).await.unwrap().into_inner();

    let set = operations.set_override(force_open("db")).await.unwrap().into_inner();
    assert!(set.persisted);
    assert_eq!(set.breakers_changed, 1);
    let breaker = set.breaker.unwrap();
    assert_eq!((breaker.state(), breaker.epoch), (State::ForcedOpen, 1));
    let expected = v1::BreakerOverride {
        state: State::ForcedOpen as i32,
        actor: ACTOR.into(),
        reason: "its disks are being changed".into(),
        set_at: Some(at(0)),
        expires_at: None,
        service_wide: false,
    };
    assert_eq!(breaker.r#override.unwrap(), expected);

    let denied = breakers.allow_request(ask("db", "")).await.unwrap().into_inner();
    assert_eq!((denied.allowed, denied.reason()), (false, AllowReason::ForcedOpen));
    let late = breakers.record_outcome(report(&before, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!(late.result(), RecordResult::Late, "what was allowed before says nothing any more");
    let again = operations.set_override(force_open("db")).await.unwrap().into_inner();
    assert_eq!((again.breakers_changed, again.breaker.unwrap().epoch), (0, 1), "the same again is no change");

    let cleared = operations.clear_override(clear("db")).await.unwrap().into_inner();
    assert!(cleared.persisted);
    let breaker = cleared.breaker.unwrap();
    assert_eq!((breaker.state(), breaker.epoch, breaker.r#override), (State::Closed, 2, None));
    assert!(breakers.allow_request(ask("db", "")).await.unwrap().into_inner().allowed);
    let expected = [
        "FORCED_OPEN CLOSED OVERRIDE_CLEARED anonymous@127.0.0.1: done",
        "CLOSED FORCED_OPEN OVERRIDE_SET anonymous@127.0.0.1: its disks are being changed",
    ];
    assert_eq!(history(&mut operations, "db").await, expected);
    world.end().await;
}

#[tokio::test]
async fn an_override_ends_by_itself() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let with_ttl = SetOverrideRequest { ttl: Some(seconds(90)), ..force_open("a") };
    let with_end = SetOverrideRequest { expires_at: Some(at(90)), ..force_open("b") };
    world.keep_writing();
    for request in [with_ttl, with_end] {
        let set = operations.set_override(request).await.unwrap().into_inner();
        assert_eq!(set.breaker.unwrap().r#override.unwrap().expires_at, Some(at(90)));
    }
    world.clock.advance(Duration::from_secs(30));
    let denied = breakers.allow_request(ask("a", "")).await.unwrap().into_inner();
    assert_eq!((denied.allowed, denied.retry_after), (false, Some(seconds(60))));
    world.clock.advance(Duration::from_mins(1));
    for service in ["a", "b"] {
        assert!(breakers.allow_request(ask(service, "")).await.unwrap().into_inner().allowed);
    }
    let status = operations.clear_override(clear("a")).await.unwrap_err();
    assert_eq!(wrong_state(&status).0, "CLOSED");
    world.write_behind().await;
    let rows = history(&mut operations, "b").await;
    assert_eq!(rows[0], "FORCED_OPEN CLOSED OVERRIDE_EXPIRED : ");
    world.end().await;
}

#[tokio::test]
async fn reset_closes_and_probe_makes_half_open_at_once() {
    let world = World::new().await;
    world.keep_writing();
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    trip(&mut breakers, "db", "").await;
    let half_open = operations.probe_breaker(probe("db")).await.unwrap().into_inner();
    assert!(half_open.persisted);
    assert_eq!(half_open.breaker.unwrap().state(), State::HalfOpen);
    let given = breakers.allow_request(ask("db", "")).await.unwrap().into_inner();
    assert_eq!(given.reason(), AllowReason::Probe);
    let status = operations.probe_breaker(probe("db")).await.unwrap_err();
    assert_eq!(wrong_state(&status), ("HALF_OPEN".to_owned(), "OPEN".to_owned()));

    let closed = operations.reset_breaker(reset("db")).await.unwrap().into_inner();
    assert!(closed.persisted);
    let closed = closed.breaker.unwrap();
    assert_eq!((closed.state(), closed.epoch, closed.open_count), (State::Closed, 3, 0));
    let late = breakers.record_outcome(report(&given, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!(late.result(), RecordResult::Late);
    operations.set_override(force_open("db")).await.unwrap();
    let closed = operations.reset_breaker(reset("db")).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!((closed.state(), closed.r#override), (State::Closed, None), "its own override goes with it");
    let rows = history(&mut operations, "db").await;
    assert_eq!(rows[2], "HALF_OPEN CLOSED RESET anonymous@127.0.0.1: it was us");
    assert_eq!(rows[3], "OPEN HALF_OPEN PROBE_REQUESTED anonymous@127.0.0.1: it is back");
    world.end().await;
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_only_an_override_creates_a_breaker() {
    let world = World::new().await;
    world.keep_writing();
    let mut operations = world.operations().await;
    let there = world.app.loaded().unwrap().engine.len();
    for status in [
        operations.clear_override(clear("nobody")).await.unwrap_err(),
        operations.reset_breaker(reset("nobody")).await.unwrap_err(),
        operations.probe_breaker(probe("nobody")).await.unwrap_err(),
    ] {
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, "nobody/nobody");
    }
    for (request, resource) in [
        (force_open("nobody"), "nobody/nobody"),
        (SetOverrideRequest { name: "slip".into(), ..force_open("sentinel") }, "sentinel/slip"),
        (SetOverrideRequest { service_wide: true, ..force_open("nobody") }, "nobody"),
    ] {
        let status =
            operations.set_override(SetOverrideRequest { create: false, ..request }).await.unwrap_err();
        assert_eq!(status.code(), Code::NotFound);
        assert_eq!(status.get_details_resource_info().unwrap().resource_name, resource);
        assert!(status.message().contains("create = true"), "{status:?}");
    }
    assert_eq!(world.app.loaded().unwrap().engine.len(), there);
    for index in there..BREAKERS_MAX {
        let request = SetOverrideRequest { name: index.to_string(), ..force_open("many") };
        operations.set_override(request).await.unwrap();
    }
    let status = operations.set_override(force_open("one more")).await.unwrap_err();
    assert_eq!(faults(&status), ["service"]);
    let status = operations.set_override(force_open("one-more")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "BREAKER_LIMIT_REACHED");
    world.end().await;
}

#[tokio::test]
async fn a_wrong_request_names_every_field_at_fault_and_changes_nothing() {
    let world = World::new().await;
    let mut operations = world.operations().await;
    let good = force_open("sentinel");
    let nanos = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
    for (request, expected) in [
        (SetOverrideRequest::default(), &["service", "state", "reason"][..]),
        (
            SetOverrideRequest {
                service: " ".into(),
                name: "\u{7}".into(),
                state: 99,
                reason: "x".repeat(1_025),
                expires_at: Some(at(0)),
                ttl: Some(seconds(-1)),
                create: false,
                service_wide: true,
            },
            &["service", "name", "name", "state", "reason", "ttl", "ttl", "expires_at"],
        ),
        (SetOverrideRequest { state: State::Closed as i32, ..good.clone() }, &["state"]),
        (SetOverrideRequest { state: State::HalfOpen as i32, ..good.clone() }, &["state"]),
        (SetOverrideRequest { reason: "two\nlines".into(), ..good.clone() }, &["reason"]),
        (SetOverrideRequest { expires_at: Some(at(0)), ..good.clone() }, &["expires_at"]),
        (SetOverrideRequest { expires_at: Some(at(366 * 86_400 + 1)), ..good.clone() }, &["expires_at"]),
        (SetOverrideRequest { expires_at: nanos(0, -1), ..good.clone() }, &["expires_at"]),
        (SetOverrideRequest { expires_at: nanos(i64::MAX, 0), ..good.clone() }, &["expires_at"]),
        (SetOverrideRequest { ttl: Some(seconds(0)), ..good.clone() }, &["ttl"]),
        (SetOverrideRequest { ttl: Some(seconds(366 * 86_400 + 1)), ..good.clone() }, &["ttl"]),
        (SetOverrideRequest { ttl: Some(seconds(60)), expires_at: Some(at(60)), ..good.clone() }, &["ttl"]),
        (SetOverrideRequest { service_wide: true, name: "a".into(), ..good.clone() }, &["name"]),
    ] {
        let status = operations.set_override(request.clone()).await.unwrap_err();
        assert_eq!(faults(&status), expected, "{request:?}");
    }
    let long = "x".repeat(1_025);
    let request = ClearOverrideRequest {
        name: "n".into(),
        reason: long.clone(),
        service_wide: true,
        ..ClearOverrideRequest::default()
    };
    let status = operations.clear_override(request).await.unwrap_err();
    assert_eq!(faults(&status), ["service", "name", "reason"]);
    let request = ResetBreakerRequest { reason: long.clone(), ..ResetBreakerRequest::default() };
    assert_eq!(faults(&operations.reset_breaker(request).await.unwrap_err()), ["service", "reason"]);
    let request = ProbeBreakerRequest { reason: long, ..ProbeBreakerRequest::default() };
    assert_eq!(faults(&operations.probe_breaker(request).await.unwrap_err()), ["service", "reason"]);

    let request = GetBreakerRequest { service: "sentinel".into(), name: String::new() };
    let breaker = operations.get_breaker(request).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!((breaker.state(), breaker.epoch), (State::Closed, 0));
    world.end().await;
}

#[tokio::test]
async fn the_longest_and_the_shortest_that_is_taken_is_taken() {
    let world = World::new().await;
    world.keep_writing();
    let mut operations = world.operations().await;
    let good = force_open("sentinel");
    for request in [
        SetOverrideRequest { ttl: Some(seconds(1)), reason: "x".into(), ..good.clone() },
        SetOverrideRequest { ttl: Some(seconds(366 * 86_400)), reason: "x".repeat(1_024), ..good.clone() },
        SetOverrideRequest { expires_at: Some(at(366 * 86_400)), ..good.clone() },
        SetOverrideRequest {
            expires_at: Some(prost_types::Timestamp { nanos: 1, ..at(0) }),
            state: State::MetricsOnly as i32,
            ..good.clone()
        },
    ] {
        assert_eq!(operations.set_override(request).await.unwrap().into_inner().breakers_changed, 1);
    }
    world.end().await;
}

#[tokio::test]
async fn metrics_only_lets_pass_and_shows_what_would_have_been_denied() {
    let world = World::new().await;
    world.keep_writing();
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let request = SetOverrideRequest { state: State::MetricsOnly as i32, ..force_open("sentinel") };
    operations.set_override(request).await.unwrap();
    for _ in 0..4 {
        let allowed = breakers.allow_request(ask("sentinel", "")).await.unwrap().into_inner();
        assert_eq!((allowed.allowed, allowed.reason()), (true, AllowReason::MetricsOnly));
        breakers.record_outcome(report(&allowed, Outcome::Failure)).await.unwrap();
    }
    world.write_behind().await;
    let get = GetBreakerRequest { service: "sentinel".into(), name: String::new() };
    let breaker = operations.get_breaker(get).await.unwrap().into_inner().breaker.unwrap();
    let counters = breaker.counters.unwrap();
    assert_eq!((counters.failed, counters.rejected, counters.would_be_rejected), (4, 0, 1));
    let request = ListTransitionsRequest { service: "sentinel".into(), ..ListTransitionsRequest::default() };
    let rows = operations.list_transitions(request).await.unwrap().into_inner().transitions;
    assert_eq!((rows[0].shadow, rows[0].to_state(), rows[0].epoch), (true, State::Open, None));
    world.end().await;
}

/// It is made for the outage, and the store may be part of it.
#[tokio::test]
async fn while_the_store_is_away_everything_works_and_says_that_it_is_not_recorded_yet() {
    let world = World::new().await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    trip(&mut breakers, "b", "").await;
    let patient = Duration::from_millis(200);
    let mut request = Request::new(force_open("a"));
    request.set_timeout(patient);
    let set = operations.set_override(request).await.unwrap().into_inner();
    assert_eq!((set.persisted, set.breakers_changed), (false, 1));
    let mut request = Request::new(clear("a"));
    request.set_timeout(patient);
    assert!(!operations.clear_override(request).await.unwrap().into_inner().persisted);
    let mut request = Request::new(probe("b"));
    request.set_timeout(patient);
    assert!(!operations.probe_breaker(request).await.unwrap().into_inner().persisted);
    let mut request = Request::new(reset("b"));
    request.set_timeout(patient);
    assert!(!operations.reset_breaker(request).await.unwrap().into_inner().persisted);
    assert!(history(&mut operations, "").await.is_empty());

    world.write_behind().await;
    assert_eq!(history(&mut operations, "").await.len(), 5);
    let set = operations.set_override(force_open("a")).await.unwrap().into_inner();
    assert!(set.persisted, "the store is back");
    world.end().await;
}

#[tokio::test]
async fn an_override_outlives_a_killed_process_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    outlives(folder.path(), async || Process::ready(folder.path(), None).await, |_| ()).await;
}

#[tokio::test]
async fn an_override_outlives_a_killed_process_on_postgres() {
    let (url, folder) = (new_database().await, tempfile::tempdir().unwrap());
    outlives(folder.path(), async || Process::ready_alone(folder.path(), &url).await, |_| ()).await;
}

/// It lasts as long as it was set for from when the store heard of it, which is by the store's clock.
#[tokio::test]
async fn an_override_outlives_a_killed_replica() {
    let (url, folder) = (new_database().await, tempfile::tempdir().unwrap());
    let without_times = |active: &mut BreakerOverride| (active.set_at, active.expires_at) = (None, None);
    outlives(folder.path(), async || Process::ready(folder.path(), Some(&url)).await, without_times).await;
}

async fn outlives(
    folder: &Path,
    start: impl AsyncFn() -> Process,
    what_stays: impl Fn(&mut BreakerOverride),
) {
    std::fs::write(folder.join("breakerd.toml"), "[circuit_breaker]\n").unwrap();
    let process = start().await;
    let mut operations = OperationsServiceClient::connect(process.grpc.clone()).await.unwrap();
    let request = SetOverrideRequest { ttl: Some(seconds(3_600)), ..force_open("db") };
    let set = operations.set_override(request).await.unwrap().into_inner().breaker.unwrap();
    process.kill();

    let process = start().await;
    let mut operations = OperationsServiceClient::connect(process.grpc.clone()).await.unwrap();
    let get = GetBreakerRequest { service: "db".into(), name: String::new() };
    let back = operations.get_breaker(get).await.unwrap().into_inner().breaker.unwrap();
    assert_eq!((back.state(), back.epoch), (State::ForcedOpen, 1));
    let [back, set] = [back, set].map(|breaker| {
        let mut active = breaker.r#override.unwrap();
        assert!(active.expires_at.is_some());
        what_stays(&mut active);
        active
    });
    assert_eq!(back, set);
    let cleared = operations.clear_override(clear("db")).await.unwrap().into_inner();
    assert!(cleared.persisted);
    let last = cleared.breaker.unwrap().last_transition.unwrap();
    assert_eq!(last.reason(), TransitionReason::OverrideCleared);
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn a_deleted_breaker_is_closed_for_those_who_follow_and_gone_once_it_stands_in_the_store() {
    let world = World::new().await;
    world.keep_writing();
    let (mut breakers, mut operations) = (world.breakers().await, world.operations().await);
    trip(&mut breakers, "sentinel", "eu").await;
    let request = v1::WatchBreakersRequest { services: vec!["sentinel".into()], ..Default::default() };
    let mut watch = breakers.watch_breakers(request).await.unwrap().into_inner();
    let mut next_state = async || loop {
        let message = watch.message().await.unwrap().expect("it goes on");
        if let Some(v1::watch_breakers_response::Event::Breaker(breaker)) = message.event {
            return (breaker.name.clone(), breaker.state(), breaker.epoch);
        }
    };
    assert_eq!(next_state().await, ("eu".to_owned(), State::Open, 1));

    let delete = |name: &str| v1::DeleteBreakerRequest {
        service: "sentinel".into(),
        name: name.into(),
        reason: "eu has moved".into(),
    };
    let deleted = operations.delete_breaker(delete("eu")).await.unwrap().into_inner();
    assert_eq!(deleted, v1::DeleteBreakerResponse { epoch: 2, changed: true, persisted: true });
    assert_eq!(next_state().await, ("eu".to_owned(), State::Closed, 2));
    let listed = operations.list_breakers(v1::ListBreakersRequest::default()).await.unwrap().into_inner();
    assert!(listed.breakers.iter().all(|breaker| breaker.name != "eu"), "{listed:?}");
    assert_eq!(
        history(&mut operations, "sentinel").await[0],
        format!("OPEN CLOSED DELETED {ACTOR}: eu has moved")
    );
    let again = operations.delete_breaker(delete("eu")).await.unwrap().into_inner();
    assert_eq!(again, v1::DeleteBreakerResponse { epoch: 2, changed: false, persisted: true });
    let unknown = operations.delete_breaker(delete("us")).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    // It is called again: it is there, closed, and goes on from its epoch.
    let allowed = breakers.allow_request(ask("sentinel", "eu")).await.unwrap().into_inner();
    assert_eq!((allowed.reason(), allowed.epoch), (AllowReason::Closed, 2));

    let whole = SetOverrideRequest { service_wide: true, ..force_open("sentinel") };
    operations.set_override(whole).await.unwrap();
    let (state, needed) = wrong_state(&operations.delete_breaker(delete("eu")).await.unwrap_err());
    assert_eq!((&*state, &*needed), ("FORCED_OPEN", "no service-wide override"));
    world.end().await;
}

#[tokio::test]
async fn a_caller_that_has_its_share_of_the_breakers_is_told_the_setting_and_others_go_on() {
    let world = World::with_caller_share(3).await;
    let mut breakers = world.breakers().await;
    for name in ["a", "b", "c"] {
        breakers.allow_request(ask("mail", name)).await.unwrap();
    }
    let refused = breakers.allow_request(ask("mail", "d")).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let info = refused.get_details_error_info().expect("ErrorInfo");
    assert_eq!(info.reason, "BREAKER_LIMIT_REACHED");
    assert_eq!((&*info.metadata["max"], &*info.metadata["setting"]), ("3", "limits.breakers_per_caller_max"));
    assert!(refused.get_details_retry_info().is_some());
    // In a batch, by a report and by hand it is the same.
    let batch = v1::AllowRequestsRequest { requests: vec![ask("mail", "a"), ask("mail", "e")] };
    let results = breakers.allow_requests(batch).await.unwrap().into_inner().results;
    assert!(matches!(results[0].result, Some(v1::allow_requests_result::Result::Response(_))));
    assert!(matches!(results[1].result, Some(v1::allow_requests_result::Result::Error(_))));
    let set = world.operations().await.set_override(force_open("mail")).await.unwrap_err();
    assert_eq!(set.code(), Code::ResourceExhausted);
    // What is configured counts for nobody.
    breakers.allow_request(ask("sentinel", "")).await.unwrap();
    world.end().await;
}
