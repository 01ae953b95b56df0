//! Half-open: a few probes, and the verdict that their outcomes make.
//!
//! P places. A probe takes a place under a lease; its outcome completes the place for good, being ignored or
//! running out of its lease frees it. So at any instant unexpired probes + completed <= P, and a caller that
//! died does not jam the breaker (resilience4j's probes that leak).

use std::time::Duration;

use crate::outcome::Probe;
use crate::state::{Reason, State};
use crate::time::Time;
use crate::transition::{HalfOpenTerms, Stats};

/// How long a denied caller is told to wait at the most: a place may come free earlier than its lease says.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Clone)]
pub(crate) struct HalfOpen {
    terms: HalfOpenTerms,
    /// When the first probe was given; the maximal wait counts from here.
    first_probe_at: Option<Time>,
    /// The places used so far, at most P.
    slots: Vec<ProbeSlot>,
    completed: u32,
    failures: u32,
    slow: u32,
    consecutive_failures: u32,
    consecutive_successes: u32,
}

#[derive(Debug, Clone, Copy)]
enum ProbeSlot {
    Free,
    Out { nonce: u64, lease_until: Time },
    Completed,
}

impl ProbeSlot {
    fn is_out(self, now: Time) -> bool {
        matches!(self, Self::Out { lease_until, .. } if now < lease_until)
    }

    fn can_be_given(self, now: Time) -> bool {
        !matches!(self, Self::Completed) && !self.is_out(now)
    }
}

impl HalfOpen {
    pub(crate) fn new(terms: HalfOpenTerms) -> Self {
        Self {
            terms,
            first_probe_at: None,
            slots: Vec::new(),
            completed: 0,
            failures: 0,
            slow: 0,
            consecutive_failures: 0,
            consecutive_successes: 0,
        }
    }

    pub(crate) fn terms(&self) -> HalfOpenTerms {
        self.terms
    }

    /// Counts every place as out with somebody unknown, for a lease from `now`.
    pub(crate) fn presume_out(&mut self, now: Time) {
        let lease_until = now + self.terms.lease;
        // No probe has the nonce 0.
        self.slots = vec![ProbeSlot::Out { nonce: 0, lease_until }; self.terms.permitted as usize];
        self.first_probe_at = Some(now);
    }

    /// When the maximal wait is over, if there is one and it has begun.
    pub(crate) fn deadline(&self) -> Option<Time> {
        Some(self.first_probe_at? + self.terms.max_wait?)
    }

    /// A place for a probe, or how long until one may be free.
    pub(crate) fn give(&mut self, nonce: u64, now: Time) -> Result<Probe, Duration> {
        let slot = match self.slots.iter().position(|slot| slot.can_be_given(now)) {
            Some(slot) => slot,
            None if self.slots.len() < self.terms.permitted as usize => {
                self.slots.push(ProbeSlot::Free);
                self.slots.len() - 1
            }
            None => return Err(self.retry_after(now)),
        };
        self.slots[slot] = ProbeSlot::Out { nonce, lease_until: now + self.terms.lease };
        self.first_probe_at.get_or_insert(now);
        // Places are at most P, and P at most 1000.
        Ok(Probe { slot: u16::try_from(slot).unwrap_or(u16::MAX), nonce })
    }

    /// Gives a probe's place back; false when it no longer holds one.
    pub(crate) fn release(&mut self, probe: Probe, now: Time) -> bool {
        let held = self.held(probe, now);
        if let Some(slot) = held {
            *slot = ProbeSlot::Free;
            return true;
        }
        false
    }

    /// Completes a probe's place; false when it no longer holds one.
    pub(crate) fn complete(&mut self, probe: Probe, failed: bool, slow: bool, now: Time) -> bool {
        let Some(held) = self.held(probe, now) else {
            return false;
        };
        *held = ProbeSlot::Completed;
        self.completed += 1;
        self.failures += u32::from(failed);
        self.slow += u32::from(slow);
        if failed {
            self.consecutive_failures += 1;
            self.consecutive_successes = 0;
        } else {
            self.consecutive_successes += 1;
            self.consecutive_failures = 0;
        }
        true
    }

    /// Opens when either figure is reached, closes when neither can be any more.
    pub(crate) fn verdict(&self) -> Option<(State, Reason)> {
        if self.failures >= self.terms.failures_to_open {
            return Some((State::Open, Reason::ProbesFailed));
        }
        if self.terms.slow_to_open.is_some_and(|limit| self.slow >= limit) {
            return Some((State::Open, Reason::ProbesSlow));
        }
        let left = self.terms.permitted - self.completed;
        let may_fail = self.failures + left >= self.terms.failures_to_open;
        let may_be_slow = self.terms.slow_to_open.is_some_and(|limit| self.slow + left >= limit);
        (!may_fail && !may_be_slow).then_some((State::Closed, Reason::ProbesSucceeded))
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats {
            consecutive_failures: self.consecutive_failures,
            consecutive_successes: self.consecutive_successes,
            calls: self.completed,
            failures: self.failures,
            slow_calls: self.slow,
            reporters: 0,
        }
    }

    /// Probes that are out under a lease.
    pub(crate) fn out(&self, now: Time) -> u32 {
        let out = self.slots.iter().filter(|slot| slot.is_out(now)).count();
        u32::try_from(out).unwrap_or(u32::MAX)
    }

    fn held(&mut self, probe: Probe, now: Time) -> Option<&mut ProbeSlot> {
        self.slots.get_mut(usize::from(probe.slot)).filter(|slot| match slot {
            ProbeSlot::Out { nonce, lease_until } => *nonce == probe.nonce && now < *lease_until,
            ProbeSlot::Free | ProbeSlot::Completed => false,
        })
    }

    fn retry_after(&self, now: Time) -> Duration {
        self.slots
            .iter()
            .filter_map(|slot| match slot {
                ProbeSlot::Out { lease_until, .. } => Some(lease_until.since(now)),
                ProbeSlot::Free | ProbeSlot::Completed => None,
            })
            .min()
            .map_or(RETRY_AFTER_MAX, |rest| rest.min(RETRY_AFTER_MAX))
    }
}
