//! What of the history is kept as it happens, so that nobody has to go through all of it: outages, and the time in
//! OPEN by day. Pure.
//!
//! An *episode* is an outage: it begins when a breaker leaves CLOSED, DISABLED or `METRICS_ONLY` for OPEN or `FORCED_OPEN`, and
//! ends when it comes back to one of them. While it lasts it stands in the breaker's row; once it has ended it is a row of
//! `episode`, written with the transition that ended it.
//!
//! * Durations are sums of how long each state lasted by the machine's clock. Two times of the history say nothing
//!   about a duration: the wall clock may have been set in between.
//! * Rows of the history can be missing. Where the end may be among them (the next row leaves a state that lets calls
//!   through, which the last one never reached, or the gap says so) the episode ends with `HISTORY_GAP`, and how long it
//!   was is not known. Where the opening is, the episode begins with what the gap says, for the same reason.
//! * A state in OPEN or `FORCED_OPEN` counts for the days it lasted on, and as one opening of its first day, once it
//!   was left; the present one is in the breaker's row.

use std::time::Duration;

use breaker::{Reason, Snapshot, State, Time, Transition};
use serde::{Deserialize, Serialize};

use super::columns::printable;

/// Days that one state can be spread over. A state that lasted longer (a FORCED_OPEN that nobody cleared, a clock that was
/// years behind) counts on its newest days only; no history is kept for longer by default.
const DAYS_MAX: u64 = 400;
const DAY_US: u64 = 86_400_000_000;

/// An outage as far as it has come. It stands in `breaker.episode` as JSON, which the view `episodes` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// The epoch that it began with.
    pub(super) epoch: u64,
    pub(super) opened_at_us: u64,
    /// When it was first HALF_OPEN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) half_open_at_us: Option<u64>,
    /// How long the states of it that were left had lasted.
    pub(super) lasted_us: u64,
    /// Why it opened.
    pub(super) reason: String,
    /// Who opened it by hand, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// What was counted when it opened.
    pub(super) calls: u32,
    pub(super) failures: u32,
    pub(super) slow_calls: u32,
    /// Of the outcome that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<String>,
    /// How often its probes opened it again.
    pub(super) reopened: u64,
    /// Probes that completed.
    pub(super) probes: u64,
    pub(super) rejected_calls: u64,
    /// Rows of the history that are missing within.
    pub(super) missing: u64,
}

/// An outage that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct EndedEpisode {
    pub(super) episode: Episode,
    /// Why it ended.
    pub(super) ended_by: Reason,
    /// When it ended; none: among rows that are missing.
    pub(super) closed_at: Option<Time>,
}

/// A part of a day in OPEN or `FORCED_OPEN`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OpenTime {
    /// Days since the Unix epoch, in UTC.
    pub(super) day: u64,
    pub(super) open_us: u64,
    /// Whether it was entered on this day.
    pub(super) openings: u64,
}

/// Whether calls are kept from passing as usual.
fn rejects(state: State) -> bool {
    matches!(state, State::Open | State::HalfOpen | State::ForcedOpen)
}

fn is_open(state: State) -> bool {
    matches!(state, State::Open | State::ForcedOpen)
}

/// How long the state had lasted that a transition left: by its own word, else by the times of the history.
pub(super) fn lasted(transition: &Transition, standing: &Snapshot, at: Time) -> Option<Duration> {
    let follows = standing.epoch == transition.base_epoch && standing.epoch > 0;
    transition.lasted.or_else(|| follows.then(|| at.since(standing.entered_at)))
}

/// A transition that took the row: what becomes of the outage that stands there, and which one it ended.
///
/// `from`, `epoch` and `at` are what is written of it; where the store numbers, they are the store's.
pub(super) fn follow(
    standing: Option<Episode>,
    transition: &Transition,
    (from, epoch, at): (State, u64, Time),
    lasted: Option<Duration>,
) -> (Option<Episode>, Option<EndedEpisode>) {
    let to = transition.after.state;
    if !rejects(from) {
        let ended = standing.map(EndedEpisode::unseen);
        return (is_open(to).then(|| Episode::opened(transition, epoch, at)), ended);
    }
    let Some(mut episode) = standing else { return (None, None) };
    episode.lasted_us =
        episode.lasted_us.saturating_add(lasted.map_or(0, micros)).min(i64::MAX.unsigned_abs());
    episode.rejected_calls = episode.rejected_calls.saturating_add(transition.rejected_calls);
    if from == State::HalfOpen {
        episode.probes += u64::from(transition.figures.calls);
        episode.reopened += u64::from(to == State::Open);
    }
    if to == State::HalfOpen && episode.half_open_at_us.is_none() {
        episode.half_open_at_us = Some(at.as_micros());
    }
    if rejects(to) {
        return (Some(episode), None);
    }
    (None, Some(EndedEpisode { episode, ended_by: transition.reason, closed_at: Some(at) }))
}

