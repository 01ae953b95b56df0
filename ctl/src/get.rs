//! `get`: everything about one breaker.

use std::io;

use breaker::{Field, Time};
use breakerd_api::v1::{Breaker, GetBreakerRequest, ServiceOverride, State};
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::ls::since;
use super::screen::{Screen, style_of};
use super::table::{Cell, Table};
use super::thresholds;
use super::words::Target;
use super::{service, times, why, words};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd get database
      the default breaker of the service
  breakerd get notifications/slack --json
      another breaker of a service, as JSON";

#[derive(Debug, Args)]
pub struct GetArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME.
    #[arg(value_name = "BREAKER")]
    breaker: Target,
}

pub(super) async fn run(
    args: &GetArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let Target { service, name } = args.breaker.clone();
    let mut operations = connection.operations();
    let request = GetBreakerRequest { service, name };
    let response = connection.call(request, async |request| operations.get_breaker(request).await).await?;
    if !screen.object("GetBreakerResponse", &response)? {
        let breaker = response.breaker.ok_or(Failure::Incomplete("breaker"))?;
        let of_service = inactive_service_override(&breaker, connection).await;
        show(&breaker, of_service.as_ref(), clock.wall(), screen)?;
    }
    Ok(Completion::Done)
}

/// The override of the service, where it is not the one that the breaker is in: as far as the client may know.
async fn inactive_service_override(breaker: &Breaker, connection: &Connection) -> Option<ServiceOverride> {
    if breaker.r#override.as_ref().is_some_and(|set| set.service_wide) {
        return None;
    }
    service::config(&breaker.service, false, connection).await.ok()?.r#override
}

/// The state of a breaker, as printed after an operator action.
pub(super) fn show_state(breaker: &Breaker, now: Time, screen: &mut Screen<'_>) -> io::Result<()> {
    state_table(breaker, None, now).write(screen)
}

/// The state of a breaker, and below it its thresholds.
fn show(
    breaker: &Breaker,
    of_service: Option<&ServiceOverride>,
    now: Time,
    screen: &mut Screen<'_>,
) -> io::Result<()> {
    state_table(breaker, of_service, now).write(screen)?;
    let Some(judged_by) = &breaker.thresholds else { return Ok(()) };
    writeln!(screen.out)?;
    let mut table = Table::default();
    for field in Field::ALL {
        if let Some(value) = thresholds::get(judged_by, *field) {
            table.row(vec![Cell::from(field.as_str()), Cell::from(value.to_string())]);
        }
    }
    table.write(screen)
}

/// The effect of an override on calls, and its cause; none: the breaker decides by its outcomes.
fn effect(breaker: &Breaker) -> Option<&'static str> {
    match breaker.state() {
        State::Disabled if breaker.state_when_enabled() != State::Unspecified => {
            Some("every call is allowed, because all breakers are disabled; nothing is counted")
        }
        State::Disabled => Some("every call is allowed, because the breaker is disabled; nothing is counted"),
        State::ForcedOpen => Some("every call is rejected, because of the override; nothing is counted"),
        State::MetricsOnly => Some("every call is allowed, because of the override; outcomes are counted"),
        State::Closed | State::Open | State::HalfOpen | State::Unspecified => None,
    }
}

/// A line for each property; what is absent has no line.
fn state_table(breaker: &Breaker, of_service: Option<&ServiceOverride>, now: Time) -> Table {
    let mut table = Table::default();
    let mut add_row = |name: &str, value: Cell| table.row(vec![Cell::from(name), value]);
    add_row("breaker", words::breaker_name(&breaker.service, &breaker.name).into());
    add_row("state", Cell::styled(words::state(breaker.state), style_of(breaker.state)));
    if let Some(effect) = effect(breaker) {
        add_row("effect", effect.into());
    }
    if breaker.state_when_enabled() != State::Unspecified {
        let state = breaker.state_when_enabled;
        add_row("if enabled", Cell::styled(words::state(state), style_of(state)));
    }
    if let Some(since) = since(breaker) {
        add_row("since", format!("{} ({})", times::clock(&since), times::age(&since, now)).into());
    }
    let why = why::of_breaker(breaker);
    if !why.is_empty() {
        add_row("why", why.into());
    }
    if let Some(expires) = breaker.r#override.as_ref().and_then(|set| set.expires_at) {
        add_row("override ends", times::clock(&expires).into());
    }
    if let Some(set) = of_service {
        let has_own = breaker.r#override.is_some();
        let when = if has_own { "after its own override" } else { "not applied yet" };
        add_row("service-wide", format!("{} ({when})", service::summary(set)).into());
    }
    if let (Some(until), Some(rest)) = (&breaker.open_until, &breaker.remaining_wait) {
        add_row("open until", format!("{} (in {})", times::clock(until), times::wire_span(rest)).into());
    }
    if let Some(probes) = breaker.half_open {
        let text = format!(
            "{} permitted, {} in flight, {} completed ({} failed, {} slow)",
            probes.permitted, probes.in_flight, probes.completed, probes.failed, probes.slow
        );
        add_row("probes", text.into());
    }
    if let Some(window) = breaker.window {
        let text = format!("{} calls: {} failed, {} slow", window.calls, window.failures, window.slow_calls);
        add_row("window", text.into());
        if window.failure_rate.is_some() || window.slow_call_rate.is_some() {
            let (failed, slow) = (why::percent(window.failure_rate), why::percent(window.slow_call_rate));
            add_row("rates", format!("{failed} failed, {slow} slow").into());
        }
        let (failed, well) = (breaker.consecutive_failures, breaker.consecutive_successes);
        add_row("consecutive", format!("{failed} failures, {well} successes").into());
    }
    add_row("epoch", breaker.epoch.to_string().into());
    if breaker.open_count > 0 {
        add_row("times opened", format!("{} since last closed", breaker.open_count).into());
    }
    let counters = breaker.counters.unwrap_or_default();
    let counted = format!(
        "{} successful, {} failed, {} rejected, {} slow, {} ignored, {} late",
        counters.successful,
        counters.failed,
        counters.rejected,
        counters.slow,
        counters.ignored,
        counters.late
    );
    add_row("counted", counted.into());
    if counters.would_be_rejected > 0 {
        add_row("would reject", counters.would_be_rejected.to_string().into());
    }
    let last_used = breaker.last_used_at.as_ref().map_or_else(
        || "-".to_owned(),
        |used| format!("{} ({} ago)", times::clock(used), times::age(used, now)),
    );
    add_row("last used", last_used.into());
    add_row("revision", format!("{} (configuration)", breaker.config_revision).into());
    table
}
