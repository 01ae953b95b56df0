//! Answers and watches that their client does not read.

use std::time::Duration;

use breakerd::auth::Protocol;
use breakerd::grpc::Limits;
use breakerd::metrics::Refusal;
use breakerd_api::v1::{AllowRequestsRequest, WatchBreakersRequest};
use http_body_util::BodyExt as _;
use prost::Message as _;
use tonic::Code;

use crate::body_client::{
    ALLOW, ALLOW_MANY, Client, LONG, RECORD_MANY, Sent, allow_one, batch, reason, until,
};
use crate::grpc_world::{World, ask};
use crate::process::Process;
use crate::raw::framed;

#[tokio::test]
async fn an_answer_that_nobody_reads_keeps_its_slot_and_has_an_end() {
    let limits = Limits { in_flight_max: 2, write_timeout: Duration::from_secs(2), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = Client::of(&world).await;
    let mut deaf = Client::connect(world.address, 0).await;
    let held: Vec<_> =
        (0..2).map(|_| tokio::spawn(deaf.begin(ALLOW, &[], Sent::Whole(allow_one())))).collect();
    let mut answers = Vec::new();
    for held in held {
        // The headers come, which no window holds back; the message does not.
        answers.push(tokio::time::timeout(LONG, held).await.unwrap().unwrap().unwrap());
    }
    until(&mut client, ALLOW, allow_one, |status| status.code() == Code::ResourceExhausted).await;
    // They are given up, and what they held is given back.
    until(&mut client, ALLOW, allow_one, |status| status.code() == Code::Ok).await;
    for answer in answers {
        let body = tokio::time::timeout(LONG, answer.into_body().collect()).await.unwrap();
        assert!(body.is_err(), "the stream is reset");
    }
    let stalled = &world.app.metrics.access.refused_total;
    assert_eq!(stalled.with_label_values(&[Protocol::Grpc.as_str(), Refusal::Stalled.as_str()]).get(), 2);
    drop((client, deaf));
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_charged_whole() {
    // A batch of a thousand and its answer, 368 KB, but not two such batches beside one such answer.
    let limits = Limits { bytes_per_caller_max: 1_750_000, ..Limits::default() };
    let world = World::with(limits, None).await;
    let batch = || framed(&[0x0a, 0x00].repeat(1_000));
    let mut deaf = Client::connect(world.address, 0).await;
    let held = tokio::time::timeout(LONG, deaf.begin(RECORD_MANY, &[], Sent::Whole(batch()))).await;
    // It is answered; nobody takes the message, of which the connection has the first piece.
    let held = held.unwrap().unwrap();
    let mut other = Client::of(&world).await;
    let (status, ..) = other.call(RECORD_MANY, &[], batch()).await;
    assert_eq!(reason(&status), "CALLER_BYTE_LIMIT_REACHED");
    drop((held, deaf));
    until(&mut other, RECORD_MANY, batch, |status| status.code() == Code::Ok).await;
    drop(other);
    world.end().await;
}

#[tokio::test]
async fn a_long_answer_is_given_up_too_when_its_window_stays_a_byte_short() {
    let limits = Limits { in_flight_max: 1, write_timeout: Duration::from_secs(2), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = Client::of(&world).await;
    let body = framed(&batch(500).encode_to_vec());
    let (_, _, whole) = client.call(ALLOW_MANY, &[], body.clone()).await;
    let window = u32::try_from(whole.len()).unwrap() - 1;
    let mut deaf = Client::connect(world.address, window).await;
    // The slot of the first answer is given back when it is written, which may be after it was read.
    let mut answer = loop {
        let answer = deaf.begin(ALLOW_MANY, &[], Sent::Whole(body.clone())).await.unwrap();
        if answer.headers().get("grpc-status").is_none() {
            break answer.into_body();
        }
    };
    // All but a byte is there; hyper would open the window as soon as it is read.
    until(&mut client, ALLOW, allow_one, |status| status.code() == Code::ResourceExhausted).await;
    until(&mut client, ALLOW, allow_one, |status| status.code() == Code::Ok).await;
    let ended = tokio::time::timeout(LONG, async {
        while let Some(frame) = answer.frame().await {
            if frame.is_err() {
                return true;
            }
        }
        false
    });
    assert!(ended.await.unwrap(), "the stream is reset");
    drop((client, deaf));
    world.end().await;
}

#[tokio::test]
async fn a_watch_that_nobody_reads_is_given_up_and_one_that_is_read_goes_on() {
    let limits = Limits {
        watches_max: 2,
        heartbeat_every: Duration::from_millis(50),
        write_timeout: Duration::from_secs(1),
        ..Limits::default()
    };
    let world = World::with(limits, None).await;
    let mut read =
        world.breakers().await.watch_breakers(WatchBreakersRequest::default()).await.unwrap().into_inner();
    let mut deaf = Client::connect(world.address, 0).await;
    let body = framed(&WatchBreakersRequest::default().encode_to_vec());
    let answer =
        deaf.begin("/breakerd.v1.BreakerService/WatchBreakers", &[], Sent::Whole(body)).await.unwrap();
    let reset = tokio::time::timeout(LONG, answer.into_body().collect()).await.unwrap();
    assert!(reset.is_err(), "the stream is reset");
    // Older than the timeout, and read: progress counts, not age.
    for _ in 0..30 {
        read.message().await.unwrap().unwrap();
    }
    drop((read, deaf));
    world.shutdown.cancel();
    tokio::time::timeout(LONG, world.served).await.unwrap().unwrap();
}

/// Three hundred watchers whose windows are shut, on 2,000 breakers: what they keep is bounded, and goes with them.
#[tokio::test]
async fn watchers_that_do_not_read_take_little_and_are_given_up() {
    const WATCHERS: usize = 300;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("breakerd.toml"), "[grpc]\nwrite_timeout = \"2s\"\n").unwrap();
    let process = Process::ready(folder.path(), None).await;
    let address = process.grpc.strip_prefix("http://").unwrap().parse().unwrap();
    let mut client = Client::connect(address, 1 << 20).await;
    for half in 0..2 {
        let requests =
            (0..1_000).map(|number| ask("payments", &format!("dependency-{half}-{number}"))).collect();
        let body = framed(&AllowRequestsRequest { requests }.encode_to_vec());
        assert_eq!(client.call(ALLOW_MANY, &[], body).await.0.code(), Code::Ok);
    }
    let before = process.resident_bytes();
    let mut deaf = Vec::new();
    for _ in 0..3 {
        deaf.push(Client::connect(address, 0).await);
    }
    let body = framed(&WatchBreakersRequest::default().encode_to_vec());
    let mut answers = Vec::new();
    for number in 0..WATCHERS {
        let sent = Sent::Whole(body.clone());
        answers.push(deaf[number % 3].begin("/breakerd.v1.BreakerService/WatchBreakers", &[], sent));
    }
    let mut bodies = Vec::new();
    for answer in answers {
        bodies.push(tokio::time::timeout(LONG, answer).await.unwrap().unwrap().into_body());
    }
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 128 << 20, "{} MiB for {WATCHERS} watchers", grown >> 20);
    for body in bodies {
        let reset = tokio::time::timeout(LONG, body.collect()).await.expect("it has an end");
        assert!(reset.is_err(), "the stream is reset");
    }
    let metrics = process.page("/metrics").await;
    let stalled = format!("access_refused_total{{protocol=\"grpc\",reason=\"stalled\"}} {WATCHERS}");
    assert!(metrics.contains(&stalled), "all of them were given up");
    drop((deaf, client, process));
}
