//! The keys of permits, on the wire: never the secrets.

use breaker::{Attribution, Time};
use breakerd_api::time::to_timestamp;
use breakerd_api::v1;

use super::super::status::Failure;
use super::super::violations::Violations;
use super::operator_actions::check_reason;
use super::store_failure;
use crate::permit_keys::RotateError;
use crate::store::{PERMIT_KEYS_MAX, PermitKey};

/// The keys, when the wall clock says `wall`.
pub(crate) fn permit_keys(keys: &[PermitKey], wall: Time) -> v1::ListPermitKeysResponse {
    let sealing = keys.iter().rev().find(|key| key.sealing_for.is_some()).map(|key| key.number);
    let key = |key: &PermitKey| v1::PermitKey {
        number: key.number,
        created_at: Some(to_timestamp(wall - key.age)),
        seals_since: key.sealing_for.map(|sealing_for| to_timestamp(wall - sealing_for)),
        sealing: sealing == Some(key.number),
    };
    v1::ListPermitKeysResponse { keys: keys.iter().map(key).collect() }
}

/// Who asks for a new key, and why.
pub(crate) fn rotation(
    request: v1::RotatePermitKeyRequest,
    actor: String,
) -> Result<Attribution, Violations> {
    let mut violations = Violations::default();
    check_reason(&request.reason, &mut violations);
    violations.unless(Attribution { actor, reason: request.reason })
}

/// Why there is no new key.
#[cold]
pub(crate) fn rotate_failure(error: RotateError) -> Failure {
    match error {
        RotateError::Full => Failure::PermitKeysFull { max: PERMIT_KEYS_MAX },
        RotateError::Store(error) => store_failure("permit key write failed", &error),
    }
}
