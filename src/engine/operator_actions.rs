//! What an operator does to a breaker.
//!
//! A change is in the outbox before anybody is told of it, like every other.

use breaker::{Attribution, Override, State, Time, Transition, WrongState};

use super::Engine;
use super::entry::{BreakerView, Entry, Inner};
use super::limits::EngineError;
use super::registry::Known;
use super::shares::Creator;

/// What became of it.
#[derive(Debug, Clone)]
pub struct OperatorResult {
    /// The breaker as it now is.
    pub breaker: BreakerView,
    /// Whether it changed anything: the same override again does not.
    pub changed: bool,
}

/// What to do with a breaker of which nothing is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// Create it.
    Create,
    /// Refuse it: whoever names it has probably made a slip.
    Refuse,
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deleted {
    /// The epoch that is left of the breaker.
    pub epoch: u64,
    /// Whether it changed anything: there was a breaker to delete.
    pub changed: bool,
}

/// Why nothing was done; what time alone had changed meanwhile stands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OperatorError {
    /// The breaker cannot be created.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such breaker.
    #[error("breaker not found")]
    NotThere,
    /// Not in this state.
    #[error(transparent)]
    WrongState(#[from] WrongState),
}

impl Engine {
    /// Sets a state by hand; the same override again is no change. A breaker that is not in use is created, and counts for
    /// `creator`; one that is not known either, neither retired nor configured, only if it is to be.
    ///
    /// # Errors
    /// [`OperatorError::NotThere`] when it is not known and not to be created; [`OperatorError::Engine`].
    pub fn set_override(
        &self,
        creator: Creator<'_>,
        unknown: Unknown,
        service: &str,
        name: &str,
        set_by: Override,
        now: Time,
    ) -> Result<OperatorResult, OperatorError> {
        let id = self.seals.key_id(service, name);
        let is_known = || self.registry.known(id).is_some() || self.is_configured(service, name);
        if unknown == Unknown::Refuse && !is_known() {
            return Err(OperatorError::NotThere);
        }
        let owner = || self.owner(service, creator);
        let set = self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
            self.sync_wall(inner);
            self.settle_branch(entry, inner, now);
            let transitions = inner.breaker.set_override(set_by, now);
            self.done(entry, inner, &transitions, now)
        })?;
        Ok(set)
    }

    /// Takes a breaker's own override back: closed, and clean; or in its service's, if that has one.
    ///
    /// # Errors
    /// [`OperatorError::NotThere`]; [`OperatorError::WrongState`] when it has none of its own.
    pub fn clear_override(
        &self,
        service: &str,
        name: &str,
        by: Attribution,
        now: Time,
    ) -> Result<OperatorResult, OperatorError> {
        self.operate(service, name, now, |inner| inner.breaker.clear_override(by, now))
    }

    /// Makes a breaker closed, and clean, whatever it was.
    ///
    /// # Errors
    /// [`OperatorError::NotThere`]; [`OperatorError::WrongState`] while its service has an override.
    pub fn reset(
        &self,
        service: &str,
        name: &str,
        by: Attribution,
        now: Time,
    ) -> Result<OperatorResult, OperatorError> {
        self.operate(service, name, now, |inner| inner.breaker.reset(by, now))
    }

    /// Deletes a breaker: closed, and clean, whatever it was, and retired as soon as the store has that, unless it is used
    /// again before ([`Engine::retire_deleted`], or the next sweep). Of one that is retired there is nothing left to
    /// delete, nor of a configured one that has not been used.
    ///
    /// # Errors
    /// [`OperatorError::NotThere`] when it is neither there, nor retired, nor configured; [`OperatorError::WrongState`] while
    /// its service has an override.
    pub fn delete(
        &self,
        service: &str,
        name: &str,
        by: Attribution,
        now: Time,
    ) -> Result<Deleted, OperatorError> {
        let id = self.seals.key_id(service, name);
        loop {
            let nothing = |epoch| Ok(Deleted { epoch, changed: false });
            match self.registry.known(id) {
                Some(Known::Retired(tombstone)) => return nothing(tombstone.epoch),
                None if self.is_configured(service, name) => return nothing(0),
                None => return Err(OperatorError::NotThere),
                Some(Known::Live(entry)) => {
                    // Or it is retired between the two looks.
                    let Some(mut inner) = entry.lock() else { continue };
                    let breaker = &inner.breaker;
                    let is_unused =
                        breaker.state() == State::Closed && breaker.epoch() == 0 && !inner.is_used;
                    if is_unused && self.is_configured(service, name) {
                        return nothing(0);
                    }
                    self.sync_wall(&mut inner);
                    let (acted, transitions) = inner.breaker.delete(by, now);
                    self.settle(&entry, &mut inner, &transitions);
                    acted?;
                    inner.deleted = true;
                    return Ok(Deleted { epoch: inner.breaker.epoch(), changed: true });
                }
            }
        }
    }

    /// Whether anything is known of a service: it is configured, has an override, or a breaker of it is in use or retired.
    pub fn knows_service(&self, service: &str) -> bool {
        self.catalog().contains(service)
            || self.registry.service_override(service).is_some()
            || self.registry.has_any_of(self.owner(service, Creator::Server))
    }

    /// Whether anything is known of a breaker: it is in use, retired or configured, or it is its service's own and the
    /// service has an override.
    pub fn knows_breaker(&self, service: &str, name: &str, now: Time) -> bool {
        let is_own = name.is_empty() || name == service;
        self.registry.known(self.seals.key_id(service, name)).is_some()
            || self.is_configured(service, name)
            || (is_own && self.service_override(service, now).is_some())
    }

    /// The configuration names services: so it names each service's own breaker.
    pub(super) fn is_configured(&self, service: &str, name: &str) -> bool {
        (name.is_empty() || name == service) && self.catalog().contains(service)
    }

    /// Retires a breaker that was deleted, if the store has that by now and it was not used again. `stored_up_to` is that
    /// of [`Engine::sweep`].
    pub fn retire_deleted(&self, service: &str, name: &str, stored_up_to: u64, now: Time) -> bool {
        let Some(Known::Live(entry)) = self.registry.known(self.seals.key_id(service, name)) else {
            return false;
        };
        let deleted = entry.inner.lock().deleted;
        deleted && self.registry.retire(&entry, stored_up_to, now)
    }

    /// Makes an open breaker half-open now.
    ///
    /// # Errors
    /// [`OperatorError::NotThere`]; [`OperatorError::WrongState`] when it is not open.
    pub fn probe(
        &self,
        service: &str,
        name: &str,
        by: Attribution,
        now: Time,
    ) -> Result<OperatorResult, OperatorError> {
        self.operate(service, name, now, |inner| inner.breaker.probe(by, now))
    }

    fn operate(
        &self,
        service: &str,
        name: &str,
        now: Time,
        act: impl FnOnce(&mut Inner) -> (Result<(), WrongState>, Vec<Transition>),
    ) -> Result<OperatorResult, OperatorError> {
        let id = self.seals.key_id(service, name);
        loop {
            match self.registry.known(id).ok_or(OperatorError::NotThere)? {
                Known::Retired(_) => {
                    // It is there as every other that was used once, goes on from its epoch, and counts for whom it did.
                    let owner = || self.owner(service, Creator::Server);
                    self.registry.with_breaker(id, service, name, owner, now, |_, _| ())?;
                }
                Known::Live(entry) => {
                    let Some(mut inner) = entry.lock() else { continue };
                    self.sync_wall(&mut inner);
                    let (acted, transitions) = act(&mut inner);
                    let done = self.done(&entry, &mut inner, &transitions, now);
                    acted?;
                    return Ok(done);
                }
            }
        }
    }

    fn done(
        &self,
        entry: &Entry,
        inner: &mut Inner,
        transitions: &[Transition],
        now: Time,
    ) -> OperatorResult {
        self.settle(entry, inner, transitions);
        let changed = transitions.iter().any(|transition| transition.attribution.is_some());
        OperatorResult { breaker: self.show(entry, inner, now), changed }
    }
}
