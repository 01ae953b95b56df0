//! A replica on a store in memory, which can be made to wait with its answers, or not to answer.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use async_trait::async_trait;
use breaker::{
    AfterMaxWait, HalfOpenTerms, Key, Numbering, Override, OverrideKind, Scope, Snapshot, Stats, Transition,
};
use breakerd_common::clock::ManualClock;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::life::Life;
use super::*;
use crate::engine::Allowed;
use crate::journal::Journal;
use crate::store::{
    Answered, Change, ChangedRow, MemoryStore, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowsPage,
    SharedStore, StoreError, TransitionId,
};

/// How long a probe may be out.
pub(super) const LEASE: Duration = Duration::from_mins(1);

/// The store, and what it was asked.
pub(super) struct Asked {
    pub(super) store: MemoryStore,
    /// The batches about probes, whether they were answered or not.
    pub(super) batches: Mutex<Vec<Vec<ProbeRequest>>>,
    /// A permit for each batch that may come to it.
    pub(super) answers: Semaphore,
    /// A permit for each answer that may come back.
    pub(super) delivered: Semaphore,
    pub(super) is_away: AtomicBool,
    /// The breaker whose requests it refuses, and with them their batch.
    pub(super) refused: Mutex<Option<&'static str>>,
    /// Another operator disables the breaker each time before a proposal comes.
    pub(super) is_contended: AtomicBool,
}

#[async_trait]
impl SharedStore for Asked {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        if self.is_contended.load(Relaxed) {
            self.store.propose_shared(&[disabled(&proposals[0])]).await?;
        }
        self.store.propose_shared(proposals).await
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        self.batches.lock().push(requests.to_vec());
        self.answers.acquire().await.unwrap().forget();
        if self.is_away.load(Relaxed) {
            return Err(StoreError::unavailable("ask about probes", "it is away"));
        }
        if requests.iter().any(|request| Some(&**request.key().name()) == *self.refused.lock()) {
            return Err(StoreError::Corrupt { act: "ask about probes", problem: "one is wrong".to_owned() });
        }
        let responses = self.store.ask_probes(requests).await;
        self.delivered.acquire().await.unwrap().forget();
        responses
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        self.store.rows_after(after, seen, limit).await
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        self.store.use_rows(used).await
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.store.begin_timeline(present, past).await
    }
}

/// A replica, and its store.
pub(super) struct Bed {
    pub(super) engine: Arc<Engine>,
    pub(super) clock: ManualClock,
    pub(super) asked: Arc<Asked>,
    pub(super) coordinator: Arc<Coordinator>,
    pub(super) replica: Replica,
    pub(super) journal: Arc<Journal>,
    _folder: tempfile::TempDir,
}

impl Bed {
    /// With breakers of these names in half-open, with so many probes each.
    pub(super) async fn half_open(names: &[&str], permitted: u32) -> Self {
        let clock = ManualClock::new(NOW);
        let store = MemoryStore::new(Arc::new(clock.clone()), 7);
        let proposals: Vec<_> =
            (0..).zip(names).map(|(seq, name)| to_half_open(seq, name, permitted)).collect();
        store.propose_shared(&proposals).await.unwrap();
        let asked = Arc::new(Asked {
            store,
            batches: Mutex::default(),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            delivered: Semaphore::new(Semaphore::MAX_PERMITS),
            is_away: AtomicBool::new(false),
            refused: Mutex::default(),
            is_contended: AtomicBool::new(false),
        });
        let Life { engine, journal, folder } = Life::new("here", 1, Arc::new(clock.clone()));
        let any_clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let coordinator = Coordinator::new(
            Arc::clone(&engine),
            Arc::<Asked>::clone(&asked),
            Arc::clone(&any_clock),
            &journal,
            1,
        );
        let coordinator = Arc::new(coordinator);
        let hint = Arc::<Notify>::default();
        let mut tail = Tail::new(
            Arc::clone(&engine),
            Arc::<Asked>::clone(&asked),
            Arc::clone(&any_clock),
            Arc::clone(&hint),
        );
        tail.catch_up().await.unwrap();
        let replica = Replica::of_several(Arc::clone(&engine), any_clock, Arc::clone(&coordinator), hint);
        Self { engine, clock, asked, coordinator, replica, journal, _folder: folder }
    }

