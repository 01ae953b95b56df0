//! The probes of one half-open: who holds which slot, and the verdict that their outcomes make.
//!
//! P slots. A probe takes a slot under a lease; its outcome completes the slot for good, being ignored or
//! running out of its lease frees it. So at any instant unexpired probes + completed <= P, and a caller that
//! died does not jam the breaker (resilience4j's probes that leak).
//!
//! These are the rules for one process and for many. A breaker that numbers its own epochs asks the [`Probes`] that it
//! holds itself; where the store numbers them, the store keeps the slots in rows, makes [`Probes`] of them under its locks,
//! asks the same, and writes back what changed.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::outcome::{Probe, Recorded};
use crate::state::{Reason, State};
use crate::thresholds::Judged;
use crate::time::Time;
use crate::transition::{HalfOpenTerms, Stats};

/// How long a denied caller is told to wait at the most: a slot may come free earlier than its lease says.
pub const PROBE_RETRY_AFTER_MAX: Duration = Duration::from_secs(1);

/// The slots of one epoch in half-open, and what came of those that are completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probes {
    terms: HalfOpenTerms,
    /// When the first probe was given; the maximal wait counts from here.
    first_probe_at: Option<Time>,
    /// The slots used so far, at most P.
    slots: Vec<ProbeSlot>,
    counts: ProbeCounts,
}

/// A slot of half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeSlot {
    /// Nobody holds it.
    Free,
    /// It was given, under a lease.
    Out {
        /// Whose it is.
        nonce: u64,
        /// Until when; from then on it may be given to another.
        lease_until: Time,
    },
    /// Its probe is done, and it is not given again.
    Completed {
        /// Whose it was: a repeat of its outcome is known by it.
        nonce: u64,
        /// What came of it.
        outcome: ProbeOutcome,
        /// It was so many completions after the first one, which orders them.
        order: u32,
    },
}

/// A slot that was given to a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GivenSlot {
    /// The probe, and its slot.
    pub probe: Probe,
    /// The nonce of the probe that held the slot until its lease ended: its outcome did not come in time. None: nobody held it.
    pub timed_out: Option<u64>,
}

/// What the outcome of a probe counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProbeOutcome {
    /// As a failure.
    pub failed: bool,
    /// As a slow call.
    pub slow: bool,
}

impl ProbeOutcome {
    /// What an outcome counts as; none: it is ignored.
    pub(crate) fn of(judged: Judged) -> Option<Self> {
        match judged {
            Judged::Ignored => None,
            Judged::Counted { failed, slow } => Some(Self { failed, slow }),
        }
    }
}

/// What became of a probe's outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeSettled {
    /// It counted; an ignored one freed its slot.
    Recorded,
    /// It was reported before.
    Duplicate,
    /// It no longer holds its slot.
    Late,
}

impl From<ProbeSettled> for Recorded {
    fn from(settled: ProbeSettled) -> Self {
        match settled {
            ProbeSettled::Recorded => Self::Recorded,
            ProbeSettled::Duplicate => Self::Duplicate,
            ProbeSettled::Late => Self::Late,
        }
    }
}

/// What was counted of the probes that are completed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProbeCounts {
    /// Probes that are completed.
    pub completed: u32,
    /// Failures among them.
    pub failures: u32,
    /// Slow ones among them.
    pub slow: u32,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Successes since the last failure.
    pub consecutive_successes: u32,
}

impl ProbeCounts {
    fn add(&mut self, outcome: ProbeOutcome) {
        self.completed += 1;
        self.failures += u32::from(outcome.failed);
        self.slow += u32::from(outcome.slow);
        if outcome.failed {
            self.consecutive_failures += 1;
            self.consecutive_successes = 0;
        } else {
            self.consecutive_successes += 1;
            self.consecutive_failures = 0;
        }
    }

    /// As they are shown, and kept with a transition.
    pub fn stats(&self) -> Stats {
        Stats {
            consecutive_failures: self.consecutive_failures,
            consecutive_successes: self.consecutive_successes,
            calls: self.completed,
            failures: self.failures,
            slow_calls: self.slow,
            reporters: 0,
        }
    }
}

impl ProbeSlot {
    fn is_out(self, now: Time) -> bool {
        matches!(self, Self::Out { lease_until, .. } if now < lease_until)
    }

    fn can_be_given(self, now: Time) -> bool {
        !matches!(self, Self::Completed { .. }) && !self.is_out(now)
    }
}

impl Probes {
    /// Half-open as it is entered: every slot is free.
    pub fn new(terms: HalfOpenTerms) -> Self {
        Self { terms, first_probe_at: None, slots: Vec::new(), counts: ProbeCounts::default() }
    }

    /// Half-open as it was kept: the slots in their order, of which those beyond P are left out.
    pub fn restored(terms: HalfOpenTerms, first_probe_at: Option<Time>, mut slots: Vec<ProbeSlot>) -> Self {
        slots.truncate(terms.permitted as usize);
        let mut completed: Vec<_> = slots
            .iter()
            .filter_map(|slot| match slot {
                ProbeSlot::Completed { outcome, order, .. } => Some((*order, *outcome)),
                ProbeSlot::Free | ProbeSlot::Out { .. } => None,
            })
            .collect();
        completed.sort_unstable_by_key(|(order, _)| *order);
        let mut counts = ProbeCounts::default();
        for (_, outcome) in completed {
            counts.add(outcome);
        }
        Self { terms, first_probe_at, slots, counts }
    }

    /// What half-open was entered with.
    pub fn terms(&self) -> HalfOpenTerms {
        self.terms
    }

    /// When the first probe was given; none: none was.
    pub fn first_probe_at(&self) -> Option<Time> {
        self.first_probe_at
    }

