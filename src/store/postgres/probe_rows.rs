//! The table `probe`: the slots of half-opens. A slot that is free has no row.

use std::collections::BTreeMap;

use breaker::{Key, ProbeOutcome, ProbeSlot, Time};
use sqlx::FromRow;
use sqlx::postgres::PgPool;

use super::write_transaction::{Write, begin, column};
use crate::store::StoreError;
use crate::store::columns::{Reader, bigint, micros};
use crate::store::judge::probes::ProbeRows;
use crate::store::shared_script::StoredProbes;
use crate::store::shared_store::PROBES_KEPT;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::transition_store::PRUNED_ROWS_MAX;

const READ: &str = "read the probes";
const WRITE: &str = "write the probes";

/// The slots of half-opens, by breaker and epoch.
pub(super) type ProbesByEpoch<'a> = BTreeMap<(&'a Key, u64), ProbeRows>;

/// A half-open that was asked about, with one of its slots.
#[derive(FromRow)]
struct ProbeRow {
    /// Which one was asked about, from 1.
    number: i64,
    first_probe_at: Option<Timestamp>,
    slot: Option<i64>,
    nonce: Option<i64>,
    lease_until: Option<Timestamp>,
    completion: Option<i64>,
    failed: Option<bool>,
    slow: Option<bool>,
}

impl ProbeRow {
    fn slot(&self, reader: &Reader<'_>) -> Result<ProbeSlot, StoreError> {
        let nonce = reader.set("nonce", self.nonce)?.cast_unsigned();
        let Some(completion) = self.completion else {
            let lease_until = reader.set("lease_until", self.lease_until)?.0;
            return Ok(ProbeSlot::Out { nonce, lease_until });
        };
        let outcome =
            ProbeOutcome { failed: reader.set("failed", self.failed)?, slow: reader.set("slow", self.slow)? };
        Ok(ProbeSlot::Completed { nonce, outcome, order: reader.number("completion", completion)? })
    }
}

/// See [`crate::store::shared_script::SharedTransaction::read_probes`].
pub(super) async fn read<'a>(
    tx: &mut Write,
    wanted: &[(&'a Key, u64)],
) -> Result<StoredProbes<'a>, StoreError> {
    let epochs = wanted.iter().map(|(_, epoch)| bigint(READ, "epoch", *epoch));
    let rows: Vec<ProbeRow> = sqlx::query_as(
        "SELECT number, first_probe_at, slot, nonce, lease_until, completion, failed, slow
         FROM unnest($1::text[], $2::text[], $3::bigint[])
             WITH ORDINALITY AS wanted (service, name, epoch, number)
         LEFT JOIN breaker USING (service, name, epoch)
         LEFT JOIN probe USING (service, name, epoch)
         ORDER BY number, slot",
    )
    .bind(column(wanted, |(key, _)| &**key.service()))
    .bind(column(wanted, |(key, _)| &**key.name()))
    .bind(epochs.collect::<Result<Vec<_>, _>>()?)
    .fetch_all(&mut **tx)
    .await
    .map_err(fault(READ))?;
    let mut probes = StoredProbes::default();
    for row in rows {
        let index = usize::try_from(row.number - 1).unwrap_or(usize::MAX);
        let Some((key, epoch)) = wanted.get(index).copied() else { continue };
        let kept = probes.slots.entry((key, epoch)).or_default();
        kept.first_probe_at = row.first_probe_at.map(|stamp| stamp.0);
        let Some(slot) = row.slot else { continue };
        let name = format!("probe {key} epoch {epoch} slot {slot}");
        let reader = Reader { act: READ, row: &name };
        // As many as a probe can name.
        let read = reader.number::<u16>("slot", slot).and_then(|slot| Ok((slot, row.slot(&reader)?)));
        match read {
            Ok((slot, content)) => {
                // Those between have no row: they are free.
                kept.slots.resize(usize::from(slot), ProbeSlot::Free);
                kept.slots.push(content);
            }
            Err(error) => drop(probes.unreadable.insert(key, error.to_string())),
        }
    }
    Ok(probes)
}

/// A slot that is other than it was.
struct SlotChange<'a> {
    key: &'a Key,
    epoch: i64,
    slot: i64,
    content: ProbeSlot,
}

impl SlotChange<'_> {
    fn is_free(&self) -> bool {
        matches!(self.content, ProbeSlot::Free)
    }

    fn nonce(&self) -> Option<i64> {
        match self.content {
            ProbeSlot::Free => None,
            ProbeSlot::Out { nonce, .. } | ProbeSlot::Completed { nonce, .. } => Some(nonce.cast_signed()),
        }
    }

    fn lease_until(&self) -> Option<Timestamp> {
        match self.content {
            ProbeSlot::Out { lease_until, .. } => Some(Timestamp(lease_until)),
            ProbeSlot::Free | ProbeSlot::Completed { .. } => None,
        }
    }

    fn completed(&self) -> Option<(ProbeOutcome, u32)> {
        match self.content {
            ProbeSlot::Completed { outcome, order, .. } => Some((outcome, order)),
            ProbeSlot::Free | ProbeSlot::Out { .. } => None,
        }
    }
}

