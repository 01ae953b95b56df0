//! What the store and other replicas say of a breaker.

use std::sync::Arc;

use super::Breaker;
use super::phase::Phase;
use crate::state::State;
use crate::tally::Deltas;
use crate::time::Time;
use crate::transition::{Snapshot, Transition};

impl Breaker {
    /// The store numbered the proposal that left `base_epoch`; false when there is no such proposal.
    pub fn confirm(&mut self, base_epoch: u64, epoch: u64) -> bool {
        if self.proposed.is_none() || self.epoch != base_epoch {
            return false;
        }
        self.proposed = None;
        self.epoch = epoch;
        true
    }

    /// Takes over the state that the store holds, as it is.
    ///
    /// Another epoch, or another state under its number (the store went back), starts with nothing counted,
    /// and drops a proposal under way. The very state that a proposal was made in says nothing about it yet,
    /// so that the proposal stands; except that OPEN, where half-open was proposed, says that it was too early.
    /// The state that it is in already only sets the wait: the store's clock is the clock.
    pub fn adopt(&mut self, snapshot: Snapshot, now: Time) {
        let now = self.clock(now);
        let same_epoch = snapshot.epoch == self.epoch;
        if same_epoch && self.proposed == Some(snapshot.state) {
            // Half-open is proposed in OPEN only.
            if self.state() == State::HalfOpen {
                self.take_over(snapshot, now);
            }
        } else if self.proposed.is_some() || !same_epoch || snapshot.state != self.state() {
            self.take_over(snapshot, now);
        } else if let (Phase::Open(open), Some(wait)) = (&mut self.phase, snapshot.wait) {
            (open.wait, open.retry_after) = (wait, snapshot.retry_after);
            self.entered_at = self.wall.to_monotonic(snapshot.entered_at).min(now);
        }
    }

    /// Counts what other replicas counted, in the state it was counted in. A read that brings nothing new is
    /// only a read.
    pub fn record_remote(&mut self, deltas: &Deltas, now: Time) -> Vec<Transition> {
        let now = self.clock(now);
        let mut transitions = self.advance(now);
        if self.proposed.is_some() || deltas.is_empty() {
            return transitions;
        }
        let thresholds = Arc::clone(&self.thresholds);
        match &mut self.phase {
            Phase::Closed(tally) => {
                tally.count_remote(deltas, thresholds.minimum_reporters(), now);
                transitions.extend(self.tripped(&thresholds, None, now));
            }
            Phase::MetricsOnly(metrics_only) => {
                metrics_only.look(&thresholds, now);
                metrics_only.tally.count_remote(deltas, thresholds.minimum_reporters(), now);
                transitions.extend(self.crossed(&thresholds, None, now));
            }
            _ => {}
        }
        transitions
    }
}
