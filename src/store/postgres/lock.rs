//! One breakerd, one database: the lock that says so.
//!
//! A session-level advisory lock on a connection of its own. Postgres gives it back when that connection ends,
//! so a dead process does not hold it; and it needs no table, so it is taken before the tables are made.
//!
//! A lock alone is not enough: its connection can be lost (Postgres was restarted) while the process lives on
//! and another takes the lock. So whoever takes it also writes its name into `revision.holder`, and every write
//! bumps the revision `WHERE holder = ` its own name: a write of a process that was overtaken finds no row,
//! and fails, however late it comes. Before each write, and each second, the lock's connection is asked whether it
//! still stands and whether its server still takes writes, and the lock taken again when not.
//!
//! After a switchover the lock moves: an advisory lock is not replicated, so on the new primary it is free, while the
//! holder's name has come with the data. So the name there is still this process's, unless another took the database
//! over. All other connections lead to the server that the lock is held on; they are replaced with it, because one that
//! stays on the old primary works, and fails every write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use arc_swap::ArcSwap;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, FromRow};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

use super::address::Address;
use super::connector::{ANSWER_TIMEOUT, Connector, backend, is_same_place, refuse_transaction_pooling};
use super::pools::Pools;
use crate::store::StoreError;
use crate::store::columns::{hex, random};
use crate::store::sqlx_error::{fault, is_lost, too_slow};

/// The key of the lock: the letters of `breakerd`.
const KEY: i64 = i64::from_be_bytes(*b"breakerd");

/// After a `kill -9` Postgres needs a moment to notice that a client is gone.
const PATIENCE: Duration = Duration::from_secs(5);
const BETWEEN_TRIES: Duration = Duration::from_millis(200);

/// The lock on a database, held for the life of this.
#[derive(Debug)]
pub(super) struct Lock {
    connector: Connector,
    /// This process, as it stands in `revision.holder`.
    holder: String,
    /// Which store it is: a URL that leads to another one, after a switch, is not followed.
    store_id: String,
    /// The newest revision that is known to be committed.
    revision: AtomicU64,
    session: Mutex<Option<Session>>,
    /// The server that the lock was last held on, and the connections to it.
    primary: ArcSwap<Primary>,
}

/// A server, and the connections to it beside the lock's.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) server: PgConnectOptions,
    pub(super) address: Address,
    pub(super) pools: Pools,
}

impl Primary {
    fn at(server: PgConnectOptions) -> Arc<Self> {
        Arc::new(Self { address: Address::of(&server), pools: Pools::to(&server), server })
    }
}

#[derive(Debug)]
struct Session {
    connection: PgConnection,
    server: PgConnectOptions,
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

/// How the store stands, seen from the lock's connection.
#[derive(FromRow)]
struct StateRow {
    holder: Option<String>,
    n: i64,
    store_id: String,
    is_read_only: bool,
}

impl Lock {
    /// Takes the lock, and lets `prepare` do what only its holder may do before anybody writes.
    pub(super) async fn take(
        connector: Connector,
        prepare: impl AsyncFnOnce(&mut PgConnection, &Address) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let act = "take the lock on the database";
        let holder = hex(u64::from_le_bytes(random(act)?));
        let mut session = connect(&connector).await?;
        let primary = Primary::at(session.server.clone());
        acquire(&mut session, &primary.address, None).await?;
        prepare(&mut session.connection, &primary.address).await?;
        sqlx::query("UPDATE revision SET holder = $1")
            .bind(&holder)
            .execute(&mut session.connection)
            .await
            .map_err(fault(act))?;
        let state = session.state().await?;
        Ok(Self {
            connector,
            holder,
            store_id: state.store_id,
            revision: AtomicU64::new(state.n.unsigned_abs()),
            session: Mutex::new(Some(session)),
            primary: ArcSwap::new(primary),
        })
    }

    /// This process's name in `revision.holder`.
    pub(super) fn holder(&self) -> &str {
        &self.holder
    }

    /// Where the lock was last held, with the connections to there.
    pub(super) fn primary(&self) -> Arc<Primary> {
        self.primary.load_full()
    }

