//! What a panic in the middle of a change comes to.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

use breaker::{Numbering, Outcome, Report, Time};

use super::{Appended, Engine, Event, Limits, Seals, StoreIdentity, Target, TransitionSink};

const SIGABRT: i32 = 6;

struct Panicking;

impl TransitionSink for Panicking {
    fn append(&self, _: Event<'_>) -> Appended {
        panic!("on purpose")
    }
}

#[test]
#[ignore = "it aborts: the test below runs it, in a process of its own"]
fn trips_into_an_outbox_that_panics() {
    let limits = Limits {
        breakers_max: 10,
        breakers_per_service_max: 10,
        breakers_per_caller_max: 10,
        own_series_max: 10,
        idle_ttl: std::time::Duration::from_hours(1),
    };
    let identity =
        StoreIdentity { seals: Seals::new(&[7; 16]), timeline: 1, issuer: 1, numbering: Numbering::Own };
    let now = Time::from_micros(1_000_000);
    let engine = Engine::new(limits, identity, &std::sync::Arc::default(), Box::new(Panicking), now);
    for _ in 0..5 {
        let target = Target { permit: None, service: "db", name: "", epoch: None };
        engine.record(target, &Report::plain(Outcome::Failure), now).unwrap();
    }
}

#[test]
fn a_panic_between_a_transition_and_the_journal_ends_the_process() {
    let tests = std::env::current_exe().unwrap();
    let ended = Command::new(tests)
        .args(["--exact", "engine::panic_tests::trips_into_an_outbox_that_panics", "--ignored"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(ended.signal(), Some(SIGABRT), "{ended}");
}
