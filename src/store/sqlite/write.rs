//! What writes to the file, a few statements a table and batch. `BEGIN IMMEDIATE` makes each of these the only writer from its
//! first read on, so that what was read still holds when it is written.

use super::batch::{self, Into, columns};
use super::text_time::text_time;
use super::write_transaction::{Write, begin};
use sqlx::SqlitePool;

use crate::store::columns::bigint;
use crate::store::history::{Bumped, TransitionRow};
use crate::store::judge::{Judgement, LockedRows};
use crate::store::receipt;
use crate::store::rows::{BesideRow, BreakerRow, EpisodeRow, keys};
use crate::store::sqlx_error::fault;
use crate::store::statements::TOUCH_TABLES;
use crate::store::timestamp::Timestamp;
use crate::store::{Proposal, StoreError};

/// See [`crate::store::StoreAdmin::check_writable`]. Committed, so that the disk is asked for room as well.
pub(super) async fn check_writable(writer: &SqlitePool) -> Result<(), StoreError> {
    let act = "check that the store is writable";
    let mut tx = begin(writer).await?;
    sqlx::raw_sql(TOUCH_TABLES).execute(&mut *tx).await.map_err(fault(act))?;
    // There and back: what is set to what it is already, SQLite does not write at all.
    for step in ["UPDATE revision SET n = n + 1", "UPDATE revision SET n = n - 1"] {
        sqlx::query(step).execute(&mut *tx).await.map_err(fault(act))?;
    }
    tx.commit(act).await
}

/// See [`crate::store::script::WriteTransaction::read_rows`].
pub(super) async fn read_rows<'a>(
    tx: &mut Write,
    proposals: &'a [Proposal],
) -> Result<LockedRows<'a>, StoreError> {
    let act = "read the stored rows";
    let mut locked_rows = LockedRows::default();
    let keys = keys(proposals);
    let wanted: Vec<_> = keys.iter().map(|key| (&**key.service(), &**key.name())).collect();
    // One row, as the driver wakes us for each: which key, and the row, in the order of the fields of `BesideRow` and of
    // `BreakerRow`.
    let present: String = sqlx::query_scalar(
        "SELECT json_group_array(json_array(wanted.key, json_array(episode, act_epoch, first_probe_at_us,
             reconciled_epoch), json_array(
             service, name, epoch, state, open_count, entered_at_us, wait_us, retry_after_us, override_actor,
             override_reason, override_expires_at_us, override_scope, override_ttl_us, permitted, failures_to_open,
             slow_to_open, lease_us, max_wait_us, after_max_wait, config_revision, revision, entered_by)))
         FROM json_each($1) AS wanted CROSS JOIN breaker ON service = wanted.value ->> 0 AND name = wanted.value ->> 1",
    )
    .bind(batch::rows(act, &wanted)?)
    .fetch_one(&mut **tx)
    .await
    .map_err(fault(act))?;
    let rows: Vec<(usize, BesideRow, BreakerRow)> = serde_json::from_str(&present)
        .map_err(|error| StoreError::Corrupt { act, problem: format!("a row of breaker: {error}") })?;
    for (index, beside, breaker) in rows {
        if let Some(key) = keys.get(index) {
            locked_rows.present.insert(key, breaker.state(&beside)?);
        }
    }
    let lookups: Vec<_> = receipt::id_lookups(proposals)?
        .into_iter()
        .map(|ids| (ids.replica, ids.boot, ids.earliest_first_seq, ids.first_seq, ids.last_seq))
        .collect();
    let rows: Vec<_> = sqlx::query_as(
        "SELECT replica, boot, receipt.first_seq, epochs, revision
         FROM json_each($1) AS wanted CROSS JOIN receipt
             ON replica = wanted.value ->> 0 AND boot = wanted.value ->> 1
                AND receipt.first_seq BETWEEN wanted.value ->> 2 AND wanted.value ->> 4 AND last_seq >= wanted.value ->> 3",
    )
    .bind(batch::rows(act, &lookups)?)
    .fetch_all(&mut **tx)
    .await
    .map_err(fault(act))?;
    locked_rows.known = receipt::known(proposals, &rows)?;
    Ok(locked_rows)
}

