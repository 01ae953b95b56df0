//! Replicas on a store in memory, under a scheduler that follows a seed: clocks that are wrong, a network that delays, loses,
//! repeats and cuts, crashes at every await, a store that goes away and returns. What callers are told is held against what
//! the history has in the end, and everything has to come to rest.
//!
//! `BREAKERD_SEEDS=1000` runs so many seeds, `BREAKERD_SEED=17` that one, and tells its story. `BREAKERD_REPLICAS=30` runs them with
//! so many replicas, and not with one to three.

mod acts;
mod alone;
mod callers;
mod checker;
mod counts;
mod executor;
mod going_back;
mod history_checks;
mod letting_go;
mod link;
mod metered_store;
mod operators;
mod process;
mod scale;
mod service_checks;
mod service_operators;
mod service_overrides;
mod store_faults;
mod thresholds;
mod turns;
mod world;

use std::time::Duration;

use breaker::{Snapshot, State};
use breakerd_common::clock::Clock as _;
use futures_util::FutureExt as _;

use self::callers::Caller;
use self::checker::Figures;
use self::executor::{BEGINNING, Owner, Random};
use self::link::NetworkFaults;
use self::operators::{operate, reset_all};
use self::process::shown;
use self::world::{Plan, World};
use crate::protocol_rules::{Rule, without};
use crate::store::{Availability, StoredBreaker, TransitionStore as _};

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 25;
/// Of those with ten replicas.
const SEEDS_OF_TEN: u64 = 5;
/// Seeds that fail without a rule, so that few need to be tried.
const NOTED: &[(Rule, u64)] = &[
    (Rule::OldRowsIgnored, 72),
    (Rule::EpochAndStateCompared, 0),
    (Rule::KnownIdAnsweredAlike, 0),
    (Rule::WaitByStoreClock, 1),
    (Rule::LeaseFromSend, 260),
    (Rule::OutcomeNonceChecked, 516),
    (Rule::SupersededKept, 256),
    (Rule::JournalFirst, 9),
    (Rule::LeasesEnd, 0),
    (Rule::OutcomeDecides, 0),
    (Rule::RepeatTellsDecision, 1_047),
    (Rule::LaterEpochToStore, 0),
    (Rule::ProbesReturned, 11),
    (Rule::EndReturnsProbes, 70),
    (Rule::PollIsTruth, 4),
    (Rule::ResetGuarded, 2_164),
    (Rule::ForcedOpenUnguarded, 19),
    (Rule::ActsInOrder, 119),
    (Rule::ServiceOverrideGuarded, 3),
    (Rule::NonceCompared, 17),
    (Rule::TimelineCompared, 52),
    (Rule::HalfOpenEntersAgain, 227),
    (Rule::TimelineByTail, 97),
    (Rule::EnteredAgainKept, 41162),
    (Rule::OtherTimelineSettlesNothing, 8_252),
    (Rule::OwnEntriesSentAgain, 17),
    (Rule::NewServerNewTimeline, 77),
    (Rule::OldTimelineDecidesNothing, 77),
    (Rule::UnansweredTripOpens, 12),
    (Rule::ReconcileUntouched, 52),
    (Rule::BranchEndsWithAnswer, 1),
    (Rule::BranchOutcomesStay, 6),
    (Rule::BranchIsHistory, 7),
    (Rule::HighestOldEpochStands, 92),
];
/// Operators act in one seed of so many. (In the others breakers change by themselves only, and more often.)
const OPERATED_EVERY: u64 = 5;
/// In one of so many the store goes back: in those that leave this.
const GOES_BACK: u64 = 2;
/// After so many seeds it is told how far they are.
const TOLD_EVERY: u64 = 10_000;
/// How many others are tried.
const SEARCHED: u64 = 2_000;
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

/// One run. Answers what went wrong.
fn run(seed: u64, verbose: bool) -> (Vec<String>, Figures, String) {
    run_of(setting("BREAKERD_REPLICAS"), seed, verbose)
}

