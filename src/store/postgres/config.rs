//! What services are judged by, and the audit.

use std::collections::BTreeSet;

use breaker::{Key, Snapshot, State, Time};
use sqlx::postgres::PgPool;
use sqlx::{Postgres, QueryBuilder};

use super::write_transaction::{Write, begin, column};
use crate::store::columns::{Reader, bigint, micros};
use crate::store::config_rows::{
    Audit, AuditRow, ConfigRows, HeadRow, ServiceConfigRow, ServiceOverrideRow, narrow,
};
use crate::store::file_config::FileConfigRow;
use crate::store::history::Bumped;
use crate::store::judge::ServiceOverrides;
use crate::store::rows::BreakerRow;
use crate::store::sqlx_error::fault;
use crate::store::timestamp::Timestamp;
use crate::store::{
    ChangeQuery, ConfigEdit, StoreError, StoredBreaker, StoredChange, StoredConfiguration, layer_json,
};

const HEAD: &str = "SELECT revision, forgotten, history_floor FROM config_head";

/// See [`crate::store::ConfigStore::configuration`].
pub(super) async fn configuration(pool: &PgPool) -> Result<StoredConfiguration, StoreError> {
    let act = "read the configuration";
    // Nobody changes any of this meanwhile; and a change whose caller has given up, and that is still being committed, is
    // waited for: whoever asks because they do not know what became of it would ask no more.
    let mut tx = begin(pool).await?;
    let head: HeadRow =
        sqlx::query_as("SELECT revision, forgotten, history_floor FROM config_head FOR SHARE")
            .fetch_one(&mut *tx)
            .await
            .map_err(fault(act))?;
    let declared: Option<FileConfigRow> =
        sqlx::query_as("SELECT generation, content::text AS content, revision FROM file_config")
            .fetch_optional(&mut *tx)
            .await
            .map_err(fault(act))?;
    let services: Vec<ServiceConfigRow> =
        sqlx::query_as("SELECT service, layer::text AS layer, revision, changed_at FROM service_config")
            .fetch_all(&mut *tx)
            .await
            .map_err(fault(act))?;
    let overrides: Vec<ServiceOverrideRow> = sqlx::query_as(
        "SELECT service, kind, actor, reason, set_at, expires_at, ttl_us, revision FROM service_override",
    )
    .fetch_all(&mut *tx)
    .await
    .map_err(fault(act))?;
    tx.commit(act).await?;
    ConfigRows { head, declared, services, overrides }.configuration()
}

/// The overrides of these services.
pub(super) async fn service_overrides(
    tx: &mut Write,
    services: &BTreeSet<&str>,
) -> Result<ServiceOverrides, StoreError> {
    let act = "read the overrides of services";
    let mut overrides = ServiceOverrides::default();
    if services.is_empty() {
        return Ok(overrides);
    }
    let rows: Vec<(String, i64, Option<Timestamp>)> =
        sqlx::query_as("SELECT service, revision, expires_at FROM service_override WHERE service = ANY($1)")
            .bind(services.iter().copied().collect::<Vec<_>>())
            .fetch_all(&mut **tx)
            .await
            .map_err(fault(act))?;
    for (service, revision, ends_at) in rows {
        let reader = Reader { act, row: "service_override" };
        overrides.insert(service, reader.number("revision", revision)?, ends_at.map(|end| end.0));
    }
    Ok(overrides)
}

/// The row of `config_head`.
pub(super) async fn head(pool: &PgPool) -> Result<HeadRow, StoreError> {
    sqlx::query_as(HEAD).fetch_one(pool).await.map_err(fault("read the history range"))
}

/// See [`crate::store::ConfigStore::changes`].
pub(super) async fn changes(pool: &PgPool, query: &ChangeQuery) -> Result<Vec<StoredChange>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "SELECT revision, number, kind, service, name, coalesce(occurred_at, recorded_at) AS at, actor, reason,
                before::text AS before, after::text AS after
         FROM audit
         WHERE true",
    );
    narrow(&mut sql, "coalesce(occurred_at, recorded_at)", query)?;
    let rows: Vec<AuditRow> = sql.build_query_as().fetch_all(pool).await.map_err(fault("read the audit"))?;
    rows.into_iter().map(AuditRow::change).collect()
}

/// See [`crate::store::script::WriteTransaction::lock_configuration`].
pub(super) async fn lock_head(tx: &mut Write) -> Result<HeadRow, StoreError> {
    sqlx::query_as("SELECT revision, forgotten, history_floor FROM config_head FOR UPDATE")
        .fetch_one(&mut **tx)
        .await
        .map_err(fault("lock the configuration"))
}

/// See [`crate::store::script::WriteTransaction::write_generation`].
pub(super) async fn write_generation(tx: &mut Write, generation: u64) -> Result<Timestamp, StoreError> {
    let act = "write the configuration";
    let at: Option<Timestamp> =
        sqlx::query_scalar("UPDATE file_config SET generation = $1 RETURNING clock_timestamp()")
            .bind(bigint(act, "generation", generation)?)
            .fetch_optional(&mut **tx)
            .await
            .map_err(fault(act))?;
    Ok(at.unwrap_or(Timestamp(Time::ZERO)))
}

