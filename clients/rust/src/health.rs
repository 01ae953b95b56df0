//! The states of the breakers of this process, as a health page has them.

use breaker::State;

use crate::stats::BreakerStats;

/// Whether all breakers let calls through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "lowercase"))]
pub enum Status {
    /// No breaker is OPEN or `FORCED_OPEN`.
    Healthy,
    /// Some are.
    Degraded,
}

/// The states of the breakers of this process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Health {
    /// Whether all breakers let calls through.
    pub status: Status,
    /// How many there are, by state.
    pub circuit_breakers: Counts,
    /// Each of them, ordered by service and name.
    pub details: Vec<Detail>,
}

/// How many breakers there are, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Counts {
    /// All.
    pub total: usize,
    /// CLOSED, DISABLED and `METRICS_ONLY`.
    pub closed: usize,
    /// OPEN and `FORCED_OPEN`.
    pub open: usize,
    /// `HALF_OPEN`.
    pub half_open: usize,
}

/// One breaker of a health page.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Detail {
    /// Name of the breaker within the service.
    pub name: String,
    /// `Closed`, `Open`, `HalfOpen`, `ForcedOpen`, `Disabled` or `MetricsOnly`.
    pub state: &'static str,
    /// Failures of this process since its last success.
    pub consecutive_failures: u32,
    /// Successes of this process since its last failure.
    pub consecutive_successes: u32,
    /// Changes of the state that this process saw.
    pub transition_count: u64,
    /// Service of the breaker.
    pub service: String,
}

impl Health {
    pub(crate) fn of(stats: &[BreakerStats]) -> Self {
        let mut counts = Counts { total: stats.len(), ..Counts::default() };
        for breaker in stats {
            match breaker.state {
                State::Closed | State::Disabled | State::MetricsOnly => counts.closed += 1,
                State::Open | State::ForcedOpen => counts.open += 1,
                State::HalfOpen => counts.half_open += 1,
            }
        }
        let detail = |breaker: &BreakerStats| Detail {
            name: breaker.name.clone(),
            state: state_name(breaker.state),
            consecutive_failures: breaker.consecutive_failures,
            consecutive_successes: breaker.consecutive_successes,
            transition_count: breaker.transitions,
            service: breaker.service.clone(),
        };
        Self {
            status: if counts.open > 0 { Status::Degraded } else { Status::Healthy },
            circuit_breakers: counts,
            details: stats.iter().map(detail).collect(),
        }
    }
}

const fn state_name(state: State) -> &'static str {
    match state {
        State::Closed => "Closed",
        State::Open => "Open",
        State::HalfOpen => "HalfOpen",
        State::ForcedOpen => "ForcedOpen",
        State::Disabled => "Disabled",
        State::MetricsOnly => "MetricsOnly",
    }
}
