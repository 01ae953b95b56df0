//! `minimum_reporters`: one bad node does not open a breaker for all.

use crate::story::check;

/// Row 40 (Polly #287).
#[test]
fn a_run_of_failures_opens_only_when_enough_callers_saw_it() {
    check(
        "failure_threshold 5, minimum_reporters 2",
        "
        0 fail by X x50: recorded
        show: CLOSED epoch 0, in a row 50, in the window 50 of 50 failed
        fail by Y: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_caller_before_the_run_is_no_reporter_of_the_run() {
    check(
        "failure_threshold 2, minimum_reporters 2",
        "
        0 fail by Y: recorded
        succeed by Z: recorded
        fail by X x5: recorded
        fail by Y: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_success_is_no_report() {
    check(
        "failure_count_threshold 2, minimum_reporters 2",
        "
        0 fail by X x3: recorded
        succeed by Y: recorded
        fail by Y: recorded [CLOSED -> OPEN, FAILURE_COUNT]
        ",
    );
}

#[test]
fn anonymous_callers_are_one() {
    check(
        "failure_threshold 2, minimum_reporters 2",
        "
        0 fail x9: recorded
        fail by X: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_count_opens_only_when_enough_callers_are_in_the_window() {
    check(
        "failure_count_threshold 3, sliding_window_size 4, minimum_reporters 2",
        "
        0 fail by Y: recorded
        succeed x4: recorded
        fail by X x4: recorded // Y's has left the window
        fail by Y: recorded [CLOSED -> OPEN, FAILURE_COUNT]
        ",
    );
    check(
        "failure_count_threshold 3, sliding_window_size 4, minimum_reporters 2",
        "
        0 fail by Y: recorded
        succeed by X: recorded
        fail by X: recorded
        fail by X: recorded [CLOSED -> OPEN, FAILURE_COUNT] // Y's is the oldest in it
        ",
    );
}

#[test]
fn a_failure_rate_opens_only_when_enough_callers_are_in_the_window() {
    check(
        "failure_rate_threshold 50, sliding_window_type TIME_BASED, sliding_window_size 10, \
         minimum_number_of_calls 2, minimum_reporters 3",
        "
        0 fail by A: recorded
        1 fail by B: recorded
        10 fail by C: recorded // A's has left
        fail by A: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

#[test]
fn a_slow_rate_counts_those_who_were_slow() {
    check(
        "slow_call_duration_threshold 1, slow_call_rate_threshold 50, minimum_number_of_calls 2, \
         minimum_reporters 2",
        "
        0 succeed by X took 2 x3: recorded
        fail by Y: recorded // failed, but was not slow
        succeed by Y took 2: recorded [CLOSED -> OPEN, SLOW_CALL_RATE]
        ",
    );
}

#[test]
fn a_trip_without_reporters_leaves_the_word_to_the_next() {
    check(
        "failure_threshold 2, slow_call_duration_threshold 1, slow_call_rate_threshold 50, \
         minimum_number_of_calls 4, minimum_reporters 2",
        "
        0 succeed by X took 2: recorded
        succeed by Y took 2: recorded
        fail by X: recorded
        fail by X: recorded [CLOSED -> OPEN, SLOW_CALL_RATE] // the run has one reporter
        ",
    );
}

#[test]
fn an_old_caller_is_no_reporter_of_a_window_that_was_emptied() {
    let count = "failure_count_threshold 2, minimum_reporters 2, sliding_window_size 10";
    check(
        count,
        &format!(
            "
            0 fail by X: recorded
            set {count}, sliding_window_type TIME_BASED: ok // empties it
            fail by Y x3: recorded
            fail by X: recorded [CLOSED -> OPEN, FAILURE_COUNT]
            "
        ),
    );
}

#[test]
fn an_old_caller_does_not_come_back_when_a_window_of_time_grows_again() {
    let time =
        "sliding_window_type TIME_BASED, failure_count_threshold 2, minimum_reporters 2, sliding_window_size";
    check(
        &format!("{time} 20"),
        &format!(
            "
            0 fail by X: recorded
            15 set {time} 10: ok // X's is out
            set {time} 20: ok
            fail by Y x3: recorded
            fail by X: recorded [CLOSED -> OPEN, FAILURE_COUNT]
            "
        ),
    );
}

#[test]
fn the_run_remembers_its_reporters_when_the_window_is_emptied() {
    let run = "failure_threshold 3, minimum_reporters 2";
    check(
        run,
        &format!(
            "
            0 fail by X: recorded
            set {run}, sliding_window_type TIME_BASED: ok
            fail by Y: recorded
            fail by Y: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
            "
        ),
    );
}

#[test]
fn fewer_reporters_needed_is_judged_at_the_next_outcome() {
    check(
        "failure_threshold 2, minimum_reporters 3",
        "
        0 fail by X x2: recorded
        fail by Y: recorded
        set failure_threshold 2, minimum_reporters 2: ok
        fail by Y: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
    check(
        "failure_threshold 2, minimum_reporters 3",
        "
        0 fail by X x3: recorded
        set failure_threshold 2: ok
        fail by X: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn with_fewer_reporters_needed_the_newest_are_remembered() {
    check(
        "failure_threshold 3, minimum_reporters 4",
        "
        0 fail by A: recorded
        fail by B: recorded
        succeed: recorded
        fail by C: recorded
        fail by D: recorded
        set failure_threshold 3, minimum_reporters 2: ok
        fail by D: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// Their failures are still counted, and so are they: however few were needed when they failed.
#[test]
fn when_more_reporters_are_needed_those_whose_failures_are_counted_are_among_them() {
    check(
        "failure_threshold 4",
        "
        0 fail by X x3: recorded
        set failure_threshold 4, minimum_reporters 2: ok
        fail by Y: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
    let count = "failure_count_threshold 6, failure_threshold 0";
    check(
        &format!("{count}, minimum_reporters 2"),
        &format!(
            "
            0 fail by A: recorded
            fail by B: recorded
            fail by C: recorded
            set {count}, minimum_reporters 3: ok
            fail by C x2: recorded
            fail by C: recorded [CLOSED -> OPEN, FAILURE_COUNT]
            "
        ),
    );
    check(
        "slow_call_duration_threshold 1, slow_call_rate_threshold 50, minimum_number_of_calls 3",
        "
        0 succeed by X took 2: recorded
        succeed by Y took 2: recorded
        set slow_call_duration_threshold 1, slow_call_rate_threshold 50, minimum_number_of_calls 3, minimum_reporters 2: ok
        succeed by X took 2: recorded [CLOSED -> OPEN, SLOW_CALL_RATE]
        ",
    );
}

#[test]
fn a_caller_whose_failure_has_left_the_window_is_not_among_them() {
    let count = "failure_count_threshold 2, failure_threshold 0, sliding_window_size 3";
    check(
        count,
        &format!(
            "
            0 fail by X: recorded
            succeed x3: recorded
            set {count}, minimum_reporters 2: ok
            fail by Y x3: recorded
            fail by X: recorded [CLOSED -> OPEN, FAILURE_COUNT]
            "
        ),
    );
}

#[test]
fn as_many_reporters_as_are_needed_now_are_remembered() {
    let needed = |callers: u32| format!("failure_threshold {callers}, minimum_reporters {callers}");
    // More than are remembered in any case.
    let many = (2..=70).map(|caller| format!("fail by C{caller}: recorded\n")).collect::<Vec<_>>().concat();
    let last = "fail by D: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]";
    check(&needed(3), &format!("0 fail by C1: recorded\n set {}: ok\n{many}{last}", needed(71)));
}
