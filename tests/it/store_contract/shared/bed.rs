//! A store that replicas can share for one test, and what they ask of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use breaker::{
    AfterMaxWait, CausingOutcome, HalfOpenTerms, Key, Probe, ProbeAnswer, ProbeClaim, ProbeCounts,
    ProbeGrant, ProbeOutcome, ProbeReport, ProbeSettled, Snapshot, State, Time,
};
use breakerd::store::{
    Access, Answer, Answered, Change, ChangedRow, CountStore, MemoryStore, PostgresStore, ProbeRequest,
    ProbeResponse, Proposal, RowCursor, RowsPage, SharedStore, Store, Target,
};
use breakerd_common::clock::ManualClock;

use crate::store_contract::change::{id, proposed, transition};
use crate::support::{Bed, new_database, unique};

/// What a replica sees of its store.
pub(super) trait ReplicaStore: Store + SharedStore + CountStore {}

impl<T: Store + SharedStore + CountStore> ReplicaStore for T {}

/// A lease, long beside what a test takes.
pub(super) const LEASE: Duration = Duration::from_mins(10);

/// A store of its own for one test.
pub(crate) struct SharedBed {
    /// The store, open.
    pub(super) store: Arc<dyn ReplicaStore>,
    kind: Kind,
    /// The ids of the changes that brought breakers into half-open; others in a test are below.
    next_seq: AtomicU64,
}

enum Kind {
    Postgres(Bed),
    Memory(ManualClock, Arc<MemoryStore>),
}

impl SharedBed {
    pub(crate) async fn postgres() -> Self {
        let url = new_database().await;
        let store = Arc::new(PostgresStore::connect(&url, Access::Shared).await.unwrap());
        Self::of_postgres(store, url)
    }

    /// A store on the database at `url`, however it is reached.
    pub(super) fn of_postgres(store: Arc<PostgresStore>, url: String) -> Self {
        let bed = Bed::of(Arc::<PostgresStore>::clone(&store), Target::Postgres(url));
        Self::on(store, Kind::Postgres(bed))
    }

    #[expect(clippy::unused_async, reason = "made as the other is")]
    pub(crate) async fn memory() -> Self {
        let clock = ManualClock::new(Time::from_micros(1_767_225_600_000_000));
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), unique()));
        Self::on(Arc::<MemoryStore>::clone(&store), Kind::Memory(clock, store))
    }

    fn on(store: Arc<dyn ReplicaStore>, kind: Kind) -> Self {
        Self { store, kind, next_seq: AtomicU64::new(1_000_000_000) }
    }

    /// The database, for what only SQL can see; none: the store has no SQL.
    pub(super) fn database(&self) -> Option<&Bed> {
        match &self.kind {
            Kind::Postgres(bed) => Some(bed),
            Kind::Memory(..) => None,
        }
    }

    /// Time passes for the store. Nobody moves the clock of a server: there all that is kept becomes older.
    pub(super) async fn pass(&self, time: Duration) {
        match &self.kind {
            Kind::Memory(clock, _) => clock.advance(time),
            Kind::Postgres(bed) => {
                // Not within the literal: before PostgreSQL 15 that takes 32 bits of them.
                let by = format!("{} * interval '1 microsecond'", time.as_micros());
                bed.sql(&format!(
                    "UPDATE breaker SET entered_at = entered_at - {by}, open_until = open_until - {by},
                                        first_probe_at = first_probe_at - {by}, used_at = used_at - {by},
                                        override_expires_at = override_expires_at - {by};
                     UPDATE service_override SET expires_at = expires_at - {by};
                     UPDATE probe SET lease_until = lease_until - {by}, written_at = written_at - {by};
                     UPDATE counts SET written_at = written_at - {by};
                     UPDATE counting_replica SET seen_at = seen_at - {by};"
                ))
                .await;
            }
        }
    }

    /// The server is on another timeline of its own from now on, as a promoted standby is that lacks nothing.
    pub(super) async fn change_server(&self) {
        match &self.kind {
            Kind::Memory(_, store) => store.promote(&store.snapshot()),
            Kind::Postgres(bed) => bed.sql("UPDATE meta SET postgres_timeline = '00000ABC'").await,
        }
    }

    /// Closes the store, and takes its database away.
    pub(crate) async fn end(self) {
        match self.kind {
            Kind::Postgres(bed) => bed.end().await,
            Kind::Memory(..) => self.store.close().await,
        }
    }

    pub(super) async fn propose(&self, proposal: Proposal) -> Answered {
        let [answered] = self.store.propose_shared(&[proposal]).await.unwrap().try_into().unwrap();
        answered
    }

    /// Brings breakers without a row into half-open, at epoch 1.
    pub(super) async fn half_open<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a Key>,
        permitted: u32,
        failures_to_open: u32,
    ) {
        let proposals: Vec<_> = keys
            .into_iter()
            .map(|key| {
                let seq = self.next_seq.fetch_add(1, Relaxed);
                to_half_open(seq, key, State::Closed, 0, (permitted, failures_to_open))
            })
            .collect();
        for answered in self.store.propose_shared(&proposals).await.unwrap() {
            assert!(matches!(answered.answer, Answer::Won { epoch: 1, .. }), "{answered:?}");
        }
    }

    pub(super) async fn ask(&self, request: ProbeRequest) -> ProbeResponse {
        let [response] = self.store.ask_probes(&[request]).await.unwrap().try_into().unwrap();
        response
    }

    pub(super) async fn claim(
        &self,
        key: &Key,
        epoch: u64,
        nonces: &[u64],
    ) -> (Option<ProbeGrant>, ChangedRow) {
        claimed(self.ask(claim(key, epoch, nonces)).await)
    }

    /// The probes that are given in half-open at epoch 1.
    pub(super) async fn probes(&self, key: &Key, nonces: &[u64]) -> Vec<Probe> {
        self.claim(key, 1, nonces).await.0.expect("half-open at epoch 1").probes
    }

    pub(super) async fn settle(&self, request: ProbeRequest) -> ProbeAnswer {
        settled(self.ask(request).await)
    }

    pub(super) async fn release(&self, key: &Key, epoch: u64, nonces: &[u64]) {
        let release = ProbeRequest::Release { key: key.clone(), epoch, nonces: nonces.to_vec() };
        assert_eq!(self.ask(release).await, ProbeResponse::Released);
    }

    pub(super) async fn rows_after(&self, after: &RowCursor, limit: u32) -> RowsPage {
        self.store.rows_after(after, &[after.revision], limit).await.unwrap()
    }
}

