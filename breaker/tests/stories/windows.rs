//! What the window holds: calls exactly, time in twenty slices.

use crate::story::check;

const TIME: &str = "sliding_window_type TIME_BASED, sliding_window_size 10, failure_rate_threshold 50";

/// Row 14 (resilience4j, Polly).
#[test]
fn failures_within_a_window_of_time_open_it() {
    check(
        &format!("{TIME}, minimum_number_of_calls 4"),
        "
        0 fail: recorded
        3 fail: recorded
        6 fail: recorded
        8 fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 15 (resilience4j, failsafe-go).
#[test]
fn failures_that_left_a_window_of_time_count_no_more() {
    check(
        &format!("{TIME}, minimum_number_of_calls 4"),
        "
        0 fail x2: recorded
        9.999 poll: ok
        show: CLOSED epoch 0, in a row 2, in the window 2 of 2 failed
        10 fail x2: recorded
        show: CLOSED epoch 0, in a row 4, in the window 2 of 2 failed
        ",
    );
}

/// Row 16 (sliding windows).
#[test]
fn nothing_is_lost_at_the_boundary_of_a_window_of_time() {
    check(
        &format!("{TIME}, minimum_number_of_calls 4"),
        "
        9.9 fail x2: recorded
        10.1 fail: recorded
        fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Row 17 (resilience4j).
#[test]
fn the_minimum_number_of_calls_is_not_clamped_in_a_window_of_time() {
    check(
        &format!("{TIME}, minimum_number_of_calls 100"),
        "
        0 fail x40: recorded
        4 fail x40: recorded
        show: CLOSED epoch 0, in a row 80, in the window 80 of 80 failed
        fail x19: recorded
        fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

#[test]
fn an_outcome_in_a_window_of_time_leaves_with_its_slice() {
    check(
        TIME,
        "
        0.499 fail: recorded  // the last moment of its slice: 9.501 s to live
        0.5 fail: recorded    // the first of the next one: 10 s
        9.999 poll: ok
        show: CLOSED epoch 0, in a row 2, in the window 2 of 2 failed
        10 poll: ok
        show: CLOSED epoch 0, in a row 2, in the window 1 of 1 failed
        10.499 poll: ok
        show: CLOSED epoch 0, in a row 2, in the window 1 of 1 failed
        10.5 poll: ok
        show: CLOSED epoch 0, in a row 2, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn a_window_of_calls_forgets_the_oldest_call_first() {
    check(
        "failure_rate_threshold 60, sliding_window_size 3, minimum_number_of_calls 1, failure_count_threshold 3",
        "
        0 succeed x3: recorded
        fail: recorded
        succeed x2: recorded
        show: CLOSED epoch 0, in a row 0, in the window 1 of 3 failed
        succeed: recorded
        show: CLOSED epoch 0, in a row 0, in the window 0 of 3 failed
        1000000 fail: recorded // age is nothing to it
        fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

#[test]
fn a_long_silence_empties_a_window_of_time_and_leaves_the_run() {
    check(
        &format!("{TIME}, failure_threshold 3, minimum_number_of_calls 3"),
        "
        0 fail x2: recorded
        1000000 poll: ok
        show: CLOSED epoch 0, in a row 2, in the window 0 of 0 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_clock_that_goes_back_stands_still() {
    check(
        &format!("{TIME}, minimum_number_of_calls 4, timeout_seconds 30"),
        "
        100 fail x2: recorded
        0 fail: recorded  // counts as 100
        109.9 fail: recorded [CLOSED -> OPEN, FAILURE_RATE]
        50 show: OPEN epoch 1, attempts 1, until 139.9
        50 allow: no OPEN, retry in 30
        139.9 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        10 succeed #1: recorded
        ",
    );
}

#[test]
fn a_window_of_time_ages_while_metrics_only_looks_on_too() {
    check(
        TIME,
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail x2: recorded
        9.999 poll: ok
        show: METRICS_ONLY epoch 1, in a row 2, in the window 2 of 2 failed
        10 poll: ok
        show: METRICS_ONLY epoch 1, in a row 2, in the window 0 of 0 failed
        ",
    );
}
