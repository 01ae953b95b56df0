//! Batches of outcomes that are sent again, over a real channel.

use std::time::Duration;

use breakerd::auth::{Principals, Role};
use breakerd::grpc::Limits;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::record_outcomes_result::Result as ItemResult;
use breakerd_api::v1::watch_breakers_response::Event;
use breakerd_api::v1::{
    Outcome, RecordOutcomeRequest, RecordOutcomesRequest, RecordOutcomesResponse, WatchBreakersRequest,
};
use futures_util::FutureExt as _;
use proptest::prelude::*;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::auth::{add, security};
use crate::grpc_breakers::{faults, named};
use crate::grpc_world::{World, ask, report};
use crate::watch_breakers::event;

/// The reporter of the tests.
const REPORTER: [u8; 16] = *b"sixteen of chaos";

fn run(service: &str, count: u32) -> RecordOutcomeRequest {
    RecordOutcomeRequest {
        service: service.into(),
        outcome: Outcome::Success as i32,
        count,
        ..RecordOutcomeRequest::default()
    }
}

fn batch(sequence: u64, requests: Vec<RecordOutcomeRequest>) -> RecordOutcomesRequest {
    RecordOutcomesRequest {
        requests,
        reporter: REPORTER.to_vec(),
        sequence,
        ..RecordOutcomesRequest::default()
    }
}

/// Items so long that breakerd lets other requests run between each two of them.
fn long_batch(sequence: u64) -> RecordOutcomesRequest {
    batch(sequence, vec![run("database", 1_000_000); 1_000])
}

const LONG_BATCH_CALLS: u64 = 1_000_000_000;

async fn send(
    client: &mut BreakerServiceClient<Channel>,
    batch: &RecordOutcomesRequest,
) -> Result<RecordOutcomesResponse, Status> {
    client.record_outcomes(batch.clone()).await.map(tonic::Response::into_inner)
}

/// Successes that were counted of a service's own breaker.
fn counted(world: &World, service: &str) -> u64 {
    let engine = &world.app.loaded().unwrap().engine;
    engine.view(service, "", world.app.clock.now()).map_or(0, |view| view.counters.successful)
}

#[tokio::test]
async fn a_batch_that_is_sent_again_is_answered_alike_and_counts_once() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let permit = client.allow_request(ask("database", "")).await.unwrap().into_inner();
    let failure = RecordOutcomeRequest { outcome: Outcome::Failure as i32, ..run("search", 8) };
    let first = batch(
        7,
        vec![
            run("database", 300),
            report(&permit, Outcome::Success),
            run("no such service", 1),
            run("database", 1),
            failure,
        ],
    );
    let answer = send(&mut client, &first).await.unwrap();
    assert_eq!((answer.repeated, answer.results.len()), (false, 5));
    assert!(matches!(answer.results[2].result, Some(ItemResult::Error(_))), "{answer:?}");
    assert_eq!(counted(&world, "database"), 302);
    for _ in 0..3 {
        // A connection of its own, as after a failure.
        let again = send(&mut world.breakers().await, &first).await.unwrap();
        assert_eq!(again, RecordOutcomesResponse { repeated: true, ..answer.clone() });
    }
    assert_eq!(counted(&world, "database"), 302);

    let next = send(&mut client, &batch(20, vec![run("database", 3)])).await.unwrap();
    assert_eq!((next.repeated, counted(&world, "database")), (false, 305), "numbers may be left out");
    let without = RecordOutcomesRequest { requests: vec![run("database", 5)], ..batch(0, vec![]) };
    let without = RecordOutcomesRequest { reporter: Vec::new(), ..without };
    for total in [310, 315] {
        let answer = send(&mut client, &without).await.unwrap();
        assert_eq!((answer.repeated, counted(&world, "database")), (false, total), "nobody's batch");
    }
    world.end().await;
}

#[tokio::test]
async fn an_answer_names_the_life_of_breakerd_as_the_watch_does() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let stream = client.watch_breakers(WatchBreakersRequest::default()).await.unwrap();
    let Event::Hello(hello) = event(&mut stream.into_inner()).await else { panic!("hello comes first") };
    assert_ne!(hello.boot, 0);
    for sent in [batch(1, vec![run("database", 3)]), batch(1, vec![run("database", 3)]), batch(2, vec![])] {
        assert_eq!(send(&mut client, &sent).await.unwrap().boot, hello.boot);
    }
    let untracked = RecordOutcomesRequest::default();
    assert_eq!(send(&mut client, &untracked).await.unwrap().boot, hello.boot);
    world.end().await;
}

