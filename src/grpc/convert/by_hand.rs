//! What an operator asks for.

use std::time::Duration;

use breaker::{Asked, Key, Override, OverrideKind, Scope, State, Time};

use super::super::fault::{Faults, Kind};
use super::super::status::Failure;
use super::{asks, check_key, times, words};
use crate::engine::ByHandError;
use crate::proto::v1;

/// Bytes of a reason.
const REASON_BYTES_MAX: usize = 1_024;
/// How long an override lasts that ends by itself: below a second nobody would see it, and a year and a day is
/// longer than anybody will remember it.
const LASTS_MIN: Duration = Duration::from_secs(1);
const LASTS_MAX: Duration = Duration::from_hours(366 * 24);

/// What an override is set on, or taken from.
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

/// An override to set, and on what. `wall` is what the wall clock says.
pub(crate) fn read_set(
    request: v1::SetOverrideRequest,
    actor: String,
    wall: Time,
) -> Result<(Subject, Override), Faults> {
    let mut faults = Faults::default();
    let subject = subject(&request.service, &request.name, request.whole_service, &mut faults);
    let kind = kind(request.state, &mut faults);
    check_reason(&request.reason, &mut faults);
    if request.reason.trim().is_empty() {
        faults.add("reason", Kind::Required, "is missing: whoever finds the override will ask why");
    }
    let (expires_at, ttl) = end(&request, wall, &mut faults);
    match (subject, kind) {
        (Some(subject), Some(kind)) if faults.is_empty() => {
            let scope = match subject {
                Subject::Breaker(_) => Scope::Breaker,
                Subject::Service(_) => Scope::Service,
            };
            Ok((subject, Override { kind, scope, expires_at, ttl, actor, reason: request.reason }))
        }
        _ => Err(faults),
    }
}

/// An override to take back, and why.
pub(crate) fn read_clear(
    request: v1::ClearOverrideRequest,
    actor: String,
) -> Result<(Subject, Asked), Faults> {
    let mut faults = Faults::default();
    let subject = subject(&request.service, &request.name, request.whole_service, &mut faults);
    check_reason(&request.reason, &mut faults);
    match subject {
        Some(subject) if faults.is_empty() => Ok((subject, Asked { actor, reason: request.reason })),
        _ => Err(faults),
    }
}

/// What to do something to, and why.
pub(crate) fn read_asked(
    service: &str,
    name: &str,
    reason: String,
    actor: String,
) -> Result<(Key, Asked), Faults> {
    let mut faults = Faults::default();
    check_key(service, name, &mut faults);
    check_reason(&reason, &mut faults);
    match Key::new(service, name) {
        Ok(key) if faults.is_empty() => Ok((key, Asked { actor, reason })),
        _ => Err(faults),
    }
}

/// Why nothing was done to the breaker.
#[cold]
pub(crate) fn refused_by_hand(error: ByHandError, key: &Key) -> Failure {
    let (service, name) = (key.service().to_string(), key.name().to_string());
    match error {
        ByHandError::NotThere => Failure::NoBreaker { service, name },
        ByHandError::WrongState(wrong) => {
            Failure::WrongState { service, name, state: wrong.state.as_str(), needed: wrong.needed }
        }
        ByHandError::Engine(error) => asks::refused(error),
    }
}

fn subject(service: &str, name: &str, whole_service: bool, faults: &mut Faults) -> Option<Subject> {
    check_key(service, name, faults);
    if !whole_service {
        return Key::new(service, name).ok().map(Subject::Breaker);
    }
    if !name.is_empty() {
        faults.add("name", Kind::Mismatch, "stands beside whole_service: give one of them");
    }
    Some(Subject::Service(service.to_owned()))
}

fn kind(number: i32, faults: &mut Faults) -> Option<OverrideKind> {
    const TAKES: &str = "it takes FORCED_OPEN, DISABLED or METRICS_ONLY";
    match words::read_state(number) {
        Some(State::ForcedOpen) => return Some(OverrideKind::ForcedOpen),
        Some(State::Disabled) => return Some(OverrideKind::Disabled),
        Some(State::MetricsOnly) => return Some(OverrideKind::MetricsOnly),
        Some(other @ (State::Closed | State::Open | State::HalfOpen)) => {
            let problem = format!("is {other}, which is no override: {TAKES}");
            faults.add("state", Kind::OutOfRange, problem);
        }
        None if number == 0 => faults.add("state", Kind::Required, format!("is missing: {TAKES}")),
        None => {
            let problem = format!("is {number}, which is no state: {TAKES}");
            faults.add("state", Kind::UnknownValue, problem);
        }
    }
    None
}

/// When the override ends by itself, by the wall clock; and how long it lasts, if that is what was asked for.
fn end(
    request: &v1::SetOverrideRequest,
    wall: Time,
    faults: &mut Faults,
) -> (Option<Time>, Option<Duration>) {
    let expires_at = times::bound("expires_at", request.expires_at.as_ref(), faults);
    let ttl = times::not_negative("ttl", request.ttl.as_ref(), faults);
    if request.expires_at.is_some() && request.ttl.is_some() {
        faults.add("ttl", Kind::Mismatch, "stands beside expires_at: give one of them");
    }
    if let Some(end) = expires_at
        && (end <= wall || end > wall + LASTS_MAX)
    {
        let problem = if end <= wall { "is past" } else { "is more than 366 days from now" };
        faults.add("expires_at", Kind::OutOfRange, problem);
    }
    if let Some(ttl) = ttl
        && !(LASTS_MIN..=LASTS_MAX).contains(&ttl)
    {
        let problem = format!("is {} s: it takes 1 s to 366 days", ttl.as_secs_f64());
        faults.add("ttl", Kind::OutOfRange, problem);
    }
    (expires_at.or(ttl.map(|ttl| wall + ttl)), ttl)
}

fn check_reason(reason: &str, faults: &mut Faults) {
    asks::check_text_within(REASON_BYTES_MAX, "reason", reason, faults);
}
