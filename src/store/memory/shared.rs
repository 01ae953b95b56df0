//! What several replicas ask of a store in memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use breaker::State::HalfOpen;
use breaker::{Key, ProbeSlot, RowVersion};

use super::state::{BreakerEntry, ProbeEntry, State};
use super::transaction::MemoryTransaction;
use super::{MemoryStore, complete};
use crate::protocol_rules::{Rule, holds};
use crate::store::judge::probes::ProbeRows;
use crate::store::shared_script::{SharedTransaction, StoredProbes, StoredRows, changed_row, no_row};
use crate::store::timeline_store::timeline_after;
use crate::store::timestamp::Timestamp;
use crate::store::{
    Answered, ChangeId, ChangedRow, Position, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowPlace,
    RowsPage, SharedStore, StoreError, StoredBreaker, StoredTransition, TransitionId, shared_script,
};

#[async_trait]
impl SharedTransaction for MemoryTransaction<'_> {
    /// The lock of the store is held already.
    async fn lock_unchecked(&mut self) -> Result<Timestamp, StoreError> {
        Ok(self.writer.now)
    }

    async fn begin_timeline(&mut self, present: u32, past: u32) -> Result<Option<u32>, StoreError> {
        if self.writer.state.meta.timeline != present && holds(Rule::TimelineCompared) {
            return Ok(None);
        }
        let timeline = timeline_after(present.max(past), self.writer.random.step());
        self.draft.timeline = Some(timeline);
        Ok(Some(timeline))
    }

    async fn half_open_breakers(&mut self) -> Result<Vec<StoredBreaker>, StoreError> {
        let breakers = &self.writer.state.breakers;
        let half_open = breakers.iter().filter(|(_, entry)| entry.state.snapshot.state == HalfOpen);
        Ok(half_open.map(|(key, entry)| entry.stored(key)).collect())
    }

    async fn lock_breakers(&mut self, _: &[&Key]) -> Result<Timestamp, StoreError> {
        self.checked("lock the breakers")
    }

    async fn read_stored<'a>(&mut self, keys: &[&'a Key]) -> Result<StoredRows<'a>, StoreError> {
        let mut rows = BTreeMap::new();
        for key in keys {
            let written = self.draft.breakers.iter().rev().find(|(written, _)| written == *key);
            let entry = written.map(|(_, entry)| entry);
            let entry = entry.or_else(|| self.writer.state.breakers.get(*key).map(|entry| &**entry));
            rows.extend(entry.map(|entry| (*key, entry.stored(key))));
        }
        let timeline = self.writer.state.meta.timeline;
        let newest = self.draft.change().unwrap_or_else(|| self.writer.state.newest());
        Ok(StoredRows { timeline, newest, rows, unreadable: BTreeMap::new() })
    }

    async fn read_probes<'a>(&mut self, wanted: &[(&'a Key, u64)]) -> Result<StoredProbes<'a>, StoreError> {
        let kept = |(key, epoch): &(&'a Key, u64)| {
            let entry = self.writer.state.probes.get(&((*key).clone(), *epoch))?;
            Some(((*key, *epoch), entry.rows.clone()))
        };
        Ok(StoredProbes { slots: wanted.iter().filter_map(kept).collect(), unreadable: BTreeMap::new() })
    }

    async fn write_probes(&mut self, changed: &BTreeMap<(&Key, u64), ProbeRows>) -> Result<(), StoreError> {
        let written_at = self.writer.now.0;
        self.draft.probes.extend(changed.iter().map(|((key, epoch), rows)| {
            (((*key).clone(), *epoch), ProbeEntry { rows: rows.clone(), written_at })
        }));
        Ok(())
    }

    async fn read_decided(&mut self, ids: &[&TransitionId]) -> Result<Vec<StoredTransition>, StoreError> {
        let state = &self.writer.state;
        Ok(ids.iter().filter_map(|id| state.decided(id)).cloned().collect())
    }
}

