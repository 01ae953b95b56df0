//! What an operator sets, and takes back.

use crate::story::check;

/// Row 33 (Polly, resilience4j).
#[test]
fn forced_open_denies_and_never_leaves_by_itself() {
    check(
        "timeout_seconds 1",
        "
        0 allow: yes #1
        force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        deadline: none
        allow: no FORCED_OPEN
        succeed #1: late
        1000000 allow: no FORCED_OPEN
        ",
    );
}

/// Row 34 (resilience4j).
#[test]
fn disabled_lets_everything_pass_and_records_nothing() {
    check(
        "failure_threshold 3",
        "
        0 fail x2: recorded
        disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        allow: yes #1 DISABLED
        fail #1: not counted
        fail x100: not counted
        show: DISABLED epoch 1
        clear: ok [DISABLED -> CLOSED, OVERRIDE_CLEARED]
        show: CLOSED epoch 2, in a row 0, in the window 0 of 0 failed
        ",
    );
}

/// Row 35 (resilience4j).
#[test]
fn reset_closes_and_forgets_counts_and_attempts() {
    check(
        "failure_threshold 1, timeout_seconds 1, wait_interval EXPONENTIAL",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        show: OPEN epoch 3, attempts 2, until 3
        reset: ok [OPEN -> CLOSED, RESET]
        show: CLOSED epoch 4, in a row 0, in the window 0 of 0 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        show: OPEN epoch 5, attempts 1, until 2
        ",
    );
}

#[test]
fn reset_takes_an_override_and_counts_back_too() {
    check("", "0 disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]\n reset: ok [DISABLED -> CLOSED, RESET]");
    check(
        "",
        "
        0 fail x3: recorded
        reset: ok [CLOSED -> CLOSED, RESET]
        show: CLOSED epoch 1, in a row 0, in the window 0 of 0 failed
        ",
    );
}

/// Row 36 (resilience4j).
#[test]
fn a_probe_can_be_asked_for_only_while_open() {
    check(
        "",
        "
        0 probe: refused
        show: CLOSED epoch 0, in a row 0, in the window 0 of 0 failed
        given open: ok
        5 probe: ok [OPEN -> HALF_OPEN, PROBE_REQUESTED]
        probe: refused
        allow: yes #1 PROBE
        force open: ok [HALF_OPEN -> FORCED_OPEN, OVERRIDE_SET]
        probe: refused
        disable: ok [FORCED_OPEN -> DISABLED, OVERRIDE_SET]
        probe: refused
        metrics only: ok [DISABLED -> METRICS_ONLY, OVERRIDE_SET]
        probe: refused
        ",
    );
}

#[test]
fn metrics_only_lets_pass_and_says_once_a_crossing_what_it_would_have_done() {
    check(
        "failure_threshold 2",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail: recorded
        fail: recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        fail x3: recorded
        allow: yes #1 METRICS_ONLY, would be denied
        succeed: recorded
        fail: recorded
        fail: recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        show: METRICS_ONLY epoch 1, in a row 2, in the window 7 of 8 failed
        clear: ok [METRICS_ONLY -> CLOSED, OVERRIDE_CLEARED]
        show: CLOSED epoch 2, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn a_crossing_is_over_when_the_counts_fell_below_the_trip_in_between() {
    check(
        "sliding_window_type TIME_BASED, sliding_window_size 10, failure_count_threshold 1",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail: recorded [METRICS_ONLY -> would be OPEN, FAILURE_COUNT]
        9 fail: recorded
        25 fail: recorded [METRICS_ONLY -> would be OPEN, FAILURE_COUNT]
        ",
    );
}

#[test]
fn an_override_ends_closed_and_clean_at_its_expiry() {
    let with = |story: &str| check("failure_threshold 2", story);
    with(
        "
        0 fail: recorded
        force open until 90: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        deadline: at 90
        30 allow: no FORCED_OPEN, retry in 60
        100 allow: yes #1 [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED, at 90]
        show: CLOSED epoch 2, in a row 0, in the window 0 of 0 failed
        ",
    );
    with(
        "
        0 disable until 90: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        90 fail: recorded [DISABLED -> CLOSED, OVERRIDE_EXPIRED]
        ",
    );
    with(
        "
        0 metrics only until 90: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        allow: yes #1 METRICS_ONLY
        fail: recorded
        deadline: at 90
        90 fail #1: late [METRICS_ONLY -> CLOSED, OVERRIDE_EXPIRED]
        clear: refused
        ",
    );
}

#[test]
fn an_override_set_too_late_never_ends_before_it_began() {
    check(
        "",
        "
        50 disable until 20: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        60 poll: ok [DISABLED -> CLOSED, OVERRIDE_EXPIRED, at 50]
        ",
    );
}

#[test]
fn the_same_override_again_is_no_change() {
    check(
        "",
        "
        0 disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        1 disable: ok
        1 disable until 90: ok [DISABLED -> DISABLED, OVERRIDE_SET]
        ",
    );
}

#[test]
fn clearing_what_is_not_set_is_refused() {
    check("", "0 clear: refused");
    check(
        "timeout_seconds 30",
        "0 given open: ok\n 31 clear: refused [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]",
    );
}

#[test]
fn metrics_only_says_of_a_call_that_it_would_be_denied() {
    let with = |settings: &str, story: &str| check(settings, story);
    with(
        "failure_threshold 2, timeout_seconds 30",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail: recorded
        allow: yes #1 METRICS_ONLY
        fail: recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        allow: yes #2 METRICS_ONLY, would be denied
        succeed: recorded
        29.999 allow: yes #3 METRICS_ONLY, would be denied // no longer past the trip, but within the wait
        30 allow: yes #4 METRICS_ONLY
        fail x2: recorded; recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        90 allow: yes #5 METRICS_ONLY, would be denied // the wait is over, and the failures go on
        succeed: recorded
        allow: yes #6 METRICS_ONLY
        ",
    );
    with(
        "sliding_window_type TIME_BASED, sliding_window_size 10, failure_count_threshold 1, timeout_seconds 2",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail: recorded [METRICS_ONLY -> would be OPEN, FAILURE_COUNT]
        9 allow: yes #1 METRICS_ONLY, would be denied
        11 allow: yes #2 METRICS_ONLY // it has left the window
        ",
    );
    with(
        "failure_threshold 1, timeout_seconds 1, honor_retry_after true",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail retry 60: recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        succeed: recorded
        59 allow: yes #1 METRICS_ONLY, would be denied
        60 allow: yes #2 METRICS_ONLY
        metrics only until 90: ok [METRICS_ONLY -> METRICS_ONLY, OVERRIDE_SET]
        allow: yes #3 METRICS_ONLY
        ",
    );
}

#[test]
fn a_breaker_that_is_deleted_is_closed_and_what_it_allowed_is_late() {
    check(
        "failure_threshold 2",
        "
        0 allow: yes #1
        fail: recorded
        delete: ok [CLOSED -> CLOSED, DELETED]
        fail #1: late
        show: CLOSED epoch 1, in a row 0, in the window 0 of 0 failed
        can be retired: yes
        ",
    );
    check("", "0 given open: ok\n delete: ok [OPEN -> CLOSED, DELETED]");
    check("", "0 service DISABLED: ok [CLOSED -> DISABLED, OVERRIDE_SET]\n delete: refused");
}
