//! How long OPEN lasts.

use std::time::Duration;

use crate::mix;
use crate::thresholds::{Thresholds, WaitInterval};
use crate::time::micros;

/// How long OPEN waits: fixed, or grown by the attempts since the last close; times 1 +- factor * u, with u
/// drawn from the key and the epoch, so that every replica draws the same; capped. A `retry_after` that is
/// honoured can lengthen it, up to the cap.
pub(crate) fn wait(
    thresholds: &Thresholds,
    key_hash: u64,
    epoch: u64,
    attempts: u32,
    retry_after: Option<Duration>,
) -> Duration {
    let most = u128::from(micros(thresholds.max_wait()));
    let factor = u128::from(thresholds.randomization_factor());
    let mut wait = u128::from(micros(thresholds.wait()));
    if thresholds.wait_interval() == WaitInterval::Exponential {
        for _ in 1..attempts {
            wait = wait * u128::from(thresholds.multiplier()) / 1_000;
            // Even the shortest that chance can make of it is past the cap.
            if wait * (1_000 - factor) / 1_000 >= most {
                break;
            }
        }
    }
    if factor > 0 {
        // u in millionths, from -1 to 1; the wait keeps 1 - factor and gains factor * (1 + u).
        let u_plus_one = u128::from(mix(key_hash ^ mix(epoch)) % 2_000_001);
        wait = (wait * (1_000 - factor) * 1_000_000 + wait * factor * u_plus_one) / 1_000_000_000;
    }
    let asked = retry_after
        .filter(|_| thresholds.honor_retry_after())
        .map_or(0, |retry_after| u128::from(micros(retry_after)));
    let wait = wait.max(asked).min(most).max(1);
    Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX))
}
