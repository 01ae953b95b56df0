//! What a replica runs beside its calls.

use std::sync::Arc;
use std::time::Duration;

use breakerd_common::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::keeping_store::KeepingStore;
use super::{
    Answers, Coordinator, CountSharing, HeardStore, NewestSeen, Replica, RowUse, StoreContact, Tail,
};
use crate::engine::{Engine, StoreAnswer};
use crate::journal::writer::Writer;
use crate::journal::{Journal, Unanswered};
use crate::store::{ChangedRow, CountStore, SeenPosition, SharedStore, StoreError, Told};
use crate::trouble::Trouble;

/// How long the end waits for the store, at the most: less than the server waits for its tasks.
const END_WITHIN: Duration = Duration::from_secs(3);
/// After the store can tell no more of changes.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// One of several replicas, put together.
#[derive(Clone)]
pub struct Replication {
    engine: Arc<Engine>,
    store: Arc<dyn SharedStore>,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    coordinator: Arc<Coordinator>,
    /// Other replicas may have changed rows: for the [`Tail`].
    rows_hint: Arc<Notify>,
    /// Other replicas may have written to the history: for those who follow that.
    history_hint: Arc<Notify>,
    /// Another replica may have counts to tell: for [`CountSharing`].
    counts_hint: Arc<Notify>,
    /// The newest change that the store told of.
    seen: Arc<NewestSeen>,
    contact: Arc<StoreContact>,
    boot: u64,
    /// That counts cannot be shared.
    count_trouble: Arc<Trouble>,
}

impl Replication {
    /// Over a store that others write to as well. `boot` is random, for each life of the process.
    pub fn new(
        engine: Arc<Engine>,
        store: Arc<dyn SharedStore>,
        clock: Arc<dyn Clock>,
        journal: Arc<Journal>,
        boot: u64,
    ) -> Self {
        let contact = Arc::new(StoreContact::new(Arc::clone(&engine)));
        let store: Arc<dyn SharedStore> = Arc::new(HeardStore::new(store, Arc::clone(&contact)));
        let store: Arc<dyn SharedStore> = Arc::new(KeepingStore::new(store, Arc::clone(&journal)));
        let seen = Arc::new(NewestSeen::new(SeenPosition {
            timeline: engine.timeline(),
            ..SeenPosition::default()
        }));
        let coordinator =
            Coordinator::new(Arc::clone(&engine), Arc::clone(&store), Arc::clone(&clock), &journal, boot);
        Self {
            engine,
            store,
            clock,
            journal,
            coordinator: Arc::new(coordinator.with_grace(END_WITHIN).noting(Arc::clone(&seen))),
            rows_hint: Arc::default(),
            history_hint: Arc::default(),
            counts_hint: Arc::default(),
            seen,
            contact,
            boot,
            count_trouble: Arc::default(),
        }
    }

    /// The same, for a life of a process that was told `seen` before, is woken by these, and may take `grace` to end: where processes
    /// are simulated.
    #[cfg(test)]
    pub(super) fn continued(
        self,
        seen: Arc<NewestSeen>,
        (rows_hint, counts_hint): (Arc<Notify>, Arc<Notify>),
        grace: Duration,
    ) -> Self {
        let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
        let coordinator = Coordinator::new(engine, store, Arc::clone(&self.clock), &self.journal, self.boot);
        let coordinator = Arc::new(coordinator.with_grace(grace).noting(Arc::clone(&seen)));
        Self { coordinator, rows_hint, counts_hint, seen, ..self }
    }

    /// Whether the store answers.
    pub fn contact(&self) -> Arc<StoreContact> {
        Arc::clone(&self.contact)
    }

    /// What calls are decided with.
    pub fn replica(&self) -> Replica {
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        Replica::of_several(engine, clock, Arc::clone(&self.coordinator), Arc::clone(&self.rows_hint))
            .counting(Arc::clone(&self.count_trouble))
    }

    /// Asks the store about probes.
    pub fn coordinator(&self) -> Arc<Coordinator> {
        Arc::clone(&self.coordinator)
    }

