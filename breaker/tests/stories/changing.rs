//! A change of thresholds keeps state, epoch, counts and attempts.

use crate::story::check;

/// Row 37 (pybreaker).
#[test]
fn a_lower_threshold_is_judged_at_the_next_outcome_and_not_at_the_change() {
    check(
        "failure_threshold 5",
        "
        0 fail x3: recorded
        set failure_threshold 3: ok
        allow: yes #1
        poll: ok
        ignore: recorded
        show: CLOSED epoch 0, in a row 3, in the window 3 of 3 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// Row 38 (Sentinel). That an equal change makes no revision either is the control plane's part.
#[test]
fn the_same_thresholds_again_change_nothing() {
    check(
        "failure_threshold 5, sliding_window_size 10",
        "
        0 fail x4: recorded
        set failure_threshold 5, sliding_window_size 10: ok
        show: CLOSED epoch 0, in a row 4, in the window 4 of 4 failed
        ",
    );
    check("timeout_seconds 30", "0 given open: ok\n 10 set timeout_seconds 30: ok\n deadline: at 30");
}

#[test]
fn open_counts_its_new_wait_from_when_it_opened() {
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        10 set timeout_seconds 100: ok
        show: OPEN epoch 1, attempts 1, until 100
        20 set timeout_seconds 25: ok
        show: OPEN epoch 1, attempts 1, until 25
        ",
    );
}

#[test]
fn a_wait_made_shorter_than_the_time_waited_is_over_at_the_change() {
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        20 set timeout_seconds 15: ok [OPEN -> HALF_OPEN, THRESHOLDS_CHANGED]
        allow: yes #1 PROBE
        ",
    );
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        20 set timeout_seconds 20: ok [OPEN -> HALF_OPEN, THRESHOLDS_CHANGED]
        ",
    );
}

#[test]
fn a_wait_that_was_over_before_the_change_is_stamped_with_its_own_end() {
    check(
        "timeout_seconds 30",
        "
        0 given open: ok
        40 set timeout_seconds 15: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 30]
        ",
    );
}

#[test]
fn a_changed_wait_keeps_its_attempts_and_what_was_asked_for() {
    check(
        "failure_threshold 1, timeout_seconds 10, honor_retry_after true",
        "
        0 fail retry 25: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        set timeout_seconds 20, honor_retry_after true: ok
        deadline: at 25
        set timeout_seconds 20: ok
        deadline: at 20
        20 fail: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> OPEN, PROBES_FAILED]
        set timeout_seconds 10, wait_interval EXPONENTIAL, multiplier 3: ok
        show: OPEN epoch 3, attempts 2, until 50
        ",
    );
}

#[test]
fn half_open_keeps_the_figures_it_was_entered_with() {
    check(
        "success_threshold 3, half_open_permit_timeout 10",
        "
        0 given half-open: ok
        succeed: recorded
        set success_threshold 1, half_open_permit_timeout 1: ok
        succeed: recorded
        show: HALF_OPEN epoch 2, 2 of 3 done, 0 out
        allow: yes #1 PROBE
        5 succeed #1: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn half_open_takes_the_new_figures_at_its_next_entry() {
    check(
        "success_threshold 3",
        "
        0 given half-open: ok
        set success_threshold 1: ok
        fail: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        60 succeed: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        ",
    );
}

#[test]
fn what_a_probe_counts_as_is_judged_by_the_present_thresholds() {
    check(
        "success_threshold 2",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        set success_threshold 2, ignore_error_classes cancelled: ok
        fail #1 class cancelled: recorded
        show: HALF_OPEN epoch 2, 0 of 2 done, 0 out
        ",
    );
}

#[test]
fn a_smaller_window_keeps_its_newest_calls() {
    let rate = "failure_rate_threshold 100, minimum_number_of_calls 100, sliding_window_size";
    check(
        &format!("{rate} 10"),
        &format!(
            "
            0 fail x6: recorded
            succeed x2: recorded
            fail x2: recorded
            set {rate} 5: ok
            show: CLOSED epoch 0, in a row 2, in the window 3 of 5 failed
            set {rate} 10: ok
            show: CLOSED epoch 0, in a row 2, in the window 3 of 5 failed
            succeed: recorded
            show: CLOSED epoch 0, in a row 0, in the window 3 of 6 failed
            "
        ),
    );
}

#[test]
fn a_smaller_window_of_time_keeps_its_newest_seconds() {
    let time = "sliding_window_type TIME_BASED, failure_rate_threshold 100, sliding_window_size";
    check(
        &format!("{time} 20"),
        &format!(
            "
            0 fail: recorded
            12 succeed: recorded
            14 fail: recorded
            set {time} 10: ok
            show: CLOSED epoch 0, in a row 1, in the window 1 of 2 failed
            "
        ),
    );
}

#[test]
fn a_change_of_the_windows_type_empties_it_and_leaves_the_run() {
    check(
        "failure_threshold 5",
        "
        0 fail x3: recorded
        set failure_threshold 5, sliding_window_type TIME_BASED: ok
        show: CLOSED epoch 0, in a row 3, in the window 0 of 0 failed
        fail: recorded
        set failure_threshold 5, sliding_window_type COUNT_BASED: ok
        show: CLOSED epoch 0, in a row 4, in the window 0 of 0 failed
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn an_override_stays_through_a_change() {
    check(
        "",
        "0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]\n set timeout_seconds 1: ok\n 9 allow: no FORCED_OPEN",
    );
    check(
        "",
        "0 disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]\n set failure_threshold 1: ok\n 9 fail: not counted",
    );
    check(
        "failure_threshold 5",
        "
        0 metrics only: ok [CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        fail x3: recorded
        set failure_threshold 3: ok
        show: METRICS_ONLY epoch 1, in a row 3, in the window 3 of 3 failed
        fail: recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        set failure_threshold 5: ok
        fail: recorded [METRICS_ONLY -> would be OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}
