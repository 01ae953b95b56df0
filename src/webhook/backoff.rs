//! How long to wait after an attempt that failed.

use std::time::Duration;

/// After the first one.
const FIRST: Duration = Duration::from_secs(1);
/// It doubles up to this: a target that is back is told within a minute.
const MAX: Duration = Duration::from_mins(1);
/// The longest that a target may ask for (Retry-After).
pub(super) const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// The pause after so many attempts in a row that failed, of which a random half is left out, so that replicas do not come back at
/// one time; at least what the target asked for. `share` is between 0 and 1.
pub(super) fn pause(failures: u32, share: f64, retry_after: Option<Duration>) -> Duration {
    let doublings = failures.saturating_sub(1).min(6);
    let whole = (FIRST * 2_u32.pow(doublings)).min(MAX);
    let jittered = whole / 2 + (whole / 2).mul_f64(share.clamp(0.0, 1.0));
    jittered.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_minute_and_half_of_it_is_random() {
        let millis = |failures, share| pause(failures, share, None).as_millis();
        assert_eq!([1, 2, 3, 6].map(|failures| millis(failures, 1.0)), [1_000, 2_000, 4_000, 32_000]);
        assert_eq!([7, 8, u32::MAX].map(|failures| millis(failures, 1.0)), [60_000; 3]);
        assert_eq!([0.0, 0.5].map(|share| millis(3, share)), [2_000, 3_000]);
    }

    #[test]
    fn what_the_target_asks_for_is_the_least_of_it_and_has_a_bound() {
        let asked = |seconds| pause(1, 1.0, Some(Duration::from_secs(seconds))).as_secs();
        assert_eq!([0, 90, 1_000_000].map(asked), [1, 90, 3_600]);
    }
}
