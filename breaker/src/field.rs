//! One table of everything that can be set for a service: its name, its kind, its range, its meaning.
//!
//! The file, the API, the store and the documents all go through this table, so that a field cannot have
//! one range here and another there.

use std::fmt;
use std::time::Duration;

use crate::words::words;

/// What a service's thresholds take, in the table below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A whole number within a range.
    Count {
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// A percentage in (0, 100], kept in thousandths of a percent.
    Rate,
    /// A factor kept in thousandths, above `above` (or from it, when `closed`) and up to `max`
    /// (below it, when not `closed`).
    Factor {
        /// The bound below, in thousandths.
        min: u32,
        /// The bound above, in thousandths.
        max: u32,
        /// Which of the two bounds is itself allowed.
        bound: Bound,
    },
    /// A length of time.
    Duration {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
    },
    /// True or false.
    Flag,
    /// One of a few words.
    Word(&'static [&'static str]),
    /// A list of error classes.
    Classes,
}

/// Which end of a range belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// `(min, max]`
    Upper,
    /// `[min, max)`
    Lower,
}

/// A value for a field, of the field's kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A whole number.
    Count(u32),
    /// Thousandths of a percent.
    Rate(u32),
    /// Thousandths.
    Factor(u32),
    /// A length of time.
    Duration(Duration),
    /// True or false.
    Flag(bool),
    /// A word.
    Word(&'static str),
    /// Error classes.
    Classes(Vec<String>),
}

