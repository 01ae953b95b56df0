//! The breakers, read at the scrape.
//!
//! A breaker counts in whole numbers beside its machine; this collector only converts. Decisions therefore
//! pay nothing for metrics, a series exists from its breaker's birth with every label it can have, and it
//! goes with its breaker, because there is nothing left to convert.
//!
//! # Many breakers
//! The engine gives the first breakers (a setting, 1,000) series of their own. What the others count is added up
//! under `__other__`, together with what those of them counted that were retired, so that the sum never goes
//! back. Gauges of a sum mean nothing and are left out there; `circuit_breakers{state}` counts them all. A breaker
//! that is not closed shows its state and its wait whatever its number, so that no open circuit is invisible.
//! A scrape with 100,000 breakers reads each of them, for well under a second, and shows as much as one
//! with 1,000.

use std::sync::Arc;

use breaker::{OverrideKind, Reason, State, Time, Verdict};
use breakerd_common::clock::Clock;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;

use super::family::{Buckets, Names, Page, families, number};
use super::namespace::Namespace;
use crate::engine::{
    BOUNDS_SECONDS, BreakerView, Counters, Engine, HistogramView, OTHER, OpenedCounters, TransitionKind,
};

families! {
    enum Shown {
        /// State of the breaker: 0 closed, 1 open, 2 half-open.
        /// FORCED_OPEN is 1, DISABLED and METRICS_ONLY are 0.
        State: GAUGE "circuit_breaker_state" ["service", "name"],
        /// Whether this manual override is set: 1 or 0.
        Override: GAUGE "circuit_breaker_override" ["service", "name", "override"],
        /// Protected calls whose outcome counted: successes and failures. Includes what clients decided while breakerd was unreachable.
        Calls: COUNTER "circuit_breaker_calls_total" ["service", "name"],
        /// Protected calls that counted as successes. Includes what clients decided while breakerd was unreachable.
        Successful: COUNTER "circuit_breaker_successful_calls_total" ["service", "name"],
        /// Protected calls that counted as failures. Includes what clients decided while breakerd was unreachable.
        Failed: COUNTER "circuit_breaker_failed_calls_total" ["service", "name"],
        /// Outcomes that counted as neither success nor failure: reported as ignored, or by their error class.
        Ignored: COUNTER "circuit_breaker_ignored_calls_total" ["service", "name"],
        /// Outcomes reported after the breaker had left the state of their permit, or after the probe timeout. They had no effect.
        Late: COUNTER "circuit_breaker_late_outcomes_total" ["service", "name"],
        /// Protected calls that took longer than `slow_call_duration_threshold`, successful or not.
        Slow: COUNTER "circuit_breaker_slow_calls_total" ["service", "name"],
        /// Calls that the breaker rejected, or that clients rejected by themselves and reported, by reason.
        Rejected: COUNTER "circuit_breaker_rejected_calls_total" ["service", "name", "reason"],
        /// Calls that METRICS_ONLY allowed and that would have been rejected: requests, and outcomes without a permit.
        WouldBeRejected: COUNTER "circuit_breaker_would_be_rejected_calls_total" ["service", "name"],
        /// Probes whose outcome was not reported within `half_open_permit_timeout`, so that another call got their slot.
        ProbeTimeouts: COUNTER "circuit_breaker_probe_timeouts_total" ["service", "name"],
        /// Duration of protected calls as reported by clients, in seconds.
        Duration: HISTOGRAM "circuit_breaker_call_duration_seconds" ["service"],
        /// State transitions.
        Transitions: COUNTER "circuit_breaker_transitions_total" ["service", "name", "from", "to", "reason"],
        /// Transitions to OPEN that METRICS_ONLY prevented.
        Shadows: COUNTER "circuit_breaker_shadow_transitions_total" ["service", "name"],
        /// Failures divided by calls in the window, from 0 to 1.
        /// NaN without calls, and in states that have no window.
        FailureRatio: GAUGE "circuit_breaker_failure_ratio" ["service", "name"],
        /// The failure ratio that opens the breaker, from 0 to 1: `failure_rate_threshold`. NaN where there is none.
        FailureRatioThreshold: GAUGE "circuit_breaker_failure_ratio_threshold" ["service", "name"],
        /// Slow calls divided by calls in the window, from 0 to 1.
        /// NaN without calls, and in states that have no window.
        SlowCallRatio: GAUGE "circuit_breaker_slow_call_ratio" ["service", "name"],
        /// The ratio of slow calls that opens the breaker, from 0 to 1: `slow_call_rate_threshold`. NaN where there is none.
        SlowCallRatioThreshold: GAUGE "circuit_breaker_slow_call_ratio_threshold" ["service", "name"],
        /// Calls in the window; while OPEN, those at the moment of opening; in HALF_OPEN, completed probes.
        WindowCalls: GAUGE "circuit_breaker_window_calls" ["service", "name"],
        /// Calls that the window must hold before its ratios are evaluated: `minimum_number_of_calls`, at most the size of a window of calls.
        WindowCallsMin: GAUGE "circuit_breaker_window_calls_min" ["service", "name"],
        /// Failures among the calls in the window.
        WindowFailures: GAUGE "circuit_breaker_window_failures" ["service", "name"],
        /// The failures in the window that open the breaker: `failure_count_threshold`. NaN where there is none.
        WindowFailuresThreshold: GAUGE "circuit_breaker_window_failures_threshold" ["service", "name"],
        /// Consecutive failures; while OPEN, those at the moment of opening.
        ConsecutiveFailures: GAUGE "circuit_breaker_consecutive_failures" ["service", "name"],
        /// The consecutive failures that open the breaker: `failure_threshold`. NaN where it is 0, which is off.
        ConsecutiveFailuresThreshold: GAUGE "circuit_breaker_consecutive_failures_threshold" ["service", "name"],
        /// Probes of this replica that are under way: allowed, and not reported yet.
        ProbesInFlight: GAUGE "circuit_breaker_probes_in_flight" ["service", "name"],
        /// When a breaker that is not closed entered its state, as a Unix timestamp in seconds, with the reason. It has this series while it is not closed.
        NotClosedSince: GAUGE "circuit_breaker_not_closed_since_timestamp_seconds" ["service", "name", "state", "reason"],
        /// Time of the newest transition, as a Unix timestamp in seconds; 0 without one.
        LastTransition: GAUGE "circuit_breaker_last_transition_timestamp_seconds" ["service", "name"],
        /// End of the open-state wait, or of a FORCED_OPEN with an expiry, as a Unix timestamp in seconds; otherwise 0.
        OpenUntil: GAUGE "circuit_breaker_open_until_timestamp_seconds" ["service", "name"],
        /// Number of breakers, by state, including those without series of their own.
        Breakers: GAUGE "circuit_breakers" ["state"],
        /// Limit of the number of breakers: `limits.breakers_max`.
        BreakersMax: GAUGE "circuit_breakers_max" [],
        /// Number of evicted breakers whose epoch is kept in memory. At `limits.breakers_max`, no more are evicted.
        Retired: GAUGE "circuit_breakers_evicted" [],
        /// Revision of the effective thresholds.
        ConfigRevision: GAUGE "breakerd_config_revision" [],
    }
}

