//! What is wrong with a request, field by field.

use std::borrow::Cow;
use std::fmt::Write as _;

use breaker::{KeyError, KeyProblem};

/// Faults that are named of one request; more are only counted. A list of a thousand unknown states is told
/// as well by the first few, and trailers must stay small: clients commonly take 8 KiB.
const NAMED_MAX: usize = 8;

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
pub(crate) struct Fault {
    /// Its path within the request.
    pub(crate) field: Cow<'static, str>,
    pub(crate) kind: Kind,
    /// What is wrong, in words that stand behind the path.
    pub(crate) problem: String,
}

/// Every field at fault. Costs nothing as long as there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Faults {
    named: Vec<Fault>,
    unnamed: usize,
}

impl Faults {
    /// A single one.
    pub(crate) fn one(field: impl Into<Cow<'static, str>>, kind: Kind, problem: impl Into<String>) -> Self {
        let mut faults = Self::default();
        faults.add(field, kind, problem);
        faults
    }

    #[cold]
    pub(crate) fn add(
        &mut self,
        field: impl Into<Cow<'static, str>>,
        kind: Kind,
        problem: impl Into<String>,
    ) {
        if self.named.len() == NAMED_MAX {
            self.unnamed += 1;
            return;
        }
        self.named.push(Fault { field: field.into(), kind, problem: problem.into() });
    }

    /// Adds what is wrong with a part of a key, under the name that the request has for it.
    #[cold]
    pub(crate) fn add_key(&mut self, field: impl Into<Cow<'static, str>>, error: &KeyError) {
        let kind = match error.problem {
            KeyProblem::Empty => Kind::Required,
            KeyProblem::TooLong { .. } => Kind::TooLong,
            KeyProblem::Character { .. } => Kind::InvalidCharacter,
        };
        let told = error.to_string();
        let problem = told.strip_prefix(error.field).unwrap_or(&told).trim_start();
        self.add(field, kind, problem);
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

    pub(crate) fn named(&self) -> &[Fault] {
        &self.named
    }

    /// `value` if nothing was at fault.
    pub(crate) fn unless<T>(self, value: T) -> Result<T, Self> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, fault) in self.named.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{} {}", fault.field, fault.problem)?;
        }
        if self.unnamed > 0 {
            write!(f, "; and {} more", self.unnamed)?;
        }
        Ok(())
    }
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