/// The same of so many replicas; none: as many as the seed says.
fn run_of(replicas: Option<u64>, seed: u64, verbose: bool) -> (Vec<String>, Figures, String) {
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
fn run_calmly(seed: u64) -> (Vec<String>, Figures, String) {
    let mut random = Random::new(seed ^ 0xca1f);
    let network = NetworkFaults { delay_us: 5_000, ..NetworkFaults::default() };
    let plan = Plan { replicas: 3, callers: 20, network, fast: 0, is_calm: true, ..plan(&mut random, None) };
    run_plan(seed, plan, random, false)
}

/// A run in which processes that were killed begin by what they last knew of the store.
fn run_alone(seed: u64, verbose: bool) -> (Vec<String>, Figures, String) {
    let mut random = Random::new(seed ^ 0xa10e);
    let plan = Plan { starts_alone: true, is_operated: seed.is_multiple_of(3), ..plan(&mut random, None) };
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
fn run_letting_go(seed: u64, verbose: bool) -> (Vec<String>, Figures, String) {
    let mut random = Random::new(seed ^ 0x1e60);
    let plan = plan(&mut random, None);
    let (loses_probes, lease) = (true, Duration::from_secs(3));
    run_plan(seed, Plan { lets_go: true, loses_probes, lease, ..plan }, random, verbose)
}

/// A run in which replicas decide by themselves while the store does not answer them, and the store, or the network, is away for
/// longer.
fn run_deciding_alone(seed: u64, verbose: bool) -> (Vec<String>, Figures, String) {
    let mut random = Random::new(seed ^ 0xb4a2);
    let plan = plan(&mut random, None);
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

fn run_plan(seed: u64, plan: Plan, mut random: Random, verbose: bool) -> (Vec<String>, Figures, String) {
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
    for process in &world.replicas {
        let Some(serving) = process.life.lock().serving.clone() else {
            world.checker.violated(format!("r{} does not serve", process.index));
            continue;
        };
        for key in World::keys() {
            let stored = row(&world, &key);
            let shown = shown(&serving, &key, process.clock.now());
            let is_known = serving.engine.knows_breaker(key.service(), key.name(), process.clock.now());
            let is_closed = stored.state == State::Closed && shown.1 == State::Closed;
            if plan.lets_go && is_closed && (stored.epoch == 0 || !is_known) {
                // What is kept of a breaker that is retired is forgotten sooner or later than its row.
                continue;
            }
            if shown != (stored.epoch, stored.state) {
                world.checker.violated(format!(
                    "r{} shows {key} as {shown:?}, the store has {stored:?}",
                    process.index
                ));
            }
        }
    }
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
    (world.checker.problems(), figures, world.checker.story())
}

/// The rows of all breakers that have one.
fn rows(world: &World) -> Vec<StoredBreaker> {
    let stored = world.store.breakers(None, 100).now_or_never();
    stored.expect("it waits for nothing").expect("it is there")
}

fn row(world: &World, key: &breaker::Key) -> Snapshot {
    rows(world)
        .into_iter()
        .find(|stored| stored.key == *key)
        .map_or_else(Snapshot::pristine, |stored| stored.snapshot)
}

/// As [`replicas_agree_whatever_goes_wrong`]; the settings are `BREAKERD_LETTING_GO_SEED` and the like.
#[test]
fn replicas_agree_while_rows_go() {
    if let Some(seed) = setting("BREAKERD_LETTING_GO_SEED") {
        let (problems, figures, story) = run_letting_go(seed, true);
        println!("{story}{figures:?}");
        assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
        return;
    }
    let (mut sum, begin) = (Figures::default(), setting("BREAKERD_FIRST_SEED").unwrap_or(0));
    for seed in begin..begin + setting("BREAKERD_SEEDS").unwrap_or(SEEDS / 2) {
        let (problems, figures, _) = run_letting_go(seed, false);
        assert!(
            problems.is_empty(),
            "seed {seed} (BREAKERD_LETTING_GO_SEED={seed} tells its story): {problems:#?}"
        );
        sum.let_go += figures.let_go;
        sum.transitions += figures.transitions;
    }
    println!("{sum:?}");
    assert!(sum.let_go > 0 && sum.transitions > 0, "it tried something: {sum:?}");
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn replicas_agree_whatever_goes_wrong() {
    if let Some(seed) = setting("BREAKERD_SEED") {
        let (problems, figures, story) = run(seed, true);
        println!("{story}{figures:?}");
        assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
        return;
    }
    let (mut sum, mut failed) = (Figures::default(), Vec::new());
    let begin = setting("BREAKERD_FIRST_SEED").unwrap_or(0);
    for seed in begin..begin + setting("BREAKERD_SEEDS").unwrap_or(SEEDS) {
        let (problems, figures, _) = run(seed, false);
        if !problems.is_empty() {
            // One of many is told of at once, and the others are run all the same.
            println!("seed {seed} (BREAKERD_SEED={seed} tells its story): {problems:#?}");
            failed.push(seed);
        }
        sum.calls += figures.calls;
        sum.probes += figures.probes;
        sum.recorded += figures.recorded;
        sum.transitions += figures.transitions;
        let done = seed - begin + 1;
        if done.is_multiple_of(TOLD_EVERY) {
            println!("{done} seeds are done, up to {seed}, and {} of them failed", failed.len());
        }
    }
    println!("{sum:?}");
    assert!(failed.is_empty(), "these seeds failed: {failed:?}");
    assert!(sum.probes > 0 && sum.recorded > 0 && sum.transitions > 0, "it tried something: {sum:?}");
}

#[test]
fn ten_replicas_agree_whatever_goes_wrong() {
    for seed in 0..SEEDS_OF_TEN {
        let (problems, ..) = run_of(Some(10), seed, false);
        assert!(
            problems.is_empty(),
            "seed {seed} (BREAKERD_REPLICAS=10 BREAKERD_SEED={seed} tells its story): {problems:#?}"
        );
    }
}

/// As [`replicas_agree_whatever_goes_wrong`]; the settings are `BREAKERD_ALONE_SEED` and the like.
#[test]
fn replicas_agree_that_start_without_their_store() {
    if let Some(seed) = setting("BREAKERD_ALONE_SEED") {
        let (problems, figures, story) = run_alone(seed, true);
        println!("{story}{figures:?}");
        assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
        return;
    }
    let (mut alone, begin) = (0, setting("BREAKERD_FIRST_SEED").unwrap_or(0));
    for seed in begin..begin + setting("BREAKERD_SEEDS").unwrap_or(SEEDS / 4) {
        let (problems, _, story) = run_alone(seed, true);
        assert!(
            problems.is_empty(),
            "seed {seed} (BREAKERD_ALONE_SEED={seed} tells its story): {problems:#?}"
        );
        alone += story.matches("starts by what it last knew").count();
    }
    assert!(alone > 0, "it tried something");
}

/// As [`replicas_agree_whatever_goes_wrong`]; the settings are `BREAKERD_BRANCH_SEED` and the like.
#[test]
fn replicas_that_decide_alone_agree_afterwards() {
    if let Some(seed) = setting("BREAKERD_BRANCH_SEED") {
        let (problems, figures, story) = run_deciding_alone(seed, true);
        println!("{story}{figures:?}");
        assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
        return;
    }
    let (mut sum, begin) = (Figures::default(), setting("BREAKERD_BRANCH_FIRST_SEED").unwrap_or(0));
    for seed in begin..begin + setting("BREAKERD_BRANCH_SEEDS").unwrap_or(SEEDS) {
        let (problems, figures, _) = run_deciding_alone(seed, false);
        assert!(
            problems.is_empty(),
            "seed {seed} (BREAKERD_BRANCH_SEED={seed} tells its story): {problems:#?}"
        );
        sum.alone.probes += figures.alone.probes;
        sum.alone.recorded += figures.alone.recorded;
        sum.alone.late += figures.alone.late;
        sum.alone.closed += figures.alone.closed;
        sum.alone.opened += figures.alone.opened;
        sum.alone.stood += figures.alone.stood;
    }
    println!("{:?}", sum.alone);
    assert!(sum.alone.probes > 0 && sum.alone.recorded > 0 && sum.alone.closed > 0, "{:?}", sum.alone);
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    assert_eq!(run(7, true).2, run(7, true).2);
}

/// A caller asks one replica and reports to another, which may not know the epoch yet.
#[test]
fn no_outcome_is_lost_while_nothing_goes_wrong() {
    let mut transitions = 0;
    for seed in 0..5 {
        let (problems, figures, _) = run_calmly(seed);
        assert!(problems.is_empty() && figures.not_counted == 0, "seed {seed}: {figures:?}, {problems:#?}");
        transitions += figures.transitions;
    }
    assert!(transitions > 20, "{transitions} only");
}

/// Without the rule some seed fails: the one that is noted, or, once the code has changed, another.
#[test]
fn each_rule_is_missed_when_it_is_left_out() {
    let mut unnoticed = Vec::new();
    for rule in Rule::ALL {
        let noted = NOTED.iter().find(|(of, _)| *of == rule).map(|(_, seed)| *seed);
        let run = if rule.is_of_branches() { run_deciding_alone } else { run };
        let fails = |seed: &u64| !without(Some(rule), || run(*seed, false)).0.is_empty();
        match noted.into_iter().chain(0..SEARCHED).find(fails) {
            Some(seed) => {
                if noted != Some(seed) {
                    println!("(Rule::{rule:?}, {seed}),");
                }
            }
            None => unnoticed.push(rule),
        }
    }
    assert!(unnoticed.is_empty(), "no seed needs {unnoticed:?}");
}
