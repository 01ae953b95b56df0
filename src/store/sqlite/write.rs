//! What writes to the file, a few statements a table and batch. `BEGIN IMMEDIATE` makes each of these the only writer from its
//! first read on, so that what was read still holds when it is written.

use super::batch::{self, Cell, Into};
use super::write_transaction::{Write, begin};
use sqlx::{FromRow, SqlitePool};

use crate::store::columns::{bigint, hex};
use crate::store::history::{Bumped, TransitionRow};
use crate::store::judge::{Judgement, LockedRows};
use crate::store::rows::{BreakerRow, EpisodeRow, ReceiptRow, episode_text, keys};
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::{Proposal, StoreError, TOUCH_TABLES};

/// See [`crate::store::Store::check_writable`]. Committed, so that the disk is asked for room as well.
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

/// A row of `receipt`, and which of the batch's ids it is of.
#[derive(FromRow)]
struct KnownRow {
    place: i64,
    #[sqlx(flatten)]
    receipt: ReceiptRow,
}

/// See [`crate::store::script::WriteTransaction::read_rows`].
pub(super) async fn read_rows<'a>(
    tx: &mut Write,
    proposals: &'a [Proposal],
) -> Result<LockedRows<'a>, StoreError> {
    let act = "read the stored rows";
    let mut locked_rows = LockedRows::default();
    let keys = keys(proposals);
    let asked: Vec<_> = keys.iter().map(|key| [(&**key.service()).into(), (&**key.name()).into()]).collect();
    // One row, as the driver wakes us for each: which key, the outage that its row has, and the row.
    let present: String = sqlx::query_scalar(
        "SELECT json_group_array(json_array(asked.key, episode, json_object(
             'service', service, 'name', name, 'epoch', epoch, 'state', state, 'attempts', attempts,
             'entered_at', entered_at_us, 'wait_us', wait_us, 'retry_after_us', retry_after_us,
             'override_actor', override_actor, 'override_reason', override_reason,
             'override_expires_at', override_expires_at_us, 'override_scope', override_scope,
             'override_ttl_us', override_ttl_us, 'permitted', permitted, 'failures_to_open', failures_to_open,
             'slow_to_open', slow_to_open, 'lease_us', lease_us, 'max_wait_us', max_wait_us,
             'after_max_wait', after_max_wait, 'config_revision', config_revision, 'revision', revision,
             'entered_by', entered_by)))
         FROM json_each($1) AS asked CROSS JOIN breaker ON service = asked.value ->> 0 AND name = asked.value ->> 1",
    )
    .bind(batch::rows(act, &asked)?)
    .fetch_one(&mut **tx)
    .await
    .map_err(fault(act))?;
    let rows: Vec<(usize, Option<String>, BreakerRow)> = serde_json::from_str(&present)
        .map_err(|error| StoreError::Corrupt { act, problem: format!("a row of breaker: {error}") })?;
    for (place, episode, breaker) in rows {
        if let Some(key) = keys.get(place) {
            locked_rows.present.insert(key, breaker.state(episode.as_deref())?);
        }
    }
    let asked = proposals
        .iter()
        .map(|proposal| {
            let id = &proposal.id;
            Ok([(&*id.replica).into(), hex(id.boot).into(), bigint(act, "seq", id.seq)?.into()])
        })
        .collect::<Result<Vec<[Cell<'_>; 3]>, StoreError>>()?;
    let rows: Vec<KnownRow> = sqlx::query_as(
        "SELECT asked.key AS place, epoch, revision
         FROM json_each($1) AS asked CROSS JOIN receipt
             ON replica = asked.value ->> 0 AND boot = asked.value ->> 1 AND seq = asked.value ->> 2",
    )
    .bind(batch::rows(act, &asked)?)
    .fetch_all(&mut **tx)
    .await
    .map_err(fault(act))?;
    for row in rows {
        if let Some(proposal) = usize::try_from(row.place).ok().and_then(|place| proposals.get(place)) {
            locked_rows.known.insert(&proposal.id, row.receipt.receipt()?);
        }
    }
    Ok(locked_rows)
}

pub(super) async fn write_breakers(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: i64,
) -> Result<(), StoreError> {
    let rows = judgement
        .changed
        .iter()
        .map(|(key, state)| Ok((BreakerRow::new(key, state)?, episode_text(state.episode.as_ref())?)))
        .collect::<Result<Vec<_>, StoreError>>()?;
    let cells: Vec<_> = rows
        .iter()
        .map(|(row, episode)| {
            [
                (&row.service).into(),
                (&row.name).into(),
                row.epoch.into(),
                (&row.state).into(),
                row.attempts.into(),
                row.entered_at.into(),
                row.wait_us.into(),
                row.retry_after_us.into(),
                row.open_until().into(),
                row.override_actor.as_ref().into(),
                row.override_reason.as_ref().into(),
                row.override_expires_at.into(),
                row.permitted.into(),
                row.failures_to_open.into(),
                row.slow_to_open.into(),
                row.lease_us.into(),
                row.max_wait_us.into(),
                row.after_max_wait.as_ref().into(),
                row.config_revision.into(),
                revision.into(),
                row.override_scope.as_ref().into(),
                row.override_ttl_us.into(),
                episode.as_ref().into(),
                row.entered_by.as_ref().into(),
            ]
        })
        .collect();
    let into = Into {
        table: "breaker",
        columns: [
            "service",
            "name",
            "epoch",
            "state",
            "attempts",
            "entered_at_us",
            "wait_us",
            "retry_after_us",
            "open_until_us",
            "override_actor",
            "override_reason",
            "override_expires_at_us",
            "permitted",
            "failures_to_open",
            "slow_to_open",
            "lease_us",
            "max_wait_us",
            "after_max_wait",
            "config_revision",
            "revision",
            "override_scope",
            "override_ttl_us",
            "episode",
            "entered_by",
        ],
        on_conflict: "ON CONFLICT (service, name) DO UPDATE
             SET epoch = excluded.epoch, state = excluded.state, attempts = excluded.attempts,
                 entered_at_us = excluded.entered_at_us, wait_us = excluded.wait_us,
                 retry_after_us = excluded.retry_after_us, open_until_us = excluded.open_until_us,
                 override_actor = excluded.override_actor, override_reason = excluded.override_reason,
                 override_expires_at_us = excluded.override_expires_at_us, permitted = excluded.permitted,
                 failures_to_open = excluded.failures_to_open, slow_to_open = excluded.slow_to_open,
                 lease_us = excluded.lease_us, max_wait_us = excluded.max_wait_us,
                 after_max_wait = excluded.after_max_wait, first_probe_at_us = NULL,
                 config_revision = excluded.config_revision, revision = excluded.revision,
                 override_scope = excluded.override_scope, override_ttl_us = excluded.override_ttl_us,
                 episode = excluded.episode, entered_by = excluded.entered_by",
        act: "write the breakers",
    };
    batch::insert(tx, into, &cells).await
}

