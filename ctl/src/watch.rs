//! `watch`, `watch --states` and `config watch`: what happens, as it happens.

use std::collections::BTreeMap;
use std::io;

use breakerd_api::v1::watch_breakers_response::Event as BreakerEvent;
use breakerd_api::v1::watch_config_response::Event as ConfigEvent;
use breakerd_api::v1::watch_transitions_response::Event as TransitionEvent;
use breakerd_api::v1::{
    ServiceConfig, State, Transition, WatchBreakersRequest, WatchBreakersResponse, WatchConfigRequest,
    WatchConfigResponse, WatchResync, WatchTransitionsRequest, WatchTransitionsResponse,
};
use clap::Args;
use tonic::{Code, Status, Streaming};

use super::config_set::differences;
use super::config_show::what_was_set;
use super::connect::Connection;
use super::error::{Completion, Failure};
use super::follow::{Feed, follow};
use super::history;
use super::screen::{Screen, style_of};
use super::table::{Cell, Narrow, Table, escape_control};
use super::{service, times, words};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd watch
      every transition; after a reconnect it continues where it was
  breakerd watch database search --prefix notifications
      the transitions of some services
  breakerd watch --states --json
      the latest state of each breaker, for clients that decide locally";

pub(super) const CONFIG_EXAMPLES: &str = "Examples:
  breakerd config watch
      the effective thresholds, and every change
  breakerd config watch --prefix notifications --json
      the thresholds of some services, as JSON";

/// The most configurations that a watch keeps to print what changed; of further ones it prints what is set.
const KNOWN_CONFIGS_MAX: usize = 10_000;

#[derive(Debug, Clone, Args)]
pub struct WatchArgs {
    #[command(flatten)]
    of: Selection,
    /// Follow states instead of transitions, as clients that decide locally do.
    #[arg(long)]
    states: bool,
}

#[derive(Debug, Clone, Args)]
pub struct ConfigWatchArgs {
    #[command(flatten)]
    of: Selection,
}

#[derive(Debug, Clone, Args)]
struct Selection {
    /// Only these services. Default: all.
    #[arg(value_name = "SERVICE", value_parser = words::service)]
    services: Vec<String>,
    /// Also services whose name starts with this prefix.
    #[arg(long, value_name = "PREFIX", default_value = "", hide_default_value = true)]
    prefix: String,
}

