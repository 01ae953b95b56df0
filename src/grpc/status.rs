//! Errors of the API: the one file that makes a `Status`.
//!
//! Each carries the details of google.rpc: `ErrorInfo` always, `BadRequest` with every field at fault,
//! `ResourceInfo` for what was not found, and `RetryInfo` on the two codes that invite a retry. What the store
//! said stays in the log.
//!
//! Why a call failed is a [`Failure`], with its code, its reason and its metadata; `message` has its texts.

mod failure;
mod message;

use std::collections::HashMap;
use std::time::Duration;

use breakerd_api::v1;
use http::{HeaderMap, Response};
use prost::Message;
use prost_types::Any;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::pb;

pub(crate) use self::failure::Failure;
use super::encoding_headers;
use super::violations::excerpt;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "breakerd";

/// The type of what the health service is asked about, by the full name of the API's.
const HEALTH: &str = "grpc.health.v1.Health";

const STATUS_HEADER: &str = "grpc-status";
const DETAILS_HEADER: &str = "grpc-status-details-bin";

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.into_status()
    }
}

impl Failure {
    /// The error as a response.
    #[cold]
    pub(crate) fn into_response(self) -> Response<Body> {
        self.into_status().into_http()
    }

    /// The error as one item of a batch.
    #[cold]
    pub(crate) fn into_item(self) -> v1::ItemError {
        let (code, message, details) = self.into_parts();
        v1::ItemError { code: code as i32, message, details }
    }

    #[cold]
    fn into_status(self) -> Status {
        let accepted = matches!(self, Self::UnknownEncoding { .. }).then_some(encoding_headers::ACCEPTED);
        let (code, message, details) = self.into_parts();
        let encoded = pb::Status { code: code as i32, message: message.clone(), details }.encode_to_vec();
        let mut status = Status::with_details(code, message, encoded.into());
        if let Some(accepted) = accepted {
            status
                .metadata_mut()
                .insert(encoding_headers::ACCEPT_HEADER, MetadataValue::from_static(accepted));
        }
        status
    }

    /// What a `Status` and an item of a batch have alike. Encoded here, each detail once: a thousand items may fail in one batch.
    fn into_parts(self) -> (Code, String, Vec<Any>) {
        let (code, reason) = self.code_and_reason();
        let message = self.message();
        let mut details = Vec::with_capacity(3);
        if let Some(delay) = self.retry_delay(code) {
            // Ours are a second at most.
            let retry_delay = prost_types::Duration::try_from(delay).ok();
            details.push(any("RetryInfo", &pb::RetryInfo { retry_delay }));
        }
        let info =
            pb::ErrorInfo { reason: reason.to_owned(), domain: DOMAIN.to_owned(), metadata: self.metadata() };
        details.push(any("ErrorInfo", &info));
        details.extend(self.subject(&message));
        (code, message, details)
    }

    /// The detail that names what the failure is about: fields, or a resource.
    fn subject(&self, message: &str) -> Option<Any> {
        let resource = |kind: &str, name: String| {
            let info = pb::ResourceInfo {
                resource_type: kind.to_owned(),
                resource_name: name,
                owner: String::new(),
                description: message.to_owned(),
            };
            Some(any("ResourceInfo", &info))
        };
        match self {
            Self::Invalid(violations) => {
                let violation = |fault: &super::violations::Violation| pb::bad_request::FieldViolation {
                    field: fault.field.to_string(),
                    description: fault.problem.clone(),
                    reason: fault.kind.as_str().to_owned(),
                    localized_message: None,
                };
                let field_violations = violations.named().iter().map(violation).collect();
                Some(any("BadRequest", &pb::BadRequest { field_violations }))
            }
            Self::NotFound(unknown) => resource(unknown.resource_type(), unknown.resource_name()),
            Self::NoHealthOf { service } => resource(HEALTH, excerpt(service)),
            Self::WrongState { service, name, .. } => {
                let violation = pb::precondition_failure::Violation {
                    r#type: "STATE".to_owned(),
                    subject: format!("{service}/{name}"),
                    description: message.to_owned(),
                };
                Some(any("PreconditionFailure", &pb::PreconditionFailure { violations: vec![violation] }))
            }
            _ => None,
        }
    }
}

/// A detail of google.rpc.
fn any(name: &str, detail: &impl Message) -> Any {
    Any { type_url: format!("type.googleapis.com/google.rpc.{name}"), value: detail.encode_to_vec() }
}

/// The details of a call that a proxy rejects for a breaker: what its client gets in `grpc-status-details-bin`.
#[cold]
pub(super) fn rejected_call(message: &str, retry_after: Option<Duration>) -> Vec<u8> {
    let retry_delay = retry_after.and_then(|delay| prost_types::Duration::try_from(delay).ok());
    let mut details: Vec<_> = retry_delay
        .map(|delay| any("RetryInfo", &pb::RetryInfo { retry_delay: Some(delay) }))
        .into_iter()
        .collect();
    let info = pb::ErrorInfo {
        reason: "CALL_REJECTED".to_owned(),
        domain: DOMAIN.to_owned(),
        metadata: HashMap::default(),
    };
    details.push(any("ErrorInfo", &info));
    pb::Status { code: Code::Unavailable as i32, message: message.to_owned(), details }.encode_to_vec()
}

/// Why the body of a request could not be read on: most likely its client has gone.
pub(crate) fn of_body(error: hyper::Error) -> Status {
    Status::from_error(error.into())
}

/// The code that a response carries in its headers; one without has its code in its trailers, and it is OK.
pub(crate) fn code_of(headers: &HeaderMap) -> Code {
    headers.get(STATUS_HEADER).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()))
}

/// An error of the framework about a message, as breakerd reports it.
///
/// tonic answers INTERNAL to one that cannot be decoded, which is the client's error. breakerd's have details, which
/// the framework's do not have.
pub(crate) fn rewritten(headers: &HeaderMap) -> Option<Failure> {
    if headers.contains_key(DETAILS_HEADER) || code_of(headers) != Code::Internal {
        return None;
    }
    let problem =
        Status::from_header_map(headers).map(|status| status.message().to_owned()).unwrap_or_default();
    Some(Failure::Undecodable { problem })
}

/// The same of a message of a stream, which the handler reads.
pub(crate) fn of_stream(status: Status) -> Status {
    if status.code() != Code::Internal || !status.details().is_empty() {
        return status;
    }
    Failure::Undecodable { problem: status.message().to_owned() }.into()
}
