//! Violations of a request, field by field.

use std::borrow::Cow;
use std::fmt::Write as _;

use breaker::{KeyError, KeyProblem};

/// Bytes of the faults that are named of one request; more are only counted. They are sent twice, in the message and in the details, and
/// all of it must fit in the 8 KiB of trailers that clients commonly take.
const NAMED_BYTES_MAX: usize = 2_560;
/// What a fault costs beside its texts: its kind, and how the three are framed.
const FAULT_BYTES: usize = 24;

/// What kind of fault, for programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Required,
    TooLong,
    TooMany,
    InvalidCharacter,
    OutOfRange,
    UnknownValue,
    Forged,
    Mismatch,
    InvalidToken,
}

impl Kind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Required => "REQUIRED",
            Self::TooLong => "TOO_LONG",
            Self::TooMany => "TOO_MANY",
            Self::InvalidCharacter => "INVALID_CHARACTER",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::UnknownValue => "UNKNOWN_VALUE",
            Self::Forged => "FORGED",
            Self::Mismatch => "MISMATCH",
            Self::InvalidToken => "INVALID_TOKEN",
        }
    }
}

/// One field at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its path within the request.
    pub(crate) field: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// The problem, as text that follows the path and a colon.
    pub(crate) problem: String,
}

/// All violations of a request. Costs nothing as long as there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Violations {
    named: Vec<Violation>,
    named_bytes: usize,
    unnamed: usize,
}

impl Violations {
    /// A single one.
    pub(crate) fn one(field: impl Into<Cow<'static, str>>, kind: Kind, problem: impl Into<String>) -> Self {
        let mut violations = Self::default();
        violations.add(field, kind, problem);
        violations
    }

    #[cold]
    pub(crate) fn add(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        kind: Kind,
        problem: impl Into<String>,
    ) {
        let fault = Violation { field: field.into(), kind, problem: problem.into() };
        let bytes = FAULT_BYTES + sent_bytes(&fault.field) + sent_bytes(&fault.problem);
        // The first is always named. Behind one that did not fit none is: what is left out comes last.
        if self.unnamed > 0 || self.named_bytes > 0 && self.named_bytes + bytes > NAMED_BYTES_MAX {
            self.unnamed += 1;
            return;
        }
        self.named_bytes += bytes;
        self.named.push(fault);
    }

    /// Adds the problem of a part of a key, under the name of its field in the request.
    #[cold]
    pub(crate) fn add_key(&mut self, field: impl Into<Cow<'static, str>>, error: &KeyError) {
        self.add(field, kind_of(error), problem_of(error));
    }

    /// The same with an excerpt of the value, for those who read of it elsewhere than with the request.
    #[cold]
    pub(crate) fn add_value(&mut self, field: impl Into<Cow<'static, str>>, value: &str, error: &KeyError) {
        let problem = format!("invalid value \"{}\": {}", excerpt(value), problem_of(error));
        self.add(field, kind_of(error), problem);
    }

    /// Adds those of another.
    #[cold]
    pub(crate) fn add_all(&mut self, others: Self) {
        for fault in others.named {
            self.add(fault.field, fault.kind, fault.problem);
        }
        self.unnamed += others.unnamed;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.named.is_empty()
    }

    pub(crate) fn named(&self) -> &[Violation] {
        &self.named
    }

    /// `value` if nothing was at fault.
    pub(crate) fn unless<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::fmt::Display for Violations {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.named.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", fault.field, fault.problem)?;
        }
        if self.unnamed > 0 {
            write!(f, "; and {} more", self.unnamed)?;
        }
        Ok(())
    }
}

fn kind_of(error: &KeyError) -> Kind {
    match error.problem {
        KeyProblem::Empty => Kind::Required,
        KeyProblem::TooLong { .. } => Kind::TooLong,
        KeyProblem::Character { .. } => Kind::InvalidCharacter,
    }
}

/// Without the name that the field has in the machine.
fn problem_of(error: &KeyError) -> String {
    let text = error.to_string();
    text.strip_prefix(error.field).unwrap_or(&text).trim_start_matches([':', ' ']).to_owned()
}

/// Bytes of a text as a status message has it: a space, some signs and what is not ASCII are written with three for each byte.
fn sent_bytes(text: &str) -> usize {
    let as_it_is = |byte: u8| byte.is_ascii_graphic() && !b"\"#<>`?{}%".contains(&byte);
    text.bytes().map(|byte| if as_it_is(byte) { 1 } else { 3 }).sum()
}

/// A value from outside as it may be shown back: short, and without control characters.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS_MAX: usize = 64;
    let mut shown = String::new();
    for character in text.chars().take(CHARS_MAX) {
        // Cannot fail: a String takes everything.
        let _ = write!(shown, "{}", character.escape_debug());
    }
    if text.chars().nth(CHARS_MAX).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_is_named_as_long_as_it_fits() {
        let mut violations = Violations::default();
        for number in 0..21 {
            violations.add(
                format!("thresholds.field_{number}"),
                Kind::OutOfRange,
                "invalid value 120: must be greater than 0",
            );
        }
        assert_eq!((violations.named().len(), violations.unnamed), (21, 0));
        for number in 0..10_000 {
            violations.add(format!("services[{number}]"), Kind::InvalidCharacter, "invalid character \u{e4}");
        }
        assert_eq!(violations.named().len() + violations.unnamed, 10_021);
        assert!(violations.to_string().ends_with(&format!("; and {} more", violations.unnamed)));
        let sent = tonic::Status::from(super::super::status::Failure::from(violations));
        let mut headers = http::HeaderMap::new();
        sent.add_header(&mut headers).unwrap();
        let bytes: usize = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
        assert!((4_000..8_192).contains(&bytes), "{bytes}");
    }

    #[test]
    fn one_fault_is_named_however_long_it_is() {
        let violations = Violations::one("reason", Kind::TooLong, "x".repeat(2 * NAMED_BYTES_MAX));
        assert_eq!(violations.named().len(), 1);
    }
}
