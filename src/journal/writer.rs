//! Carries the journal to the store, in batches and in order.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use breakerd_common::clock::{Clock, SystemClock};
use tokio_util::sync::CancellationToken;

use super::blocking::blocking;
use super::{Batch, Journal};
use crate::store::{Answer, Answered, Proposal, SharedStore, StoreError, TransitionStore};

/// The first pause after the store did not answer; it doubles up to the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Short enough that what waits is written within about a second after the store takes writes again.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// A pause is longer or shorter by up to this part of it, so that replicas that lost one store do not come back to it
/// all at once.
const JITTER: f64 = 0.25;

/// Where the answers to proposals go.
///
/// Called with the journal's log locked: it does no IO.
pub trait AnswerSink: Send + Sync + 'static {
    /// The store answered a proposal.
    fn answered(&self, proposal: &Proposal, answered: &Answered);

    /// The store rejected a proposal for good, and it is left out.
    fn dropped(&self, proposal: &Proposal);

    /// Whether the store answers in its present timeline, as far as that is known here. In another, the answer settles nothing: it
    /// is of a store that has gone back since, or of one that did and is not followed yet.
    fn is_present(&self, answered: &Answered) -> bool;

    /// The timeline of the store that is followed here.
    fn timeline(&self) -> u32;
}

/// Where proposals go.
enum Target {
    /// To a store that this process has for itself: what it proposes stands already, and nobody waits for the answer.
    Own(Arc<dyn TransitionStore>),
    /// To one that others write to as well.
    Shared(Arc<dyn SharedStore>, Arc<dyn AnswerSink>),
}

impl Target {
    /// The answers are to the first of the proposals: the others are in the store.
    async fn propose(&self, journal: &Journal, proposals: &mut [Proposal]) -> Result<Answers, StoreError> {
        match self {
            Self::Own(store) => store.propose(proposals).await.map(Answers::Own),
            Self::Shared(store, sink) => {
                // What the store told of itself is kept for a store that goes back, and is not asked about before: it goes last.
                let timeline = sink.timeline();
                let is_in_store = |proposal: &Proposal| proposal.decided_in.is_in_store(timeline);
                proposals.sort_by_key(is_in_store);
                let asked = proposals.partition_point(|proposal| !is_in_store(proposal));
                let proposals = &mut proposals[..asked];
                if proposals.is_empty() {
                    return Ok(Answers::Shared(Vec::new(), Arc::clone(sink)));
                }
                for proposal in &mut *proposals {
                    proposal.age = journal.age_of(proposal);
                }
                let answered = store.propose_shared(proposals).await?;
                Ok(Answers::Shared(answered, Arc::clone(sink)))
            }
        }
    }
}

/// What the store answered to a batch.
enum Answers {
    Own(Vec<Answer>),
    /// And who is told.
    Shared(Vec<Answered>, Arc<dyn AnswerSink>),
}

impl Answers {
    /// Tells of the answers; false: they settle nothing, and nobody was told.
    fn tell(&self, proposals: &[Proposal]) -> bool {
        let Self::Shared(answered, sink) = self else { return true };
        let is_present = answered.iter().all(|answered| sink.is_present(answered));
        if is_present {
            for (proposal, answered) in proposals.iter().zip(answered) {
                sink.answered(proposal, answered);
            }
        }
        is_present
    }

    fn log_superseded(&self, proposals: &[Proposal]) {
        let answers: Vec<_> = match self {
            Self::Own(answers) => answers.iter().collect(),
            Self::Shared(answered, _) => answered.iter().map(|answered| &answered.answer).collect(),
        };
        for (proposal, answer) in proposals.iter().zip(answers) {
            // Replicas that propose the same at once are in agreement, and what was decided alone is history.
            if let Answer::Lost { present } = answer
                && !proposal.store_unavailable
                && !proposal.change.is_brought_about_by(present)
            {
                tracing::warn!(
                    breaker = %proposal.key,
                    epoch = present.epoch,
                    state = %present.state,
                    "store has a newer state of this breaker, transition superseded"
                );
            }
        }
    }
}

/// The road from the journal to the store.
pub struct Writer {
    journal: Arc<Journal>,
    target: Target,
    /// What pauses are counted by.
    clock: Arc<dyn Clock>,
    /// The store did not take the last batch, and the log says so.
    refused: bool,
    /// The log says that the journal cannot be read.
    unreadable: bool,
}

impl Writer {
    /// Will carry what is in `journal` to `store`.
    pub fn new(journal: Arc<Journal>, store: Arc<dyn TransitionStore>) -> Self {
        // The store is a real one even where the time of the breakers is not.
        let clock = Arc::new(SystemClock::start());
        Self { journal, target: Target::Own(store), clock, refused: false, unreadable: false }
    }

    /// Will carry what is in `journal` to `store`, which others write to as well, and the answers to `answers`.
    pub fn to_shared(
        journal: Arc<Journal>,
        store: Arc<dyn SharedStore>,
        answers: Arc<dyn AnswerSink>,
    ) -> Self {
        let clock = Arc::clone(&journal.clock);
        Self { journal, target: Target::Shared(store, answers), clock, refused: false, unreadable: false }
    }

