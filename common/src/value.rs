//! Values: from what was written to what it means, exactly.
//!
//! Nothing is rounded and nothing is clamped. Decimals are read as text, digit by digit, so that 33.333 is 33.333 and
//! 0.1 has no tail; one decimal too many is refused. The file's values have types and must be of the right one; a
//! variable's or a flag's text has none, and is read as what the setting takes.

use std::time::Duration;

use breaker::{Field, Kind, Value};
use toml::de::DeValue;

/// A value as it was given.
#[derive(Debug, Clone, Copy)]
pub enum RawValue<'a> {
    /// By the file.
    Toml(&'a DeValue<'a>),
    /// By a variable, a flag, or the table of settings.
    Text(&'a str),
}

/// Why a value is invalid: it is out of range, which the message names anyway, or for a reason worth a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvalidValue {
    /// What to write instead.
    pub hint: Option<String>,
}

impl InvalidValue {
    /// It is not in the range.
    pub const OUT_OF_RANGE: Self = Self { hint: None };

    /// It is not taken for a reason that helps.
    pub fn with_hint(hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()) }
    }
}

const WHOLE: &str = "a whole number, written without a decimal point";
const UNQUOTED: &str = "write it without quotes";
const QUOTED: &str = "write it in quotes";
const NO_EXPONENT: &str = "write it without an exponent";
const TOO_FINE: &str = "it has more than 3 decimals";
const TOO_FINE_TIME: &str = "no finer than a millisecond";
const TIMES: &str = "seconds as a number, or a text such as \"250ms\" or \"2m\"";

/// Parses a value by the type of `field`; `Layer::set` checks its range.
///
/// # Errors
/// [`InvalidValue`].
pub fn threshold(field: Field, given: RawValue<'_>) -> Result<Value, InvalidValue> {
    let narrow = |wide: u64| u32::try_from(wide).map_err(|_| InvalidValue::OUT_OF_RANGE);
    match field.kind() {
        Kind::Count { .. } => count(given).and_then(narrow).map(Value::Count),
        Kind::Rate => thousandths(given, TOO_FINE).and_then(narrow).map(Value::Rate),
        Kind::Factor { .. } => thousandths(given, TOO_FINE).and_then(narrow).map(Value::Factor),
        Kind::Duration { .. } => duration(given).map(Value::Duration),
        Kind::Flag => flag(given).map(Value::Flag),
        Kind::Word(words) => choice(given, words).map(Value::Word),
        Kind::Classes => classes(given).map(Value::Classes),
    }
}

/// A whole number, from 0.
///
/// # Errors
/// [`InvalidValue`].
pub fn count(given: RawValue<'_>) -> Result<u64, InvalidValue> {
    match given {
        RawValue::Text(text) => digits(text),
        RawValue::Toml(DeValue::Integer(integer)) => {
            u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| InvalidValue::OUT_OF_RANGE)
        }
        RawValue::Toml(DeValue::Float(_)) => Err(InvalidValue::with_hint(WHOLE)),
        RawValue::Toml(DeValue::String(text)) if digits(text).is_ok() => {
            Err(InvalidValue::with_hint(UNQUOTED))
        }
        RawValue::Toml(_) => Err(InvalidValue::OUT_OF_RANGE),
    }
}

/// A length of time: seconds, or a text with units.
///
/// # Errors
/// [`InvalidValue`].
pub fn duration(given: RawValue<'_>) -> Result<Duration, InvalidValue> {
    let text = match given {
        RawValue::Toml(DeValue::Integer(_) | DeValue::Float(_)) => {
            return thousandths(given, TOO_FINE_TIME).map(Duration::from_millis);
        }
        RawValue::Toml(DeValue::String(text)) => {
            if decimal(text, TOO_FINE_TIME).is_ok() {
                return Err(InvalidValue::with_hint(format!("{UNQUOTED}, or give it a unit")));
            }
            text
        }
        RawValue::Toml(_) => return Err(InvalidValue::with_hint(TIMES)),
        RawValue::Text(text)
            if text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with(char::is_alphabetic) =>
        {
            return decimal(text, TOO_FINE_TIME).map(Duration::from_millis);
        }
        RawValue::Text(text) => text,
    };
    let duration = humantime::parse_duration(text).map_err(|_| InvalidValue::with_hint(TIMES))?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(InvalidValue::with_hint(TOO_FINE_TIME));
    }
    Ok(duration)
}

/// True or false.
///
/// # Errors
/// [`InvalidValue`].
pub fn flag(given: RawValue<'_>) -> Result<bool, InvalidValue> {
    match given {
        RawValue::Toml(DeValue::Boolean(flag)) => Ok(*flag),
        RawValue::Toml(DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            Err(InvalidValue::with_hint(UNQUOTED))
        }
        RawValue::Text("true") => Ok(true),
        RawValue::Text("false") => Ok(false),
        RawValue::Toml(_) | RawValue::Text(_) => Err(InvalidValue::OUT_OF_RANGE),
    }
}

