//! Replicas on a store in memory, under a scheduler that follows a seed: clocks that are wrong, a network that delays, loses,
//! repeats and cuts, crashes at every await, a store that goes away and returns. What callers are told is held against what
//! the history has in the end, and everything has to come to rest.
//!
//! Which seeds are tried, and how the story of one is told, is a matter of settings (`seeds`).

mod acts;
mod alone;
mod callers;
mod checker;
mod counts;
mod executor;
mod going_back;
mod history_checks;
mod letting_go;
mod link;
mod metered_store;
mod operators;
mod process;
mod results;
mod runs;
mod scale;
mod seeds;
mod service_checks;
mod service_operators;
mod service_overrides;
mod store_faults;
mod thresholds;
mod turns;
mod world;

use self::results::RunResult;
use self::runs::{run, run_alone, run_calmly, run_deciding_alone, run_letting_go};
use self::seeds::Seeds;
use crate::protocol_rules::{Rule, without};

/// Seeds that every run of the tests tries.
const SEEDS: u64 = 25;
/// Of those with ten replicas.
const SEEDS_OF_TEN: u64 = 5;
/// Seeds that fail without a rule, so that few need to be tried.
const NOTED: &[(Rule, u64)] = &[
    (Rule::OldRowsIgnored, 165),
    (Rule::RetiredRowRemembered, 126_329),
    (Rule::EpochAndStateCompared, 0),
    (Rule::KnownIdAnsweredAlike, 1),
    (Rule::WaitByStoreClock, 17),
    (Rule::LeaseFromSend, 260),
    (Rule::OutcomeNonceChecked, 516),
    (Rule::SupersededKept, 256),
    (Rule::JournalFirst, 9),
    (Rule::LeasesEnd, 0),
    (Rule::OutcomeDecides, 0),
    (Rule::RepeatTellsDecision, 51),
    (Rule::LaterEpochToStore, 0),
    (Rule::ProbesReturned, 11),
    (Rule::EndReturnsProbes, 70),
    (Rule::PollIsTruth, 33),
    (Rule::ResetGuarded, 2_164),
    (Rule::ForcedOpenUnguarded, 19),
    (Rule::ActsInOrder, 119),
    (Rule::ServiceOverrideGuarded, 3),
    (Rule::NonceCompared, 17),
    (Rule::TimelineCompared, 52),
    (Rule::HalfOpenEntersAgain, 212),
    (Rule::DecidedRowsKept, 101_322),
    (Rule::TimelineByTail, 14_847),
    (Rule::EnteredAgainKept, 14_502),
    (Rule::OwnEntriesSentAgain, 17),
    (Rule::NewServerNewTimeline, 212),
    (Rule::OldTimelineDecidesNothing, 77),
    (Rule::UnansweredTripOpens, 12),
    (Rule::ReconcileUntouched, 52),
    (Rule::BranchEndsWithAnswer, 6),
    (Rule::BranchOutcomesStay, 6),
    (Rule::BranchIsHistory, 9),
    (Rule::HighestOldEpochStands, 382),
];
/// What no seed of 400,000 needs: what is not sent again is among what is sent again as the timeline begins, but for a moment that is
/// hardly met. A test of its own needs it (`replica/tests/going_back.rs`).
const TESTED_ELSEWHERE: Rule = Rule::OtherTimelineSettlesNothing;
/// How many others are tried, unless `BREAKERD_SEEDS` says otherwise.
const SEARCHED: u64 = 2_000;
#[test]
fn replicas_agree_whatever_goes_wrong() {
    let seeds = Seeds { test: "replicas_agree_whatever_goes_wrong", count: SEEDS, run };
    if let Some(sum) = seeds.try_all() {
        let tried = sum.probes > 0 && sum.recorded > 0 && sum.transitions > 0;
        assert!(tried, "it tried something: {sum:?}");
    }
}

#[test]
fn ten_replicas_agree_whatever_goes_wrong() {
    let run_of_ten = |_: Option<u64>, seed: u64, verbose: bool| run(Some(10), seed, verbose);
    let test = "ten_replicas_agree_whatever_goes_wrong";
    Seeds { test, count: SEEDS_OF_TEN, run: run_of_ten }.try_all();
}

#[test]
fn replicas_agree_that_start_without_their_store() {
    let test = "replicas_agree_that_start_without_their_store";
    if let Some(sum) = (Seeds { test, count: SEEDS / 4, run: run_alone }).try_all() {
        assert!(sum.started_alone > 0, "it tried something: {sum:?}");
    }
}

#[test]
fn replicas_agree_while_rows_go() {
    let seeds = Seeds { test: "replicas_agree_while_rows_go", count: SEEDS / 2, run: run_letting_go };
    if let Some(sum) = seeds.try_all() {
        assert!(sum.let_go > 0 && sum.transitions > 0, "it tried something: {sum:?}");
    }
}

#[test]
fn replicas_that_decide_alone_agree_afterwards() {
    let test = "replicas_that_decide_alone_agree_afterwards";
    if let Some(sum) = (Seeds { test, count: SEEDS, run: run_deciding_alone }).try_all() {
        let tried = sum.alone.probes > 0 && sum.alone.recorded > 0 && sum.alone.closed > 0;
        assert!(tried, "it tried something: {sum:?}");
    }
}

#[test]
fn a_seed_is_the_same_run_each_time() {
    assert_eq!(run(None, 7, true).story, run(None, 7, true).story);
}

/// A caller asks one replica and reports to another, which may not know the epoch yet.
#[test]
fn no_outcome_is_lost_while_nothing_goes_wrong() {
    let mut transitions = 0;
    for seed in 0..5 {
        let RunResult { problems, figures, .. } = run_calmly(seed);
        assert!(problems.is_empty() && figures.not_counted == 0, "seed {seed}: {figures:?}, {problems:#?}");
        transitions += figures.transitions;
    }
    assert!(transitions > 20, "{transitions} only");
}

/// Without the rule some seed fails: the one that is noted, or, once the code has changed, another.
#[test]
fn each_rule_is_missed_when_it_is_left_out() {
    let mut unnoticed = Vec::new();
    let searched = seeds::setting("BREAKERD_SEEDS").unwrap_or(SEARCHED);
    for rule in Rule::ALL.into_iter().filter(|rule| *rule != TESTED_ELSEWHERE) {
        let noted = NOTED.iter().find(|(of, _)| *of == rule).map(|(_, seed)| *seed);
        let run = if rule.is_of_branches() { run_deciding_alone } else { run };
        let fails = |seed: &u64| !without(Some(rule), || run(None, *seed, false)).problems.is_empty();
        match noted.into_iter().chain(0..searched).find(fails) {
            Some(seed) => {
                if noted != Some(seed) {
                    println!("(Rule::{rule:?}, {seed}),");
                }
            }
            None => unnoticed.push(rule),
        }
    }
    assert!(unnoticed.is_empty(), "none of {searched} seeds (BREAKERD_SEEDS) needs {unnoticed:?}");
}