/// A number with at most three decimals in thousandths, as [`Value::Rate`] and [`Value::Factor`] hold it: 33.5 is
/// 33,500. None for what is finer, negative, no number, or above 4,294,967.295: nothing is rounded.
pub fn thousandths(number: f64) -> Option<u32> {
    let scaled = number * 1_000.0;
    let whole = scaled.round();
    // A decimal in binary misses its thousandth by far less than this, and a fourth decimal by far more.
    if (scaled - whole).abs() > 1e-6 || !(0.0..=f64::from(u32::MAX)).contains(&whole) {
        return None;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and within u32")]
    Some(whole as u32)
}

/// The most error classes a list may hold: they are compared one by one on every failure.
pub const CLASSES_MAX: usize = 64;
/// The most bytes of one error class.
pub const CLASS_BYTES_MAX: usize = 128;

const DAY: Duration = Duration::from_hours(24);
const NO_TIME: Duration = Duration::ZERO;
const MILLISECOND: Duration = Duration::from_millis(1);

macro_rules! fields {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $kind:expr;)+) => {
        words! {
            /// A field of a service's thresholds. The names are resilience4j's where it has one.
            Field {
                $($(#[$doc])* $variant = $name),+
            }
        }

        impl Field {
            /// What it takes.
            pub const fn kind(self) -> Kind {
                match self {
                    $(Self::$variant => $kind),+
                }
            }
        }
    };
}

fields! {
    /// Failures in a row that open. 0 is off.
    FailureThreshold = "failure_threshold", Kind::Count { min: 0, max: 1_000_000 };
    /// Successes in half-open that close. 0 is off.
    SuccessThreshold = "success_threshold", Kind::Count { min: 0, max: 1_000 };
    /// The wait in OPEN.
    Timeout = "timeout_seconds", Kind::Duration { min: MILLISECOND, max: DAY };
    /// The share of failures in the window that opens.
    FailureRateThreshold = "failure_rate_threshold", Kind::Rate;
    /// The share of slow calls in the window that opens.
    SlowCallRateThreshold = "slow_call_rate_threshold", Kind::Rate;
    /// A call that takes longer is slow.
    SlowCallDurationThreshold = "slow_call_duration_threshold", Kind::Duration { min: MILLISECOND, max: DAY };
    /// Failures in the window that open.
    FailureCountThreshold = "failure_count_threshold", Kind::Count { min: 1, max: 1_000_000 };
    /// Whether a slow success counts as a failure.
    SlowCallsAsFailures = "slow_calls_as_failures", Kind::Flag;
    /// Whether the window holds a number of calls or a length of time.
    SlidingWindowType = "sliding_window_type", Kind::Word(&["COUNT_BASED", "TIME_BASED"]);
    /// Calls, or seconds.
    SlidingWindowSize = "sliding_window_size", Kind::Count { min: 1, max: 10_000 };
    /// Calls the window must hold before a rate is judged.
    MinimumNumberOfCalls = "minimum_number_of_calls", Kind::Count { min: 1, max: 1_000_000 };
    /// Probes that may be out or completed in one half-open.
    PermittedCalls = "permitted_number_of_calls_in_half_open_state", Kind::Count { min: 1, max: 1_000 };
    /// How long a probe may be out before its place is given to another.
    HalfOpenPermitTimeout = "half_open_permit_timeout",
        Kind::Duration { min: Duration::from_millis(100), max: Duration::from_hours(1) };
    /// How long half-open may last from its first probe. 0 is without end.
    MaxWaitInHalfOpen = "max_wait_duration_in_half_open_state", Kind::Duration { min: NO_TIME, max: DAY };
    /// What half-open turns to when it lasted too long.
    StateAfterMaxWait = "transition_to_state_after_wait_duration", Kind::Word(&["OPEN", "CLOSED"]);
    /// Whether the wait grows when probes fail.
    WaitInterval = "wait_interval", Kind::Word(&["FIXED", "EXPONENTIAL"]);
    /// By how much an exponential wait grows each time.
    Multiplier = "multiplier", Kind::Factor { min: 1_000, max: 10_000, bound: Bound::Upper };
    /// By how much, up or down, a wait is drawn at random.
    RandomizationFactor = "randomization_factor", Kind::Factor { min: 0, max: 1_000, bound: Bound::Lower };
    /// The longest a wait may become.
    MaxWait = "max_wait", Kind::Duration { min: MILLISECOND, max: DAY };
    /// Whether a failure's `retry_after` can lengthen the wait.
    HonorRetryAfter = "honor_retry_after", Kind::Flag;
    /// Distinct callers that must have seen the trouble before the breaker opens.
    MinimumReporters = "minimum_reporters", Kind::Count { min: 1, max: 1_000 };
    /// Error classes that count as nothing.
    IgnoreErrorClasses = "ignore_error_classes", Kind::Classes;
    /// The only error classes that count as failures, when there are any.
    RecordErrorClasses = "record_error_classes", Kind::Classes;
}

/// How a count is written that is switched off.
pub const OFF: &str = "off";

impl Field {
    /// Other names it may stand under in a file, resilience4j's among them.
    pub const fn aliases(self) -> &'static [&'static str] {
        match self {
            Self::Timeout => &["wait_duration_in_open_state"],
            _ => &[],
        }
    }

    /// Whether 0 switches it off.
    pub const fn is_off_at_zero(self) -> bool {
        matches!(self, Self::FailureThreshold | Self::SuccessThreshold)
    }

    /// A value of it that is in force or was set, for people, and what it means that there is none: the same wherever it is
    /// shown.
    pub fn show(self, value: Option<&Value>) -> String {
        match value {
            None | Some(Value::Count(0)) if self.is_off_at_zero() => OFF.to_owned(),
            Some(Value::Duration(length)) if self == Self::MaxWaitInHalfOpen && length.is_zero() => {
                "none".to_owned()
            }
            None => "none".to_owned(),
            Some(value) => value.to_string(),
        }
    }

    /// Finds a field by its name or an alias.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::parse(name).or_else(|| Self::ALL.iter().copied().find(|field| field.aliases().contains(&name)))
    }

    /// What it takes, for people: `1..=1000`, `true or false`, `COUNT_BASED or TIME_BASED`.
    pub fn range(self) -> String {
        match self.kind() {
            Kind::Count { min, max } => format!("{min}..={max}"),
            Kind::Rate => "greater than 0 and at most 100 (percent, up to 3 decimals)".to_owned(),
            Kind::Factor { min, max, bound: Bound::Upper } => {
                format!("greater than {} and at most {} (up to 3 decimals)", Milli(min), Milli(max))
            }
            Kind::Factor { min, max, bound: Bound::Lower } => {
                format!("at least {} and less than {} (up to 3 decimals)", Milli(min), Milli(max))
            }
            Kind::Duration { min, max } => format!("{}..={}", HumanDuration(min), HumanDuration(max)),
            Kind::Flag => "true or false".to_owned(),
            Kind::Word(words) => words.join(" or "),
            Kind::Classes => {
                format!(
                    "at most {CLASSES_MAX} classes, each of 1 to {CLASS_BYTES_MAX} bytes, no control characters"
                )
            }
        }
    }

    /// Whether `value` is of this field's kind and in its range.
    pub(crate) fn accepts(self, value: &Value) -> bool {
        match (self.kind(), value) {
            (Kind::Count { min, max }, Value::Count(count)) => (min..=max).contains(count),
            (Kind::Rate, Value::Rate(rate)) => (1..=100_000).contains(rate),
            (Kind::Factor { min, max, bound }, Value::Factor(factor)) => match bound {
                Bound::Upper => *factor > min && *factor <= max,
                Bound::Lower => *factor >= min && *factor < max,
            },
            (Kind::Duration { min, max }, Value::Duration(duration)) => (min..=max).contains(duration),
            (Kind::Flag, Value::Flag(_)) => true,
            (Kind::Word(words), Value::Word(word)) => words.contains(word),
            (Kind::Classes, Value::Classes(classes)) => {
                // No report can have a control character in its class, and not every store can keep a NUL.
                let is_class = |class: &String| {
                    (1..=CLASS_BYTES_MAX).contains(&class.len()) && !class.chars().any(char::is_control)
                };
                classes.len() <= CLASSES_MAX && classes.iter().all(is_class)
            }
            _ => false,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => write!(f, "{count}"),
            Self::Rate(thousandths) | Self::Factor(thousandths) => write!(f, "{}", Milli(*thousandths)),
            Self::Duration(duration) => write!(f, "{}", HumanDuration(*duration)),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Word(word) => f.write_str(word),
            Self::Classes(classes) => write!(f, "{classes:?}"),
        }
    }
}

