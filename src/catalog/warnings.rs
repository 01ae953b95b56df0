//! Thresholds that are valid, and probably unintended.

use std::collections::BTreeMap;
use std::fmt;

use breaker::{Field, Origin, Thresholds};

use super::Catalog;

/// What is odd about thresholds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Warning {
    /// Nothing that is recorded opens a breaker.
    NeverOpens,
    /// More calls are to be in a window of calls than it holds.
    MinimumCallsAboveWindow {
        /// What was set for `minimum_number_of_calls`.
        set: u32,
        /// Its effective value: the window's size.
        effective: u32,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverOpens => f.write_str(
                "no trip is set: breakers never open. Set failure_threshold, failure_count_threshold, \
                 failure_rate_threshold or slow_call_rate_threshold",
            ),
            Self::MinimumCallsAboveWindow { set, effective } => write!(
                f,
                "minimum_number_of_calls: {set} has the effect of {effective}: a COUNT_BASED window of \
                 sliding_window_size {effective} holds no more calls"
            ),
        }
    }
}

/// What is odd about the thresholds of a service, or about the defaults.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceWarning {
    /// The service; none: the defaults.
    pub service: Option<String>,
    /// What.
    pub warning: Warning,
}

impl fmt::Display for ServiceWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.service.as_deref().unwrap_or("defaults"), self.warning)
    }
}

/// Warnings about `thresholds`, whose fields come from these layers. Built-in values cause none.
pub(crate) fn warnings(thresholds: &Thresholds, origins: &BTreeMap<Field, Origin>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    if !thresholds.can_trip() {
        warnings.push(Warning::NeverOpens);
    }
    let (set, effective) = (thresholds.minimum_calls_set(), thresholds.minimum_calls());
    if set > effective && origins.contains_key(&Field::MinimumNumberOfCalls) {
        warnings.push(Warning::MinimumCallsAboveWindow { set, effective });
    }
    warnings
}

impl Catalog {
    /// What is odd about the defaults and about each service that has a layer, in the order of their names.
    pub fn warnings(&self) -> impl Iterator<Item = ServiceWarning> {
        let defaults = warnings(&self.defaults.thresholds, &self.defaults.origins);
        let of_defaults = defaults.into_iter().map(|warning| ServiceWarning { service: None, warning });
        let of_services = self.services.iter().flat_map(|(service, entry)| {
            let warnings = warnings(&entry.thresholds, &entry.origins);
            warnings.into_iter().map(|warning| ServiceWarning { service: Some(service.to_string()), warning })
        });
        of_defaults.chain(of_services)
    }
}

#[cfg(test)]
mod tests {
    use breaker::{Layer, Value};

    use super::*;
    use crate::catalog::Declaration;

    fn layer(fields: &[(Field, Value)]) -> Layer {
        fields
            .iter()
            .fold(Layer::default(), |layer, (field, value)| layer.with(*field, value.clone()).unwrap())
    }

    fn warnings(defaults: Layer, service: Layer) -> Vec<String> {
        let services = BTreeMap::from([("database".to_owned(), service)]);
        let declaration = Declaration { defaults, services, ..Declaration::default() };
        let catalog = Catalog::new(&declaration, 1, &BTreeMap::new()).unwrap();
        catalog.warnings().map(|warning| warning.to_string()).collect()
    }

    #[test]
    fn a_service_that_can_never_open_is_named() {
        let off = || layer(&[(Field::FailureThreshold, Value::Count(0))]);
        let found = warnings(Layer::default(), off());
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("database: no trip is set: breakers never open"), "{found:?}");
        assert_eq!(warnings(off(), Layer::default()).len(), 2, "the defaults, and who has them");
        for trip in [
            (Field::FailureCountThreshold, Value::Count(3)),
            (Field::FailureRateThreshold, Value::Rate(50_000)),
            (Field::FailureThreshold, Value::Count(1)),
        ] {
            assert_eq!(warnings(off(), layer(&[trip])).len(), 1, "the defaults only");
        }
    }

    #[test]
    fn a_minimum_that_the_window_cannot_hold_is_said_with_what_it_comes_to() {
        let window = |kind, minimum: Option<u32>| {
            let mut fields = vec![
                (Field::SlidingWindowType, Value::Word(kind)),
                (Field::SlidingWindowSize, Value::Count(50)),
            ];
            fields.extend(minimum.map(|minimum| (Field::MinimumNumberOfCalls, Value::Count(minimum))));
            layer(&fields)
        };
        let found = warnings(Layer::default(), window("COUNT_BASED", Some(500)));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("database: minimum_number_of_calls: 500 has the effect of 50"),
            "{found:?}"
        );
        for fine in
            [window("COUNT_BASED", Some(50)), window("COUNT_BASED", None), window("TIME_BASED", Some(500))]
        {
            assert_eq!(warnings(Layer::default(), fine), Vec::<String>::new());
        }
    }
}
