//! `history`: what happened to breakers.

use breakerd_api::v1::{
    ChangeKind, ConfigChange, GetBreakerRequest, ListConfigChangesRequest, ListTransitionsRequest, State,
    Transition, TransitionOrder,
};
use clap::Args;

use super::connect::Connection;
use super::error::{Completion, Failure};
use super::pages::{self, List};
use super::screen::{Screen, style_of};
use super::table::{Cell, Narrow, Table};
use super::times::Moment;
use super::words::Target;
use super::{service, times, why, words};
use breakerd_common::clock::Clock;

pub(super) const EXAMPLES: &str = "Examples:
  breakerd history
      the newest 50 transitions
  breakerd history database --since 2h
      the default breaker of a service in the last two hours
  breakerd history notifications --service-wide --since 2026-11-24 \\
      --oldest-first --limit 1000 --json
      one day of a service, as JSON";

pub(super) const LIST: List<Transition> = List {
    message: "Transition",
    columns: &[
        ("TIME", Narrow::Keep),
        ("BREAKER", Narrow::Cut(32)),
        // It is the TO of the line before.
        ("FROM", Narrow::Drop(0)),
        ("TO", Narrow::Keep),
        ("WHY", Narrow::Below),
    ],
    row,
    nothing: "no transitions found",
};

/// The most service-wide overrides that are read, for a long range of time.
const SERVICE_OVERRIDES_MAX: u32 = 10_000;

/// Who ends an override of a service whose time is over, and the reason that the audit has.
const EXPIRED: (&str, &str) = ("breakerd", "expired");

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME. Default: all.
    #[arg(value_name = "BREAKER")]
    breaker: Option<Target>,
    /// All breakers of the service.
    #[arg(long, requires = "breaker")]
    service_wide: bool,
    /// Start: a time in UTC (2026-11-24 09:30:00) or an age (2h).
    #[arg(long, value_name = "WHEN", value_parser = times::moment)]
    since: Option<Moment>,
    /// End (exclusive): a time in UTC or an age.
    #[arg(long, value_name = "WHEN", value_parser = times::moment)]
    until: Option<Moment>,
    /// Only transitions to these states: closed, open, half-open, forced-open, disabled, metrics-only.
    #[arg(long, value_name = "STATES", value_delimiter = ',', value_parser = words::state_by_name)]
    state: Vec<State>,
    /// Maximum number of entries.
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// List the oldest first.
    #[arg(long)]
    oldest_first: bool,
}

impl HistoryArgs {
    fn request(&self, clock: &impl Clock) -> Result<ListTransitionsRequest, Failure> {
        let (service, name) = match &self.breaker {
            None => (String::new(), String::new()),
            Some(target) if self.service_wide => {
                if !target.name.is_empty() {
                    return Err(Failure::Usage(super::override_::SERVICE_WIDE_WITH_NAME.to_owned()));
                }
                (target.service.clone(), String::new())
            }
            // Here the API takes an empty name for all of the service.
            Some(Target { service, name }) if name.is_empty() => (service.clone(), service.clone()),
            Some(Target { service, name }) => (service.clone(), name.clone()),
        };
        let now = clock.wall();
        let order =
            if self.oldest_first { TransitionOrder::OldestFirst } else { TransitionOrder::NewestFirst };
        Ok(ListTransitionsRequest {
            service,
            name,
            states: self.state.iter().map(|state| (*state).into()).collect(),
            from_time: self.since.map(|since| since.stamp(now)),
            to_time: self.until.map(|until| until.stamp(now)),
            order: order.into(),
            ..ListTransitionsRequest::default()
        })
    }
}

pub(super) async fn run(
    args: &HistoryArgs,
    connection: &Connection,
    clock: &impl Clock,
    screen: &mut Screen<'_>,
) -> Result<Completion, Failure> {
    let mut request = args.request(clock)?;
    let window = request.clone();
    let fetch_page = async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let mut operations = connection.operations();
        let page = connection
            .call(request.clone(), async |request| operations.list_transitions(request).await)
            .await?;
        Ok((page.transitions, page.next_page_token))
    };
    if screen.is_json() {
        // Each line of the answer is a transition: `config log` has the overrides of services.
        let mut is_empty = true;
        let mut fetch_page = fetch_page;
        let ended = LIST
            .show(args.limit, screen, async |size, token| {
                let page: (Vec<Transition>, String) = fetch_page(size, token).await?;
                is_empty &= page.0.is_empty();
                Ok(page)
            })
            .await?;
        if is_empty {
            args.check_exists(connection).await?;
        }
        return Ok(ended);
    }
    let (transitions, mut more) = pages::fetch(args.limit, fetch_page).await?;
    let (changes, more_changes) =
        service_overrides(&window, &transitions, more, args.limit, connection).await?;
    more |= more_changes;
    if transitions.is_empty() && changes.is_empty() {
        args.check_exists(connection).await?;
        screen.note(LIST.nothing);
        return Ok(Completion::Done);
    }
    let mut rows = merged(&transitions, &changes, args.oldest_first);
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    more |= rows.len() > limit;
    rows.truncate(limit);
    let mut table = Table::new(LIST.columns);
    for row in rows {
        table.row(row);
    }
    table.write(screen)?;
    if more {
        pages::note_more(screen);
    }
    Ok(Completion::Done)
}

