//! Counting with other replicas: while a breaker fails, each publishes what it counted, and takes what the others did.

use std::sync::Arc;

use super::phase::Phase;
use super::{Breaker, Numbering};
use crate::counts_interval::CountsInterval;
use crate::deltas::Deltas;
use crate::own_counts::PublishedCounts;
use crate::shared_counts::{ReadCounts, SharedCounts};
use crate::tally::{OwnCalls, Run, TripsJudged};
use crate::thresholds::Thresholds;
use crate::time::Time;
use crate::transition::Transition;

impl Breaker {
    fn shared(&self) -> Option<&SharedCounts> {
        self.replicated.as_ref()?.counts.as_deref()
    }

    /// Its counts are to be published, and are not in the list of those that are: whoever keeps that says so with
    /// [`Breaker::set_listed`].
    pub fn is_unlisted(&self) -> bool {
        self.shared().is_some_and(|shared| !shared.is_listed && shared.is_hot(self.last_now))
    }

    /// Its counts are in the list of those that are published, or no more.
    pub fn set_listed(&mut self, is_listed: bool) {
        if let Some(shared) = self.replicated.as_mut().and_then(|replicated| replicated.counts.as_mut()) {
            shared.is_listed = is_listed;
        }
    }

    /// What this replica counted itself; none: it is not hot. Hot is a breaker whose calls pass, in the ten intervals after one
    /// that failed, or was slow, here or elsewhere.
    pub fn published_counts(&mut self, interval: CountsInterval, now: Time) -> Option<PublishedCounts> {
        if self.proposed().is_some() {
            return None;
        }
        let (epoch, now) = (self.epoch, now.max(self.last_now));
        let shared = self.replicated.as_mut()?.counts.as_deref_mut()?;
        shared.published(epoch, &self.thresholds, interval, now)
    }

    /// Takes what others published, all rows of one read that are fresher than [`CountsInterval::fresh`]; those of another epoch are
    /// nothing. `has_all`: every other live replica is among them. `interval`: the longest by which some replica may still publish.
    ///
    /// A row makes a breaker hot that is not.
    pub fn take_counts(
        &mut self,
        rows: &[ReadCounts],
        has_all: bool,
        interval: CountsInterval,
        now: Time,
    ) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        let rows: Vec<_> = rows.iter().filter(|row| row.counts.epoch == self.epoch).collect();
        if self.proposed().is_some() || self.numbering == Numbering::Own {
            return transitions;
        }
        let heats = rows.iter().any(|row| row.trouble_age(interval).is_some());
        let Some(mut shared) = self.take_shared(heats, now) else { return transitions };
        let thresholds = Arc::clone(&self.thresholds);
        let deltas = shared.take(&rows, has_all, interval, now);
        let is_judged = shared.is_unjudged() || !deltas.is_empty();
        let own = shared.own_calls();
        let trips = shared.judged(&thresholds, true, now);
        shared.looked(&thresholds, now);
        self.replicated.get_or_insert_default().counts = Some(shared);
        if is_judged {
            transitions.extend(self.count_remote(&deltas, own, trips, now));
        }
        transitions
    }

    /// Counts what other replicas counted, in the state it was counted in. A read that brings nothing new is
    /// only a read.
    pub fn record_remote(&mut self, deltas: &Deltas, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if self.proposed().is_none() && !deltas.is_empty() {
            transitions.extend(self.count_remote(deltas, OwnCalls::default(), TripsJudged::ALL, now));
        }
        transitions
    }

    fn count_remote(
        &mut self,
        deltas: &Deltas,
        own: OwnCalls,
        trips: TripsJudged,
        now: Time,
    ) -> Option<Transition> {
        let thresholds = Arc::clone(&self.thresholds);
        if let Phase::MetricsOnly(metrics_only) = &mut self.phase {
            metrics_only.look(&thresholds, now);
        }
        self.tally()?.count_remote(deltas, own, thresholds.minimum_reporters(), now);
        self.tripped(&thresholds, None, trips, now).or_else(|| self.crossed(&thresholds, None, trips, now))
    }

    /// Counts own calls, before the tally does, if replicas count this breaker together; a call that failed, or was slow, begins
    /// that.
    pub(super) fn share(&mut self, run: Run, thresholds: &Thresholds, now: Time) {
        if self.numbering == Numbering::Own {
            return;
        }
        let begins = run.failed || run.slow;
        if !begins && self.shared().is_none() {
            return;
        }
        let Some(mut shared) = self.take_shared(begins, now) else { return };
        if shared.count(run, thresholds, now) {
            self.replicated.get_or_insert_default().counts = Some(shared);
        }
    }

    /// Takes it out; makes it first where there is none, if it `begins`, and calls are counted in this state.
    fn take_shared(&mut self, begins: bool, now: Time) -> Option<Box<SharedCounts>> {
        let present = self.replicated.as_mut().and_then(|replicated| replicated.counts.take());
        if present.is_some() || !begins {
            return present;
        }
        let thresholds = Arc::clone(&self.thresholds);
        let tally = self.tally()?;
        tally.advance(now);
        Some(Box::new(SharedCounts::new(tally, &thresholds, now)))
    }

    /// Which trips an outcome can make, or a look at what others counted.
    pub(super) fn trips_judged(&self, at_look: bool, now: Time) -> TripsJudged {
        self.shared().map_or(TripsJudged::ALL, |shared| shared.judged(&self.thresholds, at_look, now))
    }

    /// What was counted is over.
    pub(super) fn end_sharing(&mut self) {
        if let Some(replicated) = &mut self.replicated {
            replicated.counts = None;
        }
    }

    /// Keeps what was counted, under other thresholds.
    pub(super) fn reshape(&mut self, now: Time) {
        let thresholds = Arc::clone(&self.thresholds);
        if self.tally().is_some_and(|tally| tally.reshape(&thresholds, now)) {
            self.end_sharing();
        }
    }
}
