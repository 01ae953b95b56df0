//! The connections to one server, apart by what they are for, so that nobody who reads holds up who writes.
//!
//! A pool knows one server. When another one takes the writes, or the lock's connection was lost, all of them are
//! replaced at once: a connection to a server that has turned into a standby works, and every write on it fails.

use std::time::Duration;

use sqlx::Executor as _;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::store::HISTORY_READS_AT_ONCE;

/// The journal, one change of the configuration and the retention write at one time; one may still be ending a
/// transaction that its caller has given up.
const WRITES: u32 = 4;
/// The tail of the history, watchers that catch up, the configuration, what a start loads.
const READS: u32 = 4;
/// Pages of the history and of the audit, for people: [`HISTORY_READS_AT_ONCE`].
const HISTORY: u32 = HISTORY_READS_AT_ONCE;
/// How long a caller waits for a connection, be it that all are used or that there is no database.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// For reads; writes set their own. A timeout less than a call may take, so that it is Postgres that gives up: a read whose
/// caller has gone would otherwise go on, and keep its connection. And no compilation of statements (JIT): it is tried where
/// Postgres overrates the rows of a small table, and takes longer than any of these.
const READ_SETTINGS: &str = "SET statement_timeout = '15s'; SET jit = off";
/// For counts, which are of no use when they are late.
const COUNT_SETTINGS: &str = "SET statement_timeout = '2s'; SET jit = off";

/// The connections to one server.
#[derive(Debug)]
pub(super) struct Pools {
    /// For whatever writes.
    pub(super) writes: PgPool,
    /// For short reads.
    pub(super) reads: PgPool,
    /// For reads whose length a caller chooses.
    pub(super) history: PgPool,
    /// For what replicas count, which must hold up nothing else.
    pub(super) counts: PgPool,
}

impl Pools {
    /// To this server. Connects when a connection is first asked for. The sessions of a pooler are not ours to set: there the
    /// time of a read is bounded on this side alone.
    pub(super) fn to(server: &PgConnectOptions, is_pooled: bool) -> Self {
        let pool =
            |connections| PgPoolOptions::new().max_connections(connections).acquire_timeout(ACQUIRE_TIMEOUT);
        let set = |connections, settings: &'static str| {
            pool(connections).after_connect(move |connection, _| {
                Box::pin(async move {
                    if is_pooled { Ok(()) } else { connection.execute(settings).await.map(drop) }
                })
            })
        };
        Self {
            writes: pool(WRITES).connect_lazy_with(server.clone()),
            reads: set(READS, READ_SETTINGS).connect_lazy_with(server.clone()),
            history: set(HISTORY, READ_SETTINGS).connect_lazy_with(server.clone()),
            counts: set(1, COUNT_SETTINGS).connect_lazy_with(server.clone()),
        }
    }

    fn all(&self) -> [&PgPool; 4] {
        [&self.writes, &self.reads, &self.history, &self.counts]
    }

    /// Connections that are made from now on log in so. Those that there are stay.
    pub(super) fn log_in_as(&self, server: &PgConnectOptions) {
        for pool in self.all() {
            pool.set_connect_options(server.clone());
        }
    }

    /// Nobody gets a connection any more; those in use are closed when they come back.
    pub(super) fn retire(&self) {
        for pool in self.all() {
            // Closed from here on; the future would wait for those in use.
            drop(pool.close());
        }
    }

    /// Closes every connection, once it has come back.
    pub(super) async fn close(&self) {
        for pool in self.all() {
            pool.close().await;
        }
    }
}
