//! What other replicas counted.

use crate::story::check;

#[test]
fn failures_elsewhere_prolong_the_run() {
    check(
        "failure_threshold 5",
        "
        0 fail x2: recorded
        remote 2 failed: ok
        show: CLOSED epoch 0, in a row 4, in the window 4 of 4 failed
        remote 1 failed: ok [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// The order among replicas is unknown; adding each one's run up opens far too often.
#[test]
fn any_success_elsewhere_ends_the_run() {
    check(
        "failure_threshold 5",
        "
        0 fail x4: recorded
        remote 1 succeeded 30 failed: ok
        show: CLOSED epoch 0, in a row 0, in the window 34 of 35 failed
        fail x4: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
    check(
        "failure_threshold 5, slow_call_duration_threshold 1",
        "
        0 fail x4: recorded
        remote 1 slow 30 failed: ok
        show: CLOSED epoch 0, in a row 0, in the window 34 of 35 failed, 1 slow
        ",
    );
}

#[test]
fn a_rate_is_taken_over_all_replicas() {
    check(
        "failure_rate_threshold 50, minimum_number_of_calls 10",
        "
        0 fail x5: recorded
        remote 7 succeeded: ok
        show: CLOSED epoch 0, in a row 0, in the window 5 of 12 failed
        remote 2 failed: ok [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Trips are tested on outcomes, never on a read.
#[test]
fn a_read_that_brings_nothing_new_opens_nothing() {
    check(
        "failure_threshold 5",
        "
        0 fail x3: recorded
        set failure_threshold 3: ok
        remote 0 failed: ok
        show: CLOSED epoch 0, in a row 3, in the window 3 of 3 failed
        remote 1 failed: ok [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn reporters_elsewhere_count_too() {
    check(
        "failure_threshold 3, minimum_reporters 2",
        "
        0 fail by X x5: recorded
        remote 1 failed by X: ok
        remote 1 failed by Y: ok [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
    check(
        "failure_threshold 3, minimum_reporters 2",
        "
        0 fail by X x2: recorded
        remote 1 succeeded 9 failed by X Y: ok
        fail by X x3: recorded // the run began after Y's
        fail by Y: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn nothing_from_elsewhere_counts_outside_closed() {
    let with = |story: &str| check("failure_threshold 1, success_threshold 1, timeout_seconds 30", story);
    with("0 given open: ok\n remote 9 failed: ok\n show: OPEN epoch 1, attempts 1, until 30");
    with("0 given half-open: ok\n remote 9 failed: ok\n show: HALF_OPEN epoch 2, 0 of 1 done, 0 out");
    with("0 disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]\n remote 9 failed: ok");
    with(
        "0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]\n remote 9 failed: ok [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]",
    );
}

#[test]
fn a_busy_fleet_is_counted_whole_in_a_window_of_time() {
    check(
        "failure_rate_threshold 50, sliding_window_type TIME_BASED, sliding_window_size 10",
        "
        0 remote 90000 succeeded 12000 failed: ok
        show: CLOSED epoch 0, in a row 0, in the window 12000 of 102000 failed
        ",
    );
}

/// More came in than the window holds: what stays must be as good or as bad as all of it.
#[test]
fn a_window_of_calls_keeps_the_share_of_what_came_at_once() {
    check(
        "failure_rate_threshold 50, sliding_window_size 10, minimum_number_of_calls 10",
        "
        0 remote 800 succeeded 200 failed: ok
        show: CLOSED epoch 0, in a row 0, in the window 2 of 10 failed
        ",
    );
    check(
        "failure_rate_threshold 50, sliding_window_size 10, minimum_number_of_calls 10",
        "
        0 remote 4000000000 succeeded 4000000000 failed: ok [CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}
