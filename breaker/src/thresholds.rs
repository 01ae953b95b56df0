//! The numbers that a service's breakers are judged by: merged, checked, and ready to use.

use std::time::Duration;

use crate::field::{Field, Value};
use crate::outcome::{Outcome, Report};
use crate::words::words;

/// What the window holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WindowKind {
    /// The newest calls.
    Count,
    /// The newest seconds.
    Time,
}

/// Whether the wait grows when probes fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitInterval {
    /// Always the same.
    Fixed,
    /// Times the multiplier for each attempt since the last close.
    Exponential,
}

words! {
    /// What half-open turns to when it lasted too long.
    AfterMaxWait {
        /// It opens again.
        Open = "OPEN",
        /// It closes.
        Closed = "CLOSED",
    }
}

/// The plain numbers, on their way through [`crate::merge::merge`], the only place that makes them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) failure_threshold: u32,
    pub(crate) success_threshold: u32,
    pub(crate) wait: Duration,
    pub(crate) failure_rate: Option<u32>,
    pub(crate) slow_rate: Option<u32>,
    pub(crate) slow_duration: Option<Duration>,
    pub(crate) failure_count: Option<u32>,
    pub(crate) slow_as_failures: bool,
    pub(crate) window: WindowKind,
    pub(crate) size: u32,
    pub(crate) minimum_calls: u32,
    pub(crate) permitted: u32,
    pub(crate) lease: Duration,
    pub(crate) max_wait_in_half_open: Option<Duration>,
    pub(crate) after_max_wait: AfterMaxWait,
    pub(crate) wait_interval: WaitInterval,
    pub(crate) multiplier: u32,
    pub(crate) randomization: u32,
    pub(crate) max_wait: Duration,
    pub(crate) honor_retry_after: bool,
    pub(crate) minimum_reporters: u32,
    pub(crate) ignore_classes: Vec<String>,
    pub(crate) record_classes: Vec<String>,
}

/// The thresholds in force for a service. Made by [`crate::merge::merge`] only, so that no others can exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thresholds {
    terms: Terms,
}

/// What a report counts as, under some thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// As nothing.
    Ignored,
    /// As a call.
    Counted {
        /// As a failure; else as a success.
        failed: bool,
        /// As a slow call.
        slow: bool,
    },
}

impl Thresholds {
    pub(crate) fn from_terms(terms: Terms) -> Self {
        Self { terms }
    }

    /// Failures in a row that open; 0: off.
    pub fn failure_threshold(&self) -> u32 {
        self.terms.failure_threshold
    }

    /// Successes in half-open that close; 0: a rate decides.
    pub fn success_threshold(&self) -> u32 {
        self.terms.success_threshold
    }

    /// The wait in OPEN, before growth and chance.
    pub fn wait(&self) -> Duration {
        self.terms.wait
    }

    /// The share of failures in the window that opens, in thousandths of a percent.
    pub fn failure_rate_threshold(&self) -> Option<u32> {
        self.terms.failure_rate
    }

    /// The share of slow calls in the window that opens, in thousandths of a percent.
    pub fn slow_call_rate_threshold(&self) -> Option<u32> {
        self.terms.slow_rate
    }

    /// A call that takes longer than this is slow.
    pub fn slow_call_duration_threshold(&self) -> Option<Duration> {
        self.terms.slow_duration
    }

    /// Failures in the window that open.
    pub fn failure_count_threshold(&self) -> Option<u32> {
        self.terms.failure_count
    }

    /// Whether a slow success counts as a failure.
    pub fn slow_calls_as_failures(&self) -> bool {
        self.terms.slow_as_failures
    }

    /// What the window holds.
    pub fn window_kind(&self) -> WindowKind {
        self.terms.window
    }

    /// Calls, or seconds, by the kind.
    pub fn window_size(&self) -> u32 {
        self.terms.size
    }

    /// Calls the window must hold before a rate is judged: what was set, or the size of a window of calls
    /// when that is less, since such a window can hold no more (resilience4j).
    pub fn minimum_calls(&self) -> u32 {
        match self.terms.window {
            WindowKind::Count => self.terms.minimum_calls.min(self.terms.size),
            WindowKind::Time => self.terms.minimum_calls,
        }
    }

