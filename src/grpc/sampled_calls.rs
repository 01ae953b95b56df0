//! The newest sampled calls of a method: one for each bucket of its durations, and one for each code of its failures.
//!
//! A call that is not sampled does not come here. One that is has made a span, which costs more than the lock.

use std::time::Duration;

use breaker::Time;
use opentelemetry::trace::TraceId;
use parking_lot::Mutex;

use crate::metrics::Exemplar;

/// A call that is sampled.
#[derive(Debug, Clone, Copy)]
pub(super) struct SampledCall {
    /// The trace that it is in.
    pub(super) trace_id: TraceId,
    /// When it ended, by the wall clock.
    pub(super) ended_at: Time,
}

#[derive(Debug, Default)]
pub(super) struct SampledCalls(Mutex<Newest>);

/// As long as the last place that has one.
#[derive(Debug, Default)]
struct Newest {
    buckets: Vec<Option<Exemplar>>,
    codes: Vec<Option<Exemplar>>,
}

impl SampledCalls {
    /// One was timed in the bucket with this number.
    #[cold]
    pub(super) fn timed(&self, bucket: usize, took: Duration, call: SampledCall) {
        keep(&mut self.0.lock().buckets, bucket, took.as_secs_f64(), call);
    }

    /// One failed with the code with this number.
    #[cold]
    pub(super) fn failed(&self, code: usize, call: SampledCall) {
        keep(&mut self.0.lock().codes, code, 1.0, call);
    }

    pub(super) fn by_bucket(&self) -> Vec<Option<Exemplar>> {
        self.0.lock().buckets.clone()
    }

    pub(super) fn by_code(&self) -> Vec<Option<Exemplar>> {
        self.0.lock().codes.clone()
    }
}

/// Calls that end together come here in any order, and Prometheus refuses an exemplar that is older than the one before it.
fn keep(newest: &mut Vec<Option<Exemplar>>, place: usize, value: f64, call: SampledCall) {
    if newest.len() <= place {
        newest.resize(place + 1, None);
    }
    let SampledCall { trace_id, ended_at: at } = call;
    if newest[place].is_none_or(|kept| kept.at <= at) {
        newest[place] = Some(Exemplar { trace_id, value, at });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_call_of_each_bucket_and_code_is_kept() {
        let calls = SampledCalls::default();
        assert_eq!((calls.by_bucket(), calls.by_code()), (vec![], vec![]));
        let call = |trace: u64, at_seconds| SampledCall {
            trace_id: TraceId::from(u128::from(trace)),
            ended_at: Time::ZERO + Duration::from_secs(at_seconds),
        };
        let took = Duration::from_millis;
        calls.timed(2, took(20), call(1, 10));
        calls.timed(2, took(21), call(2, 12));
        calls.timed(2, took(22), call(3, 11));
        calls.timed(0, took(1), call(4, 10));
        calls.failed(1, call(5, 10));
        let kept = |trace: u64, value, at_seconds| {
            let SampledCall { trace_id, ended_at: at } = call(trace, at_seconds);
            Some(Exemplar { trace_id, value, at })
        };
        assert_eq!(calls.by_bucket(), [kept(4, 0.001, 10), None, kept(2, 0.021, 12)]);
        assert_eq!(calls.by_code(), [None, kept(5, 1.0, 10)]);
    }
}
