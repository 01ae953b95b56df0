//! Watchers that stop reading, beside others that go on: what they were given is bounded, and they hold nothing that
//! another one needs.

use breakerd_api::v1;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::{WatchBreakersRequest, WatchConfigRequest, WatchTransitionsRequest};
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use crate::grpc_world::{World, trip};
use crate::process::PATIENCE;
use crate::{watch_breakers, watch_config, watch_transitions};

/// Watchers of each kind that stop.
const STOPPED: u32 = 100;
/// Rows of the history that they are behind. Memory holds none of them: it has not looked yet.
const ROWS: u64 = 4_000;
/// Breakers that are open: a snapshot of several looks.
const OPEN: usize = 2_500;

/// A connection whose streams may send so much before their client has read it.
async fn narrow(world: &World, window: u32) -> Channel {
    Endpoint::from_shared(format!("http://{}", world.address))
        .unwrap()
        .initial_stream_window_size(window)
        .initial_connection_window_size(64 * 1024 * 1024)
        .connect()
        .await
        .unwrap()
}

/// Where the window of the stopped watcher with this number ends: everywhere between 16 and 215 KiB, so that some stop in the
/// middle of a read, wherever in the answer that falls.
fn window(number: u32) -> u32 {
    16 * 1024 + number * 2 * 1024
}

/// Reads one message, and no other.
async fn stop<T>(mut stream: Streaming<T>) -> Streaming<T> {
    let first = tokio::time::timeout(PATIENCE, stream.message()).await.expect("a watch hangs");
    first.unwrap().expect("the stream ended");
    stream
}

/// Opens breakers of `sentinel` with long names.
async fn open_many(world: &World, prefix: &str, count: usize) {
    let mut client = world.breakers().await;
    for names in (0..count).collect::<Vec<_>>().chunks(300) {
        let failures = names.iter().flat_map(|number| {
            let name = format!("{prefix}-{number:0100}");
            std::iter::repeat_n(name, 3).map(|name| v1::RecordOutcomeRequest {
                service: "sentinel".into(),
                name,
                outcome: v1::Outcome::Failure as i32,
                ..v1::RecordOutcomeRequest::default()
            })
        });
        let batch = v1::RecordOutcomesRequest {
            requests: failures.collect(),
            ..v1::RecordOutcomesRequest::default()
        };
        client.record_outcomes(batch).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_watchers_of_the_history_hold_up_no_other() {
    let world = World::new().await;
    let mut client = world.operations().await;
    let mut begin = watch_transitions::watch(&mut client, "").await;
    let (_, _, token) = watch_transitions::snapshot(&mut begin).await;
    drop(begin);
    watch_transitions::write(&world.store, 0, ROWS, 1_000).await;

    let mut stopped = Vec::new();
    for number in 0..STOPPED {
        let mut client = OperationsServiceClient::new(narrow(&world, window(number)).await);
        // Behind memory, and the newest states, one after the other.
        let resume_token = if number % 2 == 0 { token.clone() } else { String::new() };
        let request = WatchTransitionsRequest { resume_token, ..WatchTransitionsRequest::default() };
        stopped.push(stop(client.watch_transitions(request).await.unwrap().into_inner()).await);
    }
    let rows = usize::try_from(ROWS).unwrap();
    let mut resumed = watch_transitions::watch(&mut client, &token).await;
    let told = watch_transitions::transitions(&mut resumed, rows).await;
    assert_eq!(told.len(), rows);
    // And it goes on being told.
    watch_transitions::write(&world.store, ROWS, 1, 1).await;
    watch_transitions::look(&world).await;
    watch_transitions::transitions(&mut resumed, 1).await;
    let mut anew = watch_transitions::watch(&mut client, "").await;
    let (states, restarted, _) = watch_transitions::snapshot(&mut anew).await;
    assert_eq!((states.len(), restarted), (rows + 1, false));
    drop((stopped, resumed, anew));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_snapshots_of_breakers_hold_up_no_other() {
    let world = World::with_room(2 * OPEN).await;
    open_many(&world, "open", OPEN).await;
    let mut client = world.breakers().await;
    let mut reader = client.watch_breakers(WatchBreakersRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch_breakers::snapshot(&mut reader).await.len(), OPEN);

    let mut stopped = Vec::new();
    for number in 0..STOPPED {
        let mut client = BreakerServiceClient::new(narrow(&world, window(number)).await);
        let stream = client.watch_breakers(WatchBreakersRequest::default()).await.unwrap().into_inner();
        stopped.push(stop(stream).await);
    }
    trip(&mut client, "sentinel", "another").await;
    assert_eq!(watch_breakers::breaker(&mut reader).await.name, "another");
    let mut anew = client.watch_breakers(WatchBreakersRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch_breakers::snapshot(&mut anew).await.len(), OPEN + 1);
    drop((stopped, reader, anew));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_watchers_of_the_configuration_hold_up_no_other() {
    let world = World::new().await;
    let mut client = world.configs().await;
    for number in 0..200 {
        watch_config::set(&mut client, &format!("service-{number}"), 7).await;
    }
    let mut reader = watch_config::watch(&mut client, WatchConfigRequest::default()).await;
    let (told, _) = watch_config::snapshot(&mut reader).await;
    let mut stopped = Vec::new();
    for number in 0..STOPPED {
        let mut client = ConfigServiceClient::new(narrow(&world, window(number) / 8).await);
        let stream = client.watch_config(WatchConfigRequest::default()).await.unwrap().into_inner();
        stopped.push(stop(stream).await);
    }
    watch_config::set(&mut client, "another", 9).await;
    assert_eq!(watch_config::told(&watch_config::news(&mut reader).await.0), "another=9");
    let mut anew = watch_config::watch(&mut client, WatchConfigRequest::default()).await;
    assert_eq!(watch_config::snapshot(&mut anew).await.0.len(), told.len() + 1);
    drop((stopped, reader, anew));
    world.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_watcher_goes_on_where_it_stopped_when_its_client_reads_again() {
    let world = World::new().await;
    let mut client = world.operations().await;
    let mut begin = watch_transitions::watch(&mut client, "").await;
    let (_, _, token) = watch_transitions::snapshot(&mut begin).await;
    drop(begin);
    watch_transitions::write(&world.store, 0, 2_000, 1_000).await;
    let mut slow = OperationsServiceClient::new(narrow(&world, 64 * 1024).await);
    let request =
        WatchTransitionsRequest { resume_token: token.clone(), ..WatchTransitionsRequest::default() };
    let mut stopped = stop(slow.watch_transitions(request).await.unwrap().into_inner()).await;
    let mut other = watch_transitions::watch(&mut client, &token).await;
    let all = watch_transitions::transitions(&mut other, 2_000).await;
    assert_eq!(watch_transitions::transitions(&mut stopped, 1_999).await, all[1..]);
    drop((stopped, other));
    world.end().await;
}
