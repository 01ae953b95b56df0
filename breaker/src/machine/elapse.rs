//! What the passing of time does: ends waits, overrides and half-opens, each at the moment when it was due.

use std::time::Duration;

use super::half_open::HalfOpen;
use super::phase::{Cause, Next, Phase};
use super::{ActiveOverride, Breaker};
use crate::mix;
use crate::state::Reason;
use crate::thresholds::AfterMaxWait;
use crate::time::Time;
use crate::transition::Transition;

/// The most changes that one look makes. At most two are ever due at once: half-open lasted too long, and the wait after it
/// is over too (there half-open waits for its first probe); or an override ended, and that of the service is there. A third
/// would be left to the next look.
const DUE_AT_ONCE_MAX: usize = 2;

impl Breaker {
    /// Lets the time that passed take effect, and nothing else.
    pub fn poll(&mut self, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let transitions = self.advance(now);
        self.age(now);
        transitions
    }

    /// When a look is due next, as time alone changes the state then, or has probes go back to the store; none: never.
    pub fn next_deadline(&self) -> Option<Time> {
        let stock = self.half_open_of_row().and_then(HalfOpen::stock_deadline);
        if let Some(own) = self.branch() {
            return own.next_deadline();
        }
        if let Some(at) = self.branches_at() {
            return Some(at);
        }
        let staggered = self.state_deadline().map(|deadline| deadline + self.held_back());
        staggered.into_iter().chain(stock).min()
    }

    /// For how long what time alone brings about in this epoch is left to another replica ([`super::Identity::stagger`]).
    fn held_back(&self) -> Duration {
        let drawn = u128::from(mix(self.salt ^ mix(self.key_hash ^ self.epoch)));
        let part = (drawn * u128::from(self.stagger_ms) * 1_000) >> u64::BITS;
        Duration::from_micros(u64::try_from(part).unwrap_or(0))
    }

    /// When time alone will change the state next; none: never.
    fn state_deadline(&self) -> Option<Time> {
        if self.proposed().is_some() {
            return None;
        }
        match &self.phase {
            Phase::Closed(_) | Phase::HalfOpenRestored(_) => None,
            Phase::Open(open) => Some(self.entered_at + open.wait),
            Phase::HalfOpen(half_open) => half_open.deadline(),
            Phase::Overridden(active) => self.end_of(active),
            Phase::MetricsOnly(metrics_only) => self.end_of(&metrics_only.set_by),
        }
    }

    pub(super) fn advance(&mut self, now: Time) -> Vec<Transition> {
        if let Some(transitions) = self.advance_branch(now) {
            return transitions;
        }
        (0..DUE_AT_ONCE_MAX).map_while(|_| self.elapse(now)).collect()
    }

    /// Lets go of what has left the window, and of probes that wait for a call no longer.
    pub(super) fn age(&mut self, now: Time) {
        if let Some(own) = self.branch_mut() {
            own.age(now);
        }
        match &mut self.phase {
            Phase::Closed(tally) => tally.advance(now),
            Phase::MetricsOnly(metrics_only) => metrics_only.tally.advance(now),
            _ => {}
        }
        if let Some(half_open) = self.half_open_of_row_mut() {
            half_open.age(now);
        }
    }

    /// Whether the next look at `now` changes the state: the passing of time does, or an override of its service that it
    /// has not taken up yet.
    pub fn is_due(&self, now: Time) -> bool {
        let now = now.max(self.last_now);
        match self.branch() {
            Some(own) => own.due(now).is_some(),
            None => self.branches_at().is_some_and(|at| at <= now) || self.due(now).is_some(),
        }
    }

    /// Makes the next change that is due.
    fn elapse(&mut self, now: Time) -> Option<Transition> {
        let (next, cause, at) = self.due(now)?;
        Some(self.enter(next, cause, at))
    }

    /// The next change that the passing of time makes, why, and when it was due.
    fn due(&self, now: Time) -> Option<(Next, Cause, Time)> {
        if self.proposed().is_some() {
            return None;
        }
        if self.service.is_some()
            && self.override_in_force().is_none()
            && let Some(service) = self.service_at(now)
        {
            let cause = Cause::by_operator(Reason::OverrideSet, service.attribution());
            return Some((Next::Override(service), cause, now));
        }
        if matches!(self.phase, Phase::Closed(_)) {
            return None;
        }
        if matches!(self.phase, Phase::HalfOpenRestored(_)) {
            return Some((Next::HalfOpen, Cause::own(Reason::Restart), now));
        }
        let due = self.state_deadline().filter(|due| *due + self.held_back() <= now)?;
        let (next, reason) = match &self.phase {
            Phase::Open(_) => (Next::HalfOpen, Reason::WaitElapsed),
            Phase::HalfOpen(half_open) => match half_open.terms().after_max_wait {
                AfterMaxWait::Open => (Next::Open { retry_after: None }, Reason::HalfOpenTimeout),
                AfterMaxWait::Closed => (Next::Closed, Reason::HalfOpenTimeout),
            },
            _ => (Next::Closed, Reason::OverrideExpired),
        };
        // An override may be set with an end that is past; it does not end before it began.
        Some((next, Cause::own(reason), due.max(self.entered_at)))
    }

    /// When an override ends by itself, on the monotonic clock; none: when it is cleared, or when its service has it no more. One
    /// whose end was moved into the past by a wall clock that was set ends at that moment: until then it was in force.
    fn end_of(&self, active: &ActiveOverride) -> Option<Time> {
        if active.ends_by_store() {
            return None;
        }
        let end = active.ends_at(self.wall)?;
        Some(if active.follows_wall_clock() { end.max(self.wall_set_at) } else { end })
    }
}
