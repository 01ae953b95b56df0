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
pub enum Given<'a> {
    /// By the file.
    Toml(&'a DeValue<'a>),
    /// By a variable, a flag, or the table of settings.
    Text(&'a str),
}

/// Why a value is invalid: it is out of range, which the message names anyway, or for a reason worth a hint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What to write instead.
    pub hint: Option<String>,
}

impl Refusal {
    /// It is not in the range.
    pub const PLAIN: Self = Self { hint: None };

    /// It is not taken for a reason that helps.
    pub fn because(hint: impl Into<String>) -> Self {
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
/// [`Refusal`].
pub fn threshold(field: Field, given: Given<'_>) -> Result<Value, Refusal> {
    let narrow = |wide: u64| u32::try_from(wide).map_err(|_| Refusal::PLAIN);
    match field.kind() {
        Kind::Count { .. } => count(given).and_then(narrow).map(Value::Count),
        Kind::Rate => thousandths(given, TOO_FINE).and_then(narrow).map(Value::Rate),
        Kind::Factor { .. } => thousandths(given, TOO_FINE).and_then(narrow).map(Value::Factor),
        Kind::Duration { .. } => duration(given).map(Value::Duration),
        Kind::Flag => flag(given).map(Value::Flag),
        Kind::Word(words) => word(given, words).map(Value::Word),
        Kind::Classes => classes(given).map(Value::Classes),
    }
}

/// A whole number, from 0.
///
/// # Errors
/// [`Refusal`].
pub fn count(given: Given<'_>) -> Result<u64, Refusal> {
    match given {
        Given::Text(text) => digits(text),
        Given::Toml(DeValue::Integer(integer)) => {
            u64::from_str_radix(integer.as_str(), integer.radix()).map_err(|_| Refusal::PLAIN)
        }
        Given::Toml(DeValue::Float(_)) => Err(Refusal::because(WHOLE)),
        Given::Toml(DeValue::String(text)) if digits(text).is_ok() => Err(Refusal::because(UNQUOTED)),
        Given::Toml(_) => Err(Refusal::PLAIN),
    }
}

/// A length of time: seconds, or a text with units.
///
/// # Errors
/// [`Refusal`].
pub fn duration(given: Given<'_>) -> Result<Duration, Refusal> {
    let text = match given {
        Given::Toml(DeValue::Integer(_) | DeValue::Float(_)) => {
            return thousandths(given, TOO_FINE_TIME).map(Duration::from_millis);
        }
        Given::Toml(DeValue::String(text)) => {
            if decimal(text, TOO_FINE_TIME).is_ok() {
                return Err(Refusal::because(format!("{UNQUOTED}, or give it a unit")));
            }
            text
        }
        Given::Toml(_) => return Err(Refusal::because(TIMES)),
        Given::Text(text)
            if text.starts_with(|c: char| c.is_ascii_digit()) && !text.ends_with(char::is_alphabetic) =>
        {
            return decimal(text, TOO_FINE_TIME).map(Duration::from_millis);
        }
        Given::Text(text) => text,
    };
    let duration = humantime::parse_duration(text).map_err(|_| Refusal::because(TIMES))?;
    if duration.subsec_nanos() % 1_000_000 != 0 {
        return Err(Refusal::because(TOO_FINE_TIME));
    }
    Ok(duration)
}

/// True or false.
///
/// # Errors
/// [`Refusal`].
pub fn flag(given: Given<'_>) -> Result<bool, Refusal> {
    match given {
        Given::Toml(DeValue::Boolean(flag)) => Ok(*flag),
        Given::Toml(DeValue::String(text)) if matches!(&**text, "true" | "false") => {
            Err(Refusal::because(UNQUOTED))
        }
        Given::Text("true") => Ok(true),
        Given::Text("false") => Ok(false),
        Given::Toml(_) | Given::Text(_) => Err(Refusal::PLAIN),
    }
}

/// One of `words`, exactly.
///
/// # Errors
/// [`Refusal`].
pub fn word(given: Given<'_>, words: &'static [&'static str]) -> Result<&'static str, Refusal> {
    let text = text(given)?;
    if let Some(word) = words.iter().find(|word| **word == text) {
        return Ok(word);
    }
    Err(words
        .iter()
        .find(|word| word.eq_ignore_ascii_case(text))
        .map_or(Refusal::PLAIN, |word| Refusal::because(format!("did you mean {word}?"))))
}

/// A text.
///
/// # Errors
/// [`Refusal`].
pub fn text(given: Given<'_>) -> Result<&str, Refusal> {
    match given {
        Given::Text(text) => Ok(text),
        Given::Toml(DeValue::String(text)) => Ok(text),
        Given::Toml(DeValue::Array(_) | DeValue::Table(_)) => Err(Refusal::PLAIN),
        Given::Toml(_) => Err(Refusal::because(QUOTED)),
    }
}

/// A number of bytes: a whole number, or a text that ends in `KiB` or `MiB`.
///
/// # Errors
/// [`Refusal`].
pub fn bytes(given: Given<'_>) -> Result<u64, Refusal> {
    const BYTES: &str = "bytes as a number, or a text such as \"512KiB\" or \"4MiB\"";
    let text = match given {
        Given::Text(text) => text,
        Given::Toml(DeValue::String(text)) => text,
        Given::Toml(_) => return count(given).map_err(|_| Refusal::because(BYTES)),
    };
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];
    let of_unit = |(name, bytes)| text.strip_suffix(name).map(|number| (number, bytes));
    let (number, unit) = units.into_iter().find_map(of_unit).unwrap_or((text, 1));
    let number = digits(number.trim_end()).map_err(|_| Refusal::because(BYTES))?;
    number.checked_mul(unit).ok_or(Refusal::PLAIN)
}

fn classes(given: Given<'_>) -> Result<Vec<String>, Refusal> {
    const LIST: &str = "a list of texts, such as [\"Timeout\", \"Refused\"]";
    let Given::Toml(DeValue::Array(list)) = given else {
        return Err(Refusal::because(LIST));
    };
    let mut classes = Vec::new();
    for class in list {
        let DeValue::String(class) = class.get_ref() else {
            return Err(Refusal::because(LIST));
        };
        if classes.len() == breaker::CLASSES_MAX {
            return Err(Refusal::PLAIN);
        }
        classes.push(class.clone().into_owned());
    }
    Ok(classes)
}

/// A number with at most three decimals, in thousandths.
fn thousandths(given: Given<'_>, too_fine: &'static str) -> Result<u64, Refusal> {
    match given {
        Given::Text(text) => decimal(text, too_fine),
        Given::Toml(DeValue::Float(float)) => decimal(float.as_str(), too_fine),
        Given::Toml(DeValue::Integer(_)) => count(given)?.checked_mul(1_000).ok_or(Refusal::PLAIN),
        Given::Toml(DeValue::String(text)) if decimal(text, too_fine).is_ok() => {
            Err(Refusal::because(UNQUOTED))
        }
        Given::Toml(_) => Err(Refusal::PLAIN),
    }
}

/// Reads `12`, `12.5`, `12.500` as thousandths, exactly.
fn decimal(text: &str, too_fine: &'static str) -> Result<u64, Refusal> {
    let text = text.strip_prefix('+').unwrap_or(text);
    // `inf` and `nan` have no e; a number with one is finite.
    if text.contains(['e', 'E']) && text.starts_with(|c: char| c.is_ascii_digit()) {
        return Err(Refusal::because(NO_EXPONENT));
    }
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let whole = digits(whole)?;
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::PLAIN);
    }
    // Trailing zeros are insignificant: 12.5000 is 12.5.
    let fraction = fraction.trim_end_matches('0');
    if fraction.len() > 3 {
        return Err(Refusal::because(too_fine));
    }
    let fraction = digits(&format!("{fraction:0<3}"))?;
    whole.checked_mul(1_000).and_then(|whole| whole.checked_add(fraction)).ok_or(Refusal::PLAIN)
}

/// Digits and nothing else: `parse` alone would take a sign.
fn digits(text: &str) -> Result<u64, Refusal> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Refusal::PLAIN);
    }
    text.parse().map_err(|_| Refusal::PLAIN)
}