pub(super) async fn write_history(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let entries = judgement.entries.iter().enumerate();
    let rows = entries
        .map(|(number, entry)| TransitionRow::new(entry, number, bumped))
        .collect::<Result<Vec<_>, _>>()?;
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            [
                row.revision.into(),
                row.number.into(),
                (&row.replica).into(),
                (&row.boot).into(),
                row.seq.into(),
                (&row.service).into(),
                (&row.name).into(),
                (&row.from_state).into(),
                (&row.to_state).into(),
                (&row.reason).into(),
                row.epoch.into(),
                row.base_epoch.into(),
                row.calls.into(),
                row.failures.into(),
                row.slow_calls.into(),
                row.consecutive_failures.into(),
                row.consecutive_successes.into(),
                row.reporters.into(),
                row.attempts.into(),
                row.wait_us.into(),
                row.retry_after_us.into(),
                row.actor.as_ref().into(),
                row.override_reason.as_ref().into(),
                row.lasted_us.into(),
                row.rejected_calls.into(),
                row.error_class.as_ref().into(),
                row.caller.as_ref().into(),
                row.missing.into(),
                row.shadow.into(),
                row.alone.into(),
                row.superseded_by.into(),
                row.config_revision.into(),
                row.occurred_at.into(),
                row.recorded_at.into(),
            ]
        })
        .collect();
    let into = Into {
        table: "transition",
        columns: [
            "revision",
            "number",
            "replica",
            "boot",
            "seq",
            "service",
            "name",
            "from_state",
            "to_state",
            "reason",
            "epoch",
            "base_epoch",
            "calls",
            "failures",
            "slow_calls",
            "consecutive_failures",
            "consecutive_successes",
            "reporters",
            "attempts",
            "wait_us",
            "retry_after_us",
            "actor",
            "override_reason",
            "lasted_us",
            "rejected_calls",
            "error_class",
            "caller",
            "missing",
            "shadow",
            "alone",
            "superseded_by",
            "config_revision",
            "occurred_at_us",
            "recorded_at_us",
        ],
        on_conflict: "",
        act: "write the history",
    };
    batch::insert(tx, into, &cells).await
}

pub(super) async fn write_episodes(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let rows = judgement
        .ended
        .iter()
        .map(|(number, key, ended)| EpisodeRow::new(*number, key, ended, bumped))
        .collect::<Result<Vec<_>, _>>()?;
    let cells: Vec<_> = rows
        .iter()
        .map(|row| {
            [
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
                row.missing.into(),
                row.ended_by.into(),
                row.recorded_at.into(),
            ]
        })
        .collect();
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
            "missing",
            "ended_by",
            "recorded_at_us",
        ],
        on_conflict: "",
        act: "write the episodes",
    };
    batch::insert(tx, into, &cells).await
}

pub(super) async fn write_open_time(tx: &mut Write, judgement: &Judgement<'_>) -> Result<(), StoreError> {
    let act = "write the time in OPEN";
    let cells = judgement
        .open_time
        .iter()
        .map(|((day, key), part)| {
            Ok([
                bigint(act, "day", *day)?.into(),
                (&**key.service()).into(),
                (&**key.name()).into(),
                bigint(act, "open_us", part.open_us)?.into(),
                bigint(act, "openings", part.openings)?.into(),
            ])
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let into = Into {
        table: "open_time",
        columns: ["day", "service", "name", "open_us", "openings"],
        on_conflict: "ON CONFLICT DO UPDATE
             SET open_us = open_us + excluded.open_us, openings = openings + excluded.openings",
        act,
    };
    batch::insert(tx, into, &cells).await
}

pub(super) async fn write_receipts(
    tx: &mut Write,
    judgement: &Judgement<'_>,
    revision: Option<i64>,
    recorded_at: Timestamp,
) -> Result<(), StoreError> {
    let act = "write what was answered";
    let cells = judgement
        .receipts
        .iter()
        .map(|(id, epoch)| {
            Ok([
                (&*id.replica).into(),
                hex(id.boot).into(),
                bigint(act, "seq", id.seq)?.into(),
                epoch.map(|epoch| bigint(act, "epoch", epoch)).transpose()?.into(),
                revision.into(),
                recorded_at.into(),
            ])
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let into = Into {
        table: "receipt",
        columns: ["replica", "boot", "seq", "epoch", "revision", "recorded_at_us"],
        on_conflict: "",
        act,
    };
    batch::insert(tx, into, &cells).await
}
