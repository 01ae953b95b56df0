//! What a failed call is told, for people: what is wrong, and what to do about it.

use std::time::Duration;

use breaker::{HumanDuration, Needed};
use breakerd_common::clock::WallTime;

use super::failure::Failure;
use crate::auth::Rights;
use crate::grpc::encoding_headers;
use crate::grpc::violations::excerpt;

impl Failure {
    pub(super) fn message(&self) -> String {
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

/// The roles that grant one of these rights: `caller or reader`. (An admin has every right.)
fn roles(rights: Rights) -> String {
    rights.iter().map(|right| right.role().as_str()).collect::<Vec<_>>().join(" or ")
}