    /// Takes note of a revision that was committed.
    pub(super) fn committed(&self, revision: u64) {
        self.revision.fetch_max(revision, Relaxed);
    }

    /// Makes sure that the lock is held on a server that takes writes: asks its connection, and takes the lock again,
    /// on whichever server takes writes by now, when that is lost. Nothing is written before.
    pub(super) async fn hold(&self) -> Result<(), StoreError> {
        let mut held = self.session.lock().await;
        let mut before = None;
        // Asked where it is: a caller that gives up in the middle must not take the lock with it.
        if let Some(session) = held.as_mut() {
            let why = match timeout(ANSWER_TIMEOUT, session.state()).await {
                Ok(Ok(state)) if state.is_read_only => "the server is read-only now".to_owned(),
                Ok(Ok(state)) => return self.check_state(&state),
                // A table that is locked, or gone: the connection is well, and the lock with it.
                Ok(Err(error)) if !is_lost(&error) => return Err(error),
                Ok(Err(error)) => std::error::Error::source(&error).unwrap_or(&error).to_string(),
                Err(_) => "no response".to_owned(),
            };
            tracing::warn!(
                why,
                server = %self.primary().address,
                "lost the connection that holds the lock on the database, taking the lock again"
            );
            before = held.take().map(|session| (session.server, session.backend));
            // The other connections lead to the same server, and are worth no more.
            self.go_to(self.primary().server.clone());
        }
        let mut session = connect(&self.connector).await?;
        let before = before.filter(|(server, _)| is_same_place(server, &session.server));
        let address = Address::of(&session.server);
        let acquired = acquire(&mut session, &address, before.map(|(_, backend)| backend)).await;
        let state = session.state().await?;
        if state.store_id != self.store_id {
            // Nothing that is decided on one store is written to another; a slip in a file is no reason to stop.
            return Err(StoreError::Refused(format!(
                "{address} is another store than the one breakerd was started with: correct the URL, or restart \
                 breakerd to use the new store"
            )));
        }
        // Whoever takes the database over says so in the revision's row, and that alone is final: it ends this process.
        // Before it does, or when it is our own lost connection that Postgres still knows, the lock may come back.
        self.check_state(&state)?;
        if let Err(StoreError::LockedByAnother(_)) = acquired {
            return Err(too_slow("take the lock on the database again (held by another connection)"));
        }
        acquired?;
        self.warn_of_loss(&state, &address);
        self.go_to(session.server.clone());
        *held = Some(session);
        tracing::info!(server = %address, "took the lock on the database again");
        Ok(())
    }

    /// Lets new connections log in with the password of now; and leaves a server that the URL, when it stands in a
    /// file that was changed, names no more.
    pub(super) async fn log_in_anew(&self) -> Result<(), StoreError> {
        let Some(servers) = self.connector.changed_servers().await? else { return Ok(()) };
        let primary = self.primary();
        if let Some(server) = servers.iter().find(|server| is_same_place(server, &primary.server)) {
            primary.pools.log_in_as(server);
        } else {
            tracing::warn!(server = %primary.address, "database URL changed to another server, reconnecting");
            // Closed by its drop, and the lock with it; the next hold connects to where the URL leads.
            drop(self.session.lock().await.take());
        }
        Ok(())
    }

    /// Drops every connection but the lock's: those of a server that has turned read-only go on working, and every
    /// write on them fails.
    pub(super) fn drop_connections(&self) {
        self.go_to(self.primary().server.clone());
    }

    fn go_to(&self, server: PgConnectOptions) {
        self.primary.swap(Primary::at(server)).pools.retire();
    }

    /// What a write says when the revision's row does not name this process.
    pub(super) fn overtaken(&self) -> StoreError {
        StoreError::LockedByAnother(format!(
            "lost the lock on {} to another breakerd while disconnected: restart this process",
            self.primary().address
        ))
    }

