//! A notification as Slack's incoming webhooks take it: `{"text": ...}`, which Mattermost, Rocket.Chat and Discord (`/slack`) take too.

use std::fmt::Write as _;
use std::time::Duration;

use breaker::{Reason, State};
use breakerd_common::clock::WallTime;
use serde_json::json;

use super::notice::Notice;

/// The body of a request.
pub(super) fn body(notice: &Notice) -> Vec<u8> {
    json!({ "text": text(notice) }).to_string().into_bytes()
}

/// Two lines: what happened, and why.
fn text(notice: &Notice) -> String {
    let Notice { id, key, transition, at, .. } = notice;
    let (service, name, to) = (key.service(), key.name(), transition.to());
    let breaker = if service == name { service.to_string() } else { key.to_string() };
    let lasted = transition.lasted.filter(|lasted| !lasted.is_zero());
    let lasted = lasted.map(|lasted| format!(" for {}", rounded(lasted))).unwrap_or_default();
    let mut text = format!(
        "{} *{breaker}* is *{to}*, was {}{lasted}\n{}",
        emoji(to),
        transition.from,
        transition.reason
    );
    let stats = &transition.stats;
    if is_of_outcomes(transition.reason) && stats.calls > 0 {
        let _ = write!(text, ": {} of {} calls failed", stats.failures, stats.calls);
        if stats.slow_calls > 0 {
            let _ = write!(text, ", {} were slow", stats.slow_calls);
        }
    }
    if let Some(outcome) = transition.outcome.as_ref().filter(|outcome| !outcome.error_class.is_empty()) {
        let _ = write!(text, ", the last one with {}", escaped(&outcome.error_class));
    }
    if let Some(by) = &transition.attribution {
        let _ = write!(text, " by {}", escaped(&by.actor));
        if !by.reason.is_empty() {
            let _ = write!(text, ": {}", escaped(&by.reason));
        }
    }
    if transition.rejected_calls > 0 {
        let _ = write!(text, "; {} calls were rejected", transition.rejected_calls);
    }
    if let Some(wait) = transition.after.wait {
        let _ = write!(text, "; next probes in {}", rounded(wait));
    }
    let _ = write!(text, " ({}, replica {})", WallTime(*at), id.replica);
    text
}

fn emoji(state: State) -> &'static str {
    match state {
        State::Open => ":red_circle:",
        State::ForcedOpen => ":octagonal_sign:",
        State::HalfOpen => ":large_yellow_circle:",
        State::Closed => ":large_green_circle:",
        State::Disabled | State::MetricsOnly => ":white_circle:",
    }
}

/// Whether what was counted is why.
fn is_of_outcomes(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::ConsecutiveFailures
            | Reason::FailureCount
            | Reason::FailureRate
            | Reason::SlowCallRate
            | Reason::ProbesSucceeded
            | Reason::ProbesFailed
            | Reason::ProbesSlow
    )
}

/// To the second, and shorter ones exactly.
fn rounded(duration: Duration) -> humantime::FormattedDuration {
    let whole = Duration::from_secs(duration.as_secs());
    humantime::format_duration(if whole.is_zero() {
        Duration::from_millis(u64::from(duration.subsec_millis()))
    } else {
        whole
    })
}

/// The three characters that begin something of Slack's own, such as a mention of everybody.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use breaker::{Attribution, CausingOutcome, Key, Snapshot, Stats, Time, Transition};

    use super::*;
    use crate::store::TransitionId;

    fn notice(from: State, after: Snapshot, reason: Reason) -> Notice {
        Notice {
            id: TransitionId { replica: "breakerd-0".into(), boot: 255, seq: 3 },
            key: Key::new("payments", "").unwrap(),
            epoch: after.epoch,
            at: Time::from_micros(1_700_000_000_000_000),
            store_unavailable: false,
            transition: Transition {
                from,
                reason,
                stats: Stats::default(),
                base_epoch: 0,
                at: Time::ZERO,
                lasted: None,
                rejected_calls: 0,
                outcome: None,
                attribution: None,
                after,
                shadow: false,
            },
        }
    }

    #[test]
    fn a_trip_says_what_failed_and_how_long_it_waits() {
        let after = Snapshot {
            epoch: 1,
            state: State::Open,
            wait: Some(Duration::from_mins(1)),
            ..Snapshot::pristine()
        };
        let mut notice = notice(State::Closed, after, Reason::ConsecutiveFailures);
        notice.transition.stats = Stats { calls: 7, failures: 5, slow_calls: 1, ..Stats::default() };
        notice.transition.lasted = Some(Duration::from_millis(3_723_400));
        notice.transition.outcome =
            Some(CausingOutcome { error_class: "<!channel> & co".to_owned(), caller: String::new() });
        assert_eq!(
            text(&notice),
            ":red_circle: *payments* is *OPEN*, was CLOSED for 1h 2m 3s\nCONSECUTIVE_FAILURES: 5 of 7 calls failed, 1 were slow, the last \
             one with &lt;!channel&gt; &amp; co; next probes in 1m (2023-11-14T22:13:20Z, replica breakerd-0)"
        );
        let body: serde_json::Value = serde_json::from_slice(&body(&notice)).unwrap();
        assert_eq!(body, json!({ "text": text(&notice) }));
    }

    #[test]
    fn an_act_says_who_and_why() {
        let after = Snapshot { epoch: 2, state: State::ForcedOpen, ..Snapshot::pristine() };
        let mut notice = notice(State::Open, after, Reason::OverrideSet);
        notice.key = Key::new("payments", "eu/west").unwrap();
        notice.transition.attribution =
            Some(Attribution { actor: "ann".to_owned(), reason: "<b>".to_owned() });
        notice.transition.rejected_calls = 12;
        assert_eq!(
            text(&notice),
            ":octagonal_sign: *payments/eu/west* is *FORCED_OPEN*, was OPEN\nOVERRIDE_SET by ann: &lt;b&gt;; 12 calls were rejected \
             (2023-11-14T22:13:20Z, replica breakerd-0)"
        );
    }
}
