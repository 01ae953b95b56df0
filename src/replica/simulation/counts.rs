//! Failures that are dealt over replicas open a breaker as if one had seen them all, and healthy breakers stay closed.

use std::time::Duration;

use breaker::{CountsInterval, Outcome, Report, State};
use breakerd_common::clock::Clock as _;

use super::checker::SERVICE;
use super::executor::Random;
use super::link::NetworkFaults;
use super::world::{Plan, World};
use crate::engine::Target;

/// Failures in a row that open a breaker of a [`World`].
const THRESHOLD: u64 = 3;

fn plan(network: NetworkFaults) -> Plan {
    Plan {
        replicas: 3,
        callers: 0,
        permitted: 1,
        successes: 1,
        loses_probes: true,
        lease: Duration::from_secs(3),
        max_wait: Duration::ZERO,
        network,
        fast: 100,
        slow: 100,
        wall_seconds: 3_600,
        is_operated: false,
        is_overridden: false,
        goes_back: false,
        is_calm: true,
        starts_alone: false,
        lets_go: false,
        decides_alone: false,
    }
}

/// The outcome of a call of a breaker, in a replica. False: the breaker is not closed there any more.
fn record(world: &World, replica: u64, name: &str, outcome: Outcome) -> bool {
    let process = &world.replicas[usize::try_from(replica).expect("a few")];
    let engine = process.life.lock().serving.as_ref().expect("it serves").engine.clone();
    let target = Target { permit: None, service: SERVICE, name, epoch: None };
    let recorded = engine.record(target, &Report::plain(outcome), process.clock.now()).expect("it fits");
    recorded.state == State::Closed
}

fn is_closed(world: &World, name: &str) -> bool {
    world.replicas.iter().all(|process| {
        let engine = process.life.lock().serving.as_ref().expect("it serves").engine.clone();
        let view = engine.view(SERVICE, name, process.clock.now());
        view.is_none_or(|view| view.state == State::Closed && view.view.snapshot.epoch == 0)
    })
}

fn started(seed: u64, network: NetworkFaults) -> World {
    let world = World::new(seed, plan(network), false);
    while world.replicas.iter().any(|process| process.life.lock().serving.is_none()) {
        world.executor.run_until(world.executor.now() + Duration::from_millis(100));
    }
    world
}

fn at_most(delay_us: u64) -> NetworkFaults {
    NetworkFaults { delay_us, ..NetworkFaults::default() }
}

#[test]
fn failures_dealt_round_robin_open_within_the_calls_of_two_intervals() {
    for seed in 0..20 {
        let mut random = Random::new(seed);
        let world = started(seed, at_most(5_000));
        let pause = Duration::from_millis(5 + random.below(40));
        // Some have succeeded before, lately or long ago.
        for replica in 0..random.below(4) {
            record(&world, replica % 3, "a", Outcome::Success);
        }
        world.executor.run_until(world.executor.now() + random.micros(3_000_000));
        let mut calls = 0;
        while is_closed(&world, "a") {
            record(&world, calls % 3, "a", Outcome::Failure);
            calls += 1;
            assert!(calls < 1_000, "seed {seed}: it never opens");
            world.executor.run_until(world.executor.now() + pause);
        }
        let of_two = (2 * CountsInterval::SHORTEST.length().as_micros()).div_ceil(pause.as_micros());
        let most = THRESHOLD + u64::try_from(of_two).unwrap_or(u64::MAX);
        assert!(calls <= most, "seed {seed}: opened by {calls} calls, {pause:?} apart; {most} at the most");
    }
}

#[test]
fn a_breaker_that_is_well_enough_stays_closed_in_every_replica() {
    for seed in 0..10 {
        let mut random = Random::new(seed);
        let network = NetworkFaults {
            delay_us: 20_000,
            lost: 10 + random.below(30),
            unanswered: 10 + random.below(30),
            repeated: 10 + random.below(30),
            ..NetworkFaults::default()
        };
        let world = started(seed, network);
        let pause = Duration::from_millis(1 + random.below(30));
        for call in 0..2_000 {
            // Every other call fails in each of them: there are never two failures in a row.
            let outcome = if call / 3 % 2 == 0 { Outcome::Success } else { Outcome::Failure };
            let replica = call % 3;
            assert!(record(&world, replica, "b", outcome), "seed {seed}: open after {call} calls");
            world.executor.run_until(world.executor.now() + pause);
        }
        assert!(is_closed(&world, "b"), "seed {seed}");
    }
}
