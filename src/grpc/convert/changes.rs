//! The configuration changes as the API shows them, and the filters of lists of configurations and changes.

use breakerd_api::time::to_timestamp;
use breakerd_api::v1;

use super::super::page;
use super::super::violations::{Kind, Violations};
use super::lists::{
    check_service_filter, decode_cursor, encode_cursor, not_empty, page_size, read_page_token,
};
use super::times;
use crate::store::{ChangeKind, ChangeQuery, HistoryCursor, StoredChange};

/// Entries of a filter of kinds: there are seven, and a repeat does no harm.
const KINDS_MAX: usize = 64;

/// One configuration change.
pub(crate) fn change(row: StoredChange) -> v1::ConfigChange {
    v1::ConfigChange {
        revision: row.cursor.revision,
        kind: kind(row.kind) as i32,
        service: row.service,
        name: row.name,
        changed_at: Some(to_timestamp(row.at)),
        actor: row.attribution.actor,
        reason: row.attribution.reason,
        before_json: row.before.unwrap_or_default(),
        after_json: row.after.unwrap_or_default(),
    }
}

fn kind(kind: ChangeKind) -> v1::ChangeKind {
    match kind {
        ChangeKind::FileApplied => v1::ChangeKind::FileApplied,
        ChangeKind::Thresholds => v1::ChangeKind::Thresholds,
        ChangeKind::ServiceOverride => v1::ChangeKind::ServiceOverride,
        ChangeKind::OverrideSet => v1::ChangeKind::OverrideSet,
        ChangeKind::OverrideCleared => v1::ChangeKind::OverrideCleared,
        ChangeKind::Reset => v1::ChangeKind::Reset,
        ChangeKind::ProbeRequested => v1::ChangeKind::ProbeRequested,
        ChangeKind::Deleted => v1::ChangeKind::Deleted,
        ChangeKind::PermitKeyRotated => v1::ChangeKind::PermitKeyRotated,
    }
}

/// A page of the audit.
#[derive(Debug)]
pub(crate) struct ChangeList {
    pub(crate) size: usize,
    /// Reads one row more than the page holds, to know whether another page follows.
    pub(crate) query: ChangeQuery,
    filters: Vec<u8>,
}

impl TryFrom<v1::ListConfigChangesRequest> for ChangeList {
    type Error = Violations;

    fn try_from(request: v1::ListConfigChangesRequest) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let size = page_size(request.page_size, &mut violations);
        check_service_filter(&request.service, &mut violations);
        let kinds = kinds(&request.kinds, &mut violations);
        let from_time = times::bound("from_time", request.from_time.as_ref(), &mut violations);
        let until_time = times::bound("to_time", request.to_time.as_ref(), &mut violations);
        if let (Some(from), Some(until)) = (from_time, until_time)
            && from >= until
        {
            violations.add("from_time", Kind::OutOfRange, "must be before to_time");
        }
        super::decisions::check_text("actor", &request.actor, &mut violations);
        let page_token = request.page_token.clone();
        let filters =
            v1::ListConfigChangesRequest { page_size: 0, page_token: String::new(), ..request.clone() };
        let filters = page::filters("ListConfigChanges", &filters);
        let after = read_page_token(&page_token, &filters, decode_cursor, &mut violations);
        let query = ChangeQuery {
            service: not_empty(request.service),
            kinds,
            actor: not_empty(request.actor),
            from_time,
            until_time,
            after,
            limit: size + 1,
        };
        violations.unless(Self { size: size as usize, query, filters })
    }
}

impl ChangeList {
    /// The page token for what comes after `last`.
    pub(crate) fn token_after(&self, last: HistoryCursor) -> String {
        page::token(&self.filters, &encode_cursor(last))
    }
}

fn kinds(numbers: &[i32], violations: &mut Violations) -> Vec<ChangeKind> {
    if numbers.len() > KINDS_MAX {
        let problem = format!("too many entries: {}, the limit is {KINDS_MAX}", numbers.len());
        violations.add("kinds", Kind::TooMany, problem);
        return Vec::new();
    }
    let mut kinds = Vec::new();
    for (index, number) in numbers.iter().enumerate() {
        match ChangeKind::ALL.into_iter().find(|known| kind(*known) as i32 == *number) {
            Some(kind) if kinds.contains(&kind) => {}
            Some(kind) => kinds.push(kind),
            None => {
                let problem = format!("unknown value {number}: must be a ChangeKind");
                violations.add(format!("kinds[{index}]"), Kind::UnknownValue, problem);
            }
        }
    }
    kinds
}

/// A page of configurations.
#[derive(Debug)]
pub(crate) struct ConfigList {
    pub(crate) size: usize,
    after: Option<String>,
    prefix: String,
    /// Only services with an override.
    pub(crate) overridden: bool,
    filters: Vec<u8>,
}

impl TryFrom<v1::ListConfigsRequest> for ConfigList {
    type Error = Violations;

    fn try_from(request: v1::ListConfigsRequest) -> Result<Self, Violations> {
        let mut violations = Violations::default();
        let size = page_size(request.page_size, &mut violations);
        if !request.service_prefix.is_empty()
            && let Err(error) = breaker::check_service(&request.service_prefix)
        {
            violations.add_key("service_prefix", &error);
        }
        let filters = v1::ListConfigsRequest {
            page_size: 0,
            page_token: String::new(),
            service_prefix: request.service_prefix.clone(),
            overridden: request.overridden,
        };
        let filters = page::filters("ListConfigs", &filters);
        let read = |position: &[u8]| std::str::from_utf8(position).ok().map(str::to_owned);
        let after = read_page_token(&request.page_token, &filters, read, &mut violations);
        let v1::ListConfigsRequest { service_prefix: prefix, overridden, .. } = request;
        violations.unless(Self { size: size as usize, after, prefix, overridden, filters })
    }
}

impl ConfigList {
    /// Whether a service is of this page or a later one.
    pub(crate) fn has(&self, service: &str) -> bool {
        service.starts_with(&self.prefix) && self.after.as_deref().is_none_or(|after| service > after)
    }

    /// The page token for what comes after `last`.
    pub(crate) fn token_after(&self, last: &str) -> String {
        page::token(&self.filters, last.as_bytes())
    }
}
