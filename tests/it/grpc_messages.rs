//! Messages and headers that are wrong beside their fields: each by a client that no proper client is.

use breakerd::grpc::Method;
use breakerd_api::v1::{AllowRequestResponse, Outcome, RecordOutcomeRequest, RecordOutcomesRequest};
use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use prost::Message as _;
use tokio_stream::StreamExt as _;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_types::StatusExt as _;

use crate::body_client::{
    ALLOW, ALLOW_MANY, CHECK, Client, LONG, RECORD_MANY, Sent, allow_one, read, reason,
};
use crate::grpc_world::World;
use crate::raw::framed;

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
    let largest =
        RecordOutcomesRequest { requests: vec![longest; 1_000], ..RecordOutcomesRequest::default() }
            .encode_to_vec();
    let (status, ..) = client.call(RECORD_MANY, &[], framed(&largest)).await;
    assert_eq!(status.code(), Code::Ok, "{status:?}");
    // And one with more items than it may have is refused before it is decoded.
    let (status, ..) = client.call(RECORD_MANY, &[], framed(&[0x0a, 0x00].repeat(500_000))).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "INVALID_REQUEST"));
    drop(client);
    world.end().await;
}

#[tokio::test]
async fn a_message_that_cannot_be_decoded_is_the_clients_mistake_whatever_the_method() {
    let world = World::new().await;
    let mut client = Client::of(&world).await;
    for method in Method::ALL.iter().filter(|method| **method != Method::Other) {
        let path = format!("/{}/{}", method.service(), method.name());
        let (status, ..) = client.call(&path, &[], framed(&[0xff; 3])).await;
        assert_eq!(
            (status.code(), reason(&status).as_str()),
            (Code::InvalidArgument, "MESSAGE_UNDECODABLE"),
            "{path}"
        );
    }
    // Of a stream of messages, a later one.
    let listed = ServerReflectionRequest {
        message_request: Some(MessageRequest::ListServices(String::new())),
        ..ServerReflectionRequest::default()
    };
    let sent = [framed(&listed.encode_to_vec()), framed(&[0xff; 3])].concat();
    let path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let (status, _, answer) = client.call(path, &[], sent).await;
    assert_eq!((status.code(), reason(&status).as_str()), (Code::InvalidArgument, "MESSAGE_UNDECODABLE"));
    assert!(!answer.is_empty(), "the first one has its answer");
    drop(client);
    world.end().await;
}
