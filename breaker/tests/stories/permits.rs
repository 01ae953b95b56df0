//! What an outcome counts for, by what it is reported under.

use crate::story::check;

/// Row 30.
#[test]
fn two_reports_under_one_permit_count_once() {
    check(
        "failure_threshold 3",
        "
        0 allow: yes #1
        fail #1: recorded
        fail #1 x5: duplicate
        show: CLOSED epoch 0, in a row 1, in the window 1 of 1 failed
        ",
    );
}

#[test]
fn a_repeat_is_told_whatever_the_second_report_says() {
    check(
        "failure_threshold 3",
        "
        0 allow: yes #1
        ignore #1: recorded
        fail #1: duplicate
        show: CLOSED epoch 0, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn a_repeat_from_an_earlier_epoch_is_a_duplicate_when_it_was_seen_and_late_when_not() {
    check(
        "failure_threshold 1",
        "
        0 allow: yes #1
        allow: yes #2
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        fail #1: duplicate
        fail #2: late
        fail #2: duplicate
        ",
    );
}

#[test]
fn a_repeat_of_a_probe_counts_once() {
    check(
        "success_threshold 2",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        succeed #1: recorded
        succeed #1: duplicate
        show: HALF_OPEN epoch 2, 1 of 2 done, 0 out
        ",
    );
}

#[test]
fn a_permit_older_than_the_last_2560_counts_without_the_promise() {
    check(
        "failure_threshold 0",
        "
        0 allow: yes #1
        fail #1: recorded
        succeed x2559: recorded
        fail #1: duplicate
        succeed: recorded
        fail #1: recorded
        ",
    );
}

#[test]
fn a_permit_of_another_process_counts_in_closed_and_its_repeats_are_not_told() {
    check(
        "failure_threshold 3",
        "
        0 allow: yes #1
        foreign fail #1: recorded
        foreign fail #1: recorded
        foreign fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        foreign fail #1: late
        ",
    );
}

#[test]
fn a_probe_counts_once_whoever_reports_it() {
    check(
        "success_threshold 2",
        "
        0 given half-open: ok
        allow: yes #1 PROBE
        foreign succeed #1: recorded
        foreign succeed #1: duplicate // its slot is completed
        succeed #1: duplicate
        ",
    );
}

#[test]
fn an_outcome_without_a_permit_counts_in_closed() {
    check(
        "failure_threshold 3",
        "
        0 bare fail: recorded
        bare fail epoch 0: recorded
        bare ignore: recorded
        bare fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn an_outcome_without_a_permit_is_not_counted_elsewhere() {
    let with = |story: &str| check("failure_threshold 3, timeout_seconds 30", story);
    with(
        "0 given open: ok\n bare fail: not counted\n bare fail epoch 1: not counted\n bare fail epoch 0: late",
    );
    with("0 given half-open: ok\n bare succeed: not counted\n bare succeed epoch 2: not counted");
    with("0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]\n bare fail: not counted");
    with("0 disable: ok [CLOSED -> DISABLED, OVERRIDE_SET]\n bare fail epoch 1: not counted");
}

#[test]
fn an_outcome_that_names_an_epoch_yet_to_come_is_not_counted() {
    check("failure_threshold 1", "0 bare fail epoch 1: not counted");
}

#[test]
fn an_outcome_of_an_earlier_epoch_changes_nothing_in_any_state() {
    let settings = "failure_threshold 1, success_threshold 1, timeout_seconds 30";
    let opened = "0 allow: yes #1
        allow: yes #2
        allow: yes #3
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]\n";
    let with = |rest: &str| check(settings, &format!("{opened}{rest}"));
    with("30 fail #2: late [OPEN -> HALF_OPEN, WAIT_ELAPSED]\n show: HALF_OPEN epoch 2, 0 of 1 done, 0 out");
    with(
        "30 succeed: recorded [OPEN -> HALF_OPEN, WAIT_ELAPSED] [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        fail #2: late
        bare fail epoch 2: late
        foreign fail #3: late
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed",
    );
    with("metrics only: ok [OPEN -> METRICS_ONLY, OVERRIDE_SET]\n fail #2: late");
}
