//! One scheduler for everything that runs: it draws what goes on next, and moves the time when nothing can.
//!
//! All follows from the seed, so that a run is the same each time. A task belongs to a replica, or to the world; those of a
//! replica that crashed are dropped at the await that they stand at, and those of one that is stopped do not go on.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
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

/// The scheduler. Cheap to clone: each clone is the same one.
#[derive(Clone)]
pub(super) struct Executor {
    shared: Arc<Shared>,
}

struct Shared {
    /// In microseconds, as [`Time`] counts them. It is asked for more often than anything else, so without the lock.
    now: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    random: Random,
    next_task: u64,
    /// In the order of their numbers.
    tasks: Vec<Task>,
    ready: Ready,
    timers: Timers,
    stopped: Vec<Owner>,
    /// Where those of `tasks` stand that can go on, while one is chosen: kept for its room.
    candidates: Vec<usize>,
}

/// The numbers of the tasks that were woken, in their order; some may be over by now.
type Ready = Arc<Mutex<Vec<u64>>>;

struct Task {
    number: u64,
    owner: Owner,
    /// None while it is polled.
    waiting: Option<Waiting>,
}

struct Waiting {
    future: Pin<Box<dyn Future<Output = ()> + Send>>,
    waker: Waker,
}

struct TaskWaker {
    task: u64,
    ready: Ready,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let mut ready = self.ready.lock();
        if let Err(place) = ready.binary_search(&self.task) {
            ready.insert(place, self.task);
        }
    }
}

impl Executor {
    pub(super) fn new(seed: u64) -> Self {
        let inner = Inner {
            random: Random::new(seed),
            next_task: 0,
            tasks: Vec::new(),
            ready: Arc::default(),
            timers: Timers::default(),
            stopped: Vec::new(),
            candidates: Vec::new(),
        };
        let now = AtomicU64::new(BEGINNING.as_micros());
        Self { shared: Arc::new(Shared { now, inner: Mutex::new(inner) }) }
    }

    pub(super) fn now(&self) -> Time {
        Time::from_micros(self.shared.now.load(Relaxed))
    }

    pub(super) fn draw<T>(&self, draw: impl FnOnce(&mut Random) -> T) -> T {
        draw(&mut self.shared.inner.lock().random)
    }

