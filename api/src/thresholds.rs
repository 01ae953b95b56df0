//! The message `Thresholds`, field by field of [`breaker::Field`], both ways.
//!
//! One table says which field of the message is which field of the domain. The range of a value is for [`breaker::Layer`] to
//! check; here values are only brought into the other form, and never rounded.

use std::time::Duration;

use breaker::{Field, Kind, Layer, Value, thousandths};

use crate::enums::ApiEnum;
use crate::time::{self, TimeError};
use crate::v1;

/// The file and the API write durations down to this.
const GRANULARITY: Duration = Duration::from_millis(1);

/// Why a field of the message has no value in the domain.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ValueError {
    /// A number that is negative, not finite, or has more than three decimals.
    #[error("invalid value {0}")]
    Number(f64),
    /// A duration that is not valid.
    #[error(transparent)]
    Duration(#[from] TimeError),
    /// A duration that is finer than a millisecond.
    #[error("invalid value {0:?}: finer than a millisecond")]
    TooFine(Duration),
    /// A number of an enum that is not known.
    #[error("invalid value {0}")]
    Unknown(i32),
}

/// A type of a field of the message.
trait Wire {
    fn read(&self, field: Field) -> Result<Option<Value>, ValueError>;

    /// Writes a value of the type's kind; any other writes nothing.
    fn write(&mut self, value: &Value);
}

macro_rules! table {
    ($($field:ident = $member:ident $(as $api:ident)?;)+) => {
        /// What a field is called in the message and in masks.
        pub const fn name(field: Field) -> &'static str {
            match field {
                $(Field::$field => stringify!($member),)+
            }
        }

        /// The value of a field. None: the message does not set it.
        ///
        /// # Errors
        /// [`ValueError`]. A value that is read may still be outside of the field's range.
        pub fn get(wire: &v1::Thresholds, field: Field) -> Result<Option<Value>, ValueError> {
            match field {
                $(Field::$field => table!(@read wire.$member, $field $(, $api)?),)+
            }
        }

        /// Sets a field to a value of its kind; a value of another kind sets nothing.
        pub fn set(wire: &mut v1::Thresholds, field: Field, value: &Value) {
            match field {
                $(Field::$field => table!(@write wire.$member, value $(, $api)?),)+
            }
        }
    };
    (@read $wire:ident.$member:ident, $field:ident) => { $wire.$member.read(Field::$field) };
    (@read $wire:ident.$member:ident, $field:ident, $api:ident) => { read_enum::<v1::$api>($wire.$member) };
    (@write $wire:ident.$member:ident, $value:ident) => { $wire.$member.write($value) };
    (@write $wire:ident.$member:ident, $value:ident, $api:ident) => {
        write_enum::<v1::$api>(&mut $wire.$member, $value)
    };
}

table! {
    FailureThreshold = failure_threshold;
    SuccessThreshold = success_threshold;
    Timeout = wait_duration_in_open_state;
    FailureRateThreshold = failure_rate_threshold;
    SlowCallRateThreshold = slow_call_rate_threshold;
    SlowCallDurationThreshold = slow_call_duration_threshold;
    FailureCountThreshold = failure_count_threshold;
    SlowCallsAsFailures = slow_calls_as_failures;
    SlidingWindowType = sliding_window_type as SlidingWindowType;
    SlidingWindowSize = sliding_window_size;
    MinimumNumberOfCalls = minimum_number_of_calls;
    PermittedCalls = permitted_number_of_calls_in_half_open_state;
    HalfOpenPermitTimeout = half_open_permit_timeout;
    MaxWaitInHalfOpen = max_wait_duration_in_half_open_state;
    StateAfterMaxWait = transition_to_state_after_wait_duration as State;
    WaitInterval = wait_interval as WaitInterval;
    Multiplier = multiplier;
    RandomizationFactor = randomization_factor;
    MaxWait = max_wait;
    HonorRetryAfter = honor_retry_after;
    MinimumReporters = minimum_reporters;
    IgnoreErrorClasses = ignore_error_classes;
    RecordErrorClasses = record_error_classes;
}

/// What a layer sets, and nothing else.
pub fn from_layer(layer: &Layer) -> v1::Thresholds {
    let mut wire = v1::Thresholds::default();
    for (field, value) in layer.iter() {
        set(&mut wire, field, value);
    }
    wire
}

/// Thousandths as the API has them, a number with up to three decimals: rates in percent, and factors.
pub fn decimal(thousandths: u32) -> f64 {
    f64::from(thousandths) / 1_000.0
}

impl Wire for Option<u32> {
    fn read(&self, _field: Field) -> Result<Option<Value>, ValueError> {
        Ok(self.map(Value::Count))
    }

    fn write(&mut self, value: &Value) {
        if let Value::Count(count) = value {
            *self = Some(*count);
        }
    }
}

