//! Between the wire and the domain: the only files that see both sides.
//!
//! In: every field is checked, and all that are wrong are named at once. Out: plain renaming.

mod asks;
mod breakers;
mod changes;
mod configs;
mod fields;
mod lists;
mod operator_actions;
mod runs;
mod states;
mod times;
mod transitions;

pub(crate) use asks::{allowed, check_ask, check_batch, read_outcome, refused_ask, refused_outcome};
pub(crate) use breakers::{breaker, breaker_state};
pub(crate) use changes::{ChangeList, ConfigList, change};
pub(crate) use configs::{config, deletion, refused_change, update};
pub(crate) use lists::{BreakerList, TransitionList};
pub(crate) use operator_actions::{Subject, operator_refused, read_asked, read_clear, read_set};
pub(crate) use runs::{is_run, run, run_taken, taken};
pub(crate) use transitions::{stored_state, transition};

use std::error::Error;

use breaker::{Key, check_service};

use super::status::Failure;
use super::violations::Violations;
use crate::store::StoreError;

/// Adds what is wrong with a service and a name, each by itself.
fn check_key(service: &str, name: &str, violations: &mut Violations) {
    if let Err(error) = check_service(service) {
        violations.add_key("service", &error);
    }
    check_name("name", name, violations);
}

/// Adds what is wrong with a name, or the beginning of one. An empty one is none.
fn check_name(field: &'static str, name: &str, violations: &mut Violations) {
    // The service stands for any: only the name can be at fault.
    if !name.is_empty()
        && let Err(error) = Key::new("any", name)
    {
        violations.add_key(field, &error);
    }
}

/// The key, or everything that is wrong with it.
pub(crate) fn key(service: &str, name: &str) -> Result<Key, Violations> {
    Key::new(service, name).map_err(|_| {
        let mut violations = Violations::default();
        check_key(service, name, &mut violations);
        violations
    })
}

/// Why something could not be read from the store, or written; said in the log with `what`.
#[cold]
pub(crate) fn unread(what: &'static str, error: &StoreError) -> Failure {
    if error.is_transient() {
        tracing::warn!(error = error as &dyn Error, "{what}");
        return Failure::StoreUnavailable;
    }
    tracing::error!(error = error as &dyn Error, "{what}");
    match error {
        // For whoever calls it is away too: it may be put back, and that is nothing that breakerd did wrong.
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
