//! `override`, `reset`, `probe`: operator actions on breakers.

use std::time::{Duration, SystemTime};

use breaker::HumanDuration;
use breakerd_api::v1::{
    Breaker, ClearOverrideRequest, ProbeBreakerRequest, ResetBreakerRequest, SetOverrideRequest, State,
};
use clap::{Args, Subcommand, ValueEnum};

use super::connect::{CliRequest, CommonOptions, Connection};
use super::error::{Completion, Failure};
use super::get;
use super::screen::{Screen, style_of};
use super::service;
use super::times;
use super::why;
use super::words::{self, Target};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd override set database forced-open --reason 'failover' --for 30m
  breakerd override clear database --reason 'failover is done'";

const SET_EXAMPLES: &str = "Examples:
  breakerd override set database forced-open --reason 'failover' --for 30m
      reject every call of the default breaker of the service for 30 minutes
  breakerd override set notifications disabled --service-wide \\
      --reason 'false alarms' --until '2026-11-24 18:00:00'
      allow every call of every breaker of a service until then
  breakerd override set search/eu metrics-only --reason 'a trial' --create
      allow calls and count what would have been rejected; create the breaker
      if it does not exist";

const CLEAR_EXAMPLES: &str = "Examples:
  breakerd override clear database --reason 'failover is done'
      clear the override of the default breaker of the service
  breakerd override clear notifications --service-wide
      clear the service-wide override";

pub(super) const RESET_EXAMPLES: &str = "Examples:
  breakerd reset database --reason 'it is repaired'
      CLOSED, with empty counters";

pub(super) const PROBE_EXAMPLES: &str = "Examples:
  breakerd probe database --reason 'failover is done'
      HALF_OPEN: the next calls are probes";

pub(super) const SERVICE_WIDE_WITH_NAME: &str = "--service-wide requires SERVICE without /NAME";

/// Overrides.
#[derive(Debug, Subcommand)]
pub enum OverrideCommand {
    /// Set an override on a breaker or on a whole service.
    #[command(after_help = SET_EXAMPLES)]
    Set(CliRequest<SetArgs>),
    /// Clear an override. The breaker closes with empty counters.
    #[command(after_help = CLEAR_EXAMPLES)]
    Clear(CliRequest<ClearArgs>),
}

impl OverrideCommand {
    pub(super) fn options(&self) -> &CommonOptions {
        match self {
            Self::Set(request) => &request.options,
            Self::Clear(request) => &request.options,
        }
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        let (service_wide, breaker) = match self {
            Self::Set(request) => (request.args.service_wide, &request.args.breaker),
            Self::Clear(request) => (request.args.service_wide, &request.args.breaker),
        };
        if service_wide && !breaker.name.is_empty() {
            return Err(Failure::Usage(SERVICE_WIDE_WITH_NAME.to_owned()));
        }
        Ok(())
    }
}

/// The states that an override can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OverrideState {
    /// Reject every call.
    ForcedOpen,
    /// Allow every call and count nothing.
    Disabled,
    /// Allow every call, and count what would have been rejected.
    MetricsOnly,
}

#[derive(Debug, Args)]
pub struct SetArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME.
    #[arg(value_name = "BREAKER")]
    breaker: Target,
    /// State of the override.
    #[arg(value_name = "STATE", value_enum)]
    state: OverrideState,
    /// Reason, shown with the breaker.
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    reason: String,
    /// How long the override lasts, such as 30m. Default: until cleared.
    #[arg(long = "for", value_name = "TIME", value_parser = times::duration, conflicts_with = "until")]
    ttl: Option<Duration>,
    /// When the override expires, in UTC, such as '2026-11-24 18:00:00'.
    #[arg(long, value_name = "WHEN", value_parser = times::time)]
    until: Option<SystemTime>,
    /// Set a service-wide override: all breakers of the service, now and later.
    #[arg(long)]
    service_wide: bool,
    /// Create the breaker or service if it does not exist. Default: fail if it is not found.
    #[arg(long)]
    create: bool,
}

#[derive(Debug, Args)]
pub struct ClearArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME.
    #[arg(value_name = "BREAKER")]
    breaker: Target,
    /// Reason.
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    reason: Option<String>,
    /// Clear the service-wide override.
    #[arg(long)]
    service_wide: bool,
}

/// One breaker, and why.
#[derive(Debug, Args)]
pub struct BreakerArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME.
    #[arg(value_name = "BREAKER")]
    pub(super) breaker: Target,
    /// Reason.
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    pub(super) reason: Option<String>,
}

