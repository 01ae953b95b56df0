//! What is asked of the store that replicas share: probes for calls, and what became of them.
//!
//! A claim is the replica's and not the call's: a call that goes away leaves its probe to the next one. One batch is on its way
//! at a time, of many breakers; what is not answered is asked again, and means the same.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use breaker::{Key, ProbeAnswer, ProbeGrant, ProbeReport, Time};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::engine::{BreakerRequests, Engine, StoreAnswer};
use crate::journal::Journal;
use crate::store::{ProbeRequest, ProbeResponse, SharedStore, TransitionId};

/// Breakers that claim, probes that go back, or outcomes, in one batch.
const BATCH_MAX: usize = 256;
/// Outcomes of probes that wait for the store. There are few: P a breaker that is half-open. One beyond it is refused.
const OUTCOMES_MAX: usize = 65_536;
/// Times that a breaker gives probes back while the store does not answer. What is beyond is free when its lease ends.
const RETURNED_MAX: usize = 4_096;
/// How long an outcome waits for the store, longer than most leases: it may have a slot there for as long.
const OUTCOME_KEPT: Duration = Duration::from_mins(5);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Asks the store on behalf of the breakers of this replica.
pub struct Coordinator {
    engine: Arc<Engine>,
    store: Arc<dyn SharedStore>,
    clock: Arc<dyn Clock>,
    /// Random, and other than that of the journal: ids of transitions that outcomes decide are of their own.
    boot: u64,
    next_seq: AtomicU64,
    outcomes: Mutex<VecDeque<Outcome>>,
    filled: Notify,
    /// What was asked last was not answered.
    failing: AtomicBool,
    journal: Arc<Journal>,
}

/// The outcome of a probe, on its way to the store.
struct Outcome {
    key: Key,
    id: TransitionId,
    report: ProbeReport,
    took: Option<Duration>,
    reported_at: Time,
    /// Who waits for the answer; it may have gone.
    waiting: oneshot::Sender<ProbeAnswer>,
}

/// Probes that a breaker gives back, which the store has not heard of yet.
struct Returned {
    key: Key,
    epoch: u64,
    nonces: Vec<u64>,
}

impl std::fmt::Debug for Coordinator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coordinator").field("outcomes", &self.outcomes.lock().len()).finish_non_exhaustive()
    }
}

