//! A replica's process: what outlives a crash of it, and what runs in its present life.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, Numbering, State, StoredRow, Time};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::checker::{Checker, OPEN_WAIT, SERVICE};
use super::executor::{Executor, Owner, Random, SimulatedClock};
use super::going_back::Trip;
use super::link::{Link, NetworkFaults};
use super::{letting_go, service_overrides};
use crate::catalog::Catalog;
use crate::engine::{
    Appended, Engine, Event, KnownRow, Limits, Seals, Standing, StoreAnswer, StoreIdentity, TransitionSink,
};
use crate::journal::{Journal, JournalOptions, MemoryDisk, Unanswered};
use crate::replica::{NewestSeen, ReadPosition, Replica, Replication, StoreContact};

/// Between two attempts of a start that finds no store.
const START_AGAIN: Duration = Duration::from_millis(200);
/// Between two signs of life.
const SECOND: Duration = Duration::from_secs(1);
/// Between two times that a process keeps what it knows of the store.
const KEPT_EVERY: Duration = Duration::from_millis(300);

/// A replica's process: what outlives a crash, and the present life.
pub(super) struct Process {
    pub(super) index: usize,
    pub(super) disk: MemoryDisk,
    pub(super) clock: SimulatedClock,
    pub(super) network: Arc<Mutex<NetworkFaults>>,
    pub(super) hint: Arc<Notify>,
    pub(super) count_hint: Arc<Notify>,
    pub(super) life: Mutex<Life>,
    pub(super) starts_alone: bool,
    pub(super) lets_go: bool,
    /// What it last knew of the store; none: nothing was kept yet.
    pub(super) kept: Mutex<Option<Kept>>,
    /// What was seen of the store, on disk.
    pub(super) seen: Arc<NewestSeen>,
}

/// What a process knew of the store.
#[derive(Clone)]
pub(super) struct Kept {
    /// The timeline that the rows are of.
    timeline: u32,
    rows: Vec<KnownRow>,
}

#[derive(Default)]
pub(super) struct Life {
    pub(super) number: u64,
    /// None: it is down, starting, or ending.
    pub(super) serving: Option<Serving>,
    /// It has ended.
    pub(super) ended: bool,
}

#[derive(Clone)]
pub(super) struct Serving {
    pub(super) engine: Arc<Engine>,
    pub(super) link: Arc<Link>,
    pub(super) replica: Replica,
    /// The calls that are at work.
    pub(super) calls: TaskTracker,
    /// Ends what is asked about probes.
    pub(super) stop: CancellationToken,
}

/// As [`crate::replica::Replication::start_alone`].
fn start_alone(engine: &Engine, kept: &[KnownRow], unanswered: &[Unanswered], clock: &dyn Clock) {
    let now = clock.now();
    for KnownRow { key, snapshot, version, entered_by } in kept {
        let age = clock.wall().since(snapshot.entered_at);
        let row = StoredRow { version: *version, snapshot: snapshot.clone(), age };
        engine.take_answer(key, &StoreAnswer::Row(&row), *entered_by, now);
    }
    for Unanswered { key, id, transition, answer } in unanswered {
        engine.resume(key, *id, transition, *answer, now);
    }
}

/// Keeps what is known of the store, now and then.
async fn keep(process: Arc<Process>, engine: Arc<Engine>, read: Arc<ReadPosition>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + KEPT_EVERY).await;
        if read.is_read() && engine.outside_timeline().is_empty() {
            let (timeline, rows) = (engine.timeline(), engine.known_rows());
            *process.kept.lock() = Some(Kept { timeline, rows });
        }
    }
}

/// More breakers than there are. `lets_go`: rows go that nobody uses.
fn limits(lets_go: bool) -> Limits {
    Limits {
        breakers_max: 16,
        breakers_per_service_max: 16,
        breakers_per_caller_max: 16,
        own_series_max: 0,
        idle_ttl: if lets_go { letting_go::IDLE } else { Duration::from_hours(1) },
    }
}

/// What a process does in some runs only.
#[derive(Clone, Copy)]
pub(super) struct Does {
    /// It follows the overrides of the service.
    pub(super) follows: bool,
    /// It decides by itself while the store does not answer.
    pub(super) decides_alone: bool,
}

/// As [`crate::replica::Presence`]: says each second that the replica lives, and finds out whether it is alone.
fn be_present(
    executor: &Executor,
    owner: Owner,
    link: &Arc<Link>,
    contact: Arc<StoreContact>,
    clock: &Arc<dyn Clock>,
) {
    contact.decide_alone();
    let (told, at) = (Arc::clone(&contact), Arc::clone(clock));
    executor.spawn(owner, async move {
        loop {
            at.sleep_until(at.now() + SECOND).await;
            told.second_passed();
        }
    });
    let (link, at) = (Arc::clone(link), Arc::clone(clock));
    executor.spawn(owner, async move {
        loop {
            if link.note().await.is_ok() {
                contact.answered();
            }
            at.sleep_until(at.now() + SECOND).await;
        }
    });
}

