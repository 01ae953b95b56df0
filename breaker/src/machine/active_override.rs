//! An override that a breaker, or its service, is in: what was set, and when that ends.

use super::numbering::Numbering;
use crate::state::Scope;
use crate::time::{Time, WallOffset};
use crate::transition::{Attribution, Override};

/// An override, with the end of its duration on the machine's clock.
#[derive(Debug, Clone)]
pub struct ActiveOverride {
    /// What was set.
    pub set_by: Override,
    /// Its end on the monotonic clock, where the wall clock here has no say: it was set for a duration, or a store says when it
    /// ends.
    fixed_end: Option<Time>,
    /// Of a service: the revision of the configuration that set it; 0: not known.
    revision: u64,
    /// It is in force until the configuration has it no more, whatever the time is here: the clock of the store decides.
    ends_by_store: bool,
}

impl ActiveOverride {
    /// An override that is set, or comes back from the store, at `now`.
    ///
    /// What is left of a duration is at most all of it and at least nothing, whatever became of the wall clock
    /// since it was set.
    pub fn new(set_by: Override, wall: WallOffset, now: Time) -> Self {
        let fixed_end = set_by.ttl.map(|ttl| {
            let left = set_by.expires_at.map_or(ttl, |end| end.since(wall.to_wall(now)));
            now + left.min(ttl)
        });
        Self { set_by, fixed_end, revision: 0, ends_by_store: false }
    }

    /// An override of a service, which the configuration of this revision set. Where the store numbers the epochs, its clock
    /// decides when it ends, and not the one here.
    pub fn of_service(
        set_by: Override,
        revision: u64,
        numbering: Numbering,
        wall: WallOffset,
        now: Time,
    ) -> Self {
        let ends_by_store = numbering == Numbering::Store;
        Self { revision, ends_by_store, ..Self::new(set_by, wall, now) }
    }

    /// An override as a row of the store has it, which was entered at `entered`: by the store's clock, which is the one that
    /// counts, and on the monotonic clock here.
    pub(super) fn by_store(set_by: Override, entered: (Time, Time)) -> Self {
        let (by_store, here) = entered;
        let lasts = match (set_by.scope, set_by.ttl) {
            (Scope::Breaker, Some(ttl)) => Some(ttl),
            // It was set on the service before the breaker was in it.
            _ => set_by.expires_at.map(|end| end.since(by_store)),
        };
        let fixed_end = lasts.map(|lasts| here + lasts);
        Self { set_by, fixed_end, revision: 0, ends_by_store: false }
    }

    /// When it ends by itself on the monotonic clock, as the wall clock is set; none: when it is cleared.
    pub fn ends_at(&self, wall: WallOffset) -> Option<Time> {
        self.fixed_end.or_else(|| self.set_by.expires_at.map(|end| wall.to_monotonic(end)))
    }

    /// Whether it has not ended by itself at `now`, as far as that is decided here.
    pub fn is_active(&self, wall: WallOffset, now: Time) -> bool {
        self.ends_by_store || !self.is_due(wall, now)
    }

    /// Whether its end has come by the clock here.
    pub fn is_due(&self, wall: WallOffset, now: Time) -> bool {
        self.ends_at(wall).is_some_and(|end| end <= now)
    }

    /// Of a service: the revision of the configuration that set it; 0: not known.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether its end is decided elsewhere.
    pub(super) fn ends_by_store(&self) -> bool {
        self.ends_by_store
    }

    /// Who set it, and why.
    pub(super) fn attribution(&self) -> Attribution {
        Attribution { actor: self.set_by.actor.clone(), reason: self.set_by.reason.clone() }
    }

    /// Whether its end, if it has one, is a time of the wall clock, and moves when that is set.
    pub(super) fn follows_wall_clock(&self) -> bool {
        self.fixed_end.is_none()
    }
}
