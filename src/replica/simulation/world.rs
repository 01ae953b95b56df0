//! Some replicas on one store, and what calls through them: built from a seed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Field, Key, Layer, Numbering, Outcome, Report, State, StoredRow, Time, Transition, Value, WallOffset,
};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::checker::{Checker, OPEN_WAIT, SERVICE};
use super::executor::{Executor, Owner, Random, SimulatedClock};
use super::link::{Link, NetworkFaults, write_override};
use super::{service_checks, service_overrides};
use crate::catalog::{Catalog, Declaration};
use crate::engine::{
    Allowed, Appended, Creator, Engine, Event, KnownRow, Limits, Permit, Seals, StoreAnswer, StoreIdentity,
    Target, TransitionSink,
};
use crate::journal::writer::Writer;
use crate::journal::{Journal, JournalOptions, Unanswered};
use crate::protocol_rules::{Rule, holds};
use crate::replica::{
    Answers, Calls, Coordinator, CountSharing, NewestSeen, ReadPosition, Replica, Tail, WaitingCall,
};
use crate::store::{ConfigStore as _, MemorySnapshot, MemoryStore};

pub(super) const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
/// Breakers that one batch of calls names, at the most.
const BATCH_MAX: u64 = 3;
/// Between two attempts to report an outcome.
const BETWEEN_REPORTS: Duration = Duration::from_millis(20);
/// How often an outcome is sent where none may be lost.
const REPORTED_MAX: usize = 1_000;
/// Between two attempts of a start that finds no store.
const START_AGAIN: Duration = Duration::from_millis(200);
/// Between two times that a process keeps what it knows of the store.
const KEPT_EVERY: Duration = Duration::from_millis(300);

/// What a world is made with.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "five that are true independently")]
pub(super) struct Plan {
    pub(super) replicas: usize,
    pub(super) callers: usize,
    /// P.
    pub(super) permitted: u32,
    /// S.
    pub(super) successes: u32,
    /// Callers and processes die with probes that they have, which are then out until their leases end. Otherwise processes end
    /// as they should, outcomes are sent until they are answered, and a probe that is lost is a fault.
    pub(super) loses_probes: bool,
    /// How long a probe may be out.
    pub(super) lease: Duration,
    /// The longest half-open; zero: as long as it takes.
    pub(super) max_wait: Duration,
    pub(super) network: NetworkFaults,
    /// How far clocks go wrong: parts of a million that they are fast and slow, at the most (slow by less than a lease's margin), and
    /// seconds of the wall clocks.
    pub(super) fast: u64,
    pub(super) slow: i64,
    pub(super) wall_seconds: i64,
    /// Whether operators act on the breakers.
    pub(super) is_operated: bool,
    /// Whether operators set and clear overrides of the service.
    pub(super) is_overridden: bool,
    /// Whether the store goes back.
    pub(super) goes_back: bool,
    /// Nothing goes wrong but the dependency.
    pub(super) is_calm: bool,
    /// Whether a process that was killed begins by what it last knew of the store, and does not wait for it.
    pub(super) starts_alone: bool,
}

/// The world.
pub(super) struct World {
    pub(super) executor: Executor,
    pub(super) store: Arc<MemoryStore>,
    pub(super) replicas: Vec<Arc<Process>>,
    pub(super) checker: Arc<Checker>,
    catalog: Arc<Catalog>,
    plan: Plan,
    /// Whether the dependency answers.
    healthy: Arc<Mutex<bool>>,
    calls_until: Arc<Mutex<Time>>,
    /// How far a standby, or a backup, has come.
    pub(super) standby: Mutex<Option<MemorySnapshot>>,
    _folder: tempfile::TempDir,
}

