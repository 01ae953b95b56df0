//! Bounds of what a client can make breakerd keep or do, by clients that no proper client is.

use std::time::Duration;

use breakerd::auth::Protocol;
use breakerd::grpc::Limits;
use breakerd::metrics::Refusal;
use breakerd_api::v1::{
    RecordOutcomeRequest, RecordOutcomesRequest, RecordOutcomesResponse, record_outcomes_result,
};
use bytes::BytesMut;
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt as _;

use crate::body_client::{ALLOW, CHECK, Client, LONG, RECORD_MANY, Sent, allow_one, read, reason, until};
use crate::grpc_world::World;
use crate::process::Process;
use crate::raw::framed;

#[tokio::test]
async fn bytes_that_arrive_are_bounded_a_caller_and_given_back() {
    let limits = Limits { bytes_per_caller_max: 128 << 10, ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = Client::of(&world).await;
    // 60 KiB of a message of 500.
    let half = || {
        let mut sent = BytesMut::from(&[0][..]);
        sent.extend_from_slice(&512_000_u32.to_be_bytes());
        sent.resize(60 << 10, 0x0a);
        Sent::Begun(sent.to_vec())
    };
    let held = tokio::spawn(client.begin(RECORD_MANY, &[], half()));
    // A second one does not fit beside it, and is told so at once.
    let mut other = Client::of(&world).await;
    let refused = tokio::time::timeout(LONG, async {
        loop {
            let answered = other.begin(RECORD_MANY, &[], half());
            tokio::select! {
                answered = answered => break read(answered.unwrap()).await.0,
                // It fits as long as the first has not arrived.
                () = tokio::time::sleep(Duration::from_millis(100)) => {}
            }
        }
    });
    let status = refused.await.expect("one is refused");
    assert_eq!(
        (status.code(), reason(&status).as_str()),
        (Code::ResourceExhausted, "CALLER_BYTE_LIMIT_REACHED")
    );
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
    // Health has memory of its own.
    let check = || framed(&HealthCheckRequest::default().encode_to_vec());
    assert_eq!(other.call(CHECK, &[], check()).await.0.code(), Code::Ok);
    held.abort();
    drop(client);
    until(&mut other, RECORD_MANY, || framed(&[0x0a, 0x00].repeat(60)), |status| status.code() == Code::Ok)
        .await;
    drop(other);
    world.end().await;
}

#[tokio::test]
async fn a_burst_of_small_calls_is_not_taken_for_an_attack() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let calls: Vec<_> =
        (0..1_000).map(|_| tokio::spawn(client.begin(ALLOW, &[], Sent::Whole(allow_one())))).collect();
    for call in calls {
        let answered = tokio::time::timeout(LONG, call).await.unwrap().unwrap().unwrap();
        assert_eq!(read(answered).await.0.code(), Code::Ok);
    }
    drop(client);
    world.end().await;
}

/// A thousand calls that announce the largest message and send almost nothing of it.
#[tokio::test]
async fn what_is_announced_takes_no_memory() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    let address = process.grpc.strip_prefix("http://").unwrap().parse().unwrap();
    let before = process.resident_bytes();
    let mut client = Client::connect(address, 1 << 20).await;
    let mut announced = vec![0];
    announced.extend_from_slice(&1_000_000_u32.to_be_bytes());
    let held: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(client.begin(RECORD_MANY, &[], Sent::Begun(announced.clone()))))
        .collect();
    // All of them have arrived when a call that came after them is answered.
    assert_eq!(client.call(ALLOW, &[], allow_one()).await.0.code(), Code::Ok);
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 64 << 20, "{} MiB for {} bytes", grown >> 20, 5 * held.len());
    drop((held, client, process));
}

