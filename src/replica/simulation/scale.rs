//! What many replicas ask of the one store that they share: statements and rows a second, and how long they take to agree, by
//! replicas, failing breakers and traffic.
//!
//! `BREAKERD_SCALE=1 cargo test --profile quick --lib replica::simulation::scale -- --nocapture` prints the table of
//! docs/replication.md; without the variable a few small rows are run.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Layer, Numbering, Outcome, Report, Value, WallOffset};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::executor::{Executor, Owner, SimulatedClock};
use super::metered_store::{Asked, Metered, Sum};
use crate::catalog::{Catalog, Declaration};
use crate::engine::{Creator, Engine, Limits, Seals, StoreIdentity, Target};
use crate::journal::{Journal, JournalOptions, MemoryDisk};
use crate::replica::{Replica, Replication};
use crate::store::MemoryStore;

const SERVICE: &str = "db";
/// How long the dependencies have failed before it is measured.
const BEFORE: Duration = Duration::from_secs(4);
const MEASURED: Duration = Duration::from_secs(10);
/// How long a replica may take to end. None does.
const END_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks at who knows of a transition.
const LOOK_EVERY: Duration = Duration::from_millis(1);
/// Calls are made in turns of so long.
const TURN: Duration = Duration::from_millis(10);
/// The wait in OPEN.
const WAIT: Duration = Duration::from_secs(5);

/// How the breakers fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failing {
    /// Every call fails: they open, and each probe opens them again.
    Dead,
    /// Every other call fails, and the threshold is not reached: what they count is exchanged all the time.
    Half,
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
struct Load {
    replicas: usize,
    breakers: usize,
    failing: Failing,
    /// Calls a second on each breaker, all replicas together.
    calls: u32,
}

/// Replicas on one store.
struct Fleet {
    executor: Executor,
    store: Arc<Metered>,
    replicas: Vec<(Arc<Engine>, Replica)>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
}

