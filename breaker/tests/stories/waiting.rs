//! OPEN: how long, and what does not change it.

use crate::story::check;

/// Row 4 (Polly, Sentinel).
#[test]
fn the_wait_is_over_at_its_end_and_not_before() {
    check(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        deadline: at 30
        29.999 allow: no OPEN, retry in 0.001
        30 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        ",
    );
}

#[test]
fn half_open_is_stamped_with_the_end_of_the_wait_whoever_looks_and_however_late() {
    let settings = "failure_threshold 1, timeout_seconds 30";
    let opened = "0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]\n";
    let with = |rest: &str| check(settings, &format!("{opened}{rest}"));
    with("77 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]");
    with("77 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]");
    with("77 bare fail: not counted [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]");
    with("77 probe: refused [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]");
}

/// Row 28 (Polly, resilience4j).
#[test]
fn a_late_failure_does_not_prolong_the_wait() {
    check(
        "failure_threshold 1",
        "
        0 allow: yes #1
        allow: yes #2
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        5 fail #2 retry 600: late
        show: OPEN epoch 1, attempts 1, until 60
        ",
    );
}

/// Row 29.
#[test]
fn a_late_success_does_not_close() {
    check(
        "failure_threshold 1",
        "
        0 allow: yes #1
        allow: yes #2
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        5 succeed #2: late
        show: OPEN epoch 1, attempts 1, until 60
        ",
    );
}

/// Row 31 (resilience4j, Polly).
#[test]
fn an_exponential_wait_grows_with_the_attempts_up_to_the_most_and_begins_again_after_a_close() {
    check(
        "failure_threshold 1, success_threshold 1, timeout_seconds 1, wait_interval EXPONENTIAL, multiplier 2, \
         max_wait 5",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        deadline: at 1
        1 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 3
        3 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 7
        7 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 12
        12 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        show: OPEN epoch 9, attempts 5, until 17
        17 succeed: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        20 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        show: OPEN epoch 12, attempts 1, until 21
        ",
    );
}

#[test]
fn a_fixed_wait_does_not_grow() {
    check(
        "failure_threshold 1, timeout_seconds 1, multiplier 2",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        2 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        show: OPEN epoch 5, attempts 3, until 3
        ",
    );
}

#[test]
fn the_longest_wait_is_ten_minutes_or_the_wait_if_that_is_longer() {
    let grown = "failure_threshold 1, wait_interval EXPONENTIAL, multiplier 10, timeout_seconds";
    check(
        &format!("{grown} 60"),
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        60 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        660 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 1260
        ",
    );
    check(
        &format!("{grown} 900"),
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        900 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 1800
        ",
    );
}

#[test]
fn a_slow_success_that_counts_as_a_failure_lengthens_no_wait() {
    let slow = "slow_call_duration_threshold 1, slow_calls_as_failures true, honor_retry_after true";
    check(
        &format!("failure_threshold 1, {slow}, wait_duration_in_open_state 60"),
        "
        0 succeed took 2 retry 300: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        deadline: at 60
        ",
    );
    check(
        &format!("failure_threshold 1, {slow}, wait_duration_in_open_state 60"),
        "
        0 fail took 2 retry 300: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        deadline: at 300
        ",
    );
}

/// Row 32 (failsafe).
#[test]
fn a_retry_after_lengthens_the_wait_when_it_is_honoured() {
    let opened = "0 fail retry 120: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]\n";
    let with = |settings: &str, rest: &str| {
        check(&format!("failure_threshold 1, {settings}"), &format!("{opened}{rest}"));
    };
    with("honor_retry_after true", "deadline: at 120\nallow: no OPEN, retry in 120");
    with("honor_retry_after true, max_wait 90", "deadline: at 90");
    with("honor_retry_after true, timeout_seconds 200", "deadline: at 200");
    with("honor_retry_after false", "deadline: at 60");
}

#[test]
fn only_the_failure_that_opens_can_ask_for_a_longer_wait() {
    check(
        "failure_threshold 2, honor_retry_after true",
        "
        0 fail retry 300: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        deadline: at 60
        60 fail retry 90: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 150
        ",
    );
    check(
        "failure_rate_threshold 50, sliding_window_size 2, honor_retry_after true",
        "
        0 fail retry 300: recorded
        succeed retry 300: recorded [CLOSED -> OPEN, FAILURE_RATE]
        deadline: at 60
        ",
    );
}

#[test]
fn a_failed_probe_can_ask_for_a_longer_wait_too() {
    check(
        "success_threshold 1, honor_retry_after true",
        "
        0 given half-open: ok
        fail retry 100: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        deadline: at 100
        ",
    );
}

#[test]
fn a_denied_caller_is_told_the_rest_of_the_wait() {
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        12.5 allow: no OPEN, retry in 17.5
        ",
    );
}
