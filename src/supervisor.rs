//! Supervision of long-lived tasks: each has a name and an owner, and none can die unnoticed.
//!
//! A task runs until its supervisor's stop token is cancelled. One that ends before that, whether it returns, fails or
//! panics, is logged by name and counted (`breakerd_task_failures_total`). Then one of two things happens:
//!
//! - [`Supervisor::spawn`]: the process ends. For every task that decisions, durability or the API need: without the
//!   journal's writer nothing reaches the store, without the timer nothing half-opens. A process that goes on without
//!   one looks healthy and is not; a new process starts from the journal and the store.
//! - [`Supervisor::spawn_restarted`]: the task is restarted, after a pause that grows. For housekeeping that nothing
//!   waits for, and whose input would meet a new process again: a file that makes the parser panic would otherwise take
//!   every replica down, and keep it down.

use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use breakerd_common::clock::Clock;
use futures_util::FutureExt as _;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::metrics::TaskMetrics;

/// The first pause before a task is restarted; it doubles up to the longest.
const RESTART_PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Long enough that a task that fails at once each time costs nothing and fills no log.
const RESTART_PAUSE_MAX: Duration = Duration::from_mins(1);

/// Long-lived tasks that stop together. Those that still run when this is dropped are aborted.
///
/// As many tasks as there are calls of its methods: none is made per request, connection or breaker.
pub struct Supervisor {
    tasks: JoinSet<Result<()>>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
    metrics: TaskMetrics,
    clock: Arc<dyn Clock>,
}

/// A task ended before shutdown, or failed while stopping.
#[derive(Debug, thiserror::Error)]
#[error("task {task} ended early")]
pub struct TaskFailure {
    /// The task's name.
    pub task: &'static str,
    /// How it ended.
    #[source]
    pub cause: Cause,
}

/// How a task ended.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// It returned as if the stop token had been cancelled.
    #[error("the task ended although nothing asked it to stop")]
    Returned,
    /// It returned an error.
    #[error(transparent)]
    Failed(anyhow::Error),
    /// It panicked, or was aborted.
    #[error("it panicked: {0}")]
    Panicked(String),
}

impl Supervisor {
    /// Without a task yet. Tasks are to stop when `stop` is cancelled; pauses between restarts are by `clock`.
    pub fn new(stop: CancellationToken, metrics: TaskMetrics, clock: Arc<dyn Clock>) -> Self {
        Self { tasks: JoinSet::new(), names: HashMap::new(), stop, metrics, clock }
    }

    /// The token that stops the tasks.
    pub fn stop_token(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Runs a task whose early end ends the process: [`Supervisor::failed`] returns it. The task is to return when the
    /// stop token is cancelled.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = Result<()>> + Send + 'static) {
        self.metrics.failures_total.with_label_values(&[name]);
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Runs a task that is restarted when it ends early. Each run is to return when the stop token is cancelled.
    pub fn spawn_restarted<F>(&mut self, name: &'static str, make: impl Fn() -> F + Send + Sync + 'static)
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let (stop, metrics, clock) = (self.stop.clone(), self.metrics.clone(), Arc::clone(&self.clock));
        self.spawn(name, async move {
            let mut pause = RESTART_PAUSE_FIRST;
            loop {
                // Making it is a part of the run: it may panic as well.
                let run = AssertUnwindSafe(async { make().await }).catch_unwind().await;
                let cause = match run {
                    Ok(Ok(())) if stop.is_cancelled() => return Ok(()),
                    Ok(Ok(())) => Cause::Returned,
                    Ok(Err(error)) => Cause::Failed(error),
                    Err(panic) => Cause::Panicked(message(&*panic)),
                };
                metrics.failures_total.with_label_values(&[name]).inc();
                tracing::error!(
                    task = name,
                    error = &cause as &dyn std::error::Error,
                    restart_in_seconds = pause.as_secs(),
                    "task ended early, restarting it"
                );
                let restart_at = clock.now() + pause;
                if stop.run_until_cancelled(clock.sleep_until(restart_at)).await.is_none() {
                    return Ok(());
                }
                pause = (pause * 2).min(RESTART_PAUSE_MAX);
            }
        });
    }

    /// Ends when a task has ended that should not have, or has not ended as it should; otherwise never. Cancel safe.
    pub async fn failed(&mut self) -> TaskFailure {
        match self.next_failure().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Ends when every task has ended; returns whether one failed. Does not stop them. Cancel safe.
    pub async fn finished(&mut self) -> Result<(), TaskFailure> {
        self.next_failure().await.map_or(Ok(()), Err)
    }

    /// The names of the tasks that still run, in alphabetical order.
    pub fn running(&self) -> Vec<&'static str> {
        let mut names: Vec<_> = self.names.values().copied().collect();
        names.sort_unstable();
        names
    }

    /// The next task that failed; none: all have ended, and none did.
    async fn next_failure(&mut self) -> Option<TaskFailure> {
        while let Some(ended) = self.tasks.join_next_with_id().await {
            if let Some(failure) = self.failure_of(ended) {
                self.metrics.failures_total.with_label_values(&[failure.task]).inc();
                tracing::error!(
                    task = failure.task,
                    error = &failure.cause as &dyn std::error::Error,
                    "task ended early, ending the process"
                );
                return Some(failure);
            }
        }
        None
    }

