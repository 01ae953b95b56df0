//! Outcomes that stand for several calls, and the results of outcomes.

use std::time::Duration;

use breaker::Report;
use breakerd_api::time::to_duration;
use breakerd_api::v1;

use super::super::violations::{Kind, Violations};
use super::times;
use crate::engine::{BOUNDS_SECONDS, RecordResult, Run, RunDurations, RunResult};

/// Calls that one outcome stands for.
const RUN_CALLS_MAX: u32 = 1_000_000;
/// The last bucket has no bound.
const BUCKETS: usize = BOUNDS_SECONDS.len() + 1;

/// Whether an outcome stands for several calls.
pub(crate) fn is_run(request: &v1::RecordOutcomeRequest) -> bool {
    request.count > 1
}

/// Adds what is wrong with the fields of a run, or with one of them beside a single call.
pub(super) fn check_run(request: &v1::RecordOutcomeRequest, violations: &mut Violations) {
    let count = request.count;
    if count <= 1 {
        for (field, is_set) in [("slow", request.slow), ("durations", request.durations.is_some())] {
            if is_set {
                let problem = "invalid beside a count of one call: must be left out, as `duration` says it";
                violations.add(field, Kind::Mismatch, problem);
            }
        }
        return;
    }
    if count > RUN_CALLS_MAX {
        let problem = format!("invalid value {count}: must be 0..={RUN_CALLS_MAX}");
        violations.add("count", Kind::OutOfRange, problem);
    }
    for (field, is_set) in [
        ("permit", !request.permit.is_empty()),
        ("duration", request.duration.is_some()),
        ("retry_after", request.retry_after.is_some()),
    ] {
        if is_set {
            let problem = format!("invalid beside a count of {count} calls: must be left out");
            violations.add(field, Kind::Mismatch, problem);
        }
    }
    let Some(durations) = &request.durations else { return };
    let buckets = durations.buckets.len();
    if buckets > BUCKETS {
        let problem = format!("too many buckets: {buckets}, the limit is {BUCKETS}");
        violations.add("durations.buckets", Kind::TooMany, problem);
    }
    let calls: u64 = durations.buckets.iter().map(|calls| u64::from(*calls)).sum();
    if calls > u64::from(count) {
        let problem = format!("invalid sum {calls}: must be at most the count ({count})");
        violations.add("durations.buckets", Kind::OutOfRange, problem);
    }
    times::not_negative("durations.sum", durations.sum.as_ref(), violations);
}

/// A run that has been checked, with what its outcome says of each call.
pub(crate) fn run<'a>(request: &'a v1::RecordOutcomeRequest, report: Report<'a>) -> Run<'a> {
    let durations = request.durations.as_ref().map(|durations| RunDurations {
        buckets: &durations.buckets,
        // Checked before: none is negative.
        sum: times::not_negative("durations.sum", durations.sum.as_ref(), &mut Violations::default())
            .unwrap_or(Duration::ZERO),
    });
    Run { epoch: request.epoch, report, slow: request.slow, count: request.count, durations }
}

/// How an outcome was recorded.
pub(crate) fn record_response(recorded: RecordResult) -> v1::RecordOutcomeResponse {
    v1::RecordOutcomeResponse {
        result: v1::RecordResult::from(recorded.recorded) as i32,
        state: v1::State::from(recorded.state) as i32,
        epoch: recorded.epoch,
        remaining_wait: recorded.remaining.map(to_duration),
        run: None,
    }
}

/// What became of a run.
pub(crate) fn run_response(result: RunResult) -> v1::RecordOutcomeResponse {
    let RunResult { recorded, after } = result;
    v1::RecordOutcomeResponse {
        run: Some(v1::RunResult {
            recorded: recorded.recorded,
            late: recorded.late,
            not_counted: recorded.not_counted,
        }),
        ..record_response(after)
    }
}
