//! Durations and points in time.

use std::borrow::Cow;
use std::time::Duration;

use breaker::Time;

use super::super::violations::{Kind, Violations};

/// google.protobuf.Duration's own range: ten thousand years.
const SECONDS_MAX: i64 = 315_576_000_000;
/// google.protobuf.Timestamp's own range: the years 1 to 9999.
const TIMESTAMPS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS_MAX: i32 = 999_999_999;

/// A duration that may be left out, and may not be negative.
pub(super) fn not_negative(
    field: impl Into<Cow<'static, str>>,
    duration: Option<&prost_types::Duration>,
    violations: &mut Violations,
) -> Option<Duration> {
    let prost_types::Duration { seconds, nanos } = *duration?;
    if let (Ok(secs), Ok(subsec_nanos)) = (u64::try_from(seconds), u32::try_from(nanos))
        && seconds <= SECONDS_MAX
        && nanos <= NANOS_MAX
    {
        return Some(Duration::new(secs, subsec_nanos));
    }
    let problem = if !(-NANOS_MAX..=NANOS_MAX).contains(&nanos) {
        format!("invalid nanos {nanos}: must be at most {NANOS_MAX}")
    } else if (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
        "seconds and nanos must have the same sign".to_owned()
    } else if seconds < 0 || nanos < 0 {
        "must not be negative".to_owned()
    } else {
        format!("invalid seconds {seconds}: must be at most {SECONDS_MAX}")
    };
    violations.add(field, Kind::OutOfRange, problem);
    None
}

/// A bound of a range of times. We keep microseconds, so a bound between two of them is the later one; what
/// lies before 1970 lies before everything we know.
pub(super) fn bound(
    field: &'static str,
    timestamp: Option<&prost_types::Timestamp>,
    violations: &mut Violations,
) -> Option<Time> {
    let prost_types::Timestamp { seconds, nanos } = *timestamp?;
    if !TIMESTAMPS.contains(&seconds) || !(0..=NANOS_MAX).contains(&nanos) {
        let problem = "invalid timestamp: must be in the years 1 to 9999, with nanos from 0 to 999999999";
        violations.add(field, Kind::OutOfRange, problem);
        return None;
    }
    let (Ok(secs), Ok(subsec_nanos)) = (u64::try_from(seconds), u64::try_from(nanos)) else {
        return Some(Time::ZERO);
    };
    Some(Time::from_micros(secs * 1_000_000 + subsec_nanos.div_ceil(1_000)))
}

pub(super) fn to_wire(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(SECONDS_MAX).min(SECONDS_MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos().cast_signed() }
}

pub(super) fn timestamp(time: Time) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(*TIMESTAMPS.end()).min(*TIMESTAMPS.end());
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(seconds: i64, nanos: i32) -> Result<Duration, String> {
        let mut violations = Violations::default();
        let duration = not_negative("it", Some(&prost_types::Duration { seconds, nanos }), &mut violations);
        match duration {
            Some(duration) if violations.is_empty() => Ok(duration),
            _ => Err(violations.to_string()),
        }
    }

    #[test]
    fn only_a_duration_from_zero_on_is_taken() {
        assert_eq!(read(0, 0), Ok(Duration::ZERO));
        assert_eq!(read(1, 5), Ok(Duration::new(1, 5)));
        assert_eq!(read(SECONDS_MAX, NANOS_MAX), Ok(Duration::new(315_576_000_000, 999_999_999)));
        assert_eq!(read(-1, 0), Err("it: must not be negative".to_owned()));
        assert_eq!(read(0, -1), Err("it: must not be negative".to_owned()));
        assert_eq!(read(1, -1), Err("it: seconds and nanos must have the same sign".to_owned()));
        assert_eq!(read(-1, 1), Err("it: seconds and nanos must have the same sign".to_owned()));
        for (seconds, nanos) in
            [(0, NANOS_MAX + 1), (0, i32::MIN), (SECONDS_MAX + 1, 0), (i64::MAX, i32::MAX)]
        {
            assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
        assert!(read(i64::MIN, i32::MIN).is_err());
    }

    #[test]
    fn a_bound_between_two_microseconds_is_the_later_one() {
        let read = |seconds, nanos| {
            let mut violations = Violations::default();
            let time = bound("it", Some(&prost_types::Timestamp { seconds, nanos }), &mut violations);
            violations.unless(time)
        };
        assert_eq!(read(1, 1), Ok(Some(Time::from_micros(1_000_001))));
        assert_eq!(read(1, 1_000), Ok(Some(Time::from_micros(1_000_001))));
        assert_eq!(read(-5, 999), Ok(Some(Time::ZERO)));
        for (seconds, nanos) in [(0, -1), (0, NANOS_MAX + 1), (i64::MAX, 0), (i64::MIN, 0)] {
            assert!(read(seconds, nanos).is_err(), "{seconds} {nanos}");
        }
    }

    #[test]
    fn times_go_out_as_they_are() {
        assert_eq!(
            timestamp(Time::from_micros(1_500_000)),
            prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }
        );
        assert_eq!(to_wire(Duration::MAX).seconds, SECONDS_MAX);
        assert_eq!(timestamp(Time::MAX).seconds, *TIMESTAMPS.end());
    }
}