/// A replica's process: what outlives a crash, and the present life.
pub(super) struct Process {
    pub(super) index: usize,
    folder: PathBuf,
    pub(super) clock: SimulatedClock,
    pub(super) network: Arc<Mutex<NetworkFaults>>,
    hint: Arc<Notify>,
    count_hint: Arc<Notify>,
    pub(super) life: Mutex<Life>,
    starts_alone: bool,
    /// What it last knew of the store; none: nothing was kept yet.
    kept: Mutex<Option<Vec<KnownRow>>>,
    /// What was seen of the store, on disk.
    seen: Arc<NewestSeen>,
}

#[derive(Default)]
pub(super) struct Life {
    number: u64,
    /// None: it is down, starting, or ending.
    pub(super) serving: Option<Serving>,
    /// It has ended.
    ended: bool,
}

#[derive(Clone)]
pub(super) struct Serving {
    pub(super) engine: Arc<Engine>,
    pub(super) link: Arc<Link>,
    replica: Replica,
    /// Ends what is asked about probes.
    stop: CancellationToken,
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan, verbose: bool) -> Self {
        let executor = Executor::new(seed);
        let store_clock = SimulatedClock::new(executor.clone(), 0, WallOffset::ZERO);
        let store = Arc::new(MemoryStore::new(Arc::new(store_clock), !seed));
        let folder = tempfile::tempdir().expect("a folder");
        let replicas = (0..plan.replicas).map(|index| {
            let (pace, wall) = executor.draw(|random| {
                let between = |random: &mut Random, least: i64, most: i64| {
                    let range = most.abs_diff(least) + 1;
                    least + i64::try_from(random.below(range)).unwrap_or_default()
                };
                let fast = i64::try_from(plan.fast).unwrap_or_default();
                (between(random, -plan.slow, fast), between(random, -plan.wall_seconds, plan.wall_seconds))
            });
            let wall = WallOffset::from_micros(wall * 1_000_000);
            Arc::new(Process {
                index,
                folder: folder.path().join(index.to_string()),
                clock: SimulatedClock::new(executor.clone(), pace, wall),
                network: Arc::new(Mutex::new(plan.network)),
                hint: Arc::new(Notify::new()),
                count_hint: Arc::new(Notify::new()),
                life: Mutex::default(),
                starts_alone: plan.starts_alone,
                kept: Mutex::default(),
                seen: Arc::default(),
            })
        });
        let replicas = replicas.collect();
        let checker = Arc::new(Checker::new(
            executor.clone(),
            Arc::clone(&store),
            (plan.permitted, !plan.loses_probes, plan.is_calm),
            verbose,
        ));
        let world = Self {
            catalog: catalog(&plan),
            executor,
            store,
            replicas,
            checker,
            plan,
            healthy: Arc::new(Mutex::new(true)),
            calls_until: Arc::new(Mutex::new(Time::MAX)),
            standby: Mutex::default(),
            _folder: folder,
        };
        for index in 0..world.replicas.len() {
            world.start(index);
        }
        world
    }

    pub(super) fn loses_probes(&self) -> bool {
        self.plan.loses_probes
    }

    /// A replica's process takes no more calls, and ends when it has told the store of all that it has about probes.
    pub(super) fn stop_gracefully(&self, index: usize) {
        if let Some(serving) = self.replicas[index].life.lock().serving.take() {
            self.checker.log(|| format!("r{index} is to end"));
            serving.stop.cancel();
        }
    }

    /// Processes that have ended begin again.
    pub(super) fn restart_ended(&self) {
        for (index, process) in self.replicas.iter().enumerate() {
            if std::mem::take(&mut process.life.lock().ended) {
                self.kill(index);
                self.start(index);
            }
        }
    }

    /// The service has no override any more.
    pub(super) async fn clear_service_override(&self) {
        let stored = self.store.configuration().await.expect("it is there");
        if stored.overrides.contains_key(SERVICE) {
            let cleared = write_override(&self.store, stored.revision, None, None, service_checks::WALKER);
            cleared.await.expect("it is there");
        }
    }

    pub(super) fn keys() -> [Key; NAMES.len()] {
        NAMES.map(|name| Key::new(SERVICE, name).expect("a key"))
    }

    pub(super) fn set_healthy(&self, is_healthy: bool) {
        self.checker.log(|| format!("the dependency is {}", if is_healthy { "well" } else { "dead" }));
        *self.healthy.lock() = is_healthy;
    }

    /// A replica's process begins.
    pub(super) fn start(&self, index: usize) {
        let process = Arc::clone(&self.replicas[index]);
        let number = {
            let mut life = process.life.lock();
            life.number += 1;
            life.number
        };
        self.checker.begins(index);
        let link = Link {
            executor: self.executor.clone(),
            store: Arc::clone(&self.store),
            checker: Arc::clone(&self.checker),
            network: Arc::clone(&process.network),
            hints: self.replicas.iter().map(|process| Arc::clone(&process.hint)).collect(),
            count_hints: self.replicas.iter().map(|process| Arc::clone(&process.count_hint)).collect(),
        };
        self.checker.log(|| format!("r{index} starts, life {number}"));
        let (executor, catalog, checker) =
            (self.executor.clone(), Arc::clone(&self.catalog), Arc::clone(&self.checker));
        let owner = Owner::Replica(index);
        let follows = self.plan.is_overridden;
        let life = live(executor, process, (number, follows), Arc::new(link), catalog, checker);
        self.executor.spawn(owner, life);
    }

    /// A replica's process dies.
    pub(super) fn kill(&self, index: usize) {
        self.checker.log(|| format!("r{index} is killed"));
        self.executor.kill(Owner::Replica(index));
        self.replicas[index].life.lock().serving = None;
        if !holds(Rule::JournalFirst) {
            let _ = std::fs::remove_dir_all(&self.replicas[index].folder);
        }
    }

    /// Callers that go on until they are told.
    pub(super) fn start_callers(&self) {
        *self.calls_until.lock() = Time::MAX;
        for _ in 0..self.plan.callers {
            self.executor.spawn(Owner::World, self.caller().run());
        }
    }

    pub(super) fn caller(&self) -> Caller {
        Caller {
            executor: self.executor.clone(),
            replicas: self.replicas.clone(),
            checker: Arc::clone(&self.checker),
            healthy: Arc::clone(&self.healthy),
            loses_probes: self.plan.loses_probes,
            calls_until: Arc::clone(&self.calls_until),
        }
    }

    pub(super) fn stop_callers(&self) {
        *self.calls_until.lock() = self.executor.now();
    }
}

