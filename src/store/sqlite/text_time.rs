//! Times as people read them in this store: text in UTC, as `strftime('%Y-%m-%d %H:%M:%f')` makes it.
//!
//! Made here rather than by SQLite: `strftime` takes 3 microseconds a value, more than the row's place in an index.

use std::time::Duration;

use breaker::Time;
use sqlx::types::time::OffsetDateTime;

use crate::store::timestamp::Timestamp;

/// What is past the calendar of `strftime` is its last moment, so that it still sorts behind all others.
const LAST: &str = "9999-12-31 23:59:59.999";

/// To the nearest millisecond, as `strftime` does it.
pub(super) fn text_time(stamp: Timestamp) -> String {
    let millis = (i128::from(stamp.micros()) + 500) / 1_000;
    let time = OffsetDateTime::from_unix_timestamp_nanos(millis * 1_000_000).ok();
    let Some(time) = time.filter(|time| time.year() <= 9_999) else { return LAST.to_owned() };
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}.{:03}",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second(),
        time.millisecond()
    )
}

/// A text that none sorts before of a time that is not before `time`. A millisecond early: rows of before 0013 have texts that
/// SQLite rounded from a floating-point number.
pub(super) fn no_earlier(time: Time) -> String {
    text_time(Timestamp(Time::from_micros(time.as_micros().saturating_sub(1_000))))
}

/// A text that none sorts behind of a time that is not after `time`.
pub(super) fn no_later(time: Time) -> String {
    text_time(Timestamp(time + Duration::from_millis(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(micros: u64) -> Timestamp {
        Timestamp(Time::from_micros(micros))
    }

    #[test]
    fn times_are_rounded_to_milliseconds_and_end_with_the_calendar() {
        assert_eq!(text_time(at(0)), "1970-01-01 00:00:00.000");
        assert_eq!(text_time(at(1_738_367_970_123_499)), "2025-01-31 23:59:30.123");
        assert_eq!(text_time(at(1_738_367_999_999_500)), "2025-02-01 00:00:00.000");
        assert_eq!(text_time(at(253_402_300_799_999_000)), LAST);
        assert_eq!(text_time(at(253_402_300_800_000_000)), LAST);
        assert_eq!(text_time(at(u64::MAX)), LAST);
    }
}