    fn failure_of(&mut self, ended: Result<(Id, Result<()>), JoinError>) -> Option<TaskFailure> {
        let (id, cause) = match ended {
            Ok((id, Ok(()))) => (id, (!self.stop.is_cancelled()).then_some(Cause::Returned)),
            Ok((id, Err(error))) => (id, Some(Cause::Failed(error))),
            Err(error) => {
                let id = error.id();
                let message = match error.try_into_panic() {
                    Ok(panic) => message(&*panic),
                    Err(error) => error.to_string(),
                };
                (id, Some(Cause::Panicked(message)))
            }
        };
        let task = self.names.remove(&id).unwrap_or("unnamed");
        cause.map(|cause| TaskFailure { task, cause })
    }
}

/// The message of a panic.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message").to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    use breaker::Time;

    use super::*;
    use crate::metrics::Metrics;
    use breakerd_common::clock::ManualClock;

    struct World {
        supervisor: Supervisor,
        metrics: Metrics,
        clock: ManualClock,
        stop: CancellationToken,
    }

    impl World {
        fn new() -> Self {
            let (metrics, stop) = (Metrics::default(), CancellationToken::new());
            let clock = ManualClock::new(Time::ZERO + Duration::from_secs(1_000));
            let supervisor = Supervisor::new(stop.clone(), metrics.task.clone(), Arc::new(clock.clone()));
            Self { supervisor, metrics, clock, stop }
        }

        fn failures(&self, task: &str) -> u64 {
            self.metrics.task.failures_total.with_label_values(&[task]).get()
        }
    }

    async fn until(stop: CancellationToken) -> Result<()> {
        stop.cancelled().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_task_that_panics_fails_or_returns_early_is_named() {
        let mut world = World::new();
        world.supervisor.spawn("good", until(world.stop.clone()));
        world.supervisor.spawn("panics", async { panic!("on purpose") });
        let failure = world.supervisor.failed().await;
        assert_eq!(failure.task, "panics");
        assert_eq!(failure.cause.to_string(), "it panicked: on purpose");

        world.supervisor.spawn("returns", async { Ok(()) });
        let failure = world.supervisor.failed().await;
        assert!(matches!((failure.task, &failure.cause), ("returns", Cause::Returned)), "{failure:?}");

        world.supervisor.spawn("fails", async { Err(anyhow::anyhow!("no more room")) });
        let failure = anyhow::Error::from(world.supervisor.failed().await);
        assert_eq!(format!("{failure:#}"), "task fails ended early: no more room");

        assert_eq!(world.supervisor.running(), ["good"]);
        let counted = ["good", "panics", "returns", "fails"].map(|task| world.failures(task));
        assert_eq!(counted, [0, 1, 1, 1]);
    }

    #[tokio::test]
    async fn tasks_that_end_when_told_to_are_no_failure() {
        let mut world = World::new();
        world.supervisor.spawn("one", until(world.stop.clone()));
        world.supervisor.spawn("other", until(world.stop.clone()));
        world.stop.cancel();
        world.supervisor.finished().await.unwrap();
        assert!(world.supervisor.running().is_empty());
    }

    #[tokio::test]
    async fn a_panic_while_stopping_is_a_failure_too() {
        let mut world = World::new();
        let stop = world.stop.clone();
        world.supervisor.spawn("writer", async move {
            stop.cancelled().await;
            panic!("in the last batch")
        });
        world.stop.cancel();
        assert_eq!(world.supervisor.finished().await.unwrap_err().task, "writer");
    }

    #[tokio::test]
    async fn a_restarted_task_is_made_anew_after_a_pause_and_ends_nothing() {
        let mut world = World::new();
        let (runs, stop) = (Arc::new(AtomicUsize::new(0)), world.stop.clone());
        let started = Arc::clone(&runs);
        world.supervisor.spawn_restarted("housekeeping", move || {
            let (run, stop) = (started.fetch_add(1, SeqCst), stop.clone());
            async move {
                match run {
                    0 => panic!("on purpose"),
                    1 => Ok(()),
                    _ => until(stop).await,
                }
            }
        });
        let mut pause = RESTART_PAUSE_FIRST;
        for failures in 1..=2 {
            while world.failures("housekeeping") < failures {
                tokio::task::yield_now().await;
            }
            // It sleeps now, or is about to: time moves on as soon as it does.
            let before = usize::try_from(failures).unwrap();
            assert_eq!(runs.load(SeqCst), before, "not before the pause is over");
            while runs.load(SeqCst) == before {
                tokio::task::yield_now().await;
                world.clock.advance(pause);
            }
            pause *= 2;
        }
        assert_eq!(world.supervisor.running(), ["housekeeping"]);
        world.stop.cancel();
        world.supervisor.finished().await.unwrap();
        assert_eq!(world.failures("housekeeping"), 2);
    }
}
