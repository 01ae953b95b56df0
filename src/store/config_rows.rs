//! Rows of the configuration and of the audit, the same for both stores.

use std::collections::BTreeMap;

use breaker::{Attribution, OverrideKind, Reason, State, Time};
use serde_json::json;
use sqlx::types::time::OffsetDateTime;
use sqlx::{Database, Encode, FromRow, QueryBuilder, Type};
use time::format_description::well_known::Rfc3339;

use super::columns::{Reader, bigint, micros, printable};
use super::file_config::FileConfigRow;
use super::history::Bumped;
use super::judge::Entry;
use super::range_filter::RangeFilter;
use super::timestamp::Timestamp;
use super::{
    Change, ChangeKind, ChangeQuery, ConfigEdit, ConfigWritten, HistoryCursor, RequestId, ServiceOverride,
    StoreError, StoredChange, StoredConfiguration, layer_json,
};
use crate::catalog::Changed;

const ACT: &str = "read the configuration";

/// The row of `config_head`.
#[derive(FromRow)]
pub(super) struct HeadRow {
    revision: i64,
    forgotten: i64,
    history_floor: i64,
}

impl HeadRow {
    /// The revision of the newest change.
    pub(super) fn revision(&self) -> Result<u64, StoreError> {
        Reader { act: ACT, row: "config_head" }.number("revision", self.revision)
    }

    pub(super) fn history_floor(&self) -> Result<u64, StoreError> {
        Reader { act: "read how far the history reaches", row: "config_head" }
            .number("history_floor", self.history_floor)
    }
}

/// A row of `service_config`.
#[derive(FromRow)]
pub(super) struct ServiceConfigRow {
    service: String,
    layer: Option<String>,
    revision: i64,
    changed_at: Timestamp,
}

/// A row of `service_override`.
#[derive(FromRow)]
pub(super) struct ServiceOverrideRow {
    pub(super) service: String,
    pub(super) kind: String,
    pub(super) actor: String,
    pub(super) reason: String,
    pub(super) set_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) ttl_us: Option<i64>,
    pub(super) revision: i64,
}

/// Everything that was read at one moment.
pub(super) struct ConfigRows {
    pub(super) head: HeadRow,
    pub(super) declared: Option<FileConfigRow>,
    pub(super) services: Vec<ServiceConfigRow>,
    pub(super) overrides: Vec<ServiceOverrideRow>,
}

impl ConfigRows {
    pub(super) fn configuration(self) -> Result<StoredConfiguration, StoreError> {
        let reader = Reader { act: ACT, row: "config_head" };
        let (mut set, mut changed) = (BTreeMap::new(), BTreeMap::new());
        for row in self.services {
            let name = format!("service_config {}", row.service);
            let reader = Reader { act: ACT, row: &name };
            if let Some(text) = &row.layer {
                let layer = layer_json::layer_from_text(text).map_err(|problem| reader.says(problem))?;
                if !layer.is_empty() {
                    set.insert(row.service.clone(), layer);
                }
            }
            let revision = reader.number("revision", row.revision)?;
            changed.insert(row.service, Changed { revision, at: row.changed_at.0 });
        }
        let mut overrides = BTreeMap::new();
        for row in self.overrides {
            let (service, set) = row.stored()?;
            overrides.insert(service, set);
        }
        Ok(StoredConfiguration {
            declared: self.declared.as_ref().map(FileConfigRow::declaration).transpose()?,
            set,
            overrides,
            changed,
            revision: self.head.revision()?,
            forgotten: reader.number("forgotten", self.head.forgotten)?,
        })
    }
}

/// A row of `config_request`.
#[derive(FromRow)]
pub(super) struct RequestRow {
    digest: i64,
    revision: i64,
}

impl RequestRow {
    /// What to answer a request whose id is known.
    pub(super) fn answer(&self, request: &RequestId) -> Result<ConfigWritten, StoreError> {
        let reader = Reader { act: "look a request up", row: "config_request" };
        let revision = reader.number("revision", self.revision)?;
        Ok(request.answer(self.digest.cast_unsigned(), revision))
    }
}

/// A row of `audit` on its way there.
pub(super) struct Audit {
    pub(super) number: i64,
    pub(super) kind: &'static str,
    pub(super) service: String,
    pub(super) name: String,
    pub(super) actor: String,
    pub(super) reason: Option<String>,
    pub(super) before: Option<String>,
    pub(super) after: Option<String>,
    /// When it was done; none: as it is written.
    pub(super) occurred_at: Option<Timestamp>,
}

