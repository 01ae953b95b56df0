//! Whether the store answers this replica, or it is alone.
//!
//! The replica writes its own row each second, and proposals and requests for probes beside. One that had no answer to any of
//! them for three seconds of its own running is alone; a process that was stopped has not run. Reads are no sign: a store that is
//! full, or read-only, answers them, and takes nothing.

use std::sync::Arc;

use async_trait::async_trait;
use breaker::Key;
use parking_lot::Mutex;

use crate::engine::Engine;
use crate::store::{
    Answered, ChangedRow, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowsPage, SharedStore,
    StoreError, Told,
};

/// After so many seconds without an answer it is alone: no answer to anything that it began in two of them.
const ALONE_AFTER: u32 = 3;

/// Whether the store answers this replica.
#[derive(Debug)]
pub struct StoreContact {
    engine: Arc<Engine>,
    state: Mutex<Contact>,
}

#[derive(Debug, Default)]
struct Contact {
    /// Seconds that this process ran since the store last answered.
    silent: u32,
    /// Breakers are to decide by themselves while it does not.
    decides_alone: bool,
}

impl Contact {
    fn is_alone(&self) -> bool {
        self.silent >= ALONE_AFTER
    }
}

impl StoreContact {
    /// Of a process that begins now, with the breakers of `engine`.
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, state: Mutex::default() }
    }

    /// While this replica is alone, its breakers decide by themselves what only the store would let through. Otherwise they hold.
    pub fn decide_alone(&self) {
        self.state.lock().decides_alone = true;
    }

    /// The store has not been reached yet: the replica is alone from the start.
    pub fn not_reached_yet(&self) {
        self.change(|contact| contact.silent = ALONE_AFTER);
    }

    /// Whether this replica is alone.
    pub fn is_alone(&self) -> bool {
        self.state.lock().is_alone()
    }

    /// The store took something.
    pub fn answered(&self) {
        self.change(|contact| contact.silent = 0);
    }

    /// A second of this process has passed. To be told once however long it was stopped.
    pub fn second_passed(&self) {
        self.change(|contact| contact.silent = contact.silent.saturating_add(1));
    }

    fn change(&self, change: impl FnOnce(&mut Contact)) {
        let mut contact = self.state.lock();
        let before = contact.is_alone();
        change(&mut contact);
        // Under the lock: the last one who says so is right.
        if contact.is_alone() != before && contact.decides_alone {
            self.engine.set_alone(contact.is_alone());
        }
    }

    /// An error can be an answer too.
    fn heard<T>(&self, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        if answer.as_ref().err().is_none_or(|error| !error.is_transient()) {
            self.answered();
        }
        answer
    }
}

/// Passes on what is asked of the store, and notes that it answered.
pub struct HeardStore {
    store: Arc<dyn SharedStore>,
    contact: Arc<StoreContact>,
}

impl HeardStore {
    /// Tells `contact` of answers.
    pub fn new(store: Arc<dyn SharedStore>, contact: Arc<StoreContact>) -> Self {
        Self { store, contact }
    }
}

impl std::fmt::Debug for HeardStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HeardStore").field("contact", &self.contact).finish_non_exhaustive()
    }
}

#[async_trait]
impl SharedStore for HeardStore {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        self.contact.heard(self.store.propose_shared(proposals).await)
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        self.contact.heard(self.store.ask_probes(requests).await)
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        self.store.rows_after(after, seen, limit).await
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        self.contact.heard(self.store.use_rows(used).await)
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        self.contact.heard(self.store.begin_timeline(present, past).await)
    }

    async fn listen(&self, told: &(dyn Fn(Told) + Send + Sync)) -> StoreError {
        self.store.listen(told).await
    }
}
