//! The kinds of run: what goes wrong in each, and what has to hold once everything is well again.

use std::time::Duration;

use breaker::{Key, Snapshot, State};
use breakerd_common::clock::Clock as _;
use futures_util::FutureExt as _;

use super::callers::Caller;
use super::executor::{BEGINNING, Owner, Random};
use super::link::NetworkFaults;
use super::operators::{operate, reset_all};
use super::process::shown;
use super::results::RunResult;
use super::world::{Plan, World};
use super::{letting_go, service_operators, store_faults, turns};
use crate::store::{Availability, StoredBreaker, TransitionStore as _};

/// Operators act in one seed of so many. (In the others breakers change by themselves only, and more often.)
const OPERATED_EVERY: u64 = 5;
/// In one of so many the store goes back: in those that leave this.
const GOES_BACK: u64 = 2;
/// How long callers call while things go wrong.
const ADVERSITY: Duration = Duration::from_secs(15);
/// How long it may take until all replicas agree once nothing goes wrong any more.
const AGREE_WITHIN: Duration = Duration::from_secs(2);
/// How long it may take until a dependency that is well is called again: less than half of a lease where no probe may be lost.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// A plan that follows from the seed.
fn plan(random: &mut Random, replicas: Option<u64>) -> Plan {
    let permitted = 1 + u32::try_from(random.below(4)).unwrap_or(0);
    let loses_probes = random.one_in(2);
    let drawn = 1 + random.below(3);
    let chance = |random: &mut Random| if random.one_in(2) { 0 } else { 5 + random.below(60) };
    Plan {
        replicas: usize::try_from(replicas.unwrap_or(drawn)).unwrap_or(1).max(1),
        callers: 3 + usize::try_from(random.below(6)).unwrap_or(0),
        permitted,
        successes: 1 + u32::try_from(random.below(u64::from(permitted))).unwrap_or(0),
        loses_probes,
        lease: Duration::from_secs(if loses_probes { 3 } else { 60 }),
        max_wait: Duration::from_secs(if loses_probes && random.one_in(3) { 6 } else { 0 }),
        network: NetworkFaults {
            delay_us: [1_000, 20_000, 300_000][usize::try_from(random.below(3)).unwrap_or(0)],
            lost: chance(random),
            unanswered: chance(random),
            repeated: chance(random),
            late_claims: loses_probes,
            is_cut: false,
        },
        fast: if random.one_in(3) { 20_000 } else { 100 },
        slow: if loses_probes { 100 } else { 5 },
        wall_seconds: 3_600,
        is_operated: false,
        is_overridden: false,
        goes_back: false,
        is_calm: false,
        starts_alone: false,
        lets_go: false,
        decides_alone: false,
    }
}

/// Something goes wrong, or is well again.
fn inject_fault(world: &World, random: &mut Random) {
    let index = usize::try_from(random.below(world.replicas.len() as u64)).unwrap_or(0);
    let process = &world.replicas[index];
    match random.below(9) {
        0 | 1 if world.loses_probes() => {
            world.kill(index);
            world.start(index);
        }
        0 | 1 => world.stop_gracefully(index),
        2 => {
            world.checker.log(|| format!("r{index} is cut off"));
            process.network.lock().is_cut = true;
        }
        3 => {
            world.checker.log(|| format!("r{index} is reachable"));
            process.network.lock().is_cut = false;
        }
        // One that is to end has a grace time for what it must give back, and a pause would use it up: a slot is lost then, until its lease ends.
        4 if !world.loses_probes() && process.life.lock().serving.is_none() => {}
        4 => {
            world.checker.log(|| format!("r{index} is stopped"));
            world.executor.stop(Owner::Replica(index), true);
        }
        5 => {
            world.checker.log(|| format!("r{index} is continued"));
            world.executor.stop(Owner::Replica(index), false);
        }
        6 => {
            world.checker.log(|| "the store is away".to_owned());
            world.store.set_availability(Availability::Unavailable);
        }
        7 => {
            world.checker.log(|| "the store is there".to_owned());
            world.store.set_availability(Availability::Available);
        }
        _ => {
            let wall = breaker::WallOffset::from_micros(
                (i64::try_from(random.below(7_200)).unwrap_or(0) - 3_600) * 1_000_000,
            );
            process.clock.set_wall(wall);
        }
    }
}

