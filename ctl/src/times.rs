//! Times and lengths of time, as people write and read them. All times are in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use breaker::Time;

/// A length of time: `250ms`, `1m 30s`, or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    humantime::parse_duration(text)
        .map_err(|_| "must be a duration (250ms, 90s, 5m, 2h) or a number of seconds".to_owned())
}

/// A moment: a time in UTC, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    At(SystemTime),
    Ago(Duration),
}

/// Reads `2026-11-24 09:30:00`, `2026-11-24T09:30:00Z`, `2026-11-24` or `2h`.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(at) = time(text) {
        return Ok(Moment::At(at));
    }
    duration(text)
        .map(Moment::Ago)
        .map_err(|_| "must be a UTC time (2026-11-24 09:30:00) or an age (2h)".to_owned())
}

/// Reads a time in UTC; a day alone is its beginning.
pub(super) fn time(text: &str) -> Result<SystemTime, String> {
    humantime::parse_rfc3339_weak(text)
        .or_else(|_| humantime::parse_rfc3339_weak(&format!("{text} 00:00:00")))
        .map_err(|_| "must be a UTC time (2026-11-24 09:30:00)".to_owned())
}

impl Moment {
    pub(super) fn stamp(self, now: Time) -> prost_types::Timestamp {
        match self {
            Self::At(at) => at.into(),
            Self::Ago(ago) => system(now).checked_sub(ago).unwrap_or(UNIX_EPOCH).into(),
        }
    }
}

/// `now` of the clock that is passed around, as the standard library has it.
fn system(now: Time) -> SystemTime {
    UNIX_EPOCH + now.since(Time::ZERO)
}

/// A time of an answer, to the second.
pub(super) fn clock(stamp: &prost_types::Timestamp) -> String {
    SystemTime::try_from(*stamp).map_or_else(
        |_| "?".to_owned(),
        |time| humantime::format_rfc3339_seconds(time).to_string().replace('T', " "),
    )
}

/// A time of an answer, to the millisecond.
pub(super) fn fine_clock(stamp: &prost_types::Timestamp) -> String {
    SystemTime::try_from(*stamp).map_or_else(
        |_| "?".to_owned(),
        |time| humantime::format_rfc3339_millis(time).to_string().replace('T', " "),
    )
}

/// How long ago it was.
pub(super) fn age(stamp: &prost_types::Timestamp, now: Time) -> String {
    SystemTime::try_from(*stamp).map_or_else(
        |_| "?".to_owned(),
        // This clock may be behind the server's.
        |then| span(system(now).duration_since(then).unwrap_or_default()),
    )
}

/// How long it is until then.
pub(super) fn until(stamp: &prost_types::Timestamp, now: Time) -> String {
    SystemTime::try_from(*stamp)
        .map_or_else(|_| "?".to_owned(), |then| span(then.duration_since(system(now)).unwrap_or_default()))
}

/// A length of time of an answer.
pub(super) fn wire_span(length: &prost_types::Duration) -> String {
    Duration::try_from(*length).map_or_else(|_| "0s".to_owned(), span)
}

/// A length of time in its two largest units: what matters of it at a glance.
pub(super) fn span(length: Duration) -> String {
    let seconds = length.as_secs();
    match seconds {
        0 => format!("{}ms", length.as_millis()),
        1..10 => format!("{}.{}s", seconds, length.subsec_millis() / 100),
        10..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds / 60 % 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_with_and_without_a_unit() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert!(duration("soon").is_err());
        assert!(duration("-5").is_err());
    }

    #[test]
    fn a_moment_is_a_time_or_how_long_ago() {
        let now = Time::from_micros(1_000_000_000_000_000);
        let seconds = |text| moment(text).map(|moment| moment.stamp(now).seconds);
        assert_eq!(seconds("1970-01-02"), Ok(86_400));
        assert_eq!(seconds("1970-01-02 00:00:01"), Ok(86_401));
        assert_eq!(seconds("1970-01-02T00:00:01Z"), Ok(86_401));
        assert_eq!(seconds("2h"), Ok(1_000_000_000 - 7_200));
        assert!(seconds("yesterday").is_err());
    }

    #[test]
    fn lengths_are_shown_in_two_units() {
        for (millis, shown) in [
            (250, "250ms"),
            (1_500, "1.5s"),
            (42_900, "42s"),
            (90_000, "1m30s"),
            (7_500_000, "2h05m"),
            (180_000_000, "2d02h"),
        ] {
            assert_eq!(span(Duration::from_millis(millis)), shown);
        }
    }
}
