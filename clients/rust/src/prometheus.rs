//! Metrics for the `prometheus` crate: the breakers as this process sees them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, Weak};

use breaker::State;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounterVec, IntGaugeVec, Opts, Registry};

use crate::lock;
use crate::shared::Shared;

/// As breakerd calls its metrics unless it is told otherwise: the name of the system that it was made for.
pub const NAMESPACE: &str = "llm_incident_manager";

/// Registers `llm_incident_manager_circuit_breaker_*` for the breakers of every client of this process, of now and later.
///
/// The names and values are those of breakerd, for what this process sees. Sum over breakerd or over its clients, never over both.
///
/// # Errors
/// Those of [`Registry::register`]: they are registered already.
pub fn init_circuit_breaker_metrics(registry: &Registry) -> prometheus::Result<()> {
    init_circuit_breaker_metrics_in(registry, NAMESPACE)
}

/// As [`init_circuit_breaker_metrics`], in another namespace. Empty: none.
///
/// # Errors
/// Those of [`Registry::register`]: they are registered already, or the namespace is not valid.
pub fn init_circuit_breaker_metrics_in(registry: &Registry, namespace: &str) -> prometheus::Result<()> {
    registry
        .register(Box::new(Breakers { families: Families::new(namespace)?, namespace: namespace.to_owned() }))
}

/// Every client of this process.
fn clients() -> &'static Mutex<Vec<Weak<Shared>>> {
    static CLIENTS: OnceLock<Mutex<Vec<Weak<Shared>>>> = OnceLock::new();
    CLIENTS.get_or_init(Mutex::default)
}

/// Has the breakers of a client shown from now on, as long as it is there.
pub(crate) fn show(shared: &Arc<Shared>) {
    let mut clients = lock(clients());
    clients.retain(|client| client.strong_count() > 0);
    clients.push(Arc::downgrade(shared));
}

struct Breakers {
    families: Families,
    namespace: String,
}

/// One scrape: made anew each time, so that a breaker that is gone is not shown.
struct Families {
    state: IntGaugeVec,
    consecutive_failures: IntGaugeVec,
    calls: IntCounterVec,
    successful: IntCounterVec,
    failed: IntCounterVec,
    ignored: IntCounterVec,
    slow: IntCounterVec,
    rejected: IntCounterVec,
    transitions: IntCounterVec,
}

impl Families {
    fn new(namespace: &str) -> prometheus::Result<Self> {
        let options =
            |name: &str, help: &str| Opts::new(format!("circuit_breaker_{name}"), help).namespace(namespace);
        let key: &[&str] = &["service", "name"];
        let gauge = |name: &str, help: &str| IntGaugeVec::new(options(name, help), key);
        let counter = |name: &str, help: &str| IntCounterVec::new(options(name, help), key);
        Ok(Self {
            state: gauge("state", "State of the breaker in this process: 0 closed, 1 open, 2 half-open.")?,
            consecutive_failures: gauge(
                "consecutive_failures",
                "Failures of this process since its last success.",
            )?,
            calls: counter("calls_total", "Calls of this process that succeeded or failed.")?,
            successful: counter("successful_calls_total", "Calls of this process that succeeded.")?,
            failed: counter("failed_calls_total", "Calls of this process that failed.")?,
            ignored: counter(
                "ignored_calls_total",
                "Calls of this process that said nothing about the dependency.",
            )?,
            slow: counter("slow_calls_total", "Calls of this process that took longer than the threshold.")?,
            rejected: IntCounterVec::new(
                options("rejected_calls_total", "Calls that were rejected in this process."),
                &["service", "name", "reason"],
            )?,
            transitions: counter("transitions_total", "Changes of the state that this process saw.")?,
        })
    }