    pub(super) fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        let future = Box::pin(task);
        let mut inner = self.shared.inner.lock();
        let number = inner.next_task;
        inner.next_task += 1;
        let ready = Arc::clone(&inner.ready);
        // The largest number yet.
        ready.lock().push(number);
        let waker = Waker::from(Arc::new(TaskWaker { task: number, ready }));
        inner.tasks.push(Task { number, owner, waiting: Some(Waiting { future, waker }) });
    }

    /// The process of these tasks dies.
    pub(super) fn kill(&self, owner: Owner) {
        let mut inner = self.shared.inner.lock();
        inner.stopped.retain(|stopped| *stopped != owner);
        let dead: Vec<_> = inner.tasks.extract_if(.., |task| task.owner == owner).collect();
        drop(inner);
        // What a task held may look at the scheduler while it is dropped.
        drop(dead);
    }

    /// The tasks of a process do not go on until it is continued.
    pub(super) fn stop(&self, owner: Owner, is_stopped: bool) {
        let mut inner = self.shared.inner.lock();
        inner.stopped.retain(|stopped| *stopped != owner);
        if is_stopped {
            inner.stopped.push(owner);
        }
    }

    /// Runs until `end`, or until nothing is left to do.
    pub(super) fn run_until(&self, end: Time) {
        while self.step(end) {}
    }

    fn step(&self, end: Time) -> bool {
        let (number, Waiting { mut future, waker }) = {
            let mut inner = self.shared.inner.lock();
            let Some(place) = inner.choose() else { return self.advance(&mut inner, end) };
            let task = &mut inner.tasks[place];
            let Some(waiting) = task.waiting.take() else { return true };
            (task.number, waiting)
        };
        let polled = future.as_mut().poll(&mut Context::from_waker(&waker));
        let mut inner = self.shared.inner.lock();
        let left = match inner.find(number) {
            Some(place) if polled.is_ready() => {
                inner.tasks.remove(place);
                Some(Waiting { future, waker })
            }
            Some(place) => inner.tasks[place].waiting.replace(Waiting { future, waker }),
            // Its process has died meanwhile, by its own hand.
            None => Some(Waiting { future, waker }),
        };
        drop(inner);
        drop(left);
        true
    }

    /// Moves on to the next time at which something happens; false: that is after `end`.
    fn advance(&self, inner: &mut Inner, end: Time) -> bool {
        let Some((at, waker)) = inner.timers.take_first(end) else {
            self.shared.now.store(end.as_micros(), Relaxed);
            return false;
        };
        self.shared.now.fetch_max(at.as_micros(), Relaxed);
        waker.wake();
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
    /// Where a task stands; none: it is over.
    fn find(&self, number: u64) -> Option<usize> {
        self.tasks.binary_search_by_key(&number, |task| task.number).ok()
    }

    /// Where a task stands that can go on.
    fn choose(&mut self) -> Option<usize> {
        let mut candidates = std::mem::take(&mut self.candidates);
        candidates.clear();
        let mut ready = self.ready.lock();
        ready.retain(|number| {
            let place = self.find(*number);
            let goes_on = |place: &usize| !self.stopped.contains(&self.tasks[*place].owner);
            candidates.extend(place.filter(goes_on));
            place.is_some()
        });
        let count = candidates.len() as u64;
        let drawn = (count > 0).then(|| self.random.below(count));
        let chosen = drawn.map(|drawn| candidates[usize::try_from(drawn).unwrap_or(0)]);
        if let Some(chosen) = chosen {
            let number = self.tasks[chosen].number;
            ready.retain(|ready| *ready != number);
        }
        drop(ready);
        self.candidates = candidates;
        chosen
    }
}

/// When something happens next.
#[derive(Default)]
struct Timers {
    /// The latest first: most are set for soon, and the first to come is taken from the end.
    timers: Vec<(TimerKey, Waker)>,
    set: u64,
}

/// When it happens, and which timer it is of those that were set.
type TimerKey = (Time, u64);

impl Timers {
    fn next_key(&mut self, at: Time) -> TimerKey {
        self.set += 1;
        (at, self.set)
    }

    fn find(&self, key: TimerKey) -> Result<usize, usize> {
        self.timers.binary_search_by(|(other, _)| key.cmp(other))
    }

    /// Sets a timer, or who is woken by it.
    fn set(&mut self, key: TimerKey, waker: &Waker) {
        match self.find(key) {
            Ok(place) => self.timers[place].1.clone_from(waker),
            Err(place) => self.timers.insert(place, (key, waker.clone())),
        }
    }

    fn remove(&mut self, key: TimerKey) -> Option<Waker> {
        self.find(key).ok().map(|place| self.timers.remove(place).1)
    }

    /// The first, unless it is after `end`.
    fn take_first(&mut self, end: Time) -> Option<(Time, Waker)> {
        let ((at, _), waker) = self.timers.pop_if(|((at, _), _)| *at <= end)?;
        Some((at, waker))
    }
}

/// Ends at a time.
pub(super) struct Sleep {
    executor: Executor,
    at: Time,
    timer: Option<TimerKey>,
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        if this.executor.now() >= this.at {
            return Poll::Ready(());
        }
        let timers = &mut this.executor.shared.inner.lock().timers;
        let key = *this.timer.get_or_insert_with(|| timers.next_key(this.at));
        timers.set(key, cx.waker());
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.timer {
            self.executor.shared.inner.lock().timers.remove(key);
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
        let passed = real.as_micros().saturating_sub(BEGINNING.as_micros());
        let passed = i64::try_from(passed).unwrap_or(i64::MAX);
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
