//! Changes of the state that this process decides by, on their way to the listeners.

use std::collections::VecDeque;
use std::sync::Mutex;

use breaker::{Key, State};
use tokio::sync::Notify;

use crate::lock;

/// Changes that wait for their listeners; what comes on top is not told.
pub(crate) const WAITING_MAX: usize = 1_024;

/// A change of the state that this process decides by.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StateChange {
    /// The breaker.
    pub key: Key,
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Whether breakerd said so. If not, this process decided alone.
    pub by_breakerd: bool,
}

/// The changes that the listeners were not told yet, bounded.
#[derive(Debug, Default)]
pub(crate) struct StateChanges {
    waiting: Mutex<VecDeque<StateChange>>,
    notify: Notify,
}

impl StateChanges {
    pub(crate) fn push(&self, change: StateChange) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() < WAITING_MAX {
            waiting.push_back(change);
        }
        drop(waiting);
        self.notify.notify_one();
    }

    /// Takes the oldest.
    pub(crate) fn take(&self) -> Option<StateChange> {
        lock(&self.waiting).pop_front()
    }

    /// Waits until there may be one.
    pub(crate) async fn some(&self) {
        self.notify.notified().await;
    }
}