impl Selection {
    /// Fails for an unknown service: a watch of a mistyped one would stay silent for ever.
    async fn check(&self, connection: &Connection) -> Result<(), Failure> {
        for service in &self.services {
            match service::check_exists(service, connection).await {
                Ok(()) => {}
                // A client with the caller role only may watch states all the same: the watch itself checks that.
                Err(Failure::Status(status)) if status.code() == Code::PermissionDenied => {}
                Err(Failure::Status(status)) if status.code() == Code::NotFound => {
                    let hint = format!("to wait for its first use, use --prefix {service}");
                    return Err(Failure::StatusWithHint(status, hint));
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}

pub(super) async fn run(
    args: &WatchArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    args.of.check(connection).await?;
    if args.states {
        return follow(States { of: args.of.clone() }, connection, clock, screen).await;
    }
    let feed = Transitions { of: args.of.clone(), breakers: 0, not_closed: 0 };
    follow(feed, connection, clock, screen).await
}

pub(super) async fn run_config(
    args: &ConfigWatchArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    args.of.check(connection).await?;
    let feed = Configs { of: args.of.clone(), known: BTreeMap::new() };
    follow(feed, connection, clock, screen).await
}

/// Every transition.
struct Transitions {
    of: Selection,
    breakers: u64,
    not_closed: u64,
}

impl Feed for Transitions {
    type Event = WatchTransitionsResponse;

    async fn open(
        &mut self,
        connection: &Connection,
        token: String,
    ) -> Result<Streaming<Self::Event>, Status> {
        if token.is_empty() {
            (self.breakers, self.not_closed) = (0, 0);
        }
        let request = WatchTransitionsRequest {
            services: self.of.services.clone(),
            service_prefix: self.of.prefix.clone(),
            resume_token: token,
        };
        let response = connection.operations().watch_transitions(connection.request(request)).await?;
        Ok(response.into_inner())
    }

    fn token(event: &Self::Event) -> Option<&str> {
        Some(&event.resume_token)
    }

    fn show(&mut self, event: &Self::Event, screen: &mut Screen<'_>) -> io::Result<()> {
        if screen.line("WatchTransitionsResponse", event)? {
            return Ok(());
        }
        match &event.event {
            Some(TransitionEvent::State(state)) => {
                self.breakers += 1;
                // Closed breakers are counted, not listed: most are closed.
                if state.state == i32::from(State::Closed) {
                    return Ok(());
                }
                self.not_closed += 1;
                let since = state.entered_at.as_ref().map_or_else(|| "?".to_owned(), times::fine_clock);
                let cells = [
                    Cell::time(since),
                    Cell::from(words::breaker_name(&state.service, &state.name)),
                    Cell::from("is"),
                    Cell::styled(words::state(state.state), style_of(state.state)),
                ];
                line(cells.map(|cell| (cell, Narrow::Keep)), screen)
            }
            Some(TransitionEvent::Transition(transition)) => show_transition(transition, screen),
            Some(TransitionEvent::Bookmark(bookmark)) => {
                screen.note(&format!(
                    "breakers with a history: {}, not closed: {}; following from revision {}",
                    self.breakers, self.not_closed, bookmark.revision
                ));
                Ok(())
            }
            Some(TransitionEvent::Resync(resync)) => {
                (self.breakers, self.not_closed) = (0, 0);
                note_resync(resync, screen);
                Ok(())
            }
            Some(TransitionEvent::Heartbeat(_)) | None => Ok(()),
        }
    }
}

/// A row of the history, on a line of its own.
pub(super) fn show_transition(transition: &Transition, screen: &mut Screen<'_>) -> io::Result<()> {
    let narrow = history::LIST.columns.iter().map(|(_, narrow)| *narrow);
    let mut cells: Vec<_> = history::row(transition).into_iter().zip(narrow).collect();
    cells.insert(3, (Cell::from("->"), Narrow::Keep));
    line(cells, screen)
}

/// The newest state of each breaker.
struct States {
    of: Selection,
}

impl Feed for States {
    type Event = WatchBreakersResponse;

    async fn open(&mut self, connection: &Connection, _: String) -> Result<Streaming<Self::Event>, Status> {
        let request = WatchBreakersRequest {
            services: self.of.services.clone(),
            service_prefix: self.of.prefix.clone(),
        };
        let response = connection.breakers().watch_breakers(connection.request(request)).await?;
        Ok(response.into_inner())
    }

    fn token(_: &Self::Event) -> Option<&str> {
        None
    }

    fn show(&mut self, event: &Self::Event, screen: &mut Screen<'_>) -> io::Result<()> {
        if screen.line("WatchBreakersResponse", event)? {
            return Ok(());
        }
        match &event.event {
            Some(BreakerEvent::Breaker(breaker)) => {
                let mut cells = vec![
                    Cell::from(words::breaker_name(&breaker.service, &breaker.name)),
                    Cell::styled(words::state(breaker.state), style_of(breaker.state)),
                    Cell::from(format!("epoch {}", breaker.epoch)),
                ];
                if let Some(rest) = &breaker.remaining_wait {
                    cells.push(Cell::from(format!("for {}", times::wire_span(rest))));
                }
                line(cells.into_iter().map(|cell| (cell, Narrow::Keep)), screen)
            }
            Some(BreakerEvent::Bookmark(bookmark)) => {
                screen.note(&format!("all others are closed; following from revision {}", bookmark.revision));
                Ok(())
            }
            Some(BreakerEvent::Resync(resync)) => {
                note_resync(resync, screen);
                Ok(())
            }
            // Thresholds are what `watch config` shows.
            Some(BreakerEvent::Heartbeat(_) | BreakerEvent::Hello(_) | BreakerEvent::Service(_)) | None => {
                Ok(())
            }
        }
    }
}

/// Every effective configuration.
struct Configs {
    of: Selection,
    /// The last configuration received of each service, to print what changed.
    known: BTreeMap<String, ServiceConfig>,
}

impl Feed for Configs {
    type Event = WatchConfigResponse;

    async fn open(
        &mut self,
        connection: &Connection,
        token: String,
    ) -> Result<Streaming<Self::Event>, Status> {
        let request = WatchConfigRequest {
            services: self.of.services.clone(),
            service_prefix: self.of.prefix.clone(),
            resume_token: token,
        };
        let response = connection.configs().watch_config(connection.request(request)).await?;
        Ok(response.into_inner())
    }

    fn token(event: &Self::Event) -> Option<&str> {
        Some(&event.resume_token)
    }

    fn show(&mut self, event: &Self::Event, screen: &mut Screen<'_>) -> io::Result<()> {
        if screen.line("WatchConfigResponse", event)? {
            return Ok(());
        }
        match &event.event {
            Some(ConfigEvent::Config(config)) => {
                let before = self.known.get(&config.service);
                let what = describe_change(before, config);
                if self.known.len() < KNOWN_CONFIGS_MAX || before.is_some() {
                    self.known.insert(config.service.clone(), config.clone());
                }
                let name = if config.service.is_empty() { "(all others)" } else { &*config.service };
                let revision = format!("revision {}", config.revision);
                let cells = [
                    (Cell::from(name), Narrow::Keep),
                    (Cell::from(revision), Narrow::Drop(0)),
                    (Cell::from(what), Narrow::Below),
                ];
                line(cells, screen)
            }
            Some(ConfigEvent::Bookmark(bookmark)) => {
                screen.note(&format!("following from revision {}", bookmark.revision));
                Ok(())
            }
            Some(ConfigEvent::Resync(resync)) => {
                self.known.clear();
                note_resync(resync, screen);
                Ok(())
            }
            Some(ConfigEvent::Heartbeat(_)) | None => Ok(()),
        }
    }
}

/// What changed in a configuration, compared with the one received before.
fn describe_change(before: Option<&ServiceConfig>, config: &ServiceConfig) -> String {
    if config.deleted {
        return "configuration removed".to_owned();
    }
    let mut changes = match before {
        None => vec![what_was_set(config)],
        Some(before) => differences(before, config)
            .into_iter()
            .map(|(field, before, after)| format!("{field} {before} -> {after}"))
            .collect(),
    };
    let held = |config: &ServiceConfig| config.r#override.as_ref().map(|set| set.state);
    match (before.and_then(held), held(config)) {
        (before, after) if before == after => {}
        (_, Some(state)) => changes.push(format!("override {}", words::state(state))),
        (Some(state), None) => changes.push(format!("override {} cleared", words::state(state))),
        (None, None) => {}
    }
    if changes.is_empty() { "unchanged".to_owned() } else { changes.join(", ") }
}

fn note_resync(resync: &WatchResync, screen: &mut Screen<'_>) {
    screen.note(&format!("resync: {}", escape_control(&resync.reason)));
}

/// One line, now: a table would wait for the widest.
fn line(cells: impl IntoIterator<Item = (Cell, Narrow)>, screen: &mut Screen<'_>) -> io::Result<()> {
    Table::line(cells).write(screen)
}
