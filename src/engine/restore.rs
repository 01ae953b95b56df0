//! Breakers that the store or the journal has kept: how they come in at a start, and when the store may let go of one.

use std::sync::Arc;

use breaker::{Breaker, EnteredBy, Key, Reason, RowVersion, Snapshot, State, Time};

use super::Engine;
use super::entry::{LastTransition, Newest};
use super::permit::{KeyId, PERMIT_LIFE};
use super::registry::Known;
use super::shares::{Creator, Room};
use super::tombstones::Tombstone;

impl Engine {
    /// Puts a breaker in as the store or the journal kept it. An older state than the one it has is nothing.
    ///
    /// A stored breaker has its place even beyond the limit: were it refused, it would be born again closed,
    /// at an epoch that the store has passed. Of one that has been closed for the idle time only its epoch is kept, as
    /// if it had been retired: it is there again at its next use; likewise of one that was deleted, or about to be retired.
    /// `lsn` is the log sequence number of its state in the journal; 0: the store has it. `entered_by` is shown as its newest transition.
    ///
    /// One that a crash left behind the override of its service goes on as it was until a [`Walk`](super::Walk) reaches it. It must
    /// not take the override up at the first look: one page of a list looks at a thousand, a scrape at all, and the
    /// outbox has only so many places.
    pub fn restore(
        &self,
        key: &Key,
        snapshot: &Snapshot,
        entered_by: Option<EnteredBy>,
        lsn: u64,
        now: Time,
    ) {
        let id = self.seals.key_id(key.service(), key.name());
        let deleted = snapshot.state == State::Closed
            && matches!(entered_by, Some(EnteredBy { reason: Reason::Deleted | Reason::Idle, .. }));
        let closed_at = self.registry.wall.offset().to_monotonic(snapshot.entered_at);
        let row = (snapshot, RowVersion::default());
        if lsn == 0 && self.bury(id, key, row, closed_at, deleted, now) {
            return;
        }
        // The outbox keeps for a while what the store has already.
        if matches!(self.registry.known(id), Some(Known::Retired(buried)) if snapshot.epoch <= buried.epoch) {
            return;
        }
        let owner = self.owner(key.service(), Creator::Server);
        let Ok(entry) = self.registry.create(id, key.clone(), owner, Room::Always, now) else {
            return;
        };
        let mut inner = entry.inner.lock();
        if snapshot.epoch <= inner.breaker.epoch() {
            return;
        }
        let thresholds = Arc::clone(inner.breaker.thresholds());
        let revision = inner.breaker.config_revision();
        let identity = self.registry.identity(id, now);
        inner.breaker = Breaker::restore(thresholds, revision, identity, snapshot.clone(), now);
        if snapshot.set_by.is_some() {
            inner.breaker.inherit(self.registry.service_override(key.service()), now);
        }
        inner.deleted = deleted;
        // Of a closed breaker nobody asks why; there are a million of them.
        let last_transition = entered_by
            .filter(|_| snapshot.state != State::Closed)
            .map(|entered_by| LastTransition::restored(snapshot, entered_by, self.registry.wall.offset()));
        inner.newest =
            (lsn > 0 || last_transition.is_some()).then(|| Box::new(Newest { lsn, last_transition }));
        self.registry.reindex(&entry, &mut inner);
        self.arm(&entry, &mut inner);
        drop(inner);
        if deleted {
            // The journal has it, which is enough: nothing but its epoch is left to keep here.
            self.registry.retire(&entry, u64::MAX, now);
        }
    }

    /// Keeps only the epoch of a stored breaker that is closed and idle, or was deleted.
    pub(super) fn bury(
        &self,
        id: KeyId,
        key: &Key,
        (snapshot, version): (&Snapshot, RowVersion),
        closed_at: Time,
        deleted: bool,
        now: Time,
    ) -> bool {
        let Snapshot { epoch, state, .. } = *snapshot;
        let configured = self.registry.is_configured(key);
        let idle = now.since(closed_at) >= self.registry.idle_ttl();
        let owner = self.owner(key.service(), Creator::Server);
        // A permit may have been given until a moment ago.
        state == State::Closed
            && epoch > 0
            && (deleted || (idle && !configured))
            && self.registry.bury(Tombstone::new(id, (epoch, version), owner, (closed_at, now)))
    }

    /// Whether the store may let go of the row of a breaker that is closed and has no history: nobody has used it for as
    /// long as a permit counts.
    pub fn may_forget(&self, key: &Key, now: Time) -> bool {
        match self.registry.known(self.seals.key_id(key.service(), key.name())) {
            Some(Known::Live(_)) => false,
            Some(Known::Retired(tombstone)) => now.since(tombstone.last_used()) >= PERMIT_LIFE,
            None => true,
        }
    }

    /// Forgets a breaker that was retired at `epoch`, now that the store has let go of its row.
    pub fn forget(&self, key: &Key, epoch: u64) {
        self.registry.forget(self.seals.key_id(key.service(), key.name()), epoch);
    }
}
