//! Breakers that nobody needs any more go, and leave a tombstone if they ever changed their state.

use std::sync::Arc;

use breaker::{ActiveOverride, Time};

use super::{Registry, is_named, take_place};
use crate::catalog::Catalog;
use crate::engine::entry::{Entry, Inner};
use crate::engine::permit::KeyId;
use crate::engine::shares::{Owner, Room};
use crate::engine::sync::Ordering;
use crate::engine::tombstones::Tombstone;

impl Registry {
    /// Keeps only the tombstone of a breaker that the store has. False: it is known already, or there is no room.
    pub(in crate::engine) fn bury(&self, tombstone: Tombstone) -> bool {
        let (id, hash) = (tombstone.id, tombstone.id.hash());
        let mut shard = self.shard(id).write();
        let is_known = shard.live.find(hash, |entry| entry.id == id).is_some()
            || shard.tombstones.find(hash, |buried| buried.id == id).is_some();
        if is_known || !take_place(&self.tombstones, self.limits.breakers_max) {
            return false;
        }
        // Stored ones count, and are never refused.
        let _ = self.shares.take(tombstone.owner, Room::Always);
        shard.tombstones.insert_unique(hash, tombstone, |buried| buried.id.hash());
        true
    }

    /// Forgets a breaker that was retired at `epoch`: the store has nothing of it any more.
    pub(in crate::engine) fn forget(&self, id: KeyId, epoch: u64) {
        let mut shard = self.shard(id).write();
        let buried =
            shard.tombstones.find_entry(id.hash(), |buried| buried.id == id && buried.epoch == epoch);
        if let Ok(buried) = buried {
            let (tombstone, _) = buried.remove();
            self.tombstones.fetch_sub(1, Ordering::Relaxed);
            self.shares.give_back(tombstone.owner);
        }
    }

    /// Forgets the retired breakers that `is_old` says. Answers how many.
    pub(in crate::engine) fn forget_retired(&self, is_old: impl Fn(&Tombstone) -> bool) -> usize {
        let mut forgotten = 0;
        for shard in &self.shards {
            let mut shard = shard.write();
            shard.tombstones.retain(|tombstone| {
                let is_old = is_old(tombstone);
                if is_old {
                    self.shares.give_back(tombstone.owner);
                    forgotten += 1;
                }
                !is_old
            });
        }
        self.tombstones.fetch_sub(forgotten, Ordering::Relaxed);
        forgotten
    }

    /// Retires the breakers that are CLOSED, or in the state that they were born in, that are not configured and that
    /// were not used for the idle time, or never; of those that ever changed their state, the ones that the store has as they
    /// are, which it does up to the log sequence number `stored_up_to`. Answers how many.
    pub(in crate::engine) fn sweep(&self, stored_up_to: u64, now: Time) -> usize {
        let catalog = self.catalog();
        let mut retired = 0;
        for shard in &self.shards {
            let entries: Vec<_> = shard.read().live.iter().cloned().collect();
            for entry in entries {
                let is_candidate = self.may_go(&entry, &entry.inner.lock(), &catalog, stored_up_to, now);
                retired += usize::from(is_candidate && self.retire(&entry, stored_up_to, now));
            }
        }
        self.durations.prune();
        retired
    }

    fn may_go(&self, entry: &Entry, inner: &Inner, catalog: &Catalog, stored_up_to: u64, now: Time) -> bool {
        // Made because it was configured, and no more: as if its service had never been named.
        let unused = || entry.caller.is_none() && !inner.is_used && inner.breaker.epoch() == 0;
        let idle = || now.since(inner.last_used) >= self.limits.idle_ttl;
        (inner.deleted || ((unused() || idle()) && !is_named(catalog, &entry.key)))
            && inner.newest_lsn() <= stored_up_to
            && inner.breaker.is_retirable()
            && !self.is_to_be_told(entry, inner, now)
    }

    /// Takes a breaker out, if it still may go, and leaves its tombstone if it ever changed its state.
    pub(in crate::engine) fn retire(&self, entry: &Arc<Entry>, stored_up_to: u64, now: Time) -> bool {
        let catalog = self.catalog();
        let mut shard = self.shard(entry.id).write();
        // Not waited for under the shard's lock: whoever has the breaker is using it, so that it is not idle.
        let Some(mut inner) = entry.inner.try_lock() else { return false };
        if inner.retired {
            return false;
        }
        let epoch = inner.breaker.epoch();
        // Before the look at the override of its service: whoever sets one behind that look finds the tombstone.
        if epoch > 0 && !take_place(&self.tombstones, self.limits.breakers_max) {
            return false;
        }
        if !self.may_go(entry, &inner, &catalog, stored_up_to, now) {
            self.tombstones.fetch_sub(usize::from(epoch > 0), Ordering::Relaxed);
            return false;
        }
        if let Ok(present) = shard.live.find_entry(entry.id.hash(), |present| Arc::ptr_eq(present, entry)) {
            present.remove();
        }
        let owner = Owner::of(&self.seals, entry.key.service(), entry.caller);
        if epoch > 0 {
            let closed_at = inner.breaker.wall_offset().to_monotonic(inner.breaker.snapshot().entered_at);
            let row = (epoch, inner.breaker.taken());
            let tombstone = Tombstone::new(entry.id, row, owner, (closed_at, inner.last_used));
            shard.tombstones.insert_unique(entry.id.hash(), tombstone, |buried| buried.id.hash());
        } else {
            self.shares.give_back(owner);
        }
        self.index.remove(&entry.key, inner.indexed);
        inner.retired = true;
        if inner.own_series {
            self.own_series.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.retired.lock().add(&inner.counters);
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        true
    }

    /// Whether a breaker is in an override that its service has no more, or not yet in one that its service has: the walk
    /// that tells it finds it.
    fn is_to_be_told(&self, entry: &Entry, inner: &Inner, now: Time) -> bool {
        let Some(set_by) = inner.breaker.snapshot().set_by else {
            // Of one that never changed its state nobody was told, and it is born into the override.
            let wall = self.wall.offset();
            let in_force = |set: Arc<ActiveOverride>| set.is_active(wall, now);
            return inner.breaker.epoch() > 0
                && self.service_override(entry.key.service()).is_some_and(in_force);
        };
        // Noted before the look, so that whoever takes the override back behind it finds the note.
        self.retired_in_override.store(true, Ordering::Relaxed);
        self.service_override(entry.key.service()).is_none_or(|set| set.set_by != set_by)
    }
}
