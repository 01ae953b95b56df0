//! The documents' rules that need no memory: what a report counts as, what half-open is entered with, how long
//! OPEN waits.

use std::sync::Arc;
use std::time::Duration;

use breaker::{
    Breaker, HalfOpenTerms, Identity, Numbering, Outcome, Snapshot, State, Stats, Thresholds, Time,
    WaitInterval, WallOffset,
};

use crate::steps::OwnedReport;

/// Of the one key of all stories.
pub(crate) const KEY_HASH: u64 = 0x0123_4567_89ab_cdef;

/// Whether it failed and was slow; none: it counts as nothing.
pub(crate) fn judge(thresholds: &Thresholds, report: OwnedReport) -> Option<(bool, bool)> {
    let listed = |classes: &[String]| classes.iter().any(|class| class == report.class);
    let failed = match report.outcome {
        Outcome::Ignored => return None,
        Outcome::Success => false,
        Outcome::Failure if listed(thresholds.ignore_error_classes()) => return None,
        Outcome::Failure => {
            thresholds.record_error_classes().is_empty() || listed(thresholds.record_error_classes())
        }
    };
    let limit = thresholds.slow_call_duration_threshold();
    let slow = report.duration.zip(limit).is_some_and(|(took, limit)| took > limit);
    Some((failed || slow && thresholds.slow_calls_as_failures(), slow))
}

/// What half-open is entered with, by the documents.
pub(crate) fn half_open_terms(thresholds: &Thresholds) -> HalfOpenTerms {
    let permitted = thresholds.permitted();
    let share = |rate: u32| (u64::from(rate) * u64::from(permitted)).div_ceil(100_000) as u32;
    let failures_to_open = match (thresholds.success_threshold(), thresholds.failure_rate_threshold()) {
        (0, None) => 1,
        (0, Some(rate)) => share(rate),
        (successes, _) => permitted - successes + 1,
    };
    HalfOpenTerms {
        permitted,
        failures_to_open,
        slow_to_open: thresholds.slow_call_rate_threshold().map(share),
        lease: thresholds.lease(),
        max_wait: thresholds.max_wait_in_half_open(),
        after_max_wait: thresholds.after_max_wait(),
    }
}

/// How long OPEN lasts: bounded here, and within the bounds drawn by chance.
pub(crate) fn wait(
    thresholds: &Thresholds,
    epoch: u64,
    open_count: u32,
    retry_after: Option<Duration>,
) -> Duration {
    let growth = match thresholds.wait_interval() {
        WaitInterval::Fixed => 1.0,
        WaitInterval::Exponential => {
            (f64::from(thresholds.multiplier()) / 1_000.0).powi(open_count.cast_signed() - 1)
        }
    };
    let factor = f64::from(thresholds.randomization_factor()) / 1_000.0;
    let requested = retry_after.filter(|_| thresholds.honor_retry_after()).unwrap_or_default();
    let capped = |seconds: f64| seconds.max(requested.as_secs_f64()).min(thresholds.max_wait().as_secs_f64());
    let grown = thresholds.wait().as_secs_f64() * growth;
    let (least, most) = (capped(grown * (1.0 - factor)), capped(grown * (1.0 + factor)));
    let drawn = drawn_by_chance(thresholds, epoch, open_count, retry_after);
    let seconds = drawn.as_secs_f64();
    assert!(
        seconds >= least - 1.5e-6 && seconds <= most + 1.5e-6,
        "waits {seconds}, which is not within {least} and {most}"
    );
    drawn
}

/// What chance draws for a wait: asked from a breaker that comes back, so that it is also seen to draw the
/// same in every process.
fn drawn_by_chance(
    thresholds: &Thresholds,
    epoch: u64,
    open_count: u32,
    retry_after: Option<Duration>,
) -> Duration {
    let identity = Identity {
        key_hash: KEY_HASH,
        salt: 99,
        first_number: 0,
        numbering: Numbering::Own,
        stagger: Duration::ZERO,
        wall: WallOffset::ZERO,
    };
    let open = Snapshot { epoch, state: State::Open, open_count, retry_after, ..Snapshot::pristine() };
    let thresholds = Arc::new(thresholds.clone());
    Breaker::restore(thresholds, 0, identity, open, Time::ZERO).snapshot().wait.unwrap()
}

/// Of the outcomes in the window, and of all of them.
pub(crate) fn stats(window: &[(bool, bool)], all_failed: &[bool]) -> Stats {
    let number = |count: usize| u32::try_from(count).unwrap();
    let in_a_row = |what: bool| number(all_failed.iter().rev().take_while(|failed| **failed == what).count());
    Stats {
        consecutive_failures: in_a_row(true),
        consecutive_successes: in_a_row(false),
        calls: number(window.len()),
        failures: number(window.iter().filter(|(failed, _)| *failed).count()),
        slow_calls: number(window.iter().filter(|(_, slow)| *slow).count()),
        reporters: 0,
    }
}
