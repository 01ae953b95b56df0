//! `history`: what happened to breakers.

use clap::Args;

use super::connect::Connection;
use super::error::{Ended, Failure};
use super::pages::List;
use super::screen::{Screen, style_of};
use super::table::{Cell, Narrow};
use super::times::Moment;
use super::words::Target;
use super::{times, why, words};
use crate::clock::Clock;
use crate::proto::v1::{GetBreakerRequest, ListTransitionsRequest, State, Transition, TransitionOrder};

pub(super) const EXAMPLES: &str = "Examples:
  breakerd history
      the newest 50 transitions
  breakerd history database --since 2h
      the default breaker of a service in the last two hours
  breakerd history notifications --whole-service --since 2026-11-24 \\
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

#[derive(Debug, Args)]
pub struct HistoryArgs {
    /// Breaker: SERVICE for the default breaker of the service, or SERVICE/NAME. Default: all.
    #[arg(value_name = "BREAKER")]
    breaker: Option<Target>,
    /// All breakers of the service.
    #[arg(long, requires = "breaker")]
    whole_service: bool,
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
    fn question(&self, clock: &impl Clock) -> Result<ListTransitionsRequest, Failure> {
        let (service, name) = match &self.breaker {
            None => (String::new(), String::new()),
            Some(target) if self.whole_service => {
                if !target.name.is_empty() {
                    return Err(Failure::Usage(super::override_::WHOLE_AND_NAME.to_owned()));
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
) -> Result<Ended, Failure> {
    let mut question = args.question(clock)?;
    LIST.show(args.limit, screen, async |page_size, page_token| {
        (question.page_size, question.page_token) = (page_size, page_token);
        let mut operations = connection.operations();
        let page =
            connection.ask(question.clone(), async |ask| operations.list_transitions(ask).await).await?;
        // No history, and no such breaker, are two answers.
        if let Some(Target { service, name }) = &args.breaker
            && !args.whole_service
            && question.page_token.is_empty()
            && page.transitions.is_empty()
        {
            let question = GetBreakerRequest { service: service.clone(), name: name.clone() };
            connection.ask(question, async |ask| operations.get_breaker(ask).await).await?;
        }
        Ok((page.transitions, page.next_page_token))
    })
    .await
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