/// Thousandths, written without the zeros nobody needs.
struct Milli(u32);

impl fmt::Display for Milli {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000, self.0 % 1_000);
        if rest == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{rest:03}").trim_end_matches('0'))
    }
}

/// A duration as the file takes it, in the largest unit that leaves no rest: `250ms`, `90s`, `5m`, `2h`. The one spelling of
/// settings: in the audit, on the command line, in logs and errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HumanDuration(pub Duration);

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.subsec_nanos() != 0 {
            return write!(f, "{:?}", self.0);
        }
        match self.0.as_secs() {
            0 => f.write_str("0s"),
            s if s % 3_600 == 0 => write!(f, "{}h", s / 3_600),
            s if s % 60 == 0 => write!(f, "{}m", s / 60),
            s => write!(f, "{s}s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_name_and_by_its_other_name() {
        for field in Field::ALL {
            assert_eq!(Field::by_name(field.as_str()), Some(*field));
        }
        assert_eq!(Field::by_name("wait_duration_in_open_state"), Some(Field::Timeout));
        assert_eq!(Field::by_name("failure_treshold"), None);
    }

    #[test]
    fn ranges_read_as_a_person_writes_them() {
        assert_eq!(Field::Timeout.range(), "1ms..=24h");
        assert_eq!(Field::Multiplier.range(), "greater than 1 and at most 10 (up to 3 decimals)");
        assert_eq!(Field::RandomizationFactor.range(), "at least 0 and less than 1 (up to 3 decimals)");
        assert_eq!(Value::Rate(33_500).to_string(), "33.5");
        assert_eq!(Value::Duration(Duration::from_mins(10)).to_string(), "10m");
        for (millis, written) in
            [(0, "0s"), (250, "250ms"), (1_500, "1.5s"), (60_000, "1m"), (90_000, "90s"), (7_200_000, "2h")]
        {
            assert_eq!(HumanDuration(Duration::from_millis(millis)).to_string(), written);
        }
    }

    #[test]
    fn a_decimal_is_exact_to_the_thousandth_or_none() {
        for exact in (0..=100_000).chain([u32::MAX - 1, u32::MAX]) {
            assert_eq!(thousandths(f64::from(exact) / 1_000.0), Some(exact));
        }
        assert_eq!(thousandths(-0.0), Some(0));
        for none in [33.333_3, 0.000_1, -0.001, 4_294_967.296, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(thousandths(none), None, "{none}");
        }
    }

    #[test]
    fn each_range_ends_where_it_says() {
        let accepts = |field: Field, values: &[Value]| {
            values.iter().map(|value| field.accepts(value)).collect::<Vec<_>>()
        };
        let count = [0, 1, 1_000, 1_001].map(Value::Count);
        assert_eq!(accepts(Field::MinimumReporters, &count), [false, true, true, false]);
        let rate = [0, 1, 100_000, 100_001].map(Value::Rate);
        assert_eq!(accepts(Field::FailureRateThreshold, &rate), [false, true, true, false]);
        let factor = [1_000, 1_001, 10_000, 10_001].map(Value::Factor);
        assert_eq!(accepts(Field::Multiplier, &factor), [false, true, true, false]);
        let factor = [0, 1, 999, 1_000].map(Value::Factor);
        assert_eq!(accepts(Field::RandomizationFactor, &factor), [true, true, true, false]);
        let duration = [999, 1_000, 86_400_000_000, 86_400_000_001]
            .map(|micros| Value::Duration(Duration::from_micros(micros)));
        assert_eq!(accepts(Field::Timeout, &duration), [false, true, true, false]);
        let words = ["OPEN", "CLOSED", "FIXED"].map(Value::Word);
        assert_eq!(accepts(Field::StateAfterMaxWait, &words), [true, true, false]);
        let classes = [(0, 1), (64, 1), (65, 1), (1, 0), (1, 128), (1, 129)]
            .map(|(number, bytes)| Value::Classes(vec!["x".repeat(bytes); number]));
        assert_eq!(accepts(Field::IgnoreErrorClasses, &classes), [true, true, false, false, true, false]);
        assert!(Field::HonorRetryAfter.accepts(&Value::Flag(false)));
        assert!(!Field::HonorRetryAfter.accepts(&Value::Count(0)), "a value of another kind");
    }

    #[test]
    fn every_kind_of_value_and_range_is_written_for_people() {
        let written = |values: &[Value]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(
            written(&[
                Value::Count(7),
                Value::Rate(50_000),
                Value::Rate(33_333),
                Value::Factor(1_050),
                Value::Duration(Duration::from_secs(90)),
                Value::Flag(true),
                Value::Word("OPEN"),
                Value::Classes(vec!["timeout".to_owned()]),
            ]),
            ["7", "50", "33.333", "1.05", "90s", "true", "OPEN", "[\"timeout\"]"]
        );
        assert_eq!(Field::MinimumReporters.range(), "1..=1000");
        assert_eq!(
            Field::FailureRateThreshold.range(),
            "greater than 0 and at most 100 (percent, up to 3 decimals)"
        );
        assert_eq!(Field::HonorRetryAfter.range(), "true or false");
        assert_eq!(Field::SlidingWindowType.range(), "COUNT_BASED or TIME_BASED");
        assert_eq!(
            Field::IgnoreErrorClasses.range(),
            "at most 64 classes, each of 1 to 128 bytes, no control characters"
        );
    }

    #[test]
    fn a_field_that_is_off_or_has_no_value_says_so() {
        let seconds = |seconds| Value::Duration(Duration::from_secs(seconds));
        for field in Field::ALL {
            let is_off = matches!(field, Field::FailureThreshold | Field::SuccessThreshold);
            assert_eq!(field.is_off_at_zero(), is_off);
            assert_eq!(field.show(None), if is_off { OFF } else { "none" });
            assert_eq!(field.show(Some(&Value::Count(0))), if is_off { OFF } else { "0" });
            assert_eq!(field.show(Some(&Value::Count(5))), "5");
            let is_without_end = *field == Field::MaxWaitInHalfOpen;
            assert_eq!(field.show(Some(&seconds(0))), if is_without_end { "none" } else { "0s" });
            assert_eq!(field.show(Some(&seconds(5))), "5s");
        }
    }
}
