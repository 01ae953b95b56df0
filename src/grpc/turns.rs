//! In whose turn calls run.
//!
//! hyper asks for a task for each call. A task costs more than a decision, and answers given one by one would
//! each be a write to the socket. So calls wait here until their connection has read everything that arrived;
//! then they run in the connection's own turn, one after the other, and their answers leave together. Only a
//! call that has to wait becomes a task.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio_util::task::TaskTracker;

type Call = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The calls of one connection that have not run yet. There are at most as many as the connection may have
/// streams.
#[derive(Clone)]
pub(crate) struct Turns {
    shared: Arc<Shared>,
}

struct Shared {
    arrived: Mutex<Vec<Call>>,
    tasks: TaskTracker,
}

impl Turns {
    /// Calls that wait become tasks of `tasks`.
    pub(crate) fn new(tasks: TaskTracker) -> Self {
        Self { shared: Arc::new(Shared { arrived: Mutex::default(), tasks }) }
    }

    /// Runs what has arrived.
    pub(crate) fn run(&self) {
        let mut calls = std::mem::take(&mut *self.shared.arrived.lock());
        if calls.is_empty() {
            return;
        }
        for mut call in calls.drain(..) {
            // Whoever waits is polled again as a task, which is then woken; this first look need not be.
            let mut context = Context::from_waker(Waker::noop());
            // A task that panics takes nobody with it, and neither may a call in its connection's turn.
            let looked = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context)));
            if looked.is_ok_and(|looked| looked.is_pending()) {
                self.shared.tasks.spawn(call);
            }
        }
        // Keep the room that it has taken, for the next turn.
        let mut arrived = self.shared.arrived.lock();
        if arrived.capacity() < calls.capacity() {
            calls.append(&mut arrived);
            *arrived = calls;
        }
    }
}

impl<F> Executor<F> for Turns
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        self.shared.arrived.lock().push(Box::pin(call));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_call_runs_in_its_turn_and_one_that_waits_becomes_a_task() {
        let tasks = TaskTracker::new();
        let turns = Turns::new(tasks.clone());
        let ended = Arc::new(AtomicUsize::new(0));
        let end = |ended: &Arc<AtomicUsize>| ended.fetch_add(1, Ordering::Relaxed);
        for waits in [false, true, false] {
            let ended = Arc::clone(&ended);
            turns.execute(async move {
                if waits {
                    tokio::task::yield_now().await;
                }
                end(&ended);
            });
        }
        assert_eq!(ended.load(Ordering::Relaxed), 0, "nothing runs before its turn");
        turns.run();
        assert_eq!((ended.load(Ordering::Relaxed), tasks.len()), (2, 1));
        tasks.close();
        tasks.wait().await;
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_no_other_with_it() {
        let turns = Turns::new(TaskTracker::new());
        let ended = Arc::new(AtomicUsize::new(0));
        turns.execute(async { panic!("on purpose") });
        let after = Arc::clone(&ended);
        turns.execute(async move {
            after.fetch_add(1, Ordering::Relaxed);
        });
        turns.run();
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }
}
