//! One life of a replica: a journal in a folder of its own, and an engine whose transitions go there.

use std::sync::Arc;
use std::time::Duration;

use breaker::Numbering;
use breakerd_common::clock::Clock;

use super::NOW;
use crate::engine::{Engine, Limits, Seals, StoreIdentity, TransitionSink};
use crate::journal::{Journal, JournalOptions};

pub(in crate::replica) struct Life {
    pub(in crate::replica) engine: Arc<Engine>,
    pub(in crate::replica) journal: Arc<Journal>,
    /// Where the journal is. It goes with this.
    pub(in crate::replica) folder: tempfile::TempDir,
}

impl Life {
    /// Of the replica of this name.
    pub(in crate::replica) fn new(name: &str, boot: u64, clock: Arc<dyn Clock>) -> Self {
        Self::with_sink(name, boot, clock, 0, |journal| Box::new(journal))
    }

    /// Of one that begins in this timeline of its store, and whose transitions go through `sink`.
    pub(super) fn with_sink(
        name: &str,
        boot: u64,
        clock: Arc<dyn Clock>,
        timeline: u32,
        sink: impl FnOnce(Arc<Journal>) -> Box<dyn TransitionSink>,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options =
            JournalOptions { replica: name.into(), boot, bytes_max: 1024 * 1024, breakers_max: 10, clock };
        let journal = Arc::new(Journal::open(folder.path(), options).unwrap().0);
        let limits = Limits {
            breakers_max: 1_000,
            breakers_per_service_max: 1_000,
            breakers_per_caller_max: 1_000,
            own_series_max: 0,
            idle_ttl: Duration::from_hours(1),
        };
        let (seals, numbering) = (Seals::new(&[7; 16]), Numbering::Store);
        let identity = StoreIdentity { seals, timeline, issuer: boot, numbering };
        let sink = sink(Arc::clone(&journal));
        let engine = Arc::new(Engine::new(limits, identity, &Arc::default(), sink, NOW));
        Self { engine, journal, folder }
    }
}
