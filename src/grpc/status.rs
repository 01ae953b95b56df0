//! Errors of the API: the one file that makes a `Status`.
//!
//! Each carries the details of google.rpc: `ErrorInfo` always, `BadRequest` with every field at fault,
//! `ResourceInfo` for what was not found, and `RetryInfo` on the two codes that invite a retry. What the store
//! said stays in the log.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{HumanDuration, Needed, State};
use breakerd_api::v1;
use breakerd_common::clock::WallTime;
use http::{HeaderMap, Response};
use prost::Message;
use prost_types::Any;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};
use tonic_types::pb;

use super::encoding_headers;
use super::unknown_name::UnknownName;
use super::violations::{Violations, excerpt};
use crate::app::App;
use crate::auth::{Right, Rights};
use crate::engine::BreakerLimit;

/// The domain of every `ErrorInfo`.
const DOMAIN: &str = "breakerd";

/// The type of what the health service is asked about, by the full name of the API's.
const HEALTH: &str = "grpc.health.v1.Health";

/// The retry delay while the state is being loaded, and while the store is unavailable.
const RETRY_SLOW: Duration = Duration::from_secs(1);
/// The retry delay after a call was shed: the calls in flight are answered within milliseconds.
const RETRY_SOON: Duration = Duration::from_millis(100);