/// One of `words`, exactly.
///
/// # Errors
/// [`InvalidValue`].
pub fn choice(given: RawValue<'_>, words: &'static [&'static str]) -> Result<&'static str, InvalidValue> {
    let text = text(given)?;
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    Err(words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .map_or(InvalidValue::OUT_OF_RANGE, |word| InvalidValue::with_hint(format!("did you mean {word}?"))))
}

/// A text.
///
/// # Errors
/// [`InvalidValue`].
pub fn text(given: RawValue<'_>) -> Result<&str, InvalidValue> {
    match given {
        RawValue::Text(text) => Ok(text),
        RawValue::Toml(DeValue::String(text)) => Ok(text),
        RawValue::Toml(DeValue::Array(_) | DeValue::Table(_)) => Err(InvalidValue::OUT_OF_RANGE),
        RawValue::Toml(_) => Err(InvalidValue::with_hint(QUOTED)),
    }
}

/// A number of bytes: a whole number, or a text that ends in `KiB` or `MiB`.
///
/// # Errors
/// [`InvalidValue`].
pub fn bytes(given: RawValue<'_>) -> Result<u64, InvalidValue> {
    const BYTES: &str = "bytes as a number, or a text such as \"512KiB\" or \"4MiB\"";
    let text = match given {
        RawValue::Text(text) => text,
        RawValue::Toml(DeValue::String(text)) => text,
        RawValue::Toml(_) => return count(given).map_err(|_| InvalidValue::with_hint(BYTES)),
    };
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let of_unit = |(name, bytes)| text.strip_suffix(name).map(|number| (number, bytes));
    let (number, unit) = units.into_iter().find_map(of_unit).unwrap_or((text, 1));
    let number = digits(number.trim_end()).map_err(|_| InvalidValue::with_hint(BYTES))?;
    number.checked_mul(unit).ok_or(InvalidValue::OUT_OF_RANGE)
}

fn classes(given: RawValue<'_>) -> Result<Vec<String>, InvalidValue> {
    const LIST: &str = "a list of texts, such as [\"Timeout\", \"Refused\"]";
    let RawValue::Toml(DeValue::Array(list)) = given else {
        return Err(InvalidValue::with_hint(LIST));
    };
    let mut classes = Vec::new();
    for class in list {
        let DeValue::String(class) = class.get_ref() else {
            return Err(InvalidValue::with_hint(LIST));
        };
        if classes.len() == breaker::CLASSES_MAX {
            return Err(InvalidValue::OUT_OF_RANGE);
        }
        classes.push(class.clone().into_owned());
    }
    Ok(classes)
}

/// A number with at most three decimals, in thousandths.
fn thousandths(given: RawValue<'_>, too_fine: &'static str) -> Result<u64, InvalidValue> {
    match given {
        RawValue::Text(text) => decimal(text, too_fine),
        RawValue::Toml(DeValue::Float(float)) => decimal(float.as_str(), too_fine),
        RawValue::Toml(DeValue::Integer(_)) => {
            count(given)?.checked_mul(1_000).ok_or(InvalidValue::OUT_OF_RANGE)
        }
        RawValue::Toml(DeValue::String(text)) if decimal(text, too_fine).is_ok() => {
            Err(InvalidValue::with_hint(UNQUOTED))
        }
        RawValue::Toml(_) => Err(InvalidValue::OUT_OF_RANGE),
    }
}

/// Reads `12`, `12.5`, `12.500` as thousandths, exactly.
fn decimal(text: &str, too_fine: &'static str) -> Result<u64, InvalidValue> {
    let text = text.strip_prefix('+').unwrap_or(text);
    // `inf` and `nan` have no e; a number with one is finite.
    if text.contains(['e', 'E']) && text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(InvalidValue::with_hint(NO_EXPONENT));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole = digits(whole)?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidValue::OUT_OF_RANGE);
    }
    // Trailing zeros are insignificant: 12.5000 is 12.5.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 3 {
        return Err(InvalidValue::with_hint(too_fine));
    }
    let fraction = digits(&format!("{fraction:0<3}"))?;
    whole.checked_mul(1_000).and_then(|whole| whole.checked_add(fraction)).ok_or(InvalidValue::OUT_OF_RANGE)
}

/// Digits and nothing else: `parse` alone would take a sign.
fn digits(text: &str) -> Result<u64, InvalidValue> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(InvalidValue::OUT_OF_RANGE);
    }
    text.parse().map_err(|_| InvalidValue::OUT_OF_RANGE)
}
