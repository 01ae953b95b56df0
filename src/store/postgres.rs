//! The store in Postgres.
//!
//! The lock's connection keeps the lock between two transactions (see [`lock`]), so a pooler must give sessions; one
//! that gives transactions is refused, except by replicas that share the database ([`Access`]). Who writes, who reads for a moment and who pages through the history each have
//! connections of their own ([`pools`]). Nothing waits without end: each transaction sets its own timeouts in Postgres,
//! and each call has one here.

mod access;
mod address;
mod config;
mod connector;
mod copy;
mod counts;
mod listen;
mod lock;
mod permit_keys;
mod pools;
mod probe_rows;
mod prune;
mod replicas;
mod requests;
mod row_locks;
mod row_use;
mod schema;
mod server_timeline;
mod session;
mod shared;
mod shared_rows;
mod shared_steps;
mod statements_text;
mod steps;
mod transition_rows;
mod url;
mod write;
mod write_text;
mod write_transaction;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Attribution, Key, Time};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{Postgres, QueryBuilder};

pub use self::access::Access;
pub(super) use self::address::Address;
use self::connector::{Connector, Source};
use self::lock::Lock;
use self::schema::Schema;
use self::steps::PostgresTransaction;
use self::transition_rows::SELECT_TRANSITIONS;
pub use self::url::PostgresUrl;
use super::columns::{Reader, bigint};
use super::history::{TransitionRow, narrow};
use super::permit_key_rows::{ADVANCE_ACT, new_secret};
use super::rows::{BreakerRow, MetaRow, new_identity};
use super::script;
use super::sqlx_error::{fault, is_read_only, too_slow};
use super::statements::{POSITION, PositionRow, RENEW_TIMELINE, random_step};
use super::timeline_store::timeline_after;
use super::{
    Answer, ChangeQuery, ConfigStore, ConfigWrite, ConfigWritten, Meta, PermitKey, PermitKeyAdded,
    PermitKeyStore, Position, Proposal, Pruned, RequestId, Retention, SharedStore, StoreAdmin, StoreError,
    StoredBreaker, StoredChange, StoredConfiguration, StoredTransition, TimelineStore, TransitionQuery,
    TransitionStore,
};

/// How long a call may take in all. Longer than the timeouts that Postgres is given, so that it is Postgres
/// that gives up, and says why.
const CALL_TIMEOUT: Duration = Duration::from_secs(20);

/// The store in Postgres.
#[derive(Debug)]
pub struct PostgresStore {
    lock: Lock,
    /// Where it listens; none: where it writes.
    listener: Option<Connector>,
}

/// Where the database of a URL is, for people: without its secrets. None: it is no such URL.
pub(super) fn addresses(url: &str) -> Option<String> {
    connector::addresses(&PostgresUrl::parse(url).ok()?)
}

/// As [`place`], with the URL in a file.
pub(super) fn addresses_by_file(path: &Path) -> Option<String> {
    connector::addresses(&connector::read(path).ok()?)
}

impl PostgresStore {
    /// Connects, takes the lock on the database and brings its tables up to date.
    ///
    /// # Errors
    /// [`StoreError::LockedByAnother`] when another breakerd holds the lock, and not both share it, [`StoreError::Unavailable`] when there is no
    /// database there now, [`StoreError::Refused`] when trying again will not help.
    pub async fn connect(url: &str, access: Access) -> Result<Self, StoreError> {
        let url = PostgresUrl::parse(url)
            .map_err(|problem| StoreError::Refused(format!("store.url: {problem}; {URL_FORM}")))?;
        Self::connect_from(Source::Given(url), access).await
    }

    /// As [`PostgresStore::connect`], with the URL in a file, which is read again when it changes.
    ///
    /// # Errors
    /// As [`PostgresStore::connect`].
    pub async fn connect_by_file(path: &Path, access: Access) -> Result<Self, StoreError> {
        Self::connect_from(Source::File { path: path.to_owned(), last: Arc::default() }, access).await
    }

    async fn connect_from(source: Source, access: Access) -> Result<Self, StoreError> {
        let schema = Schema::of_this_release();
        let lock = Lock::take(Connector::new(source), access, schema, async |connection, address| {
            schema.migrate(connection, address).await?;
            identify(connection).await?;
            if access == Access::Shared { server_timeline::note_first(connection).await } else { Ok(()) }
        });
        let lock = lock.await?;
        prune::make_room(&lock.primary().pools.writes).await?;
        Ok(Self { lock, listener: None })
    }

    /// The same, told of changes by way of `url`, if there is one.
    ///
    /// # Errors
    /// [`StoreError::Refused`] when that is no URL.
    pub fn listening_at(self, url: Option<&str>) -> Result<Self, StoreError> {
        let url = url.map(PostgresUrl::parse).transpose();
        let url =
            url.map_err(|problem| StoreError::Refused(format!("store.listen_url: {problem}; {URL_FORM}")))?;
        Ok(Self { listener: url.map(|url| Connector::new(Source::Given(url))), ..self })
    }