const STATUS_HEADER: &str = "grpc-status";
const DETAILS_HEADER: &str = "grpc-status-details-bin";

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Fields of the request are invalid.
    Invalid(Violations),
    /// The message is larger than the limit.
    TooLarge { bytes_max: usize },
    /// The metadata of the call is larger than the limit.
    MetadataTooLarge { bytes: usize, bytes_max: usize },
    /// The message is compressed in a way that we do not know.
    UnknownEncoding { encoding: String },
    /// The message is not what the method takes.
    Undecodable { problem: String },
    /// No such breaker, or service.
    NotFound(UnknownName),
    /// The breaker is in a state in which this cannot be.
    WrongState { service: String, name: String, state: &'static str, needed: Needed },
    /// The service has no override to clear.
    NoOverride { service: String },
    /// No such service to be healthy.
    NoHealthOf { service: String },
    /// No such method.
    NoMethod { path: String },
    /// There are as many breakers as there may be.
    BreakersFull { limit: BreakerLimit, max: usize },
    /// As many services as there may be have this set over the API.
    ConfigsFull { what: &'static str, max: usize },
    /// As many overrides of services as there may be are on their way to the breakers.
    OverridesInProgress { max: usize },
    /// The configuration is not the one that the caller has read.
    EtagMismatch { present: String },
    /// The request id was used for another change.
    RequestReused,
    /// Other changes came between, again and again.
    Contended,
    /// Others changed the breaker, again and again, before an operator's act was in the store; what stands now.
    ActSuperseded { breaker: String, state: State, epoch: u64 },
    /// There are as many watches as there may be.
    WatchesFull { max: usize },
    /// There are as many calls in flight as there may be.
    Overloaded { max: usize },
    /// The caller has as many watches as one caller may have.
    CallerWatches { max: usize },
    /// The caller has as many calls in flight as one caller may have.
    CallerCalls { max: usize },
    /// As many reads of the history and the audit are under way as there may be.
    HistoryReadsFull { max: usize },
    /// The caller has as many reads of the history and the audit under way as one caller may have.
    CallerHistoryReads { max: usize },
    /// As many bytes are kept for all callers as may be.
    BytesFull { max: usize },
    /// As many bytes are kept for the caller as may be.
    CallerBytes { max: usize },
    /// Not authenticated. It does not tell why.
    Unauthenticated,
    /// The identity's rights or name changed since the stream began.
    RightsChanged,
    /// The caller has none of these rights for this service; empty: for any.
    Denied { rights: Rights, service: String, name: Arc<str> },
    /// The client's deadline, or the longest that we serve a call.
    DeadlineExceeded,
    /// Nothing is loaded yet; by the wall clock, since when the store has not answered, if that is why.
    NotLoaded { store_away_since: Option<WallTime> },
    /// Shutting down.
    ShuttingDown,
    /// The permit is sealed with a key that this process does not have.
    UnknownPermitKey,
    /// There are as many keys of permits as there may be.
    PermitKeysFull { max: usize },
    /// The store does not answer.
    StoreUnavailable,
    /// It has not answered within the part of the client's timeout that is spent on waiting.
    StoreTimeout { waited: Duration, may_take_effect: bool },
    /// The store holds invalid data, or breakerd has a bug.
    Internal,
}

impl From<Violations> for Failure {
    fn from(violations: Violations) -> Self {
        Self::Invalid(violations)
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        failure.into_status()
    }
}

impl Failure {
    /// Why nothing can be answered yet.
    #[cold]
    pub(crate) fn not_loaded(app: &App) -> Self {
        Self::NotLoaded { store_away_since: app.store_away_since() }
    }

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

    /// The retry delay, for the codes that invite a retry.
    fn retry_delay(&self, code: Code) -> Option<Duration> {
        match (code, self) {
            (Code::Unavailable, _) => Some(RETRY_SLOW),
            // It would be as large the next time.
            (_, Self::TooLarge { .. } | Self::MetadataTooLarge { .. }) => None,
            (
                Code::ResourceExhausted,
                Self::Overloaded { .. }
                | Self::CallerCalls { .. }
                | Self::BytesFull { .. }
                | Self::CallerBytes { .. },
            ) => Some(RETRY_SOON),
            (Code::ResourceExhausted, _) => Some(RETRY_SLOW),
            _ => None,
        }
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

    /// What programs and the log call it.
    pub(crate) fn reason(&self) -> &'static str {
        self.code_and_reason().1
    }

    fn code_and_reason(&self) -> (Code, &'static str) {
        match self {
            Self::Invalid(_) => (Code::InvalidArgument, "INVALID_REQUEST"),
            Self::TooLarge { .. } => (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            Self::MetadataTooLarge { .. } => (Code::ResourceExhausted, "METADATA_TOO_LARGE"),
            Self::UnknownEncoding { .. } => (Code::Unimplemented, "UNKNOWN_ENCODING"),
            Self::Undecodable { .. } => (Code::InvalidArgument, "MESSAGE_UNDECODABLE"),
            Self::NotFound(unknown) => (Code::NotFound, unknown.reason()),
            Self::NoOverride { .. } => (Code::FailedPrecondition, "NO_OVERRIDE"),
            Self::WrongState { .. } => (Code::FailedPrecondition, "WRONG_STATE"),
            Self::NoHealthOf { .. } => (Code::NotFound, "SERVICE_NOT_FOUND"),
            Self::NoMethod { .. } => (Code::Unimplemented, "UNKNOWN_METHOD"),
            Self::BreakersFull { .. } => (Code::ResourceExhausted, "BREAKER_LIMIT_REACHED"),
            Self::ConfigsFull { .. } => (Code::ResourceExhausted, "CONFIG_LIMIT_REACHED"),
            Self::OverridesInProgress { .. } => (Code::ResourceExhausted, "OVERRIDES_UNDER_WAY"),
            Self::EtagMismatch { .. } => (Code::Aborted, "ETAG_MISMATCH"),
            Self::ActSuperseded { .. } => (Code::Aborted, "ACT_SUPERSEDED"),
            Self::RequestReused => (Code::AlreadyExists, "REQUEST_ID_REUSED"),
            Self::Contended => (Code::Unavailable, "CONTENDED"),
            Self::WatchesFull { .. } => (Code::ResourceExhausted, "WATCH_LIMIT_REACHED"),
            Self::Overloaded { .. } => (Code::ResourceExhausted, "OVERLOADED"),
            Self::CallerWatches { .. } => (Code::ResourceExhausted, "CALLER_WATCH_LIMIT_REACHED"),
            Self::CallerCalls { .. } => (Code::ResourceExhausted, "CALLER_CALL_LIMIT_REACHED"),
            Self::HistoryReadsFull { .. } => (Code::ResourceExhausted, "HISTORY_READ_LIMIT_REACHED"),
            Self::CallerHistoryReads { .. } => (Code::ResourceExhausted, "CALLER_HISTORY_READ_LIMIT_REACHED"),
            Self::BytesFull { .. } => (Code::ResourceExhausted, "BYTE_LIMIT_REACHED"),
            Self::CallerBytes { .. } => (Code::ResourceExhausted, "CALLER_BYTE_LIMIT_REACHED"),
            Self::Unauthenticated => (Code::Unauthenticated, "UNAUTHENTICATED"),
            Self::RightsChanged => (Code::Unavailable, "RIGHTS_CHANGED"),
            Self::Denied { .. } => (Code::PermissionDenied, "PERMISSION_DENIED"),
            Self::DeadlineExceeded => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            Self::NotLoaded { .. } => (Code::Unavailable, "NOT_LOADED"),
            Self::ShuttingDown => (Code::Unavailable, "SHUTTING_DOWN"),
            Self::UnknownPermitKey => (Code::Unavailable, "UNKNOWN_PERMIT_KEY"),
            Self::PermitKeysFull { .. } => (Code::ResourceExhausted, "PERMIT_KEY_LIMIT_REACHED"),
            Self::StoreUnavailable | Self::StoreTimeout { .. } => (Code::Unavailable, "STORE_UNAVAILABLE"),
            Self::Internal => (Code::Internal, "INTERNAL"),
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Invalid(violations) => violations.to_string(),
            Self::TooLarge { bytes_max } => format!("message too large: the limit is {bytes_max} bytes"),
            Self::MetadataTooLarge { bytes, bytes_max } => {
                format!("metadata too large: {bytes} bytes, the limit is {bytes_max}")
            }
            Self::UnknownEncoding { encoding } => {
                format!(
                    "unsupported grpc-encoding \"{}\": supported are {}",
                    excerpt(encoding),
                    encoding_headers::ACCEPTED
                )
            }
            Self::Undecodable { problem } => format!("cannot decode the message: {}", excerpt(problem)),
            Self::NotFound(unknown) => unknown.message(),
            Self::NoOverride { service } => format!(
                "service {service} has no service-wide override: its breakers can have overrides of their own"
            ),
            Self::WrongState { service, name, state, needed } => {
                let needs = needed.as_str();
                let remedy = remedy(*needed);
                format!("breaker {service}/{name} is {state}: operation requires {needs}{remedy}")
            }
            Self::NoHealthOf { service } => format!("unknown service {}", excerpt(service)),
            Self::NoMethod { path } => {
                format!("unknown method {}: use server reflection to list the methods", excerpt(path))
            }
            Self::BreakersFull { limit, max } => {
                let setting = limit.setting();
                format!("{limit} reached ({max}): increase {setting}")
            }
            Self::ConfigsFull { what, max } => {
                format!("limit reached: {max} services have {what} set through the API")
            }
            Self::OverridesInProgress { max } => {
                format!("too many service-wide overrides in progress (limit {max})")
            }
            Self::EtagMismatch { present } => {
                format!("etag mismatch: current etag is {present}; read the configuration again")
            }
            Self::RequestReused => REQUEST_REUSED.to_owned(),
            Self::Contended => "too many concurrent configuration changes: retry".to_owned(),
            Self::ActSuperseded { breaker, state, epoch } => {
                format!("not done: others changed {breaker} at the same time; it is {state} at epoch {epoch}")
            }
            Self::WatchesFull { max } => format!("watch limit reached ({max}): increase grpc.watches_max"),
            Self::Overloaded { max } => {
                format!("limit of RPCs in flight reached ({max}): increase grpc.in_flight_max")
            }
            Self::CallerWatches { max } => {
                format!("watch limit of this client reached ({max}): increase grpc.watches_per_caller_max")
            }
            Self::CallerCalls { max } => {
                format!(
                    "limit of RPCs in flight of this client reached ({max}): increase grpc.in_flight_per_caller_max"
                )
            }
            Self::HistoryReadsFull { max } => {
                format!("history read limit reached ({max}): increase grpc.history_reads_max")
            }
            Self::CallerHistoryReads { max } => format!(
                "history read limit of this client reached ({max}): increase grpc.history_reads_per_caller_max"
            ),
            Self::BytesFull { max } => {
                format!("limit of bytes in flight reached ({max}): increase grpc.bytes_in_flight_max")
            }
            Self::CallerBytes { max } => {
                format!(
                    "limit of bytes in flight of this client reached ({max}): increase \
                     grpc.bytes_in_flight_per_caller_max"
                )
            }
            Self::Unauthenticated => {
                "authentication required: send a bearer token or use a registered client certificate"
                    .to_owned()
            }
            Self::RightsChanged => "the roles of this client have changed: reconnect".to_owned(),
            Self::Denied { rights, service, name } => {
                let roles = roles(*rights);
                if service.is_empty() {
                    format!("{name} is not authorized: requires role {roles}")
                } else {
                    format!(
                        "{name} is not authorized for service {}: requires role {roles} for that service",
                        excerpt(service)
                    )
                }
            }
            Self::DeadlineExceeded => "deadline exceeded".to_owned(),
            Self::NotLoaded { store_away_since } => not_loaded(*store_away_since),
            Self::ShuttingDown => "breakerd is shutting down: reconnect".to_owned(),
            Self::UnknownPermitKey => UNKNOWN_PERMIT_KEY.to_owned(),
            Self::PermitKeysFull { max } => permit_keys_full(*max),
            Self::StoreUnavailable => "store unavailable".to_owned(),
            Self::StoreTimeout { waited, may_take_effect } => store_timeout(*waited, *may_take_effect),
            Self::Internal => "internal error: see the server log".to_owned(),
        }
    }

    fn metadata(&self) -> HashMap<String, String> {
        if let Self::WrongState { service, name, state, needed } = self {
            let pairs =
                [("breaker", &*format!("{service}/{name}")), ("state", state), ("needed", needed.as_str())];
            return pairs.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        }
        if let Self::NotFound(unknown) = self {
            return unknown.metadata();
        }
        if let Self::BreakersFull { limit, max } = self {
            return HashMap::from([
                ("max".to_owned(), max.to_string()),
                ("setting".to_owned(), limit.setting().to_owned()),
            ]);
        }
        if let Self::ActSuperseded { breaker, state, epoch } = self {
            let pairs =
                [("breaker", breaker.clone()), ("state", state.to_string()), ("epoch", epoch.to_string())];
            return pairs.map(|(name, value)| (name.to_owned(), value)).into();
        }
        let (name, value) = match self {
            Self::TooLarge { bytes_max } | Self::MetadataTooLarge { bytes_max, .. } => {
                ("bytes_max", bytes_max.to_string())
            }
            Self::EtagMismatch { present } => ("etag", present.clone()),
            Self::NoOverride { service } => ("service", service.clone()),
            Self::ConfigsFull { max, .. }
            | Self::OverridesInProgress { max }
            | Self::PermitKeysFull { max }
            | Self::WatchesFull { max }
            | Self::Overloaded { max }
            | Self::CallerWatches { max }
            | Self::CallerCalls { max }
            | Self::BytesFull { max }
            | Self::CallerBytes { max }
            | Self::HistoryReadsFull { max }
            | Self::CallerHistoryReads { max } => ("max", max.to_string()),
            Self::Denied { rights, service, .. } => {
                let names = rights.iter().map(Right::as_str).collect::<Vec<_>>().join(",");
                let mut metadata = HashMap::from([
                    ("right".to_owned(), names),
                    (
                        "role".to_owned(),
                        rights.iter().map(|right| right.role().as_str()).collect::<Vec<_>>().join(","),
                    ),
                ]);
                if !service.is_empty() {
                    metadata.insert("service".to_owned(), excerpt(service));
                }
                return metadata;
            }
            _ => return HashMap::new(),
        };
        HashMap::from([(name.to_owned(), value)])
    }
}

const REQUEST_REUSED: &str = "request_id was already used for another change: use a new one for each change";

const UNKNOWN_PERMIT_KEY: &str =
    "the permit is sealed with a key that this replica does not have yet: retry, also with another replica";

fn permit_keys_full(max: usize) -> String {
    format!("limit reached: {max} permit keys; a key is deleted a day after its successor began to seal")
}

fn not_loaded(store_away_since: Option<WallTime>) -> String {
    const STARTING: &str = "starting: the state is not loaded yet";
    match store_away_since {
        None => STARTING.to_owned(),
        Some(since) => {
            format!("{STARTING}, because the store has not been reachable since {since}: see the server log")
        }
    }
}

/// What to do about a breaker that is in another state than `needed`.
fn remedy(needed: Needed) -> &'static str {
    match needed {
        Needed::OwnOverride | Needed::NoServiceOverride => {
            ": to clear a service-wide override, use ClearOverride with service_wide = true"
        }
        Needed::NoNewForcedOpen => ": check the breaker, and repeat the operation if it still applies",
        Needed::Open | Needed::Override => "",
    }
}

fn store_timeout(waited: Duration, may_take_effect: bool) -> String {
    let waited = HumanDuration(waited);
    let effect = if may_take_effect { ": the change may still take effect" } else { "" };
    format!("store unavailable: no answer within {waited}{effect}")
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

/// The roles that grant one of these rights: `caller or reader`. (An admin has every right.)
fn roles(rights: Rights) -> String {
    rights.iter().map(|right| right.role().as_str()).collect::<Vec<_>>().join(" or ")
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
