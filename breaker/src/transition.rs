//! The record of one change of state, and of the state that it led to.

use std::time::Duration;

use crate::Time;
use crate::outcome::{Outcome, Report};
use crate::state::{OverrideKind, Reason, Scope, State};
use crate::thresholds::{AfterMaxWait, Thresholds};
use crate::wait::wait;

/// The statistics at the moment of a change: what was counted in the state that was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Successes since the last failure.
    pub consecutive_successes: u32,
    /// Calls in the window; in half-open: probes that completed.
    pub calls: u32,
    /// Failures among them.
    pub failures: u32,
    /// Slow calls among them.
    pub slow_calls: u32,
    /// Distinct callers whose failures the verdict counted; 0 when `minimum_reporters` is 1.
    pub reporters: u32,
}

impl Stats {
    /// The share of failures in thousandths of a percent, rounded down; none without a call.
    pub fn failure_rate(&self) -> Option<u32> {
        share(self.failures, self.calls)
    }

    /// The share of slow calls in thousandths of a percent, rounded down; none without a call.
    pub fn slow_call_rate(&self) -> Option<u32> {
        share(self.slow_calls, self.calls)
    }
}

/// For display only: verdicts compare by cross-multiplying, so that none hangs on this rounding.
fn share(part: u32, whole: u32) -> Option<u32> {
    let rate = (u64::from(part) * 100_000).checked_div(u64::from(whole))?;
    u32::try_from(rate).ok()
}

/// Who asked for a change, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribution {
    /// Who.
    pub actor: String,
    /// Why, in the actor's words; may be empty.
    pub reason: String,
}

/// An override as an operator set it: what tells it from another one, and what is stored of it.
///
/// It ends at a time of the wall clock, or after a duration, or only when it is cleared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// What is set.
    pub kind: OverrideKind,
    /// On what.
    pub scope: Scope,
    /// When it ends by itself, by the wall clock; none: when it is cleared.
    pub expires_at: Option<Time>,
    /// How long it lasts, when it was set for a duration: the wall clock has no say then, and `expires_at` is what the
    /// end came to when it was set.
    pub ttl: Option<Duration>,
    /// Who set it.
    pub actor: String,
    /// Why, in the operator's words.
    pub reason: String,
}

/// What half-open was entered with: fixed there, so that a change of thresholds cannot move a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HalfOpenTerms {
    /// P: the probes that may be out or completed at one time.
    pub permitted: u32,
    /// `F_fail`: the failed probes that reopen.
    pub failures_to_open: u32,
    /// `F_slow`: the slow probes that reopen; none: slowness does not.
    pub slow_to_open: Option<u32>,
    /// How long a probe may be out before its place is given to another.
    pub lease: Duration,
    /// How long half-open may last from its first probe; none: until there is a verdict.
    pub max_wait: Option<Duration>,
    /// What it turns to when it lasted that long.
    pub after_max_wait: AfterMaxWait,
}

/// A breaker's state as it is kept: what comes back after a restart, and what another replica adopts.
///
/// The window is not in it: it starts empty after a restart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The number of transitions up to this state.
    pub epoch: u64,
    /// The state.
    pub state: State,
    /// How often it opened since it last closed.
    pub open_count: u32,
    /// When this state was entered, by the wall clock.
    pub entered_at: Time,
    /// OPEN: how long it stays open from `entered_at`.
    pub wait: Option<Duration>,
    /// OPEN: the `retry_after` that was honoured in `wait`.
    pub retry_after: Option<Duration>,
    /// `FORCED_OPEN`, `DISABLED`, `METRICS_ONLY`: who, why and how long.
    pub set_by: Option<Override>,
    /// `HALF_OPEN`: what it was entered with.
    pub half_open: Option<HalfOpenTerms>,
    /// The revision of the thresholds in force when the state was entered.
    pub config_revision: u64,
}

impl Snapshot {
    /// A breaker nobody has told anything yet: what the absence of a row means.
    pub fn pristine() -> Self {
        Self {
            epoch: 0,
            state: State::Closed,
            open_count: 0,
            entered_at: Time::ZERO,
            wait: None,
            retry_after: None,
            set_by: None,
            half_open: None,
            config_revision: 0,
        }
    }

