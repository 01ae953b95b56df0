//! One scheduler for everything that runs: it draws what goes on next, and moves the time when nothing can.
//!
//! All follows from the seed, so that a run is the same each time. A task belongs to a replica, or to the world; those of a
//! replica that crashed are dropped at the await that they stand at, and those of one that is stopped do not go on.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use breaker::{Time, WallOffset};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;

use crate::store::SeededRandom;

/// When the world begins.
pub(super) const BEGINNING: Time = Time::from_micros(1_700_000_000_000_000);

/// What a run draws.
#[derive(Debug)]
pub(super) struct Random(SeededRandom);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(SeededRandom::new(seed))
    }

    pub(super) fn number(&mut self) -> u64 {
        self.0.number()
    }

    /// Below `end`, which is not 0.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.number() % end
    }

    pub(super) fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }

    pub(super) fn micros(&mut self, most: u64) -> Duration {
        Duration::from_micros(self.below(most + 1))
    }
}

/// Whose a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Owner {
    World,
    Replica(usize),
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The scheduler. Cheap to clone: each clone is the same one.
#[derive(Clone)]
pub(super) struct Executor {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    now: Time,
    random: Random,
    next_task: u64,
    tasks: BTreeMap<u64, (Owner, Option<Task>)>,
    ready: Arc<Mutex<BTreeSet<u64>>>,
    timers: BTreeMap<(Time, u64), Waker>,
    next_timer: u64,
    stopped: BTreeSet<Owner>,
}

struct TaskWaker {
    task: u64,
    ready: Arc<Mutex<BTreeSet<u64>>>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.ready.lock().insert(self.task);
    }
}

impl Executor {
    pub(super) fn new(seed: u64) -> Self {
        let inner = Inner {
            now: BEGINNING,
            random: Random::new(seed),
            next_task: 0,
            tasks: BTreeMap::new(),
            ready: Arc::default(),
            timers: BTreeMap::new(),
            next_timer: 0,
            stopped: BTreeSet::new(),
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    pub(super) fn now(&self) -> Time {
        self.inner.lock().now
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.inner.lock().random)
    }

    pub(super) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        let mut inner = self.inner.lock();
        let id = inner.next_task;
        inner.next_task += 1;
        inner.tasks.insert(id, (owner, Some(Box::pin(task))));
        inner.ready.lock().insert(id);
    }

    /// The process of these tasks dies.
    pub(super) fn kill(&self, owner: Owner) {
        let mut inner = self.inner.lock();
        inner.stopped.remove(&owner);
        let dead: Vec<_> = inner.tasks.extract_if(.., |_, (of, _)| *of == owner).collect();
        drop(inner);
        // What a task held may look at the scheduler while it is dropped.
        drop(dead);
    }

    /// The tasks of a process do not go on until it is continued.
    pub(super) fn stop(&self, owner: Owner, is_stopped: bool) {
        let mut inner = self.inner.lock();
        if is_stopped {
            inner.stopped.insert(owner);
        } else {
            inner.stopped.remove(&owner);
        }
    }

    /// Runs until `end`, or until nothing is left to do.
    pub(super) fn run_until(&self, end: Time) {
        while self.step(end) {}
    }

    fn step(&self, end: Time) -> bool {
        let (chosen, mut task, ready) = {
            let mut inner = self.inner.lock();
            let Some(chosen) = inner.choose() else { return inner.advance(end) };
            let ready = Arc::clone(&inner.ready);
            let Some(task) = inner.tasks.get_mut(&chosen).and_then(|(_, slot)| slot.take()) else {
                return true;
            };
            (chosen, task, ready)
        };
        let waker = Waker::from(Arc::new(TaskWaker { task: chosen, ready }));
        let polled = task.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inner = self.inner.lock();
        if polled.is_ready() {
            inner.tasks.remove(&chosen);
            return true;
        }
        // Its process may have died meanwhile, by its own hand.
        let left = match inner.tasks.get_mut(&chosen) {
            Some((_, slot)) => slot.replace(task),
            None => Some(task),
        };
        drop(inner);
        drop(left);
        true
    }

