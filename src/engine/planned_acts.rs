//! An operator's act as it would be, for one who takes it to the store first: nothing changes here until the store has it.

use breaker::{
    Attribution, Breaker, EnteredBy, Key, Override, OverrideKind, Reason, Scope, Snapshot, State, Time,
    Transition, WrongState,
};

use super::Engine;
use super::entry::BreakerView;
use super::operator_actions::{Deleted, OperatorError, OperatorResult, Unknown};
use super::shares::{Creator, Room};
use super::transition_sink::Standing;

/// What an operator does to one breaker.
#[derive(Debug, Clone)]
pub enum OperatorAct {
    /// [`Engine::set_override`].
    SetOverride(Override),
    /// [`Engine::clear_override`].
    ClearOverride(Attribution),
    /// [`Engine::reset`].
    Reset(Attribution),
    /// [`Engine::probe`].
    Probe(Attribution),
    /// [`Engine::delete`].
    Delete(Attribution),
}

/// What became of an act.
#[derive(Debug, Clone)]
pub struct Acted {
    /// The breaker as it now is; none: it is not in use, and was deleted.
    pub breaker: Option<BreakerView>,
    /// Its epoch.
    pub epoch: u64,
    /// Whether the act changed anything.
    pub changed: bool,
}

/// An act before it is done.
#[derive(Debug, Clone)]
pub struct PlannedAct {
    /// The breaker.
    pub key: Key,
    /// The transition that it would be; none: it would change nothing.
    pub transition: Option<Transition>,
    /// Whether the breaker is held in FORCED_OPEN by an act that the store has not answered yet: no other act may overtake it.
    pub holds_forced_open: bool,
    /// The timeline of the store that the breaker is in.
    pub timeline: u32,
}

impl OperatorAct {
    /// Whether it is an emergency stop, which does not wait for the store.
    pub fn is_forced_open(&self) -> bool {
        matches!(self, Self::SetOverride(Override { kind: OverrideKind::ForcedOpen, .. }))
    }

    /// Whether a breaker that somebody else brought into this state is as it was to be.
    pub fn is_done_in(&self, present: &Snapshot, entered_by: Option<EnteredBy>) -> bool {
        match self {
            Self::SetOverride(set_by) => present.set_by.as_ref() == Some(set_by),
            Self::ClearOverride(_) => {
                present.set_by.as_ref().is_none_or(|set_by| set_by.scope == Scope::Service)
            }
            Self::Reset(_) => present.state == State::Closed,
            Self::Delete(_) => entered_by.is_some_and(|entered_by| entered_by.reason == Reason::Deleted),
            Self::Probe(_) => present.state == State::HalfOpen,
        }
    }

    fn apply(self, breaker: &mut Breaker, now: Time) -> (Result<(), WrongState>, Vec<Transition>) {
        match self {
            Self::SetOverride(set_by) => (Ok(()), breaker.set_override(set_by, now)),
            Self::ClearOverride(by) => breaker.clear_override(by, now),
            Self::Reset(by) => breaker.reset(by, now),
            Self::Probe(by) => breaker.probe(by, now),
            Self::Delete(by) => breaker.delete(by, now),
        }
    }
}

impl From<OperatorResult> for Acted {
    fn from(done: OperatorResult) -> Self {
        let OperatorResult { breaker, changed } = done;
        Self { epoch: breaker.view.snapshot.epoch, breaker: Some(breaker), changed }
    }
}

impl From<Deleted> for Acted {
    fn from(deleted: Deleted) -> Self {
        let Deleted { epoch, changed } = deleted;
        Self { breaker: None, epoch, changed }
    }
}

impl Engine {
    /// Does an act here, as its own function does.
    ///
    /// # Errors
    /// As its own function.
    pub fn act(
        &self,
        creator: Creator<'_>,
        unknown: Unknown,
        key: &Key,
        act: OperatorAct,
        now: Time,
    ) -> Result<Acted, OperatorError> {
        let (service, name) = (&**key.service(), &**key.name());
        match act {
            OperatorAct::SetOverride(set_by) => {
                self.set_override(creator, unknown, service, name, set_by, now).map(Acted::from)
            }
            OperatorAct::ClearOverride(by) => self.clear_override(service, name, by, now).map(Acted::from),
            OperatorAct::Reset(by) => self.reset(service, name, by, now).map(Acted::from),
            OperatorAct::Probe(by) => self.probe(service, name, by, now).map(Acted::from),
            OperatorAct::Delete(by) => self.delete(service, name, by, now).map(Acted::from),
        }
    }

    /// What an act would be, if it were done now. Only the passing of time takes effect; a breaker that is not in use is
    /// created, as the act would create it. To be deleted, one that is not known is created too, whatever the limit: other
    /// replicas may use it.
    ///
    /// # Errors
    /// As [`Engine::act`].
    pub fn plan_act(
        &self,
        creator: Creator<'_>,
        unknown: Unknown,
        key: &Key,
        act: OperatorAct,
        now: Time,
    ) -> Result<PlannedAct, OperatorError> {
        let (service, name) = (&**key.service(), &**key.name());
        let id = self.seals.key_id(service, name);
        let is_set = matches!(act, OperatorAct::SetOverride(_));
        if matches!(act, OperatorAct::Delete(_)) {
            let owner = self.owner(service, Creator::Server);
            self.registry.create(id, key.clone(), owner, Room::Always, now)?;
        }
        let may_create = is_set && (unknown == Unknown::Create || self.is_configured(service, name));
        if self.registry.known(id).is_none() && !may_create {
            return Err(OperatorError::NotThere);
        }
        let owner = || self.owner(service, if is_set { creator } else { Creator::Server });
        self.registry.with_breaker(id, service, name, owner, now, |entry, inner| {
            self.look(entry, inner, now);
            // What it would be is found out with another one.
            let (acted, transitions) = act.apply(&mut inner.breaker.clone(), now);
            acted?;
            Ok(PlannedAct {
                key: entry.key.clone(),
                transition: transitions.into_iter().next(),
                holds_forced_open: inner.breaker.holds_forced_open(),
                timeline: self.timeline_of(&inner.breaker),
            })
        })?
    }

    /// An act that was planned is in the store, and its row was taken ([`Engine::take_answer`]).
    pub fn note_act(&self, standing: &Standing<'_>) {
        self.note_won(standing);
        let Standing { key, transition, .. } = standing;
        self.registry.with_known(self.seals.key_id(key.service(), key.name()), |_, inner| {
            inner.deleted |= transition.reason == Reason::Deleted;
        });
    }

    /// A transition of this replica stands in the store: it is counted and logged here, and nowhere else.
    pub fn note_won(&self, standing: &Standing<'_>) {
        let Standing { key, transition, .. } = standing;
        self.registry.with_known(self.seals.key_id(key.service(), key.name()), |_, inner| {
            inner.counters.changed(transition);
        });
        self.sink.stands(standing);
    }
}
