//! What comes back after a restart.

use crate::story::{check, check_with_store};

/// Row 39 (cockatiel).
#[test]
fn open_goes_on_waiting_through_a_restart() {
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        15 restart: ok // it was down from 10 to 15
        29 allow: no OPEN, retry in 1
        30 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        ",
    );
}

#[test]
fn other_thresholds_at_a_restart_make_another_wait_from_when_it_opened() {
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        15 restart with timeout_seconds 50: ok
        deadline: at 50
        restart with timeout_seconds 10: ok
        poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 10]
        ",
    );
}

#[test]
fn a_wait_that_ended_while_it_was_down_is_stamped_with_its_end() {
    check(
        "timeout_seconds 30",
        "0 given open: ok\n 99 restart: ok\n poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]",
    );
}

#[test]
fn what_is_left_of_a_wait_is_never_longer_than_the_wait() {
    check(
        "timeout_seconds 30",
        "
        1000 given open: ok
        0 restart: ok // the clock was set back meanwhile
        show: OPEN epoch 1, attempts 1, until 30
        ",
    );
}

#[test]
fn closed_comes_back_with_an_empty_window() {
    check(
        "failure_threshold 5",
        "
        0 allow: yes #1
        fail x3: recorded
        restart: ok
        show: CLOSED epoch 0, in a row 0, in the window 0 of 0 failed
        fail #1: recorded // a permit of the former life counts
        fail #1: recorded // and cannot be told from its repeat
        ",
    );
}

#[test]
fn attempts_come_back() {
    check(
        "success_threshold 1, timeout_seconds 10, wait_interval EXPONENTIAL",
        "
        0 given half-open: ok
        fail: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        restart: ok
        show: OPEN epoch 3, attempts 2, until 20
        20 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        show: OPEN epoch 5, attempts 3, until 60
        ",
    );
}

#[test]
fn half_open_comes_back_as_such_and_the_first_look_enters_it_anew() {
    check(
        "success_threshold 2",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        allow: yes #2 PROBE
        succeed #1: recorded
        7 restart: ok
        deadline: none
        show: HALF_OPEN epoch 2, 0 of 2 done, 0 out // starting wrote nothing
        8 succeed #2: late [HALF_OPEN -> HALF_OPEN, RESTART]
        allow: yes #3 PROBE
        allow: yes #4 PROBE
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        succeed #3: recorded
        succeed #4: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn half_open_can_restart_twice_before_anybody_looks() {
    check(
        "success_threshold 1",
        "
        0 given half-open: ok
        restart: ok
        restart: ok
        poll: ok [HALF_OPEN -> HALF_OPEN, RESTART]
        show: HALF_OPEN epoch 3, 0 of 1 done, 0 out
        ",
    );
}

#[test]
fn overrides_come_back_with_their_expiry() {
    check(
        "",
        "
        0 force open until 50: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        20 restart: ok
        allow: no FORCED_OPEN, retry in 30
        restart: ok
        60 allow: yes #1 [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED, at 50]
        ",
    );
    check(
        "failure_threshold 2",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail: recorded
        restart: ok
        show: METRICS_ONLY epoch 1, in a row 0, in the window 0 of 0 failed
        ",
    );
}

/// With several replicas a restart must not spend an epoch: each crash would hand out the probes anew. Whom they went to is
/// known to the store.
#[test]
fn where_the_store_numbers_half_open_comes_back_as_it_is() {
    check_with_store(
        "success_threshold 2, half_open_permit_timeout 10",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        allow: yes #1 PROBE
        3 restart: ok
        succeed #1: for the store
        show: HALF_OPEN epoch 2, 0 of 2 done, 0 out
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}
