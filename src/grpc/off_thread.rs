//! Work on large messages, off the threads that decide.
//!
//! Megabytes take milliseconds to compress or decompress, which other connections do not wait for. It is done on a thread of
//! its own, one message at a time in all.

use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::task::JoinSet;

use super::call_slot::CallSlot;
use super::status::Failure;

/// The work on one message of a call, or none. What has not begun is given up when this is dropped.
pub(super) struct OffThread<T> {
    /// At most one; made when it is first needed, as hardly any call needs it.
    running: Option<JoinSet<Result<T, Failure>>>,
}

impl<T: Send + 'static> OffThread<T> {
    pub(super) const fn new() -> Self {
        Self { running: None }
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Begins `work` when no other call's is running.
    ///
    /// It goes on when its client resets the stream, and keeps its permit, and with `slot` its bytes, until its end.
    pub(super) fn start(&mut self, slot: Arc<CallSlot>, work: impl FnOnce() -> T + Send + 'static) {
        let mut running = JoinSet::new();
        running.spawn(async move {
            let Ok(permit) = slot.off_thread_permits().acquire_owned().await else {
                return Err(Failure::ShuttingDown);
            };
            let work = move || {
                let done = work();
                drop((permit, slot));
                done
            };
            tokio::task::spawn_blocking(work).await.map_err(|_| Failure::Internal)
        });
        self.running = Some(running);
    }

    /// What came of it; pending as well when nothing is running.
    pub(super) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<T, Failure>> {
        let Some(running) = &mut self.running else { return Poll::Pending };
        let done = ready!(running.poll_join_next(context));
        self.running = None;
        Poll::Ready(done.and_then(Result::ok).unwrap_or(Err(Failure::Internal)))
    }
}
