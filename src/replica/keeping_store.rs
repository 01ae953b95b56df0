//! Writes down what this replica reads of the store, before anybody is told of it, where no replica may have it on disk.
//!
//! That is what the outcome of a probe decided, and a state of before that a replica took up in a new timeline: it is known only in the
//! store how that came out, and the replica that sent it may never have heard of it. Others read the row, and tell their callers. Should
//! the store go back to before it, each of them sends it again, under the id that the row names, and the history has it once.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use breaker::{EnteredBy, Key, StoredRow};
use parking_lot::Mutex;

use crate::journal::{ACKNOWLEDGED_KEPT, Journal};
use crate::protocol_rules::{Rule, holds};
use crate::store::{
    Answer, Answered, ChangedRow, DecidedBy, DecidedIn, ProbeRequest, ProbeResponse, Proposal, RowCursor,
    RowsPage, SharedStore, StoreError, Told, TransitionId, decided_in_store,
};

/// Ids of what was kept that are remembered. Beyond it they are forgotten, and a row that is read again is kept again, which says
/// nothing new.
const REMEMBERED_MAX: usize = 16_384;

/// Passes on what is asked of the store, and keeps in the journal what it answers.
pub(super) struct KeepingStore {
    store: Arc<dyn SharedStore>,
    journal: Arc<Journal>,
    kept: Mutex<HashSet<TransitionId>>,
}

impl KeepingStore {
    /// Keeps it in `journal`.
    pub(super) fn new(store: Arc<dyn SharedStore>, journal: Arc<Journal>) -> Self {
        Self { store, journal, kept: Mutex::default() }
    }

    fn keep(&self, changed: &ChangedRow) {
        let ChangedRow { key, row, entered_by, decided_by } = changed;
        self.keep_row(key, row, *entered_by, decided_by.as_ref());
    }

    /// What is older is not sent again either, if the store goes back.
    fn keep_row(
        &self,
        key: &Key,
        row: &StoredRow,
        entered_by: Option<EnteredBy>,
        decided_by: Option<&DecidedBy>,
    ) {
        let is_new = row.age < ACKNOWLEDGED_KEPT && holds(Rule::DecidedRowsKept);
        if let Some((entered_by, decided_by)) = entered_by.zip(decided_by).filter(|_| is_new)
            && !self.kept.lock().contains(&decided_by.id)
        {
            self.journal.keep(decided_in_store(key, row, entered_by, decided_by));
            // Not before: another task that reads the row meanwhile would tell of it, and it is on no disk yet.
            self.remember_kept(&decided_by.id);
        }
    }

    fn remember_kept(&self, id: &TransitionId) {
        let mut kept = self.kept.lock();
        if kept.len() >= REMEMBERED_MAX {
            kept.clear();
        }
        kept.insert(id.clone());
    }

    /// Who proposed a state of before keeps it with all that it knows of it: should a backup of this timeline be restored, it is taken
    /// up there.
    fn keep_taken_up(&self, proposal: &Proposal, answer: &Answer) {
        let DecidedIn { taken_up, is_repeat, .. } = proposal.decided_in;
        let is_won = matches!(answer, Answer::Won { .. });
        if taken_up.is_some() && is_won && !is_repeat && holds(Rule::DecidedRowsKept) {
            self.journal.keep(proposal.clone().answered(answer));
            self.remember_kept(&proposal.id);
        }
    }

    fn keep_settled(&self, requests: &[ProbeRequest], responses: &[ProbeResponse]) {
        for response in responses {
            if let ProbeResponse::Settled { decided: Some(decided), .. } = response {
                // Who sent the outcome keeps it, with all that the store has said of it.
                self.remember_kept(&decided.id);
            }
        }
        for (request, response) in requests.iter().zip(responses) {
            match response {
                ProbeResponse::Claimed { row, .. } => self.keep(row),
                ProbeResponse::Settled { answer, entered_by, decided_by, .. } => {
                    self.keep_row(request.key(), &answer.row, *entered_by, decided_by.as_ref());
                }
                ProbeResponse::Released | ProbeResponse::Unreadable(_) => {}
            }
        }
    }
}

impl std::fmt::Debug for KeepingStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeepingStore").field("journal", &self.journal).finish_non_exhaustive()
    }
}

#[async_trait]
impl SharedStore for KeepingStore {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        let answered = self.store.propose_shared(proposals).await?;
        for (proposal, Answered { answer, row, .. }) in proposals.iter().zip(&answered) {
            self.keep_taken_up(proposal, answer);
            self.keep(row);
        }
        Ok(answered)
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        let responses = self.store.ask_probes(requests).await?;
        self.keep_settled(requests, &responses);
        Ok(responses)
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        let page = self.store.rows_after(after, seen, limit).await?;
        for changed in &page.rows {
            self.keep(changed);
        }
        Ok(page)
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        let others = self.store.use_rows(used).await?;
        for changed in &others {
            self.keep(changed);
        }
        Ok(others)
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.store.begin_timeline(present, past).await
    }

    async fn listen(&self, told: &(dyn Fn(Told) + Send + Sync)) -> StoreError {
        self.store.listen(told).await
    }
}
