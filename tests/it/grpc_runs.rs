//! Outcomes that stand for many calls, over a real channel, and what an answer says of the breaker.

use breakerd_api::v1::{self, Outcome, RecordOutcomeRequest, RecordResult, RunDurations, RunResult, State};

use crate::grpc_breakers::{faults, named, wire};
use crate::grpc_world::{World, ask, report, trip};

fn run(service: &str, outcome: Outcome, count: u32) -> RecordOutcomeRequest {
    RecordOutcomeRequest {
        service: service.into(),
        outcome: outcome as i32,
        count,
        ..RecordOutcomeRequest::default()
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages take an Option")]
fn parts(recorded: u32, late: u32, not_counted: u32) -> Option<RunResult> {
    Some(RunResult { recorded, late, not_counted })
}

#[tokio::test]
async fn a_run_opens_the_breaker_in_its_middle_and_the_rest_of_it_is_late() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let failures = RecordOutcomeRequest { epoch: Some(0), ..run("database", Outcome::Failure, 8) };
    let taken = client.record_outcome(failures).await.unwrap().into_inner();
    assert_eq!((taken.result(), taken.state(), taken.epoch), (RecordResult::Recorded, State::Open, 1));
    assert_eq!((taken.run, taken.remaining_wait), (parts(5, 3, 0), wire(60, 0)));

    let more = client.record_outcome(run("database", Outcome::Failure, 7)).await.unwrap().into_inner();
    assert_eq!((more.result(), more.run), (RecordResult::NotCounted, parts(0, 0, 7)), "it is open");
    world.end().await;
}

#[tokio::test]
async fn a_run_is_in_the_counters_and_the_histogram_as_so_many_calls() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let durations = RunDurations { buckets: vec![600_000, 0, 399_999], sum: wire(9_000, 0) };
    let successes =
        RecordOutcomeRequest { durations: Some(durations), ..run("database", Outcome::Success, 1_000_000) };
    let taken = client.record_outcome(successes).await.unwrap().into_inner();
    assert_eq!((taken.run, taken.state(), taken.epoch), (parts(1_000_000, 0, 0), State::Closed, 0));
    client.record_outcome(run("database", Outcome::Ignored, 12)).await.unwrap();

    let get = v1::GetBreakerRequest { service: "database".into(), ..v1::GetBreakerRequest::default() };
    let breaker = world.operations().await.get_breaker(get).await.unwrap().into_inner().breaker.unwrap();
    let counters = breaker.counters.unwrap();
    assert_eq!((counters.successful, counters.ignored, counters.failed), (1_000_000, 12, 0));
    let histograms = world.app.loaded().unwrap().engine.durations();
    let histogram = histograms.iter().find(|histogram| &*histogram.service == "database").unwrap();
    assert_eq!(
        (histogram.cumulative[0], histogram.cumulative[1], histogram.count),
        (600_000, 600_000, 999_999)
    );
    assert!((histogram.sum_seconds - 9_000.0).abs() < 0.001, "{histogram:?}");
    world.end().await;
}

#[tokio::test]
async fn a_run_is_slow_where_the_service_says_what_slow_is() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let thresholds = v1::Thresholds {
        slow_call_duration_threshold: wire(1, 0),
        slow_call_rate_threshold: Some(50.0),
        minimum_number_of_calls: Some(10),
        ..v1::Thresholds::default()
    };
    let update = v1::UpdateConfigRequest {
        service: "search".into(),
        thresholds: Some(thresholds),
        update_mask: Some(prost_types::FieldMask {
            paths: ["slow_call_duration_threshold", "slow_call_rate_threshold", "minimum_number_of_calls"]
                .map(str::to_owned)
                .to_vec(),
        }),
        ..v1::UpdateConfigRequest::default()
    };
    world.configs().await.update_config(update).await.unwrap();
    for (service, state, recorded) in [("search", State::Open, 10), ("database", State::Closed, 40)] {
        let slow = RecordOutcomeRequest { slow: true, ..run(service, Outcome::Success, 40) };
        let taken = client.record_outcome(slow).await.unwrap().into_inner();
        assert_eq!((taken.state(), taken.run.unwrap().recorded), (state, recorded), "{service}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_wrong_run_names_every_field_at_fault_and_counts_nothing() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let permit = client.allow_request(ask("database", "")).await.unwrap().into_inner().permit;
    let wrong = RecordOutcomeRequest {
        permit,
        duration: wire(1, 0),
        retry_after: wire(1, 0),
        durations: Some(RunDurations { buckets: vec![u32::MAX; 15], sum: wire(-1, 0) }),
        ..run("database", Outcome::Failure, 1_000_001)
    };
    let status = client.record_outcome(wrong).await.unwrap_err();
    let expected = [
        ("count", "OUT_OF_RANGE"),
        ("permit", "MISMATCH"),
        ("duration", "MISMATCH"),
        ("retry_after", "MISMATCH"),
        ("durations.buckets", "TOO_MANY"),
        ("durations.buckets", "OUT_OF_RANGE"),
        ("durations.sum", "OUT_OF_RANGE"),
    ];
    assert_eq!(faults(&status), named(&expected));

    let alone = RecordOutcomeRequest {
        slow: true,
        durations: Some(RunDurations::default()),
        ..run("database", Outcome::Failure, 1)
    };
    let status = client.record_outcome(alone).await.unwrap_err();
    assert_eq!(faults(&status), named(&[("slow", "MISMATCH"), ("durations", "MISMATCH")]));
    let none = RecordOutcomeRequest { service: String::new(), ..run("", Outcome::Failure, 2) };
    assert_eq!(faults(&client.record_outcome(none).await.unwrap_err()), named(&[("service", "REQUIRED")]));
    world.end().await;
}

#[tokio::test]
async fn a_probe_says_how_long_its_place_is_held() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    trip(&mut client, "database", "").await;
    world.clock.advance(std::time::Duration::from_mins(1));
    let probe = client.allow_request(ask("database", "")).await.unwrap().into_inner();
    assert_eq!((probe.state(), probe.lease), (State::HalfOpen, wire(60, 0)));
    let failed = client.record_outcome(report(&probe, Outcome::Failure)).await.unwrap().into_inner();
    assert_eq!((failed.state(), failed.epoch, failed.remaining_wait), (State::Open, 3, wire(60, 0)));
    world.end().await;
}
