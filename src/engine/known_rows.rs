//! What is known of the rows of breakers: taken down while the store answers, and put in at a start while it is away.

use breaker::{EarlierAnswer, EnteredBy, Key, ProposalId, RowVersion, Snapshot, Time, Transition};

use super::Engine;
use super::entry::LastTransition;
use super::shares::{Creator, Room};

/// The row of a breaker, as far as is known here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownRow {
    /// The breaker.
    pub key: Key,
    /// Its state in the store; its times are those of the wall clock.
    pub snapshot: Snapshot,
    /// Which version of the row it is.
    pub version: RowVersion,
    /// How it came into this state; none: not known.
    pub entered_by: Option<EnteredBy>,
}

impl Engine {
    /// The rows of all breakers that the store has a row of, as far as is known here, in no order. Locks one breaker after the
    /// other: with a million breakers it takes a second.
    pub fn known_rows(&self) -> Vec<KnownRow> {
        let mut rows = Vec::new();
        for entry in self.registry.entries() {
            let Some(inner) = entry.lock() else { continue };
            let (snapshot, version) = inner.breaker.known_row();
            if version == RowVersion::default() {
                continue;
            }
            let last = inner.newest.as_ref().and_then(|newest| newest.last_transition.as_ref());
            let entered_by = last.filter(|last| last.to == snapshot.state && last.epoch == snapshot.epoch);
            let entered_by =
                entered_by.map(|last| EnteredBy { from: last.from, reason: last.reason, stats: last.stats });
            rows.push(KnownRow { key: entry.key.clone(), snapshot, version, entered_by });
        }
        rows
    }

    /// A change that an earlier life of this process made stands again until the store answers it; if the store had answered it
    /// then, until a newer row comes ([`breaker::Breaker::resume`]). After the rows. A breaker that is not there is created, whatever
    /// the limit.
    pub fn resume(
        &self,
        key: &Key,
        id: ProposalId,
        transition: &Transition,
        answer: EarlierAnswer,
        now: Time,
    ) {
        let key_id = self.seals.key_id(key.service(), key.name());
        let owner = self.owner(key.service(), Creator::Server);
        let Ok(entry) = self.registry.create(key_id, key.clone(), owner, Room::Always, now) else { return };
        let Some(mut inner) = entry.lock() else { return };
        self.sync_wall(&mut inner);
        if !inner.breaker.resume(id, transition, answer, now) {
            return;
        }
        let last = LastTransition::new(transition, inner.breaker.wall_offset());
        inner.newest.get_or_insert_default().last_transition = Some(last);
        self.registry.reindex(&entry, &mut inner);
        self.sink.moved(&entry.key);
        self.arm(&entry, &mut inner);
        debug_assert!(inner.breaker.is_unconfirmed(), "what lets calls through waits for the store");
    }
}
