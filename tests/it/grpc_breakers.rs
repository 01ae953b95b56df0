//! `BreakerService` over a real channel: a typical life, and everything that can be wrong with a question.

use std::time::Duration;

use breakerd::grpc::Limits;
use breakerd_api::v1::{
    self, AllowReason, AllowRequestResponse, Outcome, RecordOutcomeRequest, RecordResult, State,
    allow_requests_result, record_outcomes_result,
};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::grpc_world::{BREAKERS_MAX, World, ask, report, trip};

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages take an Option")]
pub(crate) fn wire(seconds: i64, nanos: i32) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos })
}

#[tokio::test]
async fn a_breaker_opens_waits_probes_and_closes() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let slow = client.allow_request(ask("database", "")).await.unwrap().into_inner();
    for failure in 0..5 {
        let allowed = client.allow_request(ask("database", "")).await.unwrap().into_inner();
        assert!(allowed.allowed, "failure {failure}");
        assert_eq!((allowed.state(), allowed.reason()), (State::Closed, AllowReason::Closed));
        assert_eq!((allowed.epoch, allowed.retry_after, allowed.config_revision), (0, None, 0));
        assert!((1..=96).contains(&allowed.permit.len()));
        let taken = client.record_outcome(report(&allowed, Outcome::Failure)).await.unwrap().into_inner();
        assert_eq!(taken.result(), RecordResult::Recorded);
        assert_eq!(taken.state(), if failure < 4 { State::Closed } else { State::Open });
    }

    world.clock.advance(Duration::from_millis(1_500));
    let denied = client.allow_request(ask("database", "")).await.unwrap().into_inner();
    let expected = AllowRequestResponse {
        allowed: false,
        state: State::Open as i32,
        reason: AllowReason::Open as i32,
        permit: Bytes::new(),
        epoch: 1,
        retry_after: wire(58, 500_000_000),
        config_revision: 0,
        lease: None,
        decided_alone: false,
    };
    assert_eq!(denied, expected);

    world.clock.advance(Duration::from_mins(1));
    let mut probes = Vec::new();
    for _ in 0..2 {
        let probe = client.allow_request(ask("database", "database")).await.unwrap().into_inner();
        assert_eq!((probe.state(), probe.reason()), (State::HalfOpen, AllowReason::Probe));
        probes.push(probe);
    }
    let denied = client.allow_request(ask("database", "")).await.unwrap().into_inner();
    assert_eq!(denied.reason(), AllowReason::HalfOpenExhausted);
    assert_eq!(denied.retry_after, wire(1, 0));

    let taken = client.record_outcome(report(&probes[0], Outcome::Success)).await.unwrap().into_inner();
    assert_eq!((taken.result(), taken.state()), (RecordResult::Recorded, State::HalfOpen));
    let again = client.record_outcome(report(&probes[0], Outcome::Success)).await.unwrap().into_inner();
    assert_eq!(again.result(), RecordResult::Duplicate);
    let taken = client.record_outcome(report(&probes[1], Outcome::Success)).await.unwrap().into_inner();
    assert_eq!((taken.result(), taken.state()), (RecordResult::Recorded, State::Closed));
    let late = client.record_outcome(report(&slow, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!((late.result(), late.state()), (RecordResult::Late, State::Closed));
    world.end().await;
}

#[tokio::test]
async fn an_outcome_may_be_reported_by_name_alone() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let by_name = RecordOutcomeRequest {
        service: "sentinel".into(),
        name: "eu/west".into(),
        outcome: Outcome::Failure as i32,
        duration: wire(0, 1),
        error_class: "timeout".into(),
        retry_after: wire(5, 0),
        caller: "pod-1".into(),
        ..RecordOutcomeRequest::default()
    };
    for _ in 0..3 {
        let taken = client.record_outcome(by_name.clone()).await.unwrap().into_inner();
        assert_eq!(taken.result(), RecordResult::Recorded);
    }
    let taken = client.record_outcome(by_name.clone()).await.unwrap().into_inner();
    assert_eq!((taken.result(), taken.state()), (RecordResult::NotCounted, State::Open));
    let of_epoch_0 = RecordOutcomeRequest { epoch: Some(0), ..by_name };
    let taken = client.record_outcome(of_epoch_0).await.unwrap().into_inner();
    assert_eq!(taken.result(), RecordResult::Late);
    world.end().await;
}

