//! What writes transitions to Postgres: a few statements whatever the size of the batch.
//!
//! The revision's row is held from the first read to the commit ([`crate::store::script`]), so no row of `breaker` needs a
//! lock of its own (beside claims of probes they have one: [`super::row_locks`]), a breaker without a row needs none to be locked by, and what is known of the ids is still all of it when
//! it is written: the history itself could not say so with a unique index, as it is partitioned by time.

use std::collections::{BTreeMap, HashMap};

use breaker::Key;
use sqlx::FromRow;
use sqlx::postgres::PgPool;

use super::copy;
use super::lock::Lock;
use super::write_transaction::{Write, begin_under, column};
use crate::store::columns::bigint;
use crate::store::history::{Bumped, TransitionRow};
use crate::store::judge::{BreakerState, Judgement, LockedRows, Receipt};
use crate::store::open_time::OpenTime;
use crate::store::receipt;
use crate::store::rows::{BesideRow, BreakerRow, EpisodeRow};
use crate::store::sqlx_error::fault;
use crate::store::statements::TOUCH_TABLES;
use crate::store::timestamp::Timestamp;
use crate::store::{Proposal, StoreError, TransitionId};

/// See [`crate::store::StoreAdmin::check_writable`].
pub(super) async fn check_writable(pool: &PgPool, lock: &Lock) -> Result<(), StoreError> {
    let act = "check that the store is writable";
    let mut tx = begin_under(pool, lock).await?;
    sqlx::raw_sql(TOUCH_TABLES).execute(&mut *tx).await.map_err(fault(act))?;
    let touched = sqlx::query("UPDATE revision SET n = n WHERE holder = $1")
        .bind(lock.holder())
        .execute(&mut *tx)
        .await
        .map_err(fault(act))?;
    tx.commit(act).await?;
    if touched.rows_affected() == 1 { Ok(()) } else { Err(lock.not_named(act)) }
}

/// A row of `breaker`, with what stands in it for the judge.
#[derive(FromRow)]
struct PresentRow {
    #[sqlx(flatten)]
    breaker: BreakerRow,
    #[sqlx(flatten)]
    beside: BesideRow,
}

/// The rows of these breakers; none for one that has no row.
async fn read_breakers<'a>(
    tx: &mut Write,
    keys: &[&'a Key],
) -> Result<BTreeMap<&'a Key, BreakerState>, StoreError> {
    let rows: Vec<PresentRow> = sqlx::query_as(
        "SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us, override_actor,
                override_reason, override_expires_at, override_scope, override_ttl_us, permitted,
                failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait, config_revision, revision,
                entered_by, episode, act_epoch, first_probe_at, reconciled_epoch
         FROM breaker JOIN unnest($1::text[], $2::text[]) AS wanted (service, name) USING (service, name)",
    )
    .bind(column(keys, |key| &**key.service()))
    .bind(column(keys, |key| &**key.name()))
    .fetch_all(&mut **tx)
    .await
    .map_err(fault("read the breakers"))?;
    let mut present = BTreeMap::new();
    for PresentRow { breaker, beside } in rows {
        let key = Key::new(&breaker.service, &breaker.name);
        let state = breaker.state(&beside)?;
        if let Some(index) = key.ok().and_then(|key| keys.binary_search(&&key).ok()) {
            present.insert(keys[index], state);
        }
    }
    Ok(present)
}

/// See [`crate::store::script::WriteTransaction::read_rows`].
pub(super) async fn read_rows<'a>(
    tx: &mut Write,
    keys: &[&'a Key],
    proposals: &'a [Proposal],
) -> Result<LockedRows<'a>, StoreError> {
    let present = read_breakers(tx, keys).await?;
    let known = read_receipts(tx, proposals).await?;
    // Without a timeline: one process has the store for itself.
    Ok(LockedRows { present, known, ..LockedRows::default() })
}

/// Which of these ids were answered before.
pub(super) async fn read_receipts<'a>(
    tx: &mut Write,
    proposals: &'a [Proposal],
) -> Result<HashMap<&'a TransitionId, Receipt>, StoreError> {
    let act = "read the transition ids";
    let lookups = receipt::id_lookups(proposals)?;
    let rows = sqlx::query_as(
        "SELECT receipt.replica, receipt.boot, receipt.first_seq, epochs, revision
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[])
             AS wanted (replica, boot, earliest_first_seq, first_seq, last_seq)
         JOIN receipt ON receipt.replica = wanted.replica AND receipt.boot = wanted.boot
             AND receipt.first_seq BETWEEN wanted.earliest_first_seq AND wanted.last_seq
             AND receipt.last_seq >= wanted.first_seq",
    )
    .bind(column(&lookups, |ids| ids.replica))
    .bind(column(&lookups, |ids| ids.boot.as_str()))
    .bind(column(&lookups, |ids| ids.earliest_first_seq))
    .bind(column(&lookups, |ids| ids.first_seq))
    .bind(column(&lookups, |ids| ids.last_seq))
    .fetch_all(&mut **tx)
    .await
    .map_err(fault(act))?;
    receipt::known(proposals, &rows)
}

