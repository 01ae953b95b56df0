//! Between the wire and the domain: the only files that see both sides.
//!
//! In: every field is checked, and all violations are reported at once. Out: plain renaming.

mod batches;
mod breakers;
mod changes;
mod configs;
mod decisions;
mod fields;
mod lists;
mod local_totals;
mod operator_actions;
mod permit_keys;
mod replicas;
mod runs;
mod states;
mod times;
mod transitions;

pub(crate) use batches::{BatchId, check_batch, check_batch_items, read_batch_id};
pub(crate) use breakers::{breaker, breaker_state, service_state};
pub(crate) use changes::{ChangeList, ConfigList, change};
pub(crate) use configs::{change_failure, config, deletion, update};
pub(crate) use decisions::{allow_failure, allowed, check_allow_request, outcome_failure, read_outcome};
pub(crate) use lists::{BreakerList, TransitionList};
pub(crate) use local_totals::{read_totals, totals_failure};
pub(crate) use operator_actions::{Subject, operator_failure, read_action, read_clear, read_set};
pub(crate) use permit_keys::{permit_keys, rotate_failure, rotation};
pub(crate) use replicas::replicas;
pub(crate) use runs::{is_run, record_response, run, run_response};
pub(crate) use transitions::{notice, stored_state, transition};

use std::error::Error;

use breaker::{Key, KeyError, check_service};

use super::status::Failure;
use super::violations::Violations;
use crate::store::StoreError;

/// Adds the violations of a service and of a name, each by itself.
fn check_key(service: &str, name: &str, violations: &mut Violations) {
    if let Err(error) = check_service(service) {
        violations.add_key("service", &error);
    }
    check_name("name", name, violations);
}

/// Adds the violations of a name or a name prefix. An empty one is none.
fn check_name(field: &'static str, name: &str, violations: &mut Violations) {
    if let Err(error) = check_breaker_name(name) {
        violations.add_key(field, &error);
    }
}

/// Fails if no breaker may have this name. An empty one is that of the default breaker.
pub(crate) fn check_breaker_name(name: &str) -> Result<(), KeyError> {
    // Any valid service will do: only the name can be invalid.
    if name.is_empty() { Ok(()) } else { Key::new("any", name).map(drop) }
}

/// The key, or all of its violations.
pub(crate) fn key(service: &str, name: &str) -> Result<Key, Violations> {
    Key::new(service, name).map_err(|_| {
        let mut violations = Violations::default();
        check_key(service, name, &mut violations);
        violations
    })
}

/// The failure for an error of the store, which is logged as `what`.
#[cold]
pub(crate) fn store_failure(what: &'static str, error: &StoreError) -> Failure {
    if error.is_transient() {
        tracing::warn!(error = error as &dyn Error, "{what}");
        return Failure::StoreUnavailable;
    }
    tracing::error!(error = error as &dyn Error, "{what}");
    match error {
        // For the client that is an outage too: the database may be restored, and breakerd is not at fault.
        StoreError::Replaced(_) => Failure::StoreUnavailable,
        _ => Failure::Internal,
    }
}

/// A service that may be left out.
pub(crate) fn check_service_filter(service: &str) -> Result<(), Violations> {
    let mut violations = Violations::default();
    lists::check_service_filter(service, &mut violations);
    violations.unless(())
}