impl Wire for Option<bool> {
    fn read(&self, _field: Field) -> Result<Option<Value>, ValueError> {
        Ok(self.map(Value::Flag))
    }

    fn write(&mut self, value: &Value) {
        if let Value::Flag(flag) = value {
            *self = Some(*flag);
        }
    }
}

impl Wire for Option<f64> {
    fn read(&self, field: Field) -> Result<Option<Value>, ValueError> {
        let Some(number) = *self else { return Ok(None) };
        let thousandths = thousandths(number).ok_or(ValueError::Number(number))?;
        Ok(Some(match field.kind() {
            Kind::Factor { .. } => Value::Factor(thousandths),
            _ => Value::Rate(thousandths),
        }))
    }

    fn write(&mut self, value: &Value) {
        if let Value::Rate(thousandths) | Value::Factor(thousandths) = value {
            *self = Some(decimal(*thousandths));
        }
    }
}

impl Wire for Option<prost_types::Duration> {
    fn read(&self, _field: Field) -> Result<Option<Value>, ValueError> {
        let Some(wire) = *self else { return Ok(None) };
        let duration = time::duration(wire)?;
        if !duration.as_nanos().is_multiple_of(GRANULARITY.as_nanos()) {
            return Err(ValueError::TooFine(duration));
        }
        Ok(Some(Value::Duration(duration)))
    }

    fn write(&mut self, value: &Value) {
        if let Value::Duration(duration) = value {
            *self = Some(time::to_duration(*duration));
        }
    }
}

impl Wire for Vec<String> {
    fn read(&self, _field: Field) -> Result<Option<Value>, ValueError> {
        Ok((!self.is_empty()).then(|| Value::Classes(self.clone())))
    }

    fn write(&mut self, value: &Value) {
        if let Value::Classes(classes) = value {
            self.clone_from(classes);
        }
    }
}

fn read_enum<Api: ApiEnum>(number: i32) -> Result<Option<Value>, ValueError> {
    if number == 0 {
        return Ok(None);
    }
    Api::name_of(number).map(|name| Some(Value::Word(name))).ok_or(ValueError::Unknown(number))
}

fn write_enum<Api: ApiEnum + Into<i32>>(number: &mut i32, value: &Value) {
    if let Value::Word(word) = value
        && let Some(named) = Api::from_name(word)
    {
        *number = named.into();
    }
}

#[cfg(test)]
mod tests {

    use super::*;

    /// Something that `field` takes.
    fn sample(field: Field) -> Value {
        match field.kind() {
            Kind::Count { max, .. } => Value::Count(max),
            Kind::Rate => Value::Rate(33_333),
            Kind::Factor { .. } => Value::Factor(1_000),
            Kind::Duration { max, .. } => Value::Duration(max),
            Kind::Flag => Value::Flag(true),
            Kind::Word(words) => Value::Word(words[1]),
            Kind::Classes => Value::Classes(vec!["Timeout".to_owned()]),
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was_set_and_no_other_with_it() {
        for field in Field::ALL {
            let mut wire = v1::Thresholds::default();
            set(&mut wire, *field, &sample(*field));
            for other in Field::ALL {
                let expected = (field == other).then(|| sample(*field));
                assert_eq!(get(&wire, *other), Ok(expected), "{other} after {field} was set");
            }
        }
    }

    #[test]
    fn a_value_of_another_kind_sets_nothing() {
        let mut wire = v1::Thresholds::default();
        set(&mut wire, Field::FailureThreshold, &Value::Flag(true));
        set(&mut wire, Field::SlidingWindowType, &Value::Word("AJAR"));
        set(&mut wire, Field::MaxWait, &Value::Count(1));
        assert_eq!(wire, v1::Thresholds::default());
    }

    #[test]
    fn nothing_is_rounded() {
        let wire = v1::Thresholds {
            failure_rate_threshold: Some(33.333_3),
            multiplier: Some(f64::INFINITY),
            max_wait: Some(prost_types::Duration { seconds: 1, nanos: 1 }),
            wait_duration_in_open_state: Some(prost_types::Duration { seconds: -1, nanos: 0 }),
            wait_interval: 9,
            ..v1::Thresholds::default()
        };
        assert_eq!(get(&wire, Field::FailureRateThreshold), Err(ValueError::Number(33.333_3)));
        assert_eq!(get(&wire, Field::Multiplier), Err(ValueError::Number(f64::INFINITY)));
        assert_eq!(get(&wire, Field::MaxWait), Err(ValueError::TooFine(Duration::new(1, 1))));
        assert_eq!(get(&wire, Field::Timeout), Err(ValueError::Duration(TimeError::Negative)));
        assert_eq!(get(&wire, Field::WaitInterval), Err(ValueError::Unknown(9)));
    }
}