    /// Ends at `at`.
    pub(super) fn sleep_until(&self, at: Time) -> Sleep {
        Sleep { executor: self.clone(), at, timer: None }
    }

    pub(super) fn sleep(&self, length: Duration) -> Sleep {
        self.sleep_until(self.now() + length)
    }
}

impl Inner {
    /// A task that can go on.
    fn choose(&mut self) -> Option<u64> {
        let candidates: Vec<u64> = {
            let mut ready = self.ready.lock();
            ready.retain(|task| self.tasks.contains_key(task));
            let goes_on = |task: &&u64| !self.stopped.contains(&self.tasks[*task].0);
            ready.iter().filter(goes_on).copied().collect()
        };
        let number = candidates.len() as u64;
        let chosen = (number > 0).then(|| self.random.below(number))?;
        let chosen = candidates[usize::try_from(chosen).unwrap_or(0)];
        self.ready.lock().remove(&chosen);
        Some(chosen)
    }

    /// Moves on to the next time at which something happens; false: that is after `end`.
    fn advance(&mut self, end: Time) -> bool {
        match self.timers.first_entry() {
            Some(timer) if timer.key().0 <= end => {
                let ((at, _), waker) = timer.remove_entry();
                self.now = self.now.max(at);
                waker.wake();
                true
            }
            _ => {
                self.now = end;
                false
            }
        }
    }
}

/// Ends at a time.
pub(super) struct Sleep {
    executor: Executor,
    at: Time,
    timer: Option<(Time, u64)>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let executor = self.executor.clone();
        let mut inner = executor.inner.lock();
        if inner.now >= self.at {
            return Poll::Ready(());
        }
        let key = self.timer.unwrap_or_else(|| {
            inner.next_timer += 1;
            (self.at, inner.next_timer)
        });
        inner.timers.insert(key, cx.waker().clone());
        drop(inner);
        self.timer = Some(key);
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            self.executor.inner.lock().timers.remove(&key);
        }
    }
}

/// The clock of one process: monotonic, at a pace of its own, and a wall clock that is wrong by as much as it says.
#[derive(Clone)]
pub(super) struct SimulatedClock {
    executor: Executor,
    /// How much of a million microseconds it counts in addition.
    pace: i64,
    wall: Arc<Mutex<WallOffset>>,
}

impl SimulatedClock {
    pub(super) fn new(executor: Executor, pace: i64, wall: WallOffset) -> Self {
        Self { executor, pace, wall: Arc::new(Mutex::new(wall)) }
    }

    /// Somebody sets the wall clock.
    pub(super) fn set_wall(&self, wall: WallOffset) {
        *self.wall.lock() = wall;
    }

    fn shown(&self, real: Time) -> Time {
        let passed = i64::try_from(real.since(BEGINNING).as_micros()).unwrap_or(i64::MAX);
        let shown = passed + passed / 1_000_000 * self.pace + passed % 1_000_000 * self.pace / 1_000_000;
        BEGINNING + Duration::from_micros(shown.unsigned_abs())
    }

    fn real(&self, shown: Time) -> Time {
        let passed =
            i64::try_from(shown.since(BEGINNING).as_micros()).unwrap_or(i64::MAX / 4).min(i64::MAX / 4);
        let real = passed / (1_000_000 + self.pace) * 1_000_000
            + passed % (1_000_000 + self.pace) * 1_000_000 / (1_000_000 + self.pace);
        let mut real = BEGINNING + Duration::from_micros(real.unsigned_abs());
        while self.shown(real) < shown {
            real = real + Duration::from_micros(1);
        }
        real
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Time {
        self.shown(self.executor.now())
    }

    fn wall_offset(&self) -> WallOffset {
        *self.wall.lock()
    }

    fn sleep_until(&self, deadline: Time) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.executor.sleep_until(self.real(deadline)))
    }
}