impl Audit {
    /// Of a change of configuration. `before` is what the store had, as JSON.
    pub(super) fn of_edit(edit: &ConfigEdit, attribution: &Attribution, before: Option<String>) -> Self {
        let (kind, service, after) = match edit {
            ConfigEdit::FileApplied(declaration) => {
                (ChangeKind::FileApplied, "", Some(layer_json::to_json(declaration)))
            }
            ConfigEdit::Generation(_) => (ChangeKind::FileApplied, "", None),
            ConfigEdit::Thresholds { service, layer } => {
                let after = (!layer.is_empty()).then(|| layer_json::layer_to_text(layer));
                (ChangeKind::Thresholds, service.as_str(), after)
            }
            ConfigEdit::Override { service, set, .. } => {
                let after = set
                    .as_ref()
                    .map(|set| override_json(set.kind.as_str(), &set.attribution, set.expires_at));
                (ChangeKind::ServiceOverride, service.as_str(), after)
            }
        };
        Self {
            number: 0,
            kind: kind.as_str(),
            service: service.to_owned(),
            name: String::new(),
            actor: printable(&attribution.actor).into_owned(),
            reason: Some(printable(&attribution.reason).into_owned()).filter(|reason| !reason.is_empty()),
            before,
            after,
            occurred_at: None,
        }
    }

    /// Of a new key of permits; `before` is the number of the newest one until then.
    pub(super) fn of_permit_key(before: i64, after: i64, attribution: &Attribution) -> Self {
        let number = |number: i64| json!({ "number": number }).to_string();
        Self {
            number: 0,
            kind: ChangeKind::PermitKeyRotated.as_str(),
            service: String::new(),
            name: String::new(),
            actor: printable(&attribution.actor).into_owned(),
            reason: Some(printable(&attribution.reason).into_owned()).filter(|reason| !reason.is_empty()),
            before: Some(number(before)).filter(|_| before > 0),
            after: Some(number(after)),
            occurred_at: None,
        }
    }

    /// Of what somebody asked for of one breaker; none: nobody did, it did not come to stand, or it is a part of a
    /// change of the whole service, which has its own row.
    pub(super) fn of_entry(entry: &Entry<'_>, number: usize) -> Result<Option<Self>, StoreError> {
        let Change::Transition(transition) = &entry.proposal.change else { return Ok(None) };
        let (Some(attribution), Some(_), false) = (&transition.attribution, entry.epoch, entry.of_service)
        else {
            return Ok(None);
        };
        let kind = match transition.reason {
            Reason::OverrideSet => ChangeKind::OverrideSet,
            Reason::OverrideCleared => ChangeKind::OverrideCleared,
            Reason::Reset => ChangeKind::Reset,
            Reason::Deleted => ChangeKind::Deleted,
            Reason::ProbeRequested => ChangeKind::ProbeRequested,
            _ => return Ok(None),
        };
        let expires_at = transition.after.set_by.as_ref().and_then(|set_by| set_by.expires_at);
        let key = &entry.proposal.key;
        Ok(Some(Self {
            number: bigint("write the audit", "number", number as u64)?,
            kind: kind.as_str(),
            service: key.service().to_string(),
            name: key.name().to_string(),
            actor: printable(&attribution.actor).into_owned(),
            reason: Some(printable(&attribution.reason).into_owned()).filter(|reason| !reason.is_empty()),
            before: Some(state_json(entry.from, entry.replaced_expires_at)),
            after: Some(state_json(entry.to, expires_at)),
            occurred_at: Some(Timestamp(entry.occurred_at)),
        }))
    }
}

impl Audit {
    /// As it is read once it is written.
    pub(super) fn stored(self, bumped: Bumped) -> Result<StoredChange, StoreError> {
        let Self { number, kind, service, name, actor, reason, before, after, occurred_at } = self;
        let row = AuditRow {
            revision: bumped.revision,
            number,
            kind: kind.to_owned(),
            service,
            name,
            at: occurred_at.unwrap_or(bumped.recorded_at),
            actor,
            reason,
            before,
            after,
        };
        row.change()
    }
}

/// A state, and when it ends by itself.
fn state_json(state: State, expires_at: Option<Time>) -> String {
    match expires_at {
        Some(time) => json!({ "state": state.as_str(), "expires_at": rfc3339(time) }).to_string(),
        None => json!({ "state": state.as_str() }).to_string(),
    }
}

