//! What a store in memory holds, and how it is read. Rows are shared with snapshots, so that a copy costs a pointer a row.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, State as BreakerStateKind, Time};

use super::random::SeededRandom;
use crate::store::judge::BreakerState;
use crate::store::judge::probes::ProbeRows;
use crate::store::{
    ChangeId, ChangeKind, ChangeQuery, HistoryCursor, Meta, Position, StoredBreaker, StoredChange,
    StoredConfiguration, StoredTransition, TransitionId, TransitionQuery, UNUSED_ROWS_KEPT,
};

/// Everything that is kept. Only ordered maps, so that nothing depends on how a hash comes out. It grows with what is
/// written, until that is pruned.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) meta: Meta,
    /// By number.
    pub(super) permit_keys: Vec<PermitKeyEntry>,
    /// The timeline of the server that was checked last.
    pub(super) checked_timeline: u64,
    /// The largest epoch of a row that was let go of.
    pub(super) let_go_epoch: u64,
    /// How long the rows are kept that no replica uses.
    pub(super) unused_kept: Duration,
    /// The revision that began the timeline of the store.
    pub(super) timeline_revision: u64,
    pub(super) revision: u64,
    pub(super) nonces: BTreeMap<u64, Nonce>,
    pub(super) breakers: BTreeMap<Key, Arc<BreakerEntry>>,
    /// By breaker and epoch.
    pub(super) probes: BTreeMap<(Key, u64), ProbeEntry>,
    /// In the order of the cursors.
    pub(super) history: Vec<Arc<StoredTransition>>,
    /// See [`crate::store::TransitionStore::history_floor`].
    pub(super) history_floor: u64,
    pub(super) receipts: BTreeMap<TransitionId, ReceiptEntry>,
    pub(super) configuration: Arc<StoredConfiguration>,
    /// In the order of the cursors.
    pub(super) audit: Vec<Arc<AuditEntry>>,
    pub(super) requests: BTreeMap<String, RequestEntry>,
}

/// A key of permits.
#[derive(Debug, Clone, Copy)]
pub(super) struct PermitKeyEntry {
    pub(super) number: u32,
    pub(super) secret: [u8; 16],
    pub(super) created_at: Time,
    pub(super) seals_since: Option<Time>,
}

/// What tells a revision from the same revision in another history.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nonce {
    pub(super) nonce: u64,
    pub(super) recorded_at: Time,
}

/// The newest state of a breaker, and the outage that lasts.
#[derive(Debug, Clone)]
pub(super) struct BreakerEntry {
    pub(super) state: BreakerState,
    pub(super) revision: u64,
    /// When a replica last said that it uses it; none: none did.
    pub(super) used_at: Option<Time>,
}

/// The slots of a half-open.
#[derive(Debug, Clone)]
pub(super) struct ProbeEntry {
    pub(super) rows: ProbeRows,
    /// When the last of them was written.
    pub(super) written_at: Time,
}

/// What an id was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReceiptEntry {
    /// None: it lost.
    pub(super) won_epoch: Option<u64>,
    /// None: its batch wrote nothing to the history.
    pub(super) revision: Option<u64>,
    pub(super) recorded_at: Time,
}

/// A row of the audit, and when it was written.
#[derive(Debug, Clone)]
pub(super) struct AuditEntry {
    pub(super) change: StoredChange,
    pub(super) recorded_at: Time,
}

/// The id of a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestEntry {
    pub(super) digest: u64,
    pub(super) revision: u64,
    pub(super) recorded_at: Time,
}

impl State {
    /// A store in which nothing was written yet.
    pub(super) fn new(random: &mut SeededRandom, now: Time) -> Self {
        let meta = Meta { store_id: random.number(), timeline: 0, id_key: random.key() };
        let first =
            PermitKeyEntry { number: 1, secret: meta.id_key, created_at: now, seals_since: Some(now) };
        Self {
            meta,
            permit_keys: vec![first],
            checked_timeline: 0,
            let_go_epoch: 0,
            unused_kept: UNUSED_ROWS_KEPT,
            timeline_revision: 0,
            revision: 0,
            nonces: BTreeMap::new(),
            breakers: BTreeMap::new(),
            probes: BTreeMap::new(),
            history: Vec::new(),
            history_floor: 0,
            receipts: BTreeMap::new(),
            configuration: Arc::default(),
            audit: Vec::new(),
            requests: BTreeMap::new(),
        }
    }

    /// See [`crate::store::TransitionStore::breakers`].
    pub(super) fn breakers(&self, after: Option<&Key>, limit: u32) -> Vec<StoredBreaker> {
        self.behind(after).take(limit as usize).map(|(key, entry)| entry.stored(key)).collect()
    }

