//! Wakes the thread of a client: at once, or when the next batch is due.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(crate) struct Wake {
    something: AtomicBool,
    urgent: AtomicBool,
    notify: Notify,
}

impl Wake {
    /// Something is there for the next batch.
    #[inline]
    pub(crate) fn soon(&self) {
        if !self.something.load(Ordering::Relaxed) && !self.something.swap(true, Ordering::AcqRel) {
            self.notify.notify_one();
        }
    }

    /// Something is there that does not wait.
    pub(crate) fn now(&self) {
        self.urgent.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits until something is there, and `batch_every` more for what else comes, unless it is urgent; at most `idle_max`.
    pub(crate) async fn wait(&self, batch_every: Duration, idle_max: Duration) {
        let idle = tokio::time::sleep(idle_max);
        tokio::pin!(idle);
        while !self.is_there() {
            tokio::select! {
                () = self.notify.notified() => {}
                () = &mut idle => break,
            }
        }
        let batch = tokio::time::sleep(batch_every);
        tokio::pin!(batch);
        while self.something.load(Ordering::Acquire) && !self.urgent.load(Ordering::Acquire) {
            tokio::select! {
                () = self.notify.notified() => {}
                () = &mut batch => break,
            }
        }
        // Before what is there is looked at: what comes meanwhile wakes again.
        self.urgent.store(false, Ordering::Release);
        self.something.store(false, Ordering::Release);
    }

    fn is_there(&self) -> bool {
        self.something.load(Ordering::Acquire) || self.urgent.load(Ordering::Acquire)
    }
}