    /// For whatever writes: the lock first, which decides where to.
    async fn writes(&self) -> Result<PgPool, StoreError> {
        self.lock.hold_to_write().await?;
        Ok(self.lock.primary().pools.writes.clone())
    }

    /// For short reads.
    fn reads(&self) -> PgPool {
        self.lock.primary().pools.reads.clone()
    }

    /// For reads whose length a caller chooses.
    fn history(&self) -> PgPool {
        self.lock.primary().pools.history.clone()
    }

    /// Takes note of what a write came to.
    fn noted<T>(&self, written: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &written {
            if is_read_only(error) {
                self.lock.drop_connections();
            }
            if error.is_transient() {
                self.lock.doubt();
            }
        }
        written
    }
}

#[async_trait]
impl TransitionStore for PostgresStore {
    async fn propose(&self, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
        if proposals.is_empty() {
            return Ok(Vec::new());
        }
        let written = tokio::time::timeout(CALL_TIMEOUT, async {
            let tx = PostgresTransaction::begin(&self.writes().await?, &self.lock).await?;
            script::propose(tx, proposals).await
        });
        let answers = self.noted(written.await.map_err(|_| too_slow("write transitions"))?)?;
        for answer in &answers {
            if let Answer::Won { revision, .. } = answer {
                self.lock.committed(*revision);
            }
        }
        Ok(answers)
    }

    async fn breakers(&self, after: Option<&Key>, limit: u32) -> Result<Vec<StoredBreaker>, StoreError> {
        // No service is empty: every key is behind this one.
        let (service, name) = after.map_or(("", ""), |key| (key.service(), key.name()));
        let pool = self.reads();
        let page = sqlx::query_as(
            "SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us, override_actor,
                    override_reason, override_expires_at, override_scope, override_ttl_us, permitted, failures_to_open, slow_to_open, lease_us,
                    max_wait_us, after_max_wait, config_revision, revision,
                    entered_by
             FROM breaker
             WHERE (service, name) > ($1, $2)
             ORDER BY service, name
             LIMIT $3",
        )
        .bind(service)
        .bind(name)
        .bind(i64::from(limit))
        .fetch_all(&pool);
        let rows: Vec<BreakerRow> = within("read the breakers", page).await?;
        rows.into_iter().map(BreakerRow::breaker).collect()
    }

    async fn transitions(&self, query: &TransitionQuery) -> Result<Vec<StoredTransition>, StoreError> {
        let mut sql = QueryBuilder::<Postgres>::new(SELECT_TRANSITIONS);
        sql.push(" WHERE true");
        narrow(&mut sql, "occurred_at", query)?;
        let pool = if query.follows() { self.reads() } else { self.history() };
        let rows: Vec<TransitionRow> =
            within("read the history", sql.build_query_as().fetch_all(&pool)).await?;
        rows.into_iter().map(TransitionRow::transition).collect()
    }

    async fn history_floor(&self) -> Result<u64, StoreError> {
        let pool = self.reads();
        let read = tokio::time::timeout(CALL_TIMEOUT, config::head(&pool));
        read.await.map_err(|_| too_slow("read the history range"))?.and_then(|head| head.history_floor())
    }

    async fn prune(&self, retention: Retention) -> Result<Pruned, StoreError> {
        self.noted(prune::prune(&self.writes().await?, retention).await)
    }

    async fn breakers_without_history(
        &self,
        before: Time,
        after: Option<&Key>,
        limit: u32,
    ) -> Result<Vec<(Key, u64)>, StoreError> {
        self.noted(prune::breakers_without_history(&self.reads(), &self.lock, before, after, limit).await)
    }

    async fn delete_breakers(&self, breakers: &[(Key, u64)]) -> Result<Vec<Key>, StoreError> {
        self.noted(prune::delete_breakers(&self.writes().await?, &self.lock, breakers).await)
    }
}

#[async_trait]
impl ConfigStore for PostgresStore {
    async fn configuration(&self) -> Result<StoredConfiguration, StoreError> {
        let pool = self.reads();
        let read = tokio::time::timeout(CALL_TIMEOUT, config::configuration(&pool));
        read.await.map_err(|_| too_slow("read the configuration"))?
    }

    async fn write_config(&self, write: &ConfigWrite<'_>) -> Result<ConfigWritten, StoreError> {
        let written = tokio::time::timeout(CALL_TIMEOUT, async {
            let tx = PostgresTransaction::begin(&self.writes().await?, &self.lock).await?;
            script::write_config(tx, write).await
        });
        let written = self.noted(written.await.map_err(|_| too_slow("write the configuration"))?)?;
        if let ConfigWritten::Written(changed) = &written {
            self.lock.committed(changed.revision);
        }
        Ok(written)
    }

    async fn request(&self, request: &RequestId) -> Result<Option<ConfigWritten>, StoreError> {
        let pool = self.reads();
        let found = tokio::time::timeout(CALL_TIMEOUT, requests::find(&pool, request));
        found.await.map_err(|_| too_slow("read an idempotency record"))?
    }

    async fn keep_request(&self, request: &RequestId) -> Result<(), StoreError> {
        let kept = tokio::time::timeout(CALL_TIMEOUT, async {
            requests::keep(&self.writes().await?, request).await
        });
        self.noted(kept.await.map_err(|_| too_slow("write an idempotency record"))?)
    }

