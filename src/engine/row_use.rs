//! Which rows of the store this replica uses, and what becomes of a breaker whose row was let go of.
//!
//! The store keeps the row of a closed breaker without history only as long as a replica says that it uses it. A replica says so of
//! each breaker that it has, but not of those that are retired: of these it keeps the epoch for a while, and asks when they are
//! used again. So what is known of a retired breaker is a hint, and may be forgotten.

use std::sync::Arc;
use std::time::Duration;

use breaker::{EnteredBy, Key, State, StoredRow, Time};

use super::Engine;
use super::entry::Entry;
use super::registry::Known;
use super::replication::StoreAnswer;

/// Goes through the breakers that there were when it began.
#[derive(Debug)]
pub struct RowWalk(Vec<Arc<Entry>>);

impl Engine {
    /// A walk to the breakers of which the store has rows.
    pub fn row_walk(&self) -> RowWalk {
        RowWalk(self.registry.entries())
    }

    /// At most `most` breakers more, with the epochs of their rows as they are known here; none: it is at its end.
    pub fn rows_used(walk: &mut RowWalk, most: usize) -> Vec<(Key, u64)> {
        let mut used = Vec::new();
        while used.len() < most
            && let Some(entry) = walk.0.pop()
        {
            let epoch = entry.lock().map_or(0, |inner| inner.breaker.epoch());
            if epoch > 0 {
                used.push((entry.key.clone(), epoch));
            }
        }
        used
    }

    /// At most `most` breakers that calls have created since, with the epochs that are known of them; 0: none is. The store may
    /// have other rows.
    pub fn rows_created(&self, most: usize) -> Vec<(Key, u64)> {
        let created = self.registry.created().take(most);
        let known =
            |id| self.registry.with_known(id, |entry, inner| (entry.key.clone(), inner.breaker.epoch()));
        created.into_iter().filter_map(known).collect()
    }

    /// The row of a breaker that this replica uses, which is another one than it knows; CLOSED at epoch 0: it has none any more.
    ///
    /// `entered_by` says how the row came into its state. A change that the store has not answered yet stands: the answer says which row there is.
    pub fn take_other_row(&self, key: &Key, row: &StoredRow, entered_by: Option<EnteredBy>, now: Time) {
        let is_gone = row.snapshot.epoch == 0 && row.snapshot.state == State::Closed;
        let id = self.seals.key_id(key.service(), key.name());
        if is_gone {
            match self.registry.known(id) {
                Some(Known::Live(entry))
                    if entry.lock().is_some_and(|inner| inner.breaker.is_unconfirmed()) =>
                {
                    return;
                }
                Some(Known::Live(_)) => {}
                Some(Known::Retired(tombstone)) => return self.registry.forget(id, tombstone.epoch),
                None => return,
            }
        }
        self.take_answer(key, &StoreAnswer::AnsweredRow(row), entered_by, now);
    }

    /// Forgets what is known of breakers that have been closed for longer than `closed`, and not used here for longer than
    /// `unused`. Answers how many.
    pub fn forget_retired(&self, closed: Duration, unused: Duration, now: Time) -> usize {
        self.registry.forget_retired(|tombstone| {
            now.since(tombstone.closed_at()) > closed && now.since(tombstone.last_used()) > unused
        })
    }
}
