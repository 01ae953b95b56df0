//! The steps of [`crate::store::script`], in memory. What they write is a draft until the transaction commits, so that a step
//! that fails leaves nothing behind. No step waits for anything.
//!
//! What is kept goes through the rows of the other stores ([`BreakerRow`], [`TransitionRow`] ...), so that it comes back
//! as it would from a database: texts without NUL, whole microseconds, and an error for a number that no column holds.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use breaker::{Key, Snapshot, State as BreakerStateKind};

use super::random::SeededRandom;
use super::state::{
    AuditEntry, BreakerEntry, Nonce, PermitKeyEntry, ProbeEntry, ReceiptEntry, RequestEntry, State,
};
use crate::catalog::{Changed, StoredDeclaration};
use crate::protocol_rules::{Rule, holds};
use crate::store::columns::bigint;
use crate::store::config_rows::{Audit, ServiceOverrideRow, override_json};
use crate::store::history::{Bumped, TransitionRow};
use crate::store::judge::{BreakerState, Judgement, LockedRows, Receipt, RowRevision, named_services};
use crate::store::layer_json;
use crate::store::permit_key_rows::PresentKey;
use crate::store::rows::{BreakerRow, keys};
use crate::store::script::WriteTransaction;
use crate::store::timestamp::Timestamp;
use crate::store::{
    ChangeId, ConfigEdit, ConfigWritten, Proposal, RequestId, StoreError, StoredBreaker, StoredConfiguration,
    StoredTransition, TransitionId,
};

/// What a write works on, under the lock of the store.
pub(super) struct Writer<'a> {
    pub(super) state: &'a mut State,
    pub(super) random: &'a mut SeededRandom,
    pub(super) now: Timestamp,
    /// The timeline that the server is on.
    pub(super) server_timeline: u64,
}

/// What a transaction has written so far.
#[derive(Default)]
pub(super) struct Draft {
    bumped: Option<(u64, Nonce)>,
    pub(super) breakers: Vec<(Key, BreakerEntry)>,
    pub(super) probes: Vec<((Key, u64), ProbeEntry)>,
    history: Vec<Arc<StoredTransition>>,
    receipts: Vec<(TransitionId, ReceiptEntry)>,
    audit: Vec<Arc<AuditEntry>>,
    permit_key: Option<PermitKeyEntry>,
    request: Option<(String, RequestEntry)>,
    configuration: Option<StoredConfiguration>,
    /// The timeline that it begins.
    pub(super) timeline: Option<u32>,
}

impl Draft {
    /// The change that it makes.
    pub(super) fn change(&self) -> Option<ChangeId> {
        let (revision, Nonce { nonce, .. }) = self.bumped?;
        Some(ChangeId { revision, nonce })
    }
}

/// The steps of what writes.
pub(super) struct MemoryTransaction<'a> {
    pub(super) writer: Writer<'a>,
    pub(super) draft: Draft,
    /// Several replicas have the store.
    is_shared: bool,
}

impl Writer<'_> {
    /// The next revision and its nonce.
    pub(super) fn next_revision(&mut self) -> (u64, Nonce) {
        let nonce = Nonce { nonce: self.random.number(), recorded_at: self.now.0 };
        (self.state.revision + 1, nonce)
    }
}

impl State {
    /// The newest change.
    pub(super) fn newest(&self) -> ChangeId {
        let nonce = self.nonces.get(&self.revision).map_or(0, |entry| entry.nonce);
        ChangeId { revision: self.revision, nonce }
    }

    /// Moves on to the next revision.
    pub(super) fn set_revision(&mut self, (revision, nonce): (u64, Nonce)) {
        self.revision = revision;
        self.nonces.insert(revision, nonce);
    }

    /// Keeps the id of a request; one that is known stays as it is.
    pub(super) fn keep_request(&mut self, id: String, entry: RequestEntry) {
        self.requests.entry(id).or_insert(entry);
    }

