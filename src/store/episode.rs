//! Outages, kept as they happen, so that nobody has to go through all of the history. Pure.
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

use std::time::Duration;

use breaker::{Reason, Snapshot, State, Time, Transition};
use serde::{Deserialize, Serialize};

use super::columns::printable;
use super::open_time::is_open;

/// An outage as far as it has come. It stands in `breaker.episode` as JSON, which the view `episodes` reads; numbers that
/// are 0 are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Episode {
    /// The epoch that it began with.
    pub(super) epoch: u64,
    pub(super) opened_at_us: u64,
    /// When it was first HALF_OPEN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) half_open_at_us: Option<u64>,
    /// How long the states of it that were left had lasted.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) lasted_us: u64,
    /// Why it opened.
    pub(super) reason: String,
    /// Who opened it by hand, and why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) actor: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) why: Option<String>,
    /// What was counted when it opened.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) calls: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) failures: u32,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) slow_calls: u32,
    /// Of the outcome that opened it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) error_class: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) caller: Option<String>,
    /// How often its probes opened it again.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) reopened: u64,
    /// Probes that completed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) probes: u64,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) rejected_calls: u64,
    /// Rows of the history that are missing within.
    #[serde(default, skip_serializing_if = "is_zero")]
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

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// Whether calls are kept from passing as usual.
fn rejects(state: State) -> bool {
    matches!(state, State::Open | State::HalfOpen | State::ForcedOpen)
}

/// How long the state had lasted that a transition left: by its own word, else by the times of the history.
pub(super) fn lasted(transition: &Transition, current: &Snapshot, at: Time) -> Option<Duration> {
    transition.lasted.or_else(|| by_history(transition, current, at))
}

/// How long it had lasted by the times of the history.
pub(super) fn by_history(transition: &Transition, current: &Snapshot, at: Time) -> Option<Duration> {
    let follows = current.epoch == transition.base_epoch && current.epoch > 0;
    follows.then(|| at.since(current.entered_at))
}

