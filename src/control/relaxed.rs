//! Logs the thresholds that a changed file relaxes: a circuit that does not open would go unnoticed.
//!
//! Softer is whatever makes a breaker open later, or stay open for a shorter time. What can be either, such as the size of
//! a window, is not judged.

use std::collections::BTreeSet;

use breaker::{Field, Value};

use super::Configuration;

#[cfg(test)]
mod tests;

/// Services that are named in the log one by one; the rest are counted.
const NAMED_MAX: usize = 20;

/// A service, or the defaults, under softer thresholds than before.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Relaxed {
    /// Empty: the defaults.
    service: String,
    /// The file does not name it any more.
    is_removed: bool,
    /// Each field: its name, the value before, the value now.
    changes: String,
}

/// Logs what is softer `after` a file than `before` it, at WARN. Nothing when no file was declared before: there is nothing
/// that it takes away.
pub(super) fn log_relaxed(before: &Configuration, after: &Configuration, touched: &BTreeSet<String>) {
    if before.stored().declared.is_none() {
        return;
    }
    if before.catalog().enabled() && !after.catalog().enabled() {
        tracing::warn!("configuration file disables every breaker");
    }
    let relaxed = relaxed(before, after, touched);
    for Relaxed { service, is_removed, changes } in relaxed.iter().take(NAMED_MAX) {
        let service = if service.is_empty() { "defaults" } else { service };
        if *is_removed {
            tracing::warn!(service, changes, "configuration file removes a service");
        } else {
            tracing::warn!(service, changes, "configuration file relaxes thresholds");
        }
    }
    if relaxed.len() > NAMED_MAX {
        let more = relaxed.len() - NAMED_MAX;
        tracing::warn!(more, "configuration file removes services or relaxes their thresholds");
    }
}

fn relaxed(before: &Configuration, after: &Configuration, touched: &BTreeSet<String>) -> Vec<Relaxed> {
    let declares = |configuration: &Configuration, service: &str| {
        let declared = configuration.stored().declared.as_ref();
        declared.is_some_and(|declared| declared.declaration.services.contains_key(service))
    };
    let judge = |service: &String| {
        let (then, now) = (before.catalog().thresholds(service), after.catalog().thresholds(service));
        let changes = Field::ALL.iter().filter_map(|field| {
            let (then, now) = (then.value(*field), now.value(*field));
            is_relaxed(*field, then.as_ref(), now.as_ref())
                .then(|| format!("{field} {} -> {}", shown(then.as_ref()), shown(now.as_ref())))
        });
        let changes = changes.collect::<Vec<_>>().join(", ");
        let is_removed = declares(before, service) && !declares(after, service);
        (is_removed || !changes.is_empty()).then(|| Relaxed { service: service.clone(), is_removed, changes })
    };
    touched.iter().filter_map(judge).collect()
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "none".to_owned(), ToString::to_string)
}

/// Whether a breaker opens later, or is open for a shorter time, when this field is `now` what was `then`.
fn is_relaxed(field: Field, then: Option<&Value>, now: Option<&Value>) -> bool {
    match field {
        // Off counts as endless: it never opens.
        Field::FailureThreshold
        | Field::FailureRateThreshold
        | Field::SlowCallRateThreshold
        | Field::FailureCountThreshold
        | Field::SlowCallDurationThreshold => limit(now) > limit(then),
        Field::MinimumNumberOfCalls | Field::MinimumReporters | Field::PermittedCalls => {
            amount(now) > amount(then)
        }
        Field::SuccessThreshold | Field::Timeout | Field::MaxWait => amount(now) < amount(then),
        Field::SlowCallsAsFailures | Field::HonorRetryAfter => {
            (then, now) == (Some(&Value::Flag(true)), Some(&Value::Flag(false)))
        }
        Field::StateAfterMaxWait => {
            matches!(now, Some(Value::Word(word)) if *word == "CLOSED") && then != now
        }
        Field::IgnoreErrorClasses => differs_from(now, then),
        // An empty list records every failure.
        Field::RecordErrorClasses => !is_empty(now) && (is_empty(then) || differs_from(then, now)),
        Field::SlidingWindowType
        | Field::SlidingWindowSize
        | Field::HalfOpenPermitTimeout
        | Field::MaxWaitInHalfOpen
        | Field::WaitInterval
        | Field::Multiplier
        | Field::RandomizationFactor => false,
    }
}

/// As [`amount`], of what is off when it is 0 or absent.
fn limit(value: Option<&Value>) -> u128 {
    match amount(value) {
        None | Some(0) => u128::MAX,
        Some(amount) => amount,
    }
}

fn amount(value: Option<&Value>) -> Option<u128> {
    match value? {
        Value::Count(number) | Value::Rate(number) | Value::Factor(number) => Some(u128::from(*number)),
        Value::Duration(duration) => Some(duration.as_micros()),
        Value::Flag(_) | Value::Word(_) | Value::Classes(_) => None,
    }
}

/// Whether `some` has a class that `others` has not.
fn differs_from(some: Option<&Value>, others: Option<&Value>) -> bool {
    let (Some(Value::Classes(some)), Some(Value::Classes(others))) = (some, others) else { return false };
    some.iter().any(|class| !others.contains(class))
}

fn is_empty(classes: Option<&Value>) -> bool {
    !matches!(classes, Some(Value::Classes(classes)) if !classes.is_empty())
}
