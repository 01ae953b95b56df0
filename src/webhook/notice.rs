//! A notification: a transition that stands, and what it is known by.

use breaker::{Key, Time, Transition};

use crate::engine::Standing;
use crate::store::TransitionId;

/// A transition that stands, as it is posted.
#[derive(Debug, Clone)]
pub struct Notice {
    /// What the history has it by.
    pub id: TransitionId,
    /// The breaker.
    pub key: Key,
    /// The transition.
    pub transition: Transition,
    /// The epoch of its new state.
    pub epoch: u64,
    /// When it happened, by the wall clock.
    pub at: Time,
    /// It was decided while the store was away.
    pub store_unavailable: bool,
}

impl From<&Standing<'_>> for Notice {
    fn from(standing: &Standing<'_>) -> Self {
        let Standing { key, transition, epoch, at, replica, id, store_unavailable } = *standing;
        Self {
            id: TransitionId { replica: replica.into(), boot: id.boot, seq: id.number },
            key: key.clone(),
            transition: transition.clone(),
            epoch,
            at,
            store_unavailable,
        }
    }
}