/// The changes that a breaker makes by itself: there from its birth, at 0. Those that an operator, a
/// change of thresholds, or being idle makes appear when they first happen.
const OWN_TRANSITIONS: [TransitionKind; 11] = [
    (State::Closed, State::Open, Reason::ConsecutiveFailures),
    (State::Closed, State::Open, Reason::FailureCount),
    (State::Closed, State::Open, Reason::FailureRate),
    (State::Closed, State::Open, Reason::SlowCallRate),
    (State::Open, State::HalfOpen, Reason::WaitElapsed),
    (State::HalfOpen, State::Closed, Reason::ProbesSucceeded),
    (State::HalfOpen, State::Closed, Reason::HalfOpenTimeout),
    (State::HalfOpen, State::Open, Reason::ProbesFailed),
    (State::HalfOpen, State::Open, Reason::ProbesSlow),
    (State::HalfOpen, State::Open, Reason::HalfOpenTimeout),
    (State::HalfOpen, State::HalfOpen, Reason::Restart),
];

/// How often the breakers are read again when some were retired meanwhile.
const READS_MAX: usize = 3;

/// Reads every breaker, at every scrape.
pub(super) struct Breakers {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    names: Names,
}

impl Breakers {
    pub(super) fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>, namespace: &Namespace) -> Self {
        Self { engine, clock, names: Names::of::<Shown>(namespace) }
    }

    /// Reads the breakers until none without series of its own was retired meanwhile: it would be missing in
    /// the sum, or in it twice, and a counter that goes back looks like a restart to Prometheus.
    fn read(&self, now: Time) -> Reading {
        let mut retired = self.engine.retired_counters();
        for _ in 1..READS_MAX {
            let reading = Reading::new(&self.engine, &retired, now);
            let before = std::mem::replace(&mut retired, self.engine.retired_counters());
            if before == retired {
                return reading;
            }
        }
        Reading::new(&self.engine, &retired, now)
    }
}