impl State {
    /// The row of the history that a change has, if it stood.
    fn decided(&self, id: &TransitionId) -> Option<&StoredTransition> {
        let receipt = self.receipts.get(id).filter(|receipt| receipt.won_epoch.is_some())?;
        let revision = receipt.revision?;
        let begin = self.history.partition_point(|row| row.cursor.revision < revision);
        let rows = self.history[begin..].iter().take_while(|row| row.cursor.revision == revision);
        rows.map(|row| &**row).find(|row| row.id == *id)
    }

    /// See [`SharedStore::use_rows`].
    fn use_rows(&mut self, used: &[(Key, u64)], now: Timestamp) -> Vec<ChangedRow> {
        let version = RowVersion { timeline: self.meta.timeline, revision: self.revision };
        let mut others = Vec::new();
        for (key, epoch) in used {
            let Some(entry) = self.breakers.get_mut(key) else {
                others.extend(
                    (1..=self.let_go_epoch).contains(epoch).then(|| no_row(key.clone(), version, now.0)),
                );
                continue;
            };
            Arc::make_mut(entry).used_at = Some(now.0);
            if entry.state.snapshot.epoch != *epoch {
                others.push(changed_row(entry.stored(key), version.timeline, now.0));
            }
        }
        others
    }

    /// See [`SharedStore::rows_after`].
    fn rows_after(
        &self,
        after: &RowCursor,
        limit: u32,
        seen: &[u64],
        (position, now): (Position, Timestamp),
    ) -> RowsPage {
        let newer = |key: &Key, revision: u64| match &after.part {
            Some(last) => RowPlace::of(key, revision) > *last,
            None => revision > after.revision,
        };
        let mut rows: Vec<_> = self
            .breakers
            .iter()
            .filter(|(key, entry)| newer(key, entry.revision))
            .map(|(key, entry)| (entry.revision, key, entry))
            .collect();
        rows.sort_unstable_by_key(|(revision, key, _)| (*revision, *key));
        let timeline = self.meta.timeline;
        let changed = |(revision, key, entry): (u64, &Key, &Arc<BreakerEntry>)| {
            (RowPlace::of(key, revision), Ok(changed_row(entry.stored(key), timeline, now.0)))
        };
        let rows = rows.into_iter().take(limit as usize + 1).map(changed).collect();
        let change = |revision: &u64| {
            let nonce = self.nonces.get(revision)?.nonce;
            Some(ChangeId { revision: *revision, nonce })
        };
        let seen = seen.iter().filter_map(change).collect();
        RowsPage::new(after, rows, limit, (position, self.configuration.revision), seen)
    }
}

impl MemoryStore {
    /// The epoch of an earlier timeline that a breaker's row stands for; none: there was a transition since.
    pub fn reconciled(&self, key: &Key) -> Option<u64> {
        let inner = self.inner.lock();
        let Some(entry) = inner.state.breakers.get(key) else { return Some(0) };
        entry.state.clone().in_timeline_since(inner.state.timeline_revision, entry.revision).reconciled
    }

    /// The slots of a half-open, as they are kept.
    pub fn probe_slots(&self, key: &Key, epoch: u64) -> Vec<ProbeSlot> {
        let inner = self.inner.lock();
        inner.state.probes.get(&(key.clone(), epoch)).map_or_else(Vec::new, |entry| entry.rows.slots.clone())
    }
}

#[async_trait]
impl SharedStore for MemoryStore {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        self.write("write transitions", |writer| {
            complete(shared_script::propose(MemoryTransaction::shared(writer), proposals))
        })
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        self.write("ask about probes", |writer| {
            complete(shared_script::ask_probes(MemoryTransaction::shared(writer), requests))
        })
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        let now = Timestamp(self.clock.wall());
        self.read_at("read what changed", |state, server_timeline| {
            let position = state.position(after.revision, server_timeline);
            state.rows_after(after, limit.max(1), seen, (position, now))
        })
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        self.write("say which breakers are used", |writer| {
            let tx = MemoryTransaction::shared(writer);
            let now = tx.checked("say which breakers are used")?;
            Ok(tx.writer.state.use_rows(used, now))
        })
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.write("begin a timeline", |writer| {
            complete(shared_script::begin_timeline(MemoryTransaction::shared(writer), present, past))
        })
    }
}