impl Drop for World {
    /// Tasks and scheduler hold each other, and processes their files.
    fn drop(&mut self) {
        for process in &self.replicas {
            self.executor.kill(Owner::Replica(process.index));
            process.life.lock().serving = None;
        }
        self.executor.kill(Owner::World);
    }
}

/// One failure in a row of three opens for two seconds.
fn catalog(plan: &Plan) -> Arc<Catalog> {
    let mut db = Layer::default();
    for (field, value) in [
        (Field::FailureThreshold, Value::Count(3)),
        (Field::Timeout, Value::Duration(OPEN_WAIT)),
        (Field::PermittedCalls, Value::Count(plan.permitted)),
        (Field::SuccessThreshold, Value::Count(plan.successes)),
        (Field::HalfOpenPermitTimeout, Value::Duration(plan.lease)),
        (Field::MaxWaitInHalfOpen, Value::Duration(plan.max_wait)),
    ] {
        db.set(field, value).expect("in its range");
    }
    let services = BTreeMap::from([(SERVICE.to_owned(), db)]);
    let declaration = Declaration { enabled: true, services, ..Declaration::default() };
    Arc::new(Catalog::new(&declaration, 1, &BTreeMap::new()).expect("thresholds"))
}

/// As [`crate::replica::Replication::start_alone`].
fn start_alone(engine: &Engine, kept: &[KnownRow], unanswered: &[Unanswered], clock: &dyn Clock) {
    let now = clock.now();
    for KnownRow { key, snapshot, version, entered_by } in kept {
        let age = clock.wall().since(snapshot.entered_at);
        let row = StoredRow { version: *version, snapshot: snapshot.clone(), age };
        engine.take_answer(key, &StoreAnswer::Row(&row), *entered_by, now);
    }
    for Unanswered { key, id, transition } in unanswered {
        engine.resume(key, *id, transition, now);
    }
}

