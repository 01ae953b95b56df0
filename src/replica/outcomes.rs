//! Outcomes of probes, on their way to the store.

use std::collections::VecDeque;
use std::time::Duration;

use breaker::{EnteredBy, Numbering, ProbeAnswer, ProbeSettled, Snapshot, State, Time};
use tokio::sync::oneshot;

use super::batch_size::BatchSize;
use crate::engine::ReportedProbe;
use crate::store::{Change, DecidedIn, ProbeRequest, Proposal, TransitionId};

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

impl Outcome {
    /// The transition that it may have decided when it came to the store before, and the answer was lost. If another outcome did, the
    /// store does not know it by this id, and has it already.
    pub(super) fn may_have_decided(
        &self,
        answer: &ProbeAnswer,
        entered_by: Option<EnteredBy>,
    ) -> Option<Proposal> {
        let ProbeAnswer { settled, counts, row } = answer;
        let report = &self.reported.report;
        let is_next = *settled == ProbeSettled::Duplicate && row.snapshot.epoch == report.epoch + 1;
        let reason = entered_by.filter(|_| is_next)?.reason;
        let before = Snapshot { epoch: report.epoch, state: State::HalfOpen, ..row.snapshot.clone() };
        let at = row.snapshot.entered_at;
        let transition = report.transition((row.snapshot.state, reason), counts.stats(), &before, at);
        Some(Proposal {
            id: self.id.clone(),
            key: self.reported.key.clone(),
            change: Change::Transition(Box::new(transition)),
            numbering: Numbering::Store,
            store_unavailable: false,
            decided_at: self.reported_at,
            service_override: None,
            age: Duration::ZERO,
            decided_in: DecidedIn::timeline(row.version.timeline),
        })
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
