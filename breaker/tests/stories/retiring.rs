//! What is lost with a breaker that is forgotten, and when a look at it changes something.

use crate::story::{check, check_with_store};

#[test]
fn nothing_is_lost_with_a_breaker_that_never_left_the_state_it_was_created_in() {
    check(
        "failure_threshold 5, success_threshold 1",
        "
        0 can be retired: pristine
        fail x4: recorded
        can be retired: pristine
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        can be retired: no
        60 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        can be retired: no
        succeed #1: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        can be retired: yes
        ",
    );
    check(
        "",
        "
        0 born under FORCED_OPEN: ok
        can be retired: pristine
        service clear: ok [FORCED_OPEN -> CLOSED, OVERRIDE_CLEARED]
        can be retired: yes
        ",
    );
}

#[test]
fn a_breaker_in_an_override_that_it_was_not_created_in_is_not_retired() {
    check("", "0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]\n can be retired: no");
    check("", "0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]\n can be retired: no");
    check("", "0 service DISABLED: ok [CLOSED -> DISABLED, OVERRIDE_SET]\n can be retired: no");
}

#[test]
fn a_breaker_whose_transition_is_not_confirmed_is_not_retired() {
    check_with_store(
        "failure_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        can be retired: no
        reset: ok [OPEN -> CLOSED, RESET]
        can be retired: no
        won p1 as 1: ok
        can be retired: no
        won p2 as 2: ok
        can be retired: yes
        ",
    );
    check_with_store("", "0 reset: ok [CLOSED -> CLOSED, RESET]\n can be retired: no");
    // The store went back, to an OPEN that has no number.
    check_with_store("", "0 adopt OPEN epoch 0 wait 30: ok\n can be retired: no");
}

#[test]
fn a_look_is_due_when_it_would_change_the_state() {
    check(
        "timeout_seconds 30",
        "
        0 due: no
        given open: ok
        29.999 due: no
        30 due: yes
        poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        due: no
        restart: ok
        due: yes
        poll: ok [HALF_OPEN -> HALF_OPEN, RESTART]
        due: no
        force open until 40: ok [HALF_OPEN -> FORCED_OPEN, OVERRIDE_SET]
        due: no
        40 due: yes
        ",
    );
}

#[test]
fn no_look_is_due_while_the_store_has_not_confirmed_the_last() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        30 due: no
        won p1 as 1: ok
        due: no
        60 due: yes
        ",
    );
}
