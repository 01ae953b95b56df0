//! What the result of a call says about the dependency.

use std::borrow::Cow;
use std::time::Duration;

/// What the result of a call says about the dependency.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Classified {
    /// The dependency works.
    Success,
    /// The dependency failed.
    Failure(Failure),
    /// The result says nothing about the dependency, such as a mistake of the caller.
    Ignored,
}

impl Classified {
    /// A failure of a class, for `ignore_error_classes` and `record_error_classes`: such as "timeout" or "503". Empty: none.
    /// At most 256 bytes without control characters; the rest is cut off.
    pub fn failure(class: impl Into<Cow<'static, str>>) -> Self {
        Self::Failure(Failure { class: sound(class.into()), retry_after: None })
    }

    /// The delay that the dependency requested. Anything but a failure has none.
    #[must_use]
    pub fn retry_after(mut self, retry_after: impl Into<Option<Duration>>) -> Self {
        if let Self::Failure(failure) = &mut self {
            failure.retry_after = retry_after.into();
        }
        self
    }
}

/// A failure of a dependency.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    pub(crate) class: Cow<'static, str>,
    pub(crate) retry_after: Option<Duration>,
}

/// A class as breakerd takes it: one that it refuses would cost the report.
fn sound(class: Cow<'static, str>) -> Cow<'static, str> {
    if class.len() <= breaker::CLASS_BYTES_MAX && !class.chars().any(char::is_control) {
        return class;
    }
    let mut cleaned: String = class.chars().filter(|c| !c.is_control()).collect();
    let end =
        (0..=breaker::CLASS_BYTES_MAX.min(cleaned.len())).rev().find(|end| cleaned.is_char_boundary(*end));
    cleaned.truncate(end.unwrap_or(0));
    cleaned.into()
}

/// Says what results of calls mean. Implemented by closures and functions.
///
/// ```
/// use breakerd_client::{Classified, Classify};
///
/// fn statuses(result: Result<&u16, &std::io::Error>) -> Classified {
///     match result {
///         Ok(429 | 500..) => Classified::failure("overloaded"),
///         Ok(400..) => Classified::Ignored,
///         Ok(_) => Classified::Success,
///         Err(error) => Classified::failure(error.kind().to_string()),
///     }
/// }
/// assert_eq!(statuses.classify(Ok(&404)), Classified::Ignored);
/// ```
pub trait Classify<T, E> {
    /// What `result` says about the dependency.
    fn classify(&self, result: Result<&T, &E>) -> Classified;
}

impl<T, E, F: Fn(Result<&T, &E>) -> Classified> Classify<T, E> for F {
    fn classify(&self, result: Result<&T, &E>) -> Classified {
        self(result)
    }
}

/// `Ok` is a success, `Err` a failure without a class.
#[derive(Debug, Clone, Copy, Default)]
pub struct ByResult;

impl<T, E> Classify<T, E> for ByResult {
    fn classify(&self, result: Result<&T, &E>) -> Classified {
        if result.is_ok() { Classified::Success } else { Classified::failure("") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_breakerd_would_refuse_is_cut_to_one_that_it_takes() {
        let Classified::Failure(failure) = Classified::failure("time\nout".to_owned()) else { panic!() };
        assert_eq!(failure.class, "timeout");
        let Classified::Failure(failure) = Classified::failure("é".repeat(200)) else { panic!() };
        assert_eq!(failure.class, "é".repeat(breaker::CLASS_BYTES_MAX / 2));
    }

    #[test]
    fn only_a_failure_has_a_delay_that_was_requested() {
        let delay = Duration::from_secs(7);
        assert_eq!(Classified::Success.retry_after(delay), Classified::Success);
        let Classified::Failure(failure) = Classified::failure("429").retry_after(delay) else { panic!() };
        assert_eq!(failure.retry_after, Some(delay));
    }
}
