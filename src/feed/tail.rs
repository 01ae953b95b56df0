//! The newest rows of the history in memory, read from the store by one task for all watchers.
//!
//! Whoever is further behind than memory reaches reads pages from the store, a few at a time, until it has caught up.
//! Rows are told by their [`Place`], which is the order in which transactions committed: what is behind a place is
//! complete, always, and so nothing is left out and nothing told twice, whichever of the two it was read from.

use std::collections::VecDeque;
use std::sync::Arc;

use breaker::{Key, Time};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use crate::metrics::WatchMetrics;
use crate::store::{Place, Store, StoreError, StoredBreaker, StoredTransition, TransitionQuery};

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
    floor: Place,
    /// Up to which revision the store was read.
    revision: u64,
    /// The last row that was read.
    last: Place,
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

/// The end of a revision: behind all of its rows.
pub(crate) const fn end_of(revision: u64) -> Place {
    Place { revision, number: u32::MAX }
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

    /// Reads what is new in the store. One at a time.
    ///
    /// # Errors
    /// When the store does not answer: what is here stays, and the next look goes on behind it.
    pub async fn look(&self, now: Time) -> Result<(), StoreError> {
        let looked = self.look_at_store(now).await;
        if looked.is_err() {
            let looked_at = self.ring.lock().head.map_or(now, |head| head.looked_at);
            self.metrics.tail_lag_seconds.set(now.since(looked_at).as_secs_f64());
        }
        looked
    }

    async fn look_at_store(&self, now: Time) -> Result<(), StoreError> {
        let mut revision = self.store.revision().await?;
        let before = self.ring.lock().head;
        let Some(head) = before else {
            let place = end_of(revision);
            self.ring.lock().head = Some(Head { floor: place, revision, last: place, looked_at: now });
            self.newest.send_replace(revision);
            return Ok(());
        };
        let (mut after, mut lag) = (head.last, None);
        while revision > head.revision {
            let rows = self.page(after, PAGE).await?;
            let is_last = rows.len() < PAGE as usize;
            if let Some(last) = rows.last() {
                lag = lag.or_else(|| rows.first().map(|first| now.since(first.recorded_at)));
                after = last.place;
            }
            // What a page that is not full ends with is the end of a revision, if one that is newer than what
            // the store said a moment before. A full one may end in the middle.
            if is_last {
                revision = revision.max(after.revision);
            }
            let told = if is_last { revision } else { after.revision.saturating_sub(1).max(head.revision) };
            self.take(rows, told, after, now);
            if is_last {
                break;
            }
        }
        if let Some(head) = &mut self.ring.lock().head {
            head.looked_at = now;
        }
        self.metrics.tail_lag_seconds.set(lag.unwrap_or_default().as_secs_f64());
        Ok(())
    }

    fn take(&self, rows: Vec<StoredTransition>, revision: u64, last: Place, now: Time) {
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
                head.floor = gone.place;
            }
            ring_now.rows.push_back(Arc::new(row));
        }
        drop(ring);
        self.newest.send_replace(revision);
    }

    /// The rows in memory behind `place`, at most `limit`.
    pub fn behind(&self, place: Place, limit: usize) -> Behind {
        let ring = self.ring.lock();
        let Some(head) = ring.head else { return Behind::Beyond };
        if place < head.floor {
            return Behind::Beyond;
        }
        let from = ring.rows.partition_point(|row| row.place <= place);
        let rows: Vec<_> = ring.rows.range(from..).take(limit).cloned().collect();
        if rows.is_empty() { Behind::Nothing { revision: head.revision } } else { Behind::Rows(rows) }
    }

    /// The rows behind `place` as the store has them, at most `limit`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(&self, place: Place, limit: u32) -> Result<Page, StoreError> {
        let _turn = self.turn().await;
        let rows = self.page(place, limit).await?;
        // Asked for behind the rows: had some gone before they were read, it says so.
        if place < end_of(self.store.history_floor().await?) {
            return Ok(Page::TooOld);
        }
        Ok(Page::Rows(rows.into_iter().map(Arc::new).collect()))
    }

    /// The newest revision of the store.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn newest_revision(&self) -> Result<u64, StoreError> {
        let _turn = self.turn().await;
        self.store.revision().await
    }

    /// The newest states as the store has them, a page behind `after`.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        let _turn = self.turn().await;
        self.store.breakers(after, limit).await
    }

    async fn turn(&self) -> Option<tokio::sync::SemaphorePermit<'_>> {
        self.metrics.store_reads_total.inc();
        // It is never closed.
        self.reads.acquire().await.ok()
    }

    async fn page(&self, after: Place, limit: u32) -> Result<Vec<StoredTransition>, StoreError> {
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