/// A change to half-open with so many probes, and so many failures to open, that the store is to number.
pub(super) fn to_half_open(
    seq: u64,
    key: &Key,
    from: State,
    base_epoch: u64,
    (permitted, failures_to_open): (u32, u32),
) -> Proposal {
    let mut change = transition(from, State::HalfOpen, base_epoch);
    change.after.half_open = Some(HalfOpenTerms {
        permitted,
        failures_to_open,
        slow_to_open: None,
        lease: LEASE,
        max_wait: None,
        after_max_wait: AfterMaxWait::Open,
    });
    let change = Change::Transition(Box::new(change));
    Proposal { change, ..proposed(seq, key, from, State::HalfOpen, base_epoch) }
}

pub(super) fn claim(key: &Key, epoch: u64, nonces: &[u64]) -> ProbeRequest {
    let claim = ProbeClaim { epoch, nonces: nonces.to_vec(), sent_at: Time::ZERO };
    ProbeRequest::Claim { key: key.clone(), claim, timeline: 0 }
}

/// The outcome of a probe of epoch 1. The transition that it may decide is known by the nonce.
pub(super) fn settle(key: &Key, probe: Probe, outcome: Option<ProbeOutcome>) -> ProbeRequest {
    ProbeRequest::Settle {
        key: key.clone(),
        id: id(probe.nonce),
        report: ProbeReport {
            epoch: 1,
            probe,
            outcome,
            causing: CausingOutcome { error_class: "Timeout".to_owned(), caller: "web-2".to_owned() },
            wait: Duration::from_secs(30),
            retry_after: None,
            config_revision: 9,
            rejected_calls: 5,
        },
        age: Duration::ZERO,
    }
}

pub(super) fn succeeded(key: &Key, probe: Probe) -> ProbeRequest {
    settle(key, probe, Some(ProbeOutcome { failed: false, slow: false }))
}

pub(super) fn failed(key: &Key, probe: Probe) -> ProbeRequest {
    settle(key, probe, Some(ProbeOutcome { failed: true, slow: true }))
}

/// The same request, of so long ago.
pub(super) fn waited(request: ProbeRequest, waited: Duration) -> ProbeRequest {
    match request {
        ProbeRequest::Settle { key, id, report, .. } => ProbeRequest::Settle { key, id, report, age: waited },
        other => panic!("{other:?}"),
    }
}

/// The same request, of a probe of another epoch.
pub(super) fn of_epoch(request: ProbeRequest, epoch: u64) -> ProbeRequest {
    match request {
        ProbeRequest::Settle { key, id, report, age } => {
            ProbeRequest::Settle { key, id, report: ProbeReport { epoch, ..report }, age }
        }
        other => panic!("{other:?}"),
    }
}

pub(super) fn claimed(response: ProbeResponse) -> (Option<ProbeGrant>, ChangedRow) {
    match response {
        ProbeResponse::Claimed { grant, row, .. } => (grant, row),
        other => panic!("{other:?}"),
    }
}

pub(super) fn settled(response: ProbeResponse) -> ProbeAnswer {
    match response {
        ProbeResponse::Settled { answer, .. } => answer,
        other => panic!("{other:?}"),
    }
}

/// What became of an outcome, the probes completed, and the state after it.
pub(super) fn brief(answer: &ProbeAnswer) -> (ProbeSettled, u32, State) {
    let ProbeAnswer { settled, counts: ProbeCounts { completed, .. }, row } = answer;
    (*settled, *completed, row.snapshot.state)
}

/// A state as it was written, whenever that was.
pub(super) fn timeless(snapshot: &Snapshot) -> Snapshot {
    Snapshot { entered_at: Time::ZERO, ..snapshot.clone() }
}
