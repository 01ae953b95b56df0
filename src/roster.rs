//! The replicas of the store, for those who ask: over gRPC, and on a page.

use std::time::Duration;

use crate::app::{App, Loaded};
use crate::replica::live_replica;
use crate::store::{LiveReplica, StoredReplica};

/// How long the store may take to list them; a replica that it does not answer is alone.
const STORE_TIMEOUT: Duration = Duration::from_secs(1);

/// The replicas of a store, as one of them knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roster {
    /// By name.
    pub replicas: Vec<StoredReplica>,
    /// The one that answers: random for each life of its process.
    pub answering: u64,
    /// The newest revision of the store.
    pub revision: u64,
    /// Whether replicas share the store.
    pub is_shared: bool,
    /// Whether the store does not answer: then only the one that answers is known.
    pub is_alone: bool,
}

impl Roster {
    /// Asks the store, if replicas share it.
    pub async fn read(app: &App, loaded: &Loaded) -> Self {
        let Loaded { engine, journal, feeds, .. } = loaded;
        let Some(presence) = &loaded.presence else {
            let revision = feeds.tail.revision();
            let (seals, now) = (engine.seals(), app.clock.now());
            return Self::of_one(live_replica(journal, seals, revision, app.started_at, now));
        };
        match presence.all(STORE_TIMEOUT).await {
            Some(all) => Self {
                replicas: all.replicas,
                answering: journal.boot(),
                revision: all.revision,
                is_shared: true,
                is_alone: false,
            },
            None => Self { is_shared: true, is_alone: true, ..Self::of_one(presence.own()) },
        }
    }

    fn of_one(replica: LiveReplica) -> Self {
        let (answering, revision) = (replica.boot, replica.revision);
        let replicas = vec![StoredReplica { replica, silent: Duration::ZERO }];
        Self { replicas, answering, revision, is_shared: false, is_alone: false }
    }
}