    /// The slots used so far, in their order; the rest of P are free.
    pub fn slots(&self) -> &[ProbeSlot] {
        &self.slots
    }

    /// What was counted.
    pub fn counts(&self) -> ProbeCounts {
        self.counts
    }

    /// When the maximal wait is over, if there is one and it has begun.
    pub fn deadline(&self) -> Option<Time> {
        Some(self.first_probe_at? + self.terms.max_wait?)
    }

    /// A slot for a probe, under a lease from `now`. The nonce of a slot that is out gets that slot, and no longer lease:
    /// a claim whose answer was lost may be sent again.
    ///
    /// A probe times out here, when another takes its slot, and not when its lease ends: until then an outcome that was reported
    /// before that moment, and comes later, still counts.
    ///
    /// # Errors
    /// How long until a slot may be free, at most [`PROBE_RETRY_AFTER_MAX`].
    pub fn claim(&mut self, nonce: u64, now: Time) -> Result<GivenSlot, Duration> {
        let holds = |slot: &ProbeSlot| {
            matches!(slot, ProbeSlot::Out { nonce: holder, .. } if *holder == nonce) && slot.is_out(now)
        };
        if let Some(slot) = self.slots.iter().position(holds) {
            return Ok(GivenSlot { probe: probe(slot, nonce), timed_out: None });
        }
        let slot = match self.slots.iter().position(|slot| slot.can_be_given(now)) {
            Some(slot) => slot,
            None if self.slots.len() < self.terms.permitted as usize => {
                self.slots.push(ProbeSlot::Free);
                self.slots.len() - 1
            }
            None => return Err(self.retry_after(now)),
        };
        let given = ProbeSlot::Out { nonce, lease_until: now + self.terms.lease };
        let timed_out = match std::mem::replace(&mut self.slots[slot], given) {
            ProbeSlot::Out { nonce, .. } => Some(nonce),
            ProbeSlot::Free | ProbeSlot::Completed { .. } => None,
        };
        self.first_probe_at.get_or_insert(now);
        Ok(GivenSlot { probe: probe(slot, nonce), timed_out })
    }

    /// Gives a probe's slot back; false when it no longer holds one.
    pub fn release(&mut self, probe: Probe, now: Time) -> bool {
        let held = self.held(probe, now);
        if let Some(slot) = held {
            *slot = ProbeSlot::Free;
            return true;
        }
        false
    }

    /// Gives the slots back that are out under these nonces, whichever they are; those that have none hold none.
    pub fn release_nonces(&mut self, nonces: &BTreeSet<u64>) {
        for slot in &mut self.slots {
            if matches!(slot, ProbeSlot::Out { nonce, .. } if nonces.contains(nonce)) {
                *slot = ProbeSlot::Free;
            }
        }
    }

    /// Completes a probe's slot, or frees it if its outcome is ignored (none).
    pub fn settle(&mut self, probe: Probe, outcome: Option<ProbeOutcome>, now: Time) -> ProbeSettled {
        let order = self.counts.completed;
        let is_repeat = matches!(
            self.slots.get(usize::from(probe.slot)),
            Some(ProbeSlot::Completed { nonce, .. }) if *nonce == probe.nonce
        );
        if is_repeat {
            return ProbeSettled::Duplicate;
        }
        let Some(held) = self.held(probe, now) else { return ProbeSettled::Late };
        let Some(outcome) = outcome else {
            *held = ProbeSlot::Free;
            return ProbeSettled::Recorded;
        };
        *held = ProbeSlot::Completed { nonce: probe.nonce, outcome, order };
        self.counts.add(outcome);
        ProbeSettled::Recorded
    }

    /// Opens when either figure is reached, closes when neither can be any more.
    pub fn verdict(&self) -> Option<(State, Reason)> {
        let ProbeCounts { completed, failures, slow, .. } = self.counts;
        if failures >= self.terms.failures_to_open {
            return Some((State::Open, Reason::ProbesFailed));
        }
        if self.terms.slow_to_open.is_some_and(|limit| slow >= limit) {
            return Some((State::Open, Reason::ProbesSlow));
        }
        let left = self.terms.permitted.saturating_sub(completed);
        let may_fail = failures + left >= self.terms.failures_to_open;
        let may_be_slow = self.terms.slow_to_open.is_some_and(|limit| slow + left >= limit);
        (!may_fail && !may_be_slow).then_some((State::Closed, Reason::ProbesSucceeded))
    }

    /// Probes that are out under a lease.
    pub fn out(&self, now: Time) -> u32 {
        let out = self.slots.iter().filter(|slot| slot.is_out(now)).count();
        u32::try_from(out).unwrap_or(u32::MAX)
    }

    fn held(&mut self, probe: Probe, now: Time) -> Option<&mut ProbeSlot> {
        self.slots.get_mut(usize::from(probe.slot)).filter(|slot| match slot {
            ProbeSlot::Out { nonce, lease_until } => *nonce == probe.nonce && now < *lease_until,
            ProbeSlot::Free | ProbeSlot::Completed { .. } => false,
        })
    }

    fn retry_after(&self, now: Time) -> Duration {
        self.slots
            .iter()
            .filter_map(|slot| match slot {
                ProbeSlot::Out { lease_until, .. } => Some(lease_until.since(now)),
                ProbeSlot::Free | ProbeSlot::Completed { .. } => None,
            })
            .min()
            .map_or(PROBE_RETRY_AFTER_MAX, |rest| rest.min(PROBE_RETRY_AFTER_MAX))
    }
}

fn probe(slot: usize, nonce: u64) -> Probe {
    // Slots are at most P, and P at most 1000.
    Probe { slot: u16::try_from(slot).unwrap_or(u16::MAX), nonce }
}