pub(super) async fn run(
    command: &OverrideCommand,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let (changed, own, persisted, breaker, service, set_state) = match command {
        OverrideCommand::Set(CliRequest { args, .. }) => {
            let state = match args.state {
                OverrideState::ForcedOpen => State::ForcedOpen,
                OverrideState::Disabled => State::Disabled,
                OverrideState::MetricsOnly => State::MetricsOnly,
            };
            let request = SetOverrideRequest {
                service: args.breaker.service.clone(),
                name: args.breaker.name.clone(),
                state: state.into(),
                reason: args.reason.clone(),
                expires_at: args.until.map(Into::into),
                ttl: args.ttl.map(wire_duration).transpose()?,
                service_wide: args.service_wide,
                create: args.create,
            };
            let response =
                connection.call(request, async |request| operations.set_override(request).await).await?;
            if screen.object("SetOverrideResponse", &response)? {
                return Ok(Completion::Done);
            }
            let own = KeptOverrides { count: response.own_overrides, names: response.own_override_names };
            let service = &args.breaker.service;
            (response.breakers_changed, own, response.persisted, response.breaker, service, Some(state))
        }
        OverrideCommand::Clear(CliRequest { args, .. }) => {
            let request = ClearOverrideRequest {
                service: args.breaker.service.clone(),
                name: args.breaker.name.clone(),
                reason: args.reason.clone().unwrap_or_default(),
                service_wide: args.service_wide,
            };
            let response =
                connection.call(request, async |request| operations.clear_override(request).await).await?;
            if screen.object("ClearOverrideResponse", &response)? {
                return Ok(Completion::Done);
            }
            let own = KeptOverrides { count: response.own_overrides, names: response.own_override_names };
            let service = &args.breaker.service;
            (response.breakers_changed, own, response.persisted, response.breaker, service, None)
        }
    };
    if let Some(breaker) = breaker {
        return show(&breaker, persisted, clock, screen);
    }
    let is_disabled = set_state.is_some() && is_disabled(service, connection).await;
    let changed = if changed == 1 { "1 breaker".to_owned() } else { format!("{changed} breakers") };
    match set_state {
        Some(state) => {
            let state = screen.painted(words::state(state.into()), style_of(state.into()));
            let is_now = if is_disabled {
                format!("will be {state} service-wide once breakers are enabled")
            } else {
                format!("is now {state} service-wide")
            };
            writeln!(screen.out, "{service} {is_now}, including future breakers; {changed} changed")?;
        }
        None => writeln!(screen.out, "{service}: service-wide override cleared; {changed} changed")?,
    }
    if own.count > 0 {
        writeln!(screen.out, "{}", own.summary(service))?;
    }
    note_not_persisted(persisted, screen);
    if is_disabled {
        note_disabled(screen);
    }
    Ok(Completion::Done)
}

/// Breakers that keep an override of their own, whatever their service has.
struct KeptOverrides {
    count: u32,
    /// Of the first of them.
    names: Vec<String>,
}

impl KeptOverrides {
    fn summary(&self, service: &str) -> String {
        let mut named: Vec<_> = self.names.iter().map(|name| words::breaker_name(service, name)).collect();
        let more = self.count.saturating_sub(u32::try_from(named.len()).unwrap_or(u32::MAX));
        if more > 0 {
            named.push(format!("{more} more"));
        }
        let keep = if self.count == 1 {
            "1 breaker keeps its own override"
        } else {
            "breakers keep their own override"
        };
        let count = if self.count == 1 { String::new() } else { format!("{} ", self.count) };
        format!("{count}{keep}: {}", named.join(", "))
    }
}

pub(super) async fn reset(
    args: &BreakerArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let Target { service, name } = args.breaker.clone();
    let request = ResetBreakerRequest { service, name, reason: args.reason.clone().unwrap_or_default() };
    let response = connection.call(request, async |request| operations.reset_breaker(request).await).await?;
    if screen.object("ResetBreakerResponse", &response)? {
        return Ok(Completion::Done);
    }
    let breaker = response.breaker.ok_or(Failure::Incomplete("breaker"))?;
    show(&breaker, response.persisted, clock, screen)
}

pub(super) async fn probe(
    args: &BreakerArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut operations = connection.operations();
    let Target { service, name } = args.breaker.clone();
    let request = ProbeBreakerRequest { service, name, reason: args.reason.clone().unwrap_or_default() };
    let response = connection.call(request, async |request| operations.probe_breaker(request).await).await?;
    if screen.object("ProbeBreakerResponse", &response)? {
        return Ok(Completion::Done);
    }
    let breaker = response.breaker.ok_or(Failure::Incomplete("breaker"))?;
    show(&breaker, response.persisted, clock, screen)
}

fn show(
    breaker: &Breaker,
    persisted: bool,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let is_enabled = breaker.state_when_enabled() == State::Unspecified;
    let state = if is_enabled { breaker.state } else { breaker.state_when_enabled };
    let name = words::breaker_name(&breaker.service, &breaker.name);
    let state = screen.painted(words::state(state), style_of(state));
    if is_enabled {
        writeln!(screen.out, "{name} is now {state}")?;
    } else {
        writeln!(screen.out, "{name} will be {state} once breakers are enabled")?;
    }
    writeln!(screen.out)?;
    get::show_state(breaker, clock.wall(), screen)?;
    note_not_persisted(persisted, screen);
    if !is_enabled {
        note_disabled(screen);
    }
    Ok(Completion::Done)
}

fn note_disabled(screen: &mut Screen<'_>) {
    screen.note(&format!("no effect yet: {}, every call is allowed", why::DISABLED_IN_FILE));
}

/// Whether the config file disables all breakers, as far as the client may read that.
async fn is_disabled(service: &str, connection: &Connection) -> bool {
    service::config(service, false, connection).await.is_ok_and(|config| !config.enabled)
}

pub(super) fn note_not_persisted(persisted: bool, screen: &mut Screen<'_>) {
    if !persisted {
        screen.note("applied; stays in the journal until the store is available");
    }
}

/// A length of time as the API has it.
pub(super) fn wire_duration(length: Duration) -> Result<prost_types::Duration, Failure> {
    length.try_into().map_err(|_| Failure::Usage(format!("{} is too long", HumanDuration(length))))
}
