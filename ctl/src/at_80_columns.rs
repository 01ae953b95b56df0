//! What tables show on a terminal of 80 columns, with names and reasons as long as people give them: names, states, who and
//! why, whole.

use breaker::Time;
use breakerd_api::v1::{
    Breaker, BreakerOverride, ChangeKind, ConfigChange, Counters, State, Transition, TransitionReason,
    WindowStats,
};
use unicode_width::UnicodeWidthStr as _;

use super::screen::{Color, Environment, Screen};
use super::table::Table;
use super::{config_show, history, ls, watch};

const SERVICE: &str = "notifications";
const NAME: &str = "pagerduty-eu-west";
const ACTOR: &str = "anonymous@127.0.0.1";
/// 60 characters.
const REASON: &str = "the provider moves its cluster to another region until noon.";

/// What `write` writes on a terminal of 80 columns: every line fits, but where the terminal has none.
fn at_80_columns(write: impl Fn(&mut Screen<'_>) -> std::io::Result<()>) -> Vec<String> {
    let drawn = |columns| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let environment = Environment { columns, ..Environment::default() };
        write(&mut Screen::new(&mut out, &mut err, &environment, Color::Never, false)).unwrap();
        String::from_utf8(out).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let wide = drawn(None);
    assert!(wide.iter().any(|line| line.width() > 80 && line.contains(REASON)), "{wide:#?}");
    let narrow = drawn(Some(80));
    for line in &narrow {
        assert!(line.width() <= 80, "{}: {line}", line.width());
        assert!(!line.contains('…'), "{narrow:#?}");
    }
    narrow
}

/// That all of `texts` are shown, perhaps across lines.
fn shows(lines: &[String], texts: &[&str]) {
    let shown = lines.iter().flat_map(|line| line.split_whitespace()).collect::<Vec<_>>().join(" ");
    for text in texts {
        assert!(shown.contains(text), "{text} is not in {lines:#?}");
    }
}

#[expect(clippy::unnecessary_wraps, reason = "the fields of messages take an Option")]
fn stamp(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 0 })
}

fn table(table: Table, rows: impl IntoIterator<Item = Vec<super::table::Cell>>) -> Table {
    rows.into_iter().fold(table, |mut table, row| {
        table.row(row);
        table
    })
}

#[test]
fn ls_shows_names_states_the_rest_and_the_reason() {
    let held = Breaker {
        service: SERVICE.into(),
        name: NAME.into(),
        state: State::ForcedOpen.into(),
        r#override: Some(BreakerOverride {
            state: State::ForcedOpen.into(),
            actor: ACTOR.into(),
            reason: REASON.into(),
            set_at: stamp(10_000),
            expires_at: stamp(13_600),
            service_wide: false,
        }),
        counters: Some(Counters::default()),
        ..Breaker::default()
    };
    let closed = Breaker {
        service: SERVICE.into(),
        name: "slack".into(),
        state: State::Closed.into(),
        window: Some(WindowStats {
            calls: 100,
            failures: 12,
            failure_rate: Some(12.0),
            ..WindowStats::default()
        }),
        ..Breaker::default()
    };
    let now = Time::from_micros(10_600 * 1_000_000);
    let lines = at_80_columns(|screen| {
        table(ls::table(), [&held, &closed].map(|breaker| ls::row(breaker, now))).write(screen)
    });
    shows(&lines, &[SERVICE, NAME, "FORCED_OPEN", "50m00s", ACTOR, REASON, "slack CLOSED"]);
}

#[test]
fn ls_stays_a_line_a_breaker_where_that_is_possible() {
    let open = Breaker {
        service: SERVICE.into(),
        name: NAME.into(),
        state: State::Open.into(),
        opened_at: stamp(10_000),
        remaining_wait: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        last_transition: Some(Transition {
            reason: TransitionReason::HalfOpenTimeout.into(),
            ..Transition::default()
        }),
        ..Breaker::default()
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let environment = Environment { columns: Some(80), ..Environment::default() };
    let mut screen = Screen::new(&mut out, &mut err, &environment, Color::Never, false);
    let now = Time::from_micros(10_600 * 1_000_000);
    table(ls::table(), [ls::row(&open, now)]).write(&mut screen).unwrap();
    assert_eq!(
        String::from_utf8(out).unwrap(),
        "SERVICE        NAME               STATE  RETRY-IN  WHY\n\
         notifications  pagerduty-eu-west  OPEN   1m00s     probes did not finish in time\n"
    );
}

fn transition() -> Transition {
    Transition {
        service: SERVICE.into(),
        name: NAME.into(),
        from_state: State::HalfOpen.into(),
        to_state: State::ForcedOpen.into(),
        reason: TransitionReason::OverrideSet.into(),
        occurred_at: stamp(10_000),
        actor: ACTOR.into(),
        actor_reason: REASON.into(),
        ..Transition::default()
    }
}

#[test]
fn history_shows_names_states_and_the_reason() {
    let lines = at_80_columns(|screen| {
        table(Table::new(history::LIST.columns), [history::row(&transition())]).write(screen)
    });
    shows(&lines, &["notifications/pagerduty-eu-west", "HALF_OPEN FORCED_OPEN", ACTOR, REASON]);
}

#[test]
fn watch_shows_names_states_and_the_reason() {
    let lines = at_80_columns(|screen| watch::show_transition(&transition(), screen));
    shows(&lines, &["notifications/pagerduty-eu-west", "HALF_OPEN -> FORCED_OPEN", ACTOR, REASON]);
}

#[test]
fn config_log_shows_what_who_why_and_the_change() {
    let change = |kind: ChangeKind, name: &str, before: &str, after: &str| ConfigChange {
        revision: 123_456,
        kind: kind.into(),
        service: SERVICE.into(),
        name: name.into(),
        changed_at: stamp(10_000),
        actor: ACTOR.into(),
        reason: REASON.into(),
        before_json: before.into(),
        after_json: after.into(),
    };
    let changes = [
        change(ChangeKind::Thresholds, "", r#"{"timeout_seconds":"2m"}"#, r#"{"timeout_seconds":"90s"}"#),
        change(ChangeKind::OverrideCleared, NAME, r#"{"state":"FORCED_OPEN"}"#, ""),
    ];
    let lines = at_80_columns(|screen| {
        table(Table::new(config_show::LOG.columns), changes.iter().map(config_show::LOG.row)).write(screen)
    });
    let change = format!("{ACTOR}; {REASON}; timeout_seconds 2m -> 90s");
    shows(
        &lines,
        &[
            "THRESHOLDS",
            "OVERRIDE_CLEARED notifications/pagerduty-eu-west",
            &change,
            "state FORCED_OPEN -> none",
        ],
    );
}
