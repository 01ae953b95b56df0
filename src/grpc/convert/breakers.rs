//! A breaker as it is shown.

use std::time::Duration;

use breaker::{Field, Override, OverrideKind, Scope, State, Thresholds, Time, Value, View};
use breakerd_api::thresholds::{decimal, set};
use breakerd_api::time::{to_duration, to_timestamp};
use breakerd_api::v1;

use super::transitions;
use crate::control::ServiceConfig;
use crate::engine::{BreakerView, Counters};

/// A breaker at the wall-clock time `wall`.
pub(crate) fn breaker(view: &BreakerView, wall: Time) -> v1::Breaker {
    let snapshot = &view.view.snapshot;
    let stats = &view.view.stats;
    let counts = matches!(view.state, State::Closed | State::MetricsOnly);
    let half_open = view.state == State::HalfOpen;
    let open_until = if view.state == State::Open { snapshot.open_until() } else { None };
    v1::Breaker {
        service: view.key.service().to_string(),
        name: view.key.name().to_string(),
        state: v1::State::from(view.state) as i32,
        epoch: snapshot.epoch,
        open_count: snapshot.open_count,
        opened_at: open_until.map(|_| to_timestamp(snapshot.entered_at)),
        open_until: open_until.map(to_timestamp),
        remaining_wait: open_until.map(|until| to_duration(until.since(wall))),
        consecutive_failures: if counts { stats.consecutive_failures } else { 0 },
        consecutive_successes: if counts || half_open { stats.consecutive_successes } else { 0 },
        window: counts.then(|| window(view)),
        half_open: half_open.then(|| v1::HalfOpenStats {
            permitted: snapshot.half_open.map_or(0, |terms| terms.permitted),
            in_flight: view.view.probes_out,
            completed: stats.calls,
            failed: stats.failures,
            slow: stats.slow_calls,
        }),
        thresholds: Some(thresholds(&view.thresholds)),
        counters: Some(counters(&view.counters)),
        config_revision: view.config_revision,
        created_at: Some(to_timestamp(view.created_at)),
        last_used_at: view.is_used.then(|| to_timestamp(view.last_used)),
        r#override: snapshot.set_by.as_ref().map(|set_by| effective_override(set_by, &view.view)),
        last_transition: view.last_transition.as_ref().map(|last| transitions::last(&view.key, last)),
        state_when_enabled: if view.is_enabled {
            v1::State::Unspecified
        } else {
            v1::State::from(snapshot.state)
        } as i32,
        decided_alone: view.is_alone,
    }
}

fn effective_override(set_by: &Override, view: &View) -> v1::BreakerOverride {
    v1::BreakerOverride {
        state: v1::State::from(State::from(set_by.kind)) as i32,
        actor: set_by.actor.clone(),
        reason: set_by.reason.clone(),
        set_at: Some(to_timestamp(view.snapshot.entered_at)),
        expires_at: view.override_ends_at.map(to_timestamp),
        service_wide: set_by.scope == Scope::Service,
    }
}

/// What a client that decides locally needs, at the wall-clock time `wall`.
pub(crate) fn breaker_state(view: &BreakerView, wall: Time) -> v1::BreakerState {
    let snapshot = &view.view.snapshot;
    let ends_at = match view.state {
        State::Open => snapshot.open_until(),
        State::Closed | State::HalfOpen => None,
        State::ForcedOpen | State::Disabled | State::MetricsOnly => view.view.override_ends_at,
    };
    v1::BreakerState {
        service: view.key.service().to_string(),
        name: view.key.name().to_string(),
        state: v1::State::from(view.state) as i32,
        epoch: snapshot.epoch,
        remaining_wait: ends_at.map(|ends_at| to_duration(ends_at.since(wall))),
        config_revision: view.config_revision,
        open_count: snapshot.open_count,
        decided_alone: view.is_alone,
    }
}

/// What the breakers of a service are judged by, for such a client; `set` is its override in force, and how long that lasts.
pub(crate) fn service_state(
    config: &ServiceConfig,
    set: Option<(OverrideKind, Option<Duration>)>,
) -> v1::ServiceState {
    v1::ServiceState {
        service: config.service.clone(),
        thresholds: Some(thresholds(&config.thresholds)),
        config_revision: config.changed.map_or(0, |changed| changed.revision),
        override_state: set.map_or(v1::State::Unspecified, |(kind, _)| State::from(kind).into()) as i32,
        remaining_override: set.and_then(|(_, left)| left).map(to_duration),
        deleted: !config.is_own,
    }
}

fn window(view: &BreakerView) -> v1::WindowStats {
    let stats = &view.view.stats;
    let judged = |rate: Option<u32>| rate.filter(|_| view.view.rates_judged).map(decimal);
    v1::WindowStats {
        calls: stats.calls,
        failures: stats.failures,
        slow_calls: stats.slow_calls,
        failure_rate: judged(stats.failure_rate()),
        slow_call_rate: judged(stats.slow_call_rate()),
    }
}

fn counters(counters: &Counters) -> v1::Counters {
    v1::Counters {
        successful: counters.successful,
        failed: counters.failed,
        ignored: counters.ignored,
        late: counters.late,
        slow: counters.slow,
        would_be_rejected: counters.opened.as_ref().map_or(0, |opened| opened.would_be_rejected),
        rejected: counters
            .opened
            .as_ref()
            .map_or(0, |opened| opened.rejected_open + opened.rejected_half_open + opened.rejected_forced),
    }
}

/// The thresholds in force.
pub(super) fn thresholds(thresholds: &Thresholds) -> v1::Thresholds {
    let mut shown = v1::Thresholds::default();
    for field in Field::ALL {
        match thresholds.value(*field) {
            // Disabled is 0 in the domain, and absent on the wire.
            Some(Value::Count(0)) if field.is_off_at_zero() => {}
            Some(value) => set(&mut shown, *field, &value),
            None => {}
        }
    }
    shown
}
