//! The machine proposes, the store numbers: a trip denies at once, what lets calls through again waits.

use crate::story::check_with_store;

#[test]
fn a_trip_denies_before_the_store_has_numbered_it() {
    check_with_store(
        "failure_threshold 2, timeout_seconds 30",
        "
        0 allow: yes #1
        fail: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        allow: no OPEN, retry in 30
        show: OPEN epoch 0, attempts 1, until 30
        fail #1: late
        bare fail: not counted
        remote 5 failed: ok
        1 confirm 0 as 1: ok
        show: OPEN epoch 1, attempts 1, until 30
        ",
    );
}

#[test]
fn an_unconfirmed_open_never_half_opens() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        deadline: none
        1000 poll: ok
        allow: no OPEN, retry in 0
        probe: refused
        set timeout_seconds 1: ok
        confirm 0 as 1: ok
        deadline: at 1
        allow: no OPEN [OPEN -> HALF_OPEN, WAIT_ELAPSED, at 1]
        ",
    );
}

#[test]
fn half_open_gives_no_probe_before_it_is_confirmed() {
    check_with_store(
        "success_threshold 1, timeout_seconds 30",
        "
        0 given open: ok
        30 allow: no OPEN [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: no OPEN
        confirm 1 as 2: ok
        allow: yes #1 PROBE
        succeed #1: recorded [HALF_OPEN -> CLOSED, PROBES_SUCCEEDED]
        allow: no HALF_OPEN_EXHAUSTED // closing waits as well
        confirm 2 as 3: ok
        allow: yes #2
        fail #2: recorded
        ",
    );
}

#[test]
fn only_the_proposal_under_way_can_be_confirmed() {
    check_with_store(
        "failure_threshold 1",
        "
        0 confirm 0 as 1: refused
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        confirm 7 as 8: refused
        confirm 0 as 1: ok
        confirm 0 as 1: refused
        confirm 1 as 2: refused
        show: OPEN epoch 1, attempts 1, until 60
        ",
    );
}

#[test]
fn a_proposal_that_lost_gives_way_to_what_won() {
    check_with_store(
        "failure_threshold 3",
        "
        0 allow: yes #1
        fail x2: recorded
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 adopt CLOSED epoch 4: ok
        show: CLOSED epoch 4, in a row 0, in the window 0 of 0 failed
        fail #1: late
        confirm 0 as 1: refused
        allow: yes #2
        ",
    );
}

/// The row that the trip was decided on, read once more while the proposal is on its way.
#[test]
fn the_row_a_trip_was_decided_on_does_not_let_calls_through_again() {
    check_with_store(
        "failure_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        adopt CLOSED epoch 0: ok
        allow: no OPEN, retry in 60
        confirm 0 as 1: ok
        ",
    );
}

#[test]
fn the_row_a_verdict_was_reached_in_gives_no_probes_again() {
    check_with_store(
        "success_threshold 1",
        "
        0 given open: ok
        60 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        confirm 1 as 2: ok
        fail: recorded [HALF_OPEN -> OPEN, PROBES_FAILED]
        adopt HALF_OPEN epoch 2: ok
        allow: no OPEN, retry in 60
        ",
    );
}

/// The store's clock is the clock.
#[test]
fn a_half_open_that_came_too_early_for_the_store_waits_for_the_rest() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 given open: ok
        30 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        adopt OPEN epoch 1 since 4 wait 30: ok
        allow: no OPEN, retry in 4
        deadline: at 34
        ",
    );
}

#[test]
fn the_state_of_another_epoch_is_taken_as_it_is() {
    check_with_store(
        "failure_threshold 3, timeout_seconds 30",
        "
        0 fail x2: recorded
        10 adopt OPEN epoch 3 since 5 wait 20 attempts 2: ok
        show: OPEN epoch 3, attempts 2, until 25
        11 adopt CLOSED epoch 4 attempts 0: ok
        show: CLOSED epoch 4, in a row 0, in the window 0 of 0 failed
        12 adopt OPEN epoch 2 since 0 wait 30: ok // the store went back
        show: OPEN epoch 2, attempts 1, until 30
        ",
    );
}

#[test]
fn what_is_left_of_an_adopted_wait_is_at_most_the_wait() {
    check_with_store("", "5 adopt OPEN epoch 3 since 500 wait 20: ok\n allow: no OPEN, retry in 20");
}

#[test]
fn the_same_row_again_leaves_the_counts_alone() {
    check_with_store(
        "failure_threshold 3",
        "
        0 adopt CLOSED epoch 4: ok
        fail x2: recorded
        1 adopt CLOSED epoch 4: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// Only the store's word changes what is left, not the same thresholds once more.
#[test]
fn the_stores_wait_stands_until_the_thresholds_change() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt OPEN epoch 1 wait 20: ok
        5 adopt OPEN epoch 1 since 5 wait 25: ok
        set timeout_seconds 30: ok
        deadline: at 30
        set timeout_seconds 40: ok
        deadline: at 45
        ",
    );
}

#[test]
fn a_reset_of_a_trip_that_was_never_confirmed_lets_pass_as_before_it() {
    check_with_store(
        "failure_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        allow: no OPEN, retry in 60
        reset: ok [OPEN -> CLOSED, RESET]
        allow: yes #1
        ",
    );
}

#[test]
fn another_state_under_the_same_number_is_adopted() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt CLOSED epoch 4: ok
        1 adopt OPEN epoch 4 wait 30: ok // another timeline
        allow: no OPEN, retry in 30
        ",
    );
}

#[test]
fn an_override_that_ends_while_the_store_is_away_goes_on() {
    check_with_store(
        "",
        "
        0 disable until 90: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        allow: yes #1 // not confirmed: closed still
        confirm 0 as 1: ok
        allow: yes #2 DISABLED
        90 allow: yes #3 DISABLED [DISABLED -> CLOSED, OVERRIDE_EXPIRED]
        confirm 1 as 2: ok
        allow: yes #4
        ",
    );
    check_with_store(
        "",
        "
        0 force open until 90: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        confirm 0 as 1: ok
        90 allow: no FORCED_OPEN [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        confirm 1 as 2: ok
        allow: yes #1
        ",
    );
}

#[test]
fn letting_an_open_breaker_pass_by_hand_waits_for_the_store() {
    check_with_store(
        "",
        "
        0 given open: ok
        disable: ok [OPEN -> DISABLED, OVERRIDE_SET]
        allow: no OPEN
        confirm 1 as 2: ok
        allow: yes #1 DISABLED
        ",
    );
}

#[test]
fn the_row_that_an_override_was_set_on_leaves_it_alone() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 given open: ok
        disable: ok [OPEN -> DISABLED, OVERRIDE_SET]
        adopt OPEN epoch 1 wait 30: ok
        confirm 1 as 2: ok
        allow: yes #1 DISABLED
        ",
    );
}

#[test]
fn what_was_proposed_is_dropped_when_the_store_has_it_under_the_number_that_was_left() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        adopt OPEN epoch 0 wait 30: ok // another timeline
        confirm 0 as 1: refused
        deadline: at 30
        ",
    );
}
