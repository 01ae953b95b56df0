//! What one replica counted of a breaker by itself, to be published to the others.
//!
//! Never what it learned from them: else each would hear its own calls again. The tally has all that is known together; this
//! stands beside it from the moment that a breaker is shared until nothing of that time is in the window any more.

use std::collections::VecDeque;
use std::time::Duration;

use crate::call_counts::{AgedCalls, CallCounts};
use crate::counts_interval::CountsInterval;
use crate::deltas::{CallerSighting, FailureRun};
use crate::reporters::Reporters;
use crate::tally::{Run, Tally};
use crate::thresholds::{Thresholds, WindowKind};
use crate::time::Time;
use crate::window::{SLICES, SLICES_LEN};

/// Parts that own calls are kept in, by age: the slices of a window of time and the one that is leaving it. Of a window of calls
/// the newest five seconds are told apart.
const PARTS_MAX: usize = SLICES_LEN + 5;
/// Callers that are published of those that failed, and of those that were slow; a service that needs more of them publishes as
/// many as it needs.
const CALLERS_MIN: usize = 16;

/// What a replica publishes of a breaker. All ages are those at the moment of publishing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedCounts {
    /// The epoch that it was counted in.
    pub epoch: u64,
    /// Tells this count from an earlier one of the same process, which began at 0 too.
    pub series: u64,
    /// All calls of this series; it only grows.
    pub total: CallCounts,
    /// Those of them that are in the window, by age, oldest first; at most 25 parts.
    pub window: Vec<AgedCalls>,
    /// Failures in a row; none: the newest call was a success.
    pub run: Option<FailureRun>,
    /// How long ago the newest success was; none: there was none since the series began.
    pub success_age: Option<Duration>,
    /// The newest callers that failed, at most as many as a trip needs; none where it needs one.
    pub failed_callers: Vec<CallerSighting>,
    /// The newest callers that were slow.
    pub slow_callers: Vec<CallerSighting>,
    /// How long ago a call failed here, or was slow; none: none did.
    pub trouble_age: Option<Duration>,
}

#[derive(Debug, Clone)]
pub(crate) struct OwnCounts {
    series: u64,
    total: CallCounts,
    /// Oldest first, each with the time of its newest call.
    parts: VecDeque<(Option<Time>, CallCounts)>,
    run: u32,
    run_began: Time,
    /// [`Time::ZERO`]: there was none.
    newest_success: Time,
    /// The newest since this began.
    success_since: Option<Time>,
    newest_trouble: Option<Time>,
    failed: Reporters,
    slow: Reporters,
}

impl OwnCounts {
    /// Begins with what the tally has, which is all own.
    pub(crate) fn new(tally: &Tally, thresholds: &Thresholds, now: Time) -> Self {
        let parts: VecDeque<_> = tally.aged(now).into();
        let total = parts.iter().fold(CallCounts::default(), |sum, (_, calls)| sum.plus(*calls));
        let reporters = || Reporters::new(thresholds.minimum_reporters());
        Self {
            series: now.as_micros(),
            total,
            parts,
            run: tally.run(),
            run_began: now,
            // When it was nobody noted.
            newest_success: if tally.has_success() { now } else { Time::ZERO },
            success_since: None,
            newest_trouble: None,
            failed: reporters(),
            slow: reporters(),
        }
    }

    pub(crate) fn count(&mut self, run: Run, thresholds: &Thresholds, now: Time) {
        let Run { failed, slow, caller, count } = run;
        let calls = CallCounts::alike(failed, slow, count);
        self.total = self.total.plus(calls);
        let width = part_width(thresholds);
        match self.parts.back_mut() {
            Some((Some(at), part)) if at.as_micros() / width == now.as_micros() / width => {
                *at = now;
                *part = part.plus(calls);
            }
            _ => self.parts.push_back((Some(now), calls)),
        }
        if self.parts.len() > PARTS_MAX
            && let Some((_, oldest)) = self.parts.pop_front()
            && let (WindowKind::Count, Some((_, next))) = (thresholds.window_kind(), self.parts.front_mut())
        {
            *next = next.plus(oldest);
        }
        if failed {
            self.run_began = if self.run == 0 { now } else { self.run_began };
            self.run = self.run.saturating_add(count);
            self.failed.note(caller, 0, now);
        } else {
            self.run = 0;
            self.newest_success = now;
            self.success_since = Some(now);
        }
        if slow {
            self.slow.note(caller, 0, now);
        }
        if failed || slow {
            self.newest_trouble = Some(now);
        }
    }

    pub(crate) fn total(&self) -> CallCounts {
        self.total
    }

    pub(crate) fn newest_success(&self) -> Time {
        self.newest_success
    }

    /// When the present run of failures began; none: the newest call was a success.
    pub(crate) fn run_began(&self) -> Option<Time> {
        (self.run > 0).then_some(self.run_began)
    }

    pub(crate) fn published(&self, epoch: u64, thresholds: &Thresholds, now: Time) -> PublishedCounts {
        let needed = thresholds.minimum_reporters() as usize;
        let callers = |reporters: &Reporters| {
            let most = if needed > 1 { needed.max(CALLERS_MIN) } else { 0 };
            let newest = reporters.newest(most);
            newest.map(|(caller, at)| CallerSighting { caller, age: now.since(at) }).collect()
        };
        PublishedCounts {
            epoch,
            series: self.series,
            total: self.total,
            window: self.window(thresholds, now),
            run: (self.run > 0)
                .then(|| FailureRun { failures: self.run.into(), age: now.since(self.run_began) }),
            success_age: self.success_since.map(|at| now.since(at)),
            failed_callers: callers(&self.failed),
            slow_callers: callers(&self.slow),
            trouble_age: self.newest_trouble.map(|at| now.since(at)),
        }
    }

    /// What is in the window of this replica's own calls.
    fn window(&self, thresholds: &Thresholds, now: Time) -> Vec<AgedCalls> {
        let size = thresholds.window_size();
        let mut window = Vec::with_capacity(self.parts.len());
        let mut room = match thresholds.window_kind() {
            WindowKind::Count => u64::from(size),
            WindowKind::Time => u64::MAX,
        };
        for (at, calls) in self.parts.iter().rev() {
            let age = at.map(|at| now.since(at));
            let has_left = thresholds.window_kind() == WindowKind::Time
                && age.is_some_and(|age| age >= Duration::from_secs(size.into()));
            let calls = calls.limited(room);
            if has_left || calls.is_empty() {
                break;
            }
            room -= calls.total();
            window.push(AgedCalls { age, calls });
        }
        window.reverse();
        window
    }
}

/// Microseconds of one part.
fn part_width(thresholds: &Thresholds) -> u64 {
    match thresholds.window_kind() {
        WindowKind::Count => crate::time::micros(CountsInterval::SHORTEST.length()),
        WindowKind::Time => u64::from(thresholds.window_size()) * 1_000_000 / SLICES,
    }
}