pub(super) async fn write_breakers(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: i64,
) -> Result<(), StoreError> {
    let changed: Vec<_> = judgement.changed.iter().collect();
    let into = Into {
        table: "breaker",
        columns: columns(&BreakerRow::COLUMNS, &[]),
        on_conflict: "ON CONFLICT (service, name) DO UPDATE
             SET epoch = excluded.epoch, state = excluded.state, open_count = excluded.open_count,
                 entered_at_us = excluded.entered_at_us, wait_us = excluded.wait_us,
                 retry_after_us = excluded.retry_after_us, open_until_us = excluded.open_until_us,
                 override_actor = excluded.override_actor, override_reason = excluded.override_reason,
                 override_expires_at_us = excluded.override_expires_at_us, permitted = excluded.permitted,
                 failures_to_open = excluded.failures_to_open, slow_to_open = excluded.slow_to_open,
                 lease_us = excluded.lease_us, max_wait_us = excluded.max_wait_us,
                 after_max_wait = excluded.after_max_wait, first_probe_at_us = NULL,
                 config_revision = excluded.config_revision, revision = excluded.revision,
                 override_scope = excluded.override_scope, override_ttl_us = excluded.override_ttl_us,
                 episode = excluded.episode, entered_by = excluded.entered_by,
                 act_epoch = excluded.act_epoch, reconciled_epoch = excluded.reconciled_epoch",
        act: "write the breakers",
    };
    batch::insert(tx, into, changed.len(), |number, values| {
        let (key, state) = changed[number];
        values.row(BreakerRow::new(key, state)?.cells(&BesideRow::new(state)?, revision))
    })
    .await
}

pub(super) async fn write_history(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let into = Into {
        table: "transition",
        columns: columns(&TransitionRow::COLUMNS, &["at"]),
        on_conflict: "",
        act: "write the history",
    };
    batch::insert(tx, into, judgement.entries.len(), |number, values| {
        let row = TransitionRow::new(&judgement.entries[number], number, bumped)?;
        values.row(row.cells())?;
        values.row([text_time(row.occurred_at).into()])
    })
    .await
}

pub(super) async fn write_episodes(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let into = Into {
        table: "episode",
        columns: [
            "revision",
            "number",
            "service",
            "name",
            "epoch",
            "opened_at_us",
            "half_open_at_us",
            "closed_at_us",
            "lasted_us",
            "reason",
            "actor",
            "why",
            "failure_rate",
            "slow_call_rate",
            "error_class",
            "caller",
            "reopened",
            "probes",
            "rejected_calls",
            "lost_transitions",
            "ended_by",
            "recorded_at_us",
            "opened_at",
            "half_open_at",
            "closed_at",
        ]
        .map(str::to_owned)
        .to_vec(),
        on_conflict: "",
        act: "write the episodes",
    };
    batch::insert(tx, into, judgement.ended.len(), |number, values| {
        let (entry, key, ended) = &judgement.ended[number];
        let row = EpisodeRow::new(*entry, key, ended, bumped)?;
        values.row([
            row.revision.into(),
            row.number.into(),
            row.service.into(),
            row.name.into(),
            row.epoch.into(),
            row.opened_at.into(),
            row.half_open_at.into(),
            row.closed_at.into(),
            row.lasted_us.into(),
            row.reason.into(),
            row.actor.into(),
            row.why.into(),
            row.failure_rate.into(),
            row.slow_call_rate.into(),
            row.error_class.into(),
            row.caller.into(),
            row.reopened.into(),
            row.probes.into(),
            row.rejected_calls.into(),
            row.lost_transitions.into(),
            row.ended_by.into(),
            row.recorded_at.into(),
            text_time(row.opened_at).into(),
            row.half_open_at.map(text_time).into(),
            row.closed_at.map(text_time).into(),
        ])
    })
    .await
}

pub(super) async fn write_open_time(tx: &mut Write, judgement: &Judgement<'_>) -> Result<(), StoreError> {
    let act = "write the time in OPEN";
    let parts: Vec<_> = judgement.open_time.iter().collect();
    let into = Into {
        table: "open_time",
        columns: ["day", "service", "name", "open_us", "openings"].map(str::to_owned).to_vec(),
        on_conflict: "ON CONFLICT DO UPDATE
             SET open_us = open_us + excluded.open_us, openings = openings + excluded.openings",
        act,
    };
    batch::insert(tx, into, parts.len(), |number, values| {
        let ((day, key), part) = parts[number];
        values.row([
            bigint(act, "day", *day)?.into(),
            (&**key.service()).into(),
            (&**key.name()).into(),
            bigint(act, "open_us", part.open_us)?.into(),
            bigint(act, "openings", part.openings)?.into(),
        ])
    })
    .await
}

pub(super) async fn write_receipts(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: Option<i64>,
    recorded_at: Timestamp,
) -> Result<(), StoreError> {
    let act = "write the results";
    let rows = receipt::rows(judgement)?;
    let into = Into {
        table: "receipt",
        columns: ["replica", "boot", "first_seq", "last_seq", "epochs", "revision", "recorded_at_us"]
            .map(str::to_owned)
            .to_vec(),
        on_conflict: "",
        act,
    };
    batch::insert(tx, into, rows.len(), |number, values| {
        let row = &rows[number];
        values.row([
            row.replica.into(),
            (&row.boot).into(),
            row.first_seq.into(),
            row.last_seq.into(),
            (&row.epochs).into(),
            revision.into(),
            recorded_at.into(),
        ])
    })
    .await
}
