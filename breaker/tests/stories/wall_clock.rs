//! The wall clock is set while breakers run, or while they are down.

use crate::story::check;

#[test]
fn waits_and_leases_do_not_follow_the_wall_clock() {
    check(
        "failure_threshold 1, success_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 wall +7200: ok
        10 allow: no OPEN, retry in 20
        20 wall -86400: ok
        20 allow: no OPEN, retry in 10
        deadline: at 30
        30 allow: yes #1 PROBE [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        ",
    );
}

#[test]
fn what_is_shown_follows_the_wall_clock_of_now() {
    check(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 wall +7200: ok
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        show: OPEN epoch 1, attempts 1, until 7230
        10 wall +3600: ok
        show: OPEN epoch 1, attempts 1, until 3630
        31 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 3630]
        ",
    );
}

#[test]
fn an_override_until_a_time_ends_by_the_wall_clock() {
    check(
        "",
        "
        0 force open until 600: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        10 allow: no FORCED_OPEN, retry in 590
        20 wall -100: ok
        20 allow: no FORCED_OPEN, retry in 680
        deadline: at 700
        // It was in force until the clock was set past its end, and ended then.
        30 wall +7200: ok [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        30 allow: yes #1
        ",
    );
}

#[test]
fn an_override_for_a_duration_does_not_follow_the_wall_clock() {
    check(
        "",
        "
        0 force open for 120: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        10 wall +7200: ok
        10 allow: no FORCED_OPEN, retry in 110
        20 wall +3600: ok
        20 allow: no FORCED_OPEN, retry in 100
        121 poll: ok [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED, at 3720]
        ",
    );
}

#[test]
fn after_a_restart_a_duration_is_never_longer_than_it_was_set() {
    check(
        "",
        "
        0 force open for 120: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        20 restart wall -86400: ok
        20 allow: no FORCED_OPEN, retry in 120
        deadline: at 140
        40 restart wall 0: ok
        40 allow: no FORCED_OPEN, retry in 80
        50 restart wall +7200: ok
        50 allow: yes #1 [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        ",
    );
}

#[test]
fn after_a_restart_an_override_until_a_time_ends_by_the_wall_clock() {
    check(
        "",
        "
        0 disable until 600: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        20 restart wall -86400: ok
        deadline: at 87000
        30 restart wall +7200: ok
        30 allow: yes #1 [DISABLED -> CLOSED, OVERRIDE_EXPIRED, at 600]
        ",
    );
}

#[test]
fn the_override_of_a_service_ends_alike_for_all_its_breakers() {
    check(
        "",
        "
        0 service FORCED_OPEN for 120: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        10 wall -7200: ok
        20 restart wall -7200: ok
        // The store has it as it was set, and the breaker is still in the same.
        20 allow: no FORCED_OPEN, retry in 120
        140 allow: yes #1 [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        150 service FORCED_OPEN until 0: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        160 wall 0: ok [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        160 wall -7200: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        ",
    );
}

#[test]
fn a_wait_after_a_restart_is_never_longer_than_it_was() {
    check(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 restart wall -86400: ok
        10 allow: no OPEN, retry in 30
        20 wall 0: ok
        20 allow: no OPEN, retry in 20
        ",
    );
}

#[test]
fn an_override_for_a_duration_had_ended_before_the_wall_clock_was_set() {
    check(
        "",
        "
        0 force open for 120: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        200 wall +7200: ok [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED, at 7320]
        ",
    );
}
