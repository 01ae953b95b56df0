//! Durations and timestamps of the API and of the domain, both ways.

use std::ops::RangeInclusive;
use std::time::Duration;

use breaker::Time;

/// google.protobuf.Duration's own range, in seconds: ten thousand years.
const DURATION_SECONDS_MAX: i64 = 315_576_000_000;
/// google.protobuf.Timestamp's own range, in seconds: the years 1 to 9999.
const TIMESTAMP_SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;
const NANOS_MAX: i32 = 999_999_999;

/// Why a duration or a timestamp of a message is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// The nanoseconds of a duration are a second or more.
    #[error("invalid nanos {0}: must be at most {NANOS_MAX}")]
    Nanos(i32),
    /// One is negative, the other positive.
    #[error("seconds and nanos must have the same sign")]
    Signs,
    /// A duration below zero.
    #[error("must not be negative")]
    Negative,
    /// A duration beyond protobuf's range.
    #[error("invalid seconds {0}: must be at most {DURATION_SECONDS_MAX}")]
    Seconds(i64),
    /// A timestamp outside of protobuf's range.
    #[error("invalid timestamp: must be in the years 1 to 9999, with nanos from 0 to {NANOS_MAX}")]
    Timestamp,
}

/// A duration of a message: zero to ten thousand years.
///
/// # Errors
/// [`TimeError`], but for [`TimeError::Timestamp`].
pub fn duration(duration: prost_types::Duration) -> Result<Duration, TimeError> {
    let prost_types::Duration { seconds, nanos } = duration;
    if let (Ok(secs), Ok(subsec_nanos)) = (u64::try_from(seconds), u32::try_from(nanos))
        && seconds <= DURATION_SECONDS_MAX
        && nanos <= NANOS_MAX
    {
        return Ok(Duration::new(secs, subsec_nanos));
    }
    Err(if !(-NANOS_MAX..=NANOS_MAX).contains(&nanos) {
        TimeError::Nanos(nanos)
    } else if (seconds > 0 && nanos < 0) || (seconds < 0 && nanos > 0) {
        TimeError::Signs
    } else if seconds < 0 || nanos < 0 {
        TimeError::Negative
    } else {
        TimeError::Seconds(seconds)
    })
}

/// A timestamp of a message, in whole microseconds: between two of them, the later one. Before 1970 it is [`Time::ZERO`].
///
/// # Errors
/// [`TimeError::Timestamp`].
pub fn time(timestamp: prost_types::Timestamp) -> Result<Time, TimeError> {
    let prost_types::Timestamp { seconds, nanos } = timestamp;
    if !TIMESTAMP_SECONDS.contains(&seconds) || !(0..=NANOS_MAX).contains(&nanos) {
        return Err(TimeError::Timestamp);
    }
    let (Ok(secs), Ok(subsec_nanos)) = (u64::try_from(seconds), u64::try_from(nanos)) else {
        return Ok(Time::ZERO);
    };
    Ok(Time::from_micros(secs * 1_000_000 + subsec_nanos.div_ceil(1_000)))
}

/// A duration for a message; one beyond protobuf's range is its longest.
pub fn to_duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(DURATION_SECONDS_MAX).min(DURATION_SECONDS_MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos().cast_signed() }
}

/// A timestamp for a message; one beyond protobuf's range is its last.
pub fn to_timestamp(time: Time) -> prost_types::Timestamp {
    let micros = time.as_micros();
    let last = *TIMESTAMP_SECONDS.end();
    let seconds = i64::try_from(micros / 1_000_000).unwrap_or(last).min(last);
    let nanos = i32::try_from(micros % 1_000_000 * 1_000).unwrap_or(0);
    prost_types::Timestamp { seconds, nanos }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(seconds: i64, nanos: i32) -> Result<Duration, TimeError> {
        duration(prost_types::Duration { seconds, nanos })
    }

    #[test]
    fn only_a_duration_from_zero_on_is_taken() {
        assert_eq!(read(0, 0), Ok(Duration::ZERO));
        assert_eq!(read(1, 5), Ok(Duration::new(1, 5)));
        assert_eq!(read(DURATION_SECONDS_MAX, NANOS_MAX), Ok(Duration::new(315_576_000_000, 999_999_999)));
        assert_eq!(read(-1, 0), Err(TimeError::Negative));
        assert_eq!(read(0, -1), Err(TimeError::Negative));
        assert_eq!(read(1, -1), Err(TimeError::Signs));
        assert_eq!(read(-1, 1), Err(TimeError::Signs));
        assert_eq!(read(0, NANOS_MAX + 1), Err(TimeError::Nanos(NANOS_MAX + 1)));
        assert_eq!(read(0, i32::MIN), Err(TimeError::Nanos(i32::MIN)));
        assert_eq!(read(DURATION_SECONDS_MAX + 1, 0), Err(TimeError::Seconds(DURATION_SECONDS_MAX + 1)));
        assert_eq!(read(i64::MAX, i32::MAX), Err(TimeError::Nanos(i32::MAX)));
        assert!(read(i64::MIN, i32::MIN).is_err());
    }

    #[test]
    fn a_timestamp_between_two_microseconds_is_the_later_one() {
        let read = |seconds, nanos| time(prost_types::Timestamp { seconds, nanos });
        assert_eq!(read(1, 1), Ok(Time::from_micros(1_000_001)));
        assert_eq!(read(1, 1_000), Ok(Time::from_micros(1_000_001)));
        assert_eq!(read(-5, 999), Ok(Time::ZERO));
        for (seconds, nanos) in [(0, -1), (0, NANOS_MAX + 1), (i64::MAX, 0), (i64::MIN, 0)] {
            assert_eq!(read(seconds, nanos), Err(TimeError::Timestamp), "{seconds} {nanos}");
        }
    }

    #[test]
    fn times_go_out_as_they_are() {
        let stamp = to_timestamp(Time::from_micros(1_500_000));
        assert_eq!(stamp, prost_types::Timestamp { seconds: 1, nanos: 500_000_000 });
        assert_eq!(to_duration(Duration::MAX).seconds, DURATION_SECONDS_MAX);
        assert_eq!(to_timestamp(Time::MAX).seconds, *TIMESTAMP_SECONDS.end());
        let length = Duration::new(7, 8);
        assert_eq!(duration(to_duration(length)), Ok(length));
    }
}
