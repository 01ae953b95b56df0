//! The notifications that wait for one target: so many, and then the oldest goes.

use std::collections::VecDeque;
use std::sync::Arc;

use breaker::Time;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::Notify;

use super::notice::Notice;

/// A notification that waits.
#[derive(Debug, Clone)]
pub(super) struct Queued {
    pub(super) notice: Arc<Notice>,
    /// When it came, by the monotonic clock.
    pub(super) queued_at: Time,
}

/// What a push did to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    Added,
    /// There was no room, and the oldest one went.
    OldestDropped,
}

/// A queue of one target. Whoever pushes never waits; one task takes.
pub(super) struct Queue {
    inner: Mutex<Inner>,
    max: usize,
    depth: IntGauge,
    filled: Notify,
    emptied: Notify,
}

#[derive(Default)]
struct Inner {
    waiting: VecDeque<Queued>,
    /// One was taken, and is not done with.
    in_flight: bool,
}

impl Inner {
    fn depth(&self) -> usize {
        self.waiting.len() + usize::from(self.in_flight)
    }
}

impl Queue {
    /// For `max` notifications; `depth` shows how many there are, with the one that is being posted.
    pub(super) fn new(max: usize, depth: IntGauge) -> Self {
        Self { inner: Mutex::default(), max, depth, filled: Notify::new(), emptied: Notify::new() }
    }

    pub(super) fn push(&self, queued: Queued) -> Pushed {
        let mut inner = self.inner.lock();
        let is_full = inner.waiting.len() >= self.max;
        if is_full {
            inner.waiting.pop_front();
        }
        inner.waiting.push_back(queued);
        self.show(&inner);
        drop(inner);
        self.filled.notify_one();
        if is_full { Pushed::OldestDropped } else { Pushed::Added }
    }

    /// The oldest one, as soon as there is one; it is in flight until [`Queue::done`]. Cancel safe.
    pub(super) async fn next(&self) -> Queued {
        loop {
            let filled = self.filled.notified();
            if let Some(queued) = self.take() {
                return queued;
            }
            filled.await;
        }
    }

    fn take(&self) -> Option<Queued> {
        let mut inner = self.inner.lock();
        let taken = inner.waiting.pop_front();
        inner.in_flight |= taken.is_some();
        taken
    }

    /// The one that was taken is posted, or given up.
    pub(super) fn done(&self) {
        let mut inner = self.inner.lock();
        inner.in_flight = false;
        self.show(&inner);
        let is_empty = inner.waiting.is_empty();
        drop(inner);
        if is_empty {
            self.emptied.notify_waiters();
        }
    }

    /// How many there are, with the one that is being posted.
    pub(super) fn depth(&self) -> usize {
        self.inner.lock().depth()
    }

    /// Ends when there is none.
    pub(super) async fn emptied(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            // Before the look, so that what happens behind it is noticed.
            emptied.as_mut().enable();
            if self.depth() == 0 {
                return;
            }
            emptied.await;
        }
    }

    fn show(&self, inner: &Inner) {
        self.depth.set(i64::try_from(inner.depth()).unwrap_or(i64::MAX));
    }
}