#[tokio::test]
async fn a_batch_before_the_last_is_an_error_and_counts_nothing() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let last = batch(9, vec![run("database", 10)]);
    send(&mut client, &last).await.unwrap();
    let status = send(&mut client, &batch(8, vec![run("database", 10)])).await.unwrap_err();
    assert_eq!(faults(&status), named(&[("sequence", "OUT_OF_RANGE")]));
    let text = status.message();
    assert!(text.contains("sequence: invalid value 8: must be 9..=18446744073709551615"), "{text}");
    // The same number, of another batch.
    for other in [batch(9, vec![]), batch(9, vec![run("database", 10); 2])] {
        let status = send(&mut client, &other).await.unwrap_err();
        assert_eq!(faults(&status), named(&[("sequence", "MISMATCH")]));
        assert!(status.message().contains("which had 1 requests and 0 local totals"), "{status:?}");
    }
    assert_eq!(counted(&world, "database"), 10);
    assert!(send(&mut client, &last).await.unwrap().repeated, "the last one is still the last");
    world.end().await;
}

#[tokio::test]
async fn a_wrong_reporter_or_number_is_named_and_nothing_is_counted() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let good = batch(1, vec![run("database", 3)]);
    for (reporter, sequence, field, kind, problem) in [
        (vec![7; 15], 1, "reporter", "OUT_OF_RANGE", "invalid length 15: must be 16 bytes, or empty"),
        (vec![7; 17], 1, "reporter", "OUT_OF_RANGE", "invalid length 17: must be 16 bytes, or empty"),
        (
            REPORTER.to_vec(),
            0,
            "sequence",
            "OUT_OF_RANGE",
            "invalid value 0: must be 1..=18446744073709551615",
        ),
        (vec![], 5, "sequence", "MISMATCH", "invalid value 5: must be 0 without a reporter"),
    ] {
        let wrong = RecordOutcomesRequest { reporter, sequence, ..good.clone() };
        let status = send(&mut client, &wrong).await.unwrap_err();
        assert_eq!(faults(&status), named(&[(field, kind)]));
        assert!(status.message().contains(problem), "{status:?}");
    }
    assert_eq!(counted(&world, "database"), 0);
    assert!(!send(&mut client, &good).await.unwrap().repeated);
    world.end().await;
}

#[tokio::test]
async fn the_same_batch_twice_at_the_same_moment_counts_once() {
    let world = World::new().await;
    let (mut one, mut other) = (world.breakers().await, world.breakers().await);
    let sent = long_batch(1);
    let (first, second) = tokio::join!(send(&mut one, &sent), send(&mut other, &sent));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(counted(&world, "database"), LONG_BATCH_CALLS);
    assert!(first.repeated != second.repeated, "one of them waited for the other");
    assert_eq!(first.results, second.results);
    world.end().await;
}

#[tokio::test]
async fn the_next_batch_waits_for_the_one_that_is_being_processed() {
    let world = World::new().await;
    let (mut one, mut other) = (world.breakers().await, world.breakers().await);
    let sent = long_batch(1);
    let mut first = Box::pin(send(&mut one, &sent));
    while counted(&world, "database") == 0 {
        assert!(first.as_mut().now_or_never().is_none(), "it is answered before it was seen");
        tokio::task::yield_now().await;
    }
    let next = async {
        let answer = send(&mut other, &batch(2, vec![run("search", 3)])).await.unwrap();
        (answer.repeated, counted(&world, "database"))
    };
    let (first, next) = tokio::join!(first, next);
    assert!(!first.unwrap().repeated);
    assert_eq!(next, (false, LONG_BATCH_CALLS), "all of the first is counted before the next");
    world.end().await;
}

