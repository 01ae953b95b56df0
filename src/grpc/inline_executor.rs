//! Runs calls inline, in the task of their connection.
//!
//! hyper spawns a task for each call. A task costs more than a decision, and responses sent one by one would
//! each be a write to the socket. So calls wait here until their connection has read everything that arrived;
//! then they run in the connection's own turn, one after the other, and their answers leave together. Only a
//! call that has to wait becomes a task.

use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::rt::Executor;
use parking_lot::Mutex;
use tokio::time::Sleep;
use tokio_util::task::TaskTracker;

use super::call_metrics::Method;
use super::call_slot::CallSlot;

type Running = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Work of one turn: some hundred microseconds, after which other connections have theirs. A call that decides is 1.
const WORK_MAX: u32 = 128;
/// Work of any other call: a batch decides as many before it yields by itself ([`super::breakers`]), a list reads a page.
const WORK_OF_MANY: u32 = 32;

/// Whether there is more to do in a further turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Calls are left.
    More,
    /// All have run.
    Done,
}

/// The calls of one connection that have not run yet. There are at most as many as the connection may have
/// streams.
#[derive(Clone)]
pub(crate) struct InlineExecutor {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    tasks: TaskTracker,
    write_timeout: Duration,
}

#[derive(Default)]
struct Queue {
    calls: VecDeque<QueuedCall>,
    /// What is known of the call that comes next.
    next: Option<Expected>,
}

struct Expected {
    work: u32,
    slot: Option<Arc<CallSlot>>,
}

struct QueuedCall {
    call: Running,
    expected: Expected,
}

impl InlineExecutor {
    /// Calls that wait become tasks of `tasks`. One whose client reads nothing of the response for `write_timeout` is given up.
    pub(crate) fn new(tasks: TaskTracker, write_timeout: Duration) -> Self {
        Self { shared: Arc::new(Shared { queue: Mutex::default(), tasks, write_timeout }) }
    }

    /// The next call that hyper passes is of `method`, and has `slot`.
    pub(super) fn expect(&self, method: Method, slot: Option<Arc<CallSlot>>) {
        let work = if slot.is_none() || super::rights::is_decision(method) && !method.is_batch() {
            1
        } else {
            WORK_OF_MANY
        };
        self.shared.queue.lock().next = Some(Expected { work, slot });
    }

    /// Whether calls have arrived that have not run.
    pub(crate) fn has_calls(&self) -> bool {
        !self.shared.queue.lock().calls.is_empty()
    }

    /// Runs what has arrived, up to a bounded amount of work.
    pub(crate) fn run(&self) -> Progress {
        let mut calls = std::mem::take(&mut self.shared.queue.lock().calls);
        if calls.is_empty() {
            return Progress::Done;
        }
        let mut work = 0;
        while work < WORK_MAX {
            let Some(QueuedCall { mut call, expected }) = calls.pop_front() else { break };
            work += expected.work;
            // A call that waits is polled again as a task, which is then woken; this first poll needs no waker.
            let mut context = Context::from_waker(Waker::noop());
            // A task that panics ends no other task, and neither may a call in its connection's task.
            let polled = catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(&mut context)));
            if polled.is_ok_and(|polled| polled.is_pending()) {
                let write_timeout = self.shared.write_timeout;
                let slot = expected.slot;
                self.shared.tasks.spawn(Waiting { call, slot, write_timeout, unsent: None, timer: None });
            }
        }
        let turn = if calls.is_empty() { Progress::Done } else { Progress::More };
        // Keep the capacity of the queue, for the next turn.
        let mut queue = self.shared.queue.lock();
        calls.append(&mut queue.calls);
        queue.calls = calls;
        turn
    }
}

impl<F> Executor<F> for InlineExecutor
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, call: F) {
        let call = Box::pin(call);
        let mut queue = self.shared.queue.lock();
        let expected = queue.next.take().unwrap_or(Expected { work: 1, slot: None });
        queue.calls.push_back(QueuedCall { call, expected });
    }
}

/// A call that waits: for the store, for what it watches, or for its client to take the answer. The last of these has
/// an end: progress, and not age, since a watch may live for days.
struct Waiting {
    call: Running,
    slot: Option<Arc<CallSlot>>,
    write_timeout: Duration,
    /// The frame that the client has not read yet.
    unsent: Option<u32>,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.call.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(slot) = &this.slot else { return Poll::Pending };
        let unsent = slot.unsent_frame();
        if unsent.is_none() {
            this.unsent = None;
            return Poll::Pending;
        }
        let timeout = this.write_timeout;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        if this.unsent != unsent {
            this.unsent = unsent;
            timer.set(tokio::time::sleep(timeout));
        }
        if timer.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        slot.stalled();
        // With the future goes its stream, which is reset, and all that waits to be sent on it.
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_call_runs_in_its_turn_and_one_that_waits_becomes_a_task() {
        let tasks = TaskTracker::new();
        let executor = InlineExecutor::new(tasks.clone(), Duration::from_secs(30));
        let ended = Arc::new(AtomicUsize::new(0));
        let end = |ended: &Arc<AtomicUsize>| ended.fetch_add(1, Ordering::Relaxed);
        for waits in [false, true, false] {
            let ended = Arc::clone(&ended);
            executor.execute(async move {
                if waits {
                    tokio::task::yield_now().await;
                }
                end(&ended);
            });
        }
        assert_eq!(ended.load(Ordering::Relaxed), 0, "nothing runs before its turn");
        assert_eq!(executor.run(), Progress::Done);
        assert_eq!((ended.load(Ordering::Relaxed), tasks.len()), (2, 1));
        tasks.close();
        tasks.wait().await;
        assert_eq!(ended.load(Ordering::Relaxed), 3);
    }

    #[tokio::test]
    async fn a_call_that_panics_takes_no_other_with_it() {
        let executor = InlineExecutor::new(TaskTracker::new(), Duration::from_secs(30));
        let ended = Arc::new(AtomicUsize::new(0));
        executor.execute(async { panic!("on purpose") });
        let after = Arc::clone(&ended);
        executor.execute(async move {
            after.fetch_add(1, Ordering::Relaxed);
        });
        executor.run();
        assert_eq!(ended.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn a_turn_ends_after_a_bounded_amount_of_work_and_nothing_is_left_behind() {
        let executor = InlineExecutor::new(TaskTracker::new(), Duration::from_secs(30));
        let ran = Arc::new(Mutex::new(Vec::new()));
        let calls = 3 * WORK_MAX;
        for number in 0..calls {
            let ran = Arc::clone(&ran);
            executor.execute(async move { ran.lock().push(number) });
        }
        assert_eq!(executor.run(), Progress::More);
        assert_eq!(ran.lock().len(), WORK_MAX as usize);
        while executor.run() == Progress::More {}
        assert_eq!(*ran.lock(), (0..calls).collect::<Vec<_>>(), "in the order in which they came");
    }
}
