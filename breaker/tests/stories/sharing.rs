//! What several replicas count of one breaker, together.

use crate::fleet::check;

#[test]
fn failures_in_several_replicas_add_up() {
    check(
        "A B C",
        "failure_threshold 5",
        "
        0.00 A fail: ok
        0.01 B fail: ok
        0.02 C fail: ok
        0.03 B fail: ok
        0.20 look: ok
        A show: 4 in a row, 4 of 4 failed
        0.21 A fail: ok [A CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn those_who_learn_of_the_last_failure_open_at_the_look() {
    check(
        "A B",
        "failure_threshold 3",
        "
        0.0 A fail: ok
        0.2 look: ok
        0.3 A fail: ok
        0.3 B fail: ok
        0.4 look: ok [A CLOSED -> OPEN, CONSECUTIVE_FAILURES] [B CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_success_anywhere_ends_the_run() {
    check(
        "A B",
        "failure_threshold 3",
        "
        0.0 A fail x2: ok
        0.2 look: ok
        0.3 B succeed: ok
        0.4 look: ok
        A show: 0 in a row, 2 of 3 failed
        0.5 B fail: ok
        0.5 A fail: ok
        0.6 look: ok
        A show: 2 in a row, 4 of 5 failed
        ",
    );
}

/// What was counted before a breaker was seen to fail elsewhere is as old as it is.
#[test]
fn a_run_that_began_before_the_newest_own_success_is_over() {
    check(
        "A B",
        "failure_threshold 5",
        "
        0.00 A fail x3: ok
        0.10 B succeed: ok
        0.11 B fail: ok
        0.20 look: ok
        B show: 1 in a row, 4 of 5 failed
        A show: 4 in a row, 4 of 5 failed // nobody noted when B's success was
        0.30 B succeed: ok
        0.30 A fail: ok [A CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_success_of_one_that_is_seen_for_the_first_time_ends_the_run_too() {
    check(
        "A B",
        "failure_threshold 5",
        "
        0.00 A fail x4: ok
        0.10 B fail: ok
        0.11 B succeed: ok
        0.20 look: ok
        A show: 0 in a row, 5 of 6 failed
        B show: 0 in a row, 5 of 6 failed
        ",
    );
}

#[test]
fn what_was_learned_is_not_told_again() {
    check(
        "A B",
        "failure_threshold 9",
        "
        0.0 A fail x3: ok
        0.2 look: ok
        0.4 look: ok
        0.4 B publish: 0 of 0 failed, 0 in a row,
        0.6 look: ok
        A show: 3 in a row, 3 of 3 failed
        B show: 3 in a row, 3 of 3 failed
        ",
    );
}

#[test]
fn what_was_published_once_is_counted_once() {
    check(
        "A B",
        "failure_threshold 9",
        "
        0.0 A fail x3: ok
        A publish: 3 of 3 failed, 3 in a row, 3 at 0
        B look: ok
        0.1 B look: ok
        0.2 A fail: ok
        A publish: 4 of 4 failed, 4 in a row, 3 at 0.2 1 at 0
        B look: ok
        B show: 4 in a row, 4 of 4 failed
        ",
    );
}

#[test]
fn successes_of_before_are_in_the_rate() {
    check(
        "A B",
        "failure_rate_threshold 50, minimum_number_of_calls 10, sliding_window_size 20",
        "
        0.0 A succeed x6: ok
        0.0 B succeed x6: ok
        1.0 A fail x6: ok
        1.0 A publish: 6 of 12 failed, 6 in a row, 6 at ? 6 at 0
        1.2 look: ok
        1.3 B show: 0 in a row, 6 of 18 failed
        1.4 look: ok
        1.4 A show: 6 in a row, 6 of 18 failed
        ",
    );
}

/// Else one bad node among ten reads as a rate of 100 %.
#[test]
fn a_rate_waits_for_all_replicas() {
    check(
        "A B C",
        "failure_rate_threshold 50, minimum_number_of_calls 10",
        "
        0.0 B succeed x10: ok
        0.0 C succeed x10: ok
        1.0 A fail x15: ok
        1.2 look: ok
        A show: 15 in a row, 15 of 15 failed
        1.25 look: ok // B and C are hot now, and publish
        A show: 15 in a row, 15 of 35 failed
        1.3 A fail x5: ok
        1.3 A show: 20 in a row, 20 of 40 failed
        1.4 look: ok [A CLOSED -> OPEN, FAILURE_RATE] [B CLOSED -> OPEN, FAILURE_RATE] [C CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

#[test]
fn a_rate_does_not_wait_for_those_who_say_nothing() {
    let with = |story: &str| check("A B", "failure_rate_threshold 50, minimum_number_of_calls 10", story);
    with(
        "
        0.00 A fail x10: ok
        0.20 A look: ok
        0.39 A fail: ok
        0.40 A fail: ok [A CLOSED -> OPEN, FAILURE_RATE]
    ",
    );
    with(
        "
        0.00 A fail x10: ok
        0.20 A look: ok
        0.40 A look: ok [A CLOSED -> OPEN, FAILURE_RATE]
    ",
    );
}

#[test]
fn a_replica_that_is_the_only_one_waits_for_nobody() {
    check(
        "A",
        "failure_rate_threshold 50, minimum_number_of_calls 10",
        "
        0.00 A fail x10: ok
        0.20 A look: ok [A CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
    check(
        "A",
        "failure_rate_threshold 50, minimum_number_of_calls 10",
        "
        0.00 A fail: ok
        0.20 A look: ok
        A fail x9: ok [A CLOSED -> OPEN, FAILURE_RATE]
        ",
    );
}

/// Between two looks its own calls fill the window.
#[test]
fn a_bad_node_with_more_calls_than_the_window_holds_is_one_of_many() {
    check(
        "A B C",
        "failure_rate_threshold 50, sliding_window_size 10, minimum_number_of_calls 10",
        "
        0.0 A fail: ok
        look: ok
        0.1 look: ok
        0.2 A fail x100: ok
        B succeed x100: ok
        C succeed x100: ok
        A show: 101 in a row, 10 of 10 failed
        look: ok
        A show: 0 in a row, 3 of 10 failed
        ",
    );
}

#[test]
fn a_count_in_a_window_of_time_needs_no_look() {
    check(
        "A B",
        "failure_count_threshold 5, sliding_window_type TIME_BASED, sliding_window_size 10",
        "
        0.0 A fail x2: ok
        0.0 B fail x2: ok
        0.2 look: ok
        0.3 A fail: ok [A CLOSED -> OPEN, FAILURE_COUNT]
        ",
    );
}

#[test]
fn after_a_gap_calls_are_counted_at_their_age() {
    check(
        "A B",
        "failure_count_threshold 99, sliding_window_type TIME_BASED, sliding_window_size 10",
        "
        0.0 A fail: ok
        B fail: ok
        look: ok
        3.0 A fail x4: ok
        6.0 A fail x2: ok
        A publish: 7 of 7 failed, 7 in a row, 1 at 6 4 at 3 2 at 0
        B look: ok
        9.4 B show: 8 in a row, 8 of 8 failed
        10.0 B show: 8 in a row, 6 of 6 failed // the first ones have left
        13.0 B show: 8 in a row, 2 of 2 failed
        16.0 B show: 8 in a row, 0 of 0 failed
        ",
    );
}

#[test]
fn a_breaker_that_was_cold_counts_nothing_twice() {
    check(
        "A B",
        "failure_threshold 99, sliding_window_size 10",
        "
        0.0 A fail x3: ok
        look: ok
        2.0 A publish: nothing
        B publish: nothing
        5.0 A succeed: ok
        6.0 B fail: ok
        look: ok
        6.1 look: ok
        A show: 1 in a row, 4 of 5 failed
        B show: 0 in a row, 4 of 5 failed
        9.0 A succeed x11: ok // and nothing of it is in the window
        B succeed x11: ok
        20.0 A fail: ok
        A publish: 1 of 11 failed, 1 in a row, 9 at ? 1 at 0
        B look: ok
        B show: 0 in a row, 1 of 10 failed
        ",
    );
}

#[test]
fn reporters_are_those_of_all_replicas() {
    check(
        "A B",
        "failure_threshold 3, minimum_reporters 3",
        "
        0.0 A fail by X x5: ok
        0.0 B fail by Y x5: ok
        0.2 look: ok
        0.3 A fail by Y: ok
        0.3 B fail by Z: ok [B CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn a_reporter_of_before_the_run_is_none_of_it() {
    check(
        "A B",
        "failure_threshold 3, minimum_reporters 2",
        "
        0.0 A fail by X: ok
        0.1 B succeed: ok
        0.2 B fail by Y x3: ok
        A publish: 1 of 1 failed, 1 in a row, 1 at 0.2
        B look: ok
        B show: 3 in a row, 4 of 5 failed
        0.3 B fail by X: ok [B CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn slow_calls_are_counted_together() {
    check(
        "A B",
        "slow_call_rate_threshold 50, minimum_number_of_calls 10",
        "
        0.0 A slow x3: ok
        0.0 B succeed x5: ok
        0.1 B slow: ok
        0.2 look: ok
        A show: 0 in a row, 0 of 9 failed, 4 slow
        0.3 B slow: ok
        0.4 look: ok [A CLOSED -> OPEN, SLOW_CALL_RATE] [B CLOSED -> OPEN, SLOW_CALL_RATE]
        ",
    );
}

#[test]
fn a_row_of_another_epoch_is_nothing() {
    check(
        "A B",
        "failure_threshold 9",
        "
        0.0 A fail x3: ok
        A publish: 3 of 3 failed, 3 in a row, 3 at 0
        B fail: ok
        A reset: ok [A CLOSED -> CLOSED, RESET]
        A publish: nothing
        ",
    );
}

#[test]
fn in_metrics_only_replicas_count_together_too() {
    check(
        "A B",
        "failure_threshold 3",
        "
        0.0 A metrics only: ok [A CLOSED -> METRICS_ONLY, OVERRIDE_SET]
        A publish: nothing
        ",
    );
}

#[test]
fn another_kind_of_window_begins_anew() {
    check(
        "A B",
        "failure_threshold 9",
        "
        0.0 A fail x3: ok
        look: ok
        0.05 A set failure_threshold 9, sliding_window_type TIME_BASED, sliding_window_size 10: ok
        A publish: nothing
        A fail: ok
        A publish: 1 of 1 failed, 4 in a row, 1 at 0
        0.1 B look: ok
        B show: 4 in a row, 4 of 4 failed
        ",
    );
}
