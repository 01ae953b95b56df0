//! A store of each kind for one test, and what a test needs beside it.

use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use breakerd::store::{MemoryStore, Store, Target};
use breakerd_common::clock::ManualClock;

use crate::support::{Bed, unique};

/// 2026-01-01: what the clock of a store in memory says.
const PRESENT: Time = Time::from_micros(1_767_225_600_000_000);
/// What was written in the past was written at this time.
const PAST: Time = Time::from_micros(5);

/// A store of its own for one test.
pub(crate) struct StoreBed {
    /// The store, open.
    pub(crate) store: Arc<dyn Store>,
    kind: Kind,
    /// The revision that it had when the past began.
    past_after: u64,
}

enum Kind {
    Database(Bed),
    Memory(ManualClock),
}

impl StoreBed {
    pub(crate) async fn sqlite() -> Self {
        Self::on(Bed::sqlite().await)
    }

    pub(crate) async fn postgres() -> Self {
        Self::on(Bed::postgres().await)
    }

    #[expect(clippy::unused_async, reason = "made as the others are")]
    pub(crate) async fn memory() -> Self {
        let clock = ManualClock::new(PRESENT);
        let store = Arc::new(MemoryStore::new(Arc::new(clock.clone()), unique()));
        Self { store, kind: Kind::Memory(clock), past_after: 0 }
    }

    fn on(bed: Bed) -> Self {
        Self { store: Arc::clone(&bed.store), kind: Kind::Database(bed), past_after: 0 }
    }

    /// Another of the same kind, with nothing in it.
    pub(crate) async fn another(&self) -> Self {
        match &self.kind {
            Kind::Memory(_) => Self::memory().await,
            Kind::Database(Bed { target: Target::Sqlite(_), .. }) => Self::sqlite().await,
            Kind::Database(Bed { target: Target::Postgres(_), .. }) => Self::postgres().await,
        }
    }

    /// The database, for what only SQL can see; none: the store has no SQL.
    pub(crate) fn database(&self) -> Option<&Bed> {
        match &self.kind {
            Kind::Database(bed) => Some(bed),
            Kind::Memory(_) => None,
        }
    }

    /// As after a restart of the process.
    pub(crate) async fn reopen(&mut self) {
        match &mut self.kind {
            Kind::Database(bed) => {
                bed.reopen().await;
                self.store = Arc::clone(&bed.store);
            }
            Kind::Memory(_) => self.store.close().await,
        }
    }

    /// What is written until [`Self::end_past`] was written long ago.
    pub(crate) async fn begin_past(&mut self) {
        self.past_after = self.store.revision().await.unwrap();
        if let Kind::Memory(clock) = &self.kind {
            clock.set_wall(PAST);
        }
    }

    /// A database takes its time from its server: there the rows are made old.
    pub(crate) async fn end_past(&self) {
        let bed = match &self.kind {
            Kind::Database(bed) => bed,
            Kind::Memory(clock) => return clock.set_wall(PRESENT + Duration::from_secs(1)),
        };
        let (recorded_at, changed_at) = match bed.target {
            Target::Sqlite(_) => ("recorded_at_us = 5", "changed_at_us = 5"),
            Target::Postgres(_) => ("recorded_at = 'epoch'", "changed_at = 'epoch'"),
        };
        let after = self.past_after;
        bed.sql(&format!(
            "UPDATE transition SET {recorded_at} WHERE revision > {after};
             UPDATE audit SET {recorded_at} WHERE revision > {after};
             UPDATE receipt SET {recorded_at} WHERE revision > {after};
             UPDATE config_request SET {recorded_at} WHERE revision > {after};
             UPDATE change SET {recorded_at} WHERE rev > {after};
             UPDATE service_config SET {changed_at} WHERE revision > {after};"
        ))
        .await;
    }

    /// Closes the store, and takes its database away.
    pub(crate) async fn end(self) {
        match self.kind {
            Kind::Database(bed) => bed.end().await,
            Kind::Memory(_) => self.store.close().await,
        }
    }
}
