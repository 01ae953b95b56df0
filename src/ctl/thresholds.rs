//! The API's thresholds, field by field of `breaker::Field`: the names and the spelling of the file.

use std::time::Duration;

use breaker::{Field, Origin, Value};

use super::words;
use crate::proto::v1::{ServiceConfig, SlidingWindowType, State, Thresholds, WaitInterval};

/// The field's name in the API's messages and masks.
pub(super) fn path(field: Field) -> &'static str {
    match field {
        Field::Timeout => "wait_duration_in_open_state",
        _ => field.as_str(),
    }
}

/// A field's value; none: it is absent.
pub(super) fn get(from: &Thresholds, field: Field) -> Option<Value> {
    match field {
        Field::FailureThreshold => from.failure_threshold.map(Value::Count),
        Field::SuccessThreshold => from.success_threshold.map(Value::Count),
        Field::Timeout => duration(from.wait_duration_in_open_state.as_ref()),
        Field::FailureRateThreshold => from.failure_rate_threshold.map(thousandths).map(Value::Rate),
        Field::SlowCallRateThreshold => from.slow_call_rate_threshold.map(thousandths).map(Value::Rate),
        Field::SlowCallDurationThreshold => duration(from.slow_call_duration_threshold.as_ref()),
        Field::FailureCountThreshold => from.failure_count_threshold.map(Value::Count),
        Field::SlowCallsAsFailures => from.slow_calls_as_failures.map(Value::Flag),
        Field::SlidingWindowType => word(from.sliding_window_type().as_str_name(), "SLIDING_WINDOW_TYPE_"),
        Field::SlidingWindowSize => from.sliding_window_size.map(Value::Count),
        Field::MinimumNumberOfCalls => from.minimum_number_of_calls.map(Value::Count),
        Field::PermittedCalls => from.permitted_number_of_calls_in_half_open_state.map(Value::Count),
        Field::HalfOpenPermitTimeout => duration(from.half_open_permit_timeout.as_ref()),
        Field::MaxWaitInHalfOpen => duration(from.max_wait_duration_in_half_open_state.as_ref()),
        Field::StateAfterMaxWait => {
            word(from.transition_to_state_after_wait_duration().as_str_name(), "STATE_")
        }
        Field::WaitInterval => word(from.wait_interval().as_str_name(), "WAIT_INTERVAL_"),
        Field::Multiplier => from.multiplier.map(thousandths).map(Value::Factor),
        Field::RandomizationFactor => from.randomization_factor.map(thousandths).map(Value::Factor),
        Field::MaxWait => duration(from.max_wait.as_ref()),
        Field::HonorRetryAfter => from.honor_retry_after.map(Value::Flag),
        Field::MinimumReporters => from.minimum_reporters.map(Value::Count),
        Field::IgnoreErrorClasses => classes(&from.ignore_error_classes),
        Field::RecordErrorClasses => classes(&from.record_error_classes),
    }
}