    /// Carries the journal to the store, and the answers to the breakers.
    pub fn writer(&self) -> Writer {
        let answers = Answers::new(Arc::clone(&self.engine), Arc::clone(&self.clock));
        let answers = Arc::new(answers.noting(Arc::clone(&self.seen)));
        Writer::to_shared(Arc::clone(&self.journal), Arc::clone(&self.store), answers)
    }

    /// Shares what breakers count while they fail, over `store`, which is the one of the others.
    pub fn count_sharing(&self, store: Arc<dyn CountStore>) -> CountSharing {
        let (engine, clock) = (Arc::clone(&self.engine), Arc::clone(&self.clock));
        let hint = Arc::clone(&self.counts_hint);
        CountSharing::new(engine, store, clock, hint, self.journal.replica(), self.boot)
            .noting(Arc::clone(&self.count_trouble))
    }

    /// Tells the store which breakers are used here.
    pub fn row_use(&self) -> RowUse {
        RowUse::new(Arc::clone(&self.engine), Arc::clone(&self.store), Arc::clone(&self.clock))
    }

    /// Told when the history may have changed.
    pub fn history_hint(&self) -> Arc<Notify> {
        Arc::clone(&self.history_hint)
    }

    /// Takes over what the store has: what an earlier life of this process left in the journal goes there first, so that the rows
    /// that are read are those that came of it. Answers who follows them from there on.
    ///
    /// # Errors
    /// As the store's. The journal is waited for, as long as this is.
    pub async fn catch_up(&self, waiting: u64) -> Result<Tail, StoreError> {
        let mut tail = self.tail();
        if waiting > 0 {
            let stop = CancellationToken::new();
            let emptied = async {
                self.journal.emptied().await;
                stop.cancel();
            };
            tokio::join!(self.writer().run(stop.clone()), emptied, tail.follow_timelines(&stop));
        }
        tail.catch_up().await?;
        Ok(tail)
    }

    /// Follows the rows of the store, from the beginning.
    pub(super) fn tail(&self) -> Tail {
        let (engine, store) = (Arc::clone(&self.engine), Arc::clone(&self.store));
        let tail = Tail::new(engine, store, Arc::clone(&self.clock), Arc::clone(&self.rows_hint));
        tail.of_replica(Arc::clone(&self.journal), Arc::clone(&self.seen))
    }

    /// Goes on while the store is away: with the rows that were last known of it, and with what an earlier life of this process
    /// decided and the store has not answered. Answers who follows the store from the beginning, as soon as it answers.
    pub fn start_alone(&self, rows: &[ChangedRow], unanswered: &[Unanswered]) -> Tail {
        let now = self.clock.now();
        for ChangedRow { key, row, entered_by, .. } in rows {
            self.engine.take_answer(key, &StoreAnswer::Row(row), *entered_by, now);
        }
        for Unanswered { key, id, transition, answer } in unanswered {
            self.engine.resume(key, *id, transition, *answer, now);
        }
        self.tail()
    }

    /// Wakes those who read what others wrote, as soon as the store tells of it, until `stop`. While it cannot tell, they
    /// look each second.
    pub async fn listen(&self, stop: CancellationToken) {
        let told = |told| match told {
            Told::Changes => {
                self.rows_hint.notify_one();
                self.history_hint.notify_one();
            }
            Told::Counts => self.counts_hint.notify_one(),
        };
        let mut is_wrong = false;
        loop {
            let Some(error) = stop.run_until_cancelled(self.store.listen(&told)).await else { return };
            if !error.is_transient() && !std::mem::replace(&mut is_wrong, true) {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "store cannot tell of changes: they are read each second");
            }
            tracing::debug!(
                error = &error as &dyn std::error::Error,
                "store cannot tell of changes, reading them each second"
            );
            let pause = self.clock.sleep_until(self.clock.now() + LISTEN_AGAIN);
            if stop.run_until_cancelled(pause).await.is_none() {
                return;
            }
        }
    }
}

impl std::fmt::Debug for Replication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replication").field("coordinator", &self.coordinator).finish_non_exhaustive()
    }
}
