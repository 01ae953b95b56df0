//! What an operator does to a breaker.
//!
//! A change is in the outbox before anybody is told of it, like every other.

use breaker::{Asked, Override, Time, Transition, WrongState};

use super::Engine;
use super::calls::EngineError;
use super::entry::{BreakerView, Entry, Inner};
use super::shares::Creator;

/// What became of it.
#[derive(Debug, Clone)]
pub struct ByHand {
    /// The breaker as it now is.
    pub breaker: BreakerView,
    /// Whether it changed anything: the same override again does not.
    pub changed: bool,
}

/// Why nothing was done; what time alone had changed meanwhile stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByHandError {
    /// The breaker cannot be created.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such breaker.
    #[error("there is no such breaker")]
    NotThere,
    /// Not in this state.
    #[error(transparent)]
    WrongState(#[from] WrongState),
}

impl Engine {
    /// Sets a state by hand. The breaker is created if need be, and counts for `creator` then; the same override again
    /// is no change.
    ///
    /// # Errors
    /// [`ByHandError::Engine`].
    pub fn set_override(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        set_by: Override,
        now: Time,
    ) -> Result<ByHand, ByHandError> {
        let id = self.seals.key_id(service, name);
        let owner = || self.owner(service, creator);
        let set = self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
            self.sync_wall(inner);
            let transitions = inner.breaker.set_override(set_by, now);
            self.done(entry, inner, &transitions, now)
        })?;
        Ok(set)
    }

    /// Takes a breaker's own override back: closed, and clean; or in its service's, if that has one.
    ///
    /// # Errors
    /// [`ByHandError::NotThere`]; [`ByHandError::WrongState`] when it has none of its own.
    pub fn clear_override(
        &self,
        service: &str,
        name: &str,
        by: Asked,
        now: Time,
    ) -> Result<ByHand, ByHandError> {
        self.by_hand(service, name, now, |inner| inner.breaker.clear_override(by, now))
    }

    /// Makes a breaker closed, and clean, whatever it was.
    ///
    /// # Errors
    /// [`ByHandError::NotThere`]; [`ByHandError::WrongState`] while its service has an override.
    pub fn reset(&self, service: &str, name: &str, by: Asked, now: Time) -> Result<ByHand, ByHandError> {
        self.by_hand(service, name, now, |inner| inner.breaker.reset(by, now))
    }

    /// Makes an open breaker half-open now.
    ///
    /// # Errors
    /// [`ByHandError::NotThere`]; [`ByHandError::WrongState`] when it is not open.
    pub fn probe(&self, service: &str, name: &str, by: Asked, now: Time) -> Result<ByHand, ByHandError> {
        self.by_hand(service, name, now, |inner| inner.breaker.probe(by, now))
    }

    fn by_hand(
        &self,
        service: &str,
        name: &str,
        now: Time,
        act: impl FnOnce(&mut Inner) -> (Result<(), WrongState>, Vec<Transition>),
    ) -> Result<ByHand, ByHandError> {
        let id = self.seals.key_id(service, name);
        let acted = self.registry.with_known(id, |entry, inner| {
            self.sync_wall(inner);
            let (acted, transitions) = act(inner);
            let done = self.done(entry, inner, &transitions, now);
            acted.map(|()| done)
        });
        Ok(acted.ok_or(ByHandError::NotThere)??)
    }

    fn done(&self, entry: &Entry, inner: &mut Inner, transitions: &[Transition], now: Time) -> ByHand {
        self.settle(entry, inner, transitions);
        let changed = transitions.iter().any(|transition| transition.asked.is_some());
        ByHand { breaker: self.show(entry, inner, now), changed }
    }
}