impl Collector for Breakers {
    fn desc(&self) -> Vec<&Desc> {
        self.names.descs()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Reading { mut page, other, by_state } = self.read(self.clock.now());
        if let Some(other) = other {
            show_counters(&mut page, OTHER, OTHER, &other);
        }
        for (state, breakers) in State::ALL.iter().zip(by_state) {
            page.gauge(Shown::Breakers, &[state.as_str()], number(breakers));
        }
        for view in one_other(self.engine.durations()) {
            let buckets = Buckets {
                bounds_seconds: &BOUNDS_SECONDS,
                cumulative: &view.cumulative,
                count: view.count,
                sum_seconds: view.sum_seconds,
            };
            page.histogram(Shown::Duration, &[&view.service], &buckets);
        }
        page.gauge(Shown::BreakersMax, &[], number(self.engine.breakers_max() as u64));
        page.gauge(Shown::Retired, &[], number(self.engine.retired() as u64));
        page.gauge(Shown::ConfigRevision, &[], number(self.engine.catalog().revision()));
        page.into_families(&self.names)
    }
}

/// A service named `__other__` counts there: a duplicate series would make the whole scrape invalid.
fn one_other(views: Vec<HistogramView>) -> Vec<HistogramView> {
    let (others, mut views): (Vec<_>, Vec<_>) = views.into_iter().partition(|view| *view.service == *OTHER);
    views.extend(others.into_iter().reduce(|mut sum, other| {
        for (bucket, count) in sum.cumulative.iter_mut().zip(other.cumulative) {
            *bucket += count;
        }
        sum.count += other.count;
        sum.sum_seconds += other.sum_seconds;
        sum
    }));
    views
}

/// One pass over all breakers.
struct Reading {
    /// Those with series of their own.
    page: Page<Shown>,
    /// What the others counted, if there is or was one.
    other: Option<Counters>,
    /// How many there are, in the order of [`State::ALL`].
    by_state: [u64; State::ALL.len()],
}

impl Reading {
    fn new(engine: &Engine, retired: &Counters, now: Time) -> Self {
        let other = (*retired != Counters::default()).then(|| retired.clone());
        let mut reading = Self { page: Page::new(), other, by_state: [0; State::ALL.len()] };
        engine.for_each(now, |view| {
            reading.by_state[view.state as usize] += 1;
            if view.own_series && **view.key.service() != *OTHER {
                let (service, name) = (&**view.key.service(), &**view.key.name());
                show_counters(&mut reading.page, service, name, &view.counters);
                show_gauges(&mut reading.page, service, name, &view);
            } else {
                reading.other.get_or_insert_default().add(&view.counters);
                if state_number(view.state) > 0.0 && **view.key.service() != *OTHER {
                    show_state(&mut reading.page, view.key.service(), view.key.name(), &view);
                }
            }
        });
        reading
    }
}

fn show_counters(page: &mut Page<Shown>, service: &str, name: &str, counters: &Counters) {
    let labels = [service, name];
    page.count(Shown::Calls, &labels, counters.successful + counters.failed);
    page.count(Shown::Successful, &labels, counters.successful);
    page.count(Shown::Failed, &labels, counters.failed);
    page.count(Shown::Ignored, &labels, counters.ignored);
    page.count(Shown::Late, &labels, counters.late);
    page.count(Shown::Slow, &labels, counters.slow);
    let none = OpenedCounters::default();
    let opened = counters.opened.as_deref().unwrap_or(&none);
    page.count(Shown::Shadows, &labels, opened.shadows);
    page.count(Shown::WouldBeRejected, &labels, opened.would_be_rejected);
    page.count(Shown::ProbeTimeouts, &labels, opened.timed_out_probes);
    for (verdict, rejected) in [
        (Verdict::Open, opened.rejected_open),
        (Verdict::HalfOpenExhausted, opened.rejected_half_open),
        (Verdict::ForcedOpen, opened.rejected_forced),
    ] {
        page.count(Shown::Rejected, &[service, name, verdict.as_str()], rejected);
    }
    let happened = &opened.transitions;
    for kind in OWN_TRANSITIONS {
        let count = happened.get(&kind).copied().unwrap_or(0);
        show_transitions(page, service, name, kind, count);
    }
    for (kind, count) in happened.iter().filter(|(kind, _)| !OWN_TRANSITIONS.contains(kind)) {
        show_transitions(page, service, name, *kind, *count);
    }
}

