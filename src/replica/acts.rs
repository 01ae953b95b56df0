//! What operators do to one breaker, where other replicas have it too: the store first, and then this replica.
//!
//! An act that the store has not taken must not stand here: calls would pass as in a state that no replica agreed on, and the
//! act might yet lose against that of another operator. So it is proposed to the store directly, and changes nothing here
//! until it has won. If another act came between, it is planned again on the row that stands, unless that is FORCED_OPEN: an
//! emergency stop is not ended by an operator who had not seen it. Without an answer in time it is unavailable: the store may
//! have it or not, and if it has, the tail brings it.
//!
//! FORCED_OPEN is the exception, and goes by the journal: it denies at once, whether or not the store answers, and wins there
//! whatever was done meanwhile. Until the store has answered it no other act is taken here, which it would undo.
//!
//! A deletion goes to the store whether the breaker is in use here, retired, or not known: another replica may use it, and a
//! breaker that never changed its state is known to nobody else.

use std::time::Duration;

use breaker::{Key, Needed, Numbering, Snapshot, State, Time, WrongState};

use super::Replica;
use super::coordinator::Coordinator;
use super::standing::standing;
use crate::engine::{Acted, Creator, OperatorAct, OperatorError, PlannedAct, StoreAnswer, Unknown};
use crate::protocol_rules::{Rule, holds};
use crate::store::{Answer, Answered, Change, DecidedIn, Proposal, StoreError};

/// How often an act is planned anew because another one came between.
const ATTEMPTS_MAX: u32 = 4;
/// How long the store is waited for, at the most.
const ACT_WAITS: Duration = Duration::from_secs(1);
/// Between two attempts to reach the store.
const PAUSE: Duration = Duration::from_millis(100);

/// Why an act was not done.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It cannot be done.
    #[error(transparent)]
    Refused(#[from] OperatorError),
    /// The store did not answer. The act may still take effect.
    #[error("store unavailable: no answer within {waited:?}")]
    Unavailable {
        /// How long it was waited for.
        waited: Duration,
    },
    /// FORCED_OPEN was set here, and the store has not answered that yet: it would undo the act.
    #[error("FORCED_OPEN was set here, and is not in the store yet")]
    Unconfirmed,
    /// Others changed the breaker each time before the store had the act, which was not done.
    #[error("others changed the breaker meanwhile: it is {state} at epoch {epoch}")]
    Superseded {
        /// The state that stands.
        state: State,
        /// Its epoch.
        epoch: u64,
    },
    /// The store holds what cannot be read.
    #[error(transparent)]
    Store(StoreError),
}

/// What became of an act.
#[derive(Debug, Clone)]
pub struct ActDone {
    /// The breaker.
    pub acted: Acted,
    /// Whether the store is known to have it; else it is in the journal, on its way there.
    pub is_stored: bool,
}

impl Replica {
    /// Does an act of an operator to one breaker. As [`crate::engine::Engine::act`] for a lone process; with several replicas
    /// all but FORCED_OPEN wait for the store, `wait` and a second at most.
    ///
    /// # Errors
    /// [`ActError`].
    pub async fn act(
        &self,
        creator: Creator<'_>,
        unknown: Unknown,
        key: &Key,
        act: OperatorAct,
        wait: Duration,
    ) -> Result<ActDone, ActError> {
        let now = self.clock.now();
        let here = |act| {
            let acted = self.engine.act(creator, unknown, key, act, now)?;
            Ok(ActDone { acted, is_stored: false })
        };
        match &self.coordinator {
            Some(_) if act.is_forced_open() => here(act),
            Some(coordinator) => {
                let gives_up_at = now + wait.min(ACT_WAITS);
                self.through_store(coordinator, creator, unknown, key, &act, (now, gives_up_at)).await
            }
            None => here(act),
        }
    }