    fn collectors(&self) -> [&dyn Collector; 9] {
        let Self {
            state,
            consecutive_failures,
            calls,
            successful,
            failed,
            ignored,
            slow,
            rejected,
            transitions,
        } = self;
        [state, consecutive_failures, calls, successful, failed, ignored, slow, rejected, transitions]
    }
}

impl Collector for Breakers {
    fn desc(&self) -> Vec<&Desc> {
        self.families.collectors().iter().flat_map(|family| family.desc()).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(families) = Families::new(&self.namespace) else { return Vec::new() };
        let shared: Vec<_> = lock(clients()).iter().filter_map(Weak::upgrade).collect();
        // The same breaker in two clients is one series.
        let mut worst: HashMap<[String; 2], i64> = HashMap::new();
        for shared in shared {
            let context = shared.context();
            for cell in shared.all_cells() {
                let stats = cell.stats(&context);
                let key = [&*stats.service, &*stats.name];
                let shown = worst.entry(key.map(str::to_owned)).or_default();
                *shown = (*shown).max(state_value(stats.state));
                families.state.with_label_values(&key).set(*shown);
                families.consecutive_failures.with_label_values(&key).set(stats.consecutive_failures.into());
                for (family, count) in [
                    (&families.calls, stats.successful + stats.failed),
                    (&families.successful, stats.successful),
                    (&families.failed, stats.failed),
                    (&families.ignored, stats.ignored),
                    (&families.slow, stats.slow),
                    (&families.transitions, stats.transitions),
                ] {
                    family.with_label_values(&key).inc_by(count);
                }
                for (reason, count) in [
                    ("OPEN", stats.rejected.open),
                    ("HALF_OPEN_EXHAUSTED", stats.rejected.half_open),
                    ("FORCED_OPEN", stats.rejected.forced_open),
                ] {
                    families.rejected.with_label_values(&[key[0], key[1], reason]).inc_by(count);
                }
            }
        }
        families.collectors().iter().flat_map(|family| family.collect()).collect()
    }
}

/// As in the metrics of breakerd.
const fn state_value(state: State) -> i64 {
    match state {
        State::Closed | State::Disabled | State::MetricsOnly => 0,
        State::Open | State::ForcedOpen => 1,
        State::HalfOpen => 2,
    }
}

#[cfg(test)]
mod tests {
    use prometheus::{Encoder as _, TextEncoder};

    use super::*;
    use crate::testing::Fake;

    #[test]
    fn the_breakers_of_this_process_are_shown_as_those_of_breakerd() {
        let registry = Registry::new();
        init_circuit_breaker_metrics(&registry).unwrap();
        assert!(init_circuit_breaker_metrics(&registry).is_err(), "twice");
        let fake = Fake::new::<String>([]).unwrap();
        let breaker = fake.client().breaker(("metrics-test", "a")).unwrap();
        breaker.try_acquire().unwrap().success();
        (0..5).for_each(|_| breaker.try_acquire().unwrap().failure());
        assert!(breaker.try_acquire().is_err());
        let text = || {
            let mut text = Vec::new();
            TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
            String::from_utf8(text).unwrap()
        };
        let page = text();
        for line in [
            "llm_incident_manager_circuit_breaker_state{name=\"a\",service=\"metrics-test\"} 1",
            "llm_incident_manager_circuit_breaker_calls_total{name=\"a\",service=\"metrics-test\"} 6",
            "llm_incident_manager_circuit_breaker_failed_calls_total{name=\"a\",service=\"metrics-test\"} 5",
            "llm_incident_manager_circuit_breaker_rejected_calls_total{name=\"a\",reason=\"OPEN\",service=\"metrics-test\"} 1",
            "llm_incident_manager_circuit_breaker_rejected_calls_total{name=\"a\",reason=\"FORCED_OPEN\",service=\"metrics-test\"} 0",
        ] {
            assert!(page.contains(line), "{line}\n{page}");
        }
        drop((breaker, fake));
        assert!(!text().contains("metrics-test"), "{}", text());
    }
}