    /// OPEN: how long it would wait under other thresholds, as [`crate::Breaker::set_thresholds`] makes it wait;
    /// none: it is not OPEN. `key_hash` is that of [`crate::Identity`].
    pub fn wait_under(&self, thresholds: &Thresholds, key_hash: u64) -> Option<Duration> {
        let open = self.state == State::Open;
        open.then(|| wait(thresholds, key_hash, self.epoch, self.open_count, self.retry_after))
    }

    /// OPEN: when half-open is due, by the wall clock.
    pub fn open_until(&self) -> Option<Time> {
        self.wait.map(|wait| self.entered_at + wait)
    }
}

/// How a state was entered: what is kept of the transition beside the state itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EnteredBy {
    /// The state that was left.
    pub from: State,
    /// Why.
    pub reason: Reason,
    /// What was counted in the state that was left.
    pub stats: Stats,
}

/// What is kept of the outcome that caused a transition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CausingOutcome {
    /// The class of its error; empty: it had none.
    pub error_class: String,
    /// Who reported it, by their own word; empty: nobody said.
    pub caller: String,
}

impl CausingOutcome {
    /// What is kept of this report. Only failures have an error class.
    pub(crate) fn of(report: &Report<'_>) -> Self {
        let error_class = if report.outcome == Outcome::Failure { report.error_class } else { "" };
        Self { error_class: error_class.to_owned(), caller: report.caller_name.to_owned() }
    }
}

/// One change of state, or, with `shadow`, one that METRICS_ONLY kept from happening.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state that was left.
    pub from: State,
    /// Why.
    pub reason: Reason,
    /// What was counted in the state that was left.
    pub stats: Stats,
    /// The epoch that was left; the guard of a proposal.
    pub base_epoch: u64,
    /// When it happened, by the wall clock. `after.entered_at` of the new state, and of a shadow the time of the crossing.
    pub at: Time,
    /// How long the state that was left had lasted, by the clock that the machine is given, which nobody sets; across a
    /// restart by the wall clock, and at least 0. None: not known, as of a change that an earlier version wrote down.
    pub lasted: Option<Duration>,
    /// Calls rejected in the state that was left, since it was entered, or since a restart within it.
    pub rejected_calls: u64,
    /// The outcome that caused it; none: time, an operator or another replica did.
    pub outcome: Option<CausingOutcome>,
    /// Who asked for it, and why; none: the machine itself.
    pub attribution: Option<Attribution>,
    /// The state as it now is: what the store keeps of this breaker. `after.epoch` is a proposal until
    /// it is answered ([`crate::Breaker::answered`]), where the store numbers epochs.
    pub after: Snapshot,
    /// True when nothing changed: `METRICS_ONLY` says that it would have opened.
    pub shadow: bool,
}

impl Transition {
    /// How it entered its state.
    pub fn entered_by(&self) -> EnteredBy {
        let Self { from, reason, stats, .. } = *self;
        EnteredBy { from, reason, stats }
    }

    /// The state that was entered; of a shadow, the one that would have been.
    pub fn to(&self) -> State {
        if self.shadow { State::Open } else { self.after.state }
    }

    /// The number of this change; none for a shadow, which changed nothing.
    pub fn epoch(&self) -> Option<u64> {
        (!self.shadow).then_some(self.after.epoch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_shares_of_the_calls_in_thousandths_of_a_percent() {
        let stats = Stats { calls: 3, failures: 1, slow_calls: 2, ..Stats::default() };
        assert_eq!(stats.failure_rate(), Some(33_333), "rounded down");
        assert_eq!(stats.slow_call_rate(), Some(66_666));
        let all = Stats { calls: u32::MAX, failures: u32::MAX, ..Stats::default() };
        assert_eq!((all.failure_rate(), all.slow_call_rate()), (Some(100_000), Some(0)));
        assert_eq!(Stats::default().failure_rate(), None, "there is no share of no call");
        assert_eq!(Stats::default().slow_call_rate(), None);
    }

    #[test]
    fn an_open_breaker_would_wait_as_long_as_other_thresholds_say_and_no_other_waits() {
        let waits = |state| {
            let snapshot = Snapshot { state, open_count: 1, ..Snapshot::pristine() };
            snapshot.wait_under(&Thresholds::default(), 7)
        };
        for state in State::ALL {
            assert_eq!(waits(*state), (*state == State::Open).then_some(Duration::from_mins(1)));
        }
    }
}
