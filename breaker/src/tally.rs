//! What is counted while calls pass, and which trip it makes.

use crate::call_counts::CallCounts;
use crate::deltas::{CallerSighting, Deltas};
use crate::outcome::CallerId;
use crate::reporters::Reporters;
use crate::state::Reason;
use crate::thresholds::Thresholds;
use crate::time::Time;
use crate::transition::Stats;
use crate::window::Window;

#[derive(Debug, Clone)]
pub(crate) struct Tally {
    consecutive_failures: u32,
    consecutive_successes: u32,
    window: Window,
    /// Who failed and who was slow; none: nobody yet.
    reporters: Option<Box<ReporterSets>>,
}

/// So many outcomes alike, of one caller; at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    pub(crate) failed: bool,
    pub(crate) slow: bool,
    pub(crate) caller: CallerId,
    pub(crate) count: u32,
}

/// Why the counts open a breaker, and how many reporters that had; 0: one is enough.
pub(crate) type Trip = (Reason, u32);

#[derive(Debug, Clone)]
struct ReporterSets {
    /// Outcomes counted since there are seers; the ordinal of the next one.
    counted: u64,
    /// The ordinal that the present run of failures began at.
    run_start: u64,
    failed: Reporters,
    slow: Reporters,
}

impl ReporterSets {
    fn new(minimum: u32) -> Self {
        // From 1, so that there is a place before the first.
        Self { counted: 1, run_start: 1, failed: Reporters::new(minimum), slow: Reporters::new(minimum) }
    }

    fn count(&mut self, run: Run, now: Time) {
        let Run { failed, slow, caller, count } = run;
        let newest = self.counted + u64::from(count) - 1;
        if failed {
            self.failed.note(caller, newest, now);
        }
        if slow {
            self.slow.note(caller, newest, now);
        }
        self.counted = newest + 1;
        if !failed {
            self.run_start = self.counted;
        }
    }

    fn count_remote(&mut self, deltas: &Deltas, counted: Counted) {
        let Counted { pushed, any_success, own_success, now } = counted;
        if deltas.ends_own_run {
            self.run_start = self.counted;
        }
        self.counted += pushed;
        if any_success {
            self.run_start = self.counted;
        }
        let newest = self.counted.saturating_sub(1);
        let before_run = self.run_start.saturating_sub(1);
        let note = |reporters: &mut Reporters, sightings: &[CallerSighting]| {
            for CallerSighting { caller, age } in sightings {
                let at = now - *age;
                // What was before the own newest success is in no run.
                reporters.note(*caller, if at <= own_success { before_run } else { newest }, at);
            }
        };
        note(&mut self.failed, &deltas.failed_callers);
        note(&mut self.slow, &deltas.slow_callers);
    }
}

/// What this replica counted itself, for one who counts what others did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OwnCalls {
    pub(crate) since_look: CallCounts,
    /// [`Time::ZERO`]: there was none.
    pub(crate) newest_success: Time,
}

/// How others' calls were counted.
#[derive(Clone, Copy)]
struct Counted {
    pushed: u64,
    any_success: bool,
    own_success: Time,
    now: Time,
}

/// Which trips can be made now, beside that by consecutive failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TripsJudged {
    /// Those by a rate.
    pub(crate) rates: bool,
    /// Those by the window, rates among them.
    pub(crate) window: bool,
}

impl TripsJudged {
    pub(crate) const ALL: Self = Self { rates: true, window: true };
}

impl Tally {
    pub(crate) fn new(thresholds: &Thresholds) -> Self {
        Self {
            consecutive_failures: 0,
            consecutive_successes: 0,
            window: Window::new(thresholds.window_kind(), thresholds.window_size()),
            reporters: None,
        }
    }

    /// Counts outcomes alike, one after the other. `minimum_reporters` is how many distinct callers a trip needs.
    pub(crate) fn count(&mut self, run: Run, minimum_reporters: u32, now: Time) {
        let Run { failed, slow, count, caller: _ } = run;
        self.window.push(failed, slow, count, now);
        let (longer, over) = if failed {
            (&mut self.consecutive_failures, &mut self.consecutive_successes)
        } else {
            (&mut self.consecutive_successes, &mut self.consecutive_failures)
        };
        *longer = longer.saturating_add(count);
        *over = 0;
        if failed || slow {
            self.reporter_sets(minimum_reporters).count(run, now);
        } else if let Some(reporter_sets) = &mut self.reporters {
            reporter_sets.count(run, now);
        }
    }