impl Fleet {
    fn new(load: Load) -> Self {
        let executor = Executor::new(7);
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(executor.clone(), 0, WallOffset::ZERO));
        let hints = || (0..load.replicas).map(|_| Arc::new(Notify::new())).collect::<Vec<_>>();
        let (row_hints, count_hints) = (hints(), hints());
        let store = Arc::new(Metered {
            executor: executor.clone(),
            store: MemoryStore::new(Arc::clone(&clock), 1),
            asked: Mutex::default(),
            told: Mutex::default(),
            row_hints,
            count_hints,
        });
        let stop = CancellationToken::new();
        let catalog = catalog(load.failing);
        let replicas = (0..load.replicas).map(|index| {
            let options = JournalOptions {
                replica: format!("r{index}").into(),
                boot: 1 + index as u64,
                bytes_max: 16 * 1024 * 1024,
                breakers_max: load.breakers,
                clock: Arc::clone(&clock),
            };
            let journal =
                Arc::new(Journal::open_in_memory(&MemoryDisk::default(), options).expect("a journal").0);
            let (engine, boot) = (engine(load, &catalog, &journal, &*clock), journal.boot());
            let owner = Owner::Replica(index);
            let replication =
                Replication::new(Arc::clone(&engine), store.clone(), Arc::clone(&clock), journal, boot);
            let hints = (Arc::clone(&store.row_hints[index]), Arc::clone(&store.count_hints[index]));
            let replication = replication.continued(Arc::default(), hints, END_WITHIN);
            executor.spawn(owner, replication.writer().run(stop.clone()));
            executor.spawn(owner, replication.tail().run(stop.clone()));
            executor.spawn(owner, replication.count_sharing(store.clone()).run(stop.clone()));
            let (asks, stopping) = (replication.coordinator(), stop.clone());
            executor.spawn(owner, async move { asks.run(stopping).await });
            executor.spawn(owner, super::process::tick(Arc::clone(&engine), Arc::clone(&clock)));
            let replica = replication.replica();
            (engine, replica)
        });
        let replicas = replicas.collect();
        Self { executor, store, replicas, clock, stop }
    }

    /// Calls that are dealt round robin over breakers, and over replicas.
    fn start_calls(&self, load: Load) {
        let (executor, clock) = (self.executor.clone(), Arc::clone(&self.clock));
        let replicas: Vec<_> = self.replicas.iter().map(|(_, replica)| replica.clone()).collect();
        let breakers = load.breakers as u64;
        self.executor.spawn(Owner::World, async move {
            let (begun, mut made) = (executor.now(), 0_u64);
            loop {
                executor.sleep(TURN).await;
                let passed = u64::try_from(executor.now().since(begun).as_micros()).unwrap_or(0);
                let due = passed * u64::from(load.calls) * breakers / 1_000_000;
                for call in made..due {
                    let (round, breaker) = (call / breakers, call % breakers);
                    // Each breaker's calls go round the replicas.
                    let place = usize::try_from(round + breaker).unwrap_or(0) % replicas.len();
                    let (replica, clock) = (replicas[place].clone(), Arc::clone(&clock));
                    let fails = load.failing == Failing::Dead || round % 2 == 0;
                    executor.spawn(Owner::World, async move {
                        let (name, now) = (breaker.to_string(), clock.now());
                        let allowed = replica.allow(Creator::Server, SERVICE, &name, now).await;
                        let permit = allowed.expect("it fits").permit;
                        if permit.is_some() {
                            let target = Target { permit, service: SERVICE, name: &name, epoch: None };
                            let report =
                                Report::plain(if fails { Outcome::Failure } else { Outcome::Success });
                            let wait_until = replica.outcomes_wait_until(None);
                            let recorded = replica.record(Creator::Server, target, &report, wait_until);
                            let _ = recorded.await.expect("it fits");
                        }
                    });
                }
                made = due;
            }
        });
    }

    /// Runs so long, and answers how long each transition of this time took until all replicas showed it.
    fn run(&self, length: Duration) -> Vec<Duration> {
        let mut took = Vec::new();
        let end = self.executor.now() + length;
        while self.executor.now() < end {
            self.executor.run_until(self.executor.now() + LOOK_EVERY);
            let now = self.executor.now();
            self.store.told.lock().retain_mut(|told| {
                while let Some((engine, _)) = self.replicas.get(told.next) {
                    // Who has no such breaker will read its row at its first call.
                    let view = engine.view(told.key.service(), told.key.name(), now);
                    if view.is_some_and(|view| view.view.snapshot.epoch < told.epoch) {
                        return true;
                    }
                    told.next += 1;
                }
                took.push(now.since(told.at));
                false
            });
        }
        took
    }
}

impl Drop for Fleet {
    /// Tasks and scheduler hold each other.
    fn drop(&mut self) {
        self.stop.cancel();
        for index in 0..self.replicas.len() {
            self.executor.kill(Owner::Replica(index));
        }
        self.executor.kill(Owner::World);
    }
}

fn catalog(failing: Failing) -> Arc<Catalog> {
    let mut layer = Layer::default();
    let threshold = if failing == Failing::Dead { 5 } else { 1_000_000 };
    for (field, value) in
        [(Field::FailureThreshold, Value::Count(threshold)), (Field::Timeout, Value::Duration(WAIT))]
    {
        layer.set(field, value).expect("in its range");
    }
    let services = BTreeMap::from([(SERVICE.to_owned(), layer)]);
    let declaration = Declaration { enabled: true, services, ..Declaration::default() };
    Arc::new(Catalog::new(&declaration, 1, &BTreeMap::new()).expect("thresholds"))
}

fn engine(load: Load, catalog: &Arc<Catalog>, journal: &Arc<Journal>, clock: &dyn Clock) -> Arc<Engine> {
    let limits = Limits {
        breakers_max: load.breakers + 1,
        breakers_per_service_max: load.breakers + 1,
        breakers_per_caller_max: load.breakers + 1,
        own_series_max: 0,
        idle_ttl: Duration::from_hours(1),
    };
    let identity = StoreIdentity {
        seals: Seals::new(&[7; 16]),
        timeline: 0,
        issuer: journal.boot(),
        numbering: Numbering::Store,
    };
    Arc::new(Engine::new(limits, identity, catalog, Box::new(Arc::clone(journal)), clock.now()))
}

/// What the store is asked a second, and how long replicas took to agree.
#[derive(Debug)]
struct Measured {
    asked: Asked,
    agreed: Vec<Duration>,
}

