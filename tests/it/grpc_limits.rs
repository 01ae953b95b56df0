//! Bounds in bytes, and what is wrong with a call beside its fields: each by a client that no proper client is.

use std::sync::Arc;
use std::time::Duration;

use breakerd::grpc::Limits;
use breakerd::metrics::{Entry, Refusal};
use breakerd::proto::v1::{
    AllowRequestResponse, AllowRequestsRequest, AllowRequestsResponse, Outcome, RecordOutcomeRequest,
    RecordOutcomesRequest, WatchBreakersRequest,
};
use breakerd::replica::Local;
use bytes::{Bytes, BytesMut};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask};
use crate::process::Process;
use crate::raw::framed;

const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
const ALLOW_MANY: &str = "/breakerd.v1.BreakerService/AllowRequests";
const RECORD_MANY: &str = "/breakerd.v1.BreakerService/RecordOutcomes";
const CHECK: &str = "/grpc.health.v1.Health/Check";
const LONG: Duration = Duration::from_secs(30);

struct Client {
    sender: SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
}

/// Headers, and a body that is all there, or that never ends.
enum Sent {
    Whole(Vec<u8>),
    Begun(Vec<u8>),
}

impl Client {
    /// One whose streams take so many bytes of an answer before it opens their windows, which it does not.
    async fn connect(address: std::net::SocketAddr, window: u32) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        let (sender, connection) = http2::Builder::new(TokioExecutor::new())
            .initial_stream_window_size(window)
            .handshake(TokioIo::new(stream))
            .await
            .unwrap();
        tokio::spawn(connection);
        Self { sender }
    }

    async fn of(world: &World) -> Self {
        Self::connect(world.address, 1 << 20).await
    }

    fn begin(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        sent: Sent,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut request = Request::post(format!("http://breakerd{path}")).header("te", "trailers");
        if !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/grpc");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match sent {
            Sent::Whole(body) => Full::new(body.into()).boxed(),
            Sent::Begun(body) => {
                let first = tokio_stream::once(Ok(Frame::data(Bytes::from(body))));
                StreamBody::new(first.chain(tokio_stream::pending())).boxed()
            }
        };
        self.sender.send_request(request.body(body).unwrap())
    }

    /// The status, the headers, and the bytes of the answer.
    async fn call(
        &mut self,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> (Status, HeaderMap, Bytes) {
        self.sender.ready().await.unwrap();
        let answered = self.begin(path, headers, Sent::Whole(body));
        read(tokio::time::timeout(LONG, answered).await.unwrap().unwrap()).await
    }
}

async fn read(response: Response<Incoming>) -> (Status, HeaderMap, Bytes) {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(LONG, body.collect()).await.unwrap().unwrap();
    let found = Status::from_header_map(&head.headers)
        .or_else(|| body.trailers().and_then(Status::from_header_map))
        .unwrap_or_else(|| Status::ok(""));
    (found, head.headers, body.to_bytes())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap_or_else(|| panic!("{status:?}")).reason
}

fn allow_one() -> Vec<u8> {
    framed(&ask("payments", "").encode_to_vec())
}

fn batch(requests: usize) -> AllowRequestsRequest {
    AllowRequestsRequest { requests: vec![ask("payments", "card-processor"); requests] }
}

/// A message as gzip, with its prefix.
fn gzipped(message: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    std::io::Write::write_all(&mut encoder, message).unwrap();
    let mut sent = framed(&encoder.finish().unwrap());
    sent[0] = 1;
    sent
}

/// Calls until the answer is `wanted`.
async fn until(
    client: &mut Client,
    path: &str,
    body: impl Fn() -> Vec<u8>,
    wanted: impl Fn(&Status) -> bool,
) {
    let answered = tokio::time::timeout(LONG, async {
        loop {
            let (status, ..) = client.call(path, &[], body()).await;
            if wanted(&status) {
                break;
            }
            tokio::task::yield_now().await;
        }
    });
    answered.await.expect("it comes to that");
}

