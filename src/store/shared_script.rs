//! What is done in a transaction of a store that several replicas write to, and in which order: once, for every such store.
//!
//! Outcomes of probes may decide a transition, so that they wait for the revision's row as every writer of breakers does
//! ([`super::script`]). Claims change no state: they lock the rows of their breakers and nothing else, and hold up no other
//! breaker.

use std::collections::BTreeMap;

use async_trait::async_trait;
use breaker::{Key, ProbeAnswer, RowVersion, Snapshot, StoredRow, Time};

use super::entered_again::enter_again;
use super::judge::judge;
use super::judge::probes::{LockedProbes, ProbeRows, ProbeVerdict, decided_before, judge_probes, repeated};
use super::rows::keys;
use super::script::{WriteTransaction, write_judgement};
use super::shared_store::{Answered, ChangedRow, ProbeRequest, ProbeResponse};
use super::timestamp::Timestamp;
use super::{ChangeId, DecidedIn, Proposal, StoreError, StoredBreaker, StoredTransition, TransitionId};
use crate::protocol_rules::{Rule, holds};

/// The steps that are of a shared store alone.
#[async_trait]
pub(super) trait SharedTransaction: WriteTransaction {
    /// As [`WriteTransaction::lock_revision`], also while the timeline of the server is not checked.
    async fn lock_unchecked(&mut self) -> Result<Timestamp, StoreError>;

    /// Begins another timeline, with the revision that this transaction makes; none: the store is not in `present` any more.
    async fn begin_timeline(&mut self, present: u32, past: u32) -> Result<Option<u32>, StoreError>;

    /// The breakers that are half-open.
    async fn half_open_breakers(&mut self) -> Result<Vec<StoredBreaker>, StoreError>;

    /// Locks the rows of these breakers, and says what time it is by the store's clock.
    async fn lock_breakers(&mut self, keys: &[&Key]) -> Result<Timestamp, StoreError>;

    /// The rows of these breakers, those included that this transaction wrote, and the store's timeline. One whose outage cannot
    /// be read counts as one that cannot.
    async fn read_stored<'a>(&mut self, keys: &[&'a Key]) -> Result<StoredRows<'a>, StoreError>;

    /// The slots of the half-opens that are asked about.
    async fn read_probes<'a>(&mut self, wanted: &[(&'a Key, u64)]) -> Result<StoredProbes<'a>, StoreError>;

    /// Slots that changed.
    async fn write_probes(&mut self, changed: &BTreeMap<(&Key, u64), ProbeRows>) -> Result<(), StoreError>;

    /// The rows of the history that these changes have, those that stood when they came first; in any order.
    async fn read_decided(&mut self, ids: &[&TransitionId]) -> Result<Vec<StoredTransition>, StoreError>;
}

/// Rows of breakers; none for one that has no row.
pub(super) struct StoredRows<'a> {
    pub(super) timeline: u32,
    /// The newest change, this transaction's included.
    pub(super) newest: ChangeId,
    pub(super) rows: BTreeMap<&'a Key, StoredBreaker>,
    /// Those that cannot be read, and why.
    pub(super) unreadable: BTreeMap<&'a Key, String>,
}

/// The slots of half-opens.
#[derive(Default)]
pub(super) struct StoredProbes<'a> {
    pub(super) slots: BTreeMap<(&'a Key, u64), ProbeRows>,
    /// Breakers with slots that cannot be read, and why.
    pub(super) unreadable: BTreeMap<&'a Key, String>,
}

impl StoredRows<'_> {
    /// The row as it is answered to a replica. That there is none was so in `revision`; 0: in which is not known, and no replica
    /// takes it over what it knows.
    fn row(&self, key: &Key, revision: u64, now: Time) -> ChangedRow {
        if let Some(stored) = self.rows.get(key) {
            return changed_row(stored.clone(), self.timeline, now);
        }
        no_row(key.clone(), RowVersion { timeline: self.timeline, revision }, now)
    }
}

/// A breaker without a row, as it is answered to a replica.
pub(super) fn no_row(key: Key, version: RowVersion, now: Time) -> ChangedRow {
    let row = StoredRow { version, snapshot: Snapshot::pristine(), age: now.since(Time::ZERO) };
    ChangedRow { key, row, entered_by: None, decided_by: None }
}

/// A stored row as it is answered to a replica at `now`, by the store's clock.
pub(super) fn changed_row(stored: StoredBreaker, timeline: u32, now: Time) -> ChangedRow {
    let StoredBreaker { key, snapshot, entered_by, decided_by, revision } = stored;
    let age = now.since(snapshot.entered_at);
    ChangedRow {
        key,
        row: StoredRow { version: RowVersion { timeline, revision }, snapshot, age },
        entered_by,
        decided_by,
    }
}

