//! Totals of what clients decided by themselves, over a real channel: counters, and nothing else.

use std::time::Duration;

use breakerd::auth::{Principals, Role};
use breakerd::grpc::Limits;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::{
    self, AllowReason, LocalTotals, Outcome, RecordOutcomeRequest, RecordOutcomesRequest,
    RecordOutcomesResponse, RejectedCalls, State,
};
use prost::Message as _;
use tonic::Code;
use tonic::transport::Channel;

use crate::auth::{add, security};
use crate::grpc_breakers::{faults, named};
use crate::grpc_world::{World, ask, report, trip};

fn rejected(reason: AllowReason, count: u64) -> RejectedCalls {
    RejectedCalls { reason: reason as i32, count }
}

fn totals(service: &str, rejected: Vec<RejectedCalls>) -> LocalTotals {
    LocalTotals { service: service.into(), rejected, ..LocalTotals::default() }
}

fn of(local_totals: Vec<LocalTotals>) -> RecordOutcomesRequest {
    RecordOutcomesRequest { local_totals, ..RecordOutcomesRequest::default() }
}

async fn send(
    client: &mut BreakerServiceClient<Channel>,
    local_totals: Vec<LocalTotals>,
) -> RecordOutcomesResponse {
    client.record_outcomes(of(local_totals)).await.unwrap().into_inner()
}

/// The fields at fault of each item, as in the status of a single RPC.
fn item_faults(answer: &RecordOutcomesResponse) -> Vec<(u32, Vec<(String, String)>)> {
    let status = |error: &v1::ItemError| {
        let status = tonic_types::pb::Status {
            code: error.code,
            message: error.message.clone(),
            details: error.details.clone(),
        };
        tonic::Status::with_details(error.code.into(), &error.message, status.encode_to_vec().into())
    };
    let of = |error: &v1::LocalTotalsError| (error.index, faults(&status(error.error.as_ref().unwrap())));
    answer.local_totals_errors.iter().map(of).collect()
}

/// A sample of the metrics page.
fn metric(world: &World, name: &str, labels: &str) -> Option<f64> {
    let page = world.app.metrics.render(breakerd::metrics::Format::Text).unwrap();
    let start = format!("llm_incident_manager_circuit_breaker_{name}{{{labels}}} ");
    page.lines().find_map(|line| line.strip_prefix(&start)).map(|value| value.parse().unwrap())
}

async fn breaker(world: &World, service: &str) -> v1::Breaker {
    let get = v1::GetBreakerRequest { service: service.into(), ..v1::GetBreakerRequest::default() };
    world.operations().await.get_breaker(get).await.unwrap().into_inner().breaker.unwrap()
}

#[tokio::test]
async fn totals_are_in_the_counters_and_change_no_state() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let all = LocalTotals {
        successful: 70,
        failed: 1_000_000_000,
        ignored: 9,
        ..totals(
            "database",
            vec![
                rejected(AllowReason::Open, 5),
                rejected(AllowReason::HalfOpenExhausted, 6),
                rejected(AllowReason::ForcedOpen, 7),
            ],
        )
    };
    let answer = send(&mut client, vec![all.clone(), totals("database", vec![]), all]).await;
    assert_eq!((answer.results, answer.local_totals_errors), (vec![], vec![]));
    let labels = r#"service="database",name="database""#;
    for (name, expected) in [
        ("calls_total", 2_000_000_140.0),
        ("successful_calls_total", 140.0),
        ("failed_calls_total", 2_000_000_000.0),
        ("ignored_calls_total", 18.0),
        ("slow_calls_total", 0.0),
        ("late_outcomes_total", 0.0),
        ("would_be_rejected_calls_total", 0.0),
        ("state", 0.0),
        ("consecutive_failures", 0.0),
    ] {
        assert_eq!(metric(&world, name, labels), Some(expected), "{name}");
    }
    for (reason, expected) in [("OPEN", 10.0), ("HALF_OPEN_EXHAUSTED", 12.0), ("FORCED_OPEN", 14.0)] {
        let labels = format!("{labels},reason=\"{reason}\"");
        assert_eq!(metric(&world, "rejected_calls_total", &labels), Some(expected), "{reason}");
    }
    let breaker = breaker(&world, "database").await;
    assert_eq!((breaker.state(), breaker.epoch), (State::Closed, 0));
    assert_eq!(breaker.window.unwrap(), v1::WindowStats::default(), "nothing is in a window");
    assert_eq!(breaker.counters.unwrap().rejected, 36);
    // One failure short of the trip before and after it: the run of failures is as it was.
    let failure = RecordOutcomeRequest {
        service: "database".into(),
        outcome: Outcome::Failure as i32,
        count: 4,
        ..RecordOutcomeRequest::default()
    };
    client.record_outcome(failure.clone()).await.unwrap();
    let success = LocalTotals { successful: 1, ..totals("database", vec![]) };
    send(&mut client, vec![success]).await;
    let last = client.record_outcome(RecordOutcomeRequest { count: 1, ..failure }).await.unwrap();
    assert_eq!(last.into_inner().state(), State::Open, "a success among the totals ends no run");
    world.end().await;
}

