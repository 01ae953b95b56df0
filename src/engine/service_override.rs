//! The override of a service on its way to breakers, and what of it their changes bring.

use breaker::{Override, Reason, Scope, Transition};

/// The override of a service, and the revision of the configuration that set it; 0: not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotedOverride {
    /// What was set.
    pub set_by: Override,
    /// The revision.
    pub revision: u64,
}

/// Who changes a breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChangedBy {
    /// It itself, a call, or an operator's act on it.
    Breaker,
    /// A walk, which brings what its service has.
    Walk,
}

impl ChangedBy {
    /// Whether a change makes the breaker enter or leave the override of its service.
    pub(super) fn brings_service_override(self, transition: &Transition) -> bool {
        let set_by = transition.after.set_by.as_ref();
        match transition.reason {
            Reason::OverrideSet => set_by.is_some_and(|set_by| set_by.scope == Scope::Service),
            Reason::OverrideCleared => self == Self::Walk,
            _ => false,
        }
    }
}

impl From<Override> for NotedOverride {
    fn from(set_by: Override) -> Self {
        Self { set_by, revision: 0 }
    }
}