    /// What was set for [`Thresholds::minimum_calls`].
    pub fn minimum_calls_set(&self) -> u32 {
        self.terms.minimum_calls
    }

    /// Whether there is a trip at all: without one, nothing that is recorded opens a breaker.
    pub fn can_trip(&self) -> bool {
        self.terms.failure_threshold > 0
            || self.terms.failure_count.is_some()
            || self.terms.failure_rate.is_some()
            || self.terms.slow_rate.is_some()
    }

    /// P: probes that may be out or completed in one half-open.
    pub fn permitted(&self) -> u32 {
        self.terms.permitted
    }

    /// How long a probe may be out.
    pub fn lease(&self) -> Duration {
        self.terms.lease
    }

    /// How long half-open may last from its first probe; none: without end.
    pub fn max_wait_in_half_open(&self) -> Option<Duration> {
        self.terms.max_wait_in_half_open
    }

    /// What half-open turns to when it lasted too long.
    pub fn after_max_wait(&self) -> AfterMaxWait {
        self.terms.after_max_wait
    }

    /// Whether the wait grows.
    pub fn wait_interval(&self) -> WaitInterval {
        self.terms.wait_interval
    }

    /// By how much it grows each time, in thousandths.
    pub fn multiplier(&self) -> u32 {
        self.terms.multiplier
    }

    /// By how much a wait is drawn at random, in thousandths.
    pub fn randomization_factor(&self) -> u32 {
        self.terms.randomization
    }

    /// The longest a wait may become.
    pub fn max_wait(&self) -> Duration {
        self.terms.max_wait
    }

    /// Whether a failure's `retry_after` can lengthen the wait.
    pub fn honor_retry_after(&self) -> bool {
        self.terms.honor_retry_after
    }

    /// Distinct callers that must have seen the trouble before a breaker opens.
    pub fn minimum_reporters(&self) -> u32 {
        self.terms.minimum_reporters
    }

    /// Error classes that count as nothing.
    pub fn ignore_error_classes(&self) -> &[String] {
        &self.terms.ignore_classes
    }

    /// The only error classes that count as failures; empty: every class does.
    pub fn record_error_classes(&self) -> &[String] {
        &self.terms.record_classes
    }

    /// What a field comes to; none when it is off, or has no limit.
    ///
    /// This is what is in force, not what was set: `minimum_number_of_calls` in a window of calls is at most the
    /// window's size, and a `failure_threshold` that a rate took the place of is 0.
    pub fn value(&self, field: Field) -> Option<Value> {
        let value = match field {
            Field::FailureThreshold => Value::Count(self.failure_threshold()),
            Field::SuccessThreshold => Value::Count(self.success_threshold()),
            Field::Timeout => Value::Duration(self.wait()),
            Field::FailureRateThreshold => Value::Rate(self.failure_rate_threshold()?),
            Field::SlowCallRateThreshold => Value::Rate(self.slow_call_rate_threshold()?),
            Field::SlowCallDurationThreshold => Value::Duration(self.slow_call_duration_threshold()?),
            Field::FailureCountThreshold => Value::Count(self.failure_count_threshold()?),
            Field::SlowCallsAsFailures => Value::Flag(self.slow_calls_as_failures()),
            Field::SlidingWindowType => Value::Word(match self.window_kind() {
                WindowKind::Count => "COUNT_BASED",
                WindowKind::Time => "TIME_BASED",
            }),
            Field::SlidingWindowSize => Value::Count(self.window_size()),
            Field::MinimumNumberOfCalls => Value::Count(self.minimum_calls()),
            Field::PermittedCalls => Value::Count(self.permitted()),
            Field::HalfOpenPermitTimeout => Value::Duration(self.lease()),
            Field::MaxWaitInHalfOpen => Value::Duration(self.max_wait_in_half_open()?),
            Field::StateAfterMaxWait => Value::Word(self.after_max_wait().as_str()),
            Field::WaitInterval => Value::Word(match self.wait_interval() {
                WaitInterval::Fixed => "FIXED",
                WaitInterval::Exponential => "EXPONENTIAL",
            }),
            Field::Multiplier => Value::Factor(self.multiplier()),
            Field::RandomizationFactor => Value::Factor(self.randomization_factor()),
            Field::MaxWait => Value::Duration(self.max_wait()),
            Field::HonorRetryAfter => Value::Flag(self.honor_retry_after()),
            Field::MinimumReporters => Value::Count(self.minimum_reporters()),
            Field::IgnoreErrorClasses => Value::Classes(self.ignore_error_classes().to_vec()),
            Field::RecordErrorClasses => Value::Classes(self.record_error_classes().to_vec()),
        };
        Some(value)
    }

