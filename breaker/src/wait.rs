//! How long OPEN lasts.

use std::time::Duration;

use crate::mix;
use crate::thresholds::{Thresholds, WaitInterval};
use crate::time::micros;

/// How long OPEN waits: fixed, or grown by the times it opened since the last close; times 1 +- factor * u, with u
/// drawn from the key and the epoch, so that every replica draws the same; capped. A `retry_after` that is
/// honoured can lengthen it, up to the cap.
pub(crate) fn wait(
    thresholds: &Thresholds,
    key_hash: u64,
    epoch: u64,
    open_count: u32,
    retry_after: Option<Duration>,
) -> Duration {
    let most = u128::from(micros(thresholds.max_wait()));
    let factor = u128::from(thresholds.randomization_factor());
    let mut wait = u128::from(micros(thresholds.wait()));
    if thresholds.wait_interval() == WaitInterval::Exponential {
        for _ in 1..open_count {
            wait = wait * u128::from(thresholds.multiplier()) / 1_000;
            if is_capped(wait, factor, most) {
                break;
            }
        }
    }
    // u in millionths, from -1 to 1; the wait keeps 1 - factor and gains factor * (1 + u).
    let u_plus_one = u128::from(mix(key_hash ^ mix(epoch)) % 2_000_001);
    let wait = (wait * (1_000 - factor) * 1_000_000 + wait * factor * u_plus_one) / 1_000_000_000;
    let retry_after = retry_after
        .filter(|_| thresholds.honor_retry_after())
        .map_or(0, |retry_after| u128::from(micros(retry_after)));
    let wait = wait.max(retry_after).min(most).max(1);
    Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX))
}

/// Whether even the shortest that chance can make of a wait is at the cap.
fn is_capped(wait: u128, factor: u128, most: u128) -> bool {
    wait * (1_000 - factor) / 1_000 >= most
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{Field, Value};
    use crate::layer::{Layer, Origin};
    use crate::merge::merge;

    /// One second, growing up to ten, drawn at random up or down by half.
    fn thresholds(factor: u32) -> Thresholds {
        let seconds = |seconds| Value::Duration(Duration::from_secs(seconds));
        let mut layer = Layer::default();
        for (field, value) in [
            (Field::Timeout, seconds(1)),
            (Field::MaxWait, seconds(10)),
            (Field::WaitInterval, Value::Word("EXPONENTIAL")),
            (Field::RandomizationFactor, Value::Factor(factor)),
        ] {
            layer.set(field, value).unwrap();
        }
        merge(&[(Origin::Api, &layer)]).unwrap().thresholds
    }

    /// Replicas of several versions draw a wait each, and must agree: this may never change.
    #[test]
    fn a_key_and_an_epoch_draw_the_same_wait_in_every_version() {
        let thresholds = thresholds(500);
        let drawn = |key_hash, epoch| wait(&thresholds, key_hash, epoch, 1, None).as_micros();
        let waits = [drawn(1, 1), drawn(1, 2), drawn(2, 1), drawn(u64::MAX, u64::MAX)];
        assert_eq!(waits, [1_330_427, 1_298_299, 1_289_129, 1_218_998]);
    }

    #[test]
    fn a_wait_has_grown_out_of_the_reach_of_chance_after_enough_attempts() {
        let thresholds = thresholds(500);
        for key_hash in 0..200 {
            let most = Duration::from_secs(10);
            assert_eq!(wait(&thresholds, key_hash, 1, 6, None), most, "32 s, halved at the most");
            assert_eq!(wait(&thresholds, key_hash, 1, 1_000, None), most);
        }
        assert_eq!(wait(&self::thresholds(0), 1, 1, u32::MAX, None), Duration::from_secs(10));
    }

    #[test]
    fn without_chance_a_wait_doubles_until_the_most() {
        let waits =
            [0, 1, 2, 3, 4, 5, 6].map(|open_count| wait(&thresholds(0), 1, 1, open_count, None).as_secs());
        assert_eq!(waits, [1, 1, 2, 4, 8, 10, 10]);
    }
}
