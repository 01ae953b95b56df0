//! Bounds of what a client can make breakerd keep or do, by clients that no proper client is.

use std::sync::Arc;
use std::time::Duration;

use breakerd::grpc::Limits;
use breakerd::replica::Local;
use bytes::BytesMut;
use prost::Message as _;
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
    let world = World::with(limits, Arc::new(Local)).await;
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