/// See [`crate::store::shared_script::SharedTransaction::write_probes`]; `before` is what was read. Writes the slots
/// that differ, and when the first probe was given.
pub(super) async fn write(
    tx: &mut Write,
    before: &BTreeMap<(Key, u64), ProbeRows>,
    changed: &ProbesByEpoch<'_>,
) -> Result<(), StoreError> {
    let none = ProbeRows::default();
    let (mut slots, mut first_probes) = (Vec::new(), Vec::new());
    for ((key, epoch), present) in changed {
        let before = before.get(&((*key).clone(), *epoch)).unwrap_or(&none);
        let epoch = bigint(WRITE, "epoch", *epoch)?;
        let at = |rows: &ProbeRows, slot: usize| rows.slots.get(slot).copied().unwrap_or(ProbeSlot::Free);
        for slot in 0..present.slots.len().max(before.slots.len()) {
            let content = at(present, slot);
            if content != at(before, slot) {
                let slot = bigint(WRITE, "slot", slot as u64)?;
                slots.push(SlotChange { key, epoch, slot, content });
            }
        }
        if present.first_probe_at != before.first_probe_at {
            first_probes.push((*key, epoch, present.first_probe_at));
        }
    }
    let (freed, held): (Vec<_>, Vec<_>) = slots.into_iter().partition(SlotChange::is_free);
    delete_slots(tx, &freed).await?;
    write_slots(tx, &held).await?;
    write_first_probes(tx, &first_probes).await
}

async fn delete_slots(tx: &mut Write, slots: &[SlotChange<'_>]) -> Result<(), StoreError> {
    if slots.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "DELETE FROM probe
         USING unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS freed (service, name, epoch, slot)
         WHERE probe.service = freed.service AND probe.name = freed.name AND probe.epoch = freed.epoch
           AND probe.slot = freed.slot",
    )
    .bind(column(slots, |slot| &**slot.key.service()))
    .bind(column(slots, |slot| &**slot.key.name()))
    .bind(column(slots, |slot| slot.epoch))
    .bind(column(slots, |slot| slot.slot))
    .execute(&mut **tx)
    .await
    .map_err(fault(WRITE))?;
    Ok(())
}

async fn write_slots(tx: &mut Write, slots: &[SlotChange<'_>]) -> Result<(), StoreError> {
    if slots.is_empty() {
        return Ok(());
    }
    // No other transaction has these rows: they are locked with their breakers'.
    sqlx::query(
        "INSERT INTO probe (service, name, epoch, slot, nonce, lease_until, completion, failed, slow, written_at)
         SELECT *, clock_timestamp()
         FROM unnest(
             $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::timestamptz[], $7::bigint[],
             $8::boolean[], $9::boolean[]
         )
         ON CONFLICT (service, name, epoch, slot) DO UPDATE
         SET nonce = excluded.nonce, lease_until = excluded.lease_until, completion = excluded.completion,
             failed = excluded.failed, slow = excluded.slow, written_at = excluded.written_at",
    )
    .bind(column(slots, |slot| &**slot.key.service()))
    .bind(column(slots, |slot| &**slot.key.name()))
    .bind(column(slots, |slot| slot.epoch))
    .bind(column(slots, |slot| slot.slot))
    .bind(column(slots, SlotChange::nonce))
    .bind(column(slots, SlotChange::lease_until))
    .bind(column(slots, |slot| slot.completed().map(|(_, order)| i64::from(order))))
    .bind(column(slots, |slot| slot.completed().map(|(outcome, _)| outcome.failed)))
    .bind(column(slots, |slot| slot.completed().map(|(outcome, _)| outcome.slow)))
    .execute(&mut **tx)
    .await
    .map_err(fault(WRITE))?;
    Ok(())
}

async fn write_first_probes(
    tx: &mut Write,
    first_probes: &[(&Key, i64, Option<Time>)],
) -> Result<(), StoreError> {
    if first_probes.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "UPDATE breaker SET first_probe_at = row.first_probe_at
         FROM unnest($1::text[], $2::text[], $3::bigint[], $4::timestamptz[])
             AS row (service, name, epoch, first_probe_at)
         WHERE breaker.service = row.service AND breaker.name = row.name AND breaker.epoch = row.epoch",
    )
    .bind(column(first_probes, |(key, _, _)| &**key.service()))
    .bind(column(first_probes, |(key, _, _)| &**key.name()))
    .bind(column(first_probes, |(_, epoch, _)| *epoch))
    .bind(column(first_probes, |(_, _, at)| at.map(Timestamp)))
    .execute(&mut **tx)
    .await
    .map_err(fault(WRITE))?;
    Ok(())
}

/// Lets go of the slots of epochs that are over, [`PROBES_KEPT`] after the last write to one of them; some at a time, each
/// within the time that a statement may take.
pub(super) async fn prune(pool: &PgPool) -> Result<(), StoreError> {
    let act = "delete expired probes";
    loop {
        let mut tx = begin(pool).await?;
        let gone = sqlx::query(
            "DELETE FROM probe WHERE ctid = ANY (ARRAY(
                 SELECT old.ctid FROM probe AS old
                 WHERE NOT EXISTS (
                     SELECT FROM breaker
                     WHERE breaker.service = old.service AND breaker.name = old.name AND breaker.epoch = old.epoch
                 ) AND NOT EXISTS (
                     SELECT FROM probe AS kept
                     WHERE kept.service = old.service AND kept.name = old.name AND kept.epoch = old.epoch
                       AND kept.written_at >= now() - $1 * interval '1 microsecond'
                 )
                 LIMIT $2
                 FOR UPDATE OF old SKIP LOCKED
             ))",
        )
        .bind(micros(PROBES_KEPT))
        .bind(i64::from(PRUNED_ROWS_MAX))
        .execute(&mut *tx)
        .await
        .map_err(fault(act))?;
        tx.commit(act).await?;
        if gone.rows_affected() < u64::from(PRUNED_ROWS_MAX) {
            return Ok(());
        }
    }
}
