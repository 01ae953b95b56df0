//! What writes to the file. `BEGIN IMMEDIATE` makes each of these the only writer from its first read on, so
//! that what was read still holds when it is written.

use super::config;
use sqlx::{FromRow, Sqlite, SqlitePool};

use crate::store::config_rows::Audit;
use crate::store::fault::fault;
use crate::store::history::{Bumped, TransitionRow};
use crate::store::judge::{Docket, Judgement, judge};
use crate::store::rows::{BreakerRow, ReceiptRow, bigint, hex, keys, new_nonce};
use crate::store::stamp::Stamp;
use crate::store::transaction::Transaction;
use crate::store::{Answer, Proposal, StoreError, TOUCH_TABLES};

pub(super) type Write = Transaction<Sqlite>;

/// See [`crate::store::Store::propose`].
pub(super) async fn propose(writer: &SqlitePool, proposals: &[Proposal]) -> Result<Vec<Answer>, StoreError> {
    if proposals.is_empty() {
        return Ok(Vec::new());
    }
    let mut tx = begin(writer).await?;
    let docket = docket(&mut tx, proposals).await?;
    let now = clock(&mut tx).await?;
    let judgement = judge(proposals, docket, now.0);
    if judgement.receipts.is_empty() {
        tx.rollback().await?;
        return Ok(judgement.answers(None));
    }
    let revision = if judgement.entries.is_empty() {
        write_receipts(&mut tx, &judgement, None, now).await?;
        None
    } else {
        let bumped = bump(&mut tx).await?;
        write_breakers(&mut tx, &judgement, bumped.revision).await?;
        write_history(&mut tx, &judgement, bumped).await?;
        for (number, entry) in judgement.entries.iter().enumerate() {
            if let Some(audit) = Audit::of_entry(entry, number)? {
                config::write_audit(&mut tx, audit, bumped).await?;
            }
        }
        write_receipts(&mut tx, &judgement, Some(bumped.revision), bumped.recorded_at).await?;
        Some(bumped.revision.unsigned_abs())
    };
    tx.commit("commit transitions").await?;
    Ok(judgement.answers(revision))
}

pub(super) async fn begin(writer: &SqlitePool) -> Result<Write, StoreError> {
    Transaction::begin(writer, "BEGIN IMMEDIATE").await
}

/// See [`crate::store::Store::check_writable`]. Committed, so that the disk is asked for room as well.
pub(super) async fn check_writable(writer: &SqlitePool) -> Result<(), StoreError> {
    let act = "check that the store takes writes";
    let mut tx = begin(writer).await?;
    sqlx::raw_sql(TOUCH_TABLES).execute(&mut *tx).await.map_err(fault(act))?;
    sqlx::query("UPDATE revision SET n = n").execute(&mut *tx).await.map_err(fault(act))?;
    tx.commit(act).await
}

/// The time as the database has it, to the millisecond.
pub(super) async fn clock(tx: &mut Write) -> Result<Stamp, StoreError> {
    sqlx::query_scalar("SELECT CAST(unixepoch('subsec') * 1000000 AS INTEGER)")
        .fetch_one(&mut **tx)
        .await
        .map_err(fault("ask the database's clock"))
}

/// The row of `revision`, bumped.
#[derive(FromRow)]
struct BumpedRow {
    n: i64,
    now: Stamp,
}

/// The next revision, and its nonce for those who follow.
pub(super) async fn bump(tx: &mut Write) -> Result<Bumped, StoreError> {
    let act = "bump the revision";
    let row: BumpedRow = sqlx::query_as(
        "UPDATE revision SET n = n + 1 RETURNING n, CAST(unixepoch('subsec') * 1000000 AS INTEGER) AS now",
    )
    .fetch_one(&mut **tx)
    .await
    .map_err(fault(act))?;
    sqlx::query("INSERT INTO change (rev, nonce, recorded_at_us) VALUES ($1, $2, $3)")
        .bind(row.n)
        .bind(new_nonce()?)
        .bind(row.now)
        .execute(&mut **tx)
        .await
        .map_err(fault(act))?;
    Ok(Bumped { revision: row.n, recorded_at: row.now })
}

/// What stands, and what was answered before.
async fn docket<'a>(tx: &mut Write, proposals: &'a [Proposal]) -> Result<Docket<'a>, StoreError> {
    let act = "read what stands";
    let mut docket = Docket::default();
    for key in keys(proposals) {
        let row: Option<BreakerRow> = sqlx::query_as(
            "SELECT service, name, epoch, state, attempts, entered_at_us AS entered_at, wait_us, retry_after_us,
                    override_actor, override_reason, override_expires_at_us AS override_expires_at, override_scope,
                    permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                    config_revision, revision
             FROM breaker
             WHERE service = $1 AND name = $2",
        )
        .bind(&**key.service())
        .bind(&**key.name())
        .fetch_optional(&mut **tx)
        .await
        .map_err(fault(act))?;
        if let Some(row) = row {
            docket.present.insert(key, row.breaker()?.snapshot);
        }
    }
    for proposal in proposals {
        let id = &proposal.id;
        let row: Option<ReceiptRow> = sqlx::query_as(
            "SELECT epoch, revision FROM receipt WHERE replica = $1 AND boot = $2 AND seq = $3",
        )
        .bind(&*id.replica)
        .bind(hex(id.boot))
        .bind(bigint(act, "seq", id.seq)?)
        .fetch_optional(&mut **tx)
        .await
        .map_err(fault(act))?;
        if let Some(row) = row {
            docket.known.insert(id, row.receipt()?);
        }
    }
    Ok(docket)
}

