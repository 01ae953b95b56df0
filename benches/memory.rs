//! What a breaker takes: resident memory of a million breakers with default thresholds.
//!
//! Promise (docs/benchmarks.md): at most 1 KiB each. Each is asked once and told once, so that its window and its
//! memory of reported permits are there, as they are in service.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Numbering, Outcome, Report, Time};
use breakerd::catalog::Catalog;
use breakerd::engine::{Appended, Engine, Event, Limits, Seals, StoreIdentity, Target, TransitionSink};

/// The one that breakerd runs with: sizes are rounded up as there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const BREAKERS: usize = 1_000_000;
/// Breakers that are called more often than the smaller memory of reported permits takes.
const BUSY: usize = 20_000;
const CALLS_OF_BUSY: usize = 600;

struct Nobody;

impl TransitionSink for Nobody {
    fn append(&self, _event: Event<'_>) -> Appended {
        Appended::default()
    }
}

fn main() {
    let limits = Limits {
        breakers_max: BREAKERS,
        breakers_per_service_max: BREAKERS,
        breakers_per_caller_max: BREAKERS,
        own_series_max: 1_000,
        idle_ttl: Duration::from_hours(1),
    };
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 0, issuer: 1, numbering: Numbering::Own };
    let now = Time::from_micros(1_000_000);
    let before = resident_bytes();
    let engine = Engine::new(limits, identity, &Arc::new(Catalog::default()), Box::new(Nobody), now);
    for i in 0..BREAKERS {
        engine.allow("payments", &format!("dependency-{i}"), now).expect("there is room");
    }
    report("asked", before);
    for i in 0..BREAKERS {
        call(&engine, &format!("dependency-{i}"), now);
    }
    report("asked and told", before);
    let before_busy = resident_bytes();
    // The memory of reported permits is at its largest then.
    for i in 0..BUSY {
        let name = format!("dependency-{i}");
        for _ in 0..CALLS_OF_BUSY {
            call(&engine, &name, now);
        }
    }
    let grown = resident_bytes().saturating_sub(before_busy);
    println!("{BUSY} of them busy: {} bytes more each", grown / BUSY as u64);
    assert_eq!(engine.len(), BREAKERS);
}

fn call(engine: &Engine, name: &str, now: Time) {
    let permit = engine.allow("payments", name, now).expect("it is there").permit;
    let target = Target { permit, service: "", name: "", epoch: None };
    engine.record(target, &Report::plain(Outcome::Success), now).expect("its own permit");
}

fn report(what: &str, before: u64) {
    let grown = resident_bytes() - before;
    println!(
        "{BREAKERS} breakers, {what}: {} MiB resident, {} bytes each (promise: 1024)",
        grown >> 20,
        grown / BREAKERS as u64
    );
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux tells a process about itself");
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it has a resident size");
    let kib: u64 = line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number of KiB");
    kib * 1_024
}
