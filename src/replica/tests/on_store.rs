//! Replicas with journals of their own, on one store.

use async_trait::async_trait;
use tokio::sync::Semaphore;

use super::life::Life;
use super::*;
use crate::engine::{Appended, Event, Standing, TransitionSink};
use crate::replica::Replication;
use crate::store::{
    Answered, ChangedRow, MemoryStore, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowsPage,
    SharedStore, StoreError,
};

/// A replica with a journal of its own, on a store that others have too.
pub(super) struct OnStore {
    pub(super) replication: Replication,
    pub(super) engine: Arc<Engine>,
    pub(super) journal: Arc<Journal>,
    /// What it logged and counted.
    pub(super) stood: Stood,
    pub(super) folder: tempfile::TempDir,
}

pub(super) type Stood = Arc<Mutex<Vec<(State, u64)>>>;

/// The journal, and what stands.
struct Noting(Arc<Journal>, Stood);

impl TransitionSink for Noting {
    fn append(&self, event: Event<'_>) -> Appended {
        self.0.append(event)
    }

    fn stands(&self, standing: &Standing<'_>) {
        self.1.lock().push((standing.transition.after.state, standing.epoch));
    }
}

impl OnStore {
    pub(super) fn new(
        life: (&str, u64),
        timeline: u32,
        store: &Arc<MemoryStore>,
        clock: &ManualClock,
    ) -> Self {
        Self::over(life, timeline, Arc::<MemoryStore>::clone(store), clock)
    }

    pub(super) fn over(
        (name, boot): (&str, u64),
        timeline: u32,
        store: Arc<dyn SharedStore>,
        clock: &ManualClock,
    ) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(clock.clone());
        let stood = Stood::default();
        let noted = Arc::clone(&stood);
        let Life { engine, journal, folder } =
            Life::with_sink(name, boot, Arc::clone(&clock), timeline, |journal| {
                Box::new(Noting(journal, noted))
            });
        let replication = Replication::new(Arc::clone(&engine), store, clock, Arc::clone(&journal), boot);
        Self { replication, engine, journal, stood, folder }
    }

    /// Carries to the store what is in the journal.
    pub(super) async fn send(&self) {
        let stop = CancellationToken::new();
        stop.cancel();
        self.replication.writer().run(stop).await;
    }

    pub(super) fn shown(&self) -> (u64, State) {
        let shown = self.engine.view("db", "a", NOW).unwrap().view.snapshot;
        (shown.epoch, shown.state)
    }
}

/// A store whose answers to proposals are on their way until a test lets them come.
pub(super) struct Late {
    pub(super) store: Arc<MemoryStore>,
    /// A permit for each batch that the store has taken.
    pub(super) proposed: Semaphore,
    /// A permit for each answer that may come back.
    pub(super) delivered: Semaphore,
}

impl Late {
    pub(super) fn new(store: &Arc<MemoryStore>) -> Arc<Self> {
        let (proposed, delivered) = (Semaphore::new(0), Semaphore::new(0));
        Arc::new(Self { store: Arc::clone(store), proposed, delivered })
    }
}

#[async_trait]
impl SharedStore for Late {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        let answered = self.store.propose_shared(proposals).await;
        self.proposed.add_permits(1);
        self.delivered.acquire().await.unwrap().forget();
        answered
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        self.store.ask_probes(requests).await
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
