//! Metrics for the recorder of the `metrics` crate, if the application installed one.

use breaker::State;

use crate::stats::BreakerStats;

/// Sets `breakerd_client_*` to what this process sees.
pub(crate) fn record(stats: &BreakerStats) {
    let labels = [("service", stats.service.clone()), ("name", stats.name.clone())];
    let shown = match stats.state {
        State::Closed | State::Disabled | State::MetricsOnly => 0.0,
        State::Open | State::ForcedOpen => 1.0,
        State::HalfOpen => 2.0,
    };
    metrics::gauge!("breakerd_client_state", &labels).set(shown);
    metrics::gauge!("breakerd_client_connected", &labels).set(f64::from(u8::from(stats.connected)));
    for (name, count) in [
        ("breakerd_client_successful_calls_total", stats.successful),
        ("breakerd_client_failed_calls_total", stats.failed),
        ("breakerd_client_ignored_calls_total", stats.ignored),
        ("breakerd_client_slow_calls_total", stats.slow),
        ("breakerd_client_rejected_calls_total", stats.rejected.total()),
        ("breakerd_client_transitions_total", stats.transitions),
    ] {
        metrics::counter!(name, &labels).absolute(count);
    }
}
