//! The store in Postgres.
//!
//! Only the lock's connection keeps anything between two transactions (see [`lock`]); everything else would
//! pass a pooler in transaction mode, whose clients must not count on a session. Nothing waits without end:
//! each transaction sets its own timeouts in Postgres, and each call has one here.

mod config;
mod lock;
mod prune;
mod requests;
mod write;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use breaker::Key;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{Postgres, QueryBuilder};

use self::lock::Lock;
use super::fault::{fault, migration_fault, too_slow};
use super::history::{TransitionRow, narrow};
use super::rows::{BreakerRow, MetaRow, Reader, new_identity};
use super::{
    Answer, ChangeQuery, ConfigWrite, ConfigWritten, Meta, Proposal, Pruned, RequestId, Retention, Store,
    StoreError, StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TransitionQuery,
};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/postgres");

/// The journal writes with one at a time; the others are for pages of the history and for operators.
const CONNECTIONS: u32 = 8;

/// How long a caller waits for a connection, be it that all are used or that there is no database.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a call may take in all. Longer than the timeouts that Postgres is given, so that it is Postgres
/// that gives up, and says why.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Making the tables of a new release may take longer than any call.
const MIGRATION_TIMEOUT: Duration = Duration::from_mins(10);

/// The store in Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    pool: PgPool,
    lock: Lock,
}

impl PostgresStore {
    /// Connects, takes the lock on the database and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Taken`] when another breakerd holds the lock, [`StoreError::Unavailable`] when there is no
    /// database there now, [`StoreError::Refused`] when trying again will not help.
    pub async fn connect(url: &str) -> Result<Self, StoreError> {
        let options = options(url)?;
        let place = Place::of(&options);
        let lock = Lock::take(options.clone(), place.clone(), async |connection| {
            let migrated =
                tokio::time::timeout(MIGRATION_TIMEOUT, MIGRATOR.run_direct(None, connection, false));
            migrated
                .await
                .map_err(|_| too_slow("create the tables"))?
                .map_err(|error| migration_fault(&place.to_string(), error))?;
            identify(connection).await
        });
        let lock = lock.await?;
        let pool = PgPoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_lazy_with(options);
        Ok(Self { pool, lock })
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        let act = "read the store's identity";
        let row: MetaRow = within(
            act,
            sqlx::query_as("SELECT store_id, lineage, permit_key FROM meta").fetch_one(&self.pool),
        )
        .await?;
        row.meta()
    }

    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        let written = tokio::time::timeout(CALL_TIMEOUT, write::propose(&self.pool, &self.lock, proposals));
        written.await.map_err(|_| too_slow("write transitions"))?
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        // No service is empty: every key is behind this one.
        let (service, name) = after.map_or(("", ""), |key| (key.service(), key.name()));
        let page = sqlx::query_as(
            "SELECT service, name, epoch, state, attempts, entered_at, wait_us, retry_after_us, override_actor,
                    override_reason, override_expires_at, override_scope, permitted, failures_to_open, slow_to_open, lease_us,
                    max_wait_us, after_max_wait, config_revision, revision
             FROM breaker
             WHERE (service, name) > ($1, $2)
             ORDER BY service, name
             LIMIT $3",
        )
        .bind(service)
        .bind(name)
        .bind(i64::from(limit))
        .fetch_all(&self.pool);
        let rows: Vec<BreakerRow> = within("read the breakers", page).await?;
        rows.into_iter().map(BreakerRow::breaker).collect()
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        let mut sql = QueryBuilder::<Postgres>::new(
            "SELECT revision, number, replica, boot, seq, service, name, from_state, to_state, reason, epoch,
                    base_epoch, calls, failures, slow_calls, consecutive_failures, consecutive_successes,
                    reporters, attempts, wait_us, retry_after_us, actor, override_reason, missing, shadow,
                    alone, superseded_by, config_revision, occurred_at, recorded_at
             FROM transition
             WHERE true",
        );
        narrow(&mut sql, "occurred_at", query)?;
        let rows: Vec<TransitionRow> =
            within("read the history", sql.build_query_as().fetch_all(&self.pool)).await?;
        rows.into_iter().map(TransitionRow::transition).collect()
    }

    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        let read = tokio::time::timeout(CALL_TIMEOUT, config::configuration(&self.pool));
        read.await.map_err(|_| too_slow("read the configuration"))?
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        let written = tokio::time::timeout(CALL_TIMEOUT, config::write_config(&self.pool, &self.lock, write));
        written.await.map_err(|_| too_slow("write the configuration"))?
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        let found = tokio::time::timeout(CALL_TIMEOUT, requests::find(&self.pool, request));
        found.await.map_err(|_| too_slow("look a request up"))?
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        let kept = tokio::time::timeout(CALL_TIMEOUT, requests::keep(&self.pool, &self.lock, request));
        kept.await.map_err(|_| too_slow("keep a request's id"))?
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        let read = tokio::time::timeout(CALL_TIMEOUT, config::changes(&self.pool, query));
        read.await.map_err(|_| too_slow("read the audit"))?
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        let read = tokio::time::timeout(CALL_TIMEOUT, config::head(&self.pool));
        read.await
            .map_err(|_| too_slow("read how far the history reaches"))?
            .and_then(|head| head.history_floor())
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        prune::prune(&self.pool, retention).await
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        let act = "read the revision";
        let n = within(act, sqlx::query_scalar("SELECT n FROM revision").fetch_one(&self.pool)).await?;
        Reader { act, row: "revision" }.number("n", n)
    }

    async fn ping(&self) -> Result<(), StoreError> {
        let held = tokio::time::timeout(CALL_TIMEOUT, self.lock.hold());
        held.await.map_err(|_| too_slow("make sure of the lock on the database"))??;
        let holder: Option<String> = within(
            "ask whether the database is ours",
            sqlx::query_scalar("SELECT holder FROM revision").fetch_one(&self.pool),
        )
        .await?;
        if holder.as_deref() == Some(self.lock.holder()) { Ok(()) } else { Err(self.lock.overtaken()) }
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        let checked = tokio::time::timeout(CALL_TIMEOUT, write::check_writable(&self.pool, &self.lock));
        checked.await.map_err(|_| too_slow("check that the store takes writes"))?
    }

    async fn close(&self) {
        self.pool.close().await;
        self.lock.release().await;
    }
}

