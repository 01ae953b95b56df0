//! How the replicas count a failing breaker together: what this one counted itself, what it has taken of each other's, and
//! which trips the counts can make meanwhile.
//!
//! It begins when a breaker turns hot: with a call that fails, or is slow, here or elsewhere. Until then the tally has own calls
//! only, so the own count begins with what is in it. It ends when the breaker has been cold for so long that nothing of the
//! time when it was hot is in the window any more: what a later one publishes has then never been published before, and
//! what it takes is not in the tally.

use std::time::Duration;

use crate::call_counts::{AgedCalls, CallCounts};
use crate::counts_interval::CountsInterval;
use crate::deltas::{CallerSighting, Deltas, FailureRun};
use crate::own_counts::{OwnCounts, PublishedCounts};
use crate::tally::{OwnCalls, Run, Tally, TripsJudged};
use crate::thresholds::{Thresholds, WindowKind};
use crate::time::Time;

/// Lives of other replicas whose counts of one breaker are taken: as many as the longest interval is made for. For one more the
/// one goes that was silent for longest, if it was for [`CountsInterval::hot`]; what it counted stays counted, and would count again if it came back. If none was, the newest is not heard: a
/// trip then needs more failures.
const OTHERS_MAX: usize = 150;

/// What another replica published of a breaker, as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadCounts {
    /// Who published it: random for each life of a process.
    pub boot: u64,
    /// How long ago, by the store's clock.
    pub age: Duration,
    /// What it published.
    pub counts: PublishedCounts,
}

#[derive(Debug, Clone)]
pub(crate) struct SharedCounts {
    own: OwnCounts,
    /// As it was told last. (A replica that has not told it yet is asked for the counts soon, whatever this is.)
    interval: CountsInterval,
    /// It is in the list of those that are published.
    pub(crate) is_listed: bool,
    hot_since: Time,
    newest_trouble: Time,
    /// Own calls since it turned cold.
    cold_calls: u64,
    others: Vec<Taken>,
    /// What the own total was at the last look.
    own_at_look: CallCounts,
    /// When others were last found to publish.
    others_at: Option<Time>,
    /// Every live replica has published since it turned hot.
    has_all: bool,
    /// Something was counted that has not been judged by every trip.
    is_unjudged: bool,
}

/// What was taken of another replica.
#[derive(Debug, Clone)]
struct Taken {
    boot: u64,
    series: u64,
    total: CallCounts,
    at: Time,
}

impl SharedCounts {
    pub(crate) fn new(tally: &Tally, thresholds: &Thresholds, now: Time) -> Self {
        let own = OwnCounts::new(tally, thresholds, now);
        Self {
            own_at_look: own.total(),
            own,
            interval: CountsInterval::SHORTEST,
            is_listed: false,
            hot_since: now,
            newest_trouble: now,
            cold_calls: 0,
            others: Vec::new(),
            others_at: None,
            has_all: false,
            is_unjudged: false,
        }
    }

    pub(crate) fn is_hot(&self, now: Time) -> bool {
        now.since(self.newest_trouble) < self.interval.hot()
    }

    /// A call failed, or was slow, here or elsewhere.
    fn heat(&mut self, at: Time, now: Time) {
        if !self.is_hot(now) {
            self.hot_since = now;
            self.cold_calls = 0;
            self.has_all = false;
        }
        self.newest_trouble = self.newest_trouble.max(at);
    }

    /// Counts own calls, before the tally does. False: there is nothing to share any more.
    pub(crate) fn count(&mut self, run: Run, thresholds: &Thresholds, now: Time) -> bool {
        if run.failed || run.slow {
            self.heat(now, now);
        } else if !self.is_hot(now) {
            self.cold_calls = self.cold_calls.saturating_add(run.count.into());
            if self.has_left(thresholds, now) {
                return false;
            }
        }
        self.own.count(run, thresholds, now);
        self.is_unjudged = true;
        true
    }

    /// Whether nothing of the time when it was hot is in the window any more.
    fn has_left(&self, thresholds: &Thresholds, now: Time) -> bool {
        let size = thresholds.window_size();
        match thresholds.window_kind() {
            WindowKind::Count => self.cold_calls > size.into(),
            WindowKind::Time => {
                now.since(self.newest_trouble) >= self.interval.hot() + Duration::from_secs(size.into())
            }
        }
    }

    pub(crate) fn published(
        &mut self,
        epoch: u64,
        thresholds: &Thresholds,
        interval: CountsInterval,
        now: Time,
    ) -> Option<PublishedCounts> {
        self.interval = interval;
        self.is_hot(now).then(|| self.own.published(epoch, thresholds, now))
    }

    /// Whether something is to be judged at a look, though nothing new came with it.
    pub(crate) fn is_unjudged(&self) -> bool {
        self.is_unjudged
    }

    pub(crate) fn own_calls(&self) -> OwnCalls {
        OwnCalls {
            since_look: self.own.total().minus(self.own_at_look),
            newest_success: self.own.newest_success(),
        }
    }

