//! `retry-after` of HTTP: when another request is wanted (RFC 9110, section 10.2.3).

use std::time::{Duration, UNIX_EPOCH};

use breaker::Time;
use breakerd_common::clock::WallTime;

/// What the header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryAfter {
    /// So long from now.
    In(Duration),
    /// This long after 1970.
    At(Duration),
}

impl RetryAfter {
    /// The value of the header: seconds, or a date. None: it is neither.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(seconds) = text.parse() {
            return Some(Self::In(Duration::from_secs(seconds)));
        }
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(UNIX_EPOCH).ok().map(Self::At)
    }

    /// How long that is from `now`; zero for a date that is over.
    pub fn after(self, now: WallTime) -> Duration {
        match self {
            Self::In(duration) => duration,
            Self::At(since_1970) => since_1970.saturating_sub(now.0.since(Time::ZERO)),
        }
    }
}
