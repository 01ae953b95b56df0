//! Thresholds of a request, field by field, checked.
//!
//! The table of fields (`breaker::Field`) has each field's range and rejects what is not in it; values are never rounded.

use std::fmt::Display;

use breaker::{Field, Layer};
use breakerd_api::thresholds::{self, ValueError, name};
use breakerd_api::v1;
use breakerd_common::nearest::nearest;

use super::super::violations::{Kind, Violations};

/// The field of a mask's path.
pub(super) fn by_name(path: &str) -> Option<Field> {
    Field::by_name(path)
}

/// The nearest field name, for a mistyped path of a mask.
pub(super) fn suggestion(path: &str) -> Option<&'static str> {
    nearest(path, Field::ALL.iter().map(|field| name(*field)))
}

/// Every name, for people.
pub(super) fn names() -> String {
    let names: Vec<_> = Field::ALL.iter().map(|field| name(*field)).collect();
    format!("valid fields are {}", names.join(", "))
}

/// The values that a message sets. What it leaves out is not in the layer.
pub(super) fn layer_from_wire(wire: &v1::Thresholds, violations: &mut Violations) -> Layer {
    let mut layer = Layer::default();
    for field in Field::ALL {
        if let Err((kind, problem)) = set_from_wire(&mut layer, wire, *field) {
            violations.add(format!("thresholds.{}", name(*field)), kind, problem);
        }
    }
    layer
}

fn set_from_wire(layer: &mut Layer, wire: &v1::Thresholds, field: Field) -> Result<(), (Kind, String)> {
    let out_of_range =
        |value: &dyn Display| (Kind::OutOfRange, format!("invalid value {value}: must be {}", field.range()));
    let value = thresholds::get(wire, field).map_err(|error| match error {
        ValueError::Number(number) => out_of_range(&number),
        ValueError::Duration(error) => (Kind::OutOfRange, error.to_string()),
        ValueError::TooFine(duration) => {
            let range = field.range();
            let problem = format!("invalid value {duration:?}: must be {range}, no finer than a millisecond");
            (Kind::OutOfRange, problem)
        }
        ValueError::Unknown(number) => {
            (Kind::UnknownValue, format!("invalid value {number}: must be {}", field.range()))
        }
    })?;
    let Some(value) = value else { return Ok(()) };
    let shown = value.to_string();
    layer.set(field, value).map_err(|_| out_of_range(&shown))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use breaker::{Kind, Value};

    use super::*;

    /// A value of each field.
    fn whole() -> Layer {
        Field::ALL.iter().fold(Layer::default(), |layer, field| {
            let value = match field.kind() {
                Kind::Count { max, .. } => Value::Count(max),
                Kind::Rate => Value::Rate(33_333),
                Kind::Factor { min, .. } => Value::Factor(min + 1),
                Kind::Duration { .. } => Value::Duration(Duration::from_millis(1_500)),
                Kind::Flag => Value::Flag(true),
                Kind::Word(words) => Value::Word(words[1]),
                Kind::Classes => Value::Classes(vec!["NotFound".to_owned()]),
            };
            layer.with(*field, value).unwrap()
        })
    }

    #[test]
    fn every_field_goes_out_and_comes_back_as_it_was() {
        let mut violations = Violations::default();
        assert_eq!(layer_from_wire(&thresholds::from_layer(&whole()), &mut violations), whole());
        assert!(violations.is_empty(), "{violations}");
        for (field, value) in whole().iter() {
            let one = Layer::default().with(field, value.clone()).unwrap();
            assert_eq!(layer_from_wire(&thresholds::from_layer(&one), &mut violations), one, "{field}");
        }
        assert!(layer_from_wire(&v1::Thresholds::default(), &mut violations).is_empty());
    }

    #[test]
    fn every_wrong_value_is_named_with_its_range() {
        let wire = v1::Thresholds {
            failure_rate_threshold: Some(f64::NAN),
            slow_call_rate_threshold: Some(33.333_3),
            multiplier: Some(f64::INFINITY),
            randomization_factor: Some(-0.5),
            minimum_reporters: Some(0),
            wait_duration_in_open_state: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            max_wait: Some(prost_types::Duration { seconds: 1, nanos: 1 }),
            wait_interval: 9,
            ..v1::Thresholds::default()
        };
        let mut violations = Violations::default();
        assert!(layer_from_wire(&wire, &mut violations).is_empty());
        let text: Vec<_> =
            violations.named().iter().map(|fault| format!("{}: {}", fault.field, fault.problem)).collect();
        assert_eq!(
            text,
            [
                "thresholds.wait_duration_in_open_state: must not be negative",
                "thresholds.failure_rate_threshold: invalid value NaN: must be greater than 0 and at most 100 \
                 (percent, up to 3 decimals)",
                "thresholds.slow_call_rate_threshold: invalid value 33.3333: must be greater than 0 and at most 100 \
                 (percent, up to 3 decimals)",
                "thresholds.wait_interval: invalid value 9: must be FIXED or EXPONENTIAL",
                "thresholds.multiplier: invalid value inf: must be greater than 1 and at most 10 (up to 3 decimals)",
                "thresholds.randomization_factor: invalid value -0.5: must be at least 0 and less than 1 (up to 3 \
                 decimals)",
                "thresholds.max_wait: invalid value 1.000000001s: must be 1ms..=24h, no finer than a millisecond",
                "thresholds.minimum_reporters: invalid value 0: must be 1..=1000",
            ]
        );
    }
}