/// Everything is well from here on.
fn heal(world: &World) {
    world.checker.log(|| "everything is well from here on".to_owned());
    world.store.set_availability(Availability::Available);
    world.set_healthy(true);
    for (index, process) in world.replicas.iter().enumerate() {
        world.executor.stop(Owner::Replica(index), false);
        *process.network.lock() = NetworkFaults { delay_us: 5_000, ..NetworkFaults::default() };
    }
}

/// Somebody reads how every replica shows every breaker.
fn look(world: &World) {
    for process in &world.replicas {
        let Some(serving) = process.life.lock().serving.clone() else { continue };
        for key in World::keys() {
            let (epoch, state) = shown(&serving, &key, process.clock.now());
            let timeline = serving.engine.breaker_timeline(key.service(), key.name());
            world.checker.told(key.name(), Some(timeline), epoch, state);
        }
    }
}

/// A run in which anything goes wrong; of so many replicas; none: of as many as the seed says.
pub(super) fn run(replicas: Option<u64>, seed: u64, verbose: bool) -> RunResult {
    let mut random = Random::new(seed ^ 0x5eed);
    let of = |residue| seed % OPERATED_EVERY == residue;
    let plan = Plan {
        is_operated: of(OPERATED_EVERY - 1),
        is_overridden: of(OPERATED_EVERY - 2),
        goes_back: of(GOES_BACK),
        ..plan(&mut random, replicas)
    };
    run_plan(seed, plan, random, verbose)
}

/// A run in which nothing goes wrong but the dependency.
pub(super) fn run_calmly(seed: u64) -> RunResult {
    let mut random = Random::new(seed ^ 0xca1f);
    let network = NetworkFaults { delay_us: 5_000, ..NetworkFaults::default() };
    let plan = Plan { replicas: 3, callers: 20, network, fast: 0, is_calm: true, ..plan(&mut random, None) };
    run_plan(seed, plan, random, false)
}

/// A run in which processes that were killed begin by what they last knew of the store.
pub(super) fn run_alone(replicas: Option<u64>, seed: u64, verbose: bool) -> RunResult {
    let mut random = Random::new(seed ^ 0xa10e);
    let plan =
        Plan { starts_alone: true, is_operated: seed.is_multiple_of(3), ..plan(&mut random, replicas) };
    run_plan(seed, plan, random, verbose)
}

/// Lets rows go, as a replica's retention does.
async fn let_rows_go(world: Caller) {
    loop {
        world.executor.sleep(letting_go::EVERY).await;
        for key in World::keys() {
            if let Some(history) = world.checker.store().let_go(&key, letting_go::HISTORY_KEPT) {
                world.checker.let_go(&key, history);
            }
        }
    }
}

/// A run in which breakers are used for a while each, and rows that no replica uses go.
pub(super) fn run_letting_go(replicas: Option<u64>, seed: u64, verbose: bool) -> RunResult {
    let mut random = Random::new(seed ^ 0x1e60);
    let plan = plan(&mut random, replicas);
    let (loses_probes, lease) = (true, Duration::from_secs(3));
    run_plan(seed, Plan { lets_go: true, loses_probes, lease, ..plan }, random, verbose)
}

/// A run in which replicas decide by themselves while the store does not answer them, and the store, or the network, is away for
/// longer.
pub(super) fn run_deciding_alone(replicas: Option<u64>, seed: u64, verbose: bool) -> RunResult {
    let mut random = Random::new(seed ^ 0xb4a2);
    let plan = plan(&mut random, replicas);
    let plan = Plan {
        decides_alone: true,
        is_operated: seed.is_multiple_of(4),
        // A replica that is cut off takes the outcome of a probe of a timeline that it has not heard of as late: that one is lost.
        goes_back: seed % 4 == 2 && plan.loses_probes,
        starts_alone: seed.is_multiple_of(3),
        ..plan
    };
    run_plan(seed, plan, random, verbose)
}

