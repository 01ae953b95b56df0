//! One breakerd, one database: the lock that says so.
//!
//! A session-level advisory lock on a connection of its own. Postgres gives it back when that connection ends,
//! so a dead process does not hold it; and it needs no table, so it is taken before the tables are made.
//!
//! A lock alone is not enough: its connection can be lost (Postgres was restarted) while the process lives on
//! and another takes the lock. So whoever takes it also writes its name into `revision.holder`, and every write
//! bumps the revision `WHERE holder = ` its own name: a write of a process that was overtaken finds no row,
//! and fails, however late it comes. Before each write the lock's connection is asked whether it still stands,
//! and the lock taken again when it does not.

use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, FromRow};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::{Place, refused_or};
use crate::store::StoreError;
use crate::store::fault::{fault, too_slow};
use crate::store::rows::{hex, random};

/// The key of the lock: the letters of `breakerd`.
const KEY: i64 = i64::from_be_bytes(*b"breakerd");

/// After a `kill -9` Postgres needs a moment to notice that a client is gone.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// Longer than this, and a connection counts as lost.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// The lock on a database, held for the life of this.
#[derive(Debug)]
pub(super) struct Lock {
    options: PgConnectOptions,
    place: Place,
    /// This process, as it stands in `revision.holder`.
    holder: String,
    session: Mutex<Option<Session>>,
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    /// The process that serves it in Postgres.
    backend: i32,
}

/// Who holds the lock, as far as Postgres tells.
#[derive(FromRow)]
struct OwnerRow {
    pid: i32,
    client_addr: Option<String>,
    application_name: Option<String>,
}

impl Lock {
    /// Takes the lock, and lets `prepare` do what only its holder may do before anybody writes.
    pub(super) async fn take(
        options: PgConnectOptions,
        place: Place,
        prepare: impl AsyncFnOnce(&mut PgConnection) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let act = "take the lock on the database";
        let holder = hex(u64::from_le_bytes(random(act)?));
        let lock = Self { options, place, holder, session: Mutex::new(None) };
        let mut session = lock.connect().await?;
        lock.acquire(&mut session, None).await?;
        prepare(&mut session.connection).await?;
        sqlx::query("UPDATE revision SET holder = $1")
            .bind(&lock.holder)
            .execute(&mut session.connection)
            .await
            .map_err(fault(act))?;
        *lock.session.lock().await = Some(session);
        Ok(lock)
    }

    /// This process's name in `revision.holder`.
    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// Makes sure that the lock is held: asks its connection, and takes it again when that is lost.
    pub(super) async fn hold(&self) -> Result<(), StoreError> {
        let mut held = self.session.lock().await;
        let mut backend = None;
        // Asked where it is: a caller that gives up in the middle must not take the lock with it.
        if let Some(session) = held.as_mut() {
            if let Ok(Ok(())) = timeout(ANSWER_TIMEOUT, session.connection.ping()).await {
                return Ok(());
            }
            tracing::warn!("lost the connection that holds the lock on the database, taking the lock again");
            backend = Some(session.backend);
            *held = None;
        }
        let mut session = self.connect().await?;
        let acquired = self.acquire(&mut session, backend).await;
        // Whoever takes the database over says so in the revision's row, and that alone is final: it ends this process.
        // Before it does, or when it is our own lost connection that Postgres still knows, the lock may come back.
        self.still_ours(&mut session.connection).await?;
        if let Err(StoreError::Taken(_)) = acquired {
            return Err(too_slow("take the lock on the database again, which another connection holds"));
        }
        acquired?;
        *held = Some(session);
        Ok(())
    }

    /// What a write says when the revision's row does not name this process.
    pub(super) fn overtaken(&self) -> StoreError {
        StoreError::Taken(format!(
            "another breakerd took {} over while this one's connection was lost; restart this one",
            self.place
        ))
    }

    /// Gives the lock back.
    pub(super) async fn release(&self) {
        if let Some(session) = self.session.lock().await.take() {
            // A close that fails leaves a connection that is dropped, and that gives the lock back too.
            drop(timeout(ANSWER_TIMEOUT, session.connection.close()).await);
        }
    }

    async fn connect(&self) -> Result<Session, StoreError> {
        let act = "connect to the database";
        let connected = timeout(ANSWER_TIMEOUT, self.options.connect()).await.map_err(|_| too_slow(act))?;
        let mut connection = connected.map_err(|error| refused_or(&self.place, act, error))?;
        // When the machine of this process dies without a word, Postgres shall notice within seconds. On a
        // unix socket these mean nothing, and do no harm.
        let backend = sqlx::query_scalar(
            "SELECT pg_backend_pid(),
                    set_config('tcp_keepalives_idle', '5', false),
                    set_config('tcp_keepalives_interval', '2', false),
                    set_config('tcp_keepalives_count', '3', false),
                    set_config('idle_session_timeout', '0', false)",
        )
        .fetch_one(&mut connection)
        .await
        .map_err(fault(act))?;
        Ok(Session { connection, backend })
    }

    /// `before` is the backend that held it for this process, if one did.
    async fn acquire(&self, session: &mut Session, before: Option<i32>) -> Result<(), StoreError> {
        let tries = PATIENCE.as_millis() / BETWEEN_TRIES.as_millis();
        let mut owner = None;
        for _ in 0..tries {
            if self.try_acquire(session).await? {
                return Ok(());
            }
            owner = self.owner(session).await?;
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
            owner => Err(self.taken(owner)),
        }
    }

    async fn try_acquire(&self, session: &mut Session) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(KEY)
            .fetch_one(&mut session.connection)
            .await
            .map_err(fault("take the lock on the database"))
    }

    async fn owner(&self, session: &mut Session) -> Result<Option<OwnerRow>, StoreError> {
        // A key of 64 bits stands in pg_locks as two halves.
        sqlx::query_as(
            "SELECT pg_locks.pid, host(client_addr) AS client_addr, application_name
             FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
             WHERE locktype = 'advisory' AND granted AND objsubid = 1
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND classid = ($1 >> 32)::oid AND objid = ($1 & 4294967295)::oid",
        )
        .bind(KEY)
        .fetch_optional(&mut session.connection)
        .await
        .map_err(fault("ask who holds the lock on the database"))
    }

    /// A process that held the lock meanwhile may have written what this one does not know.
    async fn still_ours(&self, connection: &mut PgConnection) -> Result<(), StoreError> {
        let holder: Option<String> = sqlx::query_scalar("SELECT holder FROM revision")
            .fetch_one(connection)
            .await
            .map_err(fault("take the lock on the database again"))?;
        if holder.as_ref() == Some(&self.holder) { Ok(()) } else { Err(self.overtaken()) }
    }

    fn taken(&self, owner: Option<OwnerRow>) -> StoreError {
        let owner = owner.map_or_else(
            || "it has just let go".to_owned(),
            |owner| {
                let address = owner.client_addr.unwrap_or_else(|| "unknown".to_owned());
                let name = owner.application_name.filter(|name| !name.is_empty());
                format!(
                    "backend pid {}, client address {address}, application_name {}",
                    owner.pid,
                    name.unwrap_or_else(|| "unknown".to_owned())
                )
            },
        );
        StoreError::Taken(format!(
            "another breakerd ({owner}) holds the lock on {}: stop it, or give this one a database of its own",
            self.place
        ))
    }
}