/// The clock stands still, so that nothing of the rate comes back.
#[tokio::test]
async fn a_connection_whose_calls_are_refused_is_slowed_down_and_no_other() {
    const FLOOD: usize = 5_000;
    let world = World::new().await;
    let mut flooding = Client::of(&world).await;
    let too_large = || {
        let mut announced = vec![0];
        announced.extend_from_slice(&(4_u32 << 20).to_be_bytes());
        Sent::Whole(announced)
    };
    let mut flood = JoinSet::new();
    for _ in 0..FLOOD {
        let answered = flooding.begin(RECORD_MANY, &[], too_large());
        flood.spawn(async move { read(answered.await.unwrap()).await.0 });
    }
    let throttled = world
        .app
        .metrics
        .access
        .refused_total
        .with_label_values(&[Protocol::Grpc.as_str(), Refusal::RefusalRate.as_str()]);
    let mut answered = 0;
    let slowed_down = tokio::time::timeout(LONG, async {
        while throttled.get() == 0 {
            let status = flood.join_next().await.expect("it is slowed down before its end").unwrap();
            assert_eq!((status.code(), &*reason(&status)), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
            answered += 1;
        }
    });
    slowed_down.await.expect("in the end");
    assert!(answered < FLOOD / 2, "{answered}");
    // Another connection of the same address is not, and goes on while calls of the first wait.
    let mut other = Client::of(&world).await;
    for _ in 0..100 {
        assert_eq!(other.call(ALLOW, &[], allow_one()).await.0.code(), Code::Ok);
    }
    assert!(flood.len() > FLOOD / 4, "{} are not answered", flood.len());
    // It is still there: each of its calls has an answer, in time.
    let status = tokio::time::timeout(LONG, flood.join_next()).await.unwrap().unwrap().unwrap();
    assert_eq!(status.code(), Code::ResourceExhausted);
    drop((flood, flooding, other));
    world.shutdown.cancel();
    tokio::time::timeout(LONG, world.served).await.unwrap().unwrap();
}

/// One that asks for hosts or paths without a breaker would else delay the checks of all others until their proxy lets them pass.
#[tokio::test]
async fn a_client_of_a_proxy_whose_checks_are_refused_slows_no_proxy_down() {
    const ENVOY_CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";
    let world = World::new().await;
    let mut proxy = Client::of(&world).await;
    let mut flood = JoinSet::new();
    for _ in 0..3_000 {
        let answered = proxy.begin(ENVOY_CHECK, &[], Sent::Whole(vec![0; 5]));
        flood.spawn(async move { read(answered.await.unwrap()).await.0 });
    }
    while let Some(status) = flood.join_next().await {
        assert_eq!(status.unwrap().code(), Code::InvalidArgument);
    }
    let throttled = [Protocol::Grpc.as_str(), Refusal::RefusalRate.as_str()];
    assert_eq!(world.app.metrics.access.refused_total.with_label_values(&throttled).get(), 0);
    drop(proxy);
    world.shutdown.cancel();
    tokio::time::timeout(LONG, world.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn the_errors_of_a_batch_take_no_more_than_is_charged_for_them() {
    /// What a call is charged for an item of its batch.
    const ITEM_BYTES: usize = 1_536;
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let negative = Some(prost_types::Duration { seconds: i64::MIN, nanos: i32::MIN });
    let wrong = RecordOutcomeRequest {
        permit: vec![7; 96].into(),
        service: "\u{1}".repeat(40),
        name: "\u{1}".repeat(40),
        outcome: i32::MIN,
        error_class: "\u{1}".repeat(250),
        caller: "\u{1}".repeat(250),
        duration: negative,
        retry_after: negative,
        ..RecordOutcomeRequest::default()
    };
    let body = framed(
        &RecordOutcomesRequest { requests: vec![wrong; 1_000], ..RecordOutcomesRequest::default() }
            .encode_to_vec(),
    );
    let (status, _, answer) = client.call(RECORD_MANY, &[], body).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert!(answer.len() < 1_000 * ITEM_BYTES, "{} bytes an item", answer.len() / 1_000);
    let results = RecordOutcomesResponse::decode(answer.slice(5..)).unwrap().results;
    assert_eq!(results.len(), 1_000);
    for result in results {
        let Some(record_outcomes_result::Result::Error(error)) = result.result else { panic!("{result:?}") };
        assert_eq!(error.code, Code::InvalidArgument as i32);
        let named = |field| error.message.contains(field);
        assert!(
            ["permit", "outcome", "duration", "error_class", "service"].into_iter().all(named),
            "{error:?}"
        );
        let kinds: Vec<_> = error.details.iter().map(|detail| &*detail.type_url).collect();
        assert_eq!(
            kinds,
            ["type.googleapis.com/google.rpc.ErrorInfo", "type.googleapis.com/google.rpc.BadRequest"]
        );
    }
    drop(client);
    world.end().await;
}