#[tokio::test]
async fn a_unary_call_with_two_messages_is_refused() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let two = [allow_one(), allow_one()].concat();
    let (status, ..) = client.call(ALLOW, &[], two).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "MESSAGE_UNDECODABLE"));
    let check = framed(&HealthCheckRequest::default().encode_to_vec());
    let (status, ..) = client.call(CHECK, &[], [check.clone(), check].concat()).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    // In a frame of its own it is no better.
    let frames = tokio_stream::iter([allow_one(), allow_one()])
        .map(|it| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(it))));
    let request = Request::post(format!("http://breakerd{ALLOW}")).header("content-type", "application/grpc");
    let answered = client.sender.send_request(request.body(StreamBody::new(frames).boxed()).unwrap());
    assert_eq!(read(answered.await.unwrap()).await.0.code(), Code::InvalidArgument);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_message_in_many_frames_is_one_message() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let frames: Vec<_> = allow_one()
        .into_iter()
        .map(|byte| Ok::<_, std::convert::Infallible>(Frame::data(Bytes::from(vec![byte]))))
        .collect();
    let request = Request::post(format!("http://breakerd{ALLOW}")).header("content-type", "application/grpc");
    let body = StreamBody::new(tokio_stream::iter(frames)).boxed();
    let (status, _, answer) =
        read(client.sender.send_request(request.body(body).unwrap()).await.unwrap()).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert!(AllowRequestResponse::decode(answer.slice(5..)).unwrap().allowed);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn what_is_not_grpc_with_protobuf_is_refused() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    for (content_type, status) in [
        ("application/grpc+proto", 200),
        ("application/grpc;x=y", 200),
        ("application/grpcfoo", 415),
        ("application/grpc+json", 415),
    ] {
        client.sender.ready().await.unwrap();
        let answered = client.begin(ALLOW, &[("content-type", content_type)], Sent::Whole(allow_one()));
        assert_eq!(answered.await.unwrap().status(), status, "{content_type}");
    }
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn metadata_over_the_limit_is_resource_exhausted() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let (status, ..) = client.call(ALLOW, &[("x-much", &"x".repeat(20_000))], allow_one()).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "METADATA_TOO_LARGE"));
    assert_eq!(status.get_details_error_info().unwrap().metadata["bytes_max"], "16384");
    assert!(status.get_details_retry_info().is_none(), "it would be as large the next time");
    let (status, ..) = client.call(ALLOW, &[("x-much", &"x".repeat(15_000))], allow_one()).await;
    assert_eq!(status.code(), Code::Ok);
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn each_method_has_a_limit_of_its_own() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    for (path, bytes_max) in [(ALLOW, 16 << 10), (CHECK, 16 << 10), (ALLOW_MANY, 1 << 20)] {
        // Five bytes, and nothing behind them: it is refused without waiting for more.
        let mut announced = vec![0];
        announced.extend_from_slice(&(bytes_max + 1_u32).to_be_bytes());
        client.sender.ready().await.unwrap();
        let answered = client.begin(path, &[], Sent::Begun(announced));
        let (status, ..) = read(tokio::time::timeout(LONG, answered).await.unwrap().unwrap()).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
        assert_eq!(status.get_details_error_info().unwrap().metadata["bytes_max"], bytes_max.to_string());
    }
    // The largest batch that is lawful passes.
    let longest = RecordOutcomeRequest {
        service: "s".repeat(128),
        name: "n".repeat(128),
        outcome: Outcome::Failure as i32,
        error_class: "e".repeat(256),
        caller: "c".repeat(256),
        ..RecordOutcomeRequest::default()
    };
    let largest = RecordOutcomesRequest { requests: vec![longest; 1_000] }.encode_to_vec();
    let (status, ..) = client.call(RECORD_MANY, &[], framed(&largest)).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    // And one with more items than it may have is refused before it is decoded.
    let (status, ..) = client.call(RECORD_MANY, &[], framed(&[0x0a, 0x00].repeat(500_000))).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn gzip_is_taken_and_given() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let headers = [("grpc-encoding", "gzip"), ("grpc-accept-encoding", "identity, deflate, gzip")];
    let (status, head, answer) =
        client.call(ALLOW_MANY, &headers, gzipped(&batch(128).encode_to_vec())).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    assert_eq!(head["grpc-encoding"], "gzip");
    assert_eq!(answer[0], 1, "it is compressed");
    let mut message = Vec::new();
    std::io::Read::read_to_end(&mut GzDecoder::new(&answer[5..]), &mut message).unwrap();
    assert!(answer.len() < message.len());
    assert_eq!(AllowRequestsResponse::decode(&*message).unwrap().results.len(), 128);

    // A short answer is not, and neither is that of a client that does not compress what it sends.
    let (_, _, answer) = client.call(ALLOW, &headers, gzipped(&ask("payments", "").encode_to_vec())).await;
    assert!(AllowRequestResponse::decode(&answer[5..]).unwrap().allowed);
    let (_, head, answer) = client.call(ALLOW_MANY, &headers[1..], framed(&batch(128).encode_to_vec())).await;
    assert_eq!((head.get("grpc-encoding"), answer[0]), (None, 0));

    // A bomb is not read beyond the limit of the method.
    let bomb = gzipped(&vec![0; 30_000_000]);
    for (path, bytes_max) in [(ALLOW_MANY, "1048576"), (ALLOW, "16384")] {
        let sent = if path == ALLOW { gzipped(&vec![0; 1_000_000]) } else { bomb.clone() };
        let (status, ..) = client.call(path, &headers, sent).await;
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
        assert_eq!(status.get_details_error_info().unwrap().metadata["bytes_max"], bytes_max);
    }
    let mut none = allow_one();
    none[0] = 1;
    let (status, ..) = client.call(ALLOW, &headers, none).await;
    assert_eq!(status.code(), Code::InvalidArgument, "what is no gzip");
    let (status, head, _) = client.call(ALLOW, &[("grpc-encoding", "snappy")], allow_one()).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::Unimplemented, "UNKNOWN_ENCODING"));
    assert_eq!(head["grpc-accept-encoding"], "identity,gzip");
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_message_that_is_large_once_decompressed_is_one_like_any_other() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    let headers = [("grpc-encoding", "gzip")];
    let lawful = batch(1_000).encode_to_vec();
    assert!(lawful.len() > 20_000, "not decompressed where it arrives");
    let (status, _, answer) = client.call(ALLOW_MANY, &headers, gzipped(&lawful)).await;
    assert_eq!(status.code(), Code::Ok);
    let answer = AllowRequestsResponse::decode(&answer[5..]).unwrap();
    assert_eq!(answer.results.len(), 1_000);
    // A kilobyte that is a megabyte, of a hundred clients at once, and what is no gzip behind its first bytes.
    let bomb = gzipped(&vec![0; (1 << 20) - 10]);
    let mut senders = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let (bomb, mut client) = (bomb.clone(), Client::of(&world).await);
        senders.spawn(async move { client.call(ALLOW_MANY, &headers, bomb).await.0.code() });
    }
    while let Some(code) = senders.join_next().await {
        assert_eq!(code.unwrap(), Code::InvalidArgument);
    }
    let mut torn = gzipped(&lawful);
    let end = torn.len() - 9;
    torn[end] ^= 0xff;
    let (status, ..) = client.call(ALLOW_MANY, &headers, torn).await;
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    drop(client);
    world.end().await;
}

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
async fn an_answer_that_nobody_reads_keeps_its_slot_and_has_an_end() {
    let limits = Limits { in_flight_max: 2, write_timeout: Duration::from_secs(2), ..Limits::default() };
    let world = World::with(limits, Arc::new(Local)).await;
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
    assert_eq!(stalled.with_label_values(&[Entry::Grpc.as_str(), Refusal::Stalled.as_str()]).get(), 2);
    drop((client, deaf));
    world.end().await;
}

#[tokio::test]
async fn an_answer_that_nobody_reads_is_charged_whole() {
    // A batch of a thousand and its answer, 368 KB, but not two such batches beside one such answer.
    let limits = Limits { bytes_per_caller_max: 1_750_000, ..Limits::default() };
    let world = World::with(limits, Arc::new(Local)).await;
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
    let world = World::with(limits, Arc::new(Local)).await;
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
    let world = World::with(limits, Arc::new(Local)).await;
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
    let stalled = format!("access_refused_total{{edge=\"grpc\",reason=\"stalled\"}} {WATCHERS}");
    assert!(metrics.contains(&stalled), "all of them were given up");
    drop((deaf, client, process));
}
