//! Outcomes of probes, on their way to the store.

use std::collections::VecDeque;
use std::time::Duration;

use breaker::{ProbeAnswer, Time};
use tokio::sync::oneshot;

use super::batch_size::BatchSize;
use crate::engine::ReportedProbe;
use crate::store::{ProbeRequest, TransitionId};

/// There are few: P a breaker that is half-open. One beyond it is refused.
const OUTCOMES_MAX: usize = 65_536;
/// How long an outcome waits for the store, longer than most leases: it may have a slot there for as long.
const OUTCOME_KEPT: Duration = Duration::from_mins(5);

/// The outcome of a probe.
pub(super) struct Outcome {
    pub(super) reported: ReportedProbe,
    /// What the transition is known by that it may decide.
    pub(super) id: TransitionId,
    /// How long the call took; none: it did not say.
    pub(super) took: Option<Duration>,
    pub(super) reported_at: Time,
    /// What it decided is in the journal: an answer told of it that settled nothing.
    pub(super) is_kept: bool,
    /// Who waits for the answer; it may have gone.
    pub(super) waiting: oneshot::Sender<ProbeAnswer>,
}

impl Outcome {
    pub(super) fn request(&self, now: Time) -> ProbeRequest {
        ProbeRequest::Settle {
            key: self.reported.key.clone(),
            id: self.id.clone(),
            report: self.reported.report.clone(),
            age: now.since(self.reported_at),
        }
    }
}

/// Those that the store has not answered yet, in their order.
#[derive(Default)]
pub(super) struct Outcomes {
    waiting: VecDeque<Outcome>,
    is_closed: bool,
}

impl Outcomes {
    /// Takes one in; false: there are too many, or nobody asks the store any more.
    pub(super) fn push(&mut self, outcome: Outcome) -> bool {
        let is_taken = !self.is_closed && self.waiting.len() < OUTCOMES_MAX;
        if is_taken {
            self.waiting.push_back(outcome);
        }
        is_taken
    }

    /// Those of one batch, so many at the most; those that are too old are dropped.
    pub(super) fn take_batch(&mut self, most: usize, now: Time) -> Vec<Outcome> {
        self.waiting.retain(|outcome| now.since(outcome.reported_at) < OUTCOME_KEPT);
        let mut size = BatchSize::default();
        let fits = |Outcome { reported, .. }: &&Outcome| {
            size.admits(&reported.key, reported.report.epoch, reported.slots)
        };
        let batch = self.waiting.iter().take(most).take_while(fits).count();
        self.waiting.drain(..batch).collect()
    }

    /// Puts a batch back to where it was, beyond the bound if need be: it was within it.
    pub(super) fn put_back(&mut self, batch: Vec<Outcome>) {
        batch.into_iter().rev().for_each(|outcome| self.waiting.push_front(outcome));
    }

    /// Nobody asks the store any more. Answers how many it was not told of; who waits for them waits no more.
    pub(super) fn close(&mut self) -> usize {
        self.is_closed = true;
        std::mem::take(&mut self.waiting).len()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}
