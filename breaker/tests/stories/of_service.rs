//! Overrides of a whole service, as one breaker of it sees them.

use crate::story::{check, check_with_store};

#[test]
fn it_is_in_the_override_of_its_service_until_that_is_cleared() {
    check(
        "",
        "
        0 allow: yes #1
        service FORCED_OPEN: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        allow: no FORCED_OPEN
        succeed #1: late
        service FORCED_OPEN: ok // the same again is no change
        service DISABLED: ok [FORCED_OPEN -> DISABLED, OVERRIDE_SET]
        service clear: ok [DISABLED -> CLOSED, OVERRIDE_CLEARED]
        service clear: ok
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn one_born_under_it_is_in_it_from_birth_and_no_transition_tells_of_it() {
    check(
        "",
        "
        5 born under FORCED_OPEN until 90: ok
        allow: no FORCED_OPEN, retry in 85
        show: FORCED_OPEN epoch 0
        deadline: at 90
        90 allow: yes #1 [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        show: CLOSED epoch 1, in a row 0, in the window 0 of 0 failed
        ",
    );
    check("", "90 born under FORCED_OPEN until 90: ok // which has ended\n allow: yes #1");
    check("", "0 born under DISABLED: ok\n service clear: ok [DISABLED -> CLOSED, OVERRIDE_CLEARED]");
}

#[test]
fn its_own_override_stands_over_its_services() {
    check(
        "",
        "
        0 disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        service FORCED_OPEN: ok
        allow: yes #1 DISABLED
        clear: ok [DISABLED -> CLOSED, OVERRIDE_CLEARED] [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        allow: no FORCED_OPEN
        disable: ok [FORCED_OPEN -> DISABLED, OVERRIDE_SET]
        service clear: ok
        allow: yes #2 DISABLED
        clear: ok [DISABLED -> CLOSED, OVERRIDE_CLEARED]
        ",
    );
}

#[test]
fn when_its_own_expires_it_takes_its_services_up() {
    check(
        "",
        "
        0 service FORCED_OPEN until 90: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        disable until 30: ok [FORCED_OPEN -> DISABLED, OVERRIDE_SET]
        deadline: at 30
        40 allow: no FORCED_OPEN, retry in 50 [DISABLED -> CLOSED, OVERRIDE_EXPIRED, at 30] [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        deadline: at 90
        90 poll: ok [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        ",
    );
    check(
        "",
        "
        0 service FORCED_OPEN until 40: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        disable until 30: ok [FORCED_OPEN -> DISABLED, OVERRIDE_SET]
        50 allow: yes #1 [DISABLED -> CLOSED, OVERRIDE_EXPIRED, at 30]
        ",
    );
}

#[test]
fn what_it_has_from_its_service_can_neither_be_cleared_nor_reset_on_the_breaker() {
    check(
        "",
        "
        0 service FORCED_OPEN until 90: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        clear: refused
        reset: refused
        probe: refused
        show: FORCED_OPEN epoch 1
        disable: ok [FORCED_OPEN -> DISABLED, OVERRIDE_SET]
        reset: refused // it would not be closed
        90 reset: ok [DISABLED -> CLOSED, RESET]
        ",
    );
}

#[test]
fn it_comes_back_in_what_it_was_in_and_a_crash_in_between_is_made_good() {
    check(
        "",
        "
        0 service FORCED_OPEN: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        restart: ok
        allow: no FORCED_OPEN
        service FORCED_OPEN: ok // the walk at the start finds nothing to do
        // Cleared in the store, and the process died before the breaker heard of it.
        forgets its service: ok
        restart: ok
        allow: no FORCED_OPEN
        service clear: ok [FORCED_OPEN -> CLOSED, OVERRIDE_CLEARED]
        ",
    );
}

#[test]
fn its_own_override_stands_over_its_services_after_a_restart_too() {
    check(
        "",
        "
        0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        service DISABLED: ok
        restart: ok
        allow: no FORCED_OPEN
        clear: ok [FORCED_OPEN -> CLOSED, OVERRIDE_CLEARED] [CLOSED -> DISABLED, OVERRIDE_SET]
        ",
    );
}

#[test]
fn what_the_store_refused_is_not_proposed_again_until_the_breaker_is_told() {
    check_with_store(
        "",
        "
        0 service FORCED_OPEN: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        lost p1 to CLOSED epoch 0 revision 2: ok // it was cleared meanwhile
        allow: yes #1
        poll: ok
        service FORCED_OPEN: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        ",
    );
}

#[test]
fn what_lost_against_a_trip_is_proposed_again() {
    check_with_store(
        "",
        "
        0 service FORCED_OPEN: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        lost p1 to OPEN epoch 1: ok
        poll: ok [OPEN -> FORCED_OPEN, OVERRIDE_SET]
        ",
    );
}

#[test]
fn one_that_the_store_let_leave_the_override_does_not_take_it_up_again() {
    check_with_store(
        "",
        "
        0 service FORCED_OPEN: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        won p1 as 1: ok
        adopt CLOSED epoch 2: ok // another replica has heard that it was cleared
        poll: ok
        allow: yes #1
        ",
    );
}

#[test]
fn an_override_of_the_service_ends_when_the_store_says_so() {
    check_with_store(
        "",
        "
        5 born under FORCED_OPEN until 90: ok
        allow: no FORCED_OPEN, retry in 85
        deadline: none
        500 allow: no FORCED_OPEN, retry in 0 // a fast clock
        service clear: ok [FORCED_OPEN -> CLOSED, OVERRIDE_CLEARED]
        ",
    );
}
