//! Reflection, as grpcurl uses it, in both versions.

use std::collections::BTreeSet;

use prost::Message as _;
use prost_types::FileDescriptorProto;
use tokio_stream::{StreamExt as _, iter};
use tonic_reflection::pb::{v1, v1alpha};

use crate::grpc_world::World;

const SERVICES: [&str; 8] = [
    "breakerd.v1.BreakerService",
    "breakerd.v1.ConfigService",
    "breakerd.v1.OperationsService",
    "envoy.service.accesslog.v3.AccessLogService",
    "envoy.service.auth.v3.Authorization",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];
/// Details that errors carry: no method names them, so tools must find them by themselves.
const DETAILS: [&str; 4] =
    ["google.rpc.BadRequest", "google.rpc.ErrorInfo", "google.rpc.RetryInfo", "google.rpc.ResourceInfo"];

macro_rules! reflection_lists_everything {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use $version::server_reflection_client::ServerReflectionClient;
            use $version::server_reflection_request::MessageRequest;
            use $version::server_reflection_response::MessageResponse;

            let world = World::new().await;
            let mut client = ServerReflectionClient::new(world.channel().await);
            let ask = |message_request| $version::ServerReflectionRequest {
                host: String::new(),
                message_request: Some(message_request),
            };
            let symbol = |name: &str| ask(MessageRequest::FileContainingSymbol(name.into()));
            let mut requests = vec![ask(MessageRequest::ListServices(String::new()))];
            requests.extend(SERVICES.into_iter().chain(DETAILS).map(symbol));
            // What has no answer says so, and the stream goes on.
            requests.push(symbol("breakerd.v1.Nothing"));
            requests.push(ask(MessageRequest::FileByFilename("nothing.proto".into())));
            requests.push($version::ServerReflectionRequest::default());
            requests.push(ask(MessageRequest::AllExtensionNumbersOfType("breakerd.v1.Breaker".into())));
            requests.push(symbol("breakerd.v1.BreakerService.AllowRequest"));
            let mut answers = client.server_reflection_info(iter(requests)).await.unwrap().into_inner();

            let first = answers.next().await.unwrap().unwrap().message_response.unwrap();
            let MessageResponse::ListServicesResponse(listed) = first else { panic!("{first:?}") };
            let listed: BTreeSet<_> = listed.service.into_iter().map(|service| service.name).collect();
            assert_eq!(listed, SERVICES.into_iter().map(str::to_owned).collect());
            for name in SERVICES.into_iter().chain(DETAILS) {
                let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
                let MessageResponse::FileDescriptorResponse(files) = answer else {
                    panic!("{name}: {answer:?}")
                };
                let file = FileDescriptorProto::decode(&*files.file_descriptor_proto[0]).unwrap();
                let package = file.package().to_owned();
                assert!(name.starts_with(&package), "{name} is in {package}");
            }
            for expected in [tonic::Code::NotFound, tonic::Code::NotFound, tonic::Code::InvalidArgument] {
                let answer = answers.next().await.unwrap().unwrap();
                assert!(answer.original_request.is_some());
                let answer = answer.message_response.unwrap();
                let MessageResponse::ErrorResponse(error) = answer else { panic!("{answer:?}") };
                assert_eq!(error.error_code, expected as i32, "{error:?}");
            }
            let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
            assert!(matches!(answer, MessageResponse::AllExtensionNumbersResponse(_)), "{answer:?}");
            let answer = answers.next().await.unwrap().unwrap().message_response.unwrap();
            assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{answer:?}");
            assert!(answers.next().await.is_none());
            drop(answers);
            world.end().await;
        }
    };
}

reflection_lists_everything!(reflection_v1_lists_everything, v1);
reflection_lists_everything!(reflection_v1alpha_lists_everything, v1alpha);
