//! `AllowRequest` and `RecordOutcome`: requests and responses.

use breaker::{Outcome, Report};
use breakerd_api::enums::from_number;
use breakerd_api::time::to_duration;
use breakerd_api::v1;
use bytes::Bytes;

use super::super::status::Failure;
use super::super::violations::{Kind, Violations};
use super::runs::check_run;
use super::{check_key, times};
use crate::engine::{Allowed, EngineError, Permit, PermitError, Seals, Target};

/// Bytes of a caller, and of an error class.
const TEXT_BYTES_MAX: usize = 256;

/// Checks what the engine does not: the key is checked there, and only when it is new.
pub(crate) fn check_allow_request(request: &v1::AllowRequestRequest) -> Result<(), Violations> {
    if is_text(&request.caller) { Ok(()) } else { Err(allow_violations(request)) }
}

/// Why the engine did not decide.
#[cold]
pub(crate) fn allow_failure(error: EngineError, request: &v1::AllowRequestRequest) -> Failure {
    match error {
        EngineError::Key(_) => allow_violations(request).into(),
        other => refused(other),
    }
}

#[cold]
fn allow_violations(request: &v1::AllowRequestRequest) -> Violations {
    let mut violations = Violations::default();
    check_key(&request.service, &request.name, &mut violations);
    check_text("caller", &request.caller, &mut violations);
    violations
}

/// The decision; `seal` makes the permit's bytes, if there is one.
pub(crate) fn allowed(allowed: &Allowed, seal: impl FnOnce(&Permit) -> Bytes) -> v1::AllowRequestResponse {
    let decision = &allowed.decision;
    v1::AllowRequestResponse {
        allowed: decision.verdict.allows(),
        state: v1::State::from(decision.state) as i32,
        reason: v1::AllowReason::from(decision.verdict) as i32,
        permit: allowed.permit.as_ref().map(seal).unwrap_or_default(),
        epoch: decision.epoch,
        retry_after: decision.retry_after.map(to_duration),
        config_revision: allowed.config_revision,
        lease: allowed.decision.lease.map(to_duration),
        decided_alone: decision.branch != 0,
    }
}

/// An outcome, and its target. `identity` is the name of the caller, if it is authenticated: the caller label that it sends
/// is scoped to it, so that no other identity can report under it.
pub(crate) fn read_outcome<'a>(
    request: &'a v1::RecordOutcomeRequest,
    identity: Option<&'a str>,
    seals: &Seals,
) -> Result<(Target<'a>, Report<'a>), Failure> {
    let mut violations = Violations::default();
    let permit = if request.permit.is_empty() {
        None
    } else {
        match seals.open(&request.permit) {
            Ok(permit) => Some(permit),
            Err(PermitError::UnknownKey { .. }) => return Err(Failure::UnknownPermitKey),
            Err(PermitError::Forged(_)) => {
                violations.add(
                    "permit",
                    Kind::Forged,
                    "invalid permit: not issued by this breakerd, or modified",
                );
                None
            }
        }
    };
    let outcome = from_number::<Outcome, v1::Outcome>(request.outcome).unwrap_or_else(|_| {
        let (kind, problem) = match request.outcome {
            0 => (Kind::Required, "is required: must be SUCCESS, FAILURE or IGNORED".to_owned()),
            unknown => {
                (Kind::UnknownValue, format!("invalid value {unknown}: must be SUCCESS, FAILURE or IGNORED"))
            }
        };
        violations.add("outcome", kind, problem);
        Outcome::Ignored
    });
    let duration = times::not_negative("duration", request.duration.as_ref(), &mut violations);
    let retry_after = times::not_negative("retry_after", request.retry_after.as_ref(), &mut violations);
    check_text("error_class", &request.error_class, &mut violations);
    check_text("caller", &request.caller, &mut violations);
    check_run(request, &mut violations);
    if !violations.is_empty() {
        check_outcome_key(request, &mut violations);
        return Err(violations.into());
    }
    let target = Target { permit, service: &request.service, name: &request.name, epoch: request.epoch };
    let report = Report {
        outcome,
        duration,
        error_class: &request.error_class,
        retry_after,
        caller: seals.caller_id(identity, &request.caller),
        caller_name: match request.caller.as_str() {
            "" => identity.unwrap_or_default(),
            named => named,
        },
    };
    Ok((target, report))
}

/// Why the engine rejected the outcome.
#[cold]
pub(crate) fn outcome_failure(error: EngineError, request: &v1::RecordOutcomeRequest) -> Failure {
    let EngineError::Key(_) = error else { return refused(error) };
    let mut violations = Violations::default();
    check_outcome_key(request, &mut violations);
    violations.into()
}

/// Beside a permit, service and name may be left out.
#[cold]
fn check_outcome_key(request: &v1::RecordOutcomeRequest, violations: &mut Violations) {
    let named = !request.service.is_empty() || !request.name.is_empty();
    if named || request.permit.is_empty() {
        check_key(&request.service, &request.name, violations);
    }
}

pub(super) fn refused(error: EngineError) -> Failure {
    match error {
        EngineError::Full { limit, max } => Failure::BreakersFull { limit, max },
        EngineError::TooManyOutcomes => Failure::StoreUnavailable,
        EngineError::OtherBreaker { service, name } => {
            let name = if name.is_empty() { &service } else { &name };
            let problem = format!("issued for another breaker, not for {service}/{name}");
            Violations::one("permit", Kind::Mismatch, problem).into()
        }
        EngineError::OtherEpoch { permit, given } => {
            let problem = format!("invalid value {given}: must be the epoch of the permit ({permit})");
            Violations::one("epoch", Kind::Mismatch, problem).into()
        }
        EngineError::Key(error) => {
            let mut violations = Violations::default();
            violations.add_key(error.field, &error);
            violations.into()
        }
    }
}

fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}

pub(super) fn check_text(field: &'static str, text: &str, violations: &mut Violations) {
    if !is_text(text) {
        check_text_within(TEXT_BYTES_MAX, field, text, violations);
    }
}

/// Adds the violations of a text of at most `bytes_max` bytes.
pub(super) fn check_text_within(
    bytes_max: usize,
    field: &'static str,
    text: &str,
    violations: &mut Violations,
) {
    let bytes = text.len();
    if bytes > bytes_max {
        let problem = format!("too long: {bytes} bytes, the limit is {bytes_max}");
        violations.add(field, Kind::TooLong, problem);
        return;
    }
    if let Some((at, found)) = text.char_indices().find(|(_, character)| character.is_control()) {
        let problem =
            format!("invalid character {found:?} at byte {at}: must not contain control characters");
        violations.add(field, Kind::InvalidCharacter, problem);
    }
}