    /// How many more outcomes like those of `run` can be counted at once: whether they make a trip can change with the last of them, and
    /// with none before it. The last that was counted was one of the run's.
    ///
    /// A handful of such parts make a run in a window of time. In one of calls, where what leaves is of any kind and of any caller, each
    /// outcome is a part until the window is full of the run's, and too few callers are left in it.
    pub(crate) fn part_of(&self, run: Run, thresholds: &Thresholds) -> u32 {
        let totals = self.window.totals();
        let until = |threshold: u32, reached: u32| threshold.checked_sub(reached).filter(|left| *left > 0);
        let longest = until(thresholds.failure_threshold(), self.consecutive_failures).filter(|_| run.failed);
        let by_window = match &self.window {
            Window::Count(window)
                if !window.is_full_of(run.failed, run.slow) || self.can_lose_reporters(thresholds) =>
            {
                [Some(1), None, None, None]
            }
            Window::Count(_) => [None; 4],
            Window::Time(_) => [
                until(thresholds.minimum_calls(), totals.calls),
                thresholds
                    .failure_count_threshold()
                    .filter(|_| run.failed)
                    .and_then(|limit| until(limit, totals.failures)),
                until_share(run.failed, totals.failures, totals.calls, thresholds.failure_rate_threshold()),
                until_share(run.slow, totals.slow, totals.calls, thresholds.slow_call_rate_threshold()),
            ],
        };
        let parts = by_window.into_iter().chain([longest]);
        parts.flatten().min().unwrap_or(u32::MAX)
    }

    /// Whether enough callers for a trip that needs several are in the window: with the next outcome of one of them, another can leave.
    fn can_lose_reporters(&self, thresholds: &Thresholds) -> bool {
        let needed = thresholds.minimum_reporters();
        let Some(reporter_sets) = self.reporters.as_deref().filter(|_| needed > 1) else { return false };
        [&reporter_sets.failed, &reporter_sets.slow]
            .iter()
            .any(|reporters| reporters.in_window(&self.window, reporter_sets.counted) >= needed)
    }

    /// Counts what other replicas counted. Their order among themselves is unknown: any new success ends
    /// the run (summing each replica's run trips far too often), else the new failures prolong it.
    ///
    /// In a window of calls, the own ones since the last look take their places among those of the others: of all that
    /// came since then, each kind keeps its share. What came earlier fills the room that there is.
    pub(crate) fn count_remote(&mut self, deltas: &Deltas, own: OwnCalls, minimum_reporters: u32, now: Time) {
        let pushed = self.window.mix(own.since_look, deltas.calls, &deltas.earlier, now);
        let Deltas { calls, .. } = deltas;
        let narrow = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let any_success = calls.succeeded() > 0 || deltas.ends_run;
        let own_success = own.newest_success;
        let runs = deltas.runs.iter().filter(|run| now - run.age > own_success);
        let runs = runs.fold(0_u64, |sum, run| sum.saturating_add(run.failures));
        self.consecutive_failures = if any_success {
            0
        } else {
            let run = if deltas.ends_own_run { 0 } else { self.consecutive_failures };
            run.saturating_add(narrow(calls.failed().saturating_add(runs)))
        };
        self.consecutive_successes = if calls.failed() > 0 || runs > 0 {
            0
        } else {
            self.consecutive_successes.saturating_add(narrow(calls.succeeded()))
        };
        if !deltas.failed_callers.is_empty() || !deltas.slow_callers.is_empty() {
            self.reporter_sets(minimum_reporters);
        }
        if let Some(reporter_sets) = &mut self.reporters {
            reporter_sets.count_remote(deltas, Counted { pushed, any_success, own_success, now });
        }
    }

    /// What is in the window, by age.
    pub(crate) fn aged(&self, now: Time) -> Vec<(Option<Time>, CallCounts)> {
        self.window.aged(now)
    }

    /// Failures in a row.
    pub(crate) fn run(&self) -> u32 {
        self.consecutive_failures
    }

    /// Whether a success is in the window.
    pub(crate) fn has_success(&self) -> bool {
        let totals = self.window.totals();
        totals.calls > totals.failures
    }