    /// `F_fail`, the failed probes that reopen: as many as leave fewer than `success_threshold` of P to
    /// succeed; without one, as many as make the failure rate; without that, one.
    pub(crate) fn failures_to_open(&self) -> u32 {
        let permitted = self.terms.permitted;
        if self.terms.success_threshold > 0 {
            return permitted - self.terms.success_threshold + 1;
        }
        self.terms.failure_rate.map_or(1, |rate| portion(rate, permitted))
    }

    /// `F_slow`, the slow probes that reopen.
    pub(crate) fn slow_to_open(&self) -> Option<u32> {
        self.terms.slow_rate.map(|rate| portion(rate, self.terms.permitted))
    }

    /// What a report counts as. A class to ignore wins; with a list of classes to record, a failure in
    /// neither counts as a success, one without a class too (resilience4j).
    pub fn judge(&self, report: &Report<'_>) -> Judged {
        let failed = match report.outcome {
            Outcome::Ignored => return Judged::Ignored,
            Outcome::Success => false,
            Outcome::Failure => {
                if contains(&self.terms.ignore_classes, report.error_class) {
                    return Judged::Ignored;
                }
                self.terms.record_classes.is_empty()
                    || contains(&self.terms.record_classes, report.error_class)
            }
        };
        let slow = match (report.duration, self.terms.slow_duration) {
            (Some(took), Some(threshold)) => took > threshold,
            _ => false,
        };
        Judged::Counted { failed: failed || (slow && self.terms.slow_as_failures), slow }
    }
}

fn contains(classes: &[String], class: &str) -> bool {
    classes.iter().any(|candidate| candidate == class)
}

/// How many of `whole` make `rate`, rounded up; at least one, since no rate is zero.
fn portion(rate: u32, whole: u32) -> u32 {
    let needed = (u64::from(rate) * u64::from(whole)).div_ceil(100_000);
    u32::try_from(needed).unwrap_or(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Layer, Origin};
    use crate::merge::merge;

    fn with(values: &[(Field, Value)]) -> Thresholds {
        let mut layer = Layer::default();
        for (field, value) in values {
            layer.set(*field, value.clone()).unwrap();
        }
        merge(&[(Origin::Api, &layer)]).unwrap().thresholds
    }

    #[test]
    fn a_window_of_calls_cannot_need_more_calls_than_it_holds() {
        let minimum = |kind, size| {
            let thresholds = with(&[
                (Field::SlidingWindowType, Value::Word(kind)),
                (Field::SlidingWindowSize, Value::Count(size)),
                (Field::MinimumNumberOfCalls, Value::Count(20)),
            ]);
            (thresholds.minimum_calls(), thresholds.minimum_calls_set())
        };
        assert_eq!(minimum("COUNT_BASED", 10), (10, 20));
        assert_eq!(minimum("COUNT_BASED", 30), (20, 20));
        assert_eq!(minimum("TIME_BASED", 10), (20, 20));
    }

    #[test]
    fn a_breaker_trips_on_any_one_trip_and_on_none() {
        let off = (Field::FailureThreshold, Value::Count(0));
        let slow = (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_secs(1)));
        assert!(!with(std::slice::from_ref(&off)).can_trip());
        assert!(with(&[(Field::FailureThreshold, Value::Count(1))]).can_trip());
        for trip in [
            (Field::FailureCountThreshold, Value::Count(1)),
            (Field::FailureRateThreshold, Value::Rate(1)),
            (Field::SlowCallRateThreshold, Value::Rate(1)),
        ] {
            assert!(with(&[off.clone(), slow.clone(), trip]).can_trip());
        }
    }
}
