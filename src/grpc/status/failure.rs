//! Why a call failed, and what programs get to know of it: a code, a reason, and metadata.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Needed, State};
use breakerd_common::clock::WallTime;
use tonic::Code;

use crate::app::App;
use crate::auth::{Right, Rights};
use crate::engine::BreakerLimit;
use crate::grpc::unknown_name::UnknownName;
use crate::grpc::violations::{Violations, excerpt};

/// The retry delay while the state is being loaded, and while the store is unavailable.
const RETRY_SLOW: Duration = Duration::from_secs(1);
/// The retry delay after a call was shed: the calls in flight are answered within milliseconds.
const RETRY_SOON: Duration = Duration::from_millis(100);

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

impl Failure {
    /// Why nothing can be answered yet.
    #[cold]
    pub(crate) fn not_loaded(app: &App) -> Self {
        Self::NotLoaded { store_away_since: app.store_away_since() }
    }

    /// What programs and the log call it.
    pub(crate) fn reason(&self) -> &'static str {
        self.code_and_reason().1
    }

    pub(super) fn code_and_reason(&self) -> (Code, &'static str) {
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

    /// The retry delay, for the codes that invite a retry.
    pub(super) fn retry_delay(&self, code: Code) -> Option<Duration> {
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

    pub(super) fn metadata(&self) -> HashMap<String, String> {
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
