//! What is done in a transaction that writes, and in which order: once, for every store.
//!
//! A store gives the steps ([`WriteTransaction`]), in SQL a statement or a few each. Whoever writes breakers has the
//! revision's row from its first read on: writers follow each other, so what was read still holds when it is written, and the
//! order of commits is that of the revisions.

use std::collections::BTreeSet;

use async_trait::async_trait;
use breaker::{Attribution, Key, Snapshot};

use super::config_rows::Audit;
use super::history::Bumped;
use super::judge::{Judgement, LockedRows, judge};
use super::permit_key_rows::PresentKey;
use super::permit_key_store::{PERMIT_KEYS_MAX, PermitKeyAdded};
use super::timestamp::Timestamp;
use super::{Answer, ConfigEdit, ConfigWrite, ConfigWritten, Proposal, RequestId, StoreError, StoredBreaker};
use crate::catalog::Changed;

/// A transaction of a store, by its steps. Dropped before it is committed, it changes nothing.
#[async_trait]
pub(super) trait WriteTransaction: Send {
    /// Becomes the only writer of breakers, and says what time it is by the store's clock.
    async fn lock_revision(&mut self) -> Result<Timestamp, StoreError>;

    /// The rows of the breakers that these proposals name, and which of their ids were answered before.
    async fn read_rows<'a>(&mut self, proposals: &'a [Proposal]) -> Result<LockedRows<'a>, StoreError>;

    /// The next revision, which those who follow the store are told of.
    async fn bump(&mut self) -> Result<Bumped, StoreError>;

    /// The rows of the breakers that changed.
    async fn write_breakers(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError>;

    /// The rows of the history.
    async fn write_history(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError>;

    /// The outages that ended.
    async fn write_episodes(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError>;

    /// The time in OPEN, by day.
    async fn write_open_time(&mut self, judgement: &Judgement<'_>) -> Result<(), StoreError>;

    /// What each id was answered; `revision` is none when nothing else is written.
    async fn write_receipts(
        &mut self,
        judgement: &Judgement<'_>,
        revision: Option<i64>,
        recorded_at: Timestamp,
    ) -> Result<(), StoreError>;

    /// The keys of permits that there are, by number. Nobody adds one meanwhile.
    async fn present_permit_keys(&mut self) -> Result<Vec<PresentKey>, StoreError>;

    /// A key of permits that does not seal yet.
    async fn write_permit_key(
        &mut self,
        number: i64,
        secret: &[u8; 16],
        bumped: Bumped,
    ) -> Result<(), StoreError>;

    /// A row of the audit.
    async fn write_audit(&mut self, audit: Audit, bumped: Bumped) -> Result<(), StoreError>;

    /// Becomes the only writer of the configuration, and answers the revision of its newest change.
    async fn lock_configuration(&mut self) -> Result<u64, StoreError>;

    /// What a change under this id was answered.
    async fn find_request(&mut self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError>;

    /// Keeps the id of a change.
    async fn write_request(&mut self, request: &RequestId, bumped: Bumped) -> Result<(), StoreError>;

    /// Writes the file's release number alone, and says when.
    async fn write_generation(&mut self, generation: u64) -> Result<Timestamp, StoreError>;

    /// The OPEN breakers of these services; under the empty name, of all.
    async fn open_breakers(&mut self, services: &BTreeSet<String>) -> Result<Vec<StoredBreaker>, StoreError>;

    /// Lets stored OPEN breakers wait as long as these snapshots say.
    async fn write_waits(&mut self, waits: &[(Key, Snapshot)], bumped: Bumped) -> Result<(), StoreError>;

    /// Writes what is changed. Answers what was there before, as JSON.
    async fn write_edit(&mut self, edit: &ConfigEdit, bumped: Bumped) -> Result<Option<String>, StoreError>;

    /// The configuration of these services is of this revision.
    async fn write_service_revisions(
        &mut self,
        services: &BTreeSet<String>,
        bumped: Bumped,
    ) -> Result<(), StoreError>;

    /// The configuration as a whole is of this revision.
    async fn write_configuration_revision(&mut self, bumped: Bumped) -> Result<(), StoreError>;

    /// Commits. `act` says what failed, if it does.
    async fn commit(self, act: &'static str) -> Result<(), StoreError>;

    /// Ends it with nothing written.
    async fn rollback(self) -> Result<(), StoreError>;
}

/// See [`super::TransitionStore::propose`].
pub(super) async fn propose(
    mut tx: impl WriteTransaction,
    proposals: &[Proposal],
) -> Result<Vec<Answer>, StoreError> {
    let now = tx.lock_revision().await?;
    let judgement = judge(proposals, tx.read_rows(proposals).await?, now.0);
    let revision = write_judgement(&mut tx, &judgement, now).await?;
    if judgement.receipts.is_empty() {
        tx.rollback().await?;
    } else {
        tx.commit("commit transitions").await?;
    }
    Ok(judgement.answers(revision))
}

/// Writes what was decided. Answers the revision; none: nothing was added to the history.
pub(super) async fn write_judgement(
    tx: &mut impl WriteTransaction,
    judgement: &Judgement<'_>,
    now: Timestamp,
) -> Result<Option<u64>, StoreError> {
    if judgement.receipts.is_empty() {
        return Ok(None);
    }
    if judgement.entries.is_empty() {
        tx.write_receipts(judgement, None, now).await?;
        return Ok(None);
    }
    let bumped = tx.bump().await?;
    tx.write_breakers(judgement, bumped).await?;
    tx.write_history(judgement, bumped).await?;
    tx.write_episodes(judgement, bumped).await?;
    tx.write_open_time(judgement).await?;
    for (number, entry) in judgement.entries.iter().enumerate() {
        if let Some(audit) = Audit::of_entry(entry, number)? {
            tx.write_audit(audit, bumped).await?;
        }
    }
    tx.write_receipts(judgement, Some(bumped.revision), bumped.recorded_at).await?;
    Ok(Some(bumped.revision.unsigned_abs()))
}

/// See [`super::ConfigStore::write_config`].
pub(super) async fn write_config(
    mut tx: impl WriteTransaction,
    write: &ConfigWrite<'_>,
) -> Result<ConfigWritten, StoreError> {
    let act = "write the configuration";
    let revision = tx.lock_configuration().await?;
    if let Some(request) = &write.request
        && let Some(known) = tx.find_request(request).await?
    {
        tx.rollback().await?;
        return Ok(known);
    }
    if revision != write.based_on {
        tx.rollback().await?;
        return Ok(ConfigWritten::Stale { revision });
    }
    if let ConfigEdit::Generation(generation) = write.edit {
        let at = tx.write_generation(generation).await?.0;
        tx.commit(act).await?;
        return Ok(ConfigWritten::Written(Changed { revision, at }));
    }
    // A breaker that opens meanwhile is written by the journal, behind this.
    let now = tx.lock_revision().await?;
    if let ConfigEdit::Override { not_before: Some(end), .. } = write.edit
        && now.0 < end
    {
        tx.rollback().await?;
        return Ok(ConfigWritten::Early);
    }
    let mut waits = Vec::new();
    for stored in tx.open_breakers(&write.touched).await? {
        if let Some(wait) = (write.waits)(&stored.key, &stored.snapshot) {
            waits.push((stored.key, Snapshot { wait: Some(wait), ..stored.snapshot }));
        }
    }
    let bumped = tx.bump().await?;
    if !waits.is_empty() {
        tx.write_waits(&waits, bumped).await?;
    }
    let before = tx.write_edit(&write.edit, bumped).await?;
    tx.write_service_revisions(&write.touched, bumped).await?;
    tx.write_audit(Audit::of_edit(&write.edit, &write.attribution, before), bumped).await?;
    if let Some(request) = &write.request {
        tx.write_request(request, bumped).await?;
    }
    tx.write_configuration_revision(bumped).await?;
    tx.commit(act).await?;
    Ok(ConfigWritten::Written(Changed { revision: bumped.revision.unsigned_abs(), at: bumped.recorded_at.0 }))
}

/// See [`super::PermitKeyStore::add_permit_key`].
pub(super) async fn add_permit_key(
    mut tx: impl WriteTransaction,
    secret: &[u8; 16],
    attribution: &Attribution,
) -> Result<PermitKeyAdded, StoreError> {
    tx.lock_revision().await?;
    let present = tx.present_permit_keys().await?;
    let newest = present.last().map_or(0, |key| key.number);
    let number = |number: i64| u32::try_from(number).unwrap_or(u32::MAX);
    let pending = present.last().filter(|key| !key.seals);
    if pending.is_some() || present.len() >= PERMIT_KEYS_MAX {
        tx.rollback().await?;
        let pending = pending.map(|key| PermitKeyAdded::Pending { number: number(key.number) });
        return Ok(pending.unwrap_or(PermitKeyAdded::Full));
    }
    let bumped = tx.bump().await?;
    tx.write_permit_key(newest + 1, secret, bumped).await?;
    tx.write_audit(Audit::of_permit_key(newest, newest + 1, attribution), bumped).await?;
    tx.commit("write a permit key").await?;
    Ok(PermitKeyAdded::Added { number: number(newest + 1) })
}
