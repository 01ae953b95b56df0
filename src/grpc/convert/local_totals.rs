//! The report of a client that decides by itself: whose batch it is, and totals of what it decided.

use breaker::Verdict;
use breakerd_api::enums::{ApiEnum as _, from_number};
use breakerd_api::v1;

use super::super::status::Failure;
use super::super::violations::{Kind, Violations};
use super::check_key;
use super::decisions::refused;
use crate::engine::{EngineError, LocalTotals};

/// Bytes of a reporter.
pub(crate) const REPORTER_BYTES: usize = 16;
/// Reasons for which a client rejects calls by itself; each is given at most once.
pub(crate) const REJECTED_MAX: usize = 3;
/// Calls of one field of totals: what a busy process decides in an hour, at 100,000 calls a second, several times over.
const TOTAL_MAX: u64 = 1_000_000_000;

/// Which batch of which reporter a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId {
    pub(crate) reporter: [u8; REPORTER_BYTES],
    pub(crate) sequence: u64,
}

/// Checks whose report it is. None: it has no reporter.
pub(crate) fn read_batch_id(request: &v1::RecordOutcomesRequest) -> Result<Option<BatchId>, Violations> {
    let mut violations = Violations::default();
    let v1::RecordOutcomesRequest { reporter, sequence, .. } = request;
    let batch = match (<[u8; REPORTER_BYTES]>::try_from(&**reporter), *sequence) {
        (Ok(_), 0) => {
            let problem = format!("invalid value 0: must be 1..={} beside a reporter", u64::MAX);
            violations.add("sequence", Kind::OutOfRange, problem);
            None
        }
        (Ok(reporter), sequence) => Some(BatchId { reporter, sequence }),
        (Err(_), _) if !reporter.is_empty() => {
            let problem =
                format!("invalid length {}: must be {REPORTER_BYTES} bytes, or empty", reporter.len());
            violations.add("reporter", Kind::OutOfRange, problem);
            None
        }
        (Err(_), 0) => None,
        (Err(_), sequence) => {
            let problem = format!("invalid value {sequence}: must be 0 without a reporter");
            violations.add("sequence", Kind::Mismatch, problem);
            None
        }
    };
    violations.unless(batch)
}

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