/// See [`super::SharedStore::propose_shared`].
pub(super) async fn propose(
    mut tx: impl SharedTransaction,
    proposals: &[Proposal],
) -> Result<Vec<Answered>, StoreError> {
    let now = tx.lock_revision().await?;
    let locked_rows = tx.read_rows(proposals).await?;
    let let_go_epoch = locked_rows.let_go_epoch;
    let judgement = judge(proposals, locked_rows, now.0);
    let revision = write_judgement(&mut tx, &judgement, now).await?;
    let stored = tx.read_stored(&keys(proposals)).await?;
    if judgement.receipts.is_empty() {
        tx.rollback().await?;
    } else {
        tx.commit("commit transitions").await?;
    }
    let answered = |(proposal, answer): (&Proposal, _)| {
        // The revision is locked: nobody has made one since. Of a later epoch no row was let go of: the store has lost it, which
        // the tail finds out.
        let is_let_go = proposal.change.base_epoch() <= let_go_epoch;
        let row = stored.row(&proposal.key, if is_let_go { stored.newest.revision } else { 0 }, now.0);
        Answered { answer, row, newest: stored.newest }
    };
    Ok(proposals.iter().zip(judgement.answers(revision)).map(answered).collect())
}

/// See [`super::SharedStore::ask_probes`].
pub(super) async fn ask_probes(
    mut tx: impl SharedTransaction,
    requests: &[ProbeRequest],
) -> Result<Vec<ProbeResponse>, StoreError> {
    let mut wanted: Vec<_> = requests.iter().map(|request| (request.key(), request.epoch())).collect();
    wanted.sort_unstable();
    wanted.dedup();
    let mut keys: Vec<_> = wanted.iter().map(|(key, _)| *key).collect();
    keys.dedup();
    if requests.iter().any(|request| matches!(request, ProbeRequest::Settle { .. })) {
        tx.lock_revision().await?;
    }
    let now = tx.lock_breakers(&keys).await?;
    let stored = tx.read_stored(&keys).await?;
    let rows = stored.rows.iter().map(|(key, stored)| (*key, stored.snapshot.clone())).collect();
    let StoredProbes { slots, mut unreadable } = tx.read_probes(&wanted).await?;
    unreadable.extend(stored.unreadable.iter().map(|(key, problem)| (*key, problem.clone())));
    let readable: Vec<_> =
        requests.iter().filter(|request| !unreadable.contains_key(request.key())).collect();
    let locked_probes = LockedProbes { timeline: stored.timeline, rows, slots };
    let mut probes = judge_probes(readable.iter().copied(), locked_probes, now.0);
    for decided in &mut probes.decided {
        decided.decided_in = DecidedIn::timeline(stored.timeline);
    }
    tx.write_probes(&probes.changed).await?;
    let stored = if probes.decided.is_empty() {
        stored
    } else {
        let judgement = judge(&probes.decided, tx.read_rows(&probes.decided).await?, now.0);
        write_judgement(&mut tx, &judgement, now).await?;
        tx.read_stored(&keys).await?
    };
    let repeated = repeated(&readable, &probes.verdicts);
    let before = if repeated.is_empty() { Vec::new() } else { tx.read_decided(&repeated).await? };
    tx.commit("commit probes").await?;
    let response = |request: &ProbeRequest, verdict: ProbeVerdict| {
        // One may have been inserted behind the locks.
        let row = stored.row(request.key(), 0, now.0);
        match verdict {
            ProbeVerdict::Claimed(grant) => ProbeResponse::Claimed { grant, row, newest: stored.newest },
            ProbeVerdict::Released => ProbeResponse::Released,
            ProbeVerdict::Settled(settled, counts) => {
                let ChangedRow { row, entered_by, decided_by, .. } = row;
                let answer = ProbeAnswer { settled, counts, row };
                let is_of = |decided: &&Proposal| matches!(request, ProbeRequest::Settle { id, .. } if *id == decided.id);
                let decided = probes.decided.iter().find(is_of).cloned();
                let decided = decided.or_else(|| decided_before(request, &before)).map(Box::new);
                ProbeResponse::Settled { answer, entered_by, decided_by, decided, newest: stored.newest }
            }
        }
    };
    let mut verdicts = probes.verdicts.into_iter();
    let responses = requests.iter().filter_map(|request| match unreadable.get(request.key()) {
        Some(problem) => Some(ProbeResponse::Unreadable(problem.clone())),
        None => Some(response(request, verdicts.next()?)),
    });
    Ok(responses.collect())
}

/// See [`super::SharedStore::begin_timeline`].
pub(super) async fn begin_timeline(
    mut tx: impl SharedTransaction,
    present: u32,
    past: u32,
) -> Result<(), StoreError> {
    let now = tx.lock_unchecked().await?;
    let Some(timeline) = tx.begin_timeline(present, past).await? else {
        return tx.rollback().await;
    };
    let half_open =
        if holds(Rule::HalfOpenEntersAgain) { tx.half_open_breakers().await? } else { Vec::new() };
    let again: Vec<_> = half_open.into_iter().map(|breaker| enter_again(breaker, timeline, now.0)).collect();
    let judgement = judge(&again, tx.read_rows(&again).await?, now.0);
    if write_judgement(&mut tx, &judgement, now).await?.is_none() {
        tx.bump().await?;
    }
    tx.commit("commit a timeline").await
}
