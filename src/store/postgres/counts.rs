//! The tables `counts` and `counting_replica`: what replicas count of breakers that fail, and which of them are live.
//!
//! One statement publishes and reads. It writes rows that no other replica writes, so it waits for nobody; what it deletes it
//! skips where another one is at it.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use breaker::{Key, ReadCounts};
use sqlx::FromRow;

use super::PostgresStore;
use super::write_transaction::column;
use crate::store::StoreError;
use crate::store::columns::{Reader, bigint, micros};
use crate::store::count_detail::{decode, encode};
use crate::store::count_store::{COUNTS_KEPT, CountExchange, CountPage, CountStore};
use crate::store::sqlx_error::{fault, too_slow};

const ACT: &str = "exchange counts";
/// What comes later is of no use.
const TIMEOUT: Duration = Duration::from_secs(2);

/// A row that another replica wrote; where there is none, one with who is live alone.
#[derive(FromRow)]
struct CountRow {
    live: Option<Vec<i64>>,
    service: Option<String>,
    name: Option<String>,
    boot: Option<i64>,
    epoch: Option<i64>,
    detail: Option<Vec<u8>>,
    age_us: Option<i64>,
}

#[async_trait]
impl CountStore for PostgresStore {
    async fn exchange_counts(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        let exchanged = tokio::time::timeout(TIMEOUT, self.exchange(exchange));
        self.noted(exchanged.await.map_err(|_| too_slow(ACT))?)
    }
}

impl PostgresStore {
    async fn exchange(&self, exchange: &CountExchange) -> Result<CountPage, StoreError> {
        let CountExchange { replica, boot, timeline, published, hints, fresher_than, after, limit, .. } =
            exchange;
        let sums = |of: fn(&breaker::CallCounts) -> u64| {
            let number = |(_, counts): &(Key, breaker::PublishedCounts)| {
                i64::try_from(of(&counts.total)).unwrap_or(i64::MAX)
            };
            column(published, number)
        };
        let epochs = published.iter().map(|(_, counts)| bigint(ACT, "epoch", counts.epoch));
        let (service, name, after_boot, after_epoch) = match after {
            Some(after) => (
                after.key.service().to_string(),
                after.key.name().to_string(),
                after.boot.cast_signed(),
                bigint(ACT, "epoch", after.epoch)?,
            ),
            // No service is empty: every row is behind this.
            None => (String::new(), String::new(), i64::MIN, 0),
        };
        // No lock is asked for: what is written counts for seconds.
        let pool = self.lock.primary().pools.counts.clone();
        let rows: Vec<CountRow> = sqlx::query_as(
            "WITH present AS MATERIALIZED (
                 SELECT clock_timestamp() AS now,
                        CASE WHEN $3 THEN pg_notify('breakerd_counts', '')::text END AS hint
             ), seen AS (
                 INSERT INTO counting_replica AS known (boot, replica, seen_at)
                 SELECT $1, $2, now FROM present
                 ON CONFLICT (boot) DO UPDATE SET seen_at = greatest(known.seen_at, EXCLUDED.seen_at)
             ), written AS (
                 INSERT INTO counts (service, name, boot, epoch, replica, timeline, successes, failures, slow_calls,
                                     detail, written_at)
                 SELECT mine.service, mine.name, $1, mine.epoch, $2, $4, mine.successes, mine.failures,
                        mine.slow_calls, mine.detail, present.now
                 FROM present
                 CROSS JOIN unnest($5::text[], $6::text[], $7::bigint[], $8::bigint[], $9::bigint[], $10::bigint[],
                                   $11::bytea[])
                     AS mine (service, name, epoch, successes, failures, slow_calls, detail)
                 ON CONFLICT (service, name, boot, epoch) DO UPDATE
                 SET timeline = EXCLUDED.timeline, successes = EXCLUDED.successes, failures = EXCLUDED.failures,
                     slow_calls = EXCLUDED.slow_calls, detail = EXCLUDED.detail, written_at = EXCLUDED.written_at
             ), expired AS (
                 DELETE FROM counts WHERE ctid = ANY (ARRAY (
                     SELECT ctid FROM counts
                     WHERE $20 AND written_at < clock_timestamp() - $12 * interval '1 microsecond'
                       AND (boot <> $1 OR NOT (service, name, epoch) IN (
                           SELECT * FROM unnest($5::text[], $6::text[], $7::bigint[])
                       ))
                     LIMIT 1000 FOR UPDATE SKIP LOCKED))
             ), expired_replicas AS (
                 DELETE FROM counting_replica WHERE boot = ANY (ARRAY (
                     SELECT boot FROM counting_replica
                     WHERE $20 AND boot <> $1 AND seen_at < clock_timestamp() - $12 * interval '1 microsecond'
                     LIMIT 1000 FOR UPDATE SKIP LOCKED))
             )
             SELECT present.hint,
                    (SELECT array_agg(boot) FROM counting_replica
                     WHERE boot <> $1 AND seen_at > now - $13 * interval '1 microsecond') AS live,
                    page.*
             FROM present LEFT JOIN LATERAL (
                 SELECT service, name, boot, epoch, detail,
                        (extract(epoch FROM now - written_at) * 1000000)::bigint AS age_us
                 FROM counts
                 WHERE boot <> $1 AND timeline = $4 AND written_at > now - $14 * interval '1 microsecond'
                   AND (service, name, boot, epoch) > ($15, $16, $17, $18)
                 ORDER BY service, name, boot, epoch
                 LIMIT $19
             ) AS page ON true
             ORDER BY page.service, page.name, page.boot, page.epoch",
        )
        .bind(boot.cast_signed())
        .bind(&**replica)
        .bind(*hints)
        .bind(i64::from(*timeline))
        .bind(column(published, |(key, _)| &**key.service()))
        .bind(column(published, |(key, _)| &**key.name()))
        .bind(epochs.collect::<Result<Vec<_>, _>>()?)
        .bind(sums(breaker::CallCounts::succeeded))
        .bind(sums(breaker::CallCounts::failed))
        .bind(sums(|calls| calls.slow_successes.saturating_add(calls.slow_failures)))
        .bind(column(published, |(_, counts)| encode(counts)))
        .bind(micros(COUNTS_KEPT))
        .bind(micros(exchange.live_within))
        .bind(micros(*fresher_than))
        .bind(service)
        .bind(name)
        .bind(after_boot)
        .bind(after_epoch)
        .bind(i64::from((*limit).max(1)) + 1)
        // Once in all pages.
        .bind(after.is_none())
        .fetch_all(&pool)
        .await
        .map_err(fault(ACT))?;
        page(rows, *limit)
    }
}

