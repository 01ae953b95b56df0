//! The engine alone: what a decision and a record cost without the wire, over many breakers.
//!
//! Promises (docs/benchmarks.md): allow <= 100 ns, record <= 200 ns, on one core, over ten thousand breakers.
//! `seal` and `open` are beside them, since every permit on the wire pays for one of each. `single_outcomes` and
//! `run_of_outcomes` report the same calls of a client that decides by itself.

use std::sync::Arc;

use breaker::{Numbering, Outcome, Report, Time};
use breakerd::catalog::Catalog;
use breakerd::engine::{
    Appended, Creator, Engine, Event, Limits, Run, Seals, StoreIdentity, Target, TransitionSink,
};
use divan::Bencher;

fn main() {
    divan::main();
}

const BREAKERS: usize = 10_000;

struct Nobody;

impl TransitionSink for Nobody {
    fn append(&self, _event: Event<'_>) -> Appended {
        Appended::default()
    }
}

fn engine() -> Engine {
    let limits = Limits {
        breakers_max: BREAKERS,
        breakers_per_service_max: BREAKERS,
        breakers_per_caller_max: BREAKERS,
        own_series_max: 1_000,
        idle_ttl: std::time::Duration::from_hours(1),
    };
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering: Numbering::Own };
    let catalog = Arc::new(Catalog::default());
    let engine = Engine::new(limits, identity, &catalog, Box::new(Nobody), Time::from_micros(1));
    for (service, name) in keys() {
        engine.allow(&service, &name, Time::from_micros(1)).expect("there is room");
    }
    engine
}

/// The keys in an order that defeats the caches as traffic does.
fn keys() -> Vec<(String, String)> {
    let mut keys: Vec<_> =
        (0..BREAKERS).map(|i| (format!("service-{}", i % 100), format!("dependency-{i}"))).collect();
    let mut state = 1_u64;
    for i in (1..keys.len()).rev() {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        keys.swap(i, usize::try_from(state >> 33).unwrap_or(0) % (i + 1));
    }
    keys
}

#[divan::bench(sample_count = 50, sample_size = 10_000)]
fn allow(bencher: Bencher<'_, '_>) {
    let engine = engine();
    let keys = keys();
    let mut now = 1_000_000;
    let mut next = keys.iter().cycle();
    bencher.bench_local(|| {
        now += 1;
        let (service, name) = next.next().expect("it goes round");
        engine.allow(service, name, Time::from_micros(now))
    });
}

#[divan::bench(sample_count = 50, sample_size = 10_000)]
fn record(bencher: Bencher<'_, '_>) {
    let engine = engine();
    let keys = keys();
    let mut now = 1_000_000;
    let mut next = keys.iter().cycle();
    bencher
        .with_inputs(|| {
            let (service, name) = next.next().expect("it goes round");
            engine.allow(service, name, Time::from_micros(1)).expect("there is room").permit
        })
        .bench_local_values(|permit| {
            now += 1;
            let target = Target { permit, service: "", name: "", epoch: None };
            engine.record(target, &Report::plain(Outcome::Success), Time::from_micros(now))
        });
}

/// Calls of one run, and single outcomes beside it.
const RUN: u32 = 1_000;

/// As many outcomes as a run has, by name, as a client reports them that decides by itself.
#[divan::bench(sample_count = 50, sample_size = 20)]
fn single_outcomes(bencher: Bencher<'_, '_>) {
    let engine = engine();
    let keys = keys();
    let mut now = 1_000_000;
    let mut next = keys.iter().cycle();
    bencher.bench_local(|| {
        now += 1;
        let (service, name) = next.next().expect("it goes round");
        let target = Target { permit: None, service, name, epoch: Some(0) };
        for _ in 0..RUN {
            let result = engine.record(target, &Report::plain(Outcome::Success), Time::from_micros(now));
            divan::black_box(result).expect("it is known");
        }
    });
}

/// The same in one run.
#[divan::bench(sample_count = 50, sample_size = 1_000)]
fn run_of_outcomes(bencher: Bencher<'_, '_>) {
    let engine = engine();
    let keys = keys();
    let mut now = 1_000_000;
    let mut next = keys.iter().cycle();
    let report = Report::plain(Outcome::Success);
    let run = Run { epoch: Some(0), report, slow: false, count: RUN, durations: None };
    bencher.bench_local(|| {
        now += 1;
        let (service, name) = next.next().expect("it goes round");
        engine.record_run_for(Creator::Server, service, name, &run, Time::from_micros(now))
    });
}

#[divan::bench]
fn seal(bencher: Bencher<'_, '_>) {
    let engine = engine();
    let (service, name) = &keys()[0];
    let permit =
        engine.allow(service, name, Time::from_micros(1)).expect("there is room").permit.expect("closed");
    bencher.bench_local(|| engine.seals().seal(divan::black_box(&permit)));
}

#[divan::bench]
fn open(bencher: Bencher<'_, '_>) {
    let engine = engine();
    let (service, name) = &keys()[0];
    let permit =
        engine.allow(service, name, Time::from_micros(1)).expect("there is room").permit.expect("closed");
    let sealed = engine.seals().seal(&permit);
    bencher.bench_local(|| engine.seals().open(divan::black_box(&sealed)));
}
