//! `ls`: lists breakers. Those that are not closed come first: they are what an operator looks for.

use std::collections::BTreeSet;
use std::io;

use breaker::Time;
use breakerd_api::v1::{Breaker, GetBreakerRequest, ListBreakersRequest, State};
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::pages::PAGE;
use super::screen::{Screen, style_of};
use super::table::{Cell, Narrow, Table};
use super::{service, times, why, words};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd ls
      the first thousand breakers, and every one that is not closed
  breakerd ls notifications --state open,half-open
      those of one service that are not closed
  breakerd ls --all --json | jq -r 'select(.state == \"STATE_OPEN\") | .service'
      one breaker per line, as JSON";

/// The most breakers that are not closed and listed without `--all`: more than anyone reads.
const TROUBLED_MAX: usize = 10_000;

const NOT_CLOSED: [State; 5] =
    [State::Open, State::HalfOpen, State::ForcedOpen, State::Disabled, State::MetricsOnly];

#[derive(Debug, Args)]
pub struct LsArgs {
    /// Only breakers of this service.
    #[arg(value_name = "SERVICE", value_parser = words::service)]
    service: Option<String>,
    /// Only breakers whose name starts with this prefix.
    #[arg(long, value_name = "PREFIX")]
    name_prefix: Option<String>,
    /// Only breakers in these states: closed, open, half-open, forced-open, disabled, metrics-only.
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = words::state_by_name)]
    state: Vec<State>,
    /// List all breakers. Default: all that are not CLOSED, and the first 1000 that are.
    #[arg(long)]
    all: bool,
}

pub(super) async fn run(
    args: &LsArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let wanted = |state: &State| args.state.is_empty() || args.state.contains(state);
    let troubled: Vec<_> = NOT_CLOSED.into_iter().filter(wanted).collect();
    let mut list = List { args, shown: BTreeSet::new(), services: 0, table: table() };
    let mut more = false;
    let overridden = service::overridden(args.service.as_deref(), connection).await?;
    for config in overridden.iter().filter(|config| wanted(&service::state(config))) {
        let Some(set) = &config.r#override else { continue };
        list.services += 1;
        if screen.is_json() {
            // Each line of the answer is a breaker.
            screen.note(&format!("service-wide override of {}: {}", config.service, service::summary(set)));
        } else {
            list.table.row(service::row(config, set, clock.wall()));
        }
    }
    if !troubled.is_empty() {
        let max = if args.all { usize::MAX } else { TROUBLED_MAX };
        more |= list.part(&troubled, max, connection, clock, screen).await?;
    }
    if wanted(&State::Closed) {
        let max = if args.all { usize::MAX } else { 1_000 };
        more |= list.part(&[State::Closed], max, connection, clock, screen).await?;
    }
    if !list.table.is_empty() {
        list.table.write(screen)?;
    }
    if list.shown.is_empty() && list.services == 0 {
        return args.nothing(connection, screen).await;
    }
    if more {
        screen.note("more breakers exist: list them with --all");
    }
    Ok(Completion::Done)
}

impl LsArgs {
    /// Explains an empty list: there are no such breakers, or none in the requested states.
    async fn nothing(&self, connection: &Connection, screen: &mut Screen<'_>) -> Result<Completion, Failure> {
        let request = ListBreakersRequest {
            page_size: 1,
            service: self.service.clone().unwrap_or_default(),
            name_prefix: self.name_prefix.clone().unwrap_or_default(),
            ..ListBreakersRequest::default()
        };
        let mut operations = connection.operations();
        let any = connection.call(request, async |request| operations.list_breakers(request).await).await?;
        let states: Vec<_> = self.state.iter().map(|state| words::state((*state).into())).collect();
        if any.breakers.is_empty() && self.service.is_none() && self.name_prefix.is_none() {
            screen.note("no breakers yet: breakers are created on first use");
            return Ok(Completion::Done);
        }
        let of =
            self.service.as_ref().map(|service| format!(" of the service {service}")).unwrap_or_default();
        let named = self
            .name_prefix
            .as_ref()
            .map(|prefix| format!(" whose name starts with {prefix}"))
            .unwrap_or_default();
        if !any.breakers.is_empty() {
            screen.note(&format!("no breaker{of}{named} is {}", states.join(" or ")));
            return Ok(Completion::Done);
        }
        let near = match (&self.service, &self.name_prefix) {
            (Some(service), None) => nearest(service, connection).await,
            _ => None,
        };
        let near = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        screen
            .note(&format!("breakerd: no breaker{of}{named} found: breakers are created on first use{near}"));
        Ok(Completion::NotFound)
    }
}