    /// See [`crate::store::TransitionStore::transitions`].
    pub(super) fn transitions(&self, query: &TransitionQuery) -> Vec<StoredTransition> {
        let limit = query.limit as usize;
        let wanted = |row: &&Arc<StoredTransition>| is_wanted(row, query);
        let row = |row: &Arc<StoredTransition>| StoredTransition::clone(row);
        if query.oldest_first {
            let behind = |after| self.history.partition_point(|row| row.cursor <= after);
            let rows = &self.history[query.after.map_or(0, behind)..];
            return rows.iter().filter(wanted).take(limit).map(row).collect();
        }
        let rows = &self.history[..end_before(&self.history, query.after, |row| row.cursor)];
        rows.iter().rev().filter(wanted).take(limit).map(row).collect()
    }

    /// See [`crate::store::TransitionStore::breakers_without_history`].
    pub(super) fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
        now: Time,
    ) -> Vec<(Key, u64)> {
        let in_history: BTreeSet<&Key> = self.history.iter().map(|row| &row.key).collect();
        let old = self.behind(after).filter(|(key, entry)| {
            let snapshot = &entry.state.snapshot;
            snapshot.state == BreakerStateKind::Closed
                && snapshot.entered_at < before
                && !self.is_in_use(entry, now)
                && !in_history.contains(key)
        });
        old.take(limit as usize).map(|(key, entry)| (key.clone(), entry.state.snapshot.epoch)).collect()
    }

    /// Whether a replica has said lately that it uses a breaker.
    pub(super) fn is_in_use(&self, entry: &BreakerEntry, now: Time) -> bool {
        entry.used_at.is_some_and(|used_at| now.since(used_at) < self.unused_kept)
    }

    /// See [`crate::store::ConfigStore::changes`].
    pub(super) fn changes(&self, query: &ChangeQuery) -> Vec<StoredChange> {
        let rows = &self.audit[..end_before(&self.audit, query.after, |row| row.change.cursor)];
        let newest_first = rows.iter().rev().map(|row| &row.change);
        newest_first.filter(|row| is_change_wanted(row, query)).take(query.limit as usize).cloned().collect()
    }

    /// See [`crate::store::TimelineStore::position`].
    pub(super) fn position(&self, seen: u64, server_timeline: u64) -> Position {
        let nonce = |revision| self.nonces.get(&revision).map(|entry| entry.nonce);
        let newest = ChangeId { revision: self.revision, nonce: nonce(self.revision).unwrap_or_default() };
        let is_checked = self.checked_timeline == server_timeline;
        Position { timeline: self.meta.timeline, newest, nonce: nonce(seen), is_checked }
    }

    fn behind(&self, after: Option<&Key>) -> impl Iterator<Item = (&Key, &Arc<BreakerEntry>)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.breakers.range::<Key, _>((from, Bound::Unbounded))
    }
}

impl BreakerEntry {
    pub(super) fn stored(&self, key: &Key) -> StoredBreaker {
        let BreakerState { snapshot, entered_by, decided_by, .. } = &self.state;
        StoredBreaker {
            key: key.clone(),
            snapshot: snapshot.clone(),
            entered_by: *entered_by,
            decided_by: decided_by.clone(),
            revision: self.revision,
        }
    }
}

/// How many of these rows, which are in the order of their cursors, stand before `after`; all of them if there is none.
fn end_before<T>(rows: &[T], after: Option<HistoryCursor>, cursor: impl Fn(&T) -> HistoryCursor) -> usize {
    after.map_or(rows.len(), |after| rows.partition_point(|row| cursor(row) < after))
}

fn is_wanted(row: &StoredTransition, query: &TransitionQuery) -> bool {
    let TransitionQuery { service, name, to, from_time, until_time, oldest_first: _, after: _, limit: _ } =
        query;
    service.as_ref().is_none_or(|service| **service == **row.key.service())
        && name.as_ref().is_none_or(|name| **name == **row.key.name())
        && (to.is_empty() || to.contains(&row.to))
        && is_within(row.occurred_at, *from_time, *until_time)
}

fn is_change_wanted(row: &StoredChange, query: &ChangeQuery) -> bool {
    let ChangeQuery { service, kinds, actor, from_time, until_time, after: _, limit: _ } = query;
    let has_kind = |kind: &ChangeKind| *kind == row.kind;
    service.as_ref().is_none_or(|service| row.service.is_empty() || *service == row.service)
        && (kinds.is_empty() || kinds.iter().any(has_kind))
        && actor.as_ref().is_none_or(|actor| *actor == row.attribution.actor)
        && is_within(row.at, *from_time, *until_time)
}

fn is_within(time: Time, from: Option<Time>, until: Option<Time>) -> bool {
    from.is_none_or(|from| time >= from) && until.is_none_or(|until| time < until)
}
