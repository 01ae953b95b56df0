//! When a closed breaker opens, and what the reason is called.

use crate::story::check;

/// Row 1 (pybreaker, linkerd, failsafe-go).
#[test]
fn three_failures_in_a_row_open_it_and_not_two() {
    check(
        "failure_threshold 3",
        "
        0 fail: recorded
        fail: recorded
        allow: yes #1
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        allow: no OPEN, retry in 60
        ",
    );
}

/// Row 2 (failsafe-go).
#[test]
fn a_success_ends_the_run_of_failures() {
    check(
        "failure_threshold 3",
        "
        0 fail x2: recorded
        succeed: recorded
        fail x2: recorded
        show: CLOSED epoch 0, in a row 2, in the window 4 of 5 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// Row 3 (gobreaker).
#[test]
fn an_ignored_outcome_does_not_end_the_run() {
    check(
        "failure_threshold 3",
        "
        0 fail x2: recorded
        ignore: recorded
        show: CLOSED epoch 0, in a row 2, in the window 2 of 2 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// Row 8 (resilience4j).
#[test]
fn a_success_can_reveal_the_failure_rate() {
    check(
        "failure_rate_threshold 50, sliding_window_size 10, minimum_number_of_calls 10",
        "
        0 fail x9: recorded
        show: CLOSED epoch 0, in a row 9, in the window 9 of 9 failed
        succeed: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 9 (resilience4j, Polly, Hystrix).
#[test]
fn a_rate_equal_to_the_threshold_opens() {
    check(
        "failure_rate_threshold 50, sliding_window_size 4, minimum_number_of_calls 4",
        "
        0 succeed x2: recorded
        fail: recorded
        fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 10 (resilience4j).
#[test]
fn a_rate_below_the_threshold_does_not_open() {
    check(
        "failure_rate_threshold 51, sliding_window_size 4, minimum_number_of_calls 4",
        "
        0 succeed x2: recorded
        fail x2: recorded
        show: CLOSED epoch 0, in a row 2, in the window 2 of 4 failed
        ",
    );
}

/// Rates are thousandths of a percent, and compared without rounding: a third is 33.333..., not 33.334.
#[test]
fn no_verdict_hangs_on_a_rounding() {
    let three = "sliding_window_size 3, minimum_number_of_calls 3, failure_rate_threshold";
    let story = |verdict| format!("0 succeed x2: recorded\nfail: recorded{verdict}");
    check(&format!("{three} 33.333"), &story(" [CLOSED -> OPEN, FAILURE_RATE]"));
    check(&format!("{three} 33.334"), &story(""));
}

/// Row 11 (resilience4j).
#[test]
fn a_rate_of_a_hundred_can_be_reached() {
    check(
        "failure_rate_threshold 100, sliding_window_size 2, minimum_number_of_calls 2",
        "
        0 fail: recorded
        fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 12 (resilience4j).
#[test]
fn the_minimum_number_of_calls_is_at_most_the_size_of_a_window_of_calls() {
    check(
        "failure_rate_threshold 50, sliding_window_size 5, minimum_number_of_calls 100",
        "
        0 fail x4: recorded
        fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 13 (resilience4j).
#[test]
fn a_rate_is_judged_from_the_minimum_number_of_calls_on() {
    check(
        "failure_rate_threshold 50, sliding_window_size 10, minimum_number_of_calls 4",
        "
        0 fail: recorded
        succeed: recorded
        fail: recorded
        show: CLOSED epoch 0, in a row 1, in the window 2 of 3 failed
        succeed: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 18 (resilience4j, Sentinel).
#[test]
fn a_call_as_long_as_the_threshold_is_not_slow() {
    check(
        "slow_call_duration_threshold 2, slow_call_rate_threshold 50, sliding_window_size 4, \
         minimum_number_of_calls 4",
        "
        0 succeed took 2 x2: recorded
        succeed took 0.1 x2: recorded
        show: CLOSED epoch 0, in a row 0, in the window 0 of 4 failed
        ",
    );
}

/// Row 19 (resilience4j).
#[test]
fn slow_calls_open_it_and_the_reason_says_so() {
    check(
        "slow_call_duration_threshold 2, slow_call_rate_threshold 50, sliding_window_size 4, \
         minimum_number_of_calls 4",
        "
        0 succeed took 2.001 x2: recorded
        succeed took 0.1: recorded
        succeed took 0.1: recorded [CLOSED -> OPEN, SLOW_CALL_RATE]
        ",
    );
}

#[test]
fn a_call_without_a_duration_is_not_slow() {
    check(
        "slow_call_duration_threshold 0.001, slow_call_rate_threshold 1",
        "
        0 succeed x100: recorded
        show: CLOSED epoch 0, in a row 0, in the window 0 of 100 failed
        succeed took 0.002: recorded [CLOSED -> OPEN, SLOW_CALL_RATE]
        ",
    );
}

#[test]
fn a_failure_can_be_slow_and_counts_as_both() {
    check(
        "slow_call_duration_threshold 1, slow_call_rate_threshold 90",
        "
        0 fail took 2: recorded
        show: CLOSED epoch 0, in a row 1, in the window 1 of 1 failed, 1 slow
        ",
    );
}

#[test]
fn slow_successes_count_as_failures_when_asked_to() {
    let settings = "failure_threshold 2, slow_call_duration_threshold 1";
    let slow = "0 succeed took 2: recorded\n";
    check(settings, &format!("{slow} show: CLOSED epoch 0, in a row 0, in the window 0 of 1 failed, 1 slow"));
    check(
        &format!("{settings}, slow_calls_as_failures true"),
        &format!("{slow} succeed took 2: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]"),
    );
}

/// Row 20 (linkerd).
#[test]
fn the_first_trip_in_the_order_of_the_rules_names_the_reason() {
    check(
        "failure_threshold 3, failure_rate_threshold 50, sliding_window_size 3, minimum_number_of_calls 3",
        "
        0 fail x2: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        show: OPEN epoch 1, attempts 1, until 60
        ",
    );
}

/// The order is: in a row, counted, failure rate, slow rate.
#[test]
fn each_trip_gives_way_to_the_one_before_it() {
    let all = "sliding_window_size 3, minimum_number_of_calls 3, slow_call_duration_threshold 1, \
               slow_call_rate_threshold 50";
    let story =
        |reason| format!("0 fail took 2 x2: recorded\nfail took 2: recorded [CLOSED -> OPEN, {reason}]");
    let with = |settings: &str, reason| check(&format!("{all}{settings}"), &story(reason));
    with("", "SLOW_CALL_RATE");
    with(", failure_rate_threshold 50", "FAILURE_RATE");
    with(", failure_rate_threshold 50, failure_count_threshold 3", "FAILURE_COUNT");
    with(
        ", failure_rate_threshold 50, failure_count_threshold 3, failure_threshold 3",
        "CONSECUTIVE_FAILURES",
    );
}

#[test]
fn failures_counted_in_the_window_open_it_whatever_the_minimum_number_of_calls() {
    check(
        "failure_count_threshold 3, sliding_window_size 5, minimum_number_of_calls 5",
        "
        0 fail: recorded
        succeed: recorded
        fail: recorded
        succeed: recorded
        succeed: recorded // in the window: F S F S S
        fail: recorded    // and now S F S S F
        succeed: recorded
        succeed: recorded
        fail: recorded    // S S F: the second of two
        fail: recorded [CLOSED -> OPEN, FAILURE_COUNT]
        ",
    );
}

#[test]
fn a_failure_threshold_of_zero_is_off() {
    check(
        "failure_threshold 0",
        "
        0 fail x200: recorded
        show: CLOSED epoch 0, in a row 200, in the window 100 of 100 failed
        ",
    );
}

#[test]
fn nothing_set_is_five_failures_in_a_row() {
    check(
        "",
        "
        0 fail x4: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        show: OPEN epoch 1, attempts 1, until 60
        ",
    );
}

#[test]
fn an_ignored_error_class_counts_as_nothing_and_wins() {
    check(
        "failure_threshold 2, ignore_error_classes cancelled timeout, record_error_classes timeout refused",
        "
        0 fail class refused: recorded
        fail class cancelled: recorded
        fail class timeout: recorded
        show: CLOSED epoch 0, in a row 1, in the window 1 of 1 failed
        ",
    );
}

/// As resilience4j does it.
#[test]
fn with_a_list_of_classes_to_record_other_failures_count_as_successes() {
    check(
        "failure_threshold 2, record_error_classes timeout refused",
        "
        0 fail class refused: recorded
        fail class other: recorded
        show: CLOSED epoch 0, in a row 0, in the window 1 of 2 failed
        fail: recorded
        show: CLOSED epoch 0, in a row 0, in the window 1 of 3 failed
        fail class timeout: recorded
        fail class timeout: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn rejected_calls_never_enter_a_rate() {
    check(
        "failure_threshold 1, timeout_seconds 30, success_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 allow x50: no OPEN, retry in 29
        30 succeed: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed
        ",
    );
}