    /// What a change under this id was answered.
    pub(super) fn request(&self, request: &RequestId) -> Option<ConfigWritten> {
        self.requests.get(&request.id).map(|known| request.answer(known.digest, known.revision))
    }
}

impl<'a> MemoryTransaction<'a> {
    pub(super) fn new(writer: Writer<'a>) -> Self {
        Self { writer, draft: Draft::default(), is_shared: false }
    }

    /// Beside those of other replicas.
    pub(super) fn shared(writer: Writer<'a>) -> Self {
        Self { is_shared: true, ..Self::new(writer) }
    }

    /// The time, if the timeline of the server is checked.
    pub(super) fn checked(&self, act: &'static str) -> Result<Timestamp, StoreError> {
        let is_checked = self.writer.state.checked_timeline == self.writer.server_timeline;
        if self.is_shared && !is_checked && holds(Rule::NewServerNewTimeline) {
            let source = io::Error::other("the server is on a timeline that no replica has checked yet");
            let problem = "the database may have gone back";
            return Err(StoreError::Unavailable { act, problem, source: source.into() });
        }
        Ok(self.writer.now)
    }

    fn configuration(&mut self) -> &mut StoredConfiguration {
        let present = &self.writer.state.configuration;
        self.draft.configuration.get_or_insert_with(|| StoredConfiguration::clone(present))
    }

    fn write_breaker(&mut self, key: &Key, state: &BreakerState, bumped: Bumped) -> Result<(), StoreError> {
        let StoredBreaker { snapshot, entered_by, decided_by, .. } =
            BreakerRow::new(key, state)?.breaker()?;
        let state = BreakerState { is_stored: true, snapshot, entered_by, decided_by, ..state.clone() };
        let used_at = self.writer.state.breakers.get(key).and_then(|entry| entry.used_at);
        let entry = BreakerEntry { state, revision: bumped.revision.unsigned_abs(), used_at };
        self.draft.breakers.push((key.clone(), entry));
        Ok(())
    }
}

