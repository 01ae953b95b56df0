//! One of several replicas: what they agree on over the store that they share, and how a call waits for it.
//!
//! Decisions come from memory, except where calls are let through again. A breaker that needs the store's word says so
//! in its decision, and asks ([`Engine::take_requests`]); the [`Coordinator`] carries what it asks to the store, and the
//! answer back into the breaker, where the call that waits looks again. Proposals go the way of the journal, whose writer
//! brings their answers here ([`Answers`]); the [`Tail`] brings what other replicas changed. What breakers count while they fail is
//! told to each other ([`CountSharing`]).
//!
//! A lone process has none of it: its breakers answer themselves, by the same rules.

mod acts;
mod answers;
mod batch_size;
mod calls;
mod contact;
mod coordinator;
mod counts;
mod keeping_store;
mod new_timeline;
mod newest_seen;
mod outcomes;
mod presence;
mod read_position;
mod recording;
mod replication;
mod returns;
mod row_use;
mod standing;
mod tail;
mod timelines;

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use breakerd_common::clock::Clock;
use tokio::sync::Notify;

pub use self::acts::{ActDone, ActError};
pub use self::answers::Answers;
pub use self::calls::{Calls, WaitingCall};
pub use self::contact::{HeardStore, StoreContact};
pub use self::coordinator::Coordinator;
pub use self::counts::CountSharing;
pub use self::newest_seen::NewestSeen;
pub use self::presence::{Presence, PresenceMetrics, live_replica};
pub use self::read_position::ReadPosition;
pub use self::recording::{Submitted, WaitingOutcome};
pub use self::replication::Replication;
pub use self::row_use::RowUse;
pub use self::tail::Tail;
use crate::engine::{Allowed, Creator, Engine, EngineError};
use crate::trouble::Trouble;

/// What calls are decided with.
#[derive(Clone)]
pub struct Replica {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    /// None: this process is alone.
    coordinator: Option<Arc<Coordinator>>,
    /// Told that the tail has something to read.
    tail_hint: Arc<Notify>,
    /// That it cannot share what it counts.
    count_trouble: Arc<Trouble>,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}

impl Replica {
    /// A process that has its store for itself.
    pub fn lone(engine: Arc<Engine>, clock: Arc<dyn Clock>) -> Self {
        Self { engine, clock, coordinator: None, tail_hint: Arc::default(), count_trouble: Arc::default() }
    }

    /// One of several on a store. `tail_hint` wakes its [`Tail`].
    pub fn of_several(
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        coordinator: Arc<Coordinator>,
        tail_hint: Arc<Notify>,
    ) -> Self {
        Self { engine, clock, coordinator: Some(coordinator), tail_hint, count_trouble: Arc::default() }
    }

    /// The same, with what [`CountSharing::noting`] notes.
    #[must_use]
    pub fn counting(self, count_trouble: Arc<Trouble>) -> Self {
        Self { count_trouble, ..self }
    }

    /// Decides whether a call is allowed. Waits only where the store has to let it through, 50 ms at most, and not while the store
    /// does not answer; a call that is dropped meanwhile leaves nothing behind.
    ///
    /// # Errors
    /// As [`Engine::allow_for`].
    pub async fn allow(
        &self,
        creator: Creator<'_>,
        service: &str,
        name: &str,
        mut now: Time,
    ) -> Result<Allowed, EngineError> {
        let mut calls = self.calls(creator);
        let mut call = WaitingCall::new(0);
        loop {
            if let Some(allowed) = calls.look(call, service, name, now)? {
                calls.told();
                return Ok(allowed);
            }
            call = calls.answered().await.pop().unwrap_or(call);
            now = self.clock.now();
        }
    }

    /// How long the store has not answered about probes.
    pub fn probes_unanswered_for(&self) -> Duration {
        let now = self.clock.now();
        self.coordinator.as_ref().map_or(Duration::ZERO, |coordinator| coordinator.unanswered_for(now))
    }

    /// How long the store has not answered about what replicas count.
    pub fn counts_unshared_for(&self) -> Duration {
        self.count_trouble.lasting(self.clock.now())
    }

    /// Calls of one caller that are decided together, and wait together where they wait.
    pub fn calls<'a>(&'a self, creator: Creator<'a>) -> Calls<'a> {
        Calls::new(&self.engine, &*self.clock, self.coordinator.as_deref(), creator)
    }
}
