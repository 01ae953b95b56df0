//! The store in a file of its own, for one process.
//!
//! One connection writes, a few read: SQLite has one writer at a time anyway, and with WAL readers do not wait
//! for it, nor it for them. Pages of the history have connections apart, so that they hold up no other reader.
//! `synchronous = NORMAL`: what was committed outlives a kill of the process; a power cut can take the last moments, and
//! the journal has them still.
//!
//! Who may open the file is not decided here: the server locks the data folder before.

mod batch;
mod config;
mod file_identity;
mod permit_keys;
mod prune;
mod requests;
mod steps;
mod text_time;
mod write;
mod write_transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteError, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{ConnectOptions, QueryBuilder, Sqlite};

use self::file_identity::FileIdentity;
use self::steps::SqliteTransaction;
use self::text_time::{no_earlier, no_later};
use super::columns::{Reader, bigint};
use super::history::{TransitionRow, narrow};
use super::permit_key_rows::new_secret;
use super::rows::{BreakerRow, MetaRow, new_identity};
use super::script;
use super::sqlx_error::{fault, migration_fault};
use super::statements::{POSITION, PositionRow, RENEW_TIMELINE, random_step};
use super::timeline_store::timeline_after;
use super::{
    Answer, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, HISTORY_READS_AT_ONCE, Meta, PermitKey,
    PermitKeyAdded, PermitKeyStore, Position, Proposal, Pruned, RequestId, Retention, StoreAdmin, StoreError,
    StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery,
    TransitionStore,
};

static MIGRATOR: Migrator = sqlx::migrate!("migrations/sqlite");

/// The tail of the history, watchers that catch up, the load at start; more would only take memory.
const READERS: u32 = 4;

/// Pages of the history and of the audit, for people.
const HISTORY: u32 = HISTORY_READS_AT_ONCE;

/// How long a statement waits for a person's `sqlite3` that is in the middle of a write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a read waits for a connection that others use.
const READER_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);

/// How long a write waits for the one connection that writes. That is the write lock of this store: who waits for it
/// waits for whole transactions of others, up to a batch or a step of pruning each, on a disk that may be slow. So it
/// has the time that a whole call has on Postgres, where such a wait is one for a row's lock.
const WRITER_ACQUIRE_TIMEOUT: Duration = Duration::from_secs(20);

/// Pages that the writer keeps in memory, in KiB (SQLite reads a negative size so): where a hundred thousand breakers open at once,
/// their rows and the ends of the indexes.
const WRITER_CACHE_KIB: &str = "-32768";

/// Pages of 4 KiB in the write-ahead log before it is copied into the file: 32 MiB. A page that many transitions change is copied
/// once then.
const CHECKPOINT_PAGES: &str = "8192";

/// The store in a file.
#[derive(Debug)]
pub struct SqliteStore {
    writer: SqlitePool,
    readers: SqlitePool,
    history: SqlitePool,
    file: Arc<FileIdentity>,
}

impl SqliteStore {
    /// Opens the file, or makes it and the folder around it, and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when the path cannot be a store: it names the path and what to do.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        make_file(path).await?;
        let file = Arc::new(FileIdentity::of(path)?);
        let options = SqliteConnectOptions::new()
            .filename(path)
            .busy_timeout(BUSY_TIMEOUT)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Normal);
        let writer = pool(1, &file, true)
            .acquire_timeout(WRITER_ACQUIRE_TIMEOUT)
            // A statement that writes a batch is some kilobytes of placeholders: too long for a line of the log.
            .connect_with(
                options
                    .clone()
                    .disable_statement_logging()
                    .pragma("cache_size", WRITER_CACHE_KIB)
                    .pragma("wal_autocheckpoint", CHECKPOINT_PAGES),
            )
            .await
            .map_err(|error| refused_or(path, "open the database", error))?;
        let location = path.display().to_string();
        MIGRATOR.run(&writer).await.map_err(|error| migration_fault(&location, error))?;
        let options = options.read_only(true);
        let readers = pool(READERS, &file, false)
            .acquire_timeout(READER_ACQUIRE_TIMEOUT)
            .connect_lazy_with(options.clone());
        let history =
            pool(HISTORY, &file, false).acquire_timeout(READER_ACQUIRE_TIMEOUT).connect_lazy_with(options);
        let store = Self { writer, readers, history, file };
        store.identify().await?;
        Ok(store)
    }

    /// Runs a write, and answers it only if what it wrote is in the file that is there.
    async fn recorded<T>(&self, write: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        self.file.check_database()?;
        let written = write.await;
        // Before what else is wrong: that the file is another one explains it.
        self.file.check_both()?;
        written
    }

    /// Gives a new store its identity; one that has one keeps it.
    async fn identify(&self) -> Result<(), StoreError> {
        let (store_id, permit_key) = new_identity()?;
        sqlx::query(
            "INSERT INTO meta (store_id, timeline, permit_key, created_at_us)
             VALUES ($1, 0, $2, CAST(unixepoch('subsec') * 1000000 AS INTEGER))
             ON CONFLICT DO NOTHING",
        )
        .bind(store_id)
        .bind(permit_key.as_slice())
        .execute(&self.writer)
        .await
        .map_err(fault("make the store's identity"))?;
        permit_keys::make_first(&self.writer).await
    }
}

