//! What the server does beside its services: deadlines, limits, messages that are none, and its end.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Key, RowVersion, Snapshot, State, StoredRow};
use breakerd::engine::StoreAnswer;
use breakerd::grpc::{Limits, Method};
use breakerd::listener::Drained;
use breakerd::store::{
    Answered, ChangedRow, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowsPage, SharedStore, StoreError,
};
use breakerd_api::v1::{self, Outcome};
use breakerd_common::clock::Clock;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt as _, Empty, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message as _;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::grpc_world::{World, ask, report};

const ALLOW: &str = "/breakerd.v1.BreakerService/AllowRequest";
const ALLOW_MANY: &str = "/breakerd.v1.BreakerService/AllowRequests";

/// A client that can say what no proper client says.
struct Raw {
    sender: SendRequest<BoxBody<Bytes, std::convert::Infallible>>,
    address: String,
}

impl Raw {
    async fn connect(world: &World) -> Self {
        let stream = TcpStream::connect(world.address).await.unwrap();
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        Self { sender, address: world.address.to_string() }
    }

    fn request(&self, path: &str) -> http::request::Builder {
        Request::post(format!("http://{}{path}", self.address))
            .header("content-type", "application/grpc")
            .header("te", "trailers")
    }

    /// Sends a body that is all there.
    async fn send(&mut self, path: &str, body: Vec<u8>) -> Response<Incoming> {
        let request = self.request(path).body(Full::new(body.into()).boxed()).unwrap();
        self.sender.send_request(request).await.unwrap()
    }

    /// Sends headers, and a body that never comes.
    fn hang(
        &mut self,
        path: &str,
        timeout: Option<&str>,
    ) -> impl Future<Output = hyper::Result<Response<Incoming>>> + use<> {
        let mut request = self.request(path);
        if let Some(timeout) = timeout {
            request = request.header("grpc-timeout", timeout);
        }
        let body = StreamBody::new(tokio_stream::pending::<Result<Frame<Bytes>, _>>());
        self.sender.send_request(request.body(body.boxed()).unwrap())
    }
}