/// The service that was probably meant.
async fn nearest(service: &str, connection: &Connection) -> Option<String> {
    let mut operations = connection.operations();
    let request = GetBreakerRequest { service: service.to_owned(), name: String::new() };
    let response = connection.call(request, async |request| operations.get_breaker(request).await).await;
    let near = response.err()?.nearest()?;
    // It may be another breaker of that service.
    Some(near.split_once('/').map_or(&*near, |(service, _)| service).to_owned())
}

struct List<'a> {
    args: &'a LsArgs,
    /// The breakers that are listed already: one that changed its state between two requests is in both responses.
    shown: BTreeSet<(String, String)>,
    /// Services with an override.
    services: usize,
    table: Table,
}

impl List<'_> {
    /// Adds the breakers in one of `states`, `max` of them or somewhat more; whether there are further ones.
    async fn part(
        &mut self,
        states: &[State],
        max: usize,
        connection: &Connection,
        clock: &impl Clock,
        screen: &mut Screen<'_>,
    ) -> Result<bool, Failure> {
        let mut page_token = String::new();
        let mut listed = 0;
        loop {
            let request = ListBreakersRequest {
                page_size: PAGE,
                page_token,
                service: self.args.service.clone().unwrap_or_default(),
                name_prefix: self.args.name_prefix.clone().unwrap_or_default(),
                states: states.iter().map(|state| (*state).into()).collect(),
            };
            let mut operations = connection.operations();
            let page =
                connection.call(request, async |request| operations.list_breakers(request).await).await?;
            listed += page.breakers.len();
            for breaker in &page.breakers {
                self.show(breaker, clock.wall(), screen)?;
            }
            page_token = page.next_page_token;
            if page_token.is_empty() || listed >= max {
                return Ok(!page_token.is_empty());
            }
        }
    }

    fn show(&mut self, breaker: &Breaker, now: Time, screen: &mut Screen<'_>) -> io::Result<()> {
        if !self.shown.insert((breaker.service.clone(), breaker.name.clone())) {
            return Ok(());
        }
        if !screen.line("Breaker", breaker)? {
            self.table.row(row(breaker, now));
        }
        Ok(())
    }
}

pub(super) fn table() -> Table {
    Table::new(&[
        ("SERVICE", Narrow::Cut(16)),
        ("NAME", Narrow::Cut(20)),
        ("STATE", Narrow::Keep),
        ("FOR", Narrow::Drop(2)),
        // Of a breaker that is open there are none, and WHY says those that opened it.
        ("FAILURES", Narrow::Drop(1)),
        ("RATE", Narrow::Drop(0)),
        ("RETRY-IN", Narrow::Keep),
        ("WHY", Narrow::Below),
    ])
}

pub(super) fn row(breaker: &Breaker, now: Time) -> Vec<Cell> {
    vec![
        Cell::from(&*breaker.service),
        Cell::from(&*breaker.name),
        Cell::styled(words::state(breaker.state), style_of(breaker.state)),
        Cell::from(since(breaker).map_or_else(none, |since| times::age(&since, now))),
        Cell::from(failures(breaker)),
        Cell::from(why::percent(breaker.window.and_then(|window| window.failure_rate))),
        Cell::from(retry_in(breaker, now).unwrap_or_else(none)),
        Cell::from(why::of_breaker(breaker)),
    ]
}

/// When a call is allowed again, as far as that is known: the rest of the open-state wait, or of an override that rejects every call.
fn retry_in(breaker: &Breaker, now: Time) -> Option<String> {
    if let Some(rest) = &breaker.remaining_wait {
        return Some(times::wire_span(rest));
    }
    let expires_at = breaker.r#override.as_ref()?.expires_at.as_ref()?;
    (breaker.state() == State::ForcedOpen).then(|| times::until(expires_at, now))
}

fn none() -> String {
    "-".to_owned()
}

/// Since when it is in its state; none: it never left its first one, or that is not known any more.
pub(super) fn since(breaker: &Breaker) -> Option<prost_types::Timestamp> {
    // One that was created under its service's override has been in it since its creation, at the latest since the last start of
    // breakerd: that says nothing.
    let by_hand = breaker.r#override.as_ref().filter(|set| !(set.service_wide && breaker.epoch == 0));
    let by_hand = by_hand.and_then(|set| set.set_at);
    let made = breaker.last_transition.as_ref().and_then(|transition| transition.occurred_at);
    by_hand.or(breaker.opened_at).or(made)
}

/// Failures among the calls that decide: the window's, or the probes'.
fn failures(breaker: &Breaker) -> String {
    match (breaker.window, breaker.half_open) {
        (Some(window), _) => format!("{}/{}", window.failures, window.calls),
        (None, Some(probes)) => format!("{}/{}", probes.failed, probes.completed),
        (None, None) => none(),
    }
}