/// A transition that took the row: what becomes of the outage that stands there, and which one it ended.
///
/// `from`, `epoch` and `at` are what is written of it; where the store numbers, they are the store's.
pub(super) fn follow(
    current: Option<Episode>,
    transition: &Transition,
    (from, epoch, at): (State, u64, Time),
    lasted: Option<Duration>,
) -> (Option<Episode>, Option<EndedEpisode>) {
    let to = transition.after.state;
    if !rejects(from) {
        let ended = current.map(EndedEpisode::unseen);
        return (is_open(to).then(|| Episode::opened(transition, epoch, at)), ended);
    }
    let Some(mut episode) = current else { return (None, None) };
    episode.lasted_us =
        episode.lasted_us.saturating_add(lasted.map_or(0, micros)).min(i64::MAX.unsigned_abs());
    episode.rejected_calls = episode.rejected_calls.saturating_add(transition.rejected_calls);
    if from == State::HalfOpen {
        episode.probes += u64::from(transition.stats.calls);
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
    current: Option<Episode>,
    missing: u64,
    after: Option<&Snapshot>,
) -> (Option<Episode>, Option<EndedEpisode>) {
    match (current, after) {
        (Some(episode), Some(after)) if !rejects(after.state) => {
            let missing = episode.missing + missing;
            (None, Some(EndedEpisode::unseen(Episode { missing, ..episode })))
        }
        (Some(episode), _) => (Some(Episode { missing: episode.missing + missing, ..episode }), None),
        (None, Some(after)) if rejects(after.state) => (Some(Episode::unseen(after, missing)), None),
        (None, _) => (None, None),
    }
}

impl Episode {
    fn opened(transition: &Transition, epoch: u64, at: Time) -> Self {
        let text = |text: &str| (!text.is_empty()).then(|| printable(text).into_owned());
        let (attribution, outcome) = (transition.attribution.as_ref(), transition.outcome.as_ref());
        Self {
            epoch,
            opened_at_us: at.as_micros(),
            half_open_at_us: None,
            lasted_us: 0,
            reason: transition.reason.as_str().to_owned(),
            actor: attribution.map(|attribution| printable(&attribution.actor).into_owned()),
            why: attribution.map(|attribution| printable(&attribution.reason).into_owned()),
            calls: transition.stats.calls,
            failures: transition.stats.failures,
            slow_calls: transition.stats.slow_calls,
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
    use breaker::{Attribution, CausingOutcome, Override, OverrideKind, Scope, Stats};

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);
    const HOUR_US: u64 = 3_600_000_000;

    fn at(day: u64, hours: u64) -> Time {
        Time::from_micros(day * 24 * HOUR_US + hours * HOUR_US)
    }

    fn snapshot(state: State, epoch: u64) -> Snapshot {
        Snapshot { epoch, state, entered_at: at(10, 1), ..Snapshot::pristine() }
    }

    /// One that leaves `epoch`, with four probes or calls counted, of which three failed and two were slow.
    fn transition(from: State, to: State, epoch: u64) -> Transition {
        Transition {
            from,
            reason: Reason::ConsecutiveFailures,
            stats: Stats { calls: 4, failures: 3, slow_calls: 2, ..Stats::default() },
            base_epoch: epoch,
            at: at(10, 2),
            lasted: None,
            rejected_calls: 5,
            outcome: None,
            attribution: None,
            after: snapshot(to, epoch + 1),
            shadow: false,
        }
    }

    /// What the transitions of one breaker come to, an hour in each state: what stands, and what ended.
    fn follow_all(states: &[State]) -> (Option<Episode>, Vec<EndedEpisode>) {
        let (mut current, mut ended) = (None, Vec::new());
        for (epoch, states) in (1..).zip(states.windows(2)) {
            let transition = transition(states[0], states[1], epoch - 1);
            let written = (states[0], epoch, at(10, epoch));
            let (next, over) = follow(current, &transition, written, Some(HOUR));
            current = next;
            ended.extend(over);
        }
        (current, ended)
    }

    #[test]
    fn an_outage_lasts_from_the_opening_until_calls_pass_again() {
        use State::{Closed, HalfOpen, Open};
        let states = [Closed, Open, HalfOpen, Open, HalfOpen, Closed];
        let (current, ended) = follow_all(&states);
        assert_eq!(current, None);
        let episode = Episode {
            epoch: 1,
            opened_at_us: at(10, 1).as_micros(),
            half_open_at_us: Some(at(10, 2).as_micros()),
            lasted_us: 4 * HOUR_US,
            reason: "CONSECUTIVE_FAILURES".to_owned(),
            actor: None,
            why: None,
            calls: 4,
            failures: 3,
            slow_calls: 2,
            error_class: None,
            caller: None,
            reopened: 1,
            probes: 8,
            rejected_calls: 20,
            missing: 0,
        };
        let ended_by = Reason::ConsecutiveFailures;
        assert_eq!(ended, [EndedEpisode { episode, ended_by, closed_at: Some(at(10, 5)) }]);
        // A half-open that is entered again after a restart opened nothing.
        let (current, _) = follow_all(&[Closed, Open, HalfOpen, HalfOpen]);
        assert_eq!(current.map(|episode| (episode.reopened, episode.probes)), Some((0, 4)));
    }

    #[test]
    fn only_a_state_that_rejects_calls_begins_an_outage() {
        use State::{Closed, Disabled, ForcedOpen, HalfOpen, MetricsOnly, Open};
        let lasts = |states: &[State]| follow_all(states).0.is_some();
        for from in [Closed, Disabled, MetricsOnly] {
            assert!(lasts(&[from, Open]) && lasts(&[from, ForcedOpen]));
            for to in [Closed, Disabled, MetricsOnly] {
                assert!(!lasts(&[from, to]), "{from} to {to}");
                assert!(!lasts(&[from, Open, to]), "over with {to}");
            }
            assert!(lasts(&[from, Open, ForcedOpen, HalfOpen]));
        }
        // The one that the state which is left belongs to is not known: none is made up.
        assert_eq!(follow_all(&[Open, HalfOpen]), (None, Vec::new()));
    }

    #[test]
    fn an_outage_whose_end_is_not_in_the_history_ends_there_and_another_begins() {
        let opened = follow_all(&[State::Closed, State::Open]).0.unwrap();
        let unseen = EndedEpisode { episode: opened.clone(), ended_by: Reason::HistoryGap, closed_at: None };
        let again = |to| {
            let transition = transition(State::Closed, to, 7);
            follow(Some(opened.clone()), &transition, (State::Closed, 8, at(10, 9)), Some(HOUR))
        };
        let (current, ended) = again(State::Open);
        assert_eq!((current.unwrap().epoch, ended), (8, Some(unseen.clone())));
        assert_eq!(again(State::Disabled), (None, Some(unseen)));
    }

    #[test]
    fn an_outage_keeps_who_and_what_opened_it() {
        let mut tripped = transition(State::Closed, State::Open, 0);
        tripped.outcome = Some(CausingOutcome { error_class: "Time\0out".to_owned(), caller: String::new() });
        let episode = Episode::opened(&tripped, 1, at(10, 1));
        assert_eq!(episode.error_class.as_deref(), Some("Time\u{fffd}out"), "as every store can keep it");
        assert_eq!((episode.caller, episode.actor, episode.why), (None, None, None));
        let mut forced = transition(State::Closed, State::ForcedOpen, 0);
        forced.attribution = Some(Attribution { actor: "ann".to_owned(), reason: "a drill".to_owned() });
        let episode = Episode::opened(&forced, 1, at(10, 1));
        assert_eq!((episode.actor.as_deref(), episode.why.as_deref()), (Some("ann"), Some("a drill")));
        assert_eq!(episode.error_class, None);
    }

    #[test]
    fn a_state_that_says_how_long_it_lasted_is_believed() {
        let current = snapshot(State::Open, 4);
        let said = Transition { lasted: Some(HOUR * 3), ..transition(State::Open, State::HalfOpen, 9) };
        assert_eq!(lasted(&said, &current, at(10, 2)), Some(HOUR * 3));
        // Else by the times of the history, if nothing is missing between them.
        let unsaid = |epoch| transition(State::Open, State::HalfOpen, epoch);
        assert_eq!(lasted(&unsaid(4), &current, at(10, 2)), Some(HOUR));
        assert_eq!(lasted(&unsaid(5), &current, at(10, 2)), None);
        let created = snapshot(State::Closed, 0);
        assert_eq!(lasted(&unsaid(0), &created, at(10, 2)), None, "when it was created is not known");
    }

    #[test]
    fn a_gap_belongs_to_the_outage_that_stands_or_begins_or_ends_in_it() {
        let opened = follow_all(&[State::Closed, State::Open]).0.unwrap();
        let with = |missing| Episode { missing, ..opened.clone() };
        // It goes on, whatever is missing of it.
        assert_eq!(follow_gap(Some(with(2)), 3, None), (Some(with(5)), None));
        let half_open = snapshot(State::HalfOpen, 6);
        assert_eq!(follow_gap(Some(with(2)), 3, Some(&half_open)), (Some(with(5)), None));
        let ended = EndedEpisode { episode: with(5), ended_by: Reason::HistoryGap, closed_at: None };
        let closed = snapshot(State::Closed, 6);
        assert_eq!(follow_gap(Some(with(2)), 3, Some(&closed)), (None, Some(ended)));
        // There is none, and none begins.
        assert_eq!(follow_gap(None, 3, None), (None, None));
        assert_eq!(follow_gap(None, 3, Some(&closed)), (None, None));
    }

    #[test]
    fn an_outage_that_begins_in_a_gap_is_known_from_the_state_behind_it() {
        let begins = |after: &Snapshot| follow_gap(None, 3, Some(after)).0.unwrap();
        let half_open = begins(&snapshot(State::HalfOpen, 6));
        let since = at(10, 1).as_micros();
        assert_eq!((half_open.epoch, half_open.opened_at_us, half_open.missing), (6, since, 3));
        assert_eq!((half_open.half_open_at_us, &*half_open.reason), (Some(since), "HISTORY_GAP"));
        let set_by = Override {
            kind: OverrideKind::ForcedOpen,
            scope: Scope::Breaker,
            expires_at: None,
            ttl: None,
            actor: "ann".to_owned(),
            reason: "a drill".to_owned(),
        };
        let forced = begins(&Snapshot { set_by: Some(set_by), ..snapshot(State::ForcedOpen, 6) });
        assert_eq!((forced.actor.as_deref(), forced.why.as_deref()), (Some("ann"), Some("a drill")));
        assert_eq!(forced.half_open_at_us, None);
    }

    #[test]
    fn an_outage_is_kept_without_what_is_zero_and_comes_back_as_it_was() {
        let opened = follow_all(&[State::Closed, State::Open]).0.unwrap();
        let kept = serde_json::to_string(&opened).unwrap();
        assert_eq!(
            kept,
            format!(
                r#"{{"epoch":1,"opened_at_us":{},"reason":"CONSECUTIVE_FAILURES","calls":4,"failures":3,"slow_calls":2}}"#,
                at(10, 1).as_micros()
            )
        );
        assert_eq!(serde_json::from_str::<Episode>(&kept).unwrap(), opened);
    }
}
