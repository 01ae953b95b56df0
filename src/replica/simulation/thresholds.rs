//! At how many calls a threshold opens a breaker: with one to thirty replicas, beside one process that is told every call.
//!
//! `cargo test --lib replica::simulation::thresholds -- --nocapture` prints the table of docs/replication.md.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{CallerId, CountsInterval, Field, Layer, Numbering, Outcome, Report, State, Value, WallOffset};
use breakerd_common::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::executor::{Executor, Owner, SimulatedClock};
use crate::catalog::{Catalog, Declaration};
use crate::engine::{Appended, Engine, Event, Limits, Seals, StoreIdentity, Target, TransitionSink};
use crate::replica::CountSharing;
use crate::store::{CountExchange, CountPage, CountStore, MemoryStore, StoreError};

const SERVICE: &str = "db";
/// Between two calls: 20 in the shortest interval.
const PACE: Duration = Duration::from_millis(10);
/// With how many replicas it is tried.
const REPLICAS: [usize; 4] = [1, 3, 10, 30];
/// Calls after which a breaker that is to stay closed has.
const ENOUGH: u64 = 3_000;

/// How a call goes.
#[derive(Debug, Clone, Copy)]
struct Call {
    fails: bool,
    is_slow: bool,
    caller: u64,
}

/// One row of the table.
struct Scenario {
    name: &'static str,
    threshold: &'static [(Field, Value)],
    /// The calls, from the first one on; and how many of them have been made before the trouble.
    call: fn(u64) -> Call,
    before: u64,
}

const SUCCESS: Call = Call { fails: false, is_slow: false, caller: 0 };

const fn failure(caller: u64) -> Call {
    Call { fails: true, is_slow: false, caller }
}

const SLOW: (Field, Value) = (Field::SlowCallDurationThreshold, Value::Duration(Duration::from_secs(1)));
const HALF: Value = Value::Rate(50_000);
const OF_TIME_TYPE: (Field, Value) = (Field::SlidingWindowType, Value::Word("TIME_BASED"));
const OF_TIME_SIZE: (Field, Value) = (Field::SlidingWindowSize, Value::Count(10));

/// Two of seven calls succeed, in each replica.
fn mostly_fails(call: u64) -> Call {
    if matches!(call % 7, 0 | 3) { SUCCESS } else { failure(0) }
}

const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "failure_threshold 5",
        threshold: &[(Field::FailureThreshold, Value::Count(5))],
        call: |_| failure(0),
        before: 0,
    },
    Scenario {
        name: "failure_threshold 50",
        threshold: &[(Field::FailureThreshold, Value::Count(50))],
        call: |_| failure(0),
        before: 100,
    },
    Scenario {
        name: "failure_count_threshold 40 of 100 calls",
        threshold: &[(Field::FailureCountThreshold, Value::Count(40))],
        call: mostly_fails,
        before: 100,
    },
    Scenario {
        name: "failure_count_threshold 40 in 10 s",
        threshold: &[(Field::FailureCountThreshold, Value::Count(40)), OF_TIME_TYPE, OF_TIME_SIZE],
        call: mostly_fails,
        before: 100,
    },
    Scenario {
        name: "failure_rate_threshold 50 of 100 calls",
        threshold: &[(Field::FailureRateThreshold, HALF)],
        call: mostly_fails,
        before: 200,
    },
    Scenario {
        name: "failure_rate_threshold 50 of the first 100 calls",
        threshold: &[(Field::FailureRateThreshold, HALF)],
        call: mostly_fails,
        before: 0,
    },
    Scenario {
        name: "failure_rate_threshold 50 in 10 s",
        threshold: &[(Field::FailureRateThreshold, HALF), OF_TIME_TYPE, OF_TIME_SIZE],
        call: mostly_fails,
        before: 100,
    },
    Scenario {
        name: "the same, all succeed in one of three",
        threshold: &[(Field::FailureRateThreshold, HALF), OF_TIME_TYPE, OF_TIME_SIZE],
        call: |call| if call % 3 == 0 { SUCCESS } else { failure(0) },
        before: 99,
    },
    Scenario {
        name: "slow_call_rate_threshold 50 of 100 calls",
        threshold: &[(Field::SlowCallRateThreshold, HALF), SLOW],
        call: |call| Call { is_slow: call % 7 > 1, ..SUCCESS },
        before: 200,
    },
    Scenario {
        name: "failure_threshold 20, minimum_reporters 5",
        threshold: &[(Field::FailureThreshold, Value::Count(20)), (Field::MinimumReporters, Value::Count(5))],
        // The fifth caller comes with the 41st failure.
        call: |call| failure(1 + call / 10),
        before: 100,
    },
    Scenario {
        name: "failure_rate_threshold 50 of 100 calls, 40 % fail",
        threshold: &[(Field::FailureRateThreshold, HALF)],
        call: |call| if call % 5 < 2 { failure(0) } else { SUCCESS },
        before: 200,
    },
    Scenario {
        name: "failure_rate_threshold 50 of 100 calls, all fail in one of ten",
        threshold: &[(Field::FailureRateThreshold, HALF)],
        call: |call| if call % 10 == 0 { failure(0) } else { SUCCESS },
        before: 200,
    },
    Scenario {
        name: "failure_rate_threshold 50 in 10 s, all fail in one of ten",
        threshold: &[
            (Field::FailureRateThreshold, HALF),
            (Field::MinimumNumberOfCalls, Value::Count(10)),
            OF_TIME_TYPE,
            OF_TIME_SIZE,
        ],
        call: |call| if call % 10 == 0 { failure(0) } else { SUCCESS },
        before: 0,
    },
];