    /// What is new in `rows`, which are all of one read. It is taken with this.
    pub(crate) fn take(
        &mut self,
        rows: &[&ReadCounts],
        has_all: bool,
        interval: CountsInterval,
        now: Time,
    ) -> Deltas {
        self.interval = interval;
        let mut deltas = Deltas::default();
        for row in rows {
            if let Some(age) = row.trouble_age(interval) {
                self.heat(now - age, now);
            }
            self.take_row(row, &mut deltas, now);
        }
        self.has_all |= has_all;
        self.others_at = if rows.is_empty() { self.others_at } else { Some(now) };
        deltas
    }

    fn take_row(&mut self, row: &ReadCounts, deltas: &mut Deltas, now: Time) {
        let ReadCounts { boot, age: row_age, counts } = row;
        let hot = self.interval.hot();
        let known = self.others.iter().position(|taken| taken.boot == *boot);
        let Some(known) = known.or_else(|| {
            if self.others.len() >= OTHERS_MAX {
                let silent = |taken: &&Taken| now.since(taken.at) >= hot;
                let oldest = self.others.iter().filter(silent).min_by_key(|taken| taken.at)?.boot;
                self.others.retain(|taken| taken.boot != oldest);
            }
            let (boot, series, total) = (*boot, counts.series, CallCounts::default());
            self.others.push(Taken { boot, series, total, at: Time::ZERO });
            Some(self.others.len() - 1)
        }) else {
            return;
        };
        let taken = &mut self.others[known];
        if taken.series != counts.series {
            *taken =
                Taken { boot: *boot, series: counts.series, total: CallCounts::default(), at: Time::ZERO };
        }
        let is_known = taken.at > Time::ZERO;
        let since_look = now.since(taken.at);
        let new = counts.total.minus(taken.total);
        let is_new = |sighting: &&CallerSighting| !is_known || sighting.age + *row_age < since_look;
        let seen = |sighting: &CallerSighting| CallerSighting { age: sighting.age + *row_age, ..*sighting };
        deltas.failed_callers.extend(counts.failed_callers.iter().filter(is_new).map(seen));
        deltas.slow_callers.extend(counts.slow_callers.iter().filter(is_new).map(seen));
        if is_known && since_look <= self.interval.fresh() {
            deltas.calls = deltas.calls.plus(new);
        } else if !new.is_empty() {
            deltas.earlier.extend(newest(&counts.window, new, *row_age));
            deltas.ends_run |= is_known && new.succeeded() > 0;
            let newest_success = counts.success_age.map(|age| now - age - *row_age);
            deltas.ends_own_run |= newest_success
                .is_some_and(|success| self.own.run_began().is_some_and(|began| success > began));
            let run = counts
                .run
                .map(|run| FailureRun { failures: run.failures.min(new.failed()), age: run.age + *row_age });
            deltas.runs.extend(run.filter(|run| run.failures > 0));
        }
        // A row of before, which a slow answer brings, takes nothing back.
        taken.total = taken.total.each(counts.total, u64::max);
        taken.at = now;
    }

    /// Which trips the counts can make, on an outcome or, with `at_look`, with what others counted.
    ///
    /// A rate waits until every live replica has published, and not for long: else one bad node among ten reads as a rate of 100 %.
    /// For the same reason a window of calls is judged at a look, where own calls and those of others have their share of it,
    /// as long as others publish: between two looks it may come to hold own calls only.
    pub(crate) fn judged(&self, thresholds: &Thresholds, at_look: bool, now: Time) -> TripsJudged {
        let rates = self.has_all || now.since(self.hot_since) >= self.interval.rates_wait();
        let has_others = self.others_at.is_some_and(|at| now.since(at) <= self.interval.fresh());
        let window = at_look || thresholds.window_kind() == WindowKind::Time || (rates && !has_others);
        TripsJudged { rates, window }
    }

    /// All was judged that can be now.
    pub(crate) fn looked(&mut self, thresholds: &Thresholds, now: Time) {
        self.own_at_look = self.own.total();
        self.is_unjudged &= self.judged(thresholds, true, now) != TripsJudged::ALL;
    }
}

impl ReadCounts {
    /// How long ago a call failed there, or was slow, if that makes a breaker hot.
    pub(crate) fn trouble_age(&self, interval: CountsInterval) -> Option<Duration> {
        self.counts.trouble_age.map(|age| age + self.age).filter(|age| *age < interval.hot())
    }
}

/// The newest of a window, of each kind as many as are new, by age.
fn newest(window: &[AgedCalls], new: CallCounts, row_age: Duration) -> Vec<AgedCalls> {
    let mut left = new;
    let mut newest = Vec::new();
    for AgedCalls { age, calls } in window.iter().rev() {
        let calls = calls.each(left, u64::min);
        left = left.minus(calls);
        newest.push(AgedCalls { age: age.map(|age| age + row_age), calls });
    }
    newest
}