/// See [`crate::store::script::WriteTransaction::write_service_revisions`].
pub(super) async fn write_service_revisions(
    tx: &mut Write,
    services: &BTreeSet<String>,
    bumped: Bumped,
) -> Result<(), StoreError> {
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    sqlx::query(
        "INSERT INTO service_config (service, revision, changed_at) SELECT service, $2, $3 FROM unnest($1::text[]) AS service
         ON CONFLICT (service) DO UPDATE
         SET revision = excluded.revision, changed_at = excluded.changed_at",
    )
    .bind(services)
    .bind(bumped.revision)
    .bind(bumped.recorded_at)
    .execute(&mut **tx)
    .await
    .map_err(fault("write the configuration"))?;
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
    let services: Vec<&str> = services.iter().map(String::as_str).collect();
    let rows: Vec<BreakerRow> = sqlx::query_as(
        "SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us, override_actor,
                override_reason, override_expires_at, override_scope, override_ttl_us, permitted,
                failures_to_open, slow_to_open,
                lease_us, max_wait_us, after_max_wait, config_revision, revision,
                entered_by
         FROM breaker
         WHERE state = 'OPEN' AND ($1 OR service = ANY ($2))",
    )
    .bind(of_any)
    .bind(services)
    .fetch_all(&mut **tx)
    .await
    .map_err(fault("read the open breakers"))?;
    rows.into_iter().map(BreakerRow::breaker).collect()
}

/// All breakers that are stored in this state.
pub(super) async fn breakers_in(tx: &mut Write, state: State) -> Result<Vec<StoredBreaker>, StoreError> {
    let rows: Vec<BreakerRow> = sqlx::query_as(
        "SELECT service, name, epoch, state, open_count, entered_at, wait_us, retry_after_us, override_actor,
                override_reason, override_expires_at, override_scope, override_ttl_us, permitted,
                failures_to_open, slow_to_open,
                lease_us, max_wait_us, after_max_wait, config_revision, revision,
                entered_by
         FROM breaker
         WHERE state = $1",
    )
    .bind(state.as_str())
    .fetch_all(&mut **tx)
    .await
    .map_err(fault("read the breakers in a state"))?;
    rows.into_iter().map(BreakerRow::breaker).collect()
}

/// See [`crate::store::script::WriteTransaction::write_waits`].
pub(super) async fn write_waits(
    tx: &mut Write,
    waits: &[(Key, Snapshot)],
    bumped: Bumped,
) -> Result<(), StoreError> {
    sqlx::query(
        "UPDATE breaker SET wait_us = row.wait_us, open_until = row.open_until, revision = $1
         FROM unnest($2::text[], $3::text[], $4::bigint[], $5::timestamptz[])
             AS row (service, name, wait_us, open_until)
         WHERE breaker.service = row.service AND breaker.name = row.name",
    )
    .bind(bumped.revision)
    .bind(column(waits, |(key, _)| &**key.service()))
    .bind(column(waits, |(key, _)| &**key.name()))
    .bind(column(waits, |(_, after)| after.wait.map(micros)))
    .bind(column(waits, |(_, after)| after.open_until().map(Timestamp)))
    .execute(&mut **tx)
    .await
    .map_err(fault("write the open-state waits"))?;
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
            let before = sqlx::query_scalar("SELECT content::text FROM file_config")
                .fetch_optional(&mut **tx)
                .await
                .map_err(fault(act))?;
            sqlx::query(
                "INSERT INTO file_config (generation, content, revision, applied_at)
                 VALUES ($1, $2::text::jsonb, $3, $4)
                 ON CONFLICT (only_row) DO UPDATE
                 SET generation = excluded.generation, content = excluded.content,
                     revision = excluded.revision, applied_at = excluded.applied_at",
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
            let before = sqlx::query_scalar("SELECT layer::text FROM service_config WHERE service = $1")
                .bind(service)
                .fetch_optional(&mut **tx)
                .await
                .map_err(fault(act))?;
            sqlx::query(
                "INSERT INTO service_config (service, layer, revision, changed_at) VALUES ($1, $2::text::jsonb, $3, $4)
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
                 RETURNING service, kind, actor, reason, set_at, expires_at, ttl_us, revision",
            )
            .bind(service)
            .fetch_optional(&mut **tx)
            .await
            .map_err(fault(act))?;
            if let Some(set) = set {
                let row = ServiceOverrideRow::new(service, set, bumped);
                sqlx::query(
                    "INSERT INTO service_override (service, kind, actor, reason, set_at, expires_at, ttl_us, revision)
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
        "INSERT INTO audit (revision, number, recorded_at, actor, reason, kind, service, name, before, after, occurred_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9::text::jsonb, $10::text::jsonb, $11)",
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
