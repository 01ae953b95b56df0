//! The newest rows of the history in memory, read from the store by one task for all watchers.
//!
//! Whoever is further behind than memory reaches reads pages from the store, a few at a time, until it has caught up.
//! Rows are told by their [`HistoryCursor`], which is the order in which transactions committed: what is behind a place is
//! complete, always, and so nothing is left out and nothing told twice, whichever of the two it was read from.

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
/// Watchers that read from the store at one time: deciding and the journal need it too. Who reads does so in a task that is
/// polled whatever its client does; a permit held by a stream that nobody polls would be lost to all others.
const READS_AT_ONCE: usize = 4;

/// The end of the history, for all who follow it.
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
    /// Every row behind this place, up to `revision`, is in the ring.
    floor: HistoryCursor,
    /// Up to which revision the store was read.
    revision: u64,
    /// The last row that was read.
    last: HistoryCursor,
    looked_at: Time,
}

/// What memory has behind a place.
#[derive(Debug)]
pub enum Behind {
    /// These rows, the oldest first.
    Rows(Vec<Arc<StoredTransition>>),
    /// Nothing: all up to this revision has been told.
    Nothing {
        /// The revision.
        revision: u64,
    },
    /// It does not reach so far: ask the store.
    Beyond,
}

/// What the store has behind a place.
#[derive(Debug)]
pub enum Page {
    /// These rows, the oldest first; none: nothing yet.
    Rows(Vec<Arc<StoredTransition>>),
    /// Rows behind it have been let go of.
    TooOld,
}

/// What a look at the store found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// The history that was there before, and perhaps more of it.
    Followed,
    /// Another history: a backup was restored, by the nonces or by a timeline that another process has given the store.
    /// Nothing was read of it; [`HistoryTail::begin_anew`] does.
    WentBack(Position),
}

/// Whether the history that somebody was told of is still the store's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Checked {
    /// It is.
    Present,
    /// The store is before it.
    Newer,
    /// The store has another one.
    Replaced,
    /// So much has happened since that the store cannot tell any more.
    TooOld,
}

/// The end of a revision: behind all of its rows.
pub(crate) const fn end_of(revision: u64) -> HistoryCursor {
    HistoryCursor { revision, number: u32::MAX }
}

impl HistoryTail {
    /// Of this store. Nothing is in it before [`HistoryTail::look`].
    pub fn new(store: Arc<dyn Store>, metrics: WatchMetrics) -> Self {
        Self::remembering(ROWS_MAX, store, metrics)
    }

    /// With so many rows in memory.
    pub fn remembering(rows_max: usize, store: Arc<dyn Store>, metrics: WatchMetrics) -> Self {
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

    /// The newest change of the store that was seen: names the history that everything told so far is of.
    pub fn anchor(&self) -> ChangeId {
        self.anchors.lock().newest()
    }

    /// The timeline of the store, and the newest change of it that was seen; none: it was not read yet.
    pub fn seen(&self) -> Option<(u32, ChangeId)> {
        let anchors = self.anchors.lock();
        anchors.timeline().map(|timeline| (timeline, anchors.newest()))
    }

    /// A change of the store at `revision` or behind it, from memory if that reaches so far.
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

    /// Reads what is new in the store. One at a time. What it finds to have gone back it gives another timeline.
    ///
    /// # Errors
    /// When the store does not answer: what is here stays, and the next look goes on behind it.
    pub async fn look(&self, now: Time) -> Result<Looked, StoreError> {
        let looked = self.look_at_store(now).await;
        if looked.is_err() {
            let looked_at = self.ring.lock().head.map_or(now, |head| head.looked_at);
            self.metrics.tail_lag_seconds.set(now.since(looked_at).as_secs_f64());
        }
        looked
    }

    async fn look_at_store(&self, now: Time) -> Result<Looked, StoreError> {
        let seen = self.anchor();
        let position = self.store.position(seen.revision).await?;
        let timeline = self.anchors.lock().timeline();
        if !self.anchors.lock().note(seen, &position) {
            return self.renewed(position, timeline.unwrap_or_default()).await.map(Looked::WentBack);
        }
        let revision = position.newest.revision;
        let before = self.ring.lock().head;
        let Some(head) = before else {
            self.start_behind(revision, now);
            return Ok(Looked::Followed);
        };
        let (mut after, mut lag) = (head.last, None);
        let mut is_behind = revision > head.revision;
        while is_behind {
            let mut rows = self.page(after, PAGE).await?;
            let is_last = rows.len() < PAGE as usize;
            // What came after the position was read is told by the next look: no anchor reaches so far yet.
            rows.retain(|row| row.cursor.revision <= revision);
            if let Some(last) = rows.last() {
                lag = lag.or_else(|| rows.first().map(|first| now.since(first.recorded_at)));
                after = last.cursor;
            }
            let is_last = is_last || rows.len() < PAGE as usize;
            // A page that is full may end in the middle of a revision.
            let told = if is_last { revision } else { after.revision.saturating_sub(1).max(head.revision) };
            self.take(rows, told, after, now);
            is_behind = !is_last;
        }
        if let Some(head) = &mut self.ring.lock().head {
            head.looked_at = now;
        }
        self.metrics.tail_lag_seconds.set(lag.unwrap_or_default().as_secs_f64());
        Ok(Looked::Followed)
    }

    /// Where the store is once it has a timeline of its own, if another process did not give it one already.
    async fn renewed(&self, position: Position, timeline: u32) -> Result<Position, StoreError> {
        if position.timeline > timeline {
            return Ok(position);
        }
        self.store.renew_timeline(position.timeline, timeline).await?;
        self.store.position(0).await
    }

    /// Forgets what was read, and follows the history that the store has now, from `position` on.
    pub fn begin_anew(&self, position: &Position, now: Time) {
        self.anchors.lock().begin_anew(position);
        self.start_behind(position.newest.revision, now);
    }

    fn start_behind(&self, revision: u64, now: Time) {
        let place = end_of(revision);
        {
            let mut ring = self.ring.lock();
            ring.rows.clear();
            ring.head = Some(Head { floor: place, revision, last: place, looked_at: now });
        }
        self.newest.send_replace(revision);
    }

    fn take(&self, rows: Vec<StoredTransition>, revision: u64, last: HistoryCursor, now: Time) {
        let mut ring = self.ring.lock();
        let ring_now = &mut *ring;
        let Some(head) = &mut ring_now.head else { return };
        head.revision = revision;
        head.last = last;
        head.looked_at = now;
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

    /// The rows in memory behind `place`, at most `limit`.
    pub fn behind(&self, place: HistoryCursor, limit: usize) -> Behind {
        let ring = self.ring.lock();
        let Some(head) = ring.head else { return Behind::Beyond };
        if place < head.floor {
            return Behind::Beyond;
        }
        let from = ring.rows.partition_point(|row| row.cursor <= place);
        let rows: Vec<_> = ring.rows.range(from..).take(limit).cloned().collect();
        if rows.is_empty() { Behind::Nothing { revision: head.revision } } else { Behind::Rows(rows) }
    }

    /// The rows behind `place` as the store has them, at most `limit`. [`HistoryTail::anchor`] is behind them then.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self, place: HistoryCursor, limit: u32) -> Result<Page, StoreError> {
        let _permit = self.permit().await;
        let rows = self.page(place, limit).await?;
        // Asked for behind the rows: had some gone before they were read, it says so.
        if place < end_of(self.store.history_floor().await?) {
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

    /// The newest states as the store has them, a page behind `after`.
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

    /// Where the store is now, which is remembered if it is the history that is followed.
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
