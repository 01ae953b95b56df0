//! The API's enum values as people write them, and breakers as `SERVICE/NAME`.

use std::str::FromStr;

use breaker::Origin;
use breakerd_api::enums::{ApiEnum, from_number};
use breakerd_api::v1;

/// A breaker: `SERVICE`, the service's own, or `SERVICE/NAME`. A name may hold `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// The service.
    pub service: String,
    /// The breaker within it; empty: the service's own.
    pub name: String,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (service, name) = text.split_once('/').unwrap_or((text, ""));
        if text.ends_with('/') && name.is_empty() {
            return Err("missing name after /: for the default breaker, use SERVICE alone".to_owned());
        }
        let key = breaker::Key::new(service, name).map_err(|problem| problem.to_string())?;
        // The name as it was given: an empty one means the default breaker of the service.
        Ok(Self { service: key.service().to_string(), name: name.to_owned() })
    }
}

/// A service, without a breaker name.
pub(super) fn service(text: &str) -> Result<String, String> {
    breaker::check_service(text).map(|()| text.to_owned()).map_err(|problem| problem.to_string())
}

/// The reason of an operator action: it may be omitted, but not be blank.
pub(super) fn reason(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("must not be empty".to_owned());
    }
    Ok(text.to_owned())
}

/// `SERVICE/NAME`, or `SERVICE` for the service's own.
pub(super) fn breaker_name(service: &str, name: &str) -> String {
    if name.is_empty() || service == name { service.to_owned() } else { format!("{service}/{name}") }
}

/// A state in any of the ways people write it: `open`, `half-open`, `HALF_OPEN`.
pub(super) fn state_by_name(text: &str) -> Result<v1::State, String> {
    let plain = text.replace('-', "_").to_ascii_uppercase();
    breaker::State::parse(&plain)
        .map(v1::State::from)
        .ok_or_else(|| "must be closed, open, half-open, forced-open, disabled or metrics-only".to_owned())
}

const NEWER: &str = "(newer than this program)";

/// A value of the API's enums without its prefix: `HALF_OPEN`.
pub(super) fn named<Api: ApiEnum>(number: i32) -> &'static str {
    Api::name_of(number).unwrap_or(NEWER)
}

pub(super) fn state(number: i32) -> &'static str {
    named::<v1::State>(number)
}

pub(super) fn transition_reason(number: i32) -> &'static str {
    named::<v1::TransitionReason>(number)
}

/// A source of values, as `check-config` names it.
pub(super) fn layer(number: i32) -> &'static str {
    from_number::<Origin, v1::ConfigSource>(number).map_or(NEWER, Origin::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_breaker_is_a_service_or_a_service_and_a_name() {
        let parts = |text: &str| Target::from_str(text).map(|target| (target.service, target.name));
        assert_eq!(parts("db"), Ok(("db".to_owned(), String::new())));
        assert_eq!(parts("db/replica/1"), Ok(("db".to_owned(), "replica/1".to_owned())));
        assert!(parts("db/").unwrap_err().contains("missing name after /"));
        assert!(parts("").is_err());
        assert!(parts("/x").is_err());
        assert!(parts("d b").is_err());
    }

    #[test]
    fn states_are_read_as_people_write_them() {
        assert_eq!(state_by_name("half-open"), Ok(v1::State::HalfOpen));
        assert_eq!(state_by_name("HALF_OPEN"), Ok(v1::State::HalfOpen));
        assert_eq!(state_by_name("Open"), Ok(v1::State::Open));
        assert!(state_by_name("ajar").unwrap_err().contains("half-open"));
        assert_eq!(state(v1::State::ForcedOpen.into()), "FORCED_OPEN");
        assert_eq!(state(99), NEWER);
    }
}
