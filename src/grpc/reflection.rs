//! Reflection in both versions: what grpcurl and its like read before they can call anything.
//!
//! The library's own service ends a stream at the first unknown name, and answers from a task without an owner.
//! Here a request that has no answer gets an `error_response`, and the stream goes on; nothing is read of the next request before
//! the client has read the response to the last; and the stream ends at its client's deadline, or at shutdown.
//! Both versions are the same on the wire, so one service speaks both.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use breakerd_api::{ENVOY_FILE_DESCRIPTOR_SET, FILE_DESCRIPTOR_SET};
use bytes::Bytes;
use futures_util::stream::{self, Stream};
use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FileDescriptorProto};
use tokio::time::Sleep;
use tonic::{Code, Request, Response, Status, Streaming};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::server_reflection_server::ServerReflection;
use tonic_reflection::pb::v1::{
    ErrorResponse, ExtensionNumberResponse, FileDescriptorResponse, ListServiceResponse,
    ServerReflectionRequest, ServerReflectionResponse, ServiceResponse,
};

use super::client_info::ClientInfo;
use super::deadline;
use super::health::{Closing, HealthRegistry};
use super::status::{Failure, of_stream};
use super::stream_limiter::{StreamLimiter, StreamSlot};
use super::violations::excerpt;

/// Why reflection could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The descriptions that were built in cannot be read.
    #[error("read the built-in descriptors for reflection")]
    Reflection(#[source] prost::DecodeError),
}

/// Where version 1 is served; the older one is sent there.
pub(super) const PATH: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";