#[async_trait]
impl TransitionStore for SqliteStore {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        if proposals.is_empty() {
            return Ok(Vec::new());
        }
        let write = async { script::propose(SqliteTransaction::begin(&self.writer).await?, proposals).await };
        self.recorded(write).await
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        // No service is empty: every key is behind this one.
        let (service, name) = after.map_or(("", ""), |key| (key.service(), key.name()));
        let rows: Vec<BreakerRow> = sqlx::query_as(
            "SELECT service, name, epoch, state, open_count, entered_at_us AS entered_at, wait_us, retry_after_us,
                    override_actor, override_reason, override_expires_at_us AS override_expires_at, override_scope,
                    override_ttl_us,
                    permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                    config_revision, revision, entered_by
             FROM breaker
             WHERE (service, name) > ($1, $2)
             ORDER BY service, name
             LIMIT $3",
        )
        .bind(service.to_owned())
        .bind(name.to_owned())
        .bind(limit)
        .fetch_all(&self.readers)
        .await
        .map_err(fault("read the breakers"))?;
        rows.into_iter().map(BreakerRow::breaker).collect()
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "SELECT revision, number, replica, boot, seq, service, name, from_state, to_state, reason,
                    epoch, base_epoch, calls, failures, slow_calls, consecutive_failures,
                    consecutive_successes, reporters, open_count, wait_us, retry_after_us, actor,
                    override_reason, lasted_us, rejected_calls, error_class, caller, lost_transitions, shadow,
                    store_unavailable, superseded_by, timeline, config_revision, occurred_at_us AS occurred_at,
                    recorded_at_us AS recorded_at
             FROM transition
             WHERE true",
        );
        // The index is on the text; what it finds within a millisecond of the bounds is looked at again by its number.
        if let Some(from_time) = query.from_time {
            sql.push(" AND at >= ").push_bind(no_earlier(from_time));
        }
        if let Some(until_time) = query.until_time {
            sql.push(" AND at <= ").push_bind(no_later(until_time));
        }
        narrow(&mut sql, "occurred_at_us", query)?;
        let pool = if query.follows() { &self.readers } else { &self.history };
        let rows: Vec<TransitionRow> =
            sql.build_query_as().fetch_all(pool).await.map_err(fault("read the history"))?;
        rows.into_iter().map(TransitionRow::transition).collect()
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        config::head(&self.readers).await?.history_floor()
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.recorded(prune::prune(&self.writer, retention)).await
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        prune::breakers_without_history(&self.readers, before, after, limit).await
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        prune::delete_breakers(&self.writer, breakers).await
    }
}

#[async_trait]
impl ConfigStore for SqliteStore {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        config::configuration(&self.readers).await
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        let write =
            async { script::write_config(SqliteTransaction::begin(&self.writer).await?, write).await };
        self.recorded(write).await
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        requests::find(&self.readers, request).await
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        self.recorded(requests::keep(&self.writer, request)).await
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        config::changes(&self.history, query).await
    }
}