/// The fields at fault and why, as a client reads them out of the details.
pub(crate) fn faults(status: &Status) -> Vec<(String, String)> {
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    let info = status.get_details_error_info().expect("ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", "breakerd"));
    let violations = status.get_details_bad_request().expect("BadRequest").field_violations;
    assert!(status.get_details_retry_info().is_none(), "a mistake is no reason to retry");
    violations.into_iter().map(|violation| (violation.field, violation.reason)).collect()
}

pub(crate) fn named(faults: &[(&str, &str)]) -> Vec<(String, String)> {
    faults.iter().map(|(field, reason)| ((*field).to_owned(), (*reason).to_owned())).collect()
}

#[tokio::test]
async fn a_wrong_question_names_every_field_at_fault() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let long = "x".repeat(129);
    let huge = "x".repeat(5_000);
    for (service, name, caller, expected) in [
        ("", "", "", &[("service", "REQUIRED")][..]),
        ("", "x", "", &[("service", "REQUIRED")]),
        (&long, "", "", &[("service", "TOO_LONG")]),
        (&huge, &huge, &huge, &[("service", "TOO_LONG"), ("name", "TOO_LONG"), ("caller", "TOO_LONG")]),
        ("a/b", "", "", &[("service", "INVALID_CHARACTER")]),
        ("a\u{0}", "b\n", "", &[("service", "INVALID_CHARACTER"), ("name", "INVALID_CHARACTER")]),
        ("a", "é", "", &[("name", "INVALID_CHARACTER")]),
        ("a", "", "pod\t1", &[("caller", "INVALID_CHARACTER")]),
        ("a", "", "pod\u{85}1", &[("caller", "INVALID_CHARACTER")]),
        (
            "",
            "b ",
            "\u{7f}",
            &[("service", "REQUIRED"), ("name", "INVALID_CHARACTER"), ("caller", "INVALID_CHARACTER")],
        ),
    ] {
        let request = v1::AllowRequestRequest { caller: caller.into(), ..ask(service, name) };
        let status = client.allow_request(request).await.unwrap_err();
        assert_eq!(faults(&status), named(expected), "{service:.9} {name:.9}");
        assert!(status.message().len() < 500, "what was sent is not sent back at length");
    }
    // A caller in any script, up to its 256 bytes, is none of our business.
    let request = v1::AllowRequestRequest { caller: "é".repeat(128), ..ask("a", "") };
    assert!(client.allow_request(request).await.is_ok());
    assert_eq!(world.app.loaded().unwrap().engine.len(), 2, "sentinel and a: no other was created");
    world.end().await;
}