/// Where a database is, without the secrets of its URL.
#[derive(Debug, Clone)]
struct Place {
    database: String,
    host: String,
    port: u16,
}

impl Place {
    fn of(options: &PgConnectOptions) -> Self {
        let socket = options.get_socket().map(|socket| socket.display().to_string());
        Self {
            database: options.get_database().unwrap_or(options.get_username()).to_owned(),
            host: socket.unwrap_or_else(|| options.get_host().to_owned()),
            port: options.get_port(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "database {} at {}:{}", self.database, self.host, self.port)
    }
}

/// Reads a URL. What is wrong with it is said without repeating it: there may be a password in it.
fn options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let refused = |problem: &str| {
        StoreError::Refused(format!(
            "the store's URL {problem}; it takes postgres://user:password@host:port/database (none at all: \
             SQLite in the data folder)"
        ))
    };
    match url.split_once("://") {
        Some(("postgres" | "postgresql", _)) => {}
        Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            return Err(refused(&format!("has the scheme {scheme}, which breakerd does not know")));
        }
        _ => return Err(refused("has no scheme")),
    }
    let options: PgConnectOptions = url.parse().map_err(|_| refused("cannot be read"))?;
    let named = options.get_application_name().is_some();
    Ok(if named { options } else { options.application_name("breakerd") })
}

/// Gives a new store its identity; one that has one keeps it.
async fn identify(connection: &mut PgConnection) -> Result<(), StoreError> {
    let (store_id, permit_key) = new_identity()?;
    sqlx::query("INSERT INTO meta (store_id, lineage, permit_key) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING")
        .bind(store_id)
        .bind(permit_key.as_slice())
        .execute(connection)
        .await
        .map_err(fault("make the store's identity"))?;
    Ok(())
}

/// Why a connection could not be made. What the server says names the role and the database, never the
/// password.
fn refused_or(place: &Place, act: &'static str, error: sqlx::Error) -> StoreError {
    let code = error.as_database_error().and_then(|error| error.code().map(Cow::into_owned));
    match (&error, code.as_deref()) {
        // Wrong role or password, no such database.
        (sqlx::Error::Database(said), Some(code)) if code.starts_with("28") || code == "3D000" => {
            StoreError::Refused(format!(
                "{place} refuses the connection: {}; correct the URL",
                said.message()
            ))
        }
        (sqlx::Error::Tls(_) | sqlx::Error::Configuration(_), _) => {
            StoreError::Refused(format!("{place} cannot be connected to as the URL says: {error}"))
        }
        _ => fault(act)(error),
    }
}

/// A read, within the time that a call may take.
async fn within<T>(
    act: &'static str,
    read: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_TIMEOUT, read).await.map_err(|_| too_slow(act))?.map_err(fault(act))
}