    /// Carries what breakers ask to the store, until it is stopped.
    pub(super) fn run(&self) -> (CancellationToken, JoinHandle<()>) {
        let (stop, coordinator) = (CancellationToken::new(), Arc::clone(&self.coordinator));
        let stopped = stop.clone();
        (stop, tokio::spawn(async move { coordinator.run(stopped).await }))
    }

    /// The store answers nothing from now on.
    pub(super) fn hold_answers(&self) {
        let held = self.asked.answers.forget_permits(usize::MAX);
        assert!(held > 0);
    }

    /// Another operator disables a breaker in half-open.
    pub(super) async fn disable(&self, name: &str) {
        self.asked.store.propose_shared(&[disabled(&to_half_open(0, name, 1))]).await.unwrap();
    }

    /// Ends when it was asked so often.
    pub(super) async fn until_asked(&self, batches: usize) {
        let asked = async {
            while self.asked.batches.lock().len() < batches {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), asked).await.expect("it is asked");
    }

    /// A call that wants a probe, and goes away.
    pub(super) fn want(&self, name: &str) {
        let looked = self.replica.calls(Creator::Server).look(WaitingCall::new(0), "db", name, NOW).unwrap();
        assert!(looked.is_none(), "{looked:?}");
    }

    pub(super) async fn allow(&self, name: &str) -> Allowed {
        self.replica.allow(Creator::Server, "db", name, self.clock.now()).await.unwrap()
    }

    /// How many probes each claim wants of a batch, by the breaker's name.
    pub(super) fn claims(&self, batch: usize) -> Vec<(String, usize)> {
        let claim = |request: &ProbeRequest| match request {
            ProbeRequest::Claim { key, claim, .. } => Some((key.name().to_string(), claim.nonces.len())),
            ProbeRequest::Release { .. } | ProbeRequest::Settle { .. } => None,
        };
        let mut claims: Vec<_> = self.asked.batches.lock()[batch].iter().filter_map(claim).collect();
        claims.sort();
        claims
    }
}

/// Another operator's act, who has seen everything.
fn disabled(proposal: &Proposal) -> Proposal {
    let mut act = to_half_open(1_000 + proposal.id.seq, proposal.key.name(), 1);
    if let Change::Transition(transition) = &mut act.change {
        (transition.reason, transition.base_epoch) = (breaker::Reason::OverrideSet, u64::MAX - 1);
        let after = Snapshot { epoch: u64::MAX, state: State::Disabled, ..Snapshot::pristine() };
        transition.after = Snapshot { set_by: Some(by_another()), ..after };
    }
    act
}

pub(super) fn by_another() -> Override {
    Override {
        kind: OverrideKind::Disabled,
        scope: Scope::Breaker,
        expires_at: None,
        ttl: None,
        actor: "bob".to_owned(),
        reason: "a drill".to_owned(),
    }
}

pub(super) fn to_half_open(seq: u64, name: &str, permitted: u32) -> Proposal {
    let terms = HalfOpenTerms {
        permitted,
        failures_to_open: 1,
        slow_to_open: None,
        lease: LEASE,
        max_wait: None,
        after_max_wait: AfterMaxWait::Open,
    };
    let after = Snapshot {
        epoch: 1,
        state: State::HalfOpen,
        open_count: 1,
        half_open: Some(terms),
        ..Snapshot::pristine()
    };
    let transition = Transition {
        from: State::Closed,
        reason: breaker::Reason::WaitElapsed,
        stats: Stats::default(),
        base_epoch: 0,
        at: NOW,
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after,
        shadow: false,
    };
    Proposal {
        id: TransitionId { replica: "another".into(), boot: 1, seq },
        key: Key::new("db", name).unwrap(),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Store,
        store_unavailable: false,
        decided_at: NOW,
        service_override: None,
        age: Duration::ZERO,
        decided_in: crate::store::DecidedIn::default(),
    }
}
