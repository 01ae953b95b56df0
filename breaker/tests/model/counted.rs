//! What the model counts while calls pass: every outcome since the state was entered, in a list.

use std::collections::BTreeSet;

use breaker::{Reason, Stats, Thresholds, Time, WindowKind};

use crate::rules;

/// Twenty slices of a time window, in microseconds: a twentieth of a second for each second.
const SLICE_MICROS_A_SECOND: u64 = 50_000;

/// The oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counts {
    counted: Vec<Counted>,
}

#[derive(Debug, Clone, Copy)]
struct Counted {
    at: Time,
    failed: bool,
    slow: bool,
    caller: u64,
    /// Out of the window for good: it was made smaller, or emptied.
    left: bool,
}

impl Counts {
    pub(crate) fn push(&mut self, failed: bool, slow: bool, caller: u64, at: Time) {
        self.counted.push(Counted { at, failed, slow, caller, left: false });
    }

    /// Other thresholds from now on.
    pub(crate) fn change(&mut self, former: &Thresholds, present: &Thresholds) {
        self.shrink(former, present);
    }

    /// The trip that the outcomes make, the first in the order of the rules.
    pub(crate) fn trip(&self, thresholds: &Thresholds, now: Time) -> Option<Reason> {
        let callers = |who: &mut dyn Iterator<Item = &Counted>| {
            let callers: BTreeSet<u64> = who.map(|counted| counted.caller).collect();
            callers.len() >= thresholds.minimum_reporters() as usize || thresholds.minimum_reporters() == 1
        };
        let failed = |counted: &&Counted| counted.failed;
        let slow = |counted: &&Counted| counted.slow;

        let run: Vec<&Counted> = self.counted.iter().rev().take_while(|counted| counted.failed).collect();
        let in_a_row = thresholds.failure_threshold() as usize;
        if in_a_row > 0 && run.len() >= in_a_row && callers(&mut run.iter().copied().filter(failed)) {
            return Some(Reason::ConsecutiveFailures);
        }
        let window = self.window(thresholds, now);
        let failures = window.iter().filter(|counted| counted.failed).count() as u64;
        let slows = window.iter().filter(|counted| counted.slow).count() as u64;
        let failed_by_enough = callers(&mut window.iter().copied().filter(failed));
        let slow_for_enough = callers(&mut window.iter().copied().filter(slow));
        if thresholds.failure_count_threshold().is_some_and(|limit| failures >= u64::from(limit))
            && failed_by_enough
        {
            return Some(Reason::FailureCount);
        }
        let calls = window.len() as u64;
        if calls < u64::from(thresholds.minimum_calls()) {
            return None;
        }
        // In thousandths of a percent of one call.
        let reached =
            |part: u64, rate: Option<u32>| rate.is_some_and(|rate| part * 100_000 >= calls * u64::from(rate));
        if reached(failures, thresholds.failure_rate_threshold()) && failed_by_enough {
            return Some(Reason::FailureRate);
        }
        (reached(slows, thresholds.slow_call_rate_threshold()) && slow_for_enough)
            .then_some(Reason::SlowCallRate)
    }

    fn window(&self, thresholds: &Thresholds, now: Time) -> Vec<&Counted> {
        let size = thresholds.window_size();
        let held = self.counted.iter().filter(|counted| !counted.left);
        match thresholds.window_kind() {
            WindowKind::Count => held.rev().take(size as usize).collect(),
            WindowKind::Time => {
                let slice = |time: Time| time.as_micros() / (u64::from(size) * SLICE_MICROS_A_SECOND);
                held.filter(|counted| slice(counted.at) + 20 > slice(now)).collect()
            }
        }
    }

    /// A smaller window of calls keeps its newest, a change of type empties. (Another size of a window of
    /// time is not for this model: what stays may hang on the slices.)
    fn shrink(&mut self, former: &Thresholds, present: &Thresholds) {
        let kept = match (former.window_kind(), present.window_kind()) {
            (WindowKind::Time, WindowKind::Time) => return,
            (WindowKind::Count, WindowKind::Count) => former.window_size().min(present.window_size()),
            _ => 0,
        };
        let held = self.counted.iter_mut().filter(|counted| !counted.left);
        held.rev().skip(kept as usize).for_each(|counted| counted.left = true);
    }

    pub(crate) fn stats(&self, thresholds: &Thresholds, now: Time) -> Stats {
        let window: Vec<_> =
            self.window(thresholds, now).iter().map(|counted| (counted.failed, counted.slow)).collect();
        let all: Vec<_> = self.counted.iter().map(|counted| counted.failed).collect();
        rules::stats(&window, &all)
    }
}
