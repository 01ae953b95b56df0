//! What services are judged by, and the audit.

use std::collections::BTreeSet;

use breaker::{Key, Snapshot};
use sqlx::{QueryBuilder, Sqlite, SqlitePool};

use super::write_transaction::{Write, clock};
use crate::store::columns::{bigint, micros};
use crate::store::config_rows::{
    Audit, AuditRow, ConfigRows, HeadRow, ServiceConfigRow, ServiceOverrideRow, narrow,
};
use crate::store::file_config::FileConfigRow;
use crate::store::history::Bumped;
use crate::store::rows::BreakerRow;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::transaction::Transaction;
use crate::store::{
    ChangeQuery, ConfigEdit, StoreError, StoredBreaker, StoredChange, StoredConfiguration, layer_json,
};

const HEAD: &str = "SELECT revision, forgotten, history_floor FROM config_head";

/// See [`crate::store::ConfigStore::configuration`].
pub(super) async fn configuration(readers: &SqlitePool) -> Result<StoredConfiguration, StoreError> {
    let act = "read the configuration";
    // One transaction: its first read decides what the others see.
    let mut tx = Transaction::begin(readers, "BEGIN").await?;
    let head: HeadRow = sqlx::query_as(HEAD).fetch_one(&mut *tx).await.map_err(fault(act))?;
    let declared: Option<FileConfigRow> =
        sqlx::query_as("SELECT generation, content, revision FROM file_config")
            .fetch_optional(&mut *tx)
            .await
            .map_err(fault(act))?;
    let services: Vec<ServiceConfigRow> =
        sqlx::query_as("SELECT service, layer, revision, changed_at_us AS changed_at FROM service_config")
            .fetch_all(&mut *tx)
            .await
            .map_err(fault(act))?;
    let overrides: Vec<ServiceOverrideRow> = sqlx::query_as(
        "SELECT service, kind, actor, reason, set_at_us AS set_at, expires_at_us AS expires_at, ttl_us,
                revision
         FROM service_override",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(fault(act))?;
    tx.commit(act).await?;
    ConfigRows { head, declared, services, overrides }.configuration()
}

/// The row of `config_head`.
pub(super) async fn head(readers: &SqlitePool) -> Result<HeadRow, StoreError> {
    sqlx::query_as(HEAD).fetch_one(readers).await.map_err(fault("read how far the history reaches"))
}

/// See [`crate::store::ConfigStore::changes`].
pub(super) async fn changes(
    readers: &SqlitePool,
    query: &ChangeQuery,
) -> Result<Vec<StoredChange>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT revision, number, kind, service, name, coalesce(occurred_at_us, recorded_at_us) AS at, actor, reason, before, after
         FROM audit
         WHERE true",
    );
    narrow(&mut sql, "coalesce(occurred_at_us, recorded_at_us)", query)?;
    let rows: Vec<AuditRow> =
        sql.build_query_as().fetch_all(readers).await.map_err(fault("read the audit"))?;
    rows.into_iter().map(AuditRow::change).collect()
}

/// See [`crate::store::script::WriteTransaction::lock_configuration`].
pub(super) async fn lock_head(tx: &mut Write) -> Result<HeadRow, StoreError> {
    sqlx::query_as(HEAD).fetch_one(&mut **tx).await.map_err(fault("read the configuration"))
}

/// See [`crate::store::script::WriteTransaction::write_generation`].
pub(super) async fn write_generation(tx: &mut Write, generation: u64) -> Result<Timestamp, StoreError> {
    let act = "write the configuration";
    sqlx::query("UPDATE file_config SET generation = $1")
        .bind(bigint(act, "generation", generation)?)
        .execute(&mut **tx)
        .await
        .map_err(fault(act))?;
    clock(tx).await
}

/// See [`crate::store::script::WriteTransaction::write_service_revisions`].
pub(super) async fn write_service_revisions(
    tx: &mut Write,
    services: &BTreeSet<String>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    for service in services {
        sqlx::query(
            "INSERT INTO service_config (service, revision, changed_at_us) VALUES ($1, $2, $3)
             ON CONFLICT (service) DO UPDATE
             SET revision = excluded.revision, changed_at_us = excluded.changed_at_us",
        )
        .bind(service)
        .bind(bumped.revision)
        .bind(bumped.recorded_at)
        .execute(&mut **tx)
        .await
        .map_err(fault("write the configuration"))?;
    }
    Ok(())
}

/// See [`crate::store::script::WriteTransaction::write_configuration_revision`].
pub(super) async fn write_revision(tx: &mut Write, bumped: Bumped) -> Result<(), StoreError> {
    sqlx::query("UPDATE config_head SET revision = $1")
        .bind(bumped.revision)
        .execute(&mut **tx)
        .await
        .map_err(fault("write the configuration"))?;
    Ok(())
}

