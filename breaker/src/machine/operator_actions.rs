//! What an operator may do to a breaker.

use std::sync::Arc;
use std::time::Duration;

use super::phase::{Cause, Next, Phase};
use super::{ActiveOverride, Breaker, Numbering};
use crate::state::{Reason, Scope, State};
use crate::time::Time;
use crate::transition::{Attribution, Override, Transition};

/// What an operator asked for, and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongState {
    /// The state the breaker is in.
    pub state: State,
    /// The state it would have to be in.
    pub needed: Needed,
}

/// What a breaker would have to be in for what an operator asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needed {
    /// OPEN.
    Open,
    /// An override.
    Override,
    /// An override of its own: it is in that of its service.
    OwnOverride,
    /// No override of its service.
    NoServiceOverride,
    /// No FORCED_OPEN that another operator set meanwhile.
    NoNewForcedOpen,
}

impl Needed {
    /// In words, to follow "requires".
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "OPEN",
            Self::Override => "FORCED_OPEN, DISABLED or METRICS_ONLY",
            Self::OwnOverride => "an override of the breaker itself",
            Self::NoServiceOverride => "no service-wide override",
            Self::NoNewForcedOpen => "no FORCED_OPEN that was set at the same time",
        }
    }
}

impl std::fmt::Display for WrongState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "breaker is {}: operation requires {}", self.state, self.needed.as_str())
    }
}

impl std::error::Error for WrongState {}

impl Breaker {
    /// Sets a state by hand. The same override again is no change.
    pub fn set_override(&mut self, set_by: Override, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if self.override_in_force().is_none_or(|active| active.set_by != set_by) {
            let active = ActiveOverride::new(set_by, self.wall, now);
            transitions.push(self.take_up(Arc::new(active), now));
        }
        transitions
    }

    /// Takes its own override back: closed, and clean; or in its service's, if that has one.
    ///
    /// # Errors
    /// [`WrongState`] when it has none of its own; the transitions that time alone caused come with it.
    pub fn clear_override(
        &mut self,
        by: Attribution,
        now: Time,
    ) -> (Result<(), WrongState>, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        let needed = match self.override_in_force().map(|active| active.set_by.scope) {
            None => Needed::Override,
            Some(Scope::Service) => Needed::OwnOverride,
            Some(Scope::Breaker) => {
                transitions.push(self.enter(
                    Next::Closed,
                    Cause::by_operator(Reason::OverrideCleared, by),
                    now,
                ));
                transitions.extend(self.advance(now));
                return (Ok(()), transitions);
            }
        };
        (Err(WrongState { state: self.state(), needed }), transitions)
    }

    /// Closed, and clean, whatever it was.
    ///
    /// # Errors
    /// [`WrongState`] while its service has an override; the transitions that time alone caused come with it.
    pub fn reset(&mut self, by: Attribution, now: Time) -> (Result<(), WrongState>, Vec<Transition>) {
        self.close(Reason::Reset, by, now)
    }

    /// Closed, and clean, whatever it was, before it is retired: outcomes of what it allowed are late from here on.
    ///
    /// # Errors
    /// As [`Breaker::reset`].
    pub fn delete(&mut self, by: Attribution, now: Time) -> (Result<(), WrongState>, Vec<Transition>) {
        self.close(Reason::Deleted, by, now)
    }

    /// Closes a half-open breaker that was entered `idle` ago or earlier and has no probe out: nobody seems to want it any
    /// more, and half-open has no end of its own. A waiting OPEN turns half-open first; nothing else changes.
    pub fn close_idle(&mut self, idle: Duration, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        let is_idle = match &self.phase {
            Phase::HalfOpen(half_open) => now.since(self.entered_at) >= idle && half_open.out(now) == 0,
            _ => false,
        };
        if is_idle && self.proposed().is_none() && self.branch().is_none() {
            transitions.push(self.enter(Next::Closed, Cause::own(Reason::Idle), now));
        }
        transitions
    }

    fn close(
        &mut self,
        reason: Reason,
        by: Attribution,
        now: Time,
    ) -> (Result<(), WrongState>, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        let inherited = self.override_in_force().is_some_and(|active| active.set_by.scope == Scope::Service);
        if inherited || self.service_at(now).is_some() {
            return (Err(WrongState { state: self.state(), needed: Needed::NoServiceOverride }), transitions);
        }
        transitions.push(self.enter(Next::Closed, Cause::by_operator(reason, by), now));
        (Ok(()), transitions)
    }

    /// Half-open now, without waiting any longer.
    ///
    /// # Errors
    /// [`WrongState`] when it is not OPEN; the transitions that time alone caused come with it.
    pub fn probe(&mut self, by: Attribution, now: Time) -> (Result<(), WrongState>, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if !matches!(self.phase, Phase::Open(_)) || self.proposed().is_some() {
            return (Err(WrongState { state: self.state(), needed: Needed::Open }), transitions);
        }
        transitions.push(self.enter(Next::HalfOpen, Cause::by_operator(Reason::ProbeRequested, by), now));
        (Ok(()), transitions)
    }

    /// Tells a breaker that was just born, or has just come back, the override of its service. A newborn is in it
    /// from birth, which is no transition; one that came back in another state takes it up at the first look.
    pub fn inherit(&mut self, service: Option<Arc<ActiveOverride>>, now: Time) {
        self.service = service;
        let Some(service) = self.service_at(now) else { return };
        let same = |active: &ActiveOverride| active.set_by == service.set_by;
        if self.is_pristine() || self.override_in_force().is_some_and(same) {
            self.phase = self.overridden(service);
        }
    }

    /// The override of its service is another one, or none, from now on; `by` took it back, if it is none. A breaker
    /// with an override of its own only takes note of it.
    pub fn set_service_override(
        &mut self,
        service: Option<Arc<ActiveOverride>>,
        by: &Attribution,
        now: Time,
    ) -> Vec<Transition> {
        let now = self.clock(now);
        if self.numbering == Numbering::Store {
            // What it knew so far may be over, and must not be proposed as what it is told now.
            self.service = None;
        }
        let mut transitions = self.advance(now);
        self.service = service;
        let present = self.service_at(now);
        match (self.override_in_force(), present) {
            (Some(own), _) if own.set_by.scope == Scope::Breaker => {}
            (None, None) => {}
            (Some(inherited), Some(service)) if inherited.set_by == service.set_by => {}
            (_, Some(service)) => transitions.push(self.take_up(service, now)),
            (Some(_), None) => {
                let cause = Cause::by_operator(Reason::OverrideCleared, by.clone());
                transitions.push(self.enter(Next::Closed, cause, now));
            }
        }
        transitions
    }

    /// The revision that set the override of its service, as far as it was told; 0: there is none, or that is not known.
    pub fn service_revision(&self) -> u64 {
        self.service.as_ref().map_or(0, |service| service.revision())
    }

    /// The override of its service that is in force at `now`.
    pub(super) fn service_at(&self, now: Time) -> Option<Arc<ActiveOverride>> {
        let service = self.service.as_ref()?;
        service.is_active(self.wall, now).then(|| Arc::clone(service))
    }

    pub(super) fn take_up(&mut self, active: Arc<ActiveOverride>, now: Time) -> Transition {
        let by = active.attribution();
        self.enter(Next::Override(active), Cause::by_operator(Reason::OverrideSet, by), now)
    }
}