#[tokio::test]
async fn totals_of_a_batch_that_is_sent_again_count_once() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let sent = RecordOutcomesRequest {
        reporter: vec![1; 16],
        sequence: 1,
        ..of(vec![
            totals("database", vec![rejected(AllowReason::Open, 5)]),
            totals("no good", vec![]),
            LocalTotals { ignored: 2_000_000_000, ..totals("database", vec![]) },
        ])
    };
    let answer = client.record_outcomes(sent.clone()).await.unwrap().into_inner();
    assert_eq!(
        item_faults(&answer),
        [(1, named(&[("service", "INVALID_CHARACTER")])), (2, named(&[("ignored", "OUT_OF_RANGE")]))]
    );
    let again = client.record_outcomes(sent).await.unwrap().into_inner();
    assert_eq!(again, RecordOutcomesResponse { repeated: true, ..answer });
    assert_eq!(breaker(&world, "database").await.counters.unwrap().rejected, 5);
    world.end().await;
}

#[tokio::test]
async fn wrong_totals_name_every_field_at_fault_and_touch_no_others() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let over = 1_000_000_001;
    let wrong = LocalTotals {
        successful: over,
        failed: u64::MAX,
        ignored: over,
        ..totals(
            "",
            vec![
                rejected(AllowReason::Closed, over),
                rejected(AllowReason::Unspecified, 0),
                RejectedCalls { reason: 99, count: 0 },
            ],
        )
    };
    let twice = totals("database", vec![rejected(AllowReason::Open, 1), rejected(AllowReason::Open, 2)]);
    let good = totals("database", vec![rejected(AllowReason::Open, 4)]);
    let answer = send(&mut client, vec![wrong, good.clone(), twice, good]).await;
    let expected = [
        ("successful", "OUT_OF_RANGE"),
        ("failed", "OUT_OF_RANGE"),
        ("ignored", "OUT_OF_RANGE"),
        ("rejected[0].count", "OUT_OF_RANGE"),
        ("rejected[0].reason", "UNKNOWN_VALUE"),
        ("rejected[1].reason", "REQUIRED"),
        ("rejected[2].reason", "UNKNOWN_VALUE"),
        ("service", "REQUIRED"),
    ];
    assert_eq!(
        item_faults(&answer),
        [(0, named(&expected)), (2, named(&[("rejected[1].reason", "MISMATCH")]))]
    );
    let message = &answer.local_totals_errors[0].error.as_ref().unwrap().message;
    for problem in [
        "successful: invalid value 1000000001: must be 0..=1000000000",
        "rejected[0].reason: invalid value CLOSED: must be OPEN, HALF_OPEN_EXHAUSTED or FORCED_OPEN",
        "rejected[2].reason: invalid value 99: must be",
    ] {
        assert!(message.contains(problem), "{message}");
    }
    assert_eq!(breaker(&world, "database").await.counters.unwrap().rejected, 8);
    world.end().await;
}

#[tokio::test]
async fn more_totals_than_there_may_be_are_refused_as_a_whole() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let good = totals("database", vec![rejected(AllowReason::Open, 1)]);
    assert_eq!(send(&mut client, vec![good.clone(); 1_000]).await.local_totals_errors, []);
    let many = client.record_outcomes(of(vec![good.clone(); 1_001])).await.unwrap_err();
    assert_eq!(faults(&many), named(&[("local_totals", "TOO_MANY")]));
    let parts = totals("database", vec![rejected(AllowReason::Open, 1); 4]);
    let parts = client.record_outcomes(of(vec![good, parts])).await.unwrap_err();
    assert_eq!(faults(&parts), named(&[("local_totals.rejected", "TOO_MANY")]));
    assert_eq!(breaker(&world, "database").await.counters.unwrap().rejected, 1_000);
    world.end().await;
}

