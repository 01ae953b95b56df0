//! `override`, `reset`, `probe`: what an operator does to breakers by hand.

use std::time::{Duration, SystemTime};

use breaker::HumanDuration;
use breakerd_api::v1::{
    Breaker, ClearOverrideRequest, ProbeBreakerRequest, ResetBreakerRequest, SetOverrideRequest, State,
};
use clap::{Args, Subcommand, ValueEnum};

use super::connect::{CliRequest, Connection, Reach};
use super::error::{Ended, Failure};
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

pub(super) const WHOLE_AND_NAME: &str = "--service-wide requires SERVICE without /NAME";

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
    pub(super) fn reach(&self) -> &Reach {
        match self {
            Self::Set(asked) => &asked.reach,
            Self::Clear(asked) => &asked.reach,
        }
    }

    pub(super) fn check(&self) -> Result<(), Failure> {
        let (service_wide, breaker) = match self {
            Self::Set(asked) => (asked.what.service_wide, &asked.what.breaker),
            Self::Clear(asked) => (asked.what.service_wide, &asked.what.breaker),
        };
        if service_wide && !breaker.name.is_empty() {
            return Err(Failure::Usage(WHOLE_AND_NAME.to_owned()));
        }
        Ok(())
    }
}

/// What a breaker is held in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Held {
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
    state: Held,
    /// Reason, shown with the breaker.
    #[arg(long, value_name = "TEXT", value_parser = words::reason)]
    reason: String,
    /// How long the override lasts, such as 30m. Default: until cleared.
    #[arg(long = "for", value_name = "TIME", value_parser = times::duration, conflicts_with = "until")]
    lasts: Option<Duration>,
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
pub struct OneArgs {
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
) -> Result<Ended, Failure> {
    let mut operations = connection.operations();
    let (changed, own, persisted, breaker, service, held) = match command {
        OverrideCommand::Set(CliRequest { what, .. }) => {
            let state = match what.state {
                Held::ForcedOpen => State::ForcedOpen,
                Held::Disabled => State::Disabled,
                Held::MetricsOnly => State::MetricsOnly,
            };
            let question = SetOverrideRequest {
                service: what.breaker.service.clone(),
                name: what.breaker.name.clone(),
                state: state.into(),
                reason: what.reason.clone(),
                expires_at: what.until.map(Into::into),
                ttl: what.lasts.map(wire).transpose()?,
                service_wide: what.service_wide,
                create: what.create,
            };
            let answer = connection.ask(question, async |ask| operations.set_override(ask).await).await?;
            if screen.object("SetOverrideResponse", &answer)? {
                return Ok(Ended::Done);
            }
            let own = KeptOverrides { count: answer.own_overrides, names: answer.own_override_names };
            let service = &what.breaker.service;
            (answer.breakers_changed, own, answer.persisted, answer.breaker, service, Some(state))
        }
        OverrideCommand::Clear(CliRequest { what, .. }) => {
            let question = ClearOverrideRequest {
                service: what.breaker.service.clone(),
                name: what.breaker.name.clone(),
                reason: what.reason.clone().unwrap_or_default(),
                service_wide: what.service_wide,
            };
            let answer = connection.ask(question, async |ask| operations.clear_override(ask).await).await?;
            if screen.object("ClearOverrideResponse", &answer)? {
                return Ok(Ended::Done);
            }
            let own = KeptOverrides { count: answer.own_overrides, names: answer.own_override_names };
            let service = &what.breaker.service;
            (answer.breakers_changed, own, answer.persisted, answer.breaker, service, None)
        }
    };
    if let Some(breaker) = breaker {
        return show(&breaker, persisted, clock, screen);
    }
    let is_switched_off = held.is_some() && is_switched_off(service, connection).await;
    let changed = if changed == 1 { "1 breaker".to_owned() } else { format!("{changed} breakers") };
    match held {
        Some(state) => {
            let state = screen.painted(words::state(state.into()), style_of(state.into()));
            let is_now = if is_switched_off {
                format!("will be {state} service-wide once breakers are enabled")
            } else {
                format!("is now {state} service-wide")
            };
            writeln!(screen.out, "{service} {is_now}, including future breakers; {changed} changed")?;
        }
        None => writeln!(screen.out, "{service}: service-wide override cleared; {changed} changed")?,
    }
    if own.count > 0 {
        writeln!(screen.out, "{}", own.in_words(service))?;
    }
    note_not_persisted(persisted, screen);
    if is_switched_off {
        note_switched_off(screen);
    }
    Ok(Ended::Done)
}

/// Breakers that keep an override of their own, whatever their service has.
struct KeptOverrides {
    count: u32,
    /// Of the first of them.
    names: Vec<String>,
}

impl KeptOverrides {
    fn in_words(&self, service: &str) -> String {
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
    args: &OneArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let mut operations = connection.operations();
    let Target { service, name } = args.breaker.clone();
    let question = ResetBreakerRequest { service, name, reason: args.reason.clone().unwrap_or_default() };
    let answer = connection.ask(question, async |ask| operations.reset_breaker(ask).await).await?;
    if screen.object("ResetBreakerResponse", &answer)? {
        return Ok(Ended::Done);
    }
    let breaker = answer.breaker.ok_or(Failure::Incomplete("breaker"))?;
    show(&breaker, answer.persisted, clock, screen)
}

pub(super) async fn probe(
    args: &OneArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
    let mut operations = connection.operations();
    let Target { service, name } = args.breaker.clone();
    let question = ProbeBreakerRequest { service, name, reason: args.reason.clone().unwrap_or_default() };
    let answer = connection.ask(question, async |ask| operations.probe_breaker(ask).await).await?;
    if screen.object("ProbeBreakerResponse", &answer)? {
        return Ok(Ended::Done);
    }
    let breaker = answer.breaker.ok_or(Failure::Incomplete("breaker"))?;
    show(&breaker, answer.persisted, clock, screen)
}

fn show(
    breaker: &Breaker,
    persisted: bool,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Ended, Failure> {
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
        note_switched_off(screen);
    }
    Ok(Ended::Done)
}

fn note_switched_off(screen: &mut Screen<'_>) {
    screen.note(&format!("no effect yet: {}, every call is allowed", why::SWITCHED_OFF));
}

/// Whether breakers are switched off, as far as the caller may know.
async fn is_switched_off(service: &str, connection: &Connection) -> bool {
    service::config(service, false, connection).await.is_ok_and(|config| !config.enabled)
}

pub(super) fn note_not_persisted(persisted: bool, screen: &mut Screen<'_>) {
    if !persisted {
        screen.note("applied; stays in the journal until the store is available");
    }
}

/// A length of time as the API has it.
pub(super) fn wire(length: Duration) -> Result<prost_types::Duration, Failure> {
    length.try_into().map_err(|_| Failure::Usage(format!("{} is too long", HumanDuration(length))))
}