fn page(rows: Vec<CountRow>, limit: u32) -> Result<CountPage, StoreError> {
    let live = rows.first().and_then(|row| row.live.as_ref()).into_iter().flatten();
    let live: BTreeSet<_> = live.map(|boot| boot.cast_unsigned()).collect();
    let read = rows.into_iter().filter_map(|row| row.read().transpose());
    Ok(CountPage::new(read.collect::<Result<_, _>>()?, limit, live))
}

impl CountRow {
    /// None: it is there for who is live only.
    fn read(self) -> Result<Option<(Key, ReadCounts)>, StoreError> {
        let (Some(service), Some(name)) = (self.service, self.name) else { return Ok(None) };
        let row = format!("counts {service}/{name}");
        let reader = Reader { act: ACT, row: &row };
        let key = Key::new(&service, &name).map_err(|problem| reader.says(problem))?;
        let epoch = reader.number("epoch", reader.set("epoch", self.epoch)?)?;
        let detail = reader.set("detail", self.detail)?;
        // Of a version that writes it in another way: as if that replica said nothing.
        let Some(counts) = decode(epoch, &detail) else { return Ok(None) };
        // Clocks of one server can go back.
        let age = reader.set("written_at", self.age_us)?.max(0);
        let age = Duration::from_micros(age.unsigned_abs());
        let boot = reader.set("boot", self.boot)?.cast_unsigned();
        Ok(Some((key, ReadCounts { boot, age, counts })))
    }
}