impl Coordinator {
    /// For the breakers of `engine`. The ids of the transitions that outcomes decide are like those of `journal`, and of a life
    /// of their own: `boot`, which is random.
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn SharedStore>,
        clock: Arc<dyn Clock>,
        journal: &Arc<Journal>,
        boot: u64,
    ) -> Self {
        Self {
            engine,
            store,
            clock,
            boot: !boot,
            next_seq: AtomicU64::new(0),
            outcomes: Mutex::default(),
            filled: Notify::new(),
            failing: AtomicBool::new(false),
            journal: Arc::clone(journal),
        }
    }

    /// Whether the store did not answer the last time, so that no call should wait for it.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed) || self.journal.is_store_failing()
    }

    /// Takes the outcome of a probe to the store, and answers what it says; none: too many wait already.
    pub(super) fn report(
        &self,
        key: Key,
        report: ProbeReport,
        took: Option<Duration>,
    ) -> Option<oneshot::Receiver<ProbeAnswer>> {
        let (waiting, answer) = oneshot::channel();
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        let id = TransitionId { replica: self.journal.replica(), boot: self.boot, seq };
        let outcome = Outcome { key, id, report, took, reported_at: self.clock.now(), waiting };
        let mut outcomes = self.outcomes.lock();
        if outcomes.len() >= OUTCOMES_MAX {
            return None;
        }
        outcomes.push_back(outcome);
        drop(outcomes);
        self.filled.notify_one();
        Some(answer)
    }

    /// Asks until `stop`. For one task.
    pub async fn run(&self, stop: CancellationToken) {
        let mut returned = VecDeque::new();
        loop {
            let asked = async {
                tokio::select! {
                    biased;
                    () = self.engine.requested() => {}
                    () = self.filled.notified() => {}
                }
            };
            if returned.is_empty() && stop.run_until_cancelled(asked).await.is_none() {
                return;
            }
            loop {
                // Neither keeps the other waiting for more than a batch.
                let (settled, asked) = (self.settle_outcomes().await, self.ask(&mut returned).await);
                if stop.is_cancelled() {
                    return;
                }
                if !settled && !asked {
                    break;
                }
            }
        }
    }

    /// Takes outcomes to the store; false: there are none.
    async fn settle_outcomes(&self) -> bool {
        let now = self.clock.now();
        let batch: Vec<_> = {
            let mut outcomes = self.outcomes.lock();
            outcomes.retain(|outcome| now.since(outcome.reported_at) < OUTCOME_KEPT);
            let most = outcomes.len().min(BATCH_MAX);
            outcomes.drain(..most).collect()
        };
        if batch.is_empty() {
            return false;
        }
        let requests: Vec<_> = batch.iter().map(|outcome| outcome.request(now)).collect();
        let Some(responses) = self.send(&requests).await else {
            self.keep(batch);
            return true;
        };
        let now = self.clock.now();
        for (outcome, response) in batch.into_iter().zip(responses) {
            self.settled(outcome, response, now);
        }
        true
    }

    /// Puts outcomes back to where they were, beyond the bound if need be: they were within it.
    fn keep(&self, batch: Vec<Outcome>) {
        let mut outcomes = self.outcomes.lock();
        batch.into_iter().rev().for_each(|outcome| outcomes.push_front(outcome));
    }

    fn settled(&self, outcome: Outcome, response: ProbeResponse, now: Time) {
        let ProbeResponse::Settled { answer, entered_by } = response else { return };
        let settled = StoreAnswer::Settled { report: &outcome.report, took: outcome.took, answer: &answer };
        self.engine.take_answer(&outcome.key, &settled, entered_by, now);
        // Nobody may wait any more.
        let _ = outcome.waiting.send(answer);
    }

    /// Claims what breakers want, and gives back what they do not; false: there is nothing.
    async fn ask(&self, returned: &mut VecDeque<Returned>) -> bool {
        let mut claims = Vec::new();
        for BreakerRequests { key, epoch, claim, returned: nonces } in
            self.engine.take_requests(BATCH_MAX, self.clock.now())
        {
            if !nonces.is_empty() {
                returned.push_back(Returned { key: key.clone(), epoch, nonces });
            }
            claims.extend(claim.map(|claim| ProbeRequest::Claim { key, claim }));
        }
        let given_back = returned.len().min(BATCH_MAX);
        // Given back first: another replica may want them.
        let releases = returned.iter().take(given_back).map(Returned::request);
        let requests: Vec<_> = releases.chain(claims).collect();
        if requests.is_empty() {
            // Those that were taken have nothing to ask any more; others may.
            return self.engine.is_asked();
        }
        let Some(responses) = self.send(&requests).await else {
            let dropped = returned.len().saturating_sub(RETURNED_MAX);
            returned.drain(..dropped);
            for request in &requests {
                if matches!(request, ProbeRequest::Claim { .. }) {
                    self.engine.ask_again(request.key());
                }
            }
            return true;
        };
        returned.drain(..given_back);
        let now = self.clock.now();
        for (request, response) in requests.iter().zip(responses) {
            let ProbeResponse::Claimed { grant, row } = response else { continue };
            self.engine.take_answer(request.key(), &StoreAnswer::Row(&row.row), row.entered_by, now);
            // None was given where the row is another one; the claim is answered all the same.
            let grant = grant.unwrap_or_else(|| ProbeGrant::refused(request.epoch()));
            self.engine.take_answer(request.key(), &StoreAnswer::Probes(&grant), None, now);
        }
        true
    }

    /// Asks the store; none: it did not answer, and it is time to try again.
    async fn send(&self, requests: &[ProbeRequest]) -> Option<Vec<ProbeResponse>> {
        let answer = self.store.ask_probes(requests).await;
        self.failing.store(answer.is_err(), Ordering::Relaxed);
        if let Err(error) = &answer {
            tracing::debug!(error = error as &dyn std::error::Error, "store did not answer about probes");
            self.clock.sleep_until(self.clock.now() + PAUSE).await;
        }
        answer.ok()
    }
}

impl Returned {
    fn request(&self) -> ProbeRequest {
        ProbeRequest::Release { key: self.key.clone(), epoch: self.epoch, nonces: self.nonces.clone() }
    }
}

impl Outcome {
    fn request(&self, now: Time) -> ProbeRequest {
        ProbeRequest::Settle {
            key: self.key.clone(),
            id: self.id.clone(),
            report: self.report.clone(),
            age: now.since(self.reported_at),
        }
    }
}
