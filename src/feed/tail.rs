//! The newest rows of the history in memory, read from the store by one task for all watchers.
//!
//! A watcher that lags further than memory reaches reads pages from the store, a few at a time, until it has caught up.
//! Rows are ordered by their [`HistoryCursor`], the order in which transactions committed: what is after a cursor is
//! complete, always, and so nothing is left out and nothing sent twice, whichever of the two it was read from.

use std::collections::VecDeque;
use std::sync::Arc;

use breaker::{Key, Time};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::anchors::Anchors;
use crate::metrics::WatchMetrics;
use crate::store::{
    ChangeId, HistoryCursor, Position, Store, StoreError, StoredBreaker, StoredTransition, TransitionQuery,
};

/// Rows in memory: some megabytes, and a few seconds of the most that a store takes in.
const ROWS_MAX: usize = 8_192;
/// Rows read at one time.
const PAGE: u32 = 1_000;
/// Watchers that read from the store at one time: deciding and the journal need it too. A watcher reads in a task that is
/// polled whatever its client does; a permit held by a stream that is not polled would be lost to all others.
const READS_AT_ONCE: usize = 4;

/// The end of the history, for all watchers.
pub struct HistoryTail {
    store: Arc<dyn Store>,
    ring: Mutex<Ring>,
    /// What was seen of the store, and in which timeline.
    anchors: Mutex<Anchors>,
    /// The revision up to which everything is in the ring.
    newest: watch::Sender<u64>,
    reads: Semaphore,
    rows_max: usize,
    metrics: WatchMetrics,
}

#[derive(Debug)]
struct Ring {
    /// None: the store was not read yet.
    head: Option<Head>,
    rows: VecDeque<Arc<StoredTransition>>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    /// Every row after this cursor, up to `revision`, is in the ring.
    floor: HistoryCursor,
    /// Up to which revision the store was read.
    revision: u64,
    /// The last row that was read.
    last: HistoryCursor,
    polled_at: Time,
}

/// What memory has after a cursor.
#[derive(Debug)]
pub enum RowsAfter {
    /// These rows, the oldest first.
    Rows(Vec<Arc<StoredTransition>>),
    /// Nothing: all up to this revision was read.
    Nothing {
        /// The revision.
        revision: u64,
    },
    /// Memory does not reach back so far: read the store.
    NotInMemory,
}

/// What the store has after a cursor.
#[derive(Debug)]
pub enum Page {
    /// These rows, the oldest first; none: nothing yet.
    Rows(Vec<Arc<StoredTransition>>),
    /// Rows after it have been pruned.
    TooOld,
}

/// The result of [`HistoryTail::poll_store`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// The history that was there before, and perhaps more of it.
    Continued,
    /// Another history: a backup was restored, as the nonces or a timeline that another process has given the store show.
    /// Nothing was read of it; [`HistoryTail::reset`] does.
    Restored(Position),
}

/// Whether the history that a client was sent is still the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is.
    Present,
    /// The store is before it.
    Newer,
    /// The store has another one.
    Replaced,
    /// The change is pruned, so that the store cannot tell.
    TooOld,
}

/// The end of a revision: after all of its rows.
pub(crate) const fn end_of(revision: u64) -> HistoryCursor {
    HistoryCursor { revision, number: u32::MAX }
}

impl HistoryTail {
    /// Of this store. Empty before [`HistoryTail::poll_store`].
    pub fn new(store: Arc<dyn Store>, metrics: WatchMetrics) -> Self {
        Self::with_rows_max(ROWS_MAX, store, metrics)
    }

    /// With so many rows in memory.
    pub fn with_rows_max(rows_max: usize, store: Arc<dyn Store>, metrics: WatchMetrics) -> Self {
        Self {
            store,
            ring: Mutex::new(Ring { head: None, rows: VecDeque::new() }),
            anchors: Mutex::default(),
            newest: watch::Sender::new(0),
            reads: Semaphore::new(READS_AT_ONCE),
            rows_max,
            metrics,
        }
    }