/// See [`crate::store::script::WriteTransaction::open_breakers`].
pub(super) async fn open_breakers(
    tx: &mut Write,
    services: &BTreeSet<String>,
) -> Result<Vec<StoredBreaker>, StoreError> {
    // Those judged by the defaults may be of any service.
    let of_any = services.contains("");
    let rows: Vec<BreakerRow> = sqlx::query_as(
        "SELECT service, name, epoch, state, open_count, entered_at_us AS entered_at, wait_us, retry_after_us,
                override_actor, override_reason, override_expires_at_us AS override_expires_at, override_scope,
                override_ttl_us, permitted, failures_to_open, slow_to_open, lease_us, max_wait_us, after_max_wait,
                config_revision, revision, entered_by
         FROM breaker
         WHERE state = 'OPEN' AND ($1 OR service IN (SELECT value FROM json_each($2)))",
    )
    .bind(of_any)
    .bind(serde_json::json!(services).to_string())
    .fetch_all(&mut **tx)
    .await
    .map_err(fault("read the open breakers"))?;
    rows.into_iter().map(BreakerRow::breaker).collect()
}

/// See [`crate::store::script::WriteTransaction::write_waits`].
pub(super) async fn write_waits(
    tx: &mut Write,
    waits: &[(Key, Snapshot)],
    bumped: Bumped,
) -> Result<(), StoreError> {
    for (key, after) in waits {
        sqlx::query(
            "UPDATE breaker SET wait_us = $1, open_until_us = $2, revision = $3
             WHERE service = $4 AND name = $5",
        )
        .bind(after.wait.map(micros))
        .bind(after.open_until().map(Timestamp))
        .bind(bumped.revision)
        .bind(&**key.service())
        .bind(&**key.name())
        .execute(&mut **tx)
        .await
        .map_err(fault("write the waits"))?;
    }
    Ok(())
}

/// Writes what is changed, and answers what was there before, as JSON.
pub(super) async fn write_edit(
    tx: &mut Write,
    edit: &ConfigEdit,
    bumped: Bumped,
) -> Result<Option<String>, StoreError> {
    let act = "write the configuration";
    match edit {
        ConfigEdit::Generation(_) => Ok(None),
        ConfigEdit::FileApplied(declaration) => {
            let before = sqlx::query_scalar("SELECT content FROM file_config")
                .fetch_optional(&mut **tx)
                .await
                .map_err(fault(act))?;
            sqlx::query(
                "INSERT INTO file_config (generation, content, revision, applied_at_us)
                 VALUES ($1, $2, $3, $4)
                 ON CONFLICT (only_row) DO UPDATE
                 SET generation = excluded.generation, content = excluded.content,
                     revision = excluded.revision, applied_at_us = excluded.applied_at_us",
            )
            .bind(declaration.generation.map(|n| bigint(act, "generation", n)).transpose()?)
            .bind(layer_json::to_json(declaration))
            .bind(bumped.revision)
            .bind(bumped.recorded_at)
            .execute(&mut **tx)
            .await
            .map_err(fault(act))?;
            Ok(before)
        }
        ConfigEdit::Thresholds { service, layer } => {
            let before = sqlx::query_scalar("SELECT layer FROM service_config WHERE service = $1")
                .bind(service)
                .fetch_optional(&mut **tx)
                .await
                .map_err(fault(act))?;
            sqlx::query(
                "INSERT INTO service_config (service, layer, revision, changed_at_us) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (service) DO UPDATE SET layer = excluded.layer",
            )
            .bind(service)
            .bind((!layer.is_empty()).then(|| layer_json::layer_to_text(layer)))
            .bind(bumped.revision)
            .bind(bumped.recorded_at)
            .execute(&mut **tx)
            .await
            .map_err(fault(act))?;
            Ok(before.flatten())
        }
        ConfigEdit::Override { service, set, .. } => {
            let before: Option<ServiceOverrideRow> = sqlx::query_as(
                "DELETE FROM service_override WHERE service = $1
                 RETURNING service, kind, actor, reason, set_at_us AS set_at, expires_at_us AS expires_at, ttl_us,
                           revision",
            )
            .bind(service)
            .fetch_optional(&mut **tx)
            .await
            .map_err(fault(act))?;
            if let Some(set) = set {
                let row = ServiceOverrideRow::new(service, set, bumped);
                sqlx::query(
                    "INSERT INTO service_override (service, kind, actor, reason, set_at_us, expires_at_us, ttl_us,
                                                   revision)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                )
                .bind(row.service)
                .bind(row.kind)
                .bind(row.actor)
                .bind(row.reason)
                .bind(row.set_at)
                .bind(row.expires_at)
                .bind(row.ttl_us)
                .bind(bumped.revision)
                .execute(&mut **tx)
                .await
                .map_err(fault(act))?;
            }
            Ok(before.map(|row| row.json()))
        }
    }
}

/// Writes a row of the audit.
pub(super) async fn write_audit(tx: &mut Write, audit: Audit, bumped: Bumped) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT INTO audit (revision, number, recorded_at_us, actor, reason, kind, service, name, before, after,
                            occurred_at_us)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(bumped.revision)
    .bind(audit.number)
    .bind(bumped.recorded_at)
    .bind(audit.actor)
    .bind(audit.reason)
    .bind(audit.kind)
    .bind(audit.service)
    .bind(audit.name)
    .bind(audit.before)
    .bind(audit.after)
    .bind(audit.occurred_at)
    .execute(&mut **tx)
    .await
    .map_err(fault("write the audit"))?;
    Ok(())
}
