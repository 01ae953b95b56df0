//! `field=value`, as typed on a command line: the names and values of the file, without its quotes.

use breaker::{Field, Kind, Layer, Value};

use crate::nearest::nearest;
use crate::value::{self, RawValue};

/// Reads `timeout_seconds=90`, `ignore_error_classes=Cancelled,NotFound`.
///
/// # Errors
/// A message for people: unknown field (with the nearest name), or invalid value.
pub fn assignment(text: &str) -> Result<(Field, Value), String> {
    let Some((name, given)) = text.split_once('=') else {
        return Err(format!("`{text}`: must be field=value, such as timeout_seconds=90"));
    };
    let field = field(name)?;
    let refused = |hint: Option<String>| {
        let hint = hint.map_or_else(String::new, |hint| format!(": {hint}"));
        format!("{name}: invalid value `{given}`: must be {}{hint}", field.range())
    };
    let value = match field.kind() {
        Kind::Classes => classes(given).ok_or_else(|| {
            refused(Some("separate them by commas; to remove a list, use `config unset`".to_owned()))
        })?,
        _ => value::threshold(field, RawValue::Text(given)).map_err(|invalid| refused(invalid.hint))?,
    };
    Layer::default().set(field, value.clone()).map_err(|_| refused(None))?;
    Ok((field, value))
}

/// The field of that name, or of that other name.
///
/// # Errors
/// That there is none, and which was probably meant.
pub fn field(name: &str) -> Result<Field, String> {
    let names = Field::ALL
        .iter()
        .flat_map(|field| std::iter::once(field.as_str()).chain(field.aliases().iter().copied()));
    // In the file's [circuit_breaker] a field may have that prefix.
    let short = name.strip_prefix("default_").unwrap_or(name);
    Field::by_name(name).ok_or_else(|| match nearest(short, names) {
        Some(near) => format!("unknown field `{name}`: did you mean {near}?"),
        None => format!("unknown field `{name}`: list all fields with `breakerd config get SERVICE`"),
    })
}

/// A list without an entry, or with an empty one, is an error.
fn classes(text: &str) -> Option<Value> {
    let classes: Vec<_> = text.split(',').map(|class| class.trim().to_owned()).collect();
    classes.iter().all(|class| !class.is_empty()).then_some(Value::Classes(classes))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_typed_is_read_as_the_file_has_it() {
        for (text, expected) in [
            ("timeout_seconds=90", (Field::Timeout, Value::Duration(Duration::from_secs(90)))),
            ("wait_duration_in_open_state=2min", (Field::Timeout, Value::Duration(Duration::from_mins(2)))),
            ("failure_rate_threshold=33.5", (Field::FailureRateThreshold, Value::Rate(33_500))),
            ("failure_threshold=0", (Field::FailureThreshold, Value::Count(0))),
            ("sliding_window_type=TIME_BASED", (Field::SlidingWindowType, Value::Word("TIME_BASED"))),
            ("honor_retry_after=true", (Field::HonorRetryAfter, Value::Flag(true))),
            (
                "ignore_error_classes=A, B",
                (Field::IgnoreErrorClasses, Value::Classes(vec!["A".to_owned(), "B".to_owned()])),
            ),
        ] {
            assert_eq!(assignment(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn a_duration_is_taken_as_it_is_written_and_means_the_same() {
        for millis in
            [1, 250, 1_000, 1_500, 59_000, 60_000, 90_000, 90_500, 120_000, 3_600_000, 5_400_000, 86_400_000]
        {
            let value = Value::Duration(Duration::from_millis(millis));
            assert_eq!(assignment(&format!("timeout_seconds={value}")), Ok((Field::Timeout, value)));
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_what_would_be_right() {
        for (text, message) in [
            ("timeout_seconds", "`timeout_seconds`: must be field=value, such as timeout_seconds=90"),
            ("timeout_secnds=9", "unknown field `timeout_secnds`: did you mean timeout_seconds?"),
            ("default_max_wait=9", "unknown field `default_max_wait`: did you mean max_wait?"),
            ("listen=9", "unknown field `listen`: list all fields with `breakerd config get SERVICE`"),
            ("failure_threshold=many", "failure_threshold: invalid value `many`: must be 0..=1000000"),
            (
                "failure_rate_threshold=101",
                "failure_rate_threshold: invalid value `101`: must be greater than 0 and at most 100 (percent, up to \
                 3 decimals)",
            ),
            (
                "sliding_window_type=time_based",
                "sliding_window_type: invalid value `time_based`: must be COUNT_BASED or TIME_BASED: did you mean \
                 TIME_BASED?",
            ),
            (
                "ignore_error_classes=",
                "ignore_error_classes: invalid value ``: must be at most 64 classes, each of 1 to 128 bytes, no \
                 control characters: separate them by commas; to remove a list, use `config unset`",
            ),
        ] {
            assert_eq!(assignment(text).unwrap_err(), message);
        }
    }
}
