//! Who is there: what this replica says of itself each second, and what it knows of the others.

use std::sync::Arc;
use std::time::Duration;

use breaker::Time;
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::contact::StoreContact;
use super::read_position::ReadPosition;
use crate::engine::Seals;
use crate::journal::Journal;
use crate::metrics::{ReplicaMetrics, StoreMetrics};
use crate::store::{LiveReplica, OtherReplicas, ReplicaStore, StoredReplicas};
use crate::version::VERSION;

/// Between two rows.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// Another replica of the same name that has written beside so many rows of this one is there.
const DOUBLED_NOTES: u32 = 5;
/// A store that has not taken a transition for so long does not answer, whatever else it takes.
const UNTAKEN_MAX: Duration = Duration::from_secs(3);
/// How long the end waits for the store.
const FORGET_WITHIN: Duration = Duration::from_secs(1);

/// What a replica with this journal and these keys, which has read so far, says of itself.
pub fn live_replica(
    journal: &Journal,
    seals: &Seals,
    revision: u64,
    started_at: Time,
    now: Time,
) -> LiveReplica {
    LiveReplica {
        name: journal.replica().to_string(),
        boot: journal.boot(),
        version: VERSION.to_owned(),
        uptime: now.since(started_at),
        revision,
        waiting: journal.stats(now).depth,
        permit_key: seals.newest_key(),
    }
}

/// Where it is shown how a replica stands.
#[derive(Clone)]
pub struct PresenceMetrics {
    /// Of the replicas.
    pub replica: ReplicaMetrics,
    /// Of the store.
    pub store: StoreMetrics,
}

/// This replica among the others of its store.
pub struct Presence {
    store: Arc<dyn ReplicaStore>,
    clock: Arc<dyn Clock>,
    journal: Arc<Journal>,
    seals: Seals,
    started_at: Time,
    /// What this replica has read.
    read: Arc<ReadPosition>,
    metrics: PresenceMetrics,
    /// Told of each second, and of the store's answers.
    contact: Arc<StoreContact>,
}

impl Presence {
    /// Of a process that starts now.
    pub fn new(
        store: Arc<dyn ReplicaStore>,
        clock: Arc<dyn Clock>,
        journal: Arc<Journal>,
        seals: Seals,
        (read, contact): (Arc<ReadPosition>, Arc<StoreContact>),
        metrics: PresenceMetrics,
    ) -> Self {
        let started_at = clock.now();
        Self { store, clock, journal, seals, started_at, read, metrics, contact }
    }

    /// How long it is since this replica read what others changed.
    pub fn unread_for(&self) -> Duration {
        self.read.lag(self.clock.now())
    }

    /// What this replica says of itself.
    pub fn own(&self) -> LiveReplica {
        live_replica(&self.journal, &self.seals, self.read.revision(), self.started_at, self.clock.now())
    }

    /// Shows how this replica stands, each second, also while the store does not answer.
    async fn show(&self) {
        loop {
            let is_alone = self.contact.is_alone();
            self.metrics.replica.alone.set(i64::from(is_alone));
            if is_alone {
                self.metrics.replica.live.set(1);
            }
            let lag = self.read.lag(self.clock.now());
            self.metrics.store.revision_lag_seconds.set(lag.as_secs_f64());
            self.clock.sleep_until(self.clock.now() + NOTE_EVERY).await;
            self.contact.second_passed();
        }
    }

    /// All replicas of the store; none: it does not answer within `timeout`.
    pub async fn all(&self, timeout: Duration) -> Option<StoredReplicas> {
        let read = async {
            tokio::select! {
                biased;
                read = self.store.replicas() => Some(read),
                () = self.clock.sleep_until(self.clock.now() + timeout) => None,
            }
        };
        match read.await? {
            Ok(replicas) => Some(replicas),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "cannot read the replicas");
                None
            }
        }
    }

    /// Says that this replica lives, each second until `stop`, and then that it goes.
    pub async fn run(&self, stop: CancellationToken) {
        tokio::select! {
            () = self.note(stop) => {}
            () = self.show() => {}
        }
    }

    async fn note(&self, stop: CancellationToken) {
        let mut doubled = 0;
        loop {
            let own = self.own();
            let noted = stop.run_until_cancelled(self.store.note_replica(&own)).await;
            match noted {
                None => break,
                Some(Ok(OtherReplicas { live, has_same_name })) => {
                    self.metrics.replica.live.set(i64::try_from(live + 1).unwrap_or(i64::MAX));
                    // Its row is not logged, and takes no lock that matters: a store may take it, and no transition.
                    if self.journal.stats(self.clock.now()).lag < UNTAKEN_MAX {
                        self.contact.answered();
                    }
                    doubled = if has_same_name { doubled + 1 } else { 0 };
                    // An earlier life of this process, which was killed, is silent by then.
                    if doubled == DOUBLED_NOTES {
                        tracing::error!(
                            replica = own.name,
                            "another replica of this store has the same name: give each a name of its own (replica, \
                             BREAKERD_REPLICA)"
                        );
                    }
                }
                Some(Err(error)) => {
                    tracing::debug!(
                        error = &error as &dyn std::error::Error,
                        "cannot write the row of this replica"
                    );
                }
            }
            let pause = self.clock.sleep_until(self.clock.now() + NOTE_EVERY);
            if stop.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        // Else it is seen to be silent.
        let name = self.journal.replica();
        tokio::select! {
            biased;
            forgotten = self.store.forget_replica(&name, self.journal.boot()) => {
                if let Err(error) = forgotten {
                    let error = &error as &dyn std::error::Error;
                    tracing::debug!(error, "cannot delete the row of this replica");
                }
            }
            () = self.clock.sleep_until(self.clock.now() + FORGET_WITHIN) => {}
        }
    }
}

impl std::fmt::Debug for Presence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presence").field("boot", &self.journal.boot()).finish_non_exhaustive()
    }
}
