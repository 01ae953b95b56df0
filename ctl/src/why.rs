//! Why a breaker is as it is, in a few words.

use breakerd_api::v1::{
    Breaker, ServiceConfig, ServiceOverride, State, Transition, TransitionReason, TransitionStats,
};

use super::words;

/// Why a transition was made, with the statistics that decided, and who requested it.
pub(super) fn of_transition(transition: &Transition) -> String {
    let state_table = transition.stats.unwrap_or_default();
    let TransitionStats { calls, failures, slow_calls, consecutive_failures, .. } = state_table;
    let text = match transition.reason() {
        TransitionReason::ConsecutiveFailures => in_a_row(consecutive_failures),
        TransitionReason::FailureCount => format!("{failures} failures in {calls} calls"),
        TransitionReason::FailureRate => {
            format!("{} of {calls} calls failed", percent(state_table.failure_rate))
        }
        TransitionReason::SlowCallRate => {
            format!("{} of {calls} calls were slow", percent(state_table.slow_call_rate))
        }
        TransitionReason::WaitElapsed => "open-state wait elapsed".to_owned(),
        TransitionReason::ProbesSucceeded => {
            format!("{} of {calls} probes succeeded", calls.saturating_sub(failures))
        }
        TransitionReason::ProbesFailed => format!("{failures} of {calls} probes failed"),
        TransitionReason::ProbesSlow => format!("{slow_calls} of {calls} probes were slow"),
        TransitionReason::HalfOpenTimeout => "probes did not finish in time".to_owned(),
        TransitionReason::Restart => "breakerd restarted".to_owned(),
        TransitionReason::OverrideSet => "override set".to_owned(),
        TransitionReason::OverrideCleared => "override cleared".to_owned(),
        TransitionReason::OverrideExpired => "override expired".to_owned(),
        TransitionReason::Reset => "reset".to_owned(),
        TransitionReason::Deleted => "deleted".to_owned(),
        TransitionReason::Idle => "unused for the idle time".to_owned(),
        TransitionReason::ProbeRequested => "probe requested".to_owned(),
        TransitionReason::ThresholdsChanged => "thresholds changed".to_owned(),
        TransitionReason::HistoryGap => format!("{} transitions lost", transition.lost_transitions),
        TransitionReason::Unspecified => words::transition_reason(transition.reason).to_owned(),
    };
    let mut text = match transition.stats {
        Some(TransitionStats { reporters, .. }) if reporters > 1 => {
            format!("{text}, from {reporters} callers")
        }
        _ => text,
    };
    if transition.shadow {
        text.insert_str(0, "would have been: ");
    }
    if transition.superseded {
        text.push_str(" (superseded by another replica's transition)");
    }
    with_actor(text, &transition.actor, &transition.actor_reason)
}

/// Why a breaker is in its state: its override, else the transition that led there.
pub(super) fn of_breaker(breaker: &Breaker) -> String {
    let text = of_state(breaker);
    match breaker.state_when_enabled() {
        State::Unspecified => text,
        State::Closed => DISABLED_IN_FILE.to_owned(),
        otherwise => {
            let text = if text.is_empty() { text } else { format!(", {text}") };
            format!("{DISABLED_IN_FILE}; otherwise {}{text}", words::state(otherwise.into()))
        }
    }
}

/// Why the breakers of a service are in the state that its override puts them in.
pub(super) fn of_service(config: &ServiceConfig, set: &ServiceOverride) -> String {
    let text = with_actor("service-wide override".to_owned(), &set.actor, &set.reason);
    if config.enabled {
        return text;
    }
    format!("{DISABLED_IN_FILE}; otherwise {}, {text}", words::state(set.state))
}

/// Why every breaker is DISABLED at once.
pub(super) const DISABLED_IN_FILE: &str = "enabled = false in the config file";

/// Why it is in the state that it is in when breakers are enabled.
fn of_state(breaker: &Breaker) -> String {
    if let Some(set) = &breaker.r#override {
        let whose = if set.service_wide { "service-wide override" } else { "override" };
        return with_actor(whose.to_owned(), &set.actor, &set.reason);
    }
    let state = match breaker.state_when_enabled() {
        State::Unspecified => breaker.state(),
        state => state,
    };
    match (state, &breaker.last_transition) {
        (State::Closed, _) if breaker.consecutive_failures > 0 => in_a_row(breaker.consecutive_failures),
        (State::Closed, _) | (_, None) => String::new(),
        (_, Some(transition)) => of_transition(transition),
    }
}

fn in_a_row(failures: u32) -> String {
    match failures {
        1 => "1 failure".to_owned(),
        _ => format!("{failures} consecutive failures"),
    }
}

pub(super) fn with_actor(mut text: String, actor: &str, reason: &str) -> String {
    if !actor.is_empty() {
        text.push_str(", ");
        text.push_str(actor);
    }
    if !reason.is_empty() {
        text.push_str(": ");
        text.push_str(reason);
    }
    text
}

/// A rate, or a dash where there is none.
pub(super) fn percent(rate: Option<f64>) -> String {
    rate.map_or_else(|| "-".to_owned(), |rate| format!("{}%", (rate * 10.0).round() / 10.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use breakerd_api::v1::BreakerOverride;

    #[test]
    fn a_transition_tells_its_figures_and_who_asked() {
        let mut transition = Transition {
            reason: TransitionReason::FailureRate.into(),
            stats: Some(TransitionStats {
                calls: 40,
                failure_rate: Some(52.512),
                reporters: 3,
                ..TransitionStats::default()
            }),
            ..Transition::default()
        };
        assert_eq!(of_transition(&transition), "52.5% of 40 calls failed, from 3 callers");
        transition = Transition {
            reason: TransitionReason::Reset.into(),
            actor: "ada".to_owned(),
            actor_reason: "repaired".to_owned(),
            ..Transition::default()
        };
        assert_eq!(of_transition(&transition), "reset, ada: repaired");
    }

    #[test]
    fn while_the_file_disables_all_what_an_override_would_do_is_said_too() {
        let mut breaker = Breaker {
            state: State::Disabled.into(),
            state_when_enabled: State::ForcedOpen.into(),
            r#override: Some(BreakerOverride {
                actor: "ada".to_owned(),
                reason: "maintenance".to_owned(),
                ..BreakerOverride::default()
            }),
            ..Breaker::default()
        };
        let text = "enabled = false in the config file; otherwise FORCED_OPEN, override, ada: maintenance";
        assert_eq!(of_breaker(&breaker), text);
        breaker = Breaker { r#override: None, state_when_enabled: State::Open.into(), ..breaker };
        assert_eq!(of_breaker(&breaker), "enabled = false in the config file; otherwise OPEN");
        breaker.state_when_enabled = State::Closed.into();
        assert_eq!(of_breaker(&breaker), "enabled = false in the config file");
    }

    #[test]
    fn an_override_says_whose_it_is() {
        let breaker = Breaker {
            state: State::ForcedOpen.into(),
            r#override: Some(BreakerOverride {
                actor: "ada".to_owned(),
                reason: "maintenance".to_owned(),
                service_wide: true,
                ..BreakerOverride::default()
            }),
            ..Breaker::default()
        };
        assert_eq!(of_breaker(&breaker), "service-wide override, ada: maintenance");
    }
}