impl HistoryArgs {
    /// No history, and an unknown breaker or service, are reported differently.
    async fn check_exists(&self, connection: &Connection) -> Result<(), Failure> {
        let Some(Target { service, name }) = &self.breaker else { return Ok(()) };
        if self.service_wide {
            return service::check_exists(service, connection).await;
        }
        let request = GetBreakerRequest { service: service.clone(), name: name.clone() };
        let mut operations = connection.operations();
        connection.call(request, async |request| operations.get_breaker(request).await).await.map(drop)
    }
}

/// Up to as many overrides of services as may be needed, and whether there are more: those that were set, cleared or ended in the time that is listed, in the order of the list. Where no
/// breaker of the service was in use they have made no transition, and applied all the same.
async fn service_overrides(
    window: &ListTransitionsRequest,
    transitions: &[Transition],
    more: bool,
    limit: u32,
    connection: &Connection,
) -> Result<(Vec<ConfigChange>, bool), Failure> {
    let is_oldest_first = window.order() == TransitionOrder::OldestFirst;
    // The list ends where its last transition is, if there are more.
    let end = transitions.last().filter(|_| more).and_then(|last| last.occurred_at);
    let mut request = ListConfigChangesRequest {
        service: window.service.clone(),
        kinds: vec![ChangeKind::ServiceOverride.into()],
        from_time: end.filter(|_| !is_oldest_first).or(window.from_time),
        to_time: end.filter(|_| is_oldest_first).or(window.to_time),
        ..ListConfigChangesRequest::default()
    };
    if let (Some(from), Some(to)) = (&request.from_time, &request.to_time)
        && (from.seconds, from.nanos) >= (to.seconds, to.nanos)
    {
        return Ok((Vec::new(), false));
    }
    // They come newest first and of every state: of those that are to be listed oldest first, or of some states, all are needed.
    let needs_all = is_oldest_first || !window.states.is_empty();
    let limit = if needs_all { limit.max(SERVICE_OVERRIDES_MAX) } else { limit };
    let (mut changes, more) = pages::fetch(limit, async |page_size, page_token| {
        (request.page_size, request.page_token) = (page_size, page_token);
        let mut configs = connection.configs();
        let page = connection
            .call(request.clone(), async |request| configs.list_config_changes(request).await)
            .await?;
        Ok((page.changes, page.next_page_token))
    })
    .await?;
    changes.retain(|change| {
        window.states.is_empty() || state_in(&change.after_json).is_some_and(|to| window.states.contains(&to))
    });
    if is_oldest_first {
        changes.reverse();
    }
    Ok((changes, more))
}

/// Both lists as one, each in its own order.
fn merged(transitions: &[Transition], changes: &[ConfigChange], is_oldest_first: bool) -> Vec<Vec<Cell>> {
    let instant = |at: &Option<prost_types::Timestamp>| at.map(|at| (at.seconds, at.nanos));
    let mut changes = changes.iter().peekable();
    let mut rows = Vec::new();
    for transition in transitions {
        let at = instant(&transition.occurred_at);
        let is_before = |change: &&ConfigChange| {
            let changed_at = instant(&change.changed_at);
            if is_oldest_first { changed_at <= at } else { changed_at > at }
        };
        while let Some(change) = changes.next_if(is_before) {
            rows.push(service_row(change));
        }
        rows.push(row(transition));
    }
    rows.extend(changes.map(service_row));
    rows
}

/// The state in what the audit has of an override of a service; none: no override.
fn state_in(json: &str) -> Option<i32> {
    let state = serde_json::from_str::<serde_json::Value>(json).ok()?.get("state")?.as_str()?.to_owned();
    State::from_str_name(&format!("STATE_{state}")).map(i32::from)
}

/// An override of a service that was set or ended.
fn service_row(change: &ConfigChange) -> Vec<Cell> {
    let (from, to) = (state_in(&change.before_json), state_in(&change.after_json));
    let shown = |state: Option<i32>| {
        state.map_or_else(|| Cell::from("-"), |state| Cell::styled(words::state(state), style_of(state)))
    };
    let is_expired = to.is_none() && (&*change.actor, &*change.reason) == EXPIRED;
    let why = match to {
        Some(_) => why::with_actor("service-wide override set".to_owned(), &change.actor, &change.reason),
        None if is_expired => "service-wide override expired".to_owned(),
        None => why::with_actor("service-wide override cleared".to_owned(), &change.actor, &change.reason),
    };
    vec![
        Cell::time(change.changed_at.as_ref().map_or_else(|| "?".to_owned(), times::fine_clock)),
        Cell::from(format!("{} {}", change.service, service::ALL)),
        shown(from),
        shown(to),
        Cell::from(why),
    ]
}

/// Time, breaker, from, to, why: here and in a watch.
pub(super) fn row(transition: &Transition) -> Vec<Cell> {
    let time = transition.occurred_at.as_ref().map_or_else(|| "?".to_owned(), times::fine_clock);
    let state = |state| {
        if state == i32::from(State::Unspecified) {
            return Cell::from("?");
        }
        Cell::styled(words::state(state), style_of(state))
    };
    vec![
        Cell::time(time),
        Cell::from(words::breaker_name(&transition.service, &transition.name)),
        state(transition.from_state),
        state(transition.to_state),
        Cell::from(why::of_transition(transition)),
    ]
}