/// Keeps what is known of the store, now and then.
async fn keep(process: Arc<Process>, engine: Arc<Engine>, read: Arc<ReadPosition>, clock: Arc<dyn Clock>) {
    loop {
        clock.sleep_until(clock.now() + KEPT_EVERY).await;
        if read.is_read() {
            *process.kept.lock() = Some(engine.known_rows());
        }
    }
}

/// The life of a replica's process.
async fn live(
    executor: Executor,
    process: Arc<Process>,
    (number, follows): (u64, bool),
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
    let (journal, recovered) = Journal::open(&process.folder, options).expect("a journal");
    let journal = Arc::new(journal);
    let limits = Limits {
        breakers_max: 16,
        breakers_per_service_max: 16,
        breakers_per_caller_max: 16,
        own_series_max: 0,
        idle_ttl: Duration::from_hours(1),
    };
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer, numbering: Numbering::Store };
    let sink =
        Noting { journal: Arc::clone(&journal), checker: Arc::clone(&checker), replica: process.index };
    let engine = Engine::new(limits, identity, &catalog, Box::new(sink), clock.now());
    let engine = Arc::new(engine);
    let owner = Owner::Replica(process.index);
    let stop = CancellationToken::new();
    let seen = Arc::clone(&process.seen);
    let answers = Answers::new(Arc::clone(&engine), Arc::clone(&clock)).noting(Arc::clone(&seen));
    let answers = Arc::new(answers);
    executor.spawn(owner, Writer::to_shared(Arc::clone(&journal), link.clone(), answers).run(stop.clone()));
    let tail = Tail::new(Arc::clone(&engine), link.clone(), Arc::clone(&clock), Arc::clone(&process.hint));
    let mut tail = tail.of_replica(Arc::clone(&journal), Arc::clone(&seen));
    let kept = process.kept.lock().clone();
    if let Some(kept) = kept {
        checker.log(|| format!("r{} starts by what it last knew", process.index));
        start_alone(&engine, &kept, &recovered.unanswered, &*clock);
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
    let sharing = CountSharing::new(
        Arc::clone(&engine),
        link.clone(),
        Arc::clone(&clock),
        Arc::clone(&process.count_hint),
        journal.replica(),
        issuer,
    );
    executor.spawn(owner, sharing.run(stop.clone()));
    let coordinator =
        Coordinator::new(Arc::clone(&engine), link.clone(), Arc::clone(&clock), &journal, issuer);
    // As long as the network is away.
    let coordinator = Arc::new(coordinator.with_grace(Duration::from_hours(1)).noting(seen));
    let stop = CancellationToken::new();
    executor.spawn(owner, {
        let (coordinator, process, stop) = (Arc::clone(&coordinator), Arc::clone(&process), stop.clone());
        async move {
            coordinator.run(stop).await;
            process.life.lock().ended = true;
        }
    });
    executor.spawn(owner, tick(Arc::clone(&engine), Arc::clone(&clock)));
    let tail_hint = Arc::clone(&process.hint);
    let replica = Replica::of_several(Arc::clone(&engine), clock, coordinator, tail_hint);
    let mut life = process.life.lock();
    if life.number == number {
        checker.log(|| format!("r{} serves", process.index));
        life.serving = Some(Serving { engine, link, replica, stop });
    }
}

/// The journal, and what stands in the end.
struct Noting {
    journal: Arc<Journal>,
    checker: Arc<Checker>,
    replica: usize,
}

