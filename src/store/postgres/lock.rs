//! Who has a database: one breakerd alone, or replicas that share it.
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
//!
//! Replicas hold the lock as one that is shared, and have one name in `revision.holder`. So they keep out who wants the
//! database alone, of whichever version, and are kept out by it. A pooler in transaction mode can keep no lock for them: there
//! the name alone counts.
//!
//! A migration that a release before cannot live with takes that name away. From that moment no write of such a release is
//! taken, and none of it ends: it finds out why, and goes on deciding ([`super::schema`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;
use sqlx::Connection;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::access::Access;
use super::address::Address;
use super::connector::{ANSWER_TIMEOUT, Connector, is_same_place};
use super::pools::Pools;
use super::schema::{self, Schema};
use super::session::{Session, StateRow};
use crate::store::StoreError;
use crate::store::columns::{hex, random};
use crate::store::sqlx_error::{fault, is_lost, too_slow};

/// The lock on a database, held for the life of this.
#[derive(Debug)]
pub(super) struct Lock {
    connector: Connector,
    access: Access,
    /// Who has the database, as it stands in `revision.holder`.
    holder: String,
    /// What this release knows of the tables.
    schema: Schema,
    /// Which store it is: a URL that leads to another one, after a switch, is not followed.
    store_id: String,
    /// The newest revision that is known to be committed.
    revision: AtomicU64,
    session: Mutex<Option<Session>>,
    /// Nothing has said since the lock's connection was last asked that it may be lost.
    is_trusted: AtomicBool,
    /// A newer release has the database, and the log says so.
    is_too_old: AtomicBool,
    /// The server that the lock was last held on, and the connections to it.
    primary: ArcSwap<Primary>,
}

/// A server, and the connections to it beside the lock's.
#[derive(Debug)]
pub(super) struct Primary {
    pub(super) server: PgConnectOptions,
    pub(super) address: Address,
    /// It is a pooler that gives each transaction another session.
    pub(super) is_pooled: bool,
    pub(super) pools: Pools,
}

impl Primary {
    fn at(server: PgConnectOptions, is_pooled: bool) -> Arc<Self> {
        let pools = Pools::to(&server, is_pooled);
        Arc::new(Self { address: Address::of(&server), pools, is_pooled, server })
    }
}

impl Lock {
    /// Takes the lock, and lets `prepare` do what only its holder may do before anybody writes.
    pub(super) async fn take(
        connector: Connector,
        access: Access,
        schema: Schema,
        prepare: impl AsyncFnOnce(&mut PgConnection, &Address) -> Result<(), StoreError>,
    ) -> Result<Self, StoreError> {
        let act = "take the lock on the database";
        let mut session = Session::open(&connector, access).await?;
        let primary = Primary::at(session.server.clone(), session.is_pooled);
        session.acquire(&primary.address, None).await?;
        let address = &primary.address;
        // The name is written by who prepares: a newer release that is started at this moment is before it, or waits.
        let named = session.alone(&connector, async |connection| {
            prepare(connection, address).await?;
            let holder = match access {
                Access::Exclusive => hex(u64::from_le_bytes(random(act)?)),
                Access::Shared => schema::shared_holder(connection).await?,
            };
            let name = sqlx::query("UPDATE revision SET holder = $1").bind(&holder);
            name.execute(connection).await.map_err(fault(act))?;
            Ok(holder)
        });
        let holder = named.await?;
        let state = session.state().await?;
        Ok(Self {
            connector,
            access,
            holder,
            schema,
            store_id: state.store_id,
            revision: AtomicU64::new(state.n.unsigned_abs()),
            session: Mutex::new(Some(session)),
            is_trusted: AtomicBool::new(true),
            is_too_old: AtomicBool::new(false),
            primary: ArcSwap::new(primary),
        })
    }

    /// Whether replicas have the database.
    pub(super) fn is_shared(&self) -> bool {
        self.access == Access::Shared
    }

    /// The name in `revision.holder` under which this process may write.
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

    /// For who is about to write. Among replicas the name in `revision.holder` is compared by each write itself: the lock's
    /// connection is asked each second, and when a write has met what says that it may be lost.
    pub(super) async fn hold_to_write(&self) -> Result<(), StoreError> {
        if self.is_shared() && self.is_trusted.load(Relaxed) {
            return Ok(());
        }
        self.hold().await
    }

    /// A write met what says that the lock's connection may be lost.
    pub(super) fn doubt(&self) {
        self.is_trusted.store(false, Relaxed);
    }

    /// Makes sure that the lock is held on a server that takes writes: asks its connection, and takes the lock again,
    /// on whichever server takes writes by now, when that is lost. Nothing is written before.
    pub(super) async fn hold(&self) -> Result<(), StoreError> {
        let mut held = self.session.lock().await;
        self.is_trusted.store(false, Relaxed);
        let is_held = self.hold_on(&mut held).await;
        self.is_trusted.store(is_held.is_ok(), Relaxed);
        is_held
    }

    async fn hold_on(&self, held: &mut Option<Session>) -> Result<(), StoreError> {
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
            self.drop_connections();
        }
        let mut session = Session::open(&self.connector, self.access).await?;
        let before = before.filter(|(server, _)| is_same_place(server, &session.server));
        let address = Address::of(&session.server);
        let acquired = session.acquire(&address, before.map(|(_, backend)| backend)).await;
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
        self.go_to(session.server.clone(), session.is_pooled);
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
        let primary = self.primary();
        self.go_to(primary.server.clone(), primary.is_pooled);
    }

    fn go_to(&self, server: PgConnectOptions, is_pooled: bool) {
        self.primary.swap(Primary::at(server, is_pooled)).pools.retire();
    }

    /// What a write says when the revision's row does not name this process. Of replicas, a newer release may have taken the
    /// name away: whoever asks the lock's connection next finds out.
    pub(super) fn not_named(&self, act: &'static str) -> StoreError {
        match self.access {
            Access::Exclusive => self.overtaken(),
            Access::Shared => StoreError::Unavailable {
                act,
                problem: "the database was taken over",
                source: format!("revision.holder is not {:?}", self.holder).into(),
            },
        }
    }

    fn overtaken(&self) -> StoreError {
        StoreError::LockedByAnother(format!(
            "lost the lock on {} to another breakerd while disconnected: restart this process",
            self.primary().address
        ))
    }

    /// A process that held the lock meanwhile may have written what this one does not know.
    fn check_state(&self, state: &StateRow) -> Result<(), StoreError> {
        if state.holder.as_ref() == Some(&self.holder) {
            self.is_too_old.store(false, Relaxed);
            return Ok(());
        }
        // Whoever has a database alone and was overtaken must not decide any more, whatever the release of the other is.
        if !self.is_shared() {
            return Err(self.overtaken());
        }
        let Err(error) = self.schema.check(state.compatible_from, &self.primary().address) else {
            return Err(self.overtaken());
        };
        if !self.is_too_old.swap(true, Relaxed) {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "nothing is written any more: decisions go on"
            );
        }
        Err(error)
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