impl ServiceOverrideRow {
    /// Of a change that is being made.
    pub(super) fn new(service: &str, set: &ServiceOverride, bumped: Bumped) -> Self {
        let changed = Changed { revision: bumped.revision.unsigned_abs(), at: bumped.recorded_at.0 };
        let ServiceOverride { kind, expires_at, ttl, attribution, .. } = set.clone().written(changed);
        Self {
            service: service.to_owned(),
            kind: kind.as_str().to_owned(),
            actor: printable(&attribution.actor).into_owned(),
            reason: printable(&attribution.reason).into_owned(),
            set_at: bumped.recorded_at,
            expires_at: expires_at.map(Timestamp),
            ttl_us: ttl.map(micros),
            revision: bumped.revision,
        }
    }

    /// The service, and what is set for it.
    pub(super) fn stored(self) -> Result<(String, ServiceOverride), StoreError> {
        let name = format!("service_override {}", self.service);
        let reader = Reader { act: ACT, row: &name };
        let set = ServiceOverride {
            kind: reader.word("kind", &self.kind, OverrideKind::parse)?,
            ttl: self.ttl_us.map(|ttl| reader.duration("ttl_us", ttl)).transpose()?,
            expires_at: self.expires_at.map(|stamp| stamp.0),
            attribution: Attribution { actor: self.actor, reason: self.reason },
            set_at: self.set_at.0,
            revision: reader.number("revision", self.revision)?,
        };
        Ok((self.service, set))
    }

    /// As the audit has it.
    pub(super) fn json(&self) -> String {
        let attribution = Attribution { actor: self.actor.clone(), reason: self.reason.clone() };
        override_json(&self.kind, &attribution, self.expires_at.map(|stamp| stamp.0))
    }
}

/// An override of a whole service, as the audit has it.
pub(super) fn override_json(state: &str, attribution: &Attribution, expires_at: Option<Time>) -> String {
    let Attribution { actor, reason } = attribution;
    json!({
        "state": state,
        "actor": printable(actor),
        "reason": printable(reason),
        "expires_at": expires_at.map(rfc3339),
    })
    .to_string()
}

/// A time for people who read JSON; beyond the year 9999 there is none.
fn rfc3339(time: Time) -> String {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.as_micros()) * 1_000)
        .ok()
        .and_then(|time| time.format(&Rfc3339).ok())
        .unwrap_or_else(|| "never".to_owned())
}

/// A row of `audit` as it is read.
#[derive(FromRow)]
pub(super) struct AuditRow {
    revision: i64,
    number: i64,
    kind: String,
    service: String,
    name: String,
    at: Timestamp,
    actor: String,
    reason: Option<String>,
    before: Option<String>,
    after: Option<String>,
}

impl AuditRow {
    pub(super) fn change(self) -> Result<StoredChange, StoreError> {
        let row = format!("audit {} of revision {}", self.number, self.revision);
        let reader = Reader { act: "read the audit", row: &row };
        Ok(StoredChange {
            cursor: HistoryCursor {
                revision: reader.number("revision", self.revision)?,
                number: reader.number("number", self.number)?,
            },
            kind: reader.word("kind", &self.kind, ChangeKind::parse)?,
            service: self.service,
            name: self.name,
            at: self.at.0,
            attribution: Attribution { actor: self.actor, reason: self.reason.unwrap_or_default() },
            before: self.before,
            after: self.after,
        })
    }
}

/// Adds to a query that ends in `WHERE true` what is asked for, newest first.
pub(super) fn narrow<DB>(
    sql: &mut QueryBuilder<DB>,
    time: &'static str,
    query: &ChangeQuery,
) -> Result<(), StoreError>
where
    DB: Database,
    String: for<'q> Encode<'q, DB> + Type<DB>,
    i64: for<'q> Encode<'q, DB> + Type<DB>,
    Timestamp: for<'q> Encode<'q, DB> + Type<DB>,
{
    if let Some(service) = &query.service {
        sql.push(" AND service IN ('', ").push_bind(service.clone()).push(")");
    }
    if let Some(actor) = &query.actor {
        sql.push(" AND actor = ").push_bind(actor.clone());
    }
    if !query.kinds.is_empty() {
        sql.push(" AND kind IN (");
        let mut kinds = sql.separated(", ");
        for kind in &query.kinds {
            kinds.push_bind(kind.as_str().to_owned());
        }
        sql.push(")");
    }
    let range = RangeFilter {
        from_time: query.from_time,
        until_time: query.until_time,
        after: query.after,
        oldest_first: false,
        limit: query.limit,
    };
    range.narrow(sql, time, "read the audit")
}
