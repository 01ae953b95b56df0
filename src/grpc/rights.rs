//! What each method needs.

use super::call_metrics::Method;
use crate::auth::{Right, Rights};

const CALL: Rights = Rights::of(&[Right::Call]);
const READ: Rights = Rights::of(&[Right::Read]);
/// Clients that decide locally, and readers.
const WATCH: Rights = Rights::of(&[Right::Call, Right::Read]);
const OPERATE: Rights = Rights::of(&[Right::Operate]);
const CONFIGURE: Rights = Rights::of(&[Right::Configure]);

/// What a caller must have for `method`: one of these, for some service. For which, its handler checks
/// ([`super::client_info::ClientInfo`]); a method is refused here only to those who have the right for none.
pub(super) const fn needed(method: Method) -> Rights {
    match method {
        Method::AllowRequest
        | Method::RecordOutcome
        | Method::AllowRequests
        | Method::RecordOutcomes
        | Method::EnvoyCheck
        | Method::EnvoyAccessLog => CALL,
        Method::WatchBreakers => WATCH,
        Method::ListBreakers
        | Method::GetBreaker
        | Method::ListTransitions
        | Method::ListReplicas
        | Method::ListPermitKeys
        | Method::WatchTransitions
        | Method::GetConfig
        | Method::ListConfigs
        | Method::ListConfigChanges
        | Method::WatchConfig => READ,
        Method::SetOverride
        | Method::ClearOverride
        | Method::ResetBreaker
        | Method::DeleteBreaker
        | Method::ProbeBreaker => OPERATE,
        Method::UpdateConfig | Method::DeleteConfig | Method::RotatePermitKey => CONFIGURE,
        // Unless a setting requires it: see `Call::authorize`. And an unknown method is unknown to every client.
        Method::HealthCheck
        | Method::HealthWatch
        | Method::Reflection
        | Method::ReflectionAlpha
        | Method::Other => Rights::NONE,
    }
}

/// Whether it is of health or reflection: a setting decides whether these require authentication.
pub(super) const fn is_health_or_reflection(method: Method) -> bool {
    matches!(method, Method::HealthCheck | Method::HealthWatch | Method::Reflection | Method::ReflectionAlpha)
}

/// Whether it is one of those that cost about a microsecond. Their handlers take no identity for one that may do
/// everything and has no name.
pub(super) const fn is_decision(method: Method) -> bool {
    matches!(
        method,
        Method::AllowRequest | Method::RecordOutcome | Method::AllowRequests | Method::RecordOutcomes
    )
}
