//! Requests of operators.

use std::time::Duration;

use breaker::{Attribution, HumanDuration, Key, Override, OverrideKind, Scope, State, Time};
use breakerd_api::enums::from_number;
use breakerd_api::v1;

use super::super::status::Failure;
use super::super::unknown_name::UnknownName;
use super::super::violations::{Kind, Violations};
use super::{check_key, decisions, times};
use crate::engine::OperatorError;

/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1_024;
/// How long an override lasts that ends by itself: below a second nobody would see it, and a year and a day is
/// longer than anybody will remember it.
const LASTS_MIN: Duration = Duration::from_secs(1);
const LASTS_MAX: Duration = Duration::from_hours(366 * 24);

/// The target of an override: a breaker, or a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Subject {
    /// One breaker.
    Breaker(Key),
    /// Every breaker of a service.
    Service(String),
}

impl Subject {
    /// The service that it is of.
    pub(crate) fn service(&self) -> &str {
        match self {
            Self::Breaker(key) => key.service(),
            Self::Service(service) => service,
        }
    }
}

/// An override to set, and its target. `wall` is the wall-clock time.
pub(crate) fn read_set(
    request: v1::SetOverrideRequest,
    actor: String,
    wall: Time,
) -> Result<(Subject, Override), Violations> {
    let mut violations = Violations::default();
    let subject = subject(&request.service, &request.name, request.service_wide, &mut violations);
    let kind = kind(request.state, &mut violations);
    check_reason(&request.reason, &mut violations);
    if request.reason.trim().is_empty() {
        violations.add("reason", Kind::Required, "is required");
    }
    let (expires_at, ttl) = end(&request, wall, &mut violations);
    match (subject, kind) {
        (Some(subject), Some(kind)) if violations.is_empty() => {
            let scope = match subject {
                Subject::Breaker(_) => Scope::Breaker,
                Subject::Service(_) => Scope::Service,
            };
            Ok((subject, Override { kind, scope, expires_at, ttl, actor, reason: request.reason }))
        }
        _ => Err(violations),
    }
}

/// An override to clear, and the reason.
pub(crate) fn read_clear(
    request: v1::ClearOverrideRequest,
    actor: String,
) -> Result<(Subject, Attribution), Violations> {
    let mut violations = Violations::default();
    let subject = subject(&request.service, &request.name, request.service_wide, &mut violations);
    check_reason(&request.reason, &mut violations);
    match subject {
        Some(subject) if violations.is_empty() => {
            Ok((subject, Attribution { actor, reason: request.reason }))
        }
        _ => Err(violations),
    }
}

/// What to do something to, and why.
pub(crate) fn read_action(
    service: &str,
    name: &str,
    reason: String,
    actor: String,
) -> Result<(Key, Attribution), Violations> {
    let mut violations = Violations::default();
    check_key(service, name, &mut violations);
    check_reason(&reason, &mut violations);
    match Key::new(service, name) {
        Ok(key) if violations.is_empty() => Ok((key, Attribution { actor, reason })),
        _ => Err(violations),
    }
}

/// Why the action was not done.
#[cold]
pub(crate) fn operator_failure(error: OperatorError, key: &Key) -> Failure {
    let (service, name) = (key.service().to_string(), key.name().to_string());
    match error {
        OperatorError::NotThere => Failure::NotFound(UnknownName::breaker(key)),
        OperatorError::WrongState(wrong) => {
            Failure::WrongState { service, name, state: wrong.state.as_str(), needed: wrong.needed }
        }
        OperatorError::Engine(error) => decisions::refused(error),
    }
}

fn subject(service: &str, name: &str, service_wide: bool, violations: &mut Violations) -> Option<Subject> {
    check_key(service, name, violations);
    if !service_wide {
        return Key::new(service, name).ok().map(Subject::Breaker);
    }
    if !name.is_empty() {
        violations.add("name", Kind::Mismatch, "cannot be combined with service_wide");
    }
    Some(Subject::Service(service.to_owned()))
}

fn kind(number: i32, violations: &mut Violations) -> Option<OverrideKind> {
    const TAKES: &str = "must be FORCED_OPEN, DISABLED or METRICS_ONLY";
    match from_number::<State, v1::State>(number).ok() {
        Some(State::ForcedOpen) => return Some(OverrideKind::ForcedOpen),
        Some(State::Disabled) => return Some(OverrideKind::Disabled),
        Some(State::MetricsOnly) => return Some(OverrideKind::MetricsOnly),
        Some(other @ (State::Closed | State::Open | State::HalfOpen)) => {
            let problem = format!("invalid value {other}: {TAKES}");
            violations.add("state", Kind::OutOfRange, problem);
        }
        None if number == 0 => violations.add("state", Kind::Required, format!("is required: {TAKES}")),
        None => {
            let problem = format!("unknown value {number}: {TAKES}");
            violations.add("state", Kind::UnknownValue, problem);
        }
    }
    None
}

/// When the override expires by the wall clock; and its TTL, if one was requested.
fn end(
    request: &v1::SetOverrideRequest,
    wall: Time,
    violations: &mut Violations,
) -> (Option<Time>, Option<Duration>) {
    let expires_at = times::bound("expires_at", request.expires_at.as_ref(), violations);
    let ttl = times::not_negative("ttl", request.ttl.as_ref(), violations);
    if request.expires_at.is_some() && request.ttl.is_some() {
        violations.add("ttl", Kind::Mismatch, "cannot be combined with expires_at");
    }
    if let Some(end) = expires_at
        && (end <= wall || end > wall + LASTS_MAX)
    {
        let problem = if end <= wall { "must be in the future" } else { "must be at most 366 days from now" };
        violations.add("expires_at", Kind::OutOfRange, problem);
    }
    if let Some(ttl) = ttl
        && !(LASTS_MIN..=LASTS_MAX).contains(&ttl)
    {
        let problem = format!(
            "invalid value {}: must be from {} to {} (366 days)",
            HumanDuration(ttl),
            HumanDuration(LASTS_MIN),
            HumanDuration(LASTS_MAX)
        );
        violations.add("ttl", Kind::OutOfRange, problem);
    }
    (expires_at.or(ttl.map(|ttl| wall + ttl)), ttl)
}

pub(super) fn check_reason(reason: &str, violations: &mut Violations) {
    decisions::check_text_within(REASON_BYTES_MAX, "reason", reason, violations);
}
