//! Totals of what a client decided by itself.

use breaker::Verdict;
use breakerd_api::enums::{ApiEnum as _, from_number};
use breakerd_api::v1;

use super::super::status::Failure;
use super::super::violations::{Kind, Violations};
use super::batches::REJECTED_MAX;
use super::check_key;
use super::decisions::refused;
use crate::engine::{EngineError, LocalTotals};

/// Calls of one field of totals: what a busy process decides in an hour, at 100,000 calls a second, several times over.
const TOTAL_MAX: u64 = 1_000_000_000;

/// Totals of one breaker. The key is checked by the engine, and only when it is new.
pub(crate) fn read_totals(totals: &v1::LocalTotals) -> Result<LocalTotals, Violations> {
    let mut violations = Violations::default();
    let mut read = LocalTotals {
        successful: totals.successful,
        failed: totals.failed,
        ignored: totals.ignored,
        ..LocalTotals::default()
    };
    for (field, count) in
        [("successful", totals.successful), ("failed", totals.failed), ("ignored", totals.ignored)]
    {
        check_total(|| field.into(), count, &mut violations);
    }
    let mut seen = [false; REJECTED_MAX];
    for (index, rejected) in totals.rejected.iter().enumerate() {
        check_total(|| format!("rejected[{index}].count"), rejected.count, &mut violations);
        let (place, total) = match from_number::<Verdict, v1::AllowReason>(rejected.reason) {
            Ok(Verdict::Open) => (0, &mut read.rejected_open),
            Ok(Verdict::HalfOpenExhausted) => (1, &mut read.rejected_half_open),
            Ok(Verdict::ForcedOpen) => (2, &mut read.rejected_forced),
            _ => {
                add_reason(index, rejected.reason, &mut violations);
                continue;
            }
        };
        if std::mem::replace(&mut seen[place], true) {
            let problem = format!("invalid value {}: must be given once", shown(rejected.reason));
            violations.add(format!("rejected[{index}].reason"), Kind::Mismatch, problem);
        }
        *total = rejected.count;
    }
    if violations.is_empty() {
        return Ok(read);
    }
    check_key(&totals.service, &totals.name, &mut violations);
    Err(violations)
}

fn check_total(field: impl FnOnce() -> String, count: u64, violations: &mut Violations) {
    if count > TOTAL_MAX {
        let problem = format!("invalid value {count}: must be 0..={TOTAL_MAX}");
        violations.add(field(), Kind::OutOfRange, problem);
    }
}

#[cold]
fn add_reason(index: usize, reason: i32, violations: &mut Violations) {
    const VALID: &str = "must be OPEN, HALF_OPEN_EXHAUSTED or FORCED_OPEN";
    let (kind, problem) = match reason {
        0 => (Kind::Required, format!("is required: {VALID}")),
        reason => (Kind::UnknownValue, format!("invalid value {}: {VALID}", shown(reason))),
    };
    violations.add(format!("rejected[{index}].reason"), kind, problem);
}

/// A reason by its name, or by its number if that is of a newer version.
fn shown(reason: i32) -> String {
    v1::AllowReason::name_of(reason).map_or_else(|| reason.to_string(), str::to_owned)
}

/// Why the engine did not add the totals.
#[cold]
pub(crate) fn totals_failure(error: EngineError, totals: &v1::LocalTotals) -> Failure {
    let EngineError::Key(_) = error else { return refused(error) };
    let mut violations = Violations::default();
    check_key(&totals.service, &totals.name, &mut violations);
    violations.into()
}