#[tokio::test]
async fn a_batch_whose_client_went_away_in_the_middle_is_finished_when_it_comes_again() {
    let world = World::new().await;
    let sent = long_batch(1);
    let mut client = world.breakers().await;
    let mut call = Box::pin(client.record_outcomes(sent.clone()));
    // The server runs in this task's thread: it has some of the batch behind it whenever this is not its turn.
    while counted(&world, "database") == 0 {
        assert!(call.as_mut().now_or_never().is_none(), "it is answered before it was seen");
        tokio::task::yield_now().await;
    }
    drop(call);
    // The next one waits for it to end.
    let answer = send(&mut client, &sent).await.unwrap();
    assert_eq!(counted(&world, "database"), LONG_BATCH_CALLS);
    let all = |answer: &RecordOutcomesResponse| {
        answer.results.iter().all(|result| match &result.result {
            Some(ItemResult::Response(response)) => response.run.unwrap().recorded == 1_000_000,
            _ => false,
        })
    };
    assert!(!answer.repeated && answer.results.len() == 1_000 && all(&answer));
    let again = send(&mut client, &sent).await.unwrap();
    assert_eq!(again, RecordOutcomesResponse { repeated: true, ..answer });
    assert_eq!(counted(&world, "database"), LONG_BATCH_CALLS);
    world.end().await;
}

#[tokio::test]
async fn a_batch_that_was_cancelled_is_over_when_the_next_one_comes() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let mut call = Box::pin(client.record_outcomes(long_batch(1)));
    while counted(&world, "database") == 0 {
        assert!(call.as_mut().now_or_never().is_none(), "it is answered before it was seen");
        tokio::task::yield_now().await;
    }
    drop(call);
    let next = send(&mut client, &batch(2, vec![run("search", 3)])).await.unwrap();
    let done = counted(&world, "database");
    assert!(!next.repeated && (1_000_000..LONG_BATCH_CALLS).contains(&done), "{done}");
    let status = send(&mut client, &long_batch(1)).await.unwrap_err();
    assert_eq!(faults(&status), named(&[("sequence", "OUT_OF_RANGE")]));
    assert_eq!(counted(&world, "database"), done, "nothing goes on without its client");
    world.end().await;
}

#[tokio::test]
async fn a_reporter_is_one_of_its_client_and_no_other_can_answer_or_block_it() {
    let mut principals = Principals::default();
    let holders = ["one", "other"].map(|name| add(&mut principals, name, &[Role::Caller], &[]));
    let world = World::with_security(security(principals), Limits::default()).await;
    let mut client = world.breakers().await;
    let sent = batch(5, vec![run("database", 10)]);
    for (holder, repeated) in [(0, false), (1, false), (0, true), (1, true)] {
        let answer = client.record_outcomes(holders[holder].shows(sent.clone())).await.unwrap().into_inner();
        assert_eq!(answer.repeated, repeated, "{holder}");
    }
    // One is far ahead, the other is not.
    client.record_outcomes(holders[0].shows(batch(u64::MAX, vec![]))).await.unwrap();
    let answer = client.record_outcomes(holders[1].shows(batch(6, vec![]))).await.unwrap();
    assert!(!answer.into_inner().repeated);
    assert_eq!(counted(&world, "database"), 20);
    world.end().await;
}

#[tokio::test]
async fn a_client_with_many_reporters_loses_its_own_and_leaves_others_theirs() {
    let mut principals = Principals::default();
    let modest = add(&mut principals, "modest", &[Role::Caller], &[]);
    let greedy = add(&mut principals, "greedy", &[Role::Caller], &[]);
    // Room for the answers to about 25 batches of 100 outcomes.
    let limits = Limits { reporters_bytes_max: 64 * 1024, ..Limits::default() };
    let world = World::with_security(security(principals), limits).await;
    let mut client = world.breakers().await;
    let of =
        |number: u8, requests| RecordOutcomesRequest { reporter: vec![number; 16], ..batch(1, requests) };
    let hundred = || vec![run("database", 10); 100];
    client.record_outcomes(modest.shows(of(0, hundred()))).await.unwrap();
    for number in 0..200 {
        client.record_outcomes(greedy.shows(of(number, hundred()))).await.unwrap();
    }
    assert_eq!(counted(&world, "database"), 201_000);
    let again = client.record_outcomes(modest.shows(of(0, hundred()))).await.unwrap().into_inner();
    assert!(again.repeated);
    let newest = client.record_outcomes(greedy.shows(of(199, hundred()))).await.unwrap().into_inner();
    assert!(newest.repeated);
    assert_eq!(counted(&world, "database"), 201_000);
    // What was forgotten is processed: nobody can tell it from a new one.
    let oldest = client.record_outcomes(greedy.shows(of(0, hundred()))).await.unwrap().into_inner();
    assert_eq!((oldest.repeated, counted(&world, "database")), (false, 202_000));
    world.end().await;
}