fn run_plan(seed: u64, plan: Plan, mut random: Random, verbose: bool) -> RunResult {
    let world = World::new(seed, plan, verbose);
    world.checker.log(|| format!("{plan:?}"));
    world.start_callers();
    if plan.is_operated {
        world.executor.spawn(Owner::World, operate(world.caller()));
    }
    if plan.is_overridden {
        world.executor.spawn(Owner::World, service_operators::operate(world.caller()));
    }
    if plan.lets_go {
        world.store.set_unused_kept(letting_go::ROWS_KEPT);
        world.executor.spawn(Owner::World, let_rows_go(world.caller()));
    }
    let end = BEGINNING + if plan.lets_go { turns::LASTS } else { ADVERSITY };
    while world.executor.now() < end {
        let pause = random.micros(1_500_000);
        world.executor.run_until((world.executor.now() + pause).min(end));
        world.restart_ended();
        look(&world);
        match random.below(4) {
            0 => world.set_healthy(false),
            1 => world.set_healthy(true),
            _ if plan.is_calm => {}
            2 if plan.goes_back && random.one_in(2) => store_faults::inject(&world, &mut random),
            _ => inject_fault(&world, &mut random),
        }
    }
    world.stop_callers();
    heal(&world);
    if plan.is_overridden {
        // What operators are at is done, and what comes late has come.
        world.executor.run_until(world.executor.now() + Duration::from_secs(4));
        world.clear_service_override().now_or_never().expect("it waits for nothing");
    }
    // What callers are at is done.
    for _ in 0..7 {
        world.executor.run_until(world.executor.now() + Duration::from_secs(1));
        world.restart_ended();
    }
    world.executor.run_until(world.executor.now() + AGREE_WITHIN);
    check_agreement(&world, plan.lets_go);
    if plan.is_operated {
        world.executor.spawn(Owner::World, reset_all(world.caller()));
        world.executor.run_until(world.executor.now() + AGREE_WITHIN);
    }
    world.start_callers();
    // An outcome that went with the store leaves its slot out until its lease is over.
    let lost_for = if plan.goes_back { plan.lease } else { Duration::ZERO };
    let end = world.executor.now() + CLOSE_WITHIN + lost_for;
    let is_closed = || rows(&world).iter().all(|row| row.snapshot.state == State::Closed);
    while world.executor.now() < end && !is_closed() {
        world.executor.run_until((world.executor.now() + Duration::from_millis(500)).min(end));
    }
    world.stop_callers();
    world.executor.run_until(world.executor.now() + AGREE_WITHIN);
    for key in World::keys() {
        let stored = row(&world, &key);
        if stored.state != State::Closed {
            world.checker.violated(format!("{key} is {} in the end", stored.state));
        }
    }
    let figures = world.checker.check_history();
    RunResult { problems: world.checker.problems(), figures, story: world.checker.story() }
}

/// All replicas show what the store has. A row that it has had for less time than that may take is looked at once more after it.
fn check_agreement(world: &World, lets_go: bool) {
    let mut young = Vec::new();
    for process in &world.replicas {
        let Some(serving) = process.life.lock().serving.clone() else {
            world.checker.violated(format!("r{} does not serve", process.index));
            continue;
        };
        for key in World::keys() {
            let stored = row(world, &key);
            let shown = shown(&serving, &key, process.clock.now());
            let is_known = serving.engine.knows_breaker(key.service(), key.name(), process.clock.now());
            let is_closed = stored.state == State::Closed && shown.1 == State::Closed;
            if lets_go && is_closed && (stored.epoch == 0 || !is_known) {
                // What is kept of a breaker that is retired is forgotten sooner or later than its row.
                continue;
            }
            if shown == (stored.epoch, stored.state) {
                continue;
            }
            if shown.0 < stored.epoch && world.executor.now().since(stored.entered_at) < AGREE_WITHIN {
                young.push((process, key, stored));
            } else {
                world.checker.violated(differs(process.index, &key, shown, &stored));
            }
        }
    }
    if young.is_empty() {
        return;
    }
    world.executor.run_until(world.executor.now() + AGREE_WITHIN);
    for (process, key, stored) in young {
        let Some(serving) = process.life.lock().serving.clone() else { continue };
        let shown = shown(&serving, &key, process.clock.now());
        if shown.0 < stored.epoch {
            world.checker.violated(differs(process.index, &key, shown, &stored));
        }
    }
}

fn differs(index: usize, key: &Key, shown: (u64, State), stored: &Snapshot) -> String {
    format!("r{index} shows {key} as {shown:?}, the store has {stored:?}")
}

/// The rows of all breakers that have one.
fn rows(world: &World) -> Vec<StoredBreaker> {
    let stored = world.store.breakers(None, 100).now_or_never();
    stored.expect("it waits for nothing").expect("it is there")
}

fn row(world: &World, key: &Key) -> Snapshot {
    rows(world)
        .into_iter()
        .find(|stored| stored.key == *key)
        .map_or_else(Snapshot::pristine, |stored| stored.snapshot)
}
