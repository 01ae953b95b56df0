//! A replica that the store does not answer: what only the store lets through it decides by itself, until the store answers.

use crate::story::check_with_store;

const SETTINGS: &str = "failure_threshold 1, permitted_number_of_calls_in_half_open_state 2, success_threshold 2, \
                        timeout_seconds 30, half_open_permit_timeout 10";

#[test]
fn alone_an_open_breaker_gives_its_probes_after_its_wait_and_closes_by_them() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        allow: no OPEN, retry in 30
        deadline: at 30
        29 allow: no OPEN, retry in 1
        30 due: yes
        allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        show: HALF_OPEN epoch 5, 0 of 2 done, 1 out
        claim: nothing // of the store
        allow: yes #2 PROBE, alone
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        succeed #1: recorded
        succeed #1: duplicate
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        show: CLOSED epoch 5, in a row 0, in the window 0 of 0 failed
        allow: yes #3, alone
        succeed #3: recorded
        bare succeed: recorded
        bare succeed epoch 5: recorded
        bare succeed epoch 4: late
        succeed #2: late // of another state
        can be retired: no
        ",
    );
}

#[test]
fn what_was_decided_alone_ends_with_the_store_s_answer_and_leaves_nothing_behind() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        30 allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: yes #2 PROBE, alone
        succeed #1: recorded
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        allow: yes #3, alone
        40 not alone: ok
        show: OPEN epoch 5, attempts 1, until 30
        fail #3: late [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]
        succeed #2: late
        allow: no OPEN, in a moment
        won p3 as 6: ok
        show: HALF_OPEN epoch 6, 0 of 2 done, 0 out
        fail #3: late
        ",
    );
}

#[test]
fn a_newer_row_ends_it_though_nobody_has_said_so_yet() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        30 allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        31 adopt CLOSED epoch 7: ok
        show: CLOSED epoch 7, in a row 0, in the window 0 of 0 failed
        fail #1: late
        allow: yes #2
        fail #2: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn alone_it_opens_anew_and_waits_as_long_as_it_would() {
    check_with_store(
        "failure_threshold 1, permitted_number_of_calls_in_half_open_state 1, timeout_seconds 30, \
         wait_interval EXPONENTIAL, multiplier 2",
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        30 allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        fail #1: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        show: OPEN epoch 5, attempts 2, until 90
        allow: no OPEN, retry in 60
        deadline: at 90
        90 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: yes #2 PROBE, alone
        fail #1: late
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        show: OPEN epoch 5, attempts 1, until 120
        ",
    );
}

#[test]
fn a_trip_that_the_store_has_not_answered_goes_on_too_and_is_answered_later() {
    check_with_store(
        SETTINGS,
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 alone: ok
        poll: ok
        deadline: at 30
        show: OPEN epoch 0, attempts 1, until 30
        30 allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: yes #2 PROBE, alone
        succeed #1: recorded
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        40 allow: yes #3, alone
        not alone: ok
        allow: no OPEN, retry in 0 // until the store has said what became of the trip
        lost p1 to CLOSED epoch 0 revision 1: ok
        allow: yes #4
        succeed #3: late
        ",
    );
}

#[test]
fn the_answer_to_what_was_decided_alone_is_only_a_row() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        30 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        not alone: ok
        lost p1 to OPEN epoch 5 since 0 wait 30 revision 1: ok
        show: OPEN epoch 5, attempts 1, until 30
        allow: no OPEN, in a moment [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        lost p1 to OPEN epoch 5 since 0 wait 30 revision 1: ok
        won p2 as 6: ok
        show: HALF_OPEN epoch 6, 0 of 2 done, 0 out
        ",
    );
}

#[test]
fn a_half_open_that_waits_for_the_store_is_one_of_this_replica_s_own() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        30 allow: no OPEN, in a moment [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        33 allow: no OPEN, in a moment
        alone: ok
        deadline: at 30
        allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]
        40 won p1 as 6: ok // a moment before it is said that it is not alone
        show: HALF_OPEN epoch 6, 0 of 2 done, 0 out
        not alone: ok
        succeed #1: late
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        ",
    );
}

#[test]
fn a_half_open_of_the_store_is_entered_anew_and_its_probes_stay_the_store_s() {
    check_with_store(
        SETTINGS,
        "
        0 adopt HALF_OPEN epoch 6: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        allow: yes #1 PROBE
        3 alone: ok
        succeed #1: for the store
        allow: yes #2 PROBE, alone [HALF_OPEN -> HALF_OPEN, RESTART]
        allow: yes #3 PROBE, alone
        allow: no HALF_OPEN_EXHAUSTED, retry in 1
        13 allow: yes #4 PROBE, 1 timed out, alone // its lease is over
        succeed #2: late
        not alone: ok
        show: HALF_OPEN epoch 6, 0 of 2 done, 0 out
        ",
    );
}

#[test]
fn alone_a_closed_breaker_is_as_ever_and_an_override_stays() {
    check_with_store(
        SETTINGS,
        "
        0 alone: ok
        allow: yes #1
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        allow: no OPEN, retry in 30
        1 adopt FORCED_OPEN epoch 2 for 10: ok
        60 allow: no FORCED_OPEN [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED, at 11]
        allow: no FORCED_OPEN
        ",
    );
}

#[test]
fn an_emergency_stop_ends_what_was_decided_alone() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        30 allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        force open: ok [OPEN -> FORCED_OPEN, OVERRIDE_SET]
        allow: no FORCED_OPEN
        succeed #1: late
        100 allow: no FORCED_OPEN
        ",
    );
}

#[test]
fn thresholds_that_change_are_those_of_what_is_decided_alone() {
    check_with_store(
        SETTINGS,
        "
        0 adopt OPEN epoch 5 wait 30: ok
        alone: ok
        30 allow: yes #1 PROBE, alone [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: yes #2 PROBE, alone
        succeed #1: recorded
        succeed #2: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        set failure_threshold 2: ok
        fail: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        not alone: ok
        show: OPEN epoch 5, attempts 1, until 60 // as its thresholds say now
        ",
    );
}