async fn write_breakers(tx: &mut Write, judgement: &Judgement<'_>, revision: i64) -> Result<(), StoreError> {
    for (key, snapshot) in &judgement.changed {
        let row = BreakerRow::new(key, snapshot)?;
        let open_until = row.open_until();
        sqlx::query(
            "INSERT INTO breaker (service, name, epoch, state, attempts, entered_at_us, wait_us, retry_after_us,
                                  open_until_us, override_actor, override_reason, override_expires_at_us,
                                  permitted, failures_to_open, slow_to_open, lease_us, max_wait_us,
                                  after_max_wait, config_revision, revision, override_scope)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21)
             ON CONFLICT (service, name) DO UPDATE
             SET epoch = excluded.epoch, state = excluded.state, attempts = excluded.attempts,
                 entered_at_us = excluded.entered_at_us, wait_us = excluded.wait_us,
                 retry_after_us = excluded.retry_after_us, open_until_us = excluded.open_until_us,
                 override_actor = excluded.override_actor, override_reason = excluded.override_reason,
                 override_expires_at_us = excluded.override_expires_at_us, permitted = excluded.permitted,
                 failures_to_open = excluded.failures_to_open, slow_to_open = excluded.slow_to_open,
                 lease_us = excluded.lease_us, max_wait_us = excluded.max_wait_us,
                 after_max_wait = excluded.after_max_wait, first_probe_at_us = NULL,
                 config_revision = excluded.config_revision, revision = excluded.revision,
                 override_scope = excluded.override_scope",
        )
        .bind(row.service)
        .bind(row.name)
        .bind(row.epoch)
        .bind(row.state)
        .bind(row.attempts)
        .bind(row.entered_at)
        .bind(row.wait_us)
        .bind(row.retry_after_us)
        .bind(open_until)
        .bind(row.override_actor)
        .bind(row.override_reason)
        .bind(row.override_expires_at)
        .bind(row.permitted)
        .bind(row.failures_to_open)
        .bind(row.slow_to_open)
        .bind(row.lease_us)
        .bind(row.max_wait_us)
        .bind(row.after_max_wait)
        .bind(row.config_revision)
        .bind(revision)
        .bind(row.override_scope)
        .execute(&mut **tx)
        .await
        .map_err(fault("write a breaker"))?;
    }
    Ok(())
}

async fn write_history(tx: &mut Write, judgement: &Judgement<'_>, bumped: Bumped) -> Result<(), StoreError> {
    for (number, entry) in judgement.entries.iter().enumerate() {
        let row = TransitionRow::new(entry, number, bumped)?;
        sqlx::query(
            "INSERT INTO transition (revision, number, replica, boot, seq, service, name, from_state, to_state,
                                     reason, epoch, base_epoch, calls, failures, slow_calls,
                                     consecutive_failures, consecutive_successes, reporters, attempts, wait_us,
                                     retry_after_us, actor, override_reason, missing, shadow, alone,
                                     superseded_by, config_revision, occurred_at_us, recorded_at_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20,
                     $21, $22, $23, $24, $25, $26, $27, $28, $29, $30)",
        )
        .bind(row.revision)
        .bind(row.number)
        .bind(row.replica)
        .bind(row.boot)
        .bind(row.seq)
        .bind(row.service)
        .bind(row.name)
        .bind(row.from_state)
        .bind(row.to_state)
        .bind(row.reason)
        .bind(row.epoch)
        .bind(row.base_epoch)
        .bind(row.calls)
        .bind(row.failures)
        .bind(row.slow_calls)
        .bind(row.consecutive_failures)
        .bind(row.consecutive_successes)
        .bind(row.reporters)
        .bind(row.attempts)
        .bind(row.wait_us)
        .bind(row.retry_after_us)
        .bind(row.actor)
        .bind(row.override_reason)
        .bind(row.missing)
        .bind(row.shadow)
        .bind(row.alone)
        .bind(row.superseded_by)
        .bind(row.config_revision)
        .bind(row.occurred_at)
        .bind(row.recorded_at)
        .execute(&mut **tx)
        .await
        .map_err(fault("write the history"))?;
    }
    Ok(())
}

async fn write_receipts(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: Option<i64>,
    recorded_at: Stamp,
) -> Result<(), StoreError> {
    let act = "write what was answered";
    for (id, epoch) in &judgement.receipts {
        sqlx::query(
            "INSERT INTO receipt (replica, boot, seq, epoch, revision, recorded_at_us)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(&*id.replica)
        .bind(hex(id.boot))
        .bind(bigint(act, "seq", id.seq)?)
        .bind(epoch.map(|epoch| bigint(act, "epoch", epoch)).transpose()?)
        .bind(revision)
        .bind(recorded_at)
        .execute(&mut **tx)
        .await
        .map_err(fault(act))?;
    }
    Ok(())
}
