//! What one caller may have at work, and what does not end a connection.

use std::time::Duration;

use breakerd::auth::{Principals, Role};
use breakerd::grpc::Limits;
use breakerd::listener::Drained;
use breakerd_api::v1::WatchConfigRequest;
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_stream::StreamExt as _;
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;

use crate::auth::{Holder, add, security};
use crate::grpc_world::{World, ask};

const LONG: Duration = Duration::from_secs(20);

fn with<T>(holder: &Holder, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value: AsciiMetadataValue = String::from_utf8(holder.header()).unwrap().parse().unwrap();
    request.metadata_mut().insert("authorization", value);
    request
}

fn is_limit(status: &Status, reason: &str) {
    assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
    assert_eq!(status.get_details_error_info().unwrap().reason, reason);
    assert!(status.get_details_retry_info().unwrap().retry_delay.is_some());
}

#[tokio::test]
async fn a_caller_with_too_many_watches_is_refused_and_another_is_not() {
    let mut principals = Principals::default();
    let one = add(&mut principals, "one", &[Role::Reader], &[]);
    let other = add(&mut principals, "other", &[Role::Reader], &[]);
    let limits =
        Limits { watches_per_caller_max: 2, watches_max: 3, health_needs_token: true, ..Limits::default() };
    let world = World::with_security(security(principals), limits).await;
    // On connections of their own: the caller counts, not the connection.
    let mut first = HealthClient::new(world.channel().await);
    let mut second = HealthClient::new(world.channel().await);
    let watch = |holder| with(holder, HealthCheckRequest::default());
    let kept = first.watch(watch(&one)).await.unwrap();
    let kept_too = second.watch(watch(&one)).await.unwrap();
    is_limit(&second.watch(watch(&one)).await.unwrap_err(), "CALLER_WATCH_LIMIT_REACHED");
    let others = second.watch(watch(&other)).await.unwrap();
    is_limit(&second.watch(watch(&other)).await.unwrap_err(), "WATCH_LIMIT_REACHED");
    let refused = &world.app.metrics.access.refused_total;
    assert_eq!(
        refused.with_label_values(&["grpc", "caller_limit"]).get(),
        1,
        "the last one was everybody's limit"
    );

    drop((kept, others));
    let again = tokio::time::timeout(LONG, async {
        loop {
            match first.watch(watch(&one)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    });
    drop(again.await.expect("the place comes free"));
    drop((first, second, kept_too));
    world.shutdown.cancel();
    tokio::time::timeout(LONG, world.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn where_nobody_is_asked_an_address_is_a_caller() {
    let limits = Limits { watches_per_caller_max: 1, ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = HealthClient::new(world.channel().await);
    let kept = client.watch(HealthCheckRequest::default()).await.unwrap();
    let mut other = HealthClient::new(world.channel().await);
    is_limit(&other.watch(HealthCheckRequest::default()).await.unwrap_err(), "CALLER_WATCH_LIMIT_REACHED");
    assert!(other.check(HealthCheckRequest::default()).await.is_ok(), "a check is no watch");
    drop((kept, client, other));
    world.shutdown.cancel();
    tokio::time::timeout(LONG, world.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn streams_that_need_no_token_do_not_take_the_places_of_those_that_do() {
    let mut principals = Principals::default();
    let one = add(&mut principals, "one", &[Role::Reader], &[]);
    let limits = Limits { watches_max: 1, ..Limits::default() };
    let world = World::with_security(security(principals), limits).await;
    let mut health = HealthClient::new(world.channel().await);
    let kept = health.watch(HealthCheckRequest::default()).await.unwrap();
    is_limit(&health.watch(HealthCheckRequest::default()).await.unwrap_err(), "WATCH_LIMIT_REACHED");
    let mut configs = world.configs().await;
    let watch = || with(&one, WatchConfigRequest::default());
    let kept_too = configs.watch_config(watch()).await.unwrap();
    is_limit(&configs.watch_config(watch()).await.unwrap_err(), "WATCH_LIMIT_REACHED");
    drop((kept, kept_too, health, configs));
    world.shutdown.cancel();
    tokio::time::timeout(LONG, world.served).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_of_reflection_takes_a_place_and_does_not_hold_the_end() {
    let limits = Limits { watches_per_caller_max: 1, ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = ServerReflectionClient::new(world.channel().await);
    let list = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    // Its client asks once, and never says that it is done.
    let asks = || tokio_stream::iter([list.clone()]).chain(tokio_stream::pending());
    let mut kept = client.server_reflection_info(asks()).await.unwrap().into_inner();
    assert!(kept.message().await.unwrap().is_some());
    let refused = client.clone().server_reflection_info(asks()).await.unwrap_err();
    is_limit(&refused, "CALLER_WATCH_LIMIT_REACHED");
    world.shutdown.cancel();
    assert_eq!(kept.message().await.unwrap(), None, "all that was asked was answered");
    drop((kept, client));
    assert_eq!(tokio::time::timeout(LONG, world.served).await.unwrap().unwrap(), Drained::Whole);
}

#[tokio::test]
async fn a_caller_with_too_many_calls_in_flight_is_refused_and_another_is_not() {
    let mut principals = Principals::default();
    let one = add(&mut principals, "one", &[Role::Caller], &[]);
    let other = add(&mut principals, "other", &[Role::Caller], &[]);
    let limits = Limits { in_flight_per_caller_max: 2, ..Limits::default() };
    let world = World::with_security(security(principals), limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        // A call whose message never comes.
        let mut grpc = tonic::client::Grpc::new(world.channel().await);
        grpc.ready().await.unwrap();
        let request = with(&one, tokio_stream::pending::<breakerd_api::v1::AllowRequestRequest>());
        let path = http::uri::PathAndQuery::from_static("/breakerd.v1.BreakerService/AllowRequest");
        held.push(tokio::spawn(async move {
            let codec = tonic_prost::ProstCodec::default();
            grpc.client_streaming::<_, _, breakerd_api::v1::AllowRequestResponse, _>(request, path, codec)
                .await
        }));
    }
    let mut client = BreakerServiceClient::new(world.channel().await);
    let refused = tokio::time::timeout(LONG, async {
        loop {
            match client.allow_request(with(&one, ask("a", ""))).await {
                Ok(_) => tokio::task::yield_now().await,
                Err(status) => break status,
            }
        }
    });
    is_limit(&refused.await.expect("two calls are held"), "CALLER_CALL_LIMIT_REACHED");
    assert!(client.allow_request(with(&other, ask("a", ""))).await.is_ok());
    for held in held {
        held.abort();
        let _ = held.await;
    }
    let again = tokio::time::timeout(LONG, async {
        while client.allow_request(with(&one, ask("a", ""))).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    again.await.expect("the places come free");
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn an_address_with_too_many_connections_gets_no_more() {
    let limits = Limits { connections_per_address_max: 1, ..Limits::default() };
    let world = World::with(limits, None).await;
    let mut client = world.breakers().await;
    client.allow_request(ask("a", "")).await.unwrap();
    let mut second = TcpStream::connect(world.address).await.unwrap();
    let read = tokio::time::timeout(LONG, second.read(&mut [0; 1])).await;
    assert_eq!(read.expect("it is closed").unwrap_or(0), 0);
    client.allow_request(ask("a", "")).await.unwrap();
    drop(client);
    // The place is given back with the connection.
    let again = tokio::time::timeout(LONG, async {
        loop {
            let channel = world.channel().await;
            if BreakerServiceClient::new(channel).allow_request(ask("a", "")).await.is_ok() {
                break;
            }
        }
    });
    again.await.expect("the place comes free");
    world.end().await;
}

#[tokio::test]
async fn a_burst_of_calls_with_short_deadlines_does_not_end_the_connection() {
    let world = World::new().await;
    let client = world.breakers().await;
    // Hundreds at a time is the promise. On a busy machine all of them can be cancelled before the server has read one: beyond
    // 1,024 that looks like an attack.
    let calls: Vec<_> = (0..1_000_u64)
        .map(|number| {
            let mut client = client.clone();
            let mut request = Request::new(ask("a", ""));
            request.set_timeout(Duration::from_millis(number % 4));
            tokio::spawn(async move { client.allow_request(request).await })
        })
        .collect();
    for call in calls {
        // Answered or late, each by itself: a connection that ended would be UNAVAILABLE or UNKNOWN to many.
        if let Err(status) = call.await.unwrap() {
            let late = matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled);
            assert!(late, "{status:?}");
        }
    }
    let mut client = client;
    let answered = client.allow_request(ask("a", "")).await;
    assert!(answered.is_ok(), "{answered:?}");
    drop(client);
    world.end().await;
}