/// A gap: `missing` rows are not there. `after` is the state that it leads to, when it takes the row.
pub(super) fn follow_gap(
    standing: Option<Episode>,
    missing: u64,
    after: Option<&Snapshot>,
) -> (Option<Episode>, Option<EndedEpisode>) {
    match (standing, after) {
        (Some(episode), Some(after)) if !rejects(after.state) => {
            let missing = episode.missing + missing;
            (None, Some(EndedEpisode::unseen(Episode { missing, ..episode })))
        }
        (Some(episode), _) => (Some(Episode { missing: episode.missing + missing, ..episode }), None),
        (None, Some(after)) if rejects(after.state) => (Some(Episode::unseen(after, missing)), None),
        (None, _) => (None, None),
    }
}

/// The parts of days that a state was OPEN or `FORCED_OPEN` on, which was left at `until` after it had lasted so long.
pub(super) fn open_time(state: State, until: Time, lasted: Duration) -> Vec<OpenTime> {
    // What is at the end of time, by a clock that is wrong, is on no day.
    let until = until.as_micros();
    if !is_open(state) || until >= 100_000 * DAY_US {
        return Vec::new();
    }
    let since = until.saturating_sub(micros(lasted));
    let (entered_on, last) = (since / DAY_US, until.saturating_sub(1).max(since) / DAY_US);
    let first = entered_on.max(last.saturating_sub(DAYS_MAX - 1));
    (first..=last)
        .map(|day| OpenTime {
            day,
            open_us: until.min((day + 1) * DAY_US) - since.max(day * DAY_US),
            openings: u64::from(day == entered_on),
        })
        .collect()
}

impl Episode {
    fn opened(transition: &Transition, epoch: u64, at: Time) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| printable(text).into_owned());
        let (asked, outcome) = (transition.asked.as_ref(), transition.outcome.as_ref());
        Self {
            epoch,
            opened_at_us: at.as_micros(),
            half_open_at_us: None,
            lasted_us: 0,
            reason: transition.reason.as_str().to_owned(),
            actor: asked.map(|asked| printable(&asked.actor).into_owned()),
            why: asked.map(|asked| printable(&asked.reason).into_owned()),
            calls: transition.figures.calls,
            failures: transition.figures.failures,
            slow_calls: transition.figures.slow_calls,
            error_class: outcome.and_then(|outcome| text(&outcome.error_class)),
            caller: outcome.and_then(|outcome| text(&outcome.caller)),
            reopened: 0,
            probes: 0,
            rejected_calls: 0,
            missing: 0,
        }
    }

    /// One whose opening is not in the history.
    fn unseen(after: &Snapshot, missing: u64) -> Self {
        let set_by = after.set_by.as_ref();
        Self {
            epoch: after.epoch,
            opened_at_us: after.entered_at.as_micros(),
            half_open_at_us: (after.state == State::HalfOpen).then(|| after.entered_at.as_micros()),
            lasted_us: 0,
            reason: Reason::HistoryGap.as_str().to_owned(),
            actor: set_by.map(|set_by| printable(&set_by.actor).into_owned()),
            why: set_by.map(|set_by| printable(&set_by.reason).into_owned()),
            calls: 0,
            failures: 0,
            slow_calls: 0,
            error_class: None,
            caller: None,
            reopened: 0,
            probes: 0,
            rejected_calls: 0,
            missing,
        }
    }
}

impl EndedEpisode {
    /// One whose end is not in the history.
    fn unseen(episode: Episode) -> Self {
        Self { episode, ended_by: Reason::HistoryGap, closed_at: None }
    }
}

/// Whole microseconds; never more than the databases' integers hold.
fn micros(duration: Duration) -> u64 {
    super::columns::micros(duration).unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(day: u64, hours: u64) -> Time {
        Time::from_micros(day * DAY_US + hours * 3_600_000_000)
    }

    #[test]
    fn a_state_counts_on_each_day_that_it_lasted_on() {
        let parts = open_time(State::Open, at(11, 2), HOUR * 28);
        let expected = [(9, 2, 1), (10, 24, 0), (11, 2, 0)];
        let expected =
            expected.map(|(day, hours, openings)| OpenTime { day, open_us: hours * 3_600_000_000, openings });
        assert_eq!(parts, expected);
        assert_eq!(open_time(State::HalfOpen, at(11, 2), HOUR), []);
    }

    #[test]
    fn a_state_that_ends_at_midnight_has_no_part_in_the_next_day() {
        let parts = open_time(State::ForcedOpen, at(11, 0), HOUR);
        assert_eq!(parts, [OpenTime { day: 10, open_us: 3_600_000_000, openings: 1 }]);
        // One that did not last was entered all the same.
        let parts = open_time(State::Open, at(11, 0), Duration::ZERO);
        assert_eq!(parts, [OpenTime { day: 11, open_us: 0, openings: 1 }]);
    }

    #[test]
    fn a_state_of_many_years_is_spread_over_a_bounded_number_of_days() {
        let parts = open_time(State::Open, at(20_000, 1), Duration::MAX);
        assert_eq!(parts.len() as u64, DAYS_MAX);
        assert_eq!(parts.last().map(|part| (part.day, part.openings)), Some((20_000, 0)));
        assert_eq!(open_time(State::Open, Time::MAX, HOUR), []);
    }
}
