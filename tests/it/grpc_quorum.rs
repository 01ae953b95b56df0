//! `minimum_reporters` from end to end: who is counted, over a real channel.

use breakerd_api::v1::{self, Outcome, RecordOutcomeRequest, RecordOutcomesRequest, State};

use crate::grpc_world::World;

/// Three failures in a row trip, if two callers or more saw them.
async fn world() -> World {
    let world = World::new().await;
    let thresholds = v1::Thresholds {
        failure_threshold: Some(3),
        minimum_reporters: Some(2),
        ..v1::Thresholds::default()
    };
    let request = v1::UpdateConfigRequest {
        service: "db".into(),
        thresholds: Some(thresholds),
        ..v1::UpdateConfigRequest::default()
    };
    world.configs().await.update_config(request).await.unwrap();
    world
}

fn failure(caller: &str) -> RecordOutcomeRequest {
    RecordOutcomeRequest {
        service: "db".into(),
        outcome: Outcome::Failure as i32,
        caller: caller.into(),
        ..RecordOutcomeRequest::default()
    }
}

async fn state(world: &World) -> (State, u32) {
    let get = v1::GetBreakerRequest { service: "db".into(), name: String::new() };
    let answer = world.operations().await.get_breaker(get).await.unwrap();
    let breaker = answer.into_inner().breaker.unwrap();
    let stats = breaker.last_transition.as_ref().and_then(|last| last.stats);
    (breaker.state(), stats.map_or(0, |stats| stats.reporters))
}

#[tokio::test]
async fn one_caller_alone_never_opens_a_breaker_that_needs_two() {
    let world = world().await;
    let mut client = world.breakers().await;
    for _ in 0..50 {
        client.record_outcome(failure("pod-1")).await.unwrap();
    }
    let requests = vec![failure("pod-1"); 1_000];
    client
        .record_outcomes(RecordOutcomesRequest { requests, ..RecordOutcomesRequest::default() })
        .await
        .unwrap();
    assert_eq!(state(&world).await, (State::Closed, 0));
    client.record_outcome(failure("pod-2")).await.unwrap();
    assert_eq!(state(&world).await, (State::Open, 2));
    world.end().await;
}

#[tokio::test]
async fn whoever_does_not_say_who_they_are_is_one_caller() {
    let world = world().await;
    let mut client = world.breakers().await;
    let requests = vec![failure(""); 100];
    client
        .record_outcomes(RecordOutcomesRequest { requests, ..RecordOutcomesRequest::default() })
        .await
        .unwrap();
    assert_eq!(state(&world).await, (State::Closed, 0));
    client.record_outcome(failure("pod-1")).await.unwrap();
    assert_eq!(state(&world).await, (State::Open, 2));
    world.end().await;
}

#[tokio::test]
async fn callers_of_one_batch_are_told_apart() {
    let world = world().await;
    let mut client = world.breakers().await;
    let requests = vec![failure("pod-1"), failure("pod-1"), failure("pod-2"), failure("pod-3")];
    client
        .record_outcomes(RecordOutcomesRequest { requests, ..RecordOutcomesRequest::default() })
        .await
        .unwrap();
    assert_eq!(state(&world).await, (State::Open, 2));
    world.end().await;
}

/// A success ends the run, and with it what its callers saw.
#[tokio::test]
async fn a_caller_of_an_earlier_run_does_not_count() {
    let world = world().await;
    let mut client = world.breakers().await;
    client.record_outcome(failure("pod-1")).await.unwrap();
    let success = RecordOutcomeRequest { outcome: Outcome::Success as i32, ..failure("pod-1") };
    client.record_outcome(success).await.unwrap();
    for _ in 0..10 {
        client.record_outcome(failure("pod-2")).await.unwrap();
    }
    assert_eq!(state(&world).await, (State::Closed, 0));
    client.record_outcome(failure("pod-1")).await.unwrap();
    assert_eq!(state(&world).await, (State::Open, 2));
    world.end().await;
}