/// Every set that is described: each version describes the other too, and the details of errors, which no method
/// names.
const SETS: [&[u8]; 5] = [
    FILE_DESCRIPTOR_SET,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_types::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// The service.
pub(super) struct Reflection {
    descriptors: Arc<Descriptors>,
    streams: StreamLimiter,
    registry: Arc<HealthRegistry>,
}

impl Reflection {
    pub(super) fn new(
        streams: StreamLimiter,
        registry: Arc<HealthRegistry>,
        has_envoy: bool,
    ) -> Result<Self, ServeError> {
        let envoy: &[&[u8]] = if has_envoy { &[ENVOY_FILE_DESCRIPTOR_SET] } else { &[] };
        let descriptors = Descriptors::read(&[&SETS[..], envoy].concat()).map_err(ServeError::Reflection)?;
        Ok(Self { descriptors: Arc::new(descriptors), streams, registry })
    }
}

#[tonic::async_trait]
impl ServerReflection for Reflection {
    type ServerReflectionInfoStream =
        Pin<Box<dyn Stream<Item = Result<ServerReflectionResponse, Status>> + Send>>;

    async fn server_reflection_info(
        &self,
        request: Request<Streaming<ServerReflectionRequest>>,
    ) -> Result<Response<Self::ServerReflectionInfoStream>, Status> {
        let slot = self.streams.take(&ClientInfo::of(&request))?;
        let timeout = deadline::of(request.metadata().as_ref()).map_err(Failure::from)?;
        let session = Session {
            descriptors: Arc::clone(&self.descriptors),
            questions: request.into_inner(),
            closing: self.registry.closing(),
            deadline: timeout.map(|timeout| Box::pin(tokio::time::sleep(timeout))),
            ended: false,
            _slot: slot,
        };
        Ok(Response::new(Box::pin(stream::unfold(session, Session::next))))
    }
}

/// One stream of requests and responses.
struct Session {
    descriptors: Arc<Descriptors>,
    questions: Streaming<ServerReflectionRequest>,
    closing: Closing,
    /// The client's, if it has one.
    deadline: Option<Pin<Box<Sleep>>>,
    ended: bool,
    _slot: StreamSlot,
}

impl Session {
    async fn next(mut self) -> Option<(Result<ServerReflectionResponse, Status>, Self)> {
        if self.ended {
            return None;
        }
        let request = tokio::select! {
            biased;
            () = self.closing.begun() => return None,
            () = passed(&mut self.deadline) => Err(Failure::DeadlineExceeded.into()),
            request = self.questions.message() => request.map_err(of_stream),
        };
        match request {
            Ok(None) => None,
            Ok(Some(request)) => {
                let answer = self.descriptors.answer(request);
                Some((Ok(answer), self))
            }
            Err(status) => {
                self.ended = true;
                Some((Err(status), self))
            }
        }
    }
}

/// Ends when the timer does; never, if there is none.
async fn passed(timer: &mut Option<Pin<Box<Sleep>>>) {
    match timer {
        Some(timer) => timer.as_mut().await,
        None => std::future::pending().await,
    }
}

/// A `FileDescriptorSet` whose files are kept as they were written, with the options that we do not know.
#[derive(Clone, PartialEq, prost::Message)]
struct RawSet {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    files: Vec<Bytes>,
}

/// What is described, by name.
#[derive(Debug, Default)]
struct Descriptors {
    services: Vec<String>,
    files: HashMap<String, Bytes>,
    /// Services, methods, messages, fields, enums and their values, each with the file that has it.
    symbols: HashMap<String, Bytes>,
    messages: Vec<String>,
}

/// The error response to a request.
struct ReflectionError {
    code: Code,
    message: String,
}

impl Descriptors {
    fn read(sets: &[&'static [u8]]) -> Result<Self, prost::DecodeError> {
        let mut descriptors = Self::default();
        for set in sets {
            for raw in RawSet::decode(*set)?.files {
                let file = FileDescriptorProto::decode(raw.clone())?;
                // Sets share files: the first one stays.
                if !descriptors.files.contains_key(file.name()) {
                    descriptors.files.insert(file.name().to_owned(), raw.clone());
                    descriptors.add(&file, &raw);
                }
            }
        }
        Ok(descriptors)
    }

    fn add(&mut self, file: &FileDescriptorProto, raw: &Bytes) {
        let package = file.package();
        for message in &file.message_type {
            self.add_message(package, message, raw);
        }
        for kind in &file.enum_type {
            self.add_enum(package, kind, raw);
        }
        for service in &file.service {
            let name = joined(package, service.name());
            for method in &service.method {
                self.symbols.insert(joined(&name, method.name()), raw.clone());
            }
            self.symbols.insert(name.clone(), raw.clone());
            self.services.push(name);
        }
    }

    fn add_message(&mut self, scope: &str, message: &DescriptorProto, raw: &Bytes) {
        let name = joined(scope, message.name());
        let fields = message.field.iter().map(prost_types::FieldDescriptorProto::name);
        let unions = message.oneof_decl.iter().map(prost_types::OneofDescriptorProto::name);
        for inner in fields.chain(unions) {
            self.symbols.insert(joined(&name, inner), raw.clone());
        }
        for nested in &message.nested_type {
            self.add_message(&name, nested, raw);
        }
        for kind in &message.enum_type {
            self.add_enum(&name, kind, raw);
        }
        self.symbols.insert(name.clone(), raw.clone());
        self.messages.push(name);
    }

    fn add_enum(&mut self, scope: &str, kind: &EnumDescriptorProto, raw: &Bytes) {
        let name = joined(scope, kind.name());
        for value in &kind.value {
            self.symbols.insert(joined(&name, value.name()), raw.clone());
        }
        self.symbols.insert(name, raw.clone());
    }

    fn answer(&self, request: ServerReflectionRequest) -> ServerReflectionResponse {
        let answer = self.lookup(request.message_request.as_ref()).unwrap_or_else(|unanswered| {
            MessageResponse::ErrorResponse(ErrorResponse {
                error_code: unanswered.code as i32,
                error_message: unanswered.message,
            })
        });
        ServerReflectionResponse {
            valid_host: request.host.clone(),
            original_request: Some(request),
            message_response: Some(answer),
        }
    }

    fn lookup(&self, request: Option<&MessageRequest>) -> Result<MessageResponse, ReflectionError> {
        let file = |found: Option<&Bytes>, what: &str, name: &str| match found {
            Some(raw) => Ok(MessageResponse::FileDescriptorResponse(FileDescriptorResponse {
                file_descriptor_proto: vec![raw.to_vec()],
            })),
            None => Err(unknown(what, name)),
        };
        match request {
            Some(MessageRequest::FileByFilename(name)) => file(self.files.get(name), "file", name),
            Some(MessageRequest::FileContainingSymbol(name)) => file(self.symbols.get(name), "symbol", name),
            Some(MessageRequest::FileContainingExtension(extension)) => {
                let name = format!("{} of {}", extension.extension_number, extension.containing_type);
                Err(unknown("extension", &name))
            }
            // There are no extensions here; grpcurl asks for those of every message.
            Some(MessageRequest::AllExtensionNumbersOfType(name)) => {
                if !self.messages.contains(name) {
                    return Err(unknown("message", name));
                }
                let numbers =
                    ExtensionNumberResponse { base_type_name: name.clone(), extension_number: Vec::new() };
                Ok(MessageResponse::AllExtensionNumbersResponse(numbers))
            }
            Some(MessageRequest::ListServices(_)) => {
                let service =
                    self.services.iter().map(|name| ServiceResponse { name: name.clone() }).collect();
                Ok(MessageResponse::ListServicesResponse(ListServiceResponse { service }))
            }
            None => Err(ReflectionError {
                code: Code::InvalidArgument,
                message: "message_request is required".to_owned(),
            }),
        }
    }
}

fn unknown(what: &str, name: &str) -> ReflectionError {
    ReflectionError { code: Code::NotFound, message: format!("{what} {} not found", excerpt(name)) }
}

fn joined(scope: &str, name: &str) -> String {
    if scope.is_empty() { name.to_owned() } else { format!("{scope}.{name}") }
}
