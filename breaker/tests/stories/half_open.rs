//! Half-open: a few probes, and the verdict that their outcomes make.

use crate::story::check;

/// Row 5 (gobreaker).
#[test]
fn as_many_successes_as_the_threshold_close_it() {
    check(
        "failure_threshold 1, success_threshold 2, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        30 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: yes #2 PROBE
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        succeed #1: recorded
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        allow: yes #3
        ",
    );
}

/// Row 6 (gobreaker).
#[test]
fn a_failed_probe_opens_it_again_and_the_wait_starts_anew() {
    check(
        "failure_threshold 1, success_threshold 2",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        allow: yes #2 PROBE
        3 succeed #1: recorded
        5 fail #2: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        show: OPEN epoch 3, attempts 2, until 65
        ",
    );
}

/// Row 7 (all).
#[test]
fn after_half_open_the_counts_begin_at_nothing() {
    check(
        "failure_threshold 3, success_threshold 2",
        "
        0 fail x2: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        60 succeed: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        succeed: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        fail x2: recorded
        show: CLOSED epoch 3, in a row 2, in the window 2 of 2 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// Row 21 (resilience4j).
#[test]
fn with_a_rate_a_share_of_the_probes_may_fail() {
    check(
        "failure_rate_threshold 50, permitted_number_of_calls_in_half_open_state 4",
        "
        0 given half-open: ok
        fail: recorded
        succeed x2: recorded
        succeed: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

/// Row 22 (failsafe).
#[test]
fn it_opens_as_soon_as_the_verdict_can_only_be_to_open() {
    check(
        "failure_rate_threshold 50, permitted_number_of_calls_in_half_open_state 4",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        allow: yes #2 PROBE
        allow: yes #3 PROBE
        allow: yes #4 PROBE
        fail #1: recorded
        fail #2: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        succeed #3: late
        succeed #4: late
        ",
    );
}

#[test]
fn it_closes_as_soon_as_the_verdict_can_only_be_to_close() {
    check(
        "failure_rate_threshold 50, permitted_number_of_calls_in_half_open_state 4",
        "
        0 given half-open: ok
        succeed x2: recorded // two more failures would still open it
        succeed: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

/// Row 23 (failsafe-go).
#[test]
fn with_more_probes_than_successes_needed_some_may_fail() {
    let settings = "success_threshold 2, permitted_number_of_calls_in_half_open_state 3";
    check(
        settings,
        "
        0 given half-open: ok
        fail: recorded
        succeed: recorded
        succeed: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
    check(
        settings,
        "
        0 given half-open: ok
        fail: recorded
        fail: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        ",
    );
}

#[test]
fn without_a_success_threshold_and_a_rate_the_first_failed_probe_opens() {
    check(
        "success_threshold 0, permitted_number_of_calls_in_half_open_state 3",
        "
        0 given half-open: ok
        succeed x2: recorded
        show: HALF_OPEN epoch 2, 2 of 3 done, 0 out
        fail: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        ",
    );
}

#[test]
fn a_share_of_the_probes_is_rounded_up() {
    // 34 % of 3 is 1.02: it takes two.
    check(
        "failure_rate_threshold 34, permitted_number_of_calls_in_half_open_state 3",
        "
        0 given half-open: ok
        fail: recorded
        fail: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        ",
    );
}

#[test]
fn slow_probes_open_it_by_the_slow_rate() {
    check(
        "slow_call_duration_threshold 1, slow_call_rate_threshold 50, \
         permitted_number_of_calls_in_half_open_state 4",
        "
        0 given half-open: ok
        succeed took 2: recorded
        succeed: recorded
        succeed took 2: recorded [HALF_OPEN -> OPEN, PROBES_SLOW]
        ",
    );
    check(
        "slow_call_duration_threshold 1, slow_call_rate_threshold 50, success_threshold 1, \
         permitted_number_of_calls_in_half_open_state 4",
        "
        0 given half-open: ok
        succeed x2: recorded // enough successes, but two slow ones could still come
        succeed: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn a_probe_that_failed_and_was_slow_counts_as_failed_first() {
    check(
        "slow_call_duration_threshold 1, slow_call_rate_threshold 100, success_threshold 1, \
         permitted_number_of_calls_in_half_open_state 1",
        "
        0 given half-open: ok
        fail took 2: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        ",
    );
}

/// Row 24 (resilience4j, gobreaker).
#[test]
fn an_ignored_probe_goes_back() {
    check(
        "permitted_number_of_calls_in_half_open_state 2",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        allow: yes #2 PROBE
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        ignore #1: recorded
        show: HALF_OPEN epoch 2, 0 of 2 done, 1 out
        allow: yes #3 PROBE
        succeed #1: duplicate
        succeed #2: recorded
        succeed #3: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn a_probe_whose_error_class_is_ignored_goes_back() {
    check(
        "success_threshold 1, ignore_error_classes cancelled",
        "
        0 given half-open: ok
        fail class cancelled x20: recorded
        succeed: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn a_released_probe_goes_back_and_counts_no_more() {
    check(
        "success_threshold 1",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        release #1: ok
        succeed #1: late
        allow: yes #2 PROBE
        release #1: ok // no longer its place
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

/// Row 25 (resilience4j #1432). That calls at the same time are one after the other here is the engine's part.
#[test]
fn of_many_calls_at_the_end_of_the_wait_exactly_the_permitted_pass() {
    check(
        "permitted_number_of_calls_in_half_open_state 2",
        "
        0 given open: ok
        60 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: yes #2 PROBE
        allow x62: no HALF_OPEN_EXHAUSTED, retry in 1
        ",
    );
}

/// Row 26.
#[test]
fn a_lost_probe_does_not_jam_the_breaker() {
    check(
        "success_threshold 1, permitted_number_of_calls_in_half_open_state 1, half_open_permit_timeout 10",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        9.25 allow: no HALF_OPEN_EXHAUSTED, retry in 0.75
        9.9 show: HALF_OPEN epoch 2, 0 of 1 done, 1 out
        10 show: HALF_OPEN epoch 2, 0 of 1 done, 0 out
        10 allow: yes #2 PROBE, 1 timed out
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

/// It is told of once, with the call that takes its slot; a slot that was given back, or that nobody held, is no such one.
#[test]
fn a_probe_that_times_out_is_told_of_once() {
    check(
        "success_threshold 1, permitted_number_of_calls_in_half_open_state 2, half_open_permit_timeout 10",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        allow: yes #2 PROBE
        5 release #2: ok
        allow: yes #3 PROBE
        10 allow: yes #4 PROBE, 1 timed out
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        20 allow: yes #5 PROBE, 1 timed out
        allow: yes #6 PROBE, 1 timed out
        succeed #4: late
        ",
    );
}

#[test]
fn an_outcome_after_its_lease_is_late_even_if_its_place_is_still_free() {
    check(
        "success_threshold 1, half_open_permit_timeout 10",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        10 succeed #1: late
        show: HALF_OPEN epoch 2, 0 of 1 done, 0 out
        succeed #1: duplicate
        ",
    );
}

#[test]
fn a_lease_holds_until_its_last_moment() {
    check(
        "success_threshold 1, half_open_permit_timeout 10",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        9.999999 succeed #1: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn a_probe_whose_place_was_given_to_another_is_late() {
    check(
        "success_threshold 1, half_open_permit_timeout 10",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        10 allow: yes #2 PROBE, 1 timed out
        fail #1: late
        ignore #1: duplicate
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

/// Row 27 (resilience4j).
#[test]
fn a_half_open_that_lasts_too_long_opens_again_with_one_more_attempt() {
    check(
        "max_wait_duration_in_half_open_state 5",
        "
        0 given half-open: ok
        deadline: none
        allow: yes #1 PROBE
        deadline: at 5
        4.999 poll: ok
        5 poll: ok [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT]
        show: OPEN epoch 3, attempts 2, until 65
        succeed #1: late
        ",
    );
}

#[test]
fn a_half_open_that_lasts_too_long_can_close_instead() {
    check(
        "max_wait_duration_in_half_open_state 5, transition_to_state_after_wait_duration CLOSED",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        8 allow: yes #2 [HALF_OPEN -> CLOSED, HALF_OPEN_TIMEOUT, at 5]
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn the_longest_half_open_counts_from_the_first_probe() {
    check(
        "timeout_seconds 10, max_wait_duration_in_half_open_state 5",
        "
        0 given open: ok
        10 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        1000 show: HALF_OPEN epoch 2, 0 of 2 done, 0 out
        1000 allow: yes #1 PROBE
        1003 ignore #1: recorded
        allow: yes #2 PROBE
        deadline: at 1005
        1005 fail #2: late [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT]
        ",
    );
}

#[test]
fn one_look_after_a_long_silence_lives_through_everything_that_was_due() {
    check(
        "timeout_seconds 10, max_wait_duration_in_half_open_state 5",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        99 allow: yes #2 PROBE [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT, at 5] [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 15]
        succeed #1: late
        deadline: at 104
        ",
    );
}

#[test]
fn half_open_that_nobody_wants_a_probe_of_is_closed_once_it_is_idle() {
    check(
        "timeout_seconds 10, half_open_permit_timeout 5",
        "
        0 given open: ok
        9 close idle 5: ok // it is waiting
        12 close idle 5: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 10]
        15 close idle 5: ok [HALF_OPEN -> CLOSED, IDLE]
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed
        close idle 0: ok // closed it stays
        ",
    );
}

#[test]
fn half_open_with_a_probe_out_is_not_idle() {
    check(
        "half_open_permit_timeout 5",
        "
        0 given half-open: ok
        8 allow: yes #1 PROBE
        9 close idle 5: ok
        13 close idle 5: ok [HALF_OPEN -> CLOSED, IDLE]
        succeed #1: late
        ",
    );
}