    fn reporter_sets(&mut self, minimum_reporters: u32) -> &mut ReporterSets {
        self.reporters.get_or_insert_with(|| Box::new(ReporterSets::new(minimum_reporters)))
    }

    /// The trip that the counts make, the first hit in the order of the rules, and how many reporters it
    /// had. Comparisons are exact: by cross-multiplying, not by a rounded rate.
    pub(crate) fn trip(&self, thresholds: &Thresholds, can: TripsJudged) -> Option<Trip> {
        let needed = thresholds.minimum_reporters();
        // None: one is enough, and whoever reported is one.
        let reporters = |count: &dyn Fn(&ReporterSets) -> u32| {
            (needed > 1).then(|| self.reporters.as_deref().map_or(0, count).min(needed))
        };
        let enough = |reporters: Option<u32>| reporters.is_none_or(|reporters| reporters >= needed);
        let run = thresholds.failure_threshold();
        if run > 0 && self.consecutive_failures >= run {
            let reporters = reporters(&|reporter_sets| reporter_sets.failed.since(reporter_sets.run_start));
            if enough(reporters) {
                return Some((Reason::ConsecutiveFailures, reporters.unwrap_or(0)));
            }
        }
        if !can.window {
            return None;
        }
        let totals = self.window.totals();
        let judged = can.rates && totals.calls >= thresholds.minimum_calls();
        let reaches = |part: u32, rate: Option<u32>| {
            rate.is_some_and(|rate| u64::from(part) * 100_000 >= u64::from(rate) * u64::from(totals.calls))
        };
        let by_count = thresholds.failure_count_threshold().is_some_and(|limit| totals.failures >= limit);
        let by_rate = judged && reaches(totals.failures, thresholds.failure_rate_threshold());
        if by_count || by_rate {
            let reporters = reporters(&|reporter_sets| {
                reporter_sets.failed.in_window(&self.window, reporter_sets.counted)
            });
            if enough(reporters) {
                let reason = if by_count { Reason::FailureCount } else { Reason::FailureRate };
                return Some((reason, reporters.unwrap_or(0)));
            }
        }
        if judged && reaches(totals.slow, thresholds.slow_call_rate_threshold()) {
            let reporters =
                reporters(&|reporter_sets| reporter_sets.slow.in_window(&self.window, reporter_sets.counted));
            if enough(reporters) {
                return Some((Reason::SlowCallRate, reporters.unwrap_or(0)));
            }
        }
        None
    }

    /// Keeps what was counted, under other thresholds.
    /// True: the window is empty now.
    pub(crate) fn reshape(&mut self, thresholds: &Thresholds, now: Time) -> bool {
        let emptied = self.window.reshape(thresholds.window_kind(), thresholds.window_size(), now);
        if let Some(reporter_sets) = &mut self.reporters {
            let kept = (!emptied).then_some(&self.window);
            for reporters in [&mut reporter_sets.failed, &mut reporter_sets.slow] {
                reporters.leave(kept, reporter_sets.counted);
                reporters.resize(thresholds.minimum_reporters());
            }
        }
        emptied
    }

    /// Lets go of what has left the window.
    pub(crate) fn advance(&mut self, now: Time) {
        self.window.advance(now);
    }

    pub(crate) fn stats(&self) -> Stats {
        let totals = self.window.totals();
        Stats {
            consecutive_failures: self.consecutive_failures,
            consecutive_successes: self.consecutive_successes,
            calls: totals.calls,
            failures: totals.failures,
            slow_calls: totals.slow,
            reporters: 0,
        }
    }
}

/// How many more calls, each of which belongs to the part or none of which does, bring the part's share of the whole to
/// `rate` (in thousandths of a percent) or below it; none: it stays on its side.
fn until_share(grows: bool, part: u32, whole: u32, rate: Option<u32>) -> Option<u32> {
    let (part, whole, rate) = (u64::from(part) * 100_000, u64::from(whole), u64::from(rate?));
    let calls = if grows {
        // part + 100_000 n >= rate (whole + n)
        let missing = (rate * whole).checked_sub(part).filter(|missing| *missing > 0)?;
        missing.div_ceil(100_000_u64.checked_sub(rate).filter(|each| *each > 0)?)
    } else {
        // part < rate (whole + n)
        (part / rate + 1).checked_sub(whole).filter(|calls| *calls > 0)?
    };
    u32::try_from(calls).ok()
}