#[tokio::test]
async fn a_wrong_report_names_every_field_at_fault() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let allowed = client.allow_request(ask("a", "")).await.unwrap().into_inner();
    let good = report(&allowed, Outcome::Success);
    let by_name = RecordOutcomeRequest { permit: Bytes::new(), service: "a".into(), ..good.clone() };
    let cases: [(RecordOutcomeRequest, &[(&str, &str)]); 20] = [
        (RecordOutcomeRequest::default(), &[("outcome", "REQUIRED"), ("service", "REQUIRED")]),
        (RecordOutcomeRequest { outcome: 0, ..good.clone() }, &[("outcome", "REQUIRED")]),
        (RecordOutcomeRequest { outcome: 4, ..good.clone() }, &[("outcome", "UNKNOWN_VALUE")]),
        (RecordOutcomeRequest { outcome: -1, ..good.clone() }, &[("outcome", "UNKNOWN_VALUE")]),
        (RecordOutcomeRequest { duration: wire(-1, 0), ..good.clone() }, &[("duration", "OUT_OF_RANGE")]),
        (RecordOutcomeRequest { duration: wire(0, -1), ..good.clone() }, &[("duration", "OUT_OF_RANGE")]),
        (RecordOutcomeRequest { duration: wire(1, -1), ..good.clone() }, &[("duration", "OUT_OF_RANGE")]),
        (
            RecordOutcomeRequest { duration: wire(0, 1_000_000_000), ..good.clone() },
            &[("duration", "OUT_OF_RANGE")],
        ),
        (
            RecordOutcomeRequest { duration: wire(i64::MAX, 0), ..good.clone() },
            &[("duration", "OUT_OF_RANGE")],
        ),
        (
            RecordOutcomeRequest { retry_after: wire(i64::MIN, i32::MIN), ..good.clone() },
            &[("retry_after", "OUT_OF_RANGE")],
        ),
        (
            RecordOutcomeRequest { error_class: "x".repeat(257), ..good.clone() },
            &[("error_class", "TOO_LONG")],
        ),
        (
            RecordOutcomeRequest { error_class: "a\r".into(), caller: "\u{1b}".into(), ..good.clone() },
            &[("error_class", "INVALID_CHARACTER"), ("caller", "INVALID_CHARACTER")],
        ),
        (RecordOutcomeRequest { permit: Bytes::from_static(b"x"), ..good.clone() }, &[("permit", "FORGED")]),
        (
            RecordOutcomeRequest {
                permit: Bytes::from_static(b"x"),
                outcome: 9,
                duration: wire(-1, 0),
                ..good.clone()
            },
            &[("permit", "FORGED"), ("outcome", "UNKNOWN_VALUE"), ("duration", "OUT_OF_RANGE")],
        ),
        (RecordOutcomeRequest { service: "b".into(), ..good.clone() }, &[("permit", "MISMATCH")]),
        (
            RecordOutcomeRequest { service: "a".into(), name: "b".into(), ..good.clone() },
            &[("permit", "MISMATCH")],
        ),
        (RecordOutcomeRequest { name: "a".into(), ..good.clone() }, &[("service", "REQUIRED")]),
        (RecordOutcomeRequest { service: "a b".into(), ..good.clone() }, &[("service", "INVALID_CHARACTER")]),
        (RecordOutcomeRequest { epoch: Some(1), ..good.clone() }, &[("epoch", "MISMATCH")]),
        (RecordOutcomeRequest { name: "b\u{0}".into(), ..by_name }, &[("name", "INVALID_CHARACTER")]),
    ];
    for (request, expected) in cases {
        let status = client.record_outcome(request.clone()).await.unwrap_err();
        assert_eq!(faults(&status), named(expected), "{request:?}");
    }
    let whole = RecordOutcomeRequest { service: "a".into(), name: "a".into(), epoch: Some(0), ..good };
    let taken = client.record_outcome(whole).await.unwrap().into_inner();
    assert_eq!(taken.result(), RecordResult::Recorded, "what was refused did not use the permit up");
    world.end().await;
}

#[test]
fn a_forged_permit_is_refused_whatever_it_is() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let (world, client, good) = runtime.block_on(async {
        let world = World::new().await;
        let mut client = world.breakers().await;
        let allowed = client.allow_request(ask("a", "")).await.unwrap().into_inner();
        (world, client, report(&allowed, Outcome::Success))
    });
    let refused = |permit: Vec<u8>| {
        let request = RecordOutcomeRequest { permit: permit.into(), ..good.clone() };
        let status = runtime.block_on(client.clone().record_outcome(request)).unwrap_err();
        assert_eq!(faults(&status), named(&[("permit", "FORGED")]));
    };
    let config = ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |(random in prop::collection::vec(any::<u8>(), 1..200), bit in 0..92 * 8_usize)| {
        refused(random);
        let mut changed = good.permit.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        refused(changed);
    });
    runtime.block_on(world.end());
}

