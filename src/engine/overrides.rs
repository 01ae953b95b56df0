//! Overrides of whole services.
//!
//! The registry knows them, so that a breaker that is born is in its service's from birth, without a transition.
//! Those that are there are told one after the other, by a [`Walk`]: each tells of it by a transition, and with a
//! hundred thousand of them whoever walks must leave the outbox time. A breaker that was not walked to yet goes on
//! as it was.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Attribution, Key, Override, OverrideKind, Time};

use super::Engine;
use super::entry::Entry;
use super::service_override::{ChangedBy, NotedOverride};

/// Breakers with an override of their own that are named one by one; further ones are only counted.
const NAMED_MAX: usize = 10;

/// Tells breakers of the override that their service now has.
#[derive(Debug)]
pub struct Walk {
    left: Vec<Arc<Entry>>,
    by: Attribution,
    reached: Reached,
}

/// What a walk has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Breakers that changed their state.
    pub changed: usize,
    /// Breakers that keep an override of their own.
    pub own_overrides: usize,
    /// Some of these, in order: ten at most.
    pub own_override_keys: Vec<Key>,
}

impl Walk {
    /// What it has come to so far.
    pub fn reached(&self) -> &Reached {
        &self.reached
    }
}

impl Reached {
    fn keeps_its_own(&mut self, key: &Key) {
        self.own_overrides += 1;
        self.own_override_keys.push(key.clone());
        self.own_override_keys.sort_unstable();
        self.own_override_keys.truncate(NAMED_MAX);
    }
}

impl Engine {
    /// Takes note of all the overrides of services that there are. Breakers that are born from now on are in them,
    /// those that are there must be walked to. Those that were retired in an override cannot be: whoever follows the
    /// breakers looks at them all anew when one has come to an end.
    pub fn note_service_overrides(&self, all: impl IntoIterator<Item = (String, NotedOverride)>, now: Time) {
        if self.registry.set_service_overrides(all, now) {
            self.sink.all_changed();
        }
    }

    /// The override of a service that is in force at `now`.
    pub fn service_override(&self, service: &str, now: Time) -> Option<Override> {
        let active = self.registry.service_override(service)?;
        active.is_active(self.registry.wall.offset(), now).then(|| active.set_by.clone())
    }

    /// The kind of the override of a service that is in force at `now`, and how long it lasts; none: no end is set.
    pub fn service_override_left(
        &self,
        service: &str,
        now: Time,
    ) -> Option<(OverrideKind, Option<Duration>)> {
        let active = self.registry.service_override(service)?;
        let wall = self.registry.wall.offset();
        let left = active.ends_at(wall).map(|end| end.since(now));
        active.is_active(wall, now).then_some((active.set_by.kind, left))
    }

    /// The services whose override has ended by the clock here, and is still noted; and that override.
    pub fn ended_service_overrides(&self, now: Time) -> Vec<(Arc<str>, Override)> {
        self.registry.ended_overrides(now)
    }

    /// A walk to the breakers of `service`; none: to all there are, which makes good what a crash left between the
    /// store and the breakers. `by` takes back what a service has no more.
    pub fn walk(&self, service: Option<&str>, by: Attribution) -> Walk {
        let left = match service {
            Some(service) => self.registry.entries_of(|of| of == service),
            None => self.registry.entries(),
        };
        Walk { left, by, reached: Reached::default() }
    }

    /// Walks on until `most` breakers more have changed. False: it is at its end.
    ///
    /// Every breaker is told what its service has at that moment, so that of two walks at one time the former does
    /// not undo what the later is for.
    pub fn walk_on(&self, walk: &mut Walk, most: usize, now: Time) -> bool {
        let until = walk.reached.changed.saturating_add(most);
        while walk.reached.changed < until {
            let Some(entry) = walk.left.pop() else { return false };
            let Some(mut inner) = entry.lock() else { continue };
            self.sync_wall(&mut inner);
            self.settle_branch(&entry, &mut inner, now);
            let set = self.registry.service_override(entry.key.service());
            let transitions = inner.breaker.set_service_override(set, &walk.by, now);
            self.settle_from(ChangedBy::Walk, &entry, &mut inner, &transitions);
            let changed = transitions.iter().any(|transition| transition.attribution.is_some());
            walk.reached.changed += usize::from(changed);
            if inner.breaker.has_own_override() {
                walk.reached.keeps_its_own(&entry.key);
            }
        }
        true
    }
}
