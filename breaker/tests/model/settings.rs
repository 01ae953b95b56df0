//! Random thresholds, over every field.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use breaker::{Field, Layer, Origin, Thresholds, Value, merge};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

/// What calls fail with; the empty class is none.
pub(crate) const CLASSES: [&str; 4] = ["", "timeout", "refused", "cancelled"];

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    trips: Trips,
    window: Window,
    half_open: HalfOpen,
    wait: Wait,
    ignore: Vec<&'static str>,
    record: Vec<&'static str>,
}

#[derive(Debug, Clone)]
struct Trips {
    in_a_row: Option<u32>,
    counted: Option<u32>,
    failure_rate: Option<u32>,
    slow_rate: Option<u32>,
    slow_ms: u64,
    slow_as_failures: bool,
    reporters: u32,
}

#[derive(Debug, Clone)]
struct Window {
    kind: &'static str,
    size: u32,
    minimum_calls: Option<u32>,
}

#[derive(Debug, Clone)]
struct HalfOpen {
    permitted: Option<u32>,
    successes: Option<u32>,
    lease_ms: Option<u64>,
    longest_ms: Option<u64>,
    then: &'static str,
}

#[derive(Debug, Clone)]
struct Wait {
    first_ms: u64,
    /// Whole numbers, so that growing them leaves nothing to round.
    growth: Option<u32>,
    randomization: u32,
    /// How much longer than the wait the longest may be.
    room_ms: Option<u64>,
    honor_retry_after: bool,
}

pub(crate) fn settings() -> impl Strategy<Value = Settings> {
    let classes = || prop_oneof![3 => Just(Vec::new()), 1 => subsequence(&CLASSES[1..], 0..=2)];
    (trips(), window(), half_open(), wait(), classes(), classes()).prop_map(
        |(trips, window, half_open, wait, ignore, record)| Settings {
            trips,
            window,
            half_open,
            wait,
            ignore,
            record,
        },
    )
}

fn trips() -> impl Strategy<Value = Trips> {
    let rate = || option::weighted(0.4, prop_oneof![1_u32..=100_000, select(vec![33_333, 50_000, 100_000])]);
    let fields = (
        option::of(0_u32..7),
        option::weighted(0.3, 1_u32..=8),
        rate(),
        rate(),
        select(vec![1, 1_000, 2_000]),
        proptest::bool::weighted(0.2),
        prop_oneof![3 => Just(1_u32), 2 => 2_u32..=4],
    );
    fields.prop_map(|(in_a_row, counted, failure_rate, slow_rate, slow_ms, slow_as_failures, reporters)| {
        Trips { in_a_row, counted, failure_rate, slow_rate, slow_ms, slow_as_failures, reporters }
    })
}

fn window() -> impl Strategy<Value = Window> {
    let kind = select(vec!["COUNT_BASED", "TIME_BASED"]);
    let size = prop_oneof![1_u32..=12, 30_u32..=70];
    (kind, size, option::weighted(0.9, 1_u32..=10)).prop_map(|(kind, size, minimum_calls)| Window {
        kind,
        size,
        minimum_calls,
    })
}

fn half_open() -> impl Strategy<Value = HalfOpen> {
    let fields = (
        option::of(1_u32..=5),
        option::of(0_u32..=5),
        option::of(100_u64..20_000),
        option::weighted(0.3, 1_u64..30_000),
        select(vec!["OPEN", "CLOSED"]),
    );
    fields.prop_map(|(permitted, successes, lease_ms, longest_ms, then)| HalfOpen {
        permitted,
        // More successes than probes would be refused.
        successes: successes.map(|successes| successes.min(permitted.unwrap_or(5))),
        lease_ms,
        longest_ms,
        then,
    })
}

