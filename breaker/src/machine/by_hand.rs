//! What an operator may do to a breaker.

use super::Breaker;
use super::phase::{Cause, Next, Phase};
use crate::state::{Asked, Override, Reason, State, Transition};
use crate::time::Time;

/// What an operator asked for, and cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongState {
    /// The state the breaker is in.
    pub state: State,
    /// The state it would have to be in.
    pub needed: &'static str,
}

impl std::fmt::Display for WrongState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the breaker is {}, and must be {} for this", self.state, self.needed)
    }
}

impl std::error::Error for WrongState {}

impl Breaker {
    /// Sets a state by hand. The same override again is no change.
    pub fn set_override(&mut self, set_by: Override, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if self.override_in_force() != Some(&set_by) {
            let by = Asked { actor: set_by.actor.clone(), reason: set_by.reason.clone() };
            let cause = Cause::asked(Reason::OverrideSet, by);
            transitions.push(self.enter(Next::Override(set_by), cause, now));
        }
        transitions
    }

    /// Takes an override back: closed, and clean.
    ///
    /// # Errors
    /// [`WrongState`] when there is none; the transitions that time alone caused come with it.
    pub fn clear_override(&mut self, by: Asked, now: Time) -> (Result<(), WrongState>, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if self.override_in_force().is_none() {
            let needed = "FORCED_OPEN, DISABLED or METRICS_ONLY";
            return (Err(WrongState { state: self.state(), needed }), transitions);
        }
        transitions.push(self.enter(Next::Closed, Cause::asked(Reason::OverrideCleared, by), now));
        (Ok(()), transitions)
    }

    /// Closed, and clean, whatever it was.
    pub fn reset(&mut self, by: Asked, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        transitions.push(self.enter(Next::Closed, Cause::asked(Reason::Reset, by), now));
        transitions
    }

    /// Half-open now, without waiting any longer.
    ///
    /// # Errors
    /// [`WrongState`] when it is not OPEN; the transitions that time alone caused come with it.
    pub fn probe(&mut self, by: Asked, now: Time) -> (Result<(), WrongState>, Vec<Transition>) {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if !matches!(self.phase, Phase::Open(_)) || self.proposed.is_some() {
            return (Err(WrongState { state: self.state(), needed: "OPEN" }), transitions);
        }
        transitions.push(self.enter(Next::HalfOpen, Cause::asked(Reason::ProbeRequested, by), now));
        (Ok(()), transitions)
    }
}