#[async_trait]
impl WriteTransaction for MemoryTransaction<'_> {
    /// The lock of the store is held already.
    async fn lock_revision(&mut self) -> Result<Timestamp, StoreError> {
        self.checked("lock the revision")
    }

    async fn read_rows<'a>(&mut self, proposals: &'a [Proposal]) -> Result<LockedRows<'a>, StoreError> {
        let timeline = self.draft.timeline.unwrap_or(self.writer.state.meta.timeline);
        let let_go_epoch = self.writer.state.let_go_epoch;
        let timeline = self.is_shared.then_some(timeline);
        let mut rows = LockedRows { timeline, let_go_epoch, ..LockedRows::default() };
        for key in keys(proposals) {
            if let Some(entry) = self.writer.state.breakers.get(key) {
                let probes = self.writer.state.probes.get(&(key.clone(), entry.state.snapshot.epoch));
                let first_probe_at = probes.and_then(|entry| entry.rows.first_probe_at);
                let row = BreakerState { first_probe_at, ..entry.state.clone() };
                let since = self.writer.state.timeline_revision;
                rows.present.insert(key, row.in_timeline_since(since, entry.revision));
            }
        }
        for Proposal { id, .. } in proposals {
            if let Some(entry) = self.writer.state.receipts.get(id) {
                rows.known.insert(id, entry.receipt());
            }
        }
        for service in named_services(proposals) {
            if let Some(set) = self.writer.state.configuration.overrides.get(service) {
                rows.services.insert(service.to_owned(), set.revision, set.expires_at);
            }
        }
        Ok(rows)
    }

    async fn bump(&mut self) -> Result<Bumped, StoreError> {
        let next = self.writer.next_revision();
        self.draft.bumped = Some(next);
        let revision = bigint("bump the revision", "revision", next.0)?;
        Ok(Bumped { revision, recorded_at: self.writer.now, nonce: next.1.nonce.cast_signed() })
    }

    async fn write_breakers(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        judgement.changed.iter().try_for_each(|(key, state)| self.write_breaker(key, state, bumped))
    }

    async fn write_history(&mut self, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
        for (number, entry) in judgement.entries.iter().enumerate() {
            let row = TransitionRow::new(entry, number, bumped)?.transition()?;
            self.draft.history.push(Arc::new(row));
        }
        Ok(())
    }

    /// Outages that are over are read by people, in SQL: none is kept here.
    async fn write_episodes(&mut self, _: &Judgement<'_>, _: Bumped) -> Result<(), StoreError> {
        Ok(())
    }

    /// As [`Self::write_episodes`].
    async fn write_open_time(&mut self, _: &Judgement<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn write_receipts(
        &mut self,
        judgement: &Judgement<'_>,
        revision: Option<i64>,
        recorded_at: Timestamp,
    ) -> Result<(), StoreError> {
        let (revision, recorded_at) = (revision.map(i64::unsigned_abs), recorded_at.0);
        let entry = |won_epoch| ReceiptEntry { won_epoch, revision, recorded_at };
        self.draft.receipts.extend(judgement.receipts.iter().map(|(id, won)| ((*id).clone(), entry(*won))));
        Ok(())
    }

    async fn present_permit_keys(&mut self) -> Result<Vec<PresentKey>, StoreError> {
        let keys = self.writer.state.permit_keys.iter();
        let present = |entry: &PermitKeyEntry| PresentKey {
            number: entry.number.into(),
            seals: entry.seals_since.is_some(),
        };
        Ok(keys.map(present).collect())
    }

    async fn write_permit_key(
        &mut self,
        number: i64,
        secret: &[u8; 16],
        bumped: Bumped,
    ) -> Result<(), StoreError> {
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        let created_at = bumped.recorded_at.0;
        self.draft.permit_key =
            Some(PermitKeyEntry { number, secret: *secret, created_at, seals_since: None });
        Ok(())
    }

    async fn write_audit(&mut self, audit: Audit, bumped: Bumped) -> Result<(), StoreError> {
        let entry = AuditEntry { change: audit.stored(bumped)?, recorded_at: bumped.recorded_at.0 };
        self.draft.audit.push(Arc::new(entry));
        Ok(())
    }

    /// As [`Self::lock_revision`].
    async fn lock_configuration(&mut self) -> Result<u64, StoreError> {
        Ok(self.writer.state.configuration.revision)
    }

    async fn find_request(&mut self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        Ok(self.writer.state.request(request))
    }

    async fn write_request(&mut self, request: &RequestId, bumped: Bumped) -> Result<(), StoreError> {
        let (revision, recorded_at) = (bumped.revision.unsigned_abs(), bumped.recorded_at.0);
        let entry = RequestEntry { digest: request.digest, revision, recorded_at };
        self.draft.request = Some((request.id.clone(), entry));
        Ok(())
    }

    async fn write_generation(&mut self, generation: u64) -> Result<Timestamp, StoreError> {
        bigint("write the configuration", "generation", generation)?;
        if let Some(stored) = &mut self.configuration().declared {
            stored.declaration.generation = Some(generation);
        }
        Ok(self.writer.now)
    }

    async fn open_breakers(&mut self, services: &BTreeSet<String>) -> Result<Vec<StoredBreaker>, StoreError> {
        // Those judged by the defaults may be of any service.
        let of_any = services.contains("");
        let open = self.writer.state.breakers.iter().filter(|(key, entry)| {
            let is_of_these = of_any || services.contains(&**key.service());
            is_of_these && entry.state.snapshot.state == BreakerStateKind::Open
        });
        Ok(open.map(|(key, entry)| entry.stored(key)).collect())
    }

    async fn write_waits(&mut self, waits: &[(Key, Snapshot)], bumped: Bumped) -> Result<(), StoreError> {
        for (key, after) in waits {
            if let Some(entry) = self.writer.state.breakers.get(key).cloned() {
                let snapshot = Snapshot { wait: after.wait, ..entry.state.snapshot.clone() };
                self.write_breaker(key, &BreakerState { snapshot, ..entry.state.clone() }, bumped)?;
            }
        }
        Ok(())
    }

    async fn write_edit(&mut self, edit: &ConfigEdit, bumped: Bumped) -> Result<Option<String>, StoreError> {
        let revision = bumped.revision.unsigned_abs();
        let configuration = self.configuration();
        match edit {
            ConfigEdit::Generation(_) => Ok(None),
            ConfigEdit::FileApplied(declaration) => {
                let generation = declaration.generation.unwrap_or_default();
                bigint("write the configuration", "generation", generation)?;
                let applied = StoredDeclaration { declaration: declaration.clone(), revision };
                let before = configuration.declared.replace(applied);
                Ok(before.map(|before| layer_json::to_json(&before.declaration)))
            }
            ConfigEdit::Thresholds { service, layer } => {
                let before = if layer.is_empty() {
                    configuration.set.remove(service)
                } else {
                    configuration.set.insert(service.clone(), layer.clone())
                };
                let changed = Changed { revision, at: bumped.recorded_at.0 };
                configuration.changed.entry(service.clone()).or_insert(changed);
                Ok(before.map(|before| layer_json::layer_to_text(&before)))
            }
            ConfigEdit::Override { service, set, .. } => {
                let before = configuration.overrides.remove(service);
                if let Some(set) = set {
                    let (service, set) = ServiceOverrideRow::new(service, set, bumped).stored()?;
                    configuration.overrides.insert(service, set);
                }
                Ok(before.map(|set| override_json(set.kind.as_str(), &set.attribution, set.expires_at)))
            }
        }
    }

    async fn write_service_revisions(
        &mut self,
        services: &BTreeSet<String>,
        bumped: Bumped,
    ) -> Result<(), StoreError> {
        let changed = Changed { revision: bumped.revision.unsigned_abs(), at: bumped.recorded_at.0 };
        self.configuration().changed.extend(services.iter().map(|service| (service.clone(), changed)));
        Ok(())
    }

    async fn write_configuration_revision(&mut self, bumped: Bumped) -> Result<(), StoreError> {
        self.configuration().revision = bumped.revision.unsigned_abs();
        Ok(())
    }

    async fn commit(self, _: &'static str) -> Result<(), StoreError> {
        let Draft {
            bumped,
            breakers,
            probes,
            history,
            receipts,
            audit,
            permit_key,
            request,
            configuration,
            timeline,
        } = self.draft;
        let state = self.writer.state;
        if let Some(next) = bumped {
            state.set_revision(next);
        }
        if let Some(timeline) = timeline {
            state.meta.timeline = timeline;
            state.timeline_revision = state.revision;
            state.checked_timeline = self.writer.server_timeline;
        }
        state.breakers.extend(breakers.into_iter().map(|(key, entry)| (key, Arc::new(entry))));
        state.probes.extend(probes);
        state.history.extend(history);
        state.receipts.extend(receipts);
        state.audit.extend(audit);
        state.permit_keys.extend(permit_key);
        if let Some((id, entry)) = request {
            state.keep_request(id, entry);
        }
        if let Some(configuration) = configuration {
            state.configuration = Arc::new(configuration);
        }
        Ok(())
    }

    async fn rollback(self) -> Result<(), StoreError> {
        Ok(())
    }
}

impl ReceiptEntry {
    fn receipt(self) -> Receipt {
        match (self.won_epoch, self.revision) {
            (Some(epoch), Some(revision)) => Receipt::Won { epoch, revision: RowRevision::At(revision) },
            _ => Receipt::Lost,
        }
    }
}