#[tokio::test]
async fn totals_need_the_right_to_call_and_room_for_a_breaker_as_outcomes_do() {
    let mut principals = Principals::default();
    let caller = add(&mut principals, "payments-api", &[Role::Caller], &["payments"]);
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut client = world.breakers().await;
    let sent = of(["payments", "sentinel", "payments"]
        .map(|service| totals(service, vec![rejected(AllowReason::Open, 1)]))
        .to_vec());
    let answer = client.record_outcomes(caller.shows(sent)).await.unwrap().into_inner();
    let [denied] = &answer.local_totals_errors[..] else { panic!("{answer:?}") };
    assert_eq!((denied.index, denied.error.as_ref().unwrap().code), (1, Code::PermissionDenied as i32));
    let refused = world.app.metrics.access.refused_total.with_label_values(&["grpc", "permission_denied"]);
    assert_eq!(refused.get(), 1);
    world.end().await;

    let world = World::with_caller_share(2).await;
    let mut client = world.breakers().await;
    let named = |name: &str| LocalTotals { name: name.into(), failed: 3, ..totals("web", vec![]) };
    let answer = send(&mut client, ["a", "b", "c", "a"].map(named).to_vec()).await;
    let [full] = &answer.local_totals_errors[..] else { panic!("{answer:?}") };
    assert_eq!((full.index, full.error.as_ref().unwrap().code), (2, Code::ResourceExhausted as i32));
    assert_eq!(metric(&world, "failed_calls_total", r#"service="web",name="a""#), Some(6.0));
    world.end().await;
}

#[tokio::test]
async fn calls_that_clients_rejected_are_in_the_history_of_the_state_that_they_met() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    // One is rejected by breakerd.
    trip(&mut client, "database", "").await;
    let by_clients = || {
        vec![totals(
            "database",
            vec![
                rejected(AllowReason::Open, 1_000),
                rejected(AllowReason::HalfOpenExhausted, 20),
                rejected(AllowReason::ForcedOpen, 3),
            ],
        )]
    };
    send(&mut client, by_clients()).await;
    // The totals are the first to see that the wait is over.
    world.clock.advance(Duration::from_mins(1));
    send(&mut client, by_clients()).await;
    for _ in 0..2 {
        let probe = client.allow_request(ask("database", "")).await.unwrap().into_inner();
        client.record_outcome(report(&probe, Outcome::Success)).await.unwrap();
    }
    send(&mut client, by_clients()).await;
    world.write_behind().await;
    let list =
        v1::ListTransitionsRequest { service: "database".into(), ..v1::ListTransitionsRequest::default() };
    let rows = world.operations().await.list_transitions(list).await.unwrap().into_inner().transitions;
    let shown: Vec<_> = rows.iter().rev().map(|row| (row.from_state(), row.rejected_calls)).collect();
    assert_eq!(shown, [(State::Closed, 0), (State::Open, 1_001), (State::HalfOpen, 20)]);
    let counters = breaker(&world, "database").await.counters.unwrap();
    assert_eq!(counters.rejected, 3 * 1_023 + 1);
    world.end().await;
}

#[tokio::test]
async fn rejected_calls_without_end_stay_within_what_a_database_holds() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    trip(&mut client, "database", "").await;
    let most = totals("database", vec![rejected(AllowReason::Open, 1_000_000_000)]);
    for _ in 0..2 {
        send(&mut client, vec![most.clone(); 1_000]).await;
    }
    world.clock.advance(Duration::from_mins(1));
    client.allow_request(ask("database", "")).await.unwrap();
    world.write_behind().await;
    let list =
        v1::ListTransitionsRequest { service: "database".into(), ..v1::ListTransitionsRequest::default() };
    let rows = world.operations().await.list_transitions(list).await.unwrap().into_inner().transitions;
    assert_eq!(rows[0].rejected_calls, 1_000_000_000_000);
    assert_eq!(breaker(&world, "database").await.counters.unwrap().rejected, 2_000_000_000_001);
    world.end().await;
}

#[tokio::test]
async fn in_metrics_only_an_outcome_by_name_is_a_decision_that_might_have_been_a_rejection() {
    let world = World::new().await;
    world.keep_writing();
    let mut client = world.breakers().await;
    let set = v1::SetOverrideRequest {
        service: "sentinel".into(),
        state: State::MetricsOnly as i32,
        ..crate::grpc_operator_actions::force_open("sentinel")
    };
    world.operations().await.set_override(set).await.unwrap();
    let outcome = |count| RecordOutcomeRequest {
        service: "sentinel".into(),
        outcome: Outcome::Failure as i32,
        count,
        ..RecordOutcomeRequest::default()
    };
    // It opens after three: the first three of a run would have been allowed.
    let run = client.record_outcome(outcome(1_000)).await.unwrap().into_inner();
    assert_eq!((run.state(), run.run.unwrap().recorded), (State::MetricsOnly, 1_000));
    client.record_outcome(outcome(1)).await.unwrap();
    client.record_outcome(RecordOutcomeRequest { epoch: Some(run.epoch - 1), ..outcome(50) }).await.unwrap();
    let labels = r#"service="sentinel",name="sentinel""#;
    let would_be_rejected = || metric(&world, "would_be_rejected_calls_total", labels);
    assert_eq!(would_be_rejected(), Some(998.0), "a late one was decided in another state");
    // With a permit it was counted when it was asked for.
    let permit = client.allow_request(ask("sentinel", "")).await.unwrap().into_inner();
    assert_eq!(would_be_rejected(), Some(999.0));
    client.record_outcome(report(&permit, Outcome::Failure)).await.unwrap();
    assert_eq!(would_be_rejected(), Some(999.0));
    world.end().await;
}
