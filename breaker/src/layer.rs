//! Settings of one origin, and why some cannot be. How layers become thresholds is in `merge.rs`.

use std::collections::BTreeMap;
use std::fmt;

use crate::field::{Field, Value};

/// Settings of one origin: each field set or not, each value within its range.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer {
    values: BTreeMap<Field, Value>,
}

impl Layer {
    /// Sets a field.
    ///
    /// # Errors
    /// [`Problem`] when the value is not of the field's kind, or out of its range; nothing is set then.
    pub fn set(&mut self, field: Field, value: Value) -> Result<(), Problem> {
        if !field.accepts(&value) {
            return Err(Problem {
                field,
                value: value.to_string(),
                expected: field.range(),
                between: Vec::new(),
            });
        }
        self.values.insert(field, value);
        Ok(())
    }

    /// Sets a field, for layers written out in code.
    ///
    /// # Errors
    /// As [`Layer::set`].
    pub fn with(mut self, field: Field, value: Value) -> Result<Self, Problem> {
        self.set(field, value)?;
        Ok(self)
    }

    /// Takes a field back.
    pub fn unset(&mut self, field: Field) {
        self.values.remove(&field);
    }

    /// What a field is set to.
    pub fn get(&self, field: Field) -> Option<&Value> {
        self.values.get(&field)
    }

    /// The fields that are set, in the order of the table.
    pub fn iter(&self) -> impl Iterator<Item = (Field, &Value)> {
        self.values.iter().map(|(field, value)| (*field, value))
    }

    /// Whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    pub(crate) fn sets_rate(&self) -> bool {
        [Field::FailureRateThreshold, Field::SlowCallRateThreshold]
            .iter()
            .any(|field| self.values.contains_key(field))
    }

    pub(crate) fn sets_trip_beside_failure_threshold(&self) -> bool {
        self.sets_rate() || self.values.contains_key(&Field::FailureCountThreshold)
    }
}

crate::words::words! {
    /// Where a setting came from, from the farthest to the nearest.
    Origin {
        /// breakerd's own defaults.
        BuiltIn = "built-in",
        /// The file's `[circuit_breaker]`.
        FileDefaults = "file defaults",
        /// The file's `[circuit_breaker.<service>]`.
        FileService = "file, service",
        /// Set over the API.
        Api = "API",
    }
}

/// Why settings cannot be: one field, what it was given, and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field at fault.
    pub field: Field,
    /// What it was given; empty when the value alone is not at fault.
    pub value: String,
    /// What it takes.
    pub expected: String,
    /// The fields that contradict each other, `field` first, and the layer that each is from; none: it would have to be
    /// set, and is not. Empty when the value is wrong by itself.
    pub between: Vec<(Field, Option<Origin>)>,
}

impl Problem {
    /// What is wrong, without the field and the layers.
    pub fn fault(&self) -> String {
        match &*self.value {
            "" => format!("must be {}", self.expected),
            value => format!("invalid value {value}: must be {}", self.expected),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.fault())?;
        if !self.between.is_empty() {
            let mut layers: Vec<_> =
                self.between.iter().filter_map(|(_, origin)| origin.map(Origin::as_str)).collect();
            // Two fields of one layer.
            layers.dedup();
            write!(f, " (set by: {})", layers.join("; "))?;
        }
        Ok(())
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_value_out_of_its_range_is_not_set() {
        let mut layer = Layer::default();
        for (field, value) in [
            (Field::FailureRateThreshold, Value::Rate(0)),
            (Field::FailureRateThreshold, Value::Rate(100_001)),
            (Field::Multiplier, Value::Factor(1_000)),
            (Field::RandomizationFactor, Value::Factor(1_000)),
            (Field::Timeout, Value::Duration(Duration::ZERO)),
            (Field::Timeout, Value::Count(3)),
            (Field::MinimumReporters, Value::Count(0)),
            (Field::IgnoreErrorClasses, Value::Classes(vec![String::new()])),
            (Field::IgnoreErrorClasses, Value::Classes(vec!["a\0b".to_owned()])),
            (Field::RecordErrorClasses, Value::Classes(vec!["fine".to_owned(), "a\nb".to_owned()])),
        ] {
            let problem = layer.set(field, value).unwrap_err();
            assert_eq!(problem.field, field);
        }
        assert!(layer.is_empty());
    }
}
