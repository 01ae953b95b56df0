//! Random stories, played to the machine and to a second, naive model of it (`naive.rs`), and properties that
//! hold whatever happens.
//!
//! `PROPTEST_CASES` says how many stories each property is given; where they are short, it is 25 times as many.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
#![allow(clippy::cast_possible_truncation, reason = "the numbers of a story are small")]

mod counted;
mod naive;
mod play;
mod properties;
mod rules;
mod settings;
mod sharing;
mod steps;

use breaker::Time;
use proptest::prelude::*;

use crate::play::Play;
use crate::settings::settings;
use crate::steps::{observed_runs, steps};

/// Enough to find what a change breaks, few enough for a slow machine in debug.
const CASES: u32 = 400;

fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig { cases: cases.unwrap_or(CASES), ..ProptestConfig::default() }
}

/// For stories that are short: the same time is enough for more of them.
fn config_of_short() -> ProptestConfig {
    let config = config();
    ProptestConfig { cases: config.cases.saturating_mul(25), ..config }
}

/// A time in the middle of nowhere: slices of windows of time begin before it and end after it.
fn beginning() -> impl Strategy<Value = Time> {
    (1_000_000_000_000_000_u64..1_000_000_400_000_000).prop_map(Time::from_micros)
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_machine_and_the_naive_model_agree_on_every_step(
        settings in settings(),
        now in beginning(),
        steps in steps(120),
    ) {
        Play::begin(&settings, now).steps(&steps);
    }
}

proptest! {
    #![proptest_config(config_of_short())]

    #[test]
    fn they_agree_on_runs_that_are_only_observed(
        settings in settings(),
        now in beginning(),
        steps in observed_runs(16),
    ) {
        Play::begin(&settings, now).steps(&steps);
    }
}