fn show_transitions(
    page: &mut Page<Shown>,
    service: &str,
    name: &str,
    (from, to, reason): TransitionKind,
    count: u64,
) {
    let labels = [service, name, from.as_str(), to.as_str(), reason.as_str()];
    page.count(Shown::Transitions, &labels, count);
}

/// What a breaker shows that is not closed, whether or not it has series of its own.
fn show_state(page: &mut Page<Shown>, service: &str, name: &str, view: &BreakerView) {
    let labels = [service, name];
    page.gauge(Shown::State, &labels, state_number(view.state));
    page.gauge(Shown::OpenUntil, &labels, open_until_seconds(view));
    if state_number(view.state) > 0.0 {
        let reason = view.last_transition.as_ref().map_or("", |last| last.reason.as_str());
        let labels = [service, name, view.state.as_str(), reason];
        page.gauge(Shown::NotClosedSince, &labels, unix_seconds(view.view.snapshot.entered_at));
    }
}

fn show_gauges(page: &mut Page<Shown>, service: &str, name: &str, view: &BreakerView) {
    let labels = [service, name];
    show_state(page, service, name, view);
    for kind in OverrideKind::ALL {
        let set = view.state == State::from(*kind);
        page.gauge(Shown::Override, &[service, name, kind.as_str()], f64::from(u8::from(set)));
    }
    let (stats, thresholds) = (view.view.stats, &*view.thresholds);
    page.gauge(Shown::FailureRatio, &labels, window_ratio(view, stats.failures));
    page.gauge(Shown::FailureRatioThreshold, &labels, ratio_of(thresholds.failure_rate_threshold()));
    page.gauge(Shown::SlowCallRatio, &labels, window_ratio(view, stats.slow_calls));
    page.gauge(Shown::SlowCallRatioThreshold, &labels, ratio_of(thresholds.slow_call_rate_threshold()));
    page.gauge(Shown::WindowCalls, &labels, f64::from(stats.calls));
    page.gauge(Shown::WindowCallsMin, &labels, f64::from(thresholds.minimum_calls()));
    page.gauge(Shown::WindowFailures, &labels, f64::from(stats.failures));
    page.gauge(Shown::WindowFailuresThreshold, &labels, or_nan(thresholds.failure_count_threshold()));
    page.gauge(Shown::ConsecutiveFailures, &labels, f64::from(stats.consecutive_failures));
    let consecutive = Some(thresholds.failure_threshold()).filter(|threshold| *threshold > 0);
    page.gauge(Shown::ConsecutiveFailuresThreshold, &labels, or_nan(consecutive));
    page.gauge(Shown::ProbesInFlight, &labels, f64::from(view.view.probes_out));
    let last_transition = view.last_transition.as_ref();
    page.gauge(Shown::LastTransition, &labels, last_transition.map_or(0.0, |last| unix_seconds(last.at)));
}

fn state_number(state: State) -> f64 {
    match state {
        State::Closed | State::Disabled | State::MetricsOnly => 0.0,
        State::Open | State::ForcedOpen => 1.0,
        State::HalfOpen => 2.0,
    }
}

/// NaN, and not 0 or -1, where there is no rate: comparisons with it are false, so that no alert rings on it
/// and no minimum is spoiled by it. Shown below the minimum number of calls too, though it is not judged there:
/// an idle breaker's rates are of interest too.
fn window_ratio(view: &BreakerView, part: u32) -> f64 {
    let calls = view.view.stats.calls;
    let has_window = matches!(view.state, State::Closed | State::MetricsOnly);
    if !has_window || calls == 0 {
        return f64::NAN;
    }
    f64::from(part) / f64::from(calls)
}

/// A threshold of a rate, in thousandths of a percent, as a ratio.
fn ratio_of(threshold: Option<u32>) -> f64 {
    or_nan(threshold) / 100_000.0
}

/// NaN where a threshold is not set: nothing is above it, and a dashboard draws no line.
fn or_nan(threshold: Option<u32>) -> f64 {
    threshold.map_or(f64::NAN, f64::from)
}

fn unix_seconds(at: Time) -> f64 {
    at.since(Time::ZERO).as_secs_f64()
}

fn open_until_seconds(view: &BreakerView) -> f64 {
    let snapshot = &view.view.snapshot;
    let end = match view.state {
        State::Open => snapshot.open_until(),
        State::ForcedOpen => view.view.override_ends_at,
        State::Closed | State::HalfOpen | State::Disabled | State::MetricsOnly => None,
    };
    end.map_or(0.0, unix_seconds)
}