fn wait() -> impl Strategy<Value = Wait> {
    let fields = (
        prop_oneof![1_u64..5_000, 5_000_u64..120_000],
        option::weighted(0.4, select(vec![2_u32, 3, 10])),
        prop_oneof![2 => Just(0_u32), 1 => 1_u32..1_000],
        option::of(0_u64..60_000),
        any::<bool>(),
    );
    fields.prop_map(|(first_ms, growth, randomization, room_ms, honor_retry_after)| Wait {
        first_ms,
        growth,
        randomization,
        room_ms,
        honor_retry_after,
    })
}

impl Settings {
    /// The same with a window of another size.
    pub(crate) fn with_window_size(mut self, size: u32) -> Self {
        self.window.size = size;
        self
    }

    pub(crate) fn thresholds(&self) -> Arc<Thresholds> {
        Arc::new(merge(&[(Origin::Api, &self.layer())]).unwrap().thresholds)
    }

    fn layer(&self) -> Layer {
        let mut layer = Layer::default();
        let mut set = |field, value: Option<Value>| {
            if let Some(value) = value {
                layer.set(field, value).unwrap();
            }
        };
        let count = |count: Option<u32>| count.map(Value::Count);
        let span = |ms: Option<u64>| ms.map(|ms| Value::Duration(Duration::from_millis(ms)));
        let word = |word| Some(Value::Word(word));

        let Trips { in_a_row, counted, failure_rate, slow_rate, slow_ms, slow_as_failures, reporters } =
            self.trips;
        set(Field::FailureThreshold, count(in_a_row));
        // A window of calls cannot hold more failures than calls.
        set(Field::FailureCountThreshold, count(counted.map(|counted| counted.min(self.window.size))));
        set(Field::FailureRateThreshold, failure_rate.map(Value::Rate));
        set(Field::SlowCallRateThreshold, slow_rate.map(Value::Rate));
        set(Field::SlowCallDurationThreshold, span(Some(slow_ms)));
        set(Field::SlowCallsAsFailures, Some(Value::Flag(slow_as_failures)));
        set(Field::MinimumReporters, count(Some(reporters)));

        set(Field::SlidingWindowType, word(self.window.kind));
        set(Field::SlidingWindowSize, count(Some(self.window.size)));
        set(Field::MinimumNumberOfCalls, count(self.window.minimum_calls));

        let half_open = &self.half_open;
        set(Field::PermittedCalls, count(half_open.permitted));
        set(Field::SuccessThreshold, count(half_open.successes));
        set(Field::HalfOpenPermitTimeout, span(half_open.lease_ms));
        set(Field::MaxWaitInHalfOpen, span(half_open.longest_ms));
        set(Field::StateAfterMaxWait, word(half_open.then));

        let wait = &self.wait;
        set(Field::Timeout, span(Some(wait.first_ms)));
        set(Field::WaitInterval, wait.growth.and(word("EXPONENTIAL")));
        set(Field::Multiplier, wait.growth.map(|factor| Value::Factor(factor * 1_000)));
        set(Field::RandomizationFactor, Some(Value::Factor(wait.randomization)));
        set(Field::MaxWait, span(wait.room_ms.map(|room| wait.first_ms + room)));
        set(Field::HonorRetryAfter, Some(Value::Flag(wait.honor_retry_after)));

        let classes =
            |classes: &[&str]| Some(Value::Classes(classes.iter().map(ToString::to_string).collect()));
        set(Field::IgnoreErrorClasses, classes(&self.ignore));
        set(Field::RecordErrorClasses, classes(&self.record));
        layer
    }
}

/// A field that is never set is one that the model knows nothing of.
#[test]
fn every_field_is_set_sooner_or_later() {
    let mut runner = TestRunner::deterministic();
    let mut missing: BTreeSet<Field> = Field::ALL.iter().copied().collect();
    for _ in 0..100 {
        let settings = settings().new_tree(&mut runner).unwrap().current();
        for (field, _) in settings.layer().iter() {
            missing.remove(&field);
        }
    }
    assert!(missing.is_empty(), "{missing:?}");
}
