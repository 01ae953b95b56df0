//! Thresholds field by field: between the message and a layer.
//!
//! The table of fields (`breaker::Field`) has each field's range and says no to what is not in it; here values are
//! only brought into its form, and never rounded.

use std::time::Duration;

use breaker::{Field, Layer, Value, thousandths};

use super::super::violations::{Kind, Violations};
use super::times;
use crate::nearest::nearest;
use crate::proto::v1;

/// What is no finer than this is written the same in the file.
const GRAIN: Duration = Duration::from_millis(1);

/// A field's name in the message: the one that the file has, but for the wait.
pub(super) fn name(field: Field) -> &'static str {
    match field {
        Field::Timeout => "wait_duration_in_open_state",
        field => field.as_str(),
    }
}

/// The field of a mask's path.
pub(super) fn by_name(path: &str) -> Option<Field> {
    Field::by_name(path)
}

/// The name that a mask's path is most likely a slip of.
pub(super) fn near(path: &str) -> Option<&'static str> {
    nearest(path, Field::ALL.iter().map(|field| name(*field)))
}

/// Every name, for people.
pub(super) fn names() -> String {
    let names: Vec<_> = Field::ALL.iter().map(|field| name(*field)).collect();
    format!("valid fields are {}", names.join(", "))
}

/// The values that a message sets. What it leaves out is not in the layer.
pub(super) fn layer_from_wire(wire: &v1::Thresholds, violations: &mut Violations) -> Layer {
    let mut reader = Reader { layer: Layer::default(), violations };
    reader.count(Field::FailureThreshold, wire.failure_threshold);
    reader.count(Field::SuccessThreshold, wire.success_threshold);
    reader.duration(Field::Timeout, wire.wait_duration_in_open_state.as_ref());
    reader.rate(Field::FailureRateThreshold, wire.failure_rate_threshold);
    reader.rate(Field::SlowCallRateThreshold, wire.slow_call_rate_threshold);
    reader.duration(Field::SlowCallDurationThreshold, wire.slow_call_duration_threshold.as_ref());
    reader.count(Field::FailureCountThreshold, wire.failure_count_threshold);
    reader.flag(Field::SlowCallsAsFailures, wire.slow_calls_as_failures);
    reader.word(Field::SlidingWindowType, wire.sliding_window_type, |number| {
        match v1::SlidingWindowType::try_from(number).ok()? {
            v1::SlidingWindowType::Unspecified => None,
            v1::SlidingWindowType::CountBased => Some("COUNT_BASED"),
            v1::SlidingWindowType::TimeBased => Some("TIME_BASED"),
        }
    });
    reader.count(Field::SlidingWindowSize, wire.sliding_window_size);
    reader.count(Field::MinimumNumberOfCalls, wire.minimum_number_of_calls);
    reader.count(Field::PermittedCalls, wire.permitted_number_of_calls_in_half_open_state);
    reader.duration(Field::HalfOpenPermitTimeout, wire.half_open_permit_timeout.as_ref());
    reader.duration(Field::MaxWaitInHalfOpen, wire.max_wait_duration_in_half_open_state.as_ref());
    reader.word(Field::StateAfterMaxWait, wire.transition_to_state_after_wait_duration, |number| {
        match v1::State::try_from(number).ok()? {
            v1::State::Open => Some("OPEN"),
            v1::State::Closed => Some("CLOSED"),
            _ => None,
        }
    });
    reader.word(Field::WaitInterval, wire.wait_interval, |number| {
        match v1::WaitInterval::try_from(number).ok()? {
            v1::WaitInterval::Unspecified => None,
            v1::WaitInterval::Fixed => Some("FIXED"),
            v1::WaitInterval::Exponential => Some("EXPONENTIAL"),
        }
    });
    reader.factor(Field::Multiplier, wire.multiplier);
    reader.factor(Field::RandomizationFactor, wire.randomization_factor);
    reader.duration(Field::MaxWait, wire.max_wait.as_ref());
    reader.flag(Field::HonorRetryAfter, wire.honor_retry_after);
    reader.count(Field::MinimumReporters, wire.minimum_reporters);
    reader.classes(Field::IgnoreErrorClasses, &wire.ignore_error_classes);
    reader.classes(Field::RecordErrorClasses, &wire.record_error_classes);
    reader.layer
}

