//! Tries seeds of one kind of run, or tells the story of one. All tests that try seeds go by the same settings:
//!
//! - `BREAKERD_SEEDS=1000` tries so many seeds, from `BREAKERD_FIRST_SEED` on, which is 0 if it is not set;
//! - `BREAKERD_SEED=17` runs only that one, and tells its story;
//! - `BREAKERD_REPLICAS=30` runs them with so many replicas, and not with as many as the seed says.

use std::ops::Range;
use std::panic::catch_unwind;

use super::results::{Figures, RunResult};

/// One kind of run, and how many seeds of it are tried.
pub(super) struct Seeds {
    /// The name of the test, to run a seed that fails again.
    pub(super) test: &'static str,
    /// How many, unless a setting says otherwise.
    pub(super) count: u64,
    /// One run: of so many replicas, or of as many as the seed says; of the seed; with its story.
    pub(super) run: fn(Option<u64>, u64, bool) -> RunResult,
}

impl Seeds {
    /// Tries the seeds that the settings ask for. Answers what they came to; none: others were asked for than the test's own,
    /// which may be too few for everything to happen in them. Panics in the end if a seed failed.
    pub(super) fn try_all(&self) -> Option<Figures> {
        let replicas = setting("BREAKERD_REPLICAS");
        if let Some(seed) = setting("BREAKERD_SEED") {
            let RunResult { problems, figures, story } = (self.run)(replicas, seed, true);
            println!("{story}{figures:?}");
            assert!(problems.is_empty(), "seed {seed}: {problems:#?}");
            return None;
        }
        let (first, count) = (setting("BREAKERD_FIRST_SEED"), setting("BREAKERD_SEEDS"));
        let begin = first.unwrap_or(0);
        let (sum, failed) = self.try_range(replicas, begin..begin + count.unwrap_or(self.count));
        println!("{}: {sum:?}", self.test);
        assert!(failed.is_empty(), "{}: these seeds failed: {failed:?}", self.test);
        ((replicas, first, count) == (None, None, None)).then_some(sum)
    }

    /// Tries a range. A seed that fails is told of at once, and the others are run all the same. Answers what all came to, and
    /// which failed.
    fn try_range(&self, replicas: Option<u64>, seeds: Range<u64>) -> (Figures, Vec<u64>) {
        let (mut sum, mut failed) = (Figures::default(), Vec::new());
        let (begin, count) = (seeds.start, seeds.end - seeds.start);
        for seed in seeds {
            // What panics has failed as well, and has said why.
            let run = self.run;
            let problems = match catch_unwind(move || run(replicas, seed, false)) {
                Ok(result) => {
                    sum += result.figures;
                    result.problems
                }
                Err(_) => vec!["it panicked".to_owned()],
            };
            if !problems.is_empty() {
                println!(
                    "seed {seed} failed ({} tells its story): {problems:#?}",
                    self.command(replicas, seed)
                );
                failed.push(seed);
            }
            let done = seed - begin + 1;
            if done.is_multiple_of(told_every(count)) {
                let (test, failed) = (self.test, failed.len());
                println!(
                    "{test}: {done} of {count} seeds are done, up to {seed}, and {failed} of them failed"
                );
            }
        }
        (sum, failed)
    }

    /// What runs one seed again, with its story.
    fn command(&self, replicas: Option<u64>, seed: u64) -> String {
        let replicas = replicas.map_or_else(String::new, |replicas| format!("BREAKERD_REPLICAS={replicas} "));
        let test = self.test;
        format!("{replicas}BREAKERD_SEED={seed} cargo test --lib replica::simulation::{test} -- --nocapture")
    }
}

/// After how many of so many seeds it is told how far they are: a tenth of them, but neither each few nor after minutes.
fn told_every(count: u64) -> u64 {
    (count / 10).clamp(10, 10_000)
}

/// A setting that is a whole number; none: it is not set.
pub(super) fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is {value:?}, and has to be a whole number from 0 on")),
    )
}

#[test]
fn seeds_that_fail_are_collected_and_the_others_are_run() {
    let run = |_: Option<u64>, seed: u64, _: bool| {
        assert!(seed != 12, "this one panics");
        let problems = if seed == 14 { vec!["this one is wrong".to_owned()] } else { Vec::new() };
        let figures = Figures { calls: 1, ..Figures::default() };
        RunResult { problems, figures, story: String::new() }
    };
    let seeds = Seeds { test: "none", count: 0, run };
    let (sum, failed) = seeds.try_range(None, 10..20);
    assert_eq!((sum.calls, failed), (9, vec![12, 14]));
}
