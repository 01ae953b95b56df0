//! How a replica goes over into the timeline of a store that went back.
//!
//! Only the tail does. The replica that notices begins the timeline; each takes over every row there, sends again what
//! it has in its journal of the last minutes, which goes into the history, and then proposes the states that it was in.

use std::time::Duration;

use breaker::{Key, RowVersion, Snapshot, StoredRow, Time};
use tokio_util::sync::CancellationToken;

use super::tail::{ACT, PAGE, POLL_EVERY, Tail, log_unreadable};
use super::timelines::{Found, revisions};
use crate::engine::{StoreAnswer, TakenUp};
use crate::protocol_rules::{Rule, holds};
use crate::store::{Answered, ChangeId, ChangedRow, RowCursor, RowsPage, StoreError};
use crate::trouble::Trouble;

/// Larger than any revision, and a number that databases have.
const NO_REVISION: u64 = u64::MAX >> 2;
/// States that are proposed at one time.
const BATCH: usize = 500;

impl Tail {
    /// Follows the store from one timeline to another until `stop`, and reads nothing else: for a start, whose journal is sent first.
    pub async fn follow_timelines(&mut self, stop: &CancellationToken) {
        let trouble = Trouble::default();
        loop {
            match self.follow_timeline().await {
                Ok(()) => trouble.is_over(ACT, self.clock.now()),
                Err(error) => trouble.note(ACT, &error, self.clock.now()),
            }
            let pause = self.clock.sleep_until(self.clock.now() + POLL_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }

    /// Goes over into the timeline that the store is in, if it is another one; reads nothing else.
    ///
    /// # Errors
    /// As the store's.
    async fn follow_timeline(&mut self) -> Result<(), StoreError> {
        // Behind all rows.
        let cursor = RowCursor { revision: NO_REVISION, part: None };
        loop {
            let told = self.timelines.told();
            let page = self.store.rows_after(&cursor, &revisions(&told), 1).await?;
            if self.is_in_timeline(&told, &page).await? {
                return Ok(());
            }
        }
    }

    /// Whether the store goes on from the changes `told`, which it was asked about. If not, something is done about it, and it is to
    /// be asked again.
    pub(super) async fn is_in_timeline(
        &mut self,
        told: &[ChangeId],
        page: &RowsPage,
    ) -> Result<bool, StoreError> {
        let position = &page.position;
        match self.timelines.compare(told, page) {
            Found::WentBack => {
                tracing::warn!(
                    revision = position.newest.revision,
                    seen = self.timelines.seen.newest().revision,
                    is_server_checked = position.is_checked,
                    "the store went back (a restored backup, or a promoted standby): beginning another timeline"
                );
                self.store.begin_timeline(position.timeline, self.timelines.seen.timeline()).await?;
                Ok(false)
            }
            Found::Begun => {
                self.take_timeline(position.timeline).await?;
                Ok(false)
            }
            Found::Same => {
                self.timelines.seen.checked(told, position);
                Ok(true)
            }
        }
    }

    /// Goes over into a timeline of the store. If the store goes away, or back again, meanwhile, it is begun anew.
    pub(super) async fn take_timeline(&mut self, timeline: u32) -> Result<(), StoreError> {
        if self.engine.timeline() != timeline {
            // From here on no answer of the timeline before is taken, and none of this one for breakers that are not in it yet.
            self.engine.begin_timeline(timeline);
            self.timelines.taken_up.clear();
            self.timelines.entered_again.clear();
            // What is told of this one from here on: it may go back before all of its rows are read.
            self.timelines.seen.begin(timeline, ChangeId::default());
            if let Some(journal) =
                self.timelines.journal.as_ref().filter(|_| holds(Rule::OwnEntriesSentAgain))
            {
                journal.send_again();
            }
        }
        let mut cursor = RowCursor::default();
        let newest = loop {
            let told = self.timelines.told();
            let page = self.store.rows_after(&cursor, &revisions(&told), PAGE).await?;
            let position = page.position;
            if position.timeline != timeline || self.timelines.compare(&told, &page) == Found::WentBack {
                return Ok(());
            }
            self.timelines.seen.checked(&told, &position);
            self.note_configuration(page.configuration);
            log_unreadable(&page);
            let now = self.clock.now();
            let mut taken_up = Vec::new();
            for changed in &page.rows {
                self.timelines.keep_entered_again(changed);
                let ChangedRow { key, row, entered_by, .. } = changed;
                taken_up.extend(self.engine.take_timeline(key, row, *entered_by, now));
            }
            self.timelines.take_up(taken_up, timeline, now);
            cursor = page.next;
            if page.is_last {
                break position.newest;
            }
        };
        let now = self.clock.now();
        let outside = self.engine.outside_timeline();
        let taken_up = outside.iter().filter_map(|key| self.take_missing(key, timeline, now)).collect();
        self.timelines.take_up(taken_up, timeline, now);
        self.timelines.taken = timeline;
        self.cursor = cursor;
        tracing::warn!(
            timeline,
            revision = newest.revision,
            "the store has another timeline: breakers are as they are there"
        );
        Ok(())
    }

    /// A breaker of which the store has no row.
    fn take_missing(&self, key: &Key, timeline: u32, now: Time) -> Option<TakenUp> {
        let version = RowVersion { timeline, revision: 0 };
        let row = StoredRow { version, snapshot: Snapshot::pristine(), age: Duration::ZERO };
        self.engine.take_timeline(key, &row, None, now)
    }

    /// Proposes the states of before, if there are any left.
    pub(super) async fn propose_taken_up(&mut self) -> Result<(), StoreError> {
        while !self.timelines.taken_up.is_empty() {
            let count = self.timelines.taken_up.len().min(BATCH);
            let answered = self.store.propose_shared(&self.timelines.taken_up[..count]).await?;
            let now = self.clock.now();
            for Answered { row: ChangedRow { key, row, entered_by, .. }, newest, .. } in &answered {
                self.timelines.seen.note(row.version.timeline, *newest);
                self.engine.take_answer(key, &StoreAnswer::Row(row), *entered_by, now);
            }
            let went_back =
                answered.iter().any(|answered| answered.row.row.version.timeline != self.timelines.taken);
            self.timelines.taken_up.drain(..if went_back { 0 } else { count });
            if went_back {
                return Ok(());
            }
        }
        Ok(())
    }
}
