//! Some replicas on one store, and what calls through them: built from a seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Key, Layer, Time, Value, WallOffset};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::callers::{Caller, NAMES};
use super::checker::{Checker, OPEN_WAIT, SERVICE};
use super::executor::{Executor, Owner, Random, SimulatedClock};
use super::link::{Link, NetworkFaults, write_override};
use super::process::{Does, Process, live};
use super::service_checks;
use crate::catalog::{Catalog, Declaration};
use crate::journal::MemoryDisk;
use crate::protocol_rules::{Rule, holds};
use crate::store::{ConfigStore as _, MemorySnapshot, MemoryStore};

/// What a world is made with.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::struct_excessive_bools, reason = "all are true independently")]
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
    /// Whether rows go that no replica uses.
    pub(super) lets_go: bool,
    /// Whether replicas decide by themselves while the store does not answer them.
    pub(super) decides_alone: bool,
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
}

impl World {
    pub(super) fn new(seed: u64, plan: Plan, verbose: bool) -> Self {
        let executor = Executor::new(seed);
        let store_clock = SimulatedClock::new(executor.clone(), 0, WallOffset::ZERO);
        let store = Arc::new(MemoryStore::new(Arc::new(store_clock), !seed));
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
                disk: MemoryDisk::default(),
                clock: SimulatedClock::new(executor.clone(), pace, wall),
                network: Arc::new(Mutex::new(plan.network)),
                hint: Arc::new(Notify::new()),
                count_hint: Arc::new(Notify::new()),
                life: Mutex::default(),
                starts_alone: plan.starts_alone,
                lets_go: plan.lets_go,
                kept: Mutex::default(),
                seen: Arc::default(),
            })
        });
        let replicas = replicas.collect();
        let checker = Arc::new(Checker::new(
            executor.clone(),
            Arc::clone(&store),
            (plan.permitted, !plan.loses_probes),
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
        };
        for index in 0..world.replicas.len() {
            world.start(index);
        }
        world
    }

    pub(super) fn loses_probes(&self) -> bool {
        self.plan.loses_probes
    }

    /// A replica's process takes no more calls, and ends, once those that are at work are answered, when it has told the store of all
    /// that it has about probes.
    pub(super) fn stop_gracefully(&self, index: usize) {
        if let Some(serving) = self.replicas[index].life.lock().serving.take() {
            self.checker.log(|| format!("r{index} is to end"));
            serving.calls.close();
            self.executor.spawn(Owner::Replica(index), async move {
                serving.calls.wait().await;
                serving.stop.cancel();
            });
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
        let does = Does { follows: self.plan.is_overridden, decides_alone: self.plan.decides_alone };
        let life = live(executor, process, (number, does), Arc::new(link), catalog, checker);
        self.executor.spawn(owner, life);
    }

    /// A replica's process dies.
    pub(super) fn kill(&self, index: usize) {
        self.checker.log(|| format!("r{index} is killed"));
        self.executor.kill(Owner::Replica(index));
        self.replicas[index].life.lock().serving = None;
        if !holds(Rule::JournalFirst) {
            self.replicas[index].disk.clear();
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
            takes_turns: self.plan.lets_go,
            calls_until: Arc::clone(&self.calls_until),
        }
    }

    pub(super) fn stop_callers(&self) {
        *self.calls_until.lock() = self.executor.now();
    }
}

impl Drop for World {
    /// Tasks and scheduler hold each other.
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
