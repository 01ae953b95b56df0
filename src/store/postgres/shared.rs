//! What several replicas ask of Postgres.

use async_trait::async_trait;
use breaker::Key;
use sqlx::postgres::{PgPool, PgRow};
use sqlx::{AssertSqlSafe, FromRow};

use super::server_timeline::IS_CHECKED_UNLESS_STANDBY;
use super::shared_rows::joined_breaker;
use super::steps::PostgresTransaction;
use super::{CALL_TIMEOUT, PostgresStore, listen, row_use, within};
use crate::store::columns::{Reader, bigint, hex};
use crate::store::rows::BreakerRow;
use crate::store::shared_script::changed_row;
use crate::store::sqlx_error::{not_writable, too_slow};
use crate::store::statements::PositionRow;
use crate::store::timestamp::Timestamp;
use crate::store::{
    Answered, ChangeId, ChangedRow, Position, ProbeRequest, ProbeResponse, Proposal, RowCursor, RowPlace,
    RowsPage, SharedStore, StoreError, TimelineStore, Told, shared_script,
};

/// A row that changed, beside the position of the store; none: a row of the answer for the position alone.
struct PageRow {
    now: Timestamp,
    position: PositionRow,
    configuration: i64,
    /// None: the server is a standby.
    is_checked: Option<bool>,
    seen_revisions: Vec<i64>,
    seen_nonces: Vec<i64>,
    breaker: Option<BreakerRow>,
}

impl FromRow<'_, PgRow> for PageRow {
    fn from_row(row: &PgRow) -> Result<Self, sqlx::Error> {
        use sqlx::Row as _;
        Ok(Self {
            now: row.try_get("now")?,
            position: PositionRow::from_row(row)?,
            configuration: row.try_get("configuration")?,
            is_checked: row.try_get("is_checked")?,
            seen_revisions: row.try_get("seen_revisions")?,
            seen_nonces: row.try_get("seen_nonces")?,
            breaker: joined_breaker(row)?,
        })
    }
}

impl PageRow {
    fn seen(&self) -> Vec<ChangeId> {
        let changes = self.seen_revisions.iter().zip(&self.seen_nonces);
        let change = |(revision, nonce): (&i64, &i64)| ChangeId {
            revision: revision.unsigned_abs(),
            nonce: nonce.cast_unsigned(),
        };
        changes.map(change).collect()
    }
}

#[async_trait]
impl SharedStore for PostgresStore {
    async fn propose_shared(&self, proposals: &[Proposal]) -> Result<Vec<Answered>, StoreError> {
        if proposals.is_empty() {
            return Ok(Vec::new());
        }
        let written = tokio::time::timeout(CALL_TIMEOUT, async {
            shared_script::propose(self.begin_shared().await?, proposals).await
        });
        let answered = self.noted(written.await.map_err(|_| too_slow("write transitions"))?)?;
        self.committed(answered.iter().map(|answered| answered.row.row.version.revision));
        Ok(answered)
    }

    async fn ask_probes(&self, requests: &[ProbeRequest]) -> Result<Vec<ProbeResponse>, StoreError> {
        if requests.is_empty() {
            return Ok(Vec::new());
        }
        let written = tokio::time::timeout(CALL_TIMEOUT, async {
            shared_script::ask_probes(self.begin_shared().await?, requests).await
        });
        let responses = self.noted(written.await.map_err(|_| too_slow("write the probes"))?)?;
        self.committed(responses.iter().filter_map(|response| match response {
            ProbeResponse::Claimed { row, .. } => Some(row.row.version.revision),
            ProbeResponse::Released | ProbeResponse::Unreadable(_) => None,
            ProbeResponse::Settled { answer, .. } => Some(answer.row.version.revision),
        }));
        Ok(responses)
    }

    async fn rows_after(&self, after: &RowCursor, seen: &[u64], limit: u32) -> Result<RowsPage, StoreError> {
        self.on_primary(rows_after(&self.reads(), after, seen, limit.max(1)).await)
    }

    async fn use_rows(&self, used: &[(Key, u64)]) -> Result<Vec<ChangedRow>, StoreError> {
        if used.is_empty() {
            return Ok(Vec::new());
        }
        let asked = tokio::time::timeout(CALL_TIMEOUT, async {
            let (reads, writes) = (self.reads(), self.writes().await?);
            row_use::note_use((&reads, &writes), &self.lock, used).await?;
            row_use::other_rows(&reads, used).await
        });
        self.on_primary(self.noted(asked.await.map_err(|_| too_slow("say which breakers are used"))?))
    }

    async fn begin_timeline(&self, present: u32, past: u32) -> Result<(), StoreError> {
        let act = "begin a timeline";
        let begun = tokio::time::timeout(CALL_TIMEOUT, async {
            shared_script::begin_timeline(self.begin_shared().await?, present, past).await
        });
        self.noted(begun.await.map_err(|_| too_slow(act))?)
    }

