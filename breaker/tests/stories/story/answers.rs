//! Answers as text.

use std::fmt::Write as _;

use breaker::{Breaker, State, Time, Transition, View};

use super::words::clock;

pub(super) fn refusable(
    answer: (Result<(), breaker::WrongState>, Vec<Transition>),
) -> (String, Vec<Transition>) {
    let text = if answer.0.is_ok() { "ok" } else { "refused" };
    (text.to_owned(), answer.1)
}

pub(super) fn retirable(breaker: &Breaker) -> &'static str {
    match (breaker.is_retirable(), breaker.is_pristine()) {
        (true, true) => "pristine",
        (true, false) => "yes",
        (false, false) => "no",
        (false, true) => "no, though pristine",
    }
}

pub(super) fn show(view: &View, now: Time) -> String {
    let (kept, counted) = (&view.snapshot, &view.stats);
    let mut text = format!("{} epoch {}", kept.state, kept.epoch);
    match kept.state {
        State::Open => {
            let until = kept.open_until().expect("OPEN has an end");
            write!(text, ", attempts {}, until {}", kept.open_count, clock(until)).unwrap();
            assert!(until >= now || view.probes_out == 0);
        }
        State::HalfOpen => {
            let terms = kept.half_open.expect("HALF_OPEN has terms");
            write!(text, ", {} of {} done, {} out", counted.calls, terms.permitted, view.probes_out).unwrap();
        }
        State::Closed | State::MetricsOnly => {
            write!(text, ", in a row {}", counted.consecutive_failures).unwrap();
            write!(text, ", in the window {} of {} failed", counted.failures, counted.calls).unwrap();
            if counted.slow_calls > 0 {
                write!(text, ", {} slow", counted.slow_calls).unwrap();
            }
        }
        State::ForcedOpen | State::Disabled => {}
    }
    text
}