#[async_trait]
impl TimelineStore for SqliteStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        let row: MetaRow = sqlx::query_as("SELECT store_id, timeline, permit_key FROM meta")
            .fetch_one(&self.readers)
            .await
            .map_err(fault("read the store's identity"))?;
        row.meta()
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        let n: i64 = sqlx::query_scalar("SELECT n FROM revision")
            .fetch_one(&self.readers)
            .await
            .map_err(fault("read the revision"))?;
        Reader { act: "read the revision", row: "revision" }.number("n", n)
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        let act = "read the revision";
        let row: PositionRow = sqlx::query_as(POSITION)
            .bind(bigint(act, "revision", seen)?)
            .fetch_one(&self.readers)
            .await
            .map_err(fault(act))?;
        row.position()
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        let act = "write a new timeline";
        let mut tx = write_transaction::begin(&self.writer).await?;
        let renewed = sqlx::query(RENEW_TIMELINE)
            .bind(i64::from(timeline_after(present.max(past), random_step()?)))
            .bind(i64::from(present))
            .execute(&mut *tx)
            .await
            .map_err(fault(act))?;
        if renewed.rows_affected() == 1 {
            write_transaction::bump(&mut tx).await?;
        }
        tx.commit(act).await
    }
}

#[async_trait]
impl PermitKeyStore for SqliteStore {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        permit_keys::read(&self.readers).await
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        let secret = new_secret()?;
        let add = async {
            script::add_permit_key(SqliteTransaction::begin(&self.writer).await?, &secret, attribution).await
        };
        self.recorded(add).await
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        self.recorded(permit_keys::advance(&self.writer, held)).await
    }
}

#[async_trait]
impl StoreAdmin for SqliteStore {
    async fn ping(&self) -> Result<(), StoreError> {
        if self.writer.size() > 0 {
            self.file.check_both()?;
        } else {
            self.file.check_database()?;
        }
        self.revision().await.map(drop)
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        self.recorded(write::check_writable(&self.writer)).await
    }

    async fn close(&self) {
        // The last connection to close brings what is in the WAL into the file, and a reader could not.
        self.readers.close().await;
        self.history.close().await;
        self.writer.close().await;
    }
}

/// Connections to `file`: one that finds another file there is not used.
fn pool(connections: u32, file: &Arc<FileIdentity>, writes: bool) -> SqlitePoolOptions {
    let file = Arc::clone(file);
    // A connection to a file does not age.
    SqlitePoolOptions::new()
        .after_connect(move |_, _| {
            if writes {
                file.forget_wal();
            }
            let is_ours =
                file.check_database().map_err(|error| sqlx::Error::Io(std::io::Error::other(error)));
            Box::pin(std::future::ready(is_ours))
        })
        .max_connections(connections)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Makes the folder and the file, readable by their owner only (the key of the permits is in it), or says
/// which of them cannot be.
async fn make_file(path: &Path) -> Result<(), StoreError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        tokio::fs::create_dir_all(folder).await.map_err(|error| {
            let folder = folder.display();
            StoreError::Refused(format!(
                "cannot create data directory {folder}: {error}; create it, or change data_dir"
            ))
        })?;
    }
    let mut options = tokio::fs::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    options.mode(0o600);
    options.open(path).await.map(drop).map_err(|error| {
        StoreError::Refused(format!(
            "cannot open database {} for writing: {error}; make it and its directory writable, or \
             change data_dir",
            path.display()
        ))
    })
}

fn refused_or(path: &Path, act: &'static str, error: sqlx::Error) -> StoreError {
    let path = path.display();
    let kind = error
        .as_database_error()
        .and_then(|error| error.try_downcast_ref::<SqliteError>())
        .and_then(|error| sqlx::error::DatabaseError::code(error)?.parse::<u32>().ok());
    match kind.map(|kind| kind & 0xff) {
        Some(26) => {
            StoreError::Refused(format!("{path} is not a SQLite database: move it away, or change data_dir"))
        }
        // READONLY, CANTOPEN: the file could be opened, but not what SQLite keeps beside it.
        Some(8 | 14) => StoreError::Refused(format!(
            "cannot write to the directory of database {path} ({error}): make it writable, or change \
             data_dir"
        )),
        _ => fault(act)(error),
    }
}