struct Reader<'a> {
    layer: Layer,
    violations: &'a mut Violations,
}

impl Reader<'_> {
    fn set(&mut self, field: Field, value: Value) {
        let shown = value.to_string();
        if self.layer.set(field, value).is_err() {
            self.refuse(field, &shown);
        }
    }

    #[cold]
    fn refuse(&mut self, field: Field, value: &str) {
        let problem = format!("invalid value {value}: must be {}", field.range());
        self.violations.add(path(field), Kind::OutOfRange, problem);
    }

    fn count(&mut self, field: Field, count: Option<u32>) {
        if let Some(count) = count {
            self.set(field, Value::Count(count));
        }
    }

    fn flag(&mut self, field: Field, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.set(field, Value::Flag(flag));
        }
    }

    fn rate(&mut self, field: Field, percent: Option<f64>) {
        self.thousandths(field, percent, Value::Rate);
    }

    fn factor(&mut self, field: Field, factor: Option<f64>) {
        self.thousandths(field, factor, Value::Factor);
    }

    fn thousandths(&mut self, field: Field, number: Option<f64>, make: fn(u32) -> Value) {
        let Some(number) = number else { return };
        match thousandths(number) {
            Some(thousandths) => self.set(field, make(thousandths)),
            None => self.refuse(field, &number.to_string()),
        }
    }

    fn duration(&mut self, field: Field, duration: Option<&prost_types::Duration>) {
        let mut violations = Violations::default();
        let read = times::not_negative(path(field), duration, &mut violations);
        self.violations.add_all(violations);
        let Some(duration) = read else { return };
        if !duration.as_nanos().is_multiple_of(GRAIN.as_nanos()) {
            let problem =
                format!("invalid value {duration:?}: must be {}, no finer than a millisecond", field.range());
            self.violations.add(path(field), Kind::OutOfRange, problem);
            return;
        }
        self.set(field, Value::Duration(duration));
    }

    fn word(&mut self, field: Field, number: i32, read: fn(i32) -> Option<&'static str>) {
        if number == 0 {
            return;
        }
        let Some(word) = read(number) else {
            let problem = format!("invalid value {number}: must be {}", field.range());
            self.violations.add(path(field), Kind::UnknownValue, problem);
            return;
        };
        self.set(field, Value::Word(word));
    }

    fn classes(&mut self, field: Field, classes: &[String]) {
        if !classes.is_empty() {
            self.set(field, Value::Classes(classes.to_vec()));
        }
    }
}

/// A field's path in a request. One text a field: what a fault keeps.
fn path(field: Field) -> String {
    format!("thresholds.{}", name(field))
}