    /// A process that held the lock meanwhile may have written what this one does not know.
    fn check_state(&self, state: &StateRow) -> Result<(), StoreError> {
        if state.holder.as_ref() == Some(&self.holder) { Ok(()) } else { Err(self.overtaken()) }
    }

    /// A standby that was promoted before it had everything: what is missing was committed, and is not there.
    fn warn_of_loss(&self, state: &StateRow, address: &Address) {
        let (known, found) = (self.revision.load(Relaxed), state.n.unsigned_abs());
        if found < known {
            tracing::error!(
                server = %address,
                revision = found,
                committed = known,
                "promoted standby lacks the newest revisions: they are missing from the history, breakers continue \
                 from memory"
            );
        }
    }

    /// Gives the lock back, and closes every connection.
    pub(super) async fn release(&self) {
        self.primary().pools.close().await;
        if let Some(session) = self.session.lock().await.take() {
            // A close that fails leaves a connection that is dropped, and that gives the lock back too.
            drop(timeout(ANSWER_TIMEOUT, session.connection.close()).await);
        }
    }
}

async fn connect(connector: &Connector) -> Result<Session, StoreError> {
    let act = "connect to the database";
    let (mut connection, server) = connector.connect().await?;
    refuse_transaction_pooling(&mut connection, &server).await?;
    let backend = backend(&mut connection).await?;
    // When the machine of this process dies without a word, Postgres shall notice within seconds. On a
    // unix socket these mean nothing, and do no harm. A table that somebody has locked is told from a server that does
    // not answer (`ANSWER_TIMEOUT`).
    let settings = "SELECT set_config('tcp_keepalives_idle', '5', false),
                           set_config('tcp_keepalives_interval', '2', false),
                           set_config('tcp_keepalives_count', '3', false),
                           set_config('idle_session_timeout', '0', false),
                           set_config('lock_timeout', '2s', false)";
    let set = timeout(ANSWER_TIMEOUT, sqlx::query(settings).execute(&mut connection)).await;
    set.map_err(|_| too_slow(act))?.map_err(fault(act))?;
    Ok(Session { connection, server, backend })
}

/// `before` is the backend of that server that held it for this process, if one did.
async fn acquire(session: &mut Session, address: &Address, before: Option<i32>) -> Result<(), StoreError> {
    let tries = PATIENCE.as_millis() / BETWEEN_TRIES.as_millis();
    let mut owner = None;
    for _ in 0..tries {
        if session.try_acquire().await? {
            return Ok(());
        }
        owner = session.owner().await?;
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
        owner => Err(taken(owner, address)),
    }
}

impl Session {
    async fn state(&mut self) -> Result<StateRow, StoreError> {
        sqlx::query_as(
            "SELECT holder, n, store_id,
                    pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on' AS is_read_only
             FROM revision CROSS JOIN meta",
        )
        .fetch_one(&mut self.connection)
        .await
        .map_err(fault("check the lock on the database"))
    }

    async fn try_acquire(&mut self) -> Result<bool, StoreError> {
        sqlx::query_scalar("SELECT pg_try_advisory_lock($1)")
            .bind(KEY)
            .fetch_one(&mut self.connection)
            .await
            .map_err(fault("take the lock on the database"))
    }

    async fn owner(&mut self) -> Result<Option<OwnerRow>, StoreError> {
        // A key of 64 bits stands in pg_locks as two halves.
        sqlx::query_as(
            "SELECT pg_locks.pid, host(client_addr) AS client_addr, application_name
             FROM pg_locks LEFT JOIN pg_stat_activity USING (pid)
             WHERE locktype = 'advisory' AND granted AND objsubid = 1
               AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
               AND classid = ($1 >> 32)::oid AND objid = ($1 & 4294967295)::oid",
        )
        .bind(KEY)
        .fetch_optional(&mut self.connection)
        .await
        .map_err(fault("read who holds the lock on the database"))
    }
}

fn taken(owner: Option<OwnerRow>, address: &Address) -> StoreError {
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
    StoreError::LockedByAnother(format!(
        "the lock on {address} is held by another breakerd ({owner}): stop it or use another database"
    ))
}