/// The life of a replica's process.
pub(super) async fn live(
    executor: Executor,
    process: Arc<Process>,
    (number, Does { follows, decides_alone }): (u64, Does),
    link: Arc<Link>,
    catalog: Arc<Catalog>,
    checker: Arc<Checker>,
) {
    let clock: Arc<dyn Clock> = Arc::new(process.clock.clone());
    let issuer = executor.draw(Random::number);
    let options = JournalOptions {
        replica: format!("r{}", process.index).into(),
        boot: issuer,
        bytes_max: 1024 * 1024,
        breakers_max: 8,
        clock: Arc::clone(&clock),
    };
    let (journal, recovered) = Journal::open_in_memory(&process.disk, options).expect("a journal");
    let journal = Arc::new(journal);
    let kept = process.kept.lock().clone();
    let timeline = kept.as_ref().map_or(0, |kept| kept.timeline);
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline, issuer, numbering: Numbering::Store };
    let sink = Noting {
        journal: Arc::clone(&journal),
        checker: Arc::clone(&checker),
        life: (process.index, number),
    };
    let engine = Engine::new(limits(process.lets_go), identity, &catalog, Box::new(sink), clock.now());
    let engine = Arc::new(engine);
    let owner = Owner::Replica(process.index);
    let stop = CancellationToken::new();
    let replication =
        Replication::new(Arc::clone(&engine), link.clone(), Arc::clone(&clock), Arc::clone(&journal), issuer);
    if decides_alone {
        be_present(&executor, owner, &link, replication.contact(), &clock);
    }
    let hints = (Arc::clone(&process.hint), Arc::clone(&process.count_hint));
    // It may end as late as the network is away.
    let replication = replication.continued(Arc::clone(&process.seen), hints, Duration::from_hours(1));
    executor.spawn(owner, replication.writer().run(stop.clone()));
    let mut tail = replication.tail();
    if let Some(Kept { rows, .. }) = kept {
        checker.log(|| format!("r{} starts by what it last knew", process.index));
        checker.inner.lock().started_alone += 1;
        start_alone(&engine, &rows, &recovered.unanswered, &*clock);
    } else {
        if recovered.entries > 0 {
            let sent = CancellationToken::new();
            let emptied = async {
                journal.emptied().await;
                sent.cancel();
            };
            tokio::join!(emptied, tail.follow_timelines(&sent));
        }
        if follows {
            let stored = loop {
                match link.configuration().await {
                    Ok(stored) => break stored,
                    Err(_) => clock.sleep_until(clock.now() + START_AGAIN).await,
                }
            };
            service_overrides::note(&engine, stored, clock.now());
        }
        while tail.catch_up().await.is_err() {
            clock.sleep_until(clock.now() + START_AGAIN).await;
        }
    }
    if process.starts_alone {
        executor
            .spawn(owner, keep(Arc::clone(&process), Arc::clone(&engine), tail.read(), Arc::clone(&clock)));
    }
    if follows {
        let (engine, link) = (Arc::clone(&engine), Arc::clone(&link));
        let newest = tail.configuration();
        let clock = Arc::clone(&clock);
        executor.spawn(owner, service_overrides::follow(executor.clone(), engine, link, clock, newest));
    }
    executor.spawn(owner, tail.run(stop.clone()));
    if process.lets_go {
        let (index, told, time) = (process.index, Arc::clone(&checker), Arc::clone(&clock));
        let forgot = move |engine: &Engine| {
            told.forgot(index, |name| !engine.knows_breaker(SERVICE, name, time.now()));
        };
        let sweep = letting_go::sweep(Arc::clone(&engine), Arc::clone(&journal), Arc::clone(&clock), forgot);
        executor.spawn(owner, sweep);
        executor.spawn(owner, letting_go::say_use(Arc::clone(&engine), link.clone(), Arc::clone(&clock)));
    }
    executor.spawn(owner, replication.count_sharing(link.clone()).run(stop.clone()));
    let coordinator = replication.coordinator();
    let stop = CancellationToken::new();
    executor.spawn(owner, {
        let (process, stop) = (Arc::clone(&process), stop.clone());
        async move {
            coordinator.run(stop).await;
            process.life.lock().ended = true;
        }
    });
    executor.spawn(owner, tick(Arc::clone(&engine), clock));
    let replica = replication.replica();
    let mut life = process.life.lock();
    if life.number == number {
        checker.log(|| format!("r{} serves", process.index));
        life.serving = Some(Serving { engine, link, replica, calls: TaskTracker::new(), stop });
    }
}

/// The journal, and what stands in the end.
struct Noting {
    journal: Arc<Journal>,
    checker: Arc<Checker>,
    /// Which one of which replica.
    life: (usize, u64),
}

impl TransitionSink for Noting {
    fn append(&self, event: Event<'_>) -> Appended {
        let Event { key, transition, timeline, .. } = event;
        let appended = self.journal.append(event);
        let is_trip = transition.from == State::Closed && transition.after.state == State::Open;
        if let (Some(id), Some(timeline), true) = (appended.id, timeline, is_trip) {
            let ((replica, _), name) = (self.life, key.name().to_string());
            // The replica's clock may be fast.
            let until = self.checker.now() + OPEN_WAIT - Duration::from_millis(100);
            let base_epoch = transition.base_epoch;
            self.checker.tripped(Trip { replica, name, timeline, id, base_epoch, until });
        }
        appended
    }

    fn stands(&self, standing: &Standing<'_>) {
        let Standing { key, transition, epoch, .. } = *standing;
        self.checker.stands(self.life, key.name(), (transition.after.state, epoch));
    }
}

/// What the process' timers do.
pub(super) async fn tick(engine: Arc<Engine>, clock: Arc<dyn Clock>) {
    loop {
        let earlier = engine.earlier_deadline();
        match engine.next_deadline() {
            Some(deadline) if deadline <= clock.now() => engine.tick(clock.now()),
            Some(deadline) => {
                tokio::select! {
                    biased;
                    () = earlier => {}
                    () = clock.sleep_until(deadline) => {}
                }
            }
            None => earlier.await,
        }
    }
}

/// How a replica shows a breaker: its epoch and state.
pub(super) fn shown(serving: &Serving, key: &Key, now: Time) -> (u64, State) {
    serving.engine.view(key.service(), key.name(), now).map_or((0, State::Closed), |view| {
        let snapshot = &view.view.snapshot;
        (snapshot.epoch, snapshot.state)
    })
}