    /// Runs until `stop`. The batch that is under way then is finished.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut pause = PAUSE_FIRST;
        let batch_max = self.journal.batch_entries();
        let mut most = batch_max;
        loop {
            let waited = match self.step(most).await {
                Step::Wrote => {
                    pause = PAUSE_FIRST;
                    // After a search for a wrong row, back to whole batches bit by bit.
                    most = (most * 2).min(batch_max);
                    continue;
                }
                Step::Wrong => {
                    most = 1;
                    continue;
                }
                Step::Idle => stop.run_until_cancelled(self.journal.filled()).await,
                Step::Unsettled => {
                    let until = self.clock.now() + PAUSE_FIRST;
                    stop.run_until_cancelled(self.clock.sleep_until(until)).await
                }
                Step::Failed => {
                    let now = self.clock.now();
                    let until = now + jittered(pause, self.journal.boot ^ now.as_micros());
                    let waited = stop.run_until_cancelled(self.clock.sleep_until(until)).await;
                    pause = longer(pause);
                    waited
                }
            };
            if waited.is_none() {
                return;
            }
        }
    }

    /// One batch of at most `most` entries.
    pub(super) async fn step(&mut self, most: usize) -> Step {
        let mut batch = match self.next(most).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Step::Idle,
            Err(error) => {
                if !std::mem::replace(&mut self.unreadable, true) {
                    tracing::error!(%error, "journal cannot be read, retrying");
                }
                return Step::Failed;
            }
        };
        self.unreadable = false;
        let error = match self.target.propose(&self.journal, &mut batch.proposals).await {
            Ok(answers) => {
                let settled = self.settle(batch, answers, |proposals, answers| answers.tell(proposals)).await;
                let Some((proposals, answers)) = settled else { return Step::Unsettled };
                answers.log_superseded(&proposals);
                self.answered();
                return Step::Wrote;
            }
            Err(error) => error,
        };
        if matches!(error, StoreError::Corrupt { .. }) {
            return self.search(batch, &error).await;
        }
        self.journal.failed();
        self.did_not_answer(&error);
        Step::Failed
    }

    /// Reads the next batch from the files, on a thread that may wait for the disk.
    async fn next(&self, most: usize) -> io::Result<Option<Batch>> {
        let journal = Arc::clone(&self.journal);
        blocking(move || journal.next(most)).await.unwrap_or(Ok(None))
    }

    /// Tells of the answers, and notes that the store has the batch; none: they say nothing ([`Journal::settle`]), or the process ends:
    /// the next start sends the batch again, which the store then knows.
    async fn settle<T: Send + 'static>(
        &self,
        batch: Batch,
        answers: T,
        tell: impl FnOnce(&[Proposal], &T) -> bool + Send + 'static,
    ) -> Option<(Vec<Proposal>, T)> {
        let journal = Arc::clone(&self.journal);
        let settled = move || {
            let is_settled = journal.settle(&batch, || tell(&batch.proposals, &answers));
            is_settled.then_some((batch.proposals, answers))
        };
        blocking(settled).await.flatten()
    }

    /// Something in the batch meets a row that is wrong, and would stop the history of every breaker: the
    /// entries are tried one by one, and the one at fault is left out, loudly.
    async fn search(&self, batch: Batch, error: &StoreError) -> Step {
        if batch.proposals.len() > 1 {
            self.journal.failed();
            return Step::Wrong;
        }
        let sink = match &self.target {
            Target::Own(_) => None,
            Target::Shared(_, sink) => Some(Arc::clone(sink)),
        };
        let tell = |proposals: &[Proposal], sink: &Option<Arc<dyn AnswerSink>>| {
            if let Some(sink) = sink {
                for proposal in proposals {
                    sink.dropped(proposal);
                }
            }
            true
        };
        let Some((changes, _)) = self.settle(batch, sink, tell).await else { return Step::Unsettled };
        tracing::error!(
            error = error as &dyn std::error::Error,
            ?changes,
            "store rejected a transition: dropped from the history"
        );
        Step::Wrote
    }

    fn answered(&mut self) {
        if std::mem::replace(&mut self.refused, false) {
            tracing::info!("store available again, writing the journal to it");
        }
    }

    fn did_not_answer(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.refused, true) {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "store write failed: transitions wait in the journal"
            );
        }
    }
}

/// The pause after the next failure.
fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

/// A pause, longer or shorter by chance, which is drawn from `seed`.
fn jittered(pause: Duration, seed: u64) -> Duration {
    let drawn = breaker::mix(seed) >> 32;
    let chance = f64::from(u32::try_from(drawn).unwrap_or(u32::MAX)) / f64::from(u32::MAX);
    pause.mul_f64(1.0 - JITTER + 2.0 * JITTER * chance)
}

/// What came of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Wrote,
    Idle,
    Failed,
    /// The answers say nothing: the store is in another timeline, or the journal is sent again.
    Unsettled,
    /// A row is wrong, and the batch has more entries than one.
    Wrong,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let pauses = std::iter::successors(Some(PAUSE_FIRST), |pause| Some(longer(*pause)));
        let pauses: Vec<_> = pauses.take(6).map(|pause| pause.as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1_000, 1_000]);
    }

    #[test]
    fn pauses_of_several_replicas_spread() {
        let pauses: Vec<_> = (0..100).map(|seed| jittered(PAUSE_MAX, seed)).collect();
        let (least, most) = (pauses.iter().min().unwrap(), pauses.iter().max().unwrap());
        assert!(*least >= PAUSE_MAX.mul_f64(1.0 - JITTER) && *most <= PAUSE_MAX.mul_f64(1.0 + JITTER));
        assert!(*least < PAUSE_MAX && PAUSE_MAX < *most, "{least:?} to {most:?}");
    }
}
