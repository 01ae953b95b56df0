//! Holds what the overrides of the service did to its breakers against what the service had.

use std::collections::BTreeMap;
use std::time::Duration;

use breaker::Reason;

use crate::store::{StoredChange, StoredTransition};

/// Who takes back what a service has no more.
pub(super) const WALKER: &str = "the walk";
/// What the names of those begin with who set overrides of the service.
pub(super) const OPERATOR: &str = "service operator";

/// What the overrides of the service were set for, by operator; none: until they are cleared.
pub(super) type Durations = BTreeMap<String, Option<Duration>>;

/// What is wrong with how overrides of the service came to its breakers; `changes` and `rows` are the oldest first.
pub(super) fn check(
    changes: &[StoredChange],
    durations: &Durations,
    rows: &[StoredTransition],
) -> Vec<String> {
    let mut problems = Vec::new();
    for row in rows.iter().filter(|row| row.epoch.is_some()) {
        let actor = row.attribution.as_ref().map_or("", |by| &by.actor);
        let before = changes.iter().rev().find(|change| change.cursor.revision < row.cursor.revision);
        let in_force = before.filter(|change| {
            let ttl = durations.get(&change.attribution.actor).copied().flatten();
            change.after.is_some() && ttl.is_none_or(|ttl| row.recorded_at < change.at + ttl)
        });
        let in_force = in_force.map(|change| &*change.attribution.actor);
        let is_wrong = match row.reason {
            Reason::OverrideSet if actor.starts_with(OPERATOR) => in_force != Some(actor),
            Reason::OverrideCleared if actor == WALKER => in_force.is_some(),
            _ => false,
        };
        if is_wrong {
            problems.push(format!(
                "{}: {} by {actor} at epoch {:?}, while the service has that of {in_force:?}",
                row.key, row.reason, row.epoch
            ));
        }
    }
    problems
}