    async fn listen(&self, told: &(dyn Fn(Told) + Send + Sync)) -> StoreError {
        if let Some(connector) = &self.listener {
            return match self.meta().await {
                Ok(meta) => listen::listen_apart(connector, &hex(meta.store_id), told).await,
                Err(error) => error,
            };
        }
        let primary = self.lock.primary();
        if primary.is_pooled {
            return std::future::pending().await;
        }
        listen::listen(&primary.server, &primary.address, told).await
    }
}

impl PostgresStore {
    /// A transaction beside those of other replicas.
    ///
    /// Who may write is compared by its statements ([`super::lock`]).
    async fn begin_shared(&self) -> Result<PostgresTransaction<'_>, StoreError> {
        PostgresTransaction::begin_shared(&self.writes().await?, &self.lock).await
    }

    /// As [`crate::store::TimelineStore::position`], with whether the server's timeline was checked.
    pub(super) async fn shared_position(&self, seen: u64) -> Result<Position, StoreError> {
        let behind_all = RowCursor { revision: u64::MAX >> 2, part: None };
        let page = self.rows_after(&behind_all, &[seen], 1).await?;
        Ok(Position { nonce: page.seen.first().map(|change| change.nonce), ..page.position })
    }

    /// What was read on a standby is worth nothing, and its connections are not either.
    fn on_primary<T>(&self, read: Result<Option<T>, StoreError>) -> Result<T, StoreError> {
        if let Some(read) = read? {
            return Ok(read);
        }
        self.lock.drop_connections();
        self.lock.doubt();
        Err(not_writable("read what changed", "the server is a standby".to_owned()))
    }

    /// Takes note of revisions that were committed.
    fn committed(&self, revisions: impl Iterator<Item = u64>) {
        if let Some(newest) = revisions.max() {
            self.lock.committed(newest);
        }
    }
}

/// See [`SharedStore::rows_after`]. One statement: the position is that of the rows. (With LIMIT 1, as Postgres takes a table of
/// one row for one of a thousand, and then compiles the statement, which takes longer than a second.) None: on a standby.
async fn rows_after(
    pool: &PgPool,
    after: &RowCursor,
    seen: &[u64],
    limit: u32,
) -> Result<Option<RowsPage>, StoreError> {
    let act = "read what changed";
    // No service is empty: the next revision begins behind this place.
    let (revision, service, name) = match &after.part {
        Some(RowPlace { revision, service, name }) => (*revision, service.clone(), name.clone()),
        None => (after.revision.saturating_add(1), String::new(), String::new()),
    };
    let statement = format!(
        "SELECT clock_timestamp() AS now, (SELECT timeline FROM meta) AS timeline, n AS newest,
                {IS_CHECKED_UNLESS_STANDBY} AS is_checked,
                (SELECT nonce FROM change WHERE rev = n) AS newest_nonce,
                (SELECT nonce FROM change WHERE rev = $1) AS nonce,
                ARRAY(SELECT rev FROM change WHERE rev = ANY ($6) ORDER BY rev) AS seen_revisions,
                ARRAY(SELECT nonce FROM change WHERE rev = ANY ($6) ORDER BY rev) AS seen_nonces,
                (SELECT config_head.revision FROM config_head) AS configuration, page.*
         FROM (SELECT n FROM revision LIMIT 1) AS revision LEFT JOIN LATERAL (
             SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us,
                    override_actor, override_reason, override_expires_at, override_scope, override_ttl_us,
                    permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                    config_revision, revision, entered_by
             FROM breaker
             WHERE (revision, service, name) > ($2, $3, $4)
             ORDER BY revision, service, name
             LIMIT $5
         ) AS page ON true
         ORDER BY page.revision, page.service, page.name"
    );
    let read = sqlx::query_as(AssertSqlSafe(statement))
        .bind(bigint(act, "revision", after.revision)?)
        .bind(bigint(act, "revision", revision)?)
        .bind(service)
        .bind(name)
        .bind(i64::from(limit) + 1)
        .bind(seen.iter().map(|seen| bigint(act, "revision", *seen)).collect::<Result<Vec<_>, _>>()?)
        .fetch_all(pool);
    let read: Vec<PageRow> = within(act, read).await?;
    let (mut position, mut rows) = (None, Vec::new());
    let seen = read.first().map_or_else(Vec::new, PageRow::seen);
    let reader = Reader { act, row: "config_head" };
    for PageRow { now, position: at, configuration, is_checked, breaker, .. } in read {
        let Some(is_checked) = is_checked else { return Ok(None) };
        let at = Position { is_checked, ..at.position()? };
        let configuration = reader.number("revision", configuration)?;
        if let Some(breaker) = breaker {
            let BreakerRow { service, name, revision, .. } = &breaker;
            let place =
                RowPlace { revision: revision.unsigned_abs(), service: service.clone(), name: name.clone() };
            rows.push((place, breaker.breaker().map(|stored| changed_row(stored, at.timeline, now.0))));
        }
        position = Some((at, configuration));
    }
    let position =
        position.ok_or_else(|| StoreError::Corrupt { act, problem: "revision has no row".to_owned() })?;
    Ok(Some(RowsPage::new(after, rows, limit, position, seen)))
}