/// The rows of breakers that change: `$1` is the revision.
const UPDATE: &str = "UPDATE breaker
         SET epoch = row.epoch, state = row.state, open_count = row.open_count, entered_at = row.entered_at,
             wait_us = row.wait_us, retry_after_us = row.retry_after_us, open_until = row.open_until,
             override_actor = row.override_actor, override_reason = row.override_reason,
             override_expires_at = row.override_expires_at, permitted = row.permitted,
             failures_to_open = row.failures_to_open, slow_to_open = row.slow_to_open, lease_us = row.lease_us,
             max_wait_us = row.max_wait_us, after_max_wait = row.after_max_wait,
             first_probe_at = CASE WHEN breaker.epoch = row.epoch THEN breaker.first_probe_at END,
             config_revision = row.config_revision, revision = $1, override_scope = row.override_scope,
             override_ttl_us = row.override_ttl_us, episode = row.episode,
             entered_by = row.entered_by, act_epoch = row.act_epoch,
             reconciled_epoch = row.reconciled_epoch
         FROM unnest(
             $2::text[], $3::text[], $4::bigint[], $5::text[], $6::bigint[], $7::timestamptz[], $8::bigint[],
             $9::bigint[], $10::timestamptz[], $11::text[], $12::text[], $13::timestamptz[], $14::bigint[],
             $15::bigint[], $16::bigint[], $17::bigint[], $18::bigint[], $19::text[], $20::bigint[], $21::text[],
             $22::bigint[], $23::text[], $24::text[], $25::bigint[], $26::bigint[]
         ) AS row (
             service, name, epoch, state, open_count, entered_at, wait_us,
             retry_after_us, open_until, override_actor, override_reason, override_expires_at, permitted,
             failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait, config_revision,
             override_scope, override_ttl_us, episode, entered_by, act_epoch, reconciled_epoch
         )
         WHERE breaker.service = row.service AND breaker.name = row.name";

/// See [`crate::store::script::WriteTransaction::write_breakers`]. New rows are copied, and those that change
/// take a statement of their own: one that could do either would lock each row before it writes it.
pub(super) async fn write_breakers(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: i64,
) -> Result<(), StoreError> {
    let (stored, new): (Vec<_>, Vec<_>) =
        judgement.changed.iter().map(|(key, state)| (*key, state)).partition(|(_, state)| state.is_stored);
    update_rows(tx, &stored, revision).await?;
    let into = copy::Into { table: "breaker", columns: &BreakerRow::COLUMNS, act: "write the breakers" };
    copy::copy(tx, into, new.iter(), |(key, state), rows| {
        rows.push(&BreakerRow::new(key, state)?.cells(&BesideRow::new(state)?, revision))
    })
    .await
}

async fn update_rows(
    tx: &mut Write,
    changed: &[(&Key, &BreakerState)],
    revision: i64,
) -> Result<(), StoreError> {
    if changed.is_empty() {
        return Ok(());
    }
    let rows =
        changed.iter().map(|(key, state)| BreakerRow::new(key, state)).collect::<Result<Vec<_>, _>>()?;
    let beside = changed.iter().map(|(_, state)| BesideRow::new(state)).collect::<Result<Vec<_>, _>>()?;
    sqlx::query(UPDATE)
        .bind(revision)
        .bind(column(&rows, |row| row.service.as_str()))
        .bind(column(&rows, |row| row.name.as_str()))
        .bind(column(&rows, |row| row.epoch))
        .bind(column(&rows, |row| row.state.as_str()))
        .bind(column(&rows, |row| row.open_count))
        .bind(column(&rows, |row| row.entered_at))
        .bind(column(&rows, |row| row.wait_us))
        .bind(column(&rows, |row| row.retry_after_us))
        .bind(column(&rows, BreakerRow::open_until))
        .bind(column(&rows, |row| row.override_actor.as_deref()))
        .bind(column(&rows, |row| row.override_reason.as_deref()))
        .bind(column(&rows, |row| row.override_expires_at))
        .bind(column(&rows, |row| row.permitted))
        .bind(column(&rows, |row| row.failures_to_open))
        .bind(column(&rows, |row| row.slow_to_open))
        .bind(column(&rows, |row| row.lease_us))
        .bind(column(&rows, |row| row.max_wait_us))
        .bind(column(&rows, |row| row.after_max_wait.as_deref()))
        .bind(column(&rows, |row| row.config_revision))
        .bind(column(&rows, |row| row.override_scope.as_deref()))
        .bind(column(&rows, |row| row.override_ttl_us))
        .bind(column(&beside, |beside| beside.episode.as_deref()))
        .bind(column(&rows, |row| row.entered_by.as_deref()))
        .bind(column(&beside, |beside| beside.act_epoch))
        .bind(column(&beside, |beside| beside.reconciled_epoch))
        .execute(&mut **tx)
        .await
        .map_err(fault("write the breakers"))?;
    Ok(())
}

