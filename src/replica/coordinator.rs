//! What is asked of the store that replicas share: probes for calls, and what became of them.
//!
//! A claim is the replica's and not the call's: a call that goes away leaves its probe to the next one. One batch is on its way
//! at a time, of many breakers; what is not answered is asked again, and means the same. When the process ends, the store is told
//! of the outcomes that wait, and then gets back the probes that no call took.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use breaker::{ProbeAnswer, ProbeGrant, Time};
use breakerd_common::clock::Clock;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use super::batch_size::LIMIT;
use super::newest_seen::NewestSeen;
use super::outcomes::{Outcome, Outcomes};
use super::returns::{Returned, Returns};
use super::standing::standing;
use crate::engine::{BreakerRequests, Engine, ReportedProbe, RequestLimit, Standing, StoreAnswer};
use crate::journal::Journal;
use crate::protocol_rules::{Rule, holds};
use crate::store::{Change, ChangeId, ProbeRequest, ProbeResponse, Proposal, SharedStore, TransitionId};
use crate::trouble::Trouble;

/// What it asks of the store.
const ACT: &str = "ask about probes";
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// How long the end may take, at the most, when nothing else is said.
const GRACE: Duration = Duration::from_secs(5);

/// Asks the store on behalf of the breakers of this replica.
pub struct Coordinator {
    engine: Arc<Engine>,
    store: Arc<dyn SharedStore>,
    clock: Arc<dyn Clock>,
    /// Random, and other than that of the journal: ids of transitions that outcomes decide are of their own.
    boot: u64,
    next_seq: AtomicU64,
    outcomes: Mutex<Outcomes>,
    filled: Notify,
    /// What was asked last was not answered.
    failing: AtomicBool,
    trouble: Trouble,
    /// Requests of one batch, at the most: fewer after one that the store refuses, until that is found.
    requests_max: AtomicUsize,
    /// The process ends: no probe is claimed any more.
    stopping: AtomicBool,
    grace: Duration,
    journal: Arc<Journal>,
    seen: Arc<NewestSeen>,
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
            trouble: Trouble::default(),
            requests_max: AtomicUsize::new(LIMIT.breakers),
            stopping: AtomicBool::new(false),
            grace: GRACE,
            journal: Arc::clone(journal),
            seen: Arc::default(),
        }
    }

    /// The same, and tells `seen` of the changes that answers name.
    #[must_use]
    pub fn noting(mut self, seen: Arc<NewestSeen>) -> Self {
        self.seen = seen;
        self
    }

    /// The same, with so much time for the end instead of 5 seconds: [`Coordinator::run`].
    #[must_use]
    pub fn with_grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Whether no call should wait for the store: it did not answer the last time, or is not asked any more.
    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
            || self.stopping.load(Ordering::Relaxed)
            || self.journal.is_store_failing()
    }

    /// How long the store has not answered.
    pub(super) fn unanswered_for(&self, now: Time) -> Duration {
        self.trouble.lasting(now)
    }

    /// The id of a transition that does not go by the journal.
    pub(super) fn next_id(&self) -> TransitionId {
        let seq = self.next_seq.fetch_add(1, Ordering::Relaxed);
        TransitionId { replica: self.journal.replica(), boot: self.boot, seq }
    }

    /// Keeps a transition that the store has, should the store go back.
    pub(super) fn keep(&self, proposal: Proposal) {
        self.journal.keep(proposal);
    }

    /// Takes note of what an answer names. False: it is of another timeline, and says nothing.
    pub(super) fn note(&self, timeline: u32, newest: ChangeId) -> bool {
        self.seen.note(timeline, newest);
        timeline == self.engine.timeline()
    }

    /// The store.
    pub(super) fn store(&self) -> &Arc<dyn SharedStore> {
        &self.store
    }

    /// Takes the outcome of a probe to the store, and answers what it says; none: too many wait already, or the process ends.
    pub(super) fn report(
        &self,
        reported: ReportedProbe,
        took: Option<Duration>,
    ) -> Option<oneshot::Receiver<ProbeAnswer>> {
        let (waiting, answer) = oneshot::channel();
        let id = self.next_id();
        let reported_at = self.clock.now();
        let outcome = Outcome { reported, id, took, reported_at, is_kept: false, waiting };
        if !self.outcomes.lock().push(outcome) {
            return None;
        }
        self.filled.notify_one();
        Some(answer)
    }

    /// Asks until `stop`. Then it tells the store of the outcomes that wait, gives back the probes that no call took, and ends; at
    /// the latest when the grace time is over. For one task.
    pub async fn run(&self, stop: CancellationToken) {
        let work = async {
            let mut returns = Returns::default();
            self.ask_until(&stop, &mut returns).await;
            self.finish(&mut returns).await;
        };
        let grace_over = async {
            stop.cancelled().await;
            self.clock.sleep_until(self.clock.now() + self.grace).await;
        };
        let is_finished = tokio::select! {
            biased;
            () = work => true,
            () = grace_over => false,
        };
        let outcomes = self.outcomes.lock().close();
        if !is_finished {
            tracing::warn!(outcomes, "store did not answer about probes before the process ended");
        }
    }

    async fn ask_until(&self, stop: &CancellationToken, returns: &mut Returns) {
        loop {
            let asked = async {
                tokio::select! {
                    biased;
                    () = self.engine.requested() => {}
                    () = self.filled.notified() => {}
                }
            };
            if returns.is_empty() && stop.run_until_cancelled(asked).await.is_none() {
                return;
            }
            loop {
                // Neither keeps the other waiting for more than a batch.
                let (settled, asked) = (self.settle_outcomes().await, self.ask(returns).await);
                if stop.is_cancelled() {
                    return;
                }
                if !settled && !asked {
                    break;
                }
            }
        }
    }

    /// Outcomes first: they may close a breaker.
    async fn finish(&self, returns: &mut Returns) {
        self.stopping.store(true, Ordering::Relaxed);
        loop {
            while self.settle_outcomes().await {}
            if holds(Rule::EndReturnsProbes) {
                self.engine.return_stock();
            }
            if !self.ask(returns).await {
                break;
            }
            // Meanwhile calls may have ended that nobody waited for any more: their probes are in stock again.
        }
        // Calls that were still at work.
        while self.settle_outcomes().await {}
    }

    /// Takes outcomes to the store; false: there are none.
    async fn settle_outcomes(&self) -> bool {
        let now = self.clock.now();
        let mut batch = self.outcomes.lock().take_batch(self.requests_max(), now);
        if batch.is_empty() {
            return false;
        }
        let requests: Vec<_> = batch.iter().map(|outcome| outcome.request(now)).collect();
        let responses = match self.send(&requests).await {
            Sent::Answered(responses) => responses,
            Sent::Unanswered => {
                self.outcomes.lock().put_back(batch);
                return true;
            }
            Sent::Refused => {
                for Outcome { reported, .. } in &batch {
                    tracing::error!(breaker = %reported.key, "outcome of a probe dropped, as the store refuses it");
                }
                return true;
            }
        };
        let is_present = self.note_all(&responses);
        let now = self.clock.now();
        if !is_present {
            // It stands where it was decided, and callers may be told of it, whatever the repeat is answered.
            for (outcome, response) in batch.iter_mut().zip(responses) {
                if let ProbeResponse::Settled { decided, .. } = response {
                    self.keep_decided(outcome, decided);
                }
            }
            self.outcomes.lock().put_back(batch);
            self.pause().await;
            return true;
        }
        for (outcome, response) in batch.into_iter().zip(responses) {
            self.settled(outcome, response, now);
        }
        true
    }

    /// False: they are of another timeline. All of one batch are of the same.
    fn note_all(&self, responses: &[ProbeResponse]) -> bool {
        responses.iter().all(|response| match response {
            ProbeResponse::Claimed { row, newest, .. } => self.note(row.row.version.timeline, *newest),
            ProbeResponse::Settled { answer, newest, .. } => self.note(answer.row.version.timeline, *newest),
            ProbeResponse::Released | ProbeResponse::Unreadable(_) => true,
        })
    }

    async fn pause(&self) {
        self.clock.sleep_until(self.clock.now() + PAUSE).await;
    }

    /// Keeps the transition that an outcome decided, once.
    fn keep_decided(&self, outcome: &mut Outcome, decided: Option<Box<Proposal>>) {
        if let Some(decided) = decided
            && !std::mem::replace(&mut outcome.is_kept, true)
        {
            self.keep(*decided);
        }
    }

    fn settled(&self, mut outcome: Outcome, response: ProbeResponse, now: Time) {
        let mut stands = None;
        let (answer, entered_by) = match response {
            ProbeResponse::Settled { answer, entered_by, decided, .. } => {
                stands.clone_from(&decided);
                // Before anybody is told of it.
                self.keep_decided(&mut outcome, decided);
                (answer, entered_by)
            }
            ProbeResponse::Unreadable(problem) => {
                let key = &outcome.reported.key;
                tracing::error!(breaker = %key, problem, "outcome of a probe dropped, as its breaker is unreadable");
                return;
            }
            ProbeResponse::Claimed { .. } | ProbeResponse::Released => return,
        };
        let ReportedProbe { key, report, .. } = &outcome.reported;
        let settled = StoreAnswer::Settled { report, took: outcome.took, answer: &answer };
        self.engine.take_answer(key, &settled, entered_by, now);
        if let Some(Proposal { id, change: Change::Transition(transition), .. }) = stands.as_deref() {
            let standing = standing(key, transition, id, transition.after.epoch, &transition.after);
            // The store's clock has it so.
            self.engine.note_won(&Standing { at: transition.at, ..standing });
        }
        // Nobody may wait any more.
        let _ = outcome.waiting.send(answer);
    }

    /// Claims what breakers want, unless the process ends, and gives back what they do not; false: there is nothing.
    async fn ask(&self, returns: &mut Returns) -> bool {
        let (mut claims, most) = (Vec::new(), self.requests_max());
        let is_stopping = self.stopping.load(Ordering::Relaxed);
        for BreakerRequests { key, timeline, epoch, slots, claim, returned: nonces } in
            self.engine.take_requests(RequestLimit { breakers: most, ..LIMIT }, self.clock.now())
        {
            if !nonces.is_empty() && holds(Rule::ProbesReturned) {
                returns.push(Returned { key: key.clone(), epoch, slots, nonces });
            }
            let claim = claim.filter(|_| !is_stopping);
            claims.extend(claim.map(|claim| ProbeRequest::Claim { key, claim, timeline }));
        }
        // Given back first: another replica may want them.
        let mut requests = returns.batch(most);
        let given_back = requests.len();
        // Those beyond are asked again.
        let left = claims.split_off(claims.len().min(most - given_back));
        for claim in left {
            self.engine.ask_again(claim.key());
        }
        requests.extend(claims);
        if requests.is_empty() {
            // Those that were taken have nothing to ask any more; others may.
            return self.engine.is_asked();
        }
        let responses = match self.send(&requests).await {
            Sent::Answered(responses) => responses,
            Sent::Unanswered => {
                for request in &requests[given_back..] {
                    self.engine.ask_again(request.key());
                }
                return true;
            }
            // As one whose row cannot be read.
            Sent::Refused => {
                let refused = |request: &ProbeRequest| {
                    tracing::error!(breaker = %request.key(), "request for probes dropped, as the store refuses it");
                    ProbeResponse::Unreadable(String::new())
                };
                requests.iter().map(refused).collect()
            }
        };
        returns.told(given_back);
        if !self.note_all(&responses) {
            for request in &requests[given_back..] {
                self.engine.ask_again(request.key());
            }
            self.pause().await;
            return true;
        }
        let now = self.clock.now();
        for (request, response) in requests.iter().zip(responses) {
            let (grant, timeline) = match response {
                ProbeResponse::Claimed { grant, row, .. } => {
                    let answer = StoreAnswer::AnsweredRow(&row.row);
                    self.engine.take_answer(request.key(), &answer, row.entered_by, now);
                    (grant, row.row.version.timeline)
                }
                // The tail says so, once.
                ProbeResponse::Unreadable(_) => (None, self.engine.timeline()),
                ProbeResponse::Released | ProbeResponse::Settled { .. } => continue,
            };
            // None was given where the row is another one; the claim is answered all the same.
            let grant = grant.unwrap_or_else(|| ProbeGrant::refused(request.epoch()));
            let answer = StoreAnswer::Probes { grant: &grant, timeline };
            self.engine.take_answer(request.key(), &answer, None, now);
        }
        true
    }

    fn requests_max(&self) -> usize {
        self.requests_max.load(Ordering::Relaxed)
    }

    /// Asks the store. Where it refuses a batch, and would again, the next ones are halves, until the one request is found that it
    /// refuses: so that this holds up no other.
    async fn send(&self, requests: &[ProbeRequest]) -> Sent {
        let answer = self.store.ask_probes(requests).await;
        self.failing.store(answer.is_err(), Ordering::Relaxed);
        let error = match answer {
            Ok(responses) => {
                self.trouble.is_over(ACT, self.clock.now());
                let more = self.requests_max().saturating_mul(2).min(LIMIT.breakers);
                self.requests_max.store(more, Ordering::Relaxed);
                return Sent::Answered(responses);
            }
            Err(error) => error,
        };
        self.trouble.note(ACT, &error, self.clock.now());
        if error.is_transient() {
            self.pause().await;
            return Sent::Unanswered;
        }
        self.requests_max.store((requests.len() / 2).max(1), Ordering::Relaxed);
        if requests.len() > 1 { Sent::Unanswered } else { Sent::Refused }
    }
}

/// What became of a batch.
enum Sent {
    Answered(Vec<ProbeResponse>),
    /// It is to be asked again.
    Unanswered,
    /// It is one request, which the store refuses.
    Refused,
}