#[tokio::test]
async fn an_item_that_is_wrong_touches_no_other() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let bad = v1::AllowRequestRequest { caller: "\n".into(), ..ask("a b", "") };
    let requests = vec![ask("a", ""), bad.clone(), ask("a", "x/y"), ask("", "")];
    let results =
        client.allow_requests(v1::AllowRequestsRequest { requests }).await.unwrap().into_inner().results;
    assert_eq!(results.len(), 4);
    let mut permits = Vec::new();
    for (index, result) in results.into_iter().enumerate() {
        match result.result.unwrap() {
            allow_requests_result::Result::Response(allowed) => {
                assert!(allowed.allowed && matches!(index, 0 | 2));
                permits.push(allowed);
            }
            allow_requests_result::Result::Error(error) => {
                assert!(matches!(index, 1 | 3));
                let single = client.allow_request(if index == 1 { bad.clone() } else { ask("", "") }).await;
                let single = single.unwrap_err();
                assert_eq!((error.code, error.message.as_str()), (3, single.message()));
                let rpc = tonic_types::pb::Status::decode(single.details()).unwrap();
                assert_eq!(error.details, rpc.details);
                assert_eq!(rpc.details.len(), 2, "ErrorInfo and BadRequest");
            }
        }
    }

    let forged =
        RecordOutcomeRequest { permit: Bytes::from_static(b"no"), ..report(&permits[0], Outcome::Failure) };
    let requests = vec![
        report(&permits[0], Outcome::Failure),
        forged,
        report(&permits[0], Outcome::Failure),
        report(&permits[1], Outcome::Ignored),
    ];
    let results = client
        .record_outcomes(v1::RecordOutcomesRequest { requests, ..v1::RecordOutcomesRequest::default() })
        .await
        .unwrap()
        .into_inner()
        .results;
    let told: Vec<_> = results
        .into_iter()
        .map(|result| match result.result.unwrap() {
            record_outcomes_result::Result::Response(taken) => Ok(taken.result()),
            record_outcomes_result::Result::Error(error) => Err(error.code),
        })
        .collect();
    let expected =
        [Ok(RecordResult::Recorded), Err(3), Ok(RecordResult::Duplicate), Ok(RecordResult::Recorded)];
    assert_eq!(told, expected);
    world.end().await;
}

#[tokio::test]
async fn a_batch_holds_up_to_a_thousand() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    for size in [0, 1, 1_000] {
        let requests = vec![ask("a", ""); size];
        let results = client.allow_requests(v1::AllowRequestsRequest { requests }).await.unwrap();
        assert_eq!(results.into_inner().results.len(), size);
    }
    let requests = vec![ask("a", ""); 1_001];
    let status = client.allow_requests(v1::AllowRequestsRequest { requests }).await.unwrap_err();
    assert_eq!(faults(&status), named(&[("requests", "TOO_MANY")]));
    let requests = vec![RecordOutcomeRequest::default(); 1_001];
    let status = client
        .record_outcomes(v1::RecordOutcomesRequest { requests, ..v1::RecordOutcomesRequest::default() })
        .await
        .unwrap_err();
    assert_eq!(faults(&status), named(&[("requests", "TOO_MANY")]));
    world.end().await;
}

#[tokio::test]
async fn breakers_beyond_the_limit_are_refused_and_the_others_stay() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let requests = (0..BREAKERS_MAX).map(|number| ask("a", &number.to_string())).collect();
    let results =
        client.allow_requests(v1::AllowRequestsRequest { requests }).await.unwrap().into_inner().results;
    let Some(allow_requests_result::Result::Error(error)) = &results[BREAKERS_MAX - 1].result else {
        panic!("sentinel has a place, so the last has none")
    };
    assert_eq!(error.code, Code::ResourceExhausted as i32);
    let status = client.allow_request(ask("b", "")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.get_details_error_info().unwrap().reason, "BREAKER_LIMIT_REACHED");
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    assert!(client.allow_request(ask("a", "0")).await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn before_it_is_loaded_everything_is_unavailable() {
    let world = World::unloaded(Limits::default()).await;
    let mut breakers = world.breakers().await;
    let mut operations = world.operations().await;
    let get = v1::GetBreakerRequest { service: "a".into(), name: String::new() };
    for status in [
        breakers.allow_request(ask("a", "")).await.unwrap_err(),
        breakers.record_outcome(RecordOutcomeRequest::default()).await.unwrap_err(),
        breakers.allow_requests(v1::AllowRequestsRequest::default()).await.unwrap_err(),
        operations.get_breaker(get).await.unwrap_err(),
        operations.list_breakers(v1::ListBreakersRequest::default()).await.unwrap_err(),
        operations.list_transitions(v1::ListTransitionsRequest::default()).await.unwrap_err(),
    ] {
        assert_eq!(
            (status.code(), status.message()),
            (Code::Unavailable, "starting: the state is not loaded yet")
        );
        assert_eq!(status.get_details_error_info().unwrap().reason, "NOT_LOADED");
        assert_eq!(status.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_secs(1)));
    }
    world.load(None).await;
    trip(&mut breakers, "a", "").await;
    world.end().await;
}