/// As gRPC frames it.
fn framed(message: &[u8]) -> Vec<u8> {
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

fn status(headers: &HeaderMap) -> Status {
    Status::from_header_map(headers).expect("a status")
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().expect("ErrorInfo").reason
}

/// A store that other replicas write to, and that never answers.
struct Mute;

#[async_trait]
impl SharedStore for Mute {
    async fn propose_shared(&self, _: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        std::future::pending().await
    }

    async fn ask_probes(&self, _: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        std::future::pending().await
    }

    async fn use_rows(&self, _: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        std::future::pending().await
    }

    async fn begin_timeline(&self, _: u32, _: u32) -> Result<(), StoreError> {
        std::future::pending().await
    }

    async fn rows_after(&self, _: &RowCursor, _: &[u64], _: u32) -> Result<RowsPage, StoreError> {
        std::future::pending().await
    }
}

/// The breaker is half-open in the store. (The clock of the world stands still, so that a call waits for a probe for ever.)
fn half_open(world: &World, service: &str) {
    let snapshot = Snapshot { epoch: 2, state: State::HalfOpen, ..Snapshot::pristine() };
    let version = RowVersion { timeline: 0, revision: 1 };
    let row = StoredRow { version, snapshot, age: Duration::ZERO };
    let engine = &world.app.loaded().unwrap().engine;
    engine.take_answer(
        &Key::new(service, "").unwrap(),
        &StoreAnswer::Row(&row),
        None,
        Clock::now(&world.clock),
    );
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_told_so() {
    let world = World::with(Limits::default(), Some(Arc::new(Mute))).await;
    half_open(&world, "a");
    let mut client = world.breakers().await;
    let mut raw = Raw::connect(&world).await;
    let body = framed(&ask("a", "").encode_to_vec());
    let request = raw.request(ALLOW).header("grpc-timeout", "50m");
    let request = request.body(Full::new(body.into()).boxed()).unwrap();
    let response = raw.sender.send_request(request).await.unwrap();
    let late = status(response.headers());
    assert_eq!((late.code(), reason(&late).as_str()), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"));
    assert!(late.get_details_retry_info().is_none());

    // What never sends its question is told so too, and what has no time left is not begun.
    for timeout in ["50m", "0n"] {
        let response = raw.hang(ALLOW, Some(timeout)).await.unwrap();
        assert_eq!(status(response.headers()).code(), Code::DeadlineExceeded, "{timeout}");
    }
    let response = raw.hang(ALLOW, Some("soon")).await.unwrap();
    assert_eq!(status(response.headers()).code(), Code::InvalidArgument);
    // A decision that does not wait is given however short the deadline.
    assert!(client.allow_request(ask("b", "")).await.is_ok());
    world.end().await;
}

#[tokio::test]
async fn a_call_without_a_deadline_is_not_served_for_ever() {
    let limits = Limits { call_max: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut raw = Raw::connect(&world).await;
    let response = raw.hang(ALLOW, None).await.unwrap();
    assert_eq!(status(response.headers()).code(), Code::DeadlineExceeded);
    world.end().await;
}

#[tokio::test]
async fn a_health_watch_ends_at_its_deadline() {
    let world = World::new().await;
    let mut raw = Raw::connect(&world).await;
    let body = framed(&HealthCheckRequest::default().encode_to_vec());
    let request = raw.request("/grpc.health.v1.Health/Watch").header("grpc-timeout", "50m");
    let request = request.body(Full::new(body.into()).boxed()).unwrap();
    let response = raw.sender.send_request(request).await.unwrap();
    let collected = response.into_body().collect().await.unwrap();
    let late = status(collected.trailers().expect("trailers"));
    assert_eq!(late.code(), Code::DeadlineExceeded);
    world.end().await;
}

#[tokio::test]
async fn a_message_that_is_none_is_the_clients_mistake() {
    let limits = Limits { message_bytes_max: 1_000, ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut raw = Raw::connect(&world).await;
    for (body, expected) in [
        (framed(&[0xff; 40]), "MESSAGE_UNDECODABLE"),
        (framed(b"\x0a\x02\xff\xfe"), "MESSAGE_UNDECODABLE"), // a string that is not UTF-8
        (framed(b"\x0a\x7f"), "MESSAGE_UNDECODABLE"),         // a string that ends too early
        (b"\x02\0\0\0\0".to_vec(), "MESSAGE_UNDECODABLE"),    // an unknown compression flag
        (b"\x01\0\0\0\x01x".to_vec(), "MESSAGE_UNDECODABLE"), // compressed, by nobody knows what
        (b"\0\0\0".to_vec(), "MESSAGE_UNDECODABLE"),          // half a frame
        (Vec::new(), "MESSAGE_UNDECODABLE"),
        (framed(&[0; 1_001]), "MESSAGE_TOO_LARGE"),
        (b"\0\xff\xff\xff\xff".to_vec(), "MESSAGE_TOO_LARGE"),
    ] {
        let response = raw.send(ALLOW, body.clone()).await;
        let wrong = status(response.headers());
        let too_large = expected == "MESSAGE_TOO_LARGE";
        let code = if too_large { Code::ResourceExhausted } else { Code::InvalidArgument };
        assert_eq!((wrong.code(), reason(&wrong).as_str()), (code, expected), "{body:?}");
        assert!(wrong.get_details_retry_info().is_none(), "it would be as wrong the next time");
    }
    // And with a proper client.
    let requests = vec![ask("a", ""); 1_000];
    let many = world.breakers().await.allow_requests(v1::AllowRequestsRequest { requests }).await;
    let wrong = many.unwrap_err();
    assert_eq!((wrong.code(), reason(&wrong).as_str()), (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"));
    assert_eq!(wrong.get_details_error_info().unwrap().metadata["bytes_max"], "1000");
    world.end().await;
}

#[tokio::test]
async fn whatever_is_asked_of_a_method_that_is_not_there() {
    let world = World::new().await;
    let mut raw = Raw::connect(&world).await;
    for path in
        ["/", "/breakerd.v1.BreakerService/Nothing", "/nothing/AllowRequest", "/breakerd.v1.BreakerService"]
    {
        let response = raw.send(path, framed(&[])).await;
        let unknown = status(response.headers());
        assert_eq!(
            (unknown.code(), reason(&unknown).as_str()),
            (Code::Unimplemented, "UNKNOWN_METHOD"),
            "{path}"
        );
    }
    let address = &raw.address;
    let no_grpc = Request::get(format!("http://{address}{ALLOW}")).body(Empty::new().boxed()).unwrap();
    let response = raw.sender.send_request(no_grpc).await.unwrap();
    assert_eq!(response.status(), 415);
    world.end().await;
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_and_health_is_not() {
    let world = World::with(Limits { in_flight_max: 2, ..Limits::default() }, None).await;
    let mut raw = Raw::connect(&world).await;
    let held = [tokio::spawn(raw.hang(ALLOW, None)), tokio::spawn(raw.hang(ALLOW_MANY, None))];
    let mut client = world.breakers().await;
    let refused = tokio::time::timeout(Duration::from_secs(5), async {
        // The two are on their way on another connection.
        loop {
            match client.allow_request(ask("a", "")).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => break status,
            }
        }
    })
    .await
    .expect("two calls are held");
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "OVERLOADED"));
    assert_eq!(refused.get_details_retry_info().unwrap().retry_delay, Some(Duration::from_millis(100)));
    let mut health = HealthClient::new(world.channel().await);
    assert!(health.check(HealthCheckRequest::default()).await.is_ok());
    for held in held {
        held.abort();
    }
    drop(raw);
    tokio::time::timeout(Duration::from_secs(5), async {
        while client.allow_request(ask("a", "")).await.is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("the places come free");
    world.end().await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed() {
    let world = World::with(Limits { connections_max: 1, ..Limits::default() }, None).await;
    let mut client = world.breakers().await;
    client.allow_request(ask("a", "")).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), second.read(&mut [0; 1])).await;
    assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    client.allow_request(ask("a", "")).await.unwrap();
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_connection_that_never_speaks_is_dropped() {
    let limits = Limits { silence_max: Duration::from_millis(50), ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut silent = TcpStream::connect(world.address).await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), silent.read(&mut [0; 1])).await;
    assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    world.end().await;
}

#[tokio::test]
async fn the_end_waits_for_calls_and_not_for_silence() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    let allowed = client.allow_request(ask("a", "")).await.unwrap().into_inner();
    client.record_outcome(report(&allowed, Outcome::Success)).await.unwrap();
    let _silent = TcpStream::connect(world.address).await.unwrap();
    world.shutdown.cancel();
    let drained = tokio::time::timeout(Duration::from_secs(5), world.served).await;
    assert_eq!(drained.expect("an idle client and a silent one hold nothing").unwrap(), Drained::Whole);
    assert!(TcpStream::connect(world.address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn what_does_not_end_is_cut_off_after_the_grace_time() {
    let limits = Limits { grace: Duration::from_millis(100), ..Limits::default() };
    let world = World::with(limits, Some(Arc::new(Mute))).await;
    let mut client = world.breakers().await;
    half_open(&world, "a");
    // A probe that waits for ever, a preface cut short; a stream that stays open ends by itself.
    let waiting = tokio::spawn(async move { client.allow_request(ask("a", "")).await });
    let mut raw = Raw::connect(&world).await;
    let open = tokio::spawn(raw.hang("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", None));
    let half = TcpStream::connect(world.address).await.unwrap();
    half.writable().await.unwrap();
    half.try_write(b"PRI * HTTP").unwrap();
    let begun = tokio::time::timeout(Duration::from_secs(5), async {
        let calls = || world.grpc.calls().snapshot();
        while calls()[Method::Reflection as usize].by_code.is_empty() {
            tokio::task::yield_now().await;
        }
    });
    begun.await.expect("the stream is open");
    world.shutdown.cancel();
    let drained = tokio::time::timeout(Duration::from_secs(5), world.served).await;
    let drained = drained.expect("it ends").unwrap();
    assert!(matches!(drained, Drained::Cut(cut) if cut >= 2), "{drained:?}");
    assert!(waiting.await.unwrap().is_err());
    drop((open, raw, half));
}

#[tokio::test]
async fn calls_are_counted_by_method_and_code() {
    let world = World::new().await;
    let mut client = world.breakers().await;
    for _ in 0..3 {
        client.allow_request(ask("a", "")).await.unwrap();
    }
    client.allow_request(ask("", "")).await.unwrap_err();
    Raw::connect(&world).await.send("/nothing/at_all", Vec::new()).await;
    let calls = world.grpc.calls().snapshot();
    let allow = &calls[Method::AllowRequest as usize];
    assert_eq!(allow.by_code, [("OK", 3), ("INVALID_ARGUMENT", 1)]);
    assert_eq!((allow.count, allow.cumulative[0]), (4, 4), "the clock stood still");
    assert_eq!(calls[Method::Other as usize].by_code, [("UNIMPLEMENTED", 1)]);
    assert!(calls[Method::ListBreakers as usize].by_code.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_burst_of_cancelled_calls_does_not_end_the_connection() {
    let world = World::new().await;
    let mut raw = Raw::connect(&world).await;
    for _ in 0..500 {
        drop(raw.hang(ALLOW, None));
    }
    let response = raw.send(ALLOW, framed(&ask("a", "").encode_to_vec())).await;
    assert_eq!(response.status(), 200);
    assert!(Status::from_header_map(response.headers()).is_none(), "an answer, not an error");
    drop(raw);
    world.end().await;
}