fn measure(load: Load) -> Measured {
    let fleet = Fleet::new(load);
    fleet.start_calls(load);
    let mut agreed = fleet.run(BEFORE);
    let before = *fleet.store.asked.lock();
    agreed.extend(fleet.run(MEASURED));
    let after = *fleet.store.asked.lock();
    agreed.sort_unstable();
    let less = |after: Sum, before: Sum| Sum {
        statements: after.statements - before.statements,
        rows: after.rows - before.rows,
    };
    let asked = Asked {
        proposals: less(after.proposals, before.proposals),
        probes: less(after.probes, before.probes),
        polls: less(after.polls, before.polls),
        counts: less(after.counts, before.counts),
        counts_read: after.counts_read - before.counts_read,
    };
    Measured { asked, agreed }
}

/// The row of the table.
fn row(load: Load, Measured { asked, agreed }: &Measured) -> String {
    let rate = |number: u64| number.div_ceil(MEASURED.as_secs());
    let sum = |sum: Sum| format!("{} ({})", rate(sum.statements), rate(sum.rows));
    let agreed = |hundredths: usize| {
        let at = (agreed.len() * hundredths / 100).min(agreed.len().saturating_sub(1));
        agreed.get(at).map_or("-".to_owned(), |took| took.as_millis().to_string())
    };
    let mut text = String::new();
    let what = if load.failing == Failing::Dead { "all" } else { "half" };
    let _ = writeln!(
        text,
        "| {} | {} | {what} | {} | {} | {} | {} | {} | {} | {} | {} | {} and {} |",
        load.replicas,
        load.breakers,
        load.calls,
        sum(asked.proposals),
        sum(asked.probes),
        sum(asked.polls),
        sum(asked.counts),
        rate(asked.counts_read),
        rate(asked.statements()),
        rate(asked.bytes()).div_ceil(1_000),
        agreed(50),
        agreed(99),
    );
    text
}

/// Beyond ten replicas they tell each other less often, so that twice the replicas read twice the rows, and not four times.
#[test]
fn counts_that_are_read_grow_as_the_replicas_do() {
    let [ten, twenty] = [10, 20].map(|replicas| {
        let load = Load { replicas, breakers: 2, failing: Failing::Half, calls: 40 };
        measure(load).asked
    });
    assert!(ten.counts_read > 0, "{ten:?}");
    assert!(twenty.counts_read <= ten.counts_read * 9 / 4, "{ten:?}\n{twenty:?}");
    assert!(twenty.counts.rows <= ten.counts.rows * 5 / 4, "{ten:?}\n{twenty:?}");
}

#[test]
fn what_the_store_is_asked_does_not_grow_with_traffic() {
    let mut table = String::from(
        "| replicas | breakers | fail | calls/s each | proposals/s (rows) | about probes/s (items) | polls/s (rows) | counts/s (rows) \
         | counts read/s | statements/s | kB/s | ms to agree, p50 and p99 |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    if std::env::var_os("BREAKERD_SCALE").is_some() {
        for failing in [Failing::Dead, Failing::Half] {
            for breakers in [10, 1_000] {
                for replicas in [3, 10, 30, 100] {
                    for calls in [20, 200] {
                        // What takes hours to simulate.
                        if breakers * replicas > 10_000 || breakers * calls as usize > 30_000 {
                            continue;
                        }
                        let load = Load { replicas, breakers, failing, calls };
                        let line = row(load, &measure(load));
                        print!("{line}");
                        table.push_str(&line);
                    }
                }
            }
        }
        println!("{table}");
        return;
    }
    let of = |calls| {
        let load = Load { replicas: 3, breakers: 10, failing: Failing::Dead, calls };
        let measured = measure(load);
        table.push_str(&row(load, &measured));
        measured
    };
    let [slow, fast] = [20, 200].map(of);
    println!("{table}");
    assert!(slow.asked.statements() > 0 && !slow.agreed.is_empty(), "{slow:?}");
    assert!(fast.asked.statements() <= slow.asked.statements() * 3 / 2, "{slow:?}\n{fast:?}");
    assert!(fast.asked.bytes() <= slow.asked.bytes() * 3 / 2, "{slow:?}\n{fast:?}");
}
