//! Follows the rows that other replicas change.
//!
//! The truth is the poll: rows that are newer than the last one that was read. A hint only makes it earlier.

use std::sync::Arc;
use std::time::Duration;

use breaker::Reason;
use breakerd_common::clock::Clock;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::newest_seen::NewestSeen;
use super::read_position::ReadPosition;
use super::timelines::{Timelines, revisions};
use crate::engine::{Engine, StoreAnswer};
use crate::journal::Journal;
use crate::protocol_rules::{Rule, holds};
use crate::store::{ChangedRow, RowCursor, RowPlace, RowsPage, SharedStore, StoreError, UnreadableRow};
use crate::trouble::Trouble;

/// What it asks of the store.
pub(super) const ACT: &str = "read what changed";
/// Between two polls that no hint brought forward.
pub(super) const POLL_EVERY: Duration = Duration::from_secs(1);
/// After a poll that the store did not answer.
const PAUSE: Duration = Duration::from_millis(100);
/// Rows of one poll.
pub(super) const PAGE: u32 = 1_000;

/// Brings the rows of the store to the breakers of this replica.
pub struct Tail {
    pub(super) engine: Arc<Engine>,
    pub(super) store: Arc<dyn SharedStore>,
    pub(super) clock: Arc<dyn Clock>,
    /// Somebody wrote.
    hint: Arc<Notify>,
    pub(super) cursor: RowCursor,
    /// The newest revision that changed what services are judged by.
    configuration: watch::Sender<u64>,
    /// What was read last, for who wants to know.
    read: Arc<ReadPosition>,
    pub(super) timelines: Timelines,
}

impl std::fmt::Debug for Tail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tail").field("cursor", &self.cursor).finish_non_exhaustive()
    }
}

impl Tail {
    /// From the beginning: the first poll brings every row there is.
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn SharedStore>,
        clock: Arc<dyn Clock>,
        hint: Arc<Notify>,
    ) -> Self {
        let (configuration, read) = (watch::Sender::new(0), Arc::new(ReadPosition::from(clock.now())));
        let timelines = Timelines::new(engine.timeline());
        Self { engine, store, clock, hint, cursor: RowCursor::default(), configuration, read, timelines }
    }

    /// The same, for a replica whose changes are in `journal`: in a new timeline it sends them again, and proposes what it was in.
    /// Answers tell `seen` of newer changes than were read.
    #[must_use]
    pub fn of_replica(mut self, journal: Arc<Journal>, seen: Arc<NewestSeen>) -> Self {
        self.timelines.follow(journal, seen, self.engine.timeline());
        self
    }

    /// What was read last.
    pub fn read(&self) -> Arc<ReadPosition> {
        Arc::clone(&self.read)
    }

    /// The newest revision that changed what services are judged by, as far as was read.
    pub fn configuration(&self) -> watch::Receiver<u64> {
        self.configuration.subscribe()
    }

    /// Reads all there is now. For a start, before anything is decided.
    ///
    /// # Errors
    /// As the store's.
    pub async fn catch_up(&mut self) -> Result<(), StoreError> {
        loop {
            let told = self.timelines.told();
            let page = self.store.rows_after(&self.cursor, &revisions(&told), PAGE).await?;
            if !self.is_in_timeline(&told, &page).await? {
                continue;
            }
            let now = self.clock.now();
            self.note_configuration(page.configuration);
            log_unreadable(&page);
            for changed in &page.rows {
                self.timelines.keep_entered_again(changed);
                let ChangedRow { key, row, entered_by, .. } = changed;
                self.engine.take_answer(key, &StoreAnswer::Row(row), *entered_by, now);
                if entered_by.is_some_and(|entered_by| entered_by.reason == Reason::Deleted) {
                    // The store has it, and so all before it.
                    self.engine.retire_deleted(key.service(), key.name(), u64::MAX, now);
                }
            }
            self.cursor = page.next;
            self.read.note(self.cursor.revision, now);
            if page.is_last {
                self.propose_taken_up().await?;
                self.read.note_whole();
                return Ok(());
            }
        }
    }

    /// First, as rows may come of it.
    pub(super) fn note_configuration(&self, newest: u64) {
        self.configuration.send_if_modified(|known| std::mem::replace(known, newest) != newest);
    }

    /// Follows until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let trouble = Trouble::default();
        loop {
            let pause = match self.catch_up().await {
                Ok(()) => {
                    trouble.is_over(ACT, self.clock.now());
                    POLL_EVERY
                }
                Err(error) => {
                    trouble.note(ACT, &error, self.clock.now());
                    PAUSE
                }
            };
            let pause = if holds(Rule::PollIsTruth) { pause } else { Duration::from_hours(1) };
            let next = async {
                tokio::select! {
                    biased;
                    () = self.clock.sleep_until(self.clock.now() + pause) => {}
                    () = self.hint.notified() => {}
                }
            };
            if stop.run_until_cancelled(next).await.is_none() {
                return;
            }
        }
    }
}

/// Read once, as the place to go on from is behind it.
pub(super) fn log_unreadable(page: &RowsPage) {
    for UnreadableRow { place: RowPlace { revision, service, name }, problem } in &page.unreadable {
        tracing::error!(service, name, revision, problem, "unreadable row of a breaker skipped");
    }
}