/// A store whose hints reach every replica at once.
struct Hinting {
    store: MemoryStore,
    hints: Vec<Arc<Notify>>,
}

#[async_trait]
impl CountStore for Hinting {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        let page = self.store.exchange_counts(exchange).await;
        if exchange.hints {
            self.hints.iter().for_each(|hint| hint.notify_one());
        }
        page
    }
}

struct Nowhere;

impl TransitionSink for Nowhere {
    fn append(&self, _: Event<'_>) -> Appended {
        Appended::default()
    }
}

fn engine(threshold: &[(Field, Value)], numbering: Numbering, clock: &dyn Clock) -> Arc<Engine> {
    let mut layer = Layer::default();
    for (field, value) in threshold {
        layer.set(*field, value.clone()).expect("in its range");
    }
    let services = BTreeMap::from([(SERVICE.to_owned(), layer)]);
    let declaration = Declaration { enabled: true, services, ..Declaration::default() };
    let catalog = Arc::new(Catalog::new(&declaration, 1, &BTreeMap::new()).expect("thresholds"));
    let limits = Limits {
        breakers_max: 16,
        breakers_per_service_max: 16,
        breakers_per_caller_max: 16,
        own_series_max: 0,
        idle_ttl: Duration::from_hours(1),
    };
    let identity = StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering };
    Arc::new(Engine::new(limits, identity, &catalog, Box::new(Nowhere), clock.now()))
}

/// By how many calls the breaker opens in some replica; none: it stays closed. Without replicas one process has the breaker.
fn calls_to_open(scenario: &Scenario, replicas: u64) -> Option<u64> {
    let executor = Executor::new(replicas);
    let clock = Arc::new(SimulatedClock::new(executor.clone(), 0, WallOffset::ZERO));
    let numbering = if replicas == 0 { Numbering::Own } else { Numbering::Store };
    let engines: Vec<_> =
        (0..replicas.max(1)).map(|_| engine(scenario.threshold, numbering, &*clock)).collect();
    let hints: Vec<_> = engines.iter().map(|_| Arc::new(Notify::new())).collect();
    let store = Arc::new(Hinting { store: MemoryStore::new(clock.clone(), 1), hints: hints.clone() });
    for (index, (engine, hint)) in
        engines.iter().zip(hints).enumerate().take(if replicas == 0 { 0 } else { 99 })
    {
        let name = format!("r{index}").into();
        let boot = 1 + index as u64;
        let sharing = CountSharing::new(engine.clone(), store.clone(), clock.clone(), hint, name, boot);
        executor.spawn(Owner::Replica(index), sharing.run(CancellationToken::new()));
    }
    let is_open = || {
        let shown = |engine: &Arc<Engine>| engine.view(SERVICE, "", clock.now()).map(|view| view.state);
        engines.iter().any(|engine| shown(engine).is_some_and(|state| state != State::Closed))
    };
    for call in 0..scenario.before + ENOUGH {
        let trouble = call.checked_sub(scenario.before);
        let Call { fails, is_slow, caller } = trouble.map_or(SUCCESS, scenario.call);
        let report = Report {
            duration: is_slow.then_some(Duration::from_secs(2)),
            caller: CallerId(caller),
            ..Report::plain(if fails { Outcome::Failure } else { Outcome::Success })
        };
        let replica = usize::try_from(call % replicas.max(1)).expect("a few");
        let target = Target { permit: None, service: SERVICE, name: "", epoch: None };
        engines[replica].record(target, &report, clock.now()).expect("it fits");
        executor.run_until(executor.now() + PACE);
        if is_open() {
            return Some(trouble.expect("there is none yet") + 1);
        }
    }
    None
}

/// The calls of two intervals of so many replicas: so far off a threshold may be.
fn tolerated(replicas: usize) -> u64 {
    let of_two = 2 * CountsInterval::of(replicas).length();
    u64::try_from(of_two.as_micros() / PACE.as_micros()).expect("a few")
}

#[test]
fn a_threshold_means_the_same_with_one_and_with_thirty_replicas() {
    let mut table =
        String::from("| threshold | one process | 1 replica | 3 | 10 | 30 |\n|---|---|---|---|---|---|\n");
    let mut wrong = Vec::new();
    for scenario in SCENARIOS {
        let alone = calls_to_open(scenario, 0);
        let replicated = REPLICAS.map(|replicas| calls_to_open(scenario, replicas as u64));
        let shown = |calls: Option<u64>| calls.map_or("never".to_owned(), |calls| calls.to_string());
        let [one, three, ten, thirty] = replicated.map(shown);
        let _ =
            writeln!(table, "| {} | {} | {one} | {three} | {ten} | {thirty} |", scenario.name, shown(alone));
        let is_close = |(calls, replicas): (&Option<u64>, usize)| match (alone, *calls) {
            (Some(alone), Some(calls)) => alone.abs_diff(calls) <= tolerated(replicas),
            (alone, calls) => alone == calls,
        };
        if !replicated.iter().zip(REPLICAS).all(is_close) {
            wrong.push(scenario.name);
        }
    }
    println!("{table}");
    assert!(wrong.is_empty(), "{wrong:?}\n{table}");
}
