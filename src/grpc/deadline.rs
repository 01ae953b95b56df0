//! The deadline of the client.

use std::time::Duration;

use http::HeaderMap;
use tonic::metadata::MetadataMap;

use super::status::Failure;
use super::violations::{Kind, Violations, excerpt};

const HEADER: &str = "grpc-timeout";
/// Digits that gRPC allows; with the largest unit they are more than eleven thousand years.
const DIGITS_MAX: usize = 8;

/// The timeout that the client sent, if any.
pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Duration>, Violations> {
    let Some(value) = headers.get(HEADER) else { return Ok(None) };
    match parse(value.as_bytes()) {
        Some(timeout) => Ok(Some(timeout)),
        None => Err(invalid(value.as_bytes())),
    }
}

/// The client's timeout; none: it sent none, or an invalid one, which was rejected.
pub(super) fn of_call(metadata: &MetadataMap) -> Option<Duration> {
    parse(metadata.get(HEADER)?.as_bytes())
}

/// The part of the client's timeout that may be spent on waiting for the store, so that the client receives the reason, rather
/// than only `DEADLINE_EXCEEDED`. None: it sent no timeout.
pub(super) fn for_store(metadata: &MetadataMap) -> Option<Duration> {
    of_call(metadata).map(|timeout| timeout * 4 / 5)
}

/// What remains of `timeout` when `elapsed` of it was spent on other waits than for the store. None: nothing, and what remains of
/// the call's own deadline is the bound.
pub(super) fn remaining(timeout: Option<Duration>, elapsed: Duration) -> Option<Duration> {
    timeout?.checked_sub(elapsed).filter(|remaining| !remaining.is_zero())
}

/// Waits for the store until the client's deadline is near. A change that has begun is finished all the same.
pub(super) async fn within<T>(
    timeout: Option<Duration>,
    effect: Effect,
    answer: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let Some(timeout) = timeout else { return answer.await };
    let timed_out = Failure::StoreTimeout { waited: timeout, may_take_effect: effect == Effect::Write };
    tokio::time::timeout(timeout, answer).await.unwrap_or(Err(timed_out))
}

/// The effect of an operation on the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is read.
    Read,
    /// It is changed.
    Write,
}

fn parse(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > DIGITS_MAX {
        return None;
    }
    let mut amount: u64 = 0;
    for digit in digits {
        if !digit.is_ascii_digit() {
            return None;
        }
        amount = amount * 10 + u64::from(digit - b'0');
    }
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3_600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cold]
fn invalid(value: &[u8]) -> Violations {
    let value = excerpt(&String::from_utf8_lossy(value));
    Violations::one(
        HEADER,
        Kind::OutOfRange,
        format!("invalid value \"{value}\": must be 1 to 8 digits and a unit (H, M, S, m, u or n)"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_waits_for_the_store_is_told_before_their_patience_is_over() {
        let mut metadata = MetadataMap::new();
        assert_eq!(for_store(&metadata), None);
        metadata.insert(HEADER, "5S".parse().unwrap());
        assert_eq!(
            for_store(&metadata),
            Some(Duration::from_secs(4)),
            "what the command line says by itself"
        );
        let never = std::future::pending::<Result<(), Failure>>();
        let result = within(Some(Duration::from_millis(1)), Effect::Read, never).await;
        assert!(matches!(result, Err(Failure::StoreTimeout { may_take_effect: false, .. })), "{result:?}");
        assert!(within(None, Effect::Read, async { Ok(()) }).await.is_ok());
    }

    #[test]
    fn every_unit_is_read() {
        assert_eq!(parse(b"2H"), Some(Duration::from_hours(2)));
        assert_eq!(parse(b"3M"), Some(Duration::from_mins(3)));
        assert_eq!(parse(b"4S"), Some(Duration::from_secs(4)));
        assert_eq!(parse(b"250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse(b"99999999u"), Some(Duration::from_micros(99_999_999)));
        assert_eq!(parse(b"0n"), Some(Duration::ZERO));
    }

    #[test]
    fn what_is_no_timeout_is_refused() {
        for value in ["", "S", "5", "-5S", "1.5S", "123456789S", "5 S", "5s", "5\u{e9}"] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
    }
}