impl TransitionSink for Noting {
    fn append(&self, event: Event<'_>) -> Appended {
        self.journal.append(event)
    }

    fn stands(&self, key: &Key, transition: &Transition, epoch: u64) {
        self.checker.stands(self.replica, key.name(), (transition.after.state, epoch));
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

/// Somebody who calls the dependency, and asks before.
pub(super) struct Caller {
    pub(super) executor: Executor,
    replicas: Vec<Arc<Process>>,
    pub(super) checker: Arc<Checker>,
    healthy: Arc<Mutex<bool>>,
    loses_probes: bool,
    calls_until: Arc<Mutex<Time>>,
}

impl Caller {
    pub(super) fn goes_on(&self) -> bool {
        self.executor.now() < *self.calls_until.lock()
    }

    /// A replica that serves, if this one does: its index, engine, network and clock.
    pub(super) fn serving(&self, drawn: u64) -> Option<(usize, Arc<Engine>, Arc<Link>, SimulatedClock)> {
        let index = usize::try_from(drawn).ok()? % self.replicas.len();
        let process = &self.replicas[index];
        let serving = process.life.lock().serving.clone()?;
        Some((index, serving.engine, serving.link, process.clock.clone()))
    }

    async fn run(self) {
        while self.goes_on() {
            let pause = self.executor.draw(|random| random.micros(200_000));
            self.executor.sleep(pause).await;
            let (first, count) =
                self.executor.draw(|random| (random.below(NAMES.len() as u64), 1 + random.below(BATCH_MAX)));
            let names: Vec<_> = NAMES
                .into_iter()
                .cycle()
                .skip(usize::try_from(first).unwrap_or(0))
                .take(usize::try_from(count).unwrap_or(1))
                .collect();
            for (name, allowed) in self.ask(names).await.into_iter().flatten() {
                self.use_permit(name, &allowed).await;
            }
        }
    }

    /// Calls the dependency, if that is allowed, and says how it went.
    async fn use_permit(&self, name: &'static str, allowed: &Allowed) {
        let Allowed { decision, permit: Some(permit), .. } = allowed else { return };
        let outcome = if *self.healthy.lock() { Outcome::Success } else { Outcome::Failure };
        let took = self.executor.draw(|random| {
            let most = if random.one_in(20) { 4_000_000 } else { 50_000 };
            random.micros(most)
        });
        self.executor.sleep(took).await;
        // Some callers die with their permits.
        if self.loses_probes && self.executor.draw(|random| random.one_in(20)) {
            return;
        }
        self.report(name, *permit, outcome).await;
        if decision.pass.and_then(|pass| pass.probe).is_some() {
            self.checker.log(|| format!("a probe of {name} {outcome}"));
        }
    }

    /// Runs a call in a replica that serves; none: its process died over it, none serves, or it took too long.
    pub(super) async fn call<T, F>(&self, call: impl FnOnce(Replica, Shown, Time) -> F) -> Option<(usize, T)>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let call = |replica, shown, now, sender: oneshot::Sender<T>| {
            let called = call(replica, shown, now);
            async move {
                let _ = sender.send(called.await);
            }
        };
        self.call_sending(call).await
    }

    /// As [`Self::call`]; the call sends its answer itself.
    async fn call_sending<T, F>(
        &self,
        call: impl FnOnce(Replica, Shown, Time, oneshot::Sender<T>) -> F,
    ) -> Option<(usize, T)>
    where
        T: Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let serving: Vec<_> = self
            .replicas
            .iter()
            .filter_map(|process| Some((Arc::clone(process), process.life.lock().serving.clone()?)))
            .collect();
        if serving.is_empty() {
            return None;
        }
        let chosen = self.executor.draw(|random| random.below(serving.len() as u64));
        let (process, serving) = serving.into_iter().nth(usize::try_from(chosen).unwrap_or(0))?;
        let (sender, answer) = oneshot::channel();
        let now = process.clock.now();
        let shown = Shown {
            replica: process.index,
            engine: Arc::clone(&serving.engine),
            clock: process.clock.clone(),
            checker: Arc::clone(&self.checker),
        };
        self.executor.spawn(Owner::Replica(process.index), call(serving.replica, shown, now, sender));
        // A caller has a deadline.
        tokio::select! {
            biased;
            answer = answer => Some((process.index, answer.ok()?)),
            () = self.executor.sleep(Duration::from_secs(2)) => None,
        }
    }