#[tokio::test]
async fn a_reporter_is_forgotten_after_ten_minutes_of_silence() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let sent = batch(3, vec![run("database", 10)]);
    send(&mut client, &sent).await.unwrap();
    for _ in 0..3 {
        world.clock.advance(Duration::from_mins(10) - Duration::from_micros(1));
        assert!(send(&mut client, &sent).await.unwrap().repeated, "a repeat breaks the silence");
    }
    world.clock.advance(Duration::from_mins(10));
    let lower = batch(2, vec![run("database", 10)]);
    assert!(!send(&mut client, &lower).await.unwrap().repeated);
    assert_eq!(counted(&world, "database"), 20);
    world.end().await;
}

#[tokio::test]
async fn the_kept_answer_of_many_errors_is_short_and_has_all_of_them() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let wrong =
        RecordOutcomeRequest { error_class: "\u{e4}\n".repeat(200), ..run("no good \u{e4}", 5_000_000) };
    let sent = batch(1, vec![wrong; 1_000]);
    let answer = send(&mut client, &sent).await.unwrap();
    let again = send(&mut client, &sent).await.unwrap();
    assert!(again.repeated && again.results.len() == 1_000);
    for (result, kept) in answer.results.iter().zip(&again.results) {
        let (Some(ItemResult::Error(error)), Some(ItemResult::Error(kept))) = (&result.result, &kept.result)
        else {
            panic!("{result:?} {kept:?}");
        };
        assert!(kept.code == error.code && error.message.starts_with(&kept.message));
        assert!(
            (90..=100).contains(&kept.message.len()) && kept.details.is_empty() && !error.details.is_empty()
        );
    }
    world.end().await;
}

#[test]
fn whatever_a_reporter_sends_is_counted_once_or_refused() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let client = runtime.block_on(world.breakers());
    let reporters = prop_oneof![
        4 => prop::sample::select(vec![vec![1; 16], vec![2; 16]]),
        1 => prop::collection::vec(any::<u8>(), 0..20),
    ];
    let sequences = prop_oneof![4 => 0..6_u64, 1 => any::<u64>()];
    let item = (any::<Option<u32>>(), 0..5_i32).prop_map(|(count, outcome)| RecordOutcomeRequest {
        outcome,
        ..run("database", count.map_or(1, |count| count % 2_000_000))
    });
    let sent = (reporters, sequences, prop::collection::vec(item, 0..4));
    let config = ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() };
    proptest!(config, |((reporter, sequence, requests) in sent)| {
        let sent = RecordOutcomesRequest { reporter, ..batch(sequence, requests) };
        runtime.block_on(async {
            let before = counted(&world, "database");
            let answer = send(&mut client.clone(), &sent).await;
            let gained = counted(&world, "database") - before;
            match answer {
                Ok(answer) => {
                    prop_assert_eq!(answer.results.len(), sent.requests.len());
                    let successes: u64 = answer.results.iter().zip(&sent.requests).map(|(result, sent)| {
                        let is_success = sent.outcome() == Outcome::Success;
                        match &result.result {
                            Some(ItemResult::Response(_)) if is_success => u64::from(sent.count.max(1)),
                            _ => 0,
                        }
                    }).sum();
                    let is_open = answer.results.iter().any(|result| match &result.result {
                        Some(ItemResult::Response(response)) => response.epoch > 0,
                        _ => false,
                    });
                    if answer.repeated {
                        prop_assert_eq!(gained, 0);
                    } else if !is_open {
                        prop_assert_eq!(gained, successes);
                    }
                }
                Err(status) => {
                    prop_assert_eq!((status.code(), gained), (Code::InvalidArgument, 0));
                }
            }
            Ok(())
        })?;
    });
    runtime.block_on(world.end());
}
