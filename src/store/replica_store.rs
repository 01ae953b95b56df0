//! Which replicas share a store.

use std::time::Duration;

use async_trait::async_trait;

use super::error::StoreError;

/// Rows of replicas that are not heard of for so long go.
pub(super) const REPLICAS_KEPT: Duration = Duration::from_mins(10);
/// Replicas that are listed: more than anybody runs.
pub(super) const REPLICAS_MAX: u32 = 1_000;

/// The replicas of a store. Each writes its own row; who does not is stopped, or has no connection.
#[async_trait]
pub trait ReplicaStore: Send + Sync + 'static {
    /// Writes the row of a replica that lives. Answers which others do.
    async fn note_replica(&self, replica: &LiveReplica) -> Result<OtherReplicas, StoreError>;

    /// Deletes the row of a replica that stops.
    async fn forget_replica(&self, name: &str, boot: u64) -> Result<(), StoreError>;

    /// The replicas that wrote within the last 10 minutes, by name, at most 1,000; with the newest revision of the store.
    async fn replicas(&self) -> Result<StoredReplicas, StoreError>;
}

/// What a replica says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveReplica {
    /// Its name.
    pub name: String,
    /// Random for each life of its process.
    pub boot: u64,
    /// The version of breakerd.
    pub version: String,
    /// How long its process has run.
    pub uptime: Duration,
    /// The newest revision that it has read.
    pub revision: u64,
    /// Transitions that wait in its journal.
    pub waiting: u64,
    /// The number of the newest permit key that it has; 0: it is of a release that knows one key.
    pub permit_key: u32,
}

/// The replicas beside one, of those that have written within 3 seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OtherReplicas {
    /// How many there are.
    pub live: u64,
    /// Whether one of them has the same name.
    pub has_same_name: bool,
}

/// A replica as the store knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReplica {
    /// What it said last; its uptime goes on since.
    pub replica: LiveReplica,
    /// How long ago it did.
    pub silent: Duration,
}

/// The replicas of a store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredReplicas {
    /// By name.
    pub replicas: Vec<StoredReplica>,
    /// The newest revision of the store.
    pub revision: u64,
}
