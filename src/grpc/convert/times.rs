//! Durations and timestamps of requests, checked.

use std::borrow::Cow;
use std::time::Duration;

use breaker::Time;
use breakerd_api::time::{self, TimeError};

use super::super::violations::{Kind, Violations};

/// A duration that may be left out, and may not be negative.
pub(super) fn not_negative(
    field: impl Into<Cow<'static, str>>,
    duration: Option<&prost_types::Duration>,
    violations: &mut Violations,
) -> Option<Duration> {
    checked(field, time::duration(*duration?), violations)
}

/// A bound of a range of times. We keep microseconds, so a bound between two of them is the later one; what
/// lies before 1970 lies before everything we know.
pub(super) fn bound(
    field: &'static str,
    timestamp: Option<&prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<Time> {
    checked(field, time::time(*timestamp?), violations)
}

fn checked<T>(
    field: impl Into<Cow<'static, str>>,
    read: Result<T, TimeError>,
    violations: &mut Violations,
) -> Option<T> {
    read.map_err(|error| violations.add(field, Kind::OutOfRange, error.to_string())).ok()
}