    async fn through_store(
        &self,
        coordinator: &Coordinator,
        creator: Creator<'_>,
        unknown: Unknown,
        key: &Key,
        act: &OperatorAct,
        (began_at, gives_up_at): (Time, Time),
    ) -> Result<ActDone, ActError> {
        let mut stands = None;
        for attempt in 0..ATTEMPTS_MAX {
            let now = self.clock.now();
            let planned = self.engine.plan_act(creator, unknown, key, act.clone(), now)?;
            if planned.holds_forced_open && holds(Rule::ActsInOrder) {
                return Err(ActError::Unconfirmed);
            }
            let Some(transition) = &planned.transition else {
                return Ok(self.done(&planned, None));
            };
            if attempt > 0 && transition.from == State::ForcedOpen {
                let needed = Needed::NoNewForcedOpen;
                return Err(OperatorError::from(WrongState { state: transition.from, needed }).into());
            }
            let proposal = Proposal {
                id: coordinator.next_id(),
                key: planned.key.clone(),
                change: Change::Transition(Box::new(transition.clone())),
                numbering: Numbering::Store,
                store_unavailable: false,
                decided_at: now,
                service_override: None,
                age: Duration::ZERO,
                decided_in: DecidedIn::timeline(planned.timeline),
            };
            let asked = self.propose(coordinator, proposal.clone(), gives_up_at).await?;
            let Some(Answered { answer, row, newest }) = asked else {
                stands = None;
                break;
            };
            if !coordinator.note(row.row.version.timeline, newest) {
                // The store went back. It is planned again on the row that there is now.
                self.tail_hint.notify_one();
                self.clock.sleep_until(self.clock.now() + PAUSE).await;
                continue;
            }
            let now = self.clock.now();
            let id = proposal.id.clone();
            coordinator.keep(proposal.answered(&answer));
            self.engine.take_answer(&planned.key, &StoreAnswer::AnsweredRow(&row.row), row.entered_by, now);
            match answer {
                Answer::Won { epoch, .. } => {
                    self.engine.note_act(&standing(&planned.key, transition, &id, epoch, &row.row.snapshot));
                    return Ok(self.done(&planned, Some(epoch)));
                }
                // Somebody else did the same.
                Answer::Lost { present } if act.is_done_in(&present, row.entered_by) => {
                    return Ok(self.done(&planned, None));
                }
                Answer::Lost { present } => stands = Some(present),
            }
        }
        if let Some(Snapshot { state, epoch, .. }) = stands {
            return Err(ActError::Superseded { state, epoch });
        }
        Err(ActError::Unavailable { waited: self.clock.now().since(began_at) })
    }

    /// The breaker as it stands, after an act that the store has; `won` is the epoch that it made.
    fn done(&self, planned: &PlannedAct, won: Option<u64>) -> ActDone {
        let breaker = self.engine.view(planned.key.service(), planned.key.name(), self.clock.now());
        let shown = breaker.as_ref().map(|breaker| breaker.view.snapshot.epoch);
        let epoch = won.or(shown).unwrap_or_default();
        ActDone { acted: Acted { breaker, epoch, changed: won.is_some() }, is_stored: true }
    }

    /// Asks the store until it answers; none: it did not in time.
    async fn propose(
        &self,
        coordinator: &Coordinator,
        proposal: Proposal,
        gives_up_at: Time,
    ) -> Result<Option<Answered>, ActError> {
        // Always with the same id: it is done once, however often it arrives.
        let proposal = [proposal];
        let asked = async {
            loop {
                match coordinator.store().propose_shared(&proposal).await {
                    Ok(answered) => return Ok(answered.into_iter().next()),
                    Err(error) if error.is_transient() => {
                        tracing::debug!(
                            error = &error as &dyn std::error::Error,
                            "store did not take an act"
                        );
                        self.clock.sleep_until(self.clock.now() + PAUSE).await;
                    }
                    Err(error) => return Err(ActError::Store(error)),
                }
            }
        };
        tokio::select! {
            biased;
            answered = asked => answered,
            () = self.clock.sleep_until(gives_up_at) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests;
