//! The table of the replicas.

use std::time::Duration;

use async_trait::async_trait;
use sqlx::FromRow;

use super::{PostgresStore, within};
use crate::store::StoreError;
use crate::store::columns::{Reader, bigint, hex, unhex};
use crate::store::replica_store::{
    LiveReplica, OtherReplicas, REPLICAS_KEPT, REPLICAS_MAX, ReplicaStore, StoredReplica, StoredReplicas,
};

#[derive(FromRow)]
struct ReplicaRow {
    newest: i64,
    name: Option<String>,
    boot: Option<String>,
    version: Option<String>,
    uptime_us: Option<i64>,
    revision: Option<i64>,
    waiting: Option<i64>,
    permit_key: Option<i64>,
    silent_us: Option<i64>,
}

impl ReplicaRow {
    /// None: a row of the answer for the revision alone.
    fn replica(self) -> Result<Option<StoredReplica>, StoreError> {
        let Self { name: Some(name), boot: Some(boot), version: Some(version), .. } = self else {
            return Ok(None);
        };
        let reader = Reader { act: "read the replicas", row: "replica" };
        let number = |column, value: Option<i64>| reader.number(column, value.unwrap_or_default());
        // Clocks of databases are set back.
        let micros =
            |value: Option<i64>| Duration::from_micros(value.unwrap_or_default().max(0).unsigned_abs());
        let replica = LiveReplica {
            boot: unhex(&boot).ok_or_else(|| reader.wrong("boot", &boot))?,
            name,
            version,
            uptime: micros(self.uptime_us),
            revision: number("revision", self.revision)?,
            waiting: number("waiting", self.waiting)?,
            permit_key: reader.number("permit_key", self.permit_key.unwrap_or_default())?,
        };
        Ok(Some(StoredReplica { replica, silent: micros(self.silent_us) }))
    }
}

#[async_trait]
impl ReplicaStore for PostgresStore {
    async fn note_replica(&self, replica: &LiveReplica) -> Result<OtherReplicas, StoreError> {
        let act = "write the row of this replica";
        let pool = self.reads();
        let LiveReplica { name, boot, version, uptime, revision, waiting, permit_key } = replica;
        let noted = sqlx::query_as(
            "WITH gone AS (
                 DELETE FROM replica WHERE seen_at < clock_timestamp() - $7 * interval '1 second'
             ), noted AS (
                 INSERT INTO replica (name, boot, version, started_at, revision, waiting, permit_key, seen_at)
                 VALUES ($1, $2, $3, clock_timestamp() - $4 * interval '1 microsecond', $5, $6, $8, clock_timestamp())
                 ON CONFLICT (name, boot) DO UPDATE
                     SET revision = excluded.revision, waiting = excluded.waiting, permit_key = excluded.permit_key,
                         seen_at = excluded.seen_at
             )
             SELECT count(*), count(*) FILTER (WHERE name = $1) FROM replica
             WHERE boot <> $2 AND seen_at > clock_timestamp() - interval '3 seconds'",
        )
        .bind(name)
        .bind(hex(*boot))
        .bind(version)
        .bind(i64::try_from(uptime.as_micros()).unwrap_or(i64::MAX))
        .bind(bigint(act, "revision", *revision)?)
        .bind(bigint(act, "waiting", *waiting)?)
        .bind(i64::try_from(REPLICAS_KEPT.as_secs()).unwrap_or(i64::MAX))
        .bind(i64::from(*permit_key))
        .fetch_one(&pool);
        let (live, of_this_name): (i64, i64) = within(act, noted).await?;
        Ok(OtherReplicas { live: live.unsigned_abs(), has_same_name: of_this_name > 0 })
    }

    async fn forget_replica(&self, name: &str, boot: u64) -> Result<(), StoreError> {
        let forget = "DELETE FROM replica WHERE name = $1 AND boot = $2";
        let reads = self.reads();
        let forgotten = sqlx::query(forget).bind(name).bind(hex(boot)).execute(&reads);
        within("delete the row of this replica", forgotten).await.map(drop)
    }

    async fn replicas(&self) -> Result<StoredReplicas, StoreError> {
        let pool = self.reads();
        let read = sqlx::query_as(
            "SELECT n AS newest, name, boot, version, page.revision, waiting, permit_key,
                    (extract(epoch FROM clock_timestamp() - started_at) * 1000000)::bigint AS uptime_us,
                    (extract(epoch FROM clock_timestamp() - seen_at) * 1000000)::bigint AS silent_us
             FROM revision LEFT JOIN (SELECT * FROM replica ORDER BY name, boot LIMIT $1) AS page ON true
             ORDER BY name, boot",
        )
        .bind(i64::from(REPLICAS_MAX))
        .fetch_all(&pool);
        let rows: Vec<ReplicaRow> = within("read the replicas", read).await?;
        let reader = Reader { act: "read the replicas", row: "revision" };
        let revision = rows.first().map_or(Ok(0), |row| reader.number("n", row.newest))?;
        let replicas = rows.into_iter().filter_map(|row| row.replica().transpose());
        Ok(StoredReplicas { replicas: replicas.collect::<Result<_, _>>()?, revision })
    }
}