/// Sets a field to a value of its kind; a value of another kind sets nothing.
pub(super) fn set(on: &mut Thresholds, field: Field, value: Value) {
    match value {
        Value::Count(count) => {
            let place = match field {
                Field::FailureThreshold => &mut on.failure_threshold,
                Field::SuccessThreshold => &mut on.success_threshold,
                Field::FailureCountThreshold => &mut on.failure_count_threshold,
                Field::SlidingWindowSize => &mut on.sliding_window_size,
                Field::MinimumNumberOfCalls => &mut on.minimum_number_of_calls,
                Field::PermittedCalls => &mut on.permitted_number_of_calls_in_half_open_state,
                Field::MinimumReporters => &mut on.minimum_reporters,
                _ => return,
            };
            *place = Some(count);
        }
        Value::Rate(number) | Value::Factor(number) => {
            let place = match field {
                Field::FailureRateThreshold => &mut on.failure_rate_threshold,
                Field::SlowCallRateThreshold => &mut on.slow_call_rate_threshold,
                Field::Multiplier => &mut on.multiplier,
                Field::RandomizationFactor => &mut on.randomization_factor,
                _ => return,
            };
            *place = Some(f64::from(number) / 1_000.0);
        }
        Value::Duration(length) => {
            let place = match field {
                Field::Timeout => &mut on.wait_duration_in_open_state,
                Field::SlowCallDurationThreshold => &mut on.slow_call_duration_threshold,
                Field::HalfOpenPermitTimeout => &mut on.half_open_permit_timeout,
                Field::MaxWaitInHalfOpen => &mut on.max_wait_duration_in_half_open_state,
                Field::MaxWait => &mut on.max_wait,
                _ => return,
            };
            // Its range ends long before the wire's.
            *place = length.try_into().ok();
        }
        Value::Flag(flag) => {
            let place = match field {
                Field::SlowCallsAsFailures => &mut on.slow_calls_as_failures,
                Field::HonorRetryAfter => &mut on.honor_retry_after,
                _ => return,
            };
            *place = Some(flag);
        }
        Value::Word(word) => match field {
            Field::SlidingWindowType => {
                let named = SlidingWindowType::from_str_name(&format!("SLIDING_WINDOW_TYPE_{word}"));
                on.set_sliding_window_type(named.unwrap_or_default());
            }
            Field::StateAfterMaxWait => {
                let named = State::from_str_name(&format!("STATE_{word}"));
                on.set_transition_to_state_after_wait_duration(named.unwrap_or_default());
            }
            Field::WaitInterval => {
                let named = WaitInterval::from_str_name(&format!("WAIT_INTERVAL_{word}"));
                on.set_wait_interval(named.unwrap_or_default());
            }
            _ => {}
        },
        Value::Classes(classes) => match field {
            Field::IgnoreErrorClasses => on.ignore_error_classes = classes,
            Field::RecordErrorClasses => on.record_error_classes = classes,
            _ => {}
        },
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` clamps, and a rate is far from both ends"
)]
fn thousandths(number: f64) -> u32 {
    (number * 1_000.0).round() as u32
}

fn duration(wire: Option<&prost_types::Duration>) -> Option<Value> {
    wire.and_then(|wire| Duration::try_from(*wire).ok()).map(Value::Duration)
}

fn word(name: &'static str, prefix: &str) -> Option<Value> {
    name.strip_prefix(prefix).filter(|word| *word != "UNSPECIFIED").map(Value::Word)
}

fn classes(list: &[String]) -> Option<Value> {
    (!list.is_empty()).then(|| Value::Classes(list.to_vec()))
}

/// Where a value comes from of which the answer does not say it.
pub(super) const DEFAULTS: &str = Origin::BuiltIn.as_str();

/// The value in force of a field, and the layer it comes from.
pub(super) fn field_of(config: &ServiceConfig, field: Field) -> (String, &'static str) {
    let value = config.thresholds.as_ref().and_then(|judged_by| get(judged_by, field));
    let layer = config.layers.get(path(field)).copied().map_or(DEFAULTS, words::layer);
    (value.map_or_else(|| "none".to_owned(), |value| value.to_string()), layer)
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    /// Something that `field` takes.
    fn sample(field: Field) -> Value {
        match field.kind() {
            breaker::Kind::Count { max, .. } => Value::Count(max),
            breaker::Kind::Rate => Value::Rate(33_333),
            breaker::Kind::Factor { .. } => Value::Factor(1_000),
            breaker::Kind::Duration { max, .. } => Value::Duration(max),
            breaker::Kind::Flag => Value::Flag(true),
            breaker::Kind::Word(words) => Value::Word(words[1]),
            breaker::Kind::Classes => Value::Classes(vec!["Timeout".to_owned()]),
        }
    }

    #[test]
    fn every_field_comes_back_as_it_was_set_and_no_other_with_it() {
        for field in Field::ALL {
            let mut wire = Thresholds::default();
            set(&mut wire, *field, sample(*field));
            for other in Field::ALL {
                let expected = (field == other).then(|| sample(*field));
                assert_eq!(get(&wire, *other), expected, "{other} after {field} was set");
            }
        }
    }

    #[test]
    fn the_paths_are_those_of_the_api() {
        let pool = DescriptorPool::decode(crate::proto::FILE_DESCRIPTOR_SET).unwrap();
        let message = pool.get_message_by_name("breakerd.v1.Thresholds").unwrap();
        for field in Field::ALL {
            assert!(message.get_field_by_name(path(*field)).is_some(), "{field}");
        }
        assert_eq!(message.fields().len(), Field::ALL.len());
    }
}