    /// Wakes when there is more.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.newest.subscribe()
    }

    /// Every transition up to this revision of the store is here.
    pub fn revision(&self) -> u64 {
        *self.newest.borrow()
    }

    /// The newest change of the store that was seen: names the history that everything sent so far is of.
    pub fn anchor(&self) -> ChangeId {
        self.anchors.lock().newest()
    }

    /// The timeline of the store, and the newest change of it that was seen; none: it was not read yet.
    pub fn seen(&self) -> Option<(u32, ChangeId)> {
        let anchors = self.anchors.lock();
        anchors.timeline().map(|timeline| (timeline, anchors.newest()))
    }

    /// A change of the store at `revision` or after it, from memory if that reaches so far.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn anchor_at(&self, revision: u64) -> Result<ChangeId, StoreError> {
        let known = self.anchor();
        if known.revision >= revision {
            return Ok(known);
        }
        let _permit = self.permit().await;
        // Another one may have read it while this one waited.
        let known = self.anchor();
        if known.revision < revision {
            self.read_position().await?;
        }
        Ok(self.anchor())
    }

    /// Whether the history that `anchor` names is still the store's. One of this process is found in memory.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn check(&self, anchor: ChangeId) -> Result<Checked, StoreError> {
        if anchor.revision == 0 || self.anchors.lock().contains(anchor) {
            return Ok(Checked::Present);
        }
        let _permit = self.permit().await;
        let position = self.store.position(anchor.revision).await?;
        Ok(match position.nonce {
            _ if position.newest.revision < anchor.revision => Checked::Newer,
            Some(nonce) if nonce == anchor.nonce => Checked::Present,
            Some(_) => Checked::Replaced,
            None => Checked::TooOld,
        })
    }

    /// Reads what is new in the store. One at a time. A restored store is given another timeline.
    ///
    /// # Errors
    /// When the store does not answer: what is here stays, and the next poll goes on after it.
    pub async fn poll_store(&self, now: Time) -> Result<Polled, StoreError> {
        let polled = self.read_new(now).await;
        if polled.is_err() {
            let polled_at = self.ring.lock().head.map_or(now, |head| head.polled_at);
            self.metrics.tail_lag_seconds.set(now.since(polled_at).as_secs_f64());
        }
        polled
    }

    async fn read_new(&self, now: Time) -> Result<Polled, StoreError> {
        let seen = self.anchor();
        let position = self.store.position(seen.revision).await?;
        let timeline = self.anchors.lock().timeline();
        if !self.anchors.lock().note(seen, &position) {
            return self
                .with_new_timeline(position, timeline.unwrap_or_default())
                .await
                .map(Polled::Restored);
        }
        let revision = position.newest.revision;
        let before = self.ring.lock().head;
        let Some(head) = before else {
            self.start_after(revision, now);
            return Ok(Polled::Continued);
        };
        let (mut after, mut lag) = (head.last, None);
        let mut has_more = revision > head.revision;
        while has_more {
            let mut rows = self.page(after, PAGE).await?;
            let is_last = rows.len() < PAGE as usize;
            // What was written after the position was read is left to the next poll: no anchor reaches so far yet.
            rows.retain(|row| row.cursor.revision <= revision);
            if let Some(last) = rows.last() {
                lag = lag.or_else(|| rows.first().map(|first| now.since(first.recorded_at)));
                after = last.cursor;
            }
            let is_last = is_last || rows.len() < PAGE as usize;
            // A page that is full may end in the middle of a revision.
            let complete_to =
                if is_last { revision } else { after.revision.saturating_sub(1).max(head.revision) };
            self.take(rows, complete_to, after, now);
            has_more = !is_last;
        }
        if let Some(head) = &mut self.ring.lock().head {
            head.polled_at = now;
        }
        self.metrics.tail_lag_seconds.set(lag.unwrap_or_default().as_secs_f64());
        Ok(Polled::Continued)
    }

    /// The position of the store once it has a new timeline, unless another process gave it one already.
    async fn with_new_timeline(&self, position: Position, timeline: u32) -> Result<Position, StoreError> {
        if position.timeline > timeline {
            return Ok(position);
        }
        self.store.renew_timeline(position.timeline, timeline).await?;
        self.store.position(0).await
    }

    /// What an earlier life of this process last saw of the store, before it was read: a store that went back meanwhile is found
    /// out by it.
    pub fn resume(&self, timeline: u32, newest: ChangeId) {
        self.anchors.lock().reset(&Position { timeline, newest, nonce: None, is_checked: true });
    }

    /// Forgets what was read, and follows the history that the store has now, from `position` on.
    pub fn reset(&self, position: &Position, now: Time) {
        self.anchors.lock().reset(position);
        self.start_after(position.newest.revision, now);
    }

    fn start_after(&self, revision: u64, now: Time) {
        let cursor = end_of(revision);
        {
            let mut ring = self.ring.lock();
            ring.rows.clear();
            ring.head = Some(Head { floor: cursor, revision, last: cursor, polled_at: now });
        }
        self.newest.send_replace(revision);
    }

    fn take(&self, rows: Vec<StoredTransition>, revision: u64, last: HistoryCursor, now: Time) {
        let mut ring = self.ring.lock();
        let ring_now = &mut *ring;
        let Some(head) = &mut ring_now.head else { return };
        head.revision = revision;
        head.last = last;
        head.polled_at = now;
        for row in rows {
            if ring_now.rows.len() == self.rows_max
                && let Some(gone) = ring_now.rows.pop_front()
            {
                head.floor = gone.cursor;
            }
            ring_now.rows.push_back(Arc::new(row));
        }
        drop(ring);
        self.newest.send_replace(revision);
    }

    /// The rows in memory after `cursor`, at most `limit`.
    pub fn after(&self, cursor: HistoryCursor, limit: usize) -> RowsAfter {
        let ring = self.ring.lock();
        let Some(head) = ring.head else { return RowsAfter::NotInMemory };
        if cursor < head.floor {
            return RowsAfter::NotInMemory;
        }
        let from = ring.rows.partition_point(|row| row.cursor <= cursor);
        let rows: Vec<_> = ring.rows.range(from..).take(limit).cloned().collect();
        if rows.is_empty() { RowsAfter::Nothing { revision: head.revision } } else { RowsAfter::Rows(rows) }
    }

    /// The rows after `cursor` in the store, at most `limit`. [`HistoryTail::anchor`] is at least at the last one then.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self, cursor: HistoryCursor, limit: u32) -> Result<Page, StoreError> {
        let _permit = self.permit().await;
        let rows = self.page(cursor, limit).await?;
        // Read after the rows: it shows whether some were pruned before they were read.
        if cursor < end_of(self.store.history_floor().await?) {
            return Ok(Page::TooOld);
        }
        if rows.last().is_some_and(|last| last.cursor.revision > self.anchor().revision) {
            self.read_position().await?;
        }
        Ok(Page::Rows(rows.into_iter().map(Arc::new).collect()))
    }

    /// The newest revision of the store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn newest_revision(&self) -> Result<u64, StoreError> {
        let _permit = self.permit().await;
        Ok(self.read_position().await?.newest.revision)
    }

    /// The newest states in the store, a page after `after`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        let _permit = self.permit().await;
        self.store.breakers(after, limit).await
    }

    async fn permit(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.metrics.store_reads_total.inc();
        // It is never closed.
        self.reads.acquire().await.ok()
    }

    /// The position of the store now, which is recorded if it is of the history that is followed.
    async fn read_position(&self) -> Result<Position, StoreError> {
        let seen = self.anchor();
        let position = self.store.position(seen.revision).await?;
        self.anchors.lock().note(seen, &position);
        Ok(position)
    }

    async fn page(&self, after: HistoryCursor, limit: u32) -> Result<Vec<StoredTransition>, StoreError> {
        let query =
            TransitionQuery { oldest_first: true, after: Some(after), limit, ..TransitionQuery::default() };
        self.store.transitions(&query).await
    }
}

impl std::fmt::Debug for HistoryTail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HistoryTail").field("revision", &self.revision()).finish_non_exhaustive()
    }
}
