//! The words of both sides: states, outcomes, reasons.

use breaker::{AfterMaxWait, Outcome, Reason, Recorded, State, Verdict, WaitInterval, WindowKind};

use super::super::violations::{Kind, Violations};
use crate::proto::v1;

pub(super) fn state(state: State) -> v1::State {
    match state {
        State::Closed => v1::State::Closed,
        State::Open => v1::State::Open,
        State::HalfOpen => v1::State::HalfOpen,
        State::ForcedOpen => v1::State::ForcedOpen,
        State::Disabled => v1::State::Disabled,
        State::MetricsOnly => v1::State::MetricsOnly,
    }
}

/// Entries of a filter of states: there are six, and a repeat does no harm.
const STATES_MAX: usize = 64;

/// The states of a filter, each once.
pub(super) fn states(numbers: &[i32], violations: &mut Violations) -> Vec<State> {
    let mut states = Vec::new();
    if numbers.len() > STATES_MAX {
        let problem = format!("too many entries: {}, the limit is {STATES_MAX}", numbers.len());
        violations.add("states", Kind::TooMany, problem);
        return states;
    }
    for (index, number) in numbers.iter().enumerate() {
        let Some(state) = read_state(*number) else {
            let problem = format!("unknown value {number}: must be a State");
            violations.add(format!("states[{index}]"), Kind::UnknownValue, problem);
            continue;
        };
        if !states.contains(&state) {
            states.push(state);
        }
    }
    states
}

pub(super) fn read_state(number: i32) -> Option<State> {
    match v1::State::try_from(number).ok()? {
        v1::State::Unspecified => None,
        v1::State::Closed => Some(State::Closed),
        v1::State::Open => Some(State::Open),
        v1::State::HalfOpen => Some(State::HalfOpen),
        v1::State::ForcedOpen => Some(State::ForcedOpen),
        v1::State::Disabled => Some(State::Disabled),
        v1::State::MetricsOnly => Some(State::MetricsOnly),
    }
}

pub(super) fn outcome(number: i32) -> Option<Outcome> {
    match v1::Outcome::try_from(number).ok()? {
        v1::Outcome::Unspecified => None,
        v1::Outcome::Success => Some(Outcome::Success),
        v1::Outcome::Failure => Some(Outcome::Failure),
        v1::Outcome::Ignored => Some(Outcome::Ignored),
    }
}

pub(super) fn reason(verdict: Verdict) -> v1::AllowReason {
    match verdict {
        Verdict::Closed => v1::AllowReason::Closed,
        Verdict::Probe => v1::AllowReason::Probe,
        Verdict::Open => v1::AllowReason::Open,
        Verdict::HalfOpenExhausted => v1::AllowReason::HalfOpenExhausted,
        Verdict::ForcedOpen => v1::AllowReason::ForcedOpen,
        Verdict::Disabled => v1::AllowReason::Disabled,
        Verdict::MetricsOnly => v1::AllowReason::MetricsOnly,
    }
}

pub(super) fn result(recorded: Recorded) -> v1::RecordResult {
    match recorded {
        Recorded::Recorded => v1::RecordResult::Recorded,
        Recorded::Late => v1::RecordResult::Late,
        Recorded::Duplicate => v1::RecordResult::Duplicate,
        Recorded::NotCounted => v1::RecordResult::NotCounted,
    }
}

pub(super) fn transition_reason(reason: Reason) -> v1::TransitionReason {
    use v1::TransitionReason as Wire;
    match reason {
        Reason::ConsecutiveFailures => Wire::ConsecutiveFailures,
        Reason::FailureCount => Wire::FailureCount,
        Reason::FailureRate => Wire::FailureRate,
        Reason::SlowCallRate => Wire::SlowCallRate,
        Reason::WaitElapsed => Wire::WaitElapsed,
        Reason::ProbesSucceeded => Wire::ProbesSucceeded,
        Reason::ProbesFailed => Wire::ProbesFailed,
        Reason::ProbesSlow => Wire::ProbesSlow,
        Reason::HalfOpenTimeout => Wire::HalfOpenTimeout,
        Reason::Restart => Wire::Restart,
        Reason::OverrideSet => Wire::OverrideSet,
        Reason::OverrideCleared => Wire::OverrideCleared,
        Reason::OverrideExpired => Wire::OverrideExpired,
        Reason::Reset => Wire::Reset,
        Reason::Deleted => Wire::Deleted,
        Reason::Idle => Wire::Idle,
        Reason::ProbeRequested => Wire::ProbeRequested,
        Reason::ThresholdsChanged => Wire::ThresholdsChanged,
        Reason::HistoryGap => Wire::HistoryGap,
    }
}

pub(super) fn window_kind(kind: WindowKind) -> v1::SlidingWindowType {
    match kind {
        WindowKind::Count => v1::SlidingWindowType::CountBased,
        WindowKind::Time => v1::SlidingWindowType::TimeBased,
    }
}

pub(super) fn wait_interval(interval: WaitInterval) -> v1::WaitInterval {
    match interval {
        WaitInterval::Fixed => v1::WaitInterval::Fixed,
        WaitInterval::Exponential => v1::WaitInterval::Exponential,
    }
}

pub(super) fn after_max_wait(after: AfterMaxWait) -> v1::State {
    match after {
        AfterMaxWait::Open => v1::State::Open,
        AfterMaxWait::Closed => v1::State::Closed,
    }
}

pub(super) fn thousandths(value: u32) -> f64 {
    f64::from(value) / 1_000.0
}

/// A rate in thousandths of a percent, in percent.
pub(super) fn percent(rate: u32) -> f64 {
    thousandths(rate)
}
