//! Batches: how much is in one, and which one of its reporter it is.

use breakerd_api::v1;

use super::super::violations::{Kind, Violations};

/// Requests in one batch, and local totals.
const BATCH_MAX: usize = 1_000;
/// Reasons for which a client rejects calls by itself; each is given at most once.
pub(super) const REJECTED_MAX: usize = 3;
/// Bytes of a reporter.
const REPORTER_BYTES: usize = 16;

/// Which batch of which reporter a report is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchId {
    pub(crate) reporter: [u8; REPORTER_BYTES],
    pub(crate) sequence: u64,
}

/// Checks the number of requests of a batch.
pub(crate) fn check_batch(requests: usize) -> Result<(), Violations> {
    check_batch_items(requests, 0, 0)
}

/// Checks the numbers of requests and of local totals of a batch, and the most entries that one of these has in its `rejected`.
pub(crate) fn check_batch_items(requests: usize, totals: usize, rejected: usize) -> Result<(), Violations> {
    let mut violations = Violations::default();
    for (field, items, max) in [
        ("requests", requests, BATCH_MAX),
        ("local_totals", totals, BATCH_MAX),
        ("local_totals.rejected", rejected, REJECTED_MAX),
    ] {
        check_items(field, items, max, &mut violations);
    }
    violations.unless(())
}

fn check_items(field: &'static str, items: usize, max: usize, violations: &mut Violations) {
    if items > max {
        violations.add(field, Kind::TooMany, format!("too many entries: {items}, the limit is {max}"));
    }
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