/// A layer as it is shown: what it sets, and nothing else.
pub(super) fn layer_to_wire(layer: &Layer) -> v1::Thresholds {
    let mut wire = v1::Thresholds::default();
    for (field, value) in layer.iter() {
        match value {
            Value::Count(count) => {
                let place = match field {
                    Field::FailureThreshold => &mut wire.failure_threshold,
                    Field::SuccessThreshold => &mut wire.success_threshold,
                    Field::FailureCountThreshold => &mut wire.failure_count_threshold,
                    Field::SlidingWindowSize => &mut wire.sliding_window_size,
                    Field::MinimumNumberOfCalls => &mut wire.minimum_number_of_calls,
                    Field::PermittedCalls => &mut wire.permitted_number_of_calls_in_half_open_state,
                    _ => &mut wire.minimum_reporters,
                };
                *place = Some(*count);
            }
            Value::Rate(thousandths) | Value::Factor(thousandths) => {
                let place = match field {
                    Field::FailureRateThreshold => &mut wire.failure_rate_threshold,
                    Field::SlowCallRateThreshold => &mut wire.slow_call_rate_threshold,
                    Field::Multiplier => &mut wire.multiplier,
                    _ => &mut wire.randomization_factor,
                };
                *place = Some(super::words::percent(*thousandths));
            }
            Value::Duration(duration) => {
                let place = match field {
                    Field::Timeout => &mut wire.wait_duration_in_open_state,
                    Field::SlowCallDurationThreshold => &mut wire.slow_call_duration_threshold,
                    Field::HalfOpenPermitTimeout => &mut wire.half_open_permit_timeout,
                    Field::MaxWaitInHalfOpen => &mut wire.max_wait_duration_in_half_open_state,
                    _ => &mut wire.max_wait,
                };
                *place = Some(times::to_wire(*duration));
            }
            Value::Flag(flag) => match field {
                Field::SlowCallsAsFailures => wire.slow_calls_as_failures = Some(*flag),
                _ => wire.honor_retry_after = Some(*flag),
            },
            Value::Word(word) => match *word {
                "COUNT_BASED" => wire.sliding_window_type = v1::SlidingWindowType::CountBased as i32,
                "TIME_BASED" => wire.sliding_window_type = v1::SlidingWindowType::TimeBased as i32,
                "OPEN" => wire.transition_to_state_after_wait_duration = v1::State::Open as i32,
                "CLOSED" => wire.transition_to_state_after_wait_duration = v1::State::Closed as i32,
                "FIXED" => wire.wait_interval = v1::WaitInterval::Fixed as i32,
                _ => wire.wait_interval = v1::WaitInterval::Exponential as i32,
            },
            Value::Classes(classes) => match field {
                Field::IgnoreErrorClasses => wire.ignore_error_classes.clone_from(classes),
                _ => wire.record_error_classes.clone_from(classes),
            },
        }
    }
    wire
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A value of each field that is not what is built in.
    fn whole() -> Layer {
        let seconds = |n| Value::Duration(Duration::from_secs(n));
        let values = [
            (Field::FailureThreshold, Value::Count(4)),
            (Field::SuccessThreshold, Value::Count(3)),
            (Field::Timeout, Value::Duration(Duration::from_millis(1_500))),
            (Field::FailureRateThreshold, Value::Rate(33_333)),
            (Field::SlowCallRateThreshold, Value::Rate(100)),
            (Field::SlowCallDurationThreshold, seconds(2)),
            (Field::FailureCountThreshold, Value::Count(9)),
            (Field::SlowCallsAsFailures, Value::Flag(true)),
            (Field::SlidingWindowType, Value::Word("TIME_BASED")),
            (Field::SlidingWindowSize, Value::Count(30)),
            (Field::MinimumNumberOfCalls, Value::Count(40)),
            (Field::PermittedCalls, Value::Count(5)),
            (Field::HalfOpenPermitTimeout, seconds(7)),
            (Field::MaxWaitInHalfOpen, seconds(8)),
            (Field::StateAfterMaxWait, Value::Word("CLOSED")),
            (Field::WaitInterval, Value::Word("EXPONENTIAL")),
            (Field::Multiplier, Value::Factor(1_500)),
            (Field::RandomizationFactor, Value::Factor(1)),
            (Field::MaxWait, seconds(90)),
            (Field::HonorRetryAfter, Value::Flag(true)),
            (Field::MinimumReporters, Value::Count(2)),
            (Field::IgnoreErrorClasses, Value::Classes(vec!["NotFound".to_owned()])),
            (Field::RecordErrorClasses, Value::Classes(vec!["Timeout".to_owned()])),
        ];
        assert_eq!(values.len(), Field::ALL.len());
        values.into_iter().fold(Layer::default(), |layer, (field, value)| layer.with(field, value).unwrap())
    }

    #[test]
    fn every_field_goes_out_and_comes_back_as_it_was() {
        let mut violations = Violations::default();
        assert_eq!(layer_from_wire(&layer_to_wire(&whole()), &mut violations), whole());
        assert!(violations.is_empty(), "{violations}");
        for (field, value) in whole().iter() {
            let one = Layer::default().with(field, value.clone()).unwrap();
            assert_eq!(layer_from_wire(&layer_to_wire(&one), &mut violations), one, "{field}");
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
        let told: Vec<_> =
            violations.named().iter().map(|fault| format!("{}: {}", fault.field, fault.problem)).collect();
        assert_eq!(
            told,
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