    async fn changes(&self, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
        let pool = self.history();
        let read = tokio::time::timeout(CALL_TIMEOUT, config::changes(&pool, query));
        read.await.map_err(|_| too_slow("read the audit"))?
    }
}

#[async_trait]
impl TimelineStore for PostgresStore {
    async fn meta(&self) -> Result<Meta, StoreError> {
        let act = "read the store's identity";
        let row: MetaRow = within(
            act,
            sqlx::query_as("SELECT store_id, timeline, permit_key FROM meta").fetch_one(&self.reads()),
        )
        .await?;
        row.meta()
    }

    async fn revision(&self) -> Result<u64, StoreError> {
        let act = "read the revision";
        let n = within(act, sqlx::query_scalar("SELECT n FROM revision").fetch_one(&self.reads())).await?;
        Reader { act, row: "revision" }.number("n", n)
    }

    async fn position(&self, seen: u64) -> Result<Position, StoreError> {
        let act = "read the revision";
        if self.lock.is_shared() {
            return self.shared_position(seen).await;
        }
        let pool = self.reads();
        let read = sqlx::query_as(POSITION).bind(bigint(act, "revision", seen)?).fetch_one(&pool);
        let row: PositionRow = within(act, read).await?;
        row.position()
    }

    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        let act = "write a new timeline";
        if self.lock.is_shared() {
            return self.begin_timeline(present, past).await;
        }
        let renewed = tokio::time::timeout(CALL_TIMEOUT, async {
            let mut tx = write_transaction::begin_under(&self.writes().await?, &self.lock).await?;
            let renewed = sqlx::query(RENEW_TIMELINE)
                .bind(i64::from(timeline_after(present.max(past), random_step()?)))
                .bind(i64::from(present))
                .execute(&mut *tx)
                .await
                .map_err(fault(act))?;
            if renewed.rows_affected() == 1 {
                write_transaction::bump(&mut tx, &self.lock).await?;
            }
            tx.commit(act).await
        });
        self.noted(renewed.await.map_err(|_| too_slow(act))?)
    }
}

#[async_trait]
impl PermitKeyStore for PostgresStore {
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError> {
        let pool = self.reads();
        let read = tokio::time::timeout(CALL_TIMEOUT, permit_keys::read(&pool));
        read.await.map_err(|_| too_slow("read the permit keys"))?
    }

    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError> {
        let secret = new_secret()?;
        let added = tokio::time::timeout(CALL_TIMEOUT, async {
            let tx = PostgresTransaction::begin(&self.writes().await?, &self.lock).await?;
            script::add_permit_key(tx, &secret, attribution).await
        });
        self.noted(added.await.map_err(|_| too_slow("write a permit key"))?)
    }

    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError> {
        let advanced = tokio::time::timeout(CALL_TIMEOUT, async {
            permit_keys::advance(&self.writes().await?, held).await
        });
        self.noted(advanced.await.map_err(|_| too_slow(ADVANCE_ACT))?)
    }
}

#[async_trait]
impl StoreAdmin for PostgresStore {
    async fn ping(&self) -> Result<(), StoreError> {
        let held = tokio::time::timeout(CALL_TIMEOUT, async {
            self.lock.log_in_anew().await?;
            self.lock.hold().await
        });
        held.await.map_err(|_| too_slow("make sure of the lock on the database"))?
    }

    async fn check_writable(&self) -> Result<(), StoreError> {
        let checked = tokio::time::timeout(CALL_TIMEOUT, async {
            write::check_writable(&self.writes().await?, &self.lock).await
        });
        self.noted(checked.await.map_err(|_| too_slow("check that the store is writable"))?)
    }

    async fn close(&self) {
        self.lock.release().await;
    }
}

/// Reads the file of `store.url_file` as the store does, and connects to nothing.
///
/// # Errors
/// That it cannot be read, or what is wrong with the URL in it; without repeating what it holds.
pub fn check_url_file(path: &Path) -> Result<(), String> {
    connector::read(path).map(drop)
}

/// What a URL looks like, for who wrote another.
const URL_FORM: &str = "must be postgres://user:password@host:port/database, with several hosts as host:port,host:port \
                        (unset: SQLite in the data directory)";

/// Gives a new store its identity; one that has one keeps it.
async fn identify(connection: &mut PgConnection) -> Result<(), StoreError> {
    let (store_id, permit_key) = new_identity()?;
    sqlx::query(
        "INSERT INTO meta (store_id, timeline, permit_key) VALUES ($1, 0, $2) ON CONFLICT DO NOTHING",
    )
    .bind(store_id)
    .bind(permit_key.as_slice())
    .execute(&mut *connection)
    .await
    .map_err(fault("make the store's identity"))?;
    permit_keys::make_first(connection).await
}

/// A read, within the time that a call may take.
async fn within<T>(
    act: &'static str,
    read: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, StoreError> {
    tokio::time::timeout(CALL_TIMEOUT, read).await.map_err(|_| too_slow(act))?.map_err(fault(act))
}