pub(super) async fn write_history(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let into = copy::Into { table: "transition", columns: &TransitionRow::COLUMNS, act: "write the history" };
    copy::copy(tx, into, judgement.entries.iter().enumerate(), |(number, entry), rows| {
        rows.push(&TransitionRow::new(entry, number, bumped)?.cells())
    })
    .await
}

pub(super) async fn write_episodes(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    if judgement.ended.is_empty() {
        return Ok(());
    }
    let rows = judgement
        .ended
        .iter()
        .map(|(number, key, ended)| EpisodeRow::new(*number, key, ended, bumped))
        .collect::<Result<Vec<_>, _>>()?;
    sqlx::query(
        "INSERT INTO episode (revision, recorded_at, number, service, name, epoch, opened_at, half_open_at, closed_at,
                              lasted_us, reason, actor, why, failure_rate, slow_call_rate, error_class, caller,
                              reopened, probes, rejected_calls, lost_transitions, ended_by)
         SELECT $1, $2, *
         FROM unnest(
             $3::bigint[], $4::text[], $5::text[], $6::bigint[], $7::timestamptz[], $8::timestamptz[],
             $9::timestamptz[], $10::bigint[], $11::text[], $12::text[], $13::text[], $14::float8[],
             $15::float8[], $16::text[], $17::text[], $18::bigint[], $19::bigint[], $20::bigint[], $21::bigint[],
             $22::text[]
         )",
    )
    .bind(bumped.revision)
    .bind(bumped.recorded_at)
    .bind(column(&rows, |row| row.number))
    .bind(column(&rows, |row| row.service))
    .bind(column(&rows, |row| row.name))
    .bind(column(&rows, |row| row.epoch))
    .bind(column(&rows, |row| row.opened_at))
    .bind(column(&rows, |row| row.half_open_at))
    .bind(column(&rows, |row| row.closed_at))
    .bind(column(&rows, |row| row.lasted_us))
    .bind(column(&rows, |row| row.reason))
    .bind(column(&rows, |row| row.actor))
    .bind(column(&rows, |row| row.why))
    .bind(column(&rows, |row| row.failure_rate))
    .bind(column(&rows, |row| row.slow_call_rate))
    .bind(column(&rows, |row| row.error_class))
    .bind(column(&rows, |row| row.caller))
    .bind(column(&rows, |row| row.reopened))
    .bind(column(&rows, |row| row.probes))
    .bind(column(&rows, |row| row.rejected_calls))
    .bind(column(&rows, |row| row.lost_transitions))
    .bind(column(&rows, |row| row.ended_by))
    .execute(&mut **tx)
    .await
    .map_err(fault("write the episodes"))?;
    Ok(())
}

pub(super) async fn write_open_time(tx: &mut Write, judgement: &Judgement<'_>) -> Result<(), StoreError> {
    let act = "write the time in OPEN";
    if judgement.open_time.is_empty() {
        return Ok(());
    }
    let parts: Vec<_> = judgement.open_time.iter().collect();
    let whole = |number: fn(&OpenTime) -> u64| {
        let numbers = parts.iter().map(|(_, part)| bigint(act, "open_time", number(part)));
        numbers.collect::<Result<Vec<_>, _>>()
    };
    // No other transaction has these rows: they are locked with their breakers'.
    sqlx::query(
        "INSERT INTO open_time (day, service, name, open_us, openings)
         SELECT date '1970-01-01' + day::integer, service, name, open_us, openings
         FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[], $5::bigint[])
             AS part (day, service, name, open_us, openings)
         ON CONFLICT (day, service, name) DO UPDATE
         SET open_us = open_time.open_us + excluded.open_us, openings = open_time.openings + excluded.openings",
    )
    .bind(whole(|part| part.day)?)
    .bind(column(&parts, |((_, key), _)| &**key.service()))
    .bind(column(&parts, |((_, key), _)| &**key.name()))
    .bind(whole(|part| part.open_us)?)
    .bind(whole(|part| part.openings)?)
    .execute(&mut **tx)
    .await
    .map_err(fault(act))?;
    Ok(())
}

pub(super) async fn write_receipts(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: Option<i64>,
    recorded_at: Timestamp,
) -> Result<(), StoreError> {
    let act = "write the results";
    let rows = receipt::rows(judgement)?;
    sqlx::query(
        "INSERT INTO receipt (replica, boot, first_seq, last_seq, epochs, revision, recorded_at)
         SELECT *, $6, $7 FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::text[])",
    )
    .bind(column(&rows, |row| row.replica))
    .bind(column(&rows, |row| row.boot.as_str()))
    .bind(column(&rows, |row| row.first_seq))
    .bind(column(&rows, |row| row.last_seq))
    .bind(column(&rows, |row| row.epochs.as_str()))
    .bind(revision)
    .bind(recorded_at)
    .execute(&mut **tx)
    .await
    .map_err(fault(act))?;
    Ok(())
}