    /// Asks about breakers in one batch.
    async fn ask(&self, names: Vec<&'static str>) -> Option<Vec<(&'static str, Allowed)>> {
        let call = move |replica: Replica, shown: Shown, now, mut sender: oneshot::Sender<_>| async move {
            let mut calls = replica.calls(Creator::Server);
            let decided = tokio::select! {
                biased;
                // A server drops the calls of a caller that has gone.
                () = sender.closed() => return,
                decided = decide(&mut calls, &names, &shown, now) => decided,
            };
            if sender.send(decided).is_ok() {
                calls.told();
            }
        };
        let (index, decided) = self.call_sending(call).await?;
        for (name, allowed, decided) in &decided {
            self.checker.allowed(index, name, allowed, *decided);
        }
        Some(decided.into_iter().map(|(name, allowed, _)| (name, allowed)).collect())
    }

    async fn report(&self, name: &'static str, permit: Permit, outcome: Outcome) {
        let reported_at = self.executor.now();
        // Sent again, as a client does whose connection broke.
        for _ in 0..if self.loses_probes { 3 } else { REPORTED_MAX } {
            let call = move |replica: Replica, _: Shown, _, sender: oneshot::Sender<_>| async move {
                let wait_until = replica.outcomes_wait_until(None);
                let target = Target { permit: Some(permit), service: SERVICE, name, epoch: None };
                let report = Report::plain(outcome);
                let recorded = replica.record(Creator::Server, target, &report, wait_until).await;
                // None takes it any more where the process ends.
                let _ = recorded.map(|recorded| sender.send(recorded));
            };
            if let Some((index, recorded)) = self.call_sending(call).await {
                self.checker.recorded(index, name, &permit, &recorded, reported_at);
                return;
            }
            self.executor.sleep(BETWEEN_REPORTS).await;
        }
    }
}

/// Looks at calls until each is decided.
async fn decide(
    calls: &mut Calls<'_>,
    names: &[&'static str],
    shown: &Shown,
    mut now: Time,
) -> Vec<(&'static str, Allowed, (u32, Time))> {
    let mut decided = Vec::new();
    let mut look: Vec<_> = (0..names.len()).map(WaitingCall::new).collect();
    while !look.is_empty() {
        for call in look {
            let name = names[call.number];
            if let Some(allowed) = calls.look(call, SERVICE, name, now).expect("it fits") {
                let timeline = shown.engine.breaker_timeline(SERVICE, name);
                shown.checker.shown(shown.replica, name, (timeline, allowed.decision.epoch));
                if allowed.decision.pass.is_some() {
                    shown.checker.passed(shown.replica, name);
                }
                decided.push((name, allowed, (timeline, shown.checker.now())));
            }
        }
        look = calls.answered().await;
        now = shown.clock.now();
    }
    decided
}

/// Where a replica's answers are noted in the order that it gives them.
pub(super) struct Shown {
    pub(super) replica: usize,
    engine: Arc<Engine>,
    clock: SimulatedClock,
    pub(super) checker: Arc<Checker>,
}

/// How a replica shows a breaker: its epoch and state.
pub(super) fn shown(serving: &Serving, key: &Key, now: Time) -> (u64, State) {
    serving.engine.view(key.service(), key.name(), now).map_or((0, State::Closed), |view| {
        let snapshot = &view.view.snapshot;
        (snapshot.epoch, snapshot.state)
    })
}
