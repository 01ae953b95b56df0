//! The connection that keeps the lock on a database, and what it asks.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, FromRow};
use tokio::time::{sleep, timeout};

use super::access::Access;
use super::address::Address;
use super::connector::{ANSWER_TIMEOUT, Connector, backend, pools_transactions};
use crate::store::StoreError;
use crate::store::sqlx_error::{fault, too_slow};

/// The key of the lock: the letters of `breakerd`.
pub(super) const KEY: i64 = i64::from_be_bytes(*b"breakerd");
/// The key of the lock under which tables are made, where several processes may be at it.
const MIGRATION_KEY: i64 = KEY ^ 1;

/// After a `kill -9` Postgres needs a moment to notice that a client is gone.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: PgConnection,
    pub(super) server: PgConnectOptions,
    /// The process that serves it in Postgres.
    pub(super) backend: i32,
    access: Access,
    /// A pooler gives each transaction another session, so that none can keep a lock between two.
    pub(super) is_pooled: bool,
}

/// Who holds the lock, as far as Postgres tells.
#[derive(FromRow)]
struct OwnerRow {
    pid: i32,
    client_addr: Option<String>,
    application_name: Option<String>,
    is_shared: bool,
}

/// How the store stands, seen from the lock's connection.
#[derive(FromRow)]
pub(super) struct StateRow {
    pub(super) holder: Option<String>,
    pub(super) n: i64,
    pub(super) store_id: String,
    pub(super) compatible_from: i64,
    pub(super) is_read_only: bool,
}

impl Session {
    pub(super) async fn open(connector: &Connector, access: Access) -> Result<Self, StoreError> {
        let act = "connect to the database";
        let (mut connection, server) = connector.connect().await?;
        let is_pooled = pools_transactions(&mut connection, &server).await?;
        if is_pooled && access == Access::Exclusive {
            return Err(StoreError::Refused(format!(
                "{} is a pooler in transaction mode (PgBouncer: pool_mode = transaction), but breakerd needs a session \
                 for its lock if store.shared = false: connect to Postgres directly, set pool_mode = session for this \
                 database, or leave out store.shared = false",
                Address::of(&server)
            )));
        }
        let backend = backend(&mut connection).await?;
        // When the machine of this process dies without a word, Postgres shall notice within seconds. On a
        // unix socket these mean nothing, and do no harm. A table that somebody has locked is told from a server that does
        // not answer (`ANSWER_TIMEOUT`).
        let settings = "SELECT set_config('tcp_keepalives_idle', '5', false),
                               set_config('tcp_keepalives_interval', '2', false),
                               set_config('tcp_keepalives_count', '3', false),
                               set_config('idle_session_timeout', '0', false),
                               set_config('lock_timeout', '2s', false)";
        // A session of the pooler's is not ours to set.
        if !is_pooled {
            let set = timeout(ANSWER_TIMEOUT, sqlx::query(settings).execute(&mut connection)).await;
            set.map_err(|_| too_slow(act))?.map_err(fault(act))?;
        }
        Ok(Self { connection, server, backend, access, is_pooled })
    }

    /// Takes the lock. `before` is the backend of that server that held it for this process, if one did.
    pub(super) async fn acquire(&mut self, address: &Address, before: Option<i32>) -> Result<(), StoreError> {
        let tries = PATIENCE.as_millis() / BETWEEN_TRIES.as_millis();
        let mut owner = None;
        for _ in 0..tries {
            if self.try_acquire().await? {
                return Ok(());
            }
            owner = self.owner().await?;
            // A stranger has the lock that was ours: it is alive, or Postgres would have noticed by the time it
            // noticed that we had gone.
            if before.is_some() && owner.as_ref().is_some_and(|owner| Some(owner.pid) != before) {
                break;
            }
            sleep(BETWEEN_TRIES).await;
        }
        match owner {
            // Postgres has not yet noticed that the connection is lost; it will.
            Some(owner) if Some(owner.pid) == before => Err(too_slow("take the lock on the database again")),
            owner => Err(taken(owner, self.access, address)),
        }
    }

    /// Does what one process may do at a time, where others have the database too.
    pub(super) async fn alone<T>(
        &mut self,
        connector: &Connector,
        work: impl AsyncFnOnce(&mut PgConnection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if self.access == Access::Exclusive {
            return work(&mut self.connection).await;
        }
        // Of a transaction on a connection of its own: a pooler passes it, and it ends with this process.
        let act = "wait for another breakerd that creates the tables";
        let (mut beside, _) = connector.connect().await?;
        let mut guard = beside.begin().await.map_err(fault(act))?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(MIGRATION_KEY)
            .execute(&mut *guard)
            .await
            .map_err(fault(act))?;
        let done = work(&mut self.connection).await;
        guard.commit().await.map_err(fault(act))?;
        done
    }

    pub(super) async fn state(&mut self) -> Result<StateRow, StoreError> {
        sqlx::query_as(
            "SELECT holder, n, store_id, compatible_from,
                    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS is_read_only
             FROM revision CROSS JOIN meta",
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(fault("check the lock on the database"))
    }

    /// What is held as [`Access::Shared`] keeps out who wants the database alone, of whichever version, and the other way
    /// round. Through a pooler it cannot be kept: then it is only looked whether another has it.
    async fn try_acquire(&mut self) -> Result<bool, StoreError> {
        let take_it = match (self.access, self.is_pooled) {
            (Access::Exclusive, _) => "SELECT pg_try_advisory_lock($1)",
            (Access::Shared, false) => "SELECT pg_try_advisory_lock_shared($1)",
            (Access::Shared, true) => "SELECT pg_try_advisory_xact_lock_shared($1)",
        };
        sqlx::query_scalar(take_it)
            .bind(KEY)
            .fetch_one(&mut self.connection)
            .await
            .map_err(fault("take the lock on the database"))
    }

    async fn owner(&mut self) -> Result<Option<OwnerRow>, StoreError> {
        // A key of 64 bits stands in pg_locks as two halves.
        sqlx::query_as(
            "SELECT pg_locks.pid, host(client_addr) AS client_addr, application_name,
                    mode = 'ShareLock' AS is_shared
             FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
             WHERE locktype = 'advisory' AND granted AND objsubid = 1
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND classid = ($1 >> 32)::oid AND objid = ($1 & 4294967295)::oid
             LIMIT 1",
        )
        .bind(KEY)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(fault("read who holds the lock on the database"))
    }
}

fn taken(owner: Option<OwnerRow>, wanted: Access, address: &Address) -> StoreError {
    let is_shared = owner.as_ref().is_some_and(|owner| owner.is_shared);
    let owner = owner.map_or_else(
        || "released just now".to_owned(),
        |owner| {
            let client = owner.client_addr.unwrap_or_else(|| "unknown".to_owned());
            let name = owner.application_name.filter(|name| !name.is_empty());
            format!(
                "backend pid {}, client address {client}, application_name {}",
                owner.pid,
                name.unwrap_or_else(|| "unknown".to_owned())
            )
        },
    );
    let what_to_do = match (wanted, is_shared) {
        (Access::Exclusive, false) => "stop it or use another database",
        (Access::Exclusive, true) => {
            "it shares the database: leave out store.shared = false here, or use another database"
        }
        (Access::Shared, _) => {
            "it has the database for itself, as one with store.shared = false or an earlier version: stop it"
        }
    };
    StoreError::LockedByAnother(format!(
        "the lock on {address} is held by another breakerd ({owner}): {what_to_do}"
    ))
}
