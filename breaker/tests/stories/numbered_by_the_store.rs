//! The machine proposes, the store numbers: a trip denies at once, what lets calls through again waits.

use crate::story::check_with_store;

/// Each of the two was made on the row of epoch 0, and only their ids tell them apart.
#[test]
fn a_trip_that_won_does_not_close_a_breaker_that_was_reset_after_it() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        reset: ok [OPEN -> CLOSED, RESET]
        won p1 as 1: ok
        allow: no OPEN, retry in 60 // so it is in the store
        show: OPEN epoch 1, attempts 1, until 60
        won p2 as 2: ok
        allow: yes #1
        show: CLOSED epoch 2, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn a_trip_that_lost_leaves_the_reset_after_it_to_be_answered() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        reset: ok [OPEN -> CLOSED, RESET]
        lost p1 to CLOSED epoch 0 revision 0: ok
        allow: yes #1 // in the state that the reset was made in
        show: CLOSED epoch 0, in a row 0, in the window 0 of 0 failed
        won p2 as 1: ok
        fail #1: late
        ",
    );
}

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
        1 won p1 as 1: ok
        show: OPEN epoch 1, attempts 1, until 31 // the store counts the wait from when it heard of it
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
        won p1 as 1: ok
        deadline: at 1030
        ",
    );
}

#[test]
fn half_open_gives_no_probe_before_it_is_confirmed() {
    check_with_store(
        "success_threshold 1, timeout_seconds 30",
        "
        0 given open: ok
        30 allow: no OPEN, in a moment [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        allow: no OPEN, in a moment
        claim: nothing
        won p1 as 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        allow: yes #1 PROBE
        succeed #1: for the store
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        settled #1 recorded then CLOSED epoch 3: ok
        allow: yes #2
        fail #2: recorded
        ",
    );
}

#[test]
fn the_answer_to_a_proposal_that_is_not_under_way_says_only_which_row_there_is() {
    check_with_store(
        "failure_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        won p1 as 1: ok
        10 lost p1 to OPEN epoch 1 since 5 wait 30: ok
        show: OPEN epoch 1, attempts 1, until 35
        20 won p1 as 1 revision 1: ok // an old answer
        show: OPEN epoch 1, attempts 1, until 35
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
        1 lost p1 to CLOSED epoch 4: ok
        show: CLOSED epoch 4, in a row 0, in the window 0 of 0 failed
        fail #1: late
        allow: yes #2
        ",
    );
}

#[test]
fn a_newer_row_ends_a_proposal_whose_answer_then_says_nothing() {
    check_with_store(
        "failure_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 adopt CLOSED epoch 4 revision 9: ok
        show: CLOSED epoch 4, in a row 0, in the window 0 of 0 failed
        lost p1 to CLOSED epoch 4 revision 9: ok
        show: CLOSED epoch 4, in a row 0, in the window 0 of 0 failed
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
        won p1 as 1: ok
        ",
    );
}

#[test]
fn an_old_row_changes_nothing() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt OPEN epoch 1 wait 30 revision 3: ok
        adopt CLOSED epoch 2 revision 5: ok
        adopt OPEN epoch 1 wait 30 revision 3: ok
        adopt OPEN epoch 3 wait 30 revision 5: ok // not newer than what was taken
        show: CLOSED epoch 2, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn a_proposal_that_lost_to_an_old_row_goes_back_to_the_newer_one() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 given open: ok
        30 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        adopt OPEN epoch 1 since 30 wait 90 revision 7: ok // its thresholds were changed
        lost p1 to OPEN epoch 1 since 29 wait 2 revision 6: ok
        deadline: at 120
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
        lost p1 to OPEN epoch 1 since 4 wait 30: ok
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
fn the_same_state_again_leaves_the_counts_alone() {
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
        won p1 as 1: ok
        allow: yes #2 DISABLED
        90 allow: yes #3 DISABLED [DISABLED -> CLOSED, OVERRIDE_EXPIRED]
        won p2 as 2: ok
        allow: yes #4
        ",
    );
    check_with_store(
        "",
        "
        0 force open until 90: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        won p1 as 1: ok
        90 allow: no FORCED_OPEN [FORCED_OPEN -> CLOSED, OVERRIDE_EXPIRED]
        won p2 as 2: ok
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
        adopt OPEN epoch 1 wait 30: ok // the row that it was set on
        allow: no OPEN
        won p1 as 2: ok
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
        deadline: at 30
        ",
    );
}

#[test]
fn a_proposal_that_no_store_takes_leaves_the_row_that_it_was_made_on() {
    check_with_store(
        "failure_threshold 1",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        dropped p7: ok // another one
        allow: no OPEN, retry in 60
        dropped p1: ok
        allow: yes #1
        fail #1: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

/// The row is of an operator who had not heard of the emergency.
#[test]
fn forced_open_holds_over_newer_rows_until_the_store_has_answered_it() {
    check_with_store(
        "failure_threshold 1",
        "
        0 allow: yes #1
        force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        1 adopt CLOSED epoch 3: ok
        allow: no FORCED_OPEN
        fail #1: late
        2 adopt OPEN epoch 4 wait 30: ok
        allow: no FORCED_OPEN
        deadline: none
        3 won p1 as 5: ok
        show: FORCED_OPEN epoch 5
        ",
    );
}

#[test]
fn forced_open_that_no_store_takes_leaves_the_newest_row() {
    check_with_store(
        "",
        "
        0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        1 adopt OPEN epoch 4 wait 30: ok
        2 dropped p1: ok
        allow: no OPEN, retry in 29
        ",
    );
}

/// The tail brings it before the answer does, and the row that ended it too.
#[test]
fn forced_open_ends_with_its_answer_although_its_row_came_before() {
    check_with_store(
        "",
        "
        0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        adopt FORCED_OPEN epoch 1 revision 5: ok
        allow: no FORCED_OPEN
        adopt CLOSED epoch 2 revision 7: ok
        allow: no FORCED_OPEN
        won p1 as 1 revision 5: ok
        allow: yes #1
        ",
    );
}

/// The wall clock here is two hours ahead of the store's, and that says when it ends.
#[test]
fn an_override_ends_by_the_clock_of_the_store() {
    check_with_store(
        "",
        "
        0 wall +7200: ok
        disable for 90: ok [CLOSED -> DISABLED, OVERRIDE_SET]
        5 won p1 as 1: ok
        deadline: at 95 // from when the store heard of it
        20 adopt METRICS_ONLY epoch 2 since 10 until 60: ok
        deadline: at 60
        wall -7200: ok
        deadline: at 60
        60 poll: ok [METRICS_ONLY -> CLOSED, OVERRIDE_EXPIRED]
        show: METRICS_ONLY epoch 2, in a row 0, in the window 0 of 0 failed // it has not ended before the store says so
        allow: yes #1 METRICS_ONLY
        61 lost p2 to METRICS_ONLY epoch 2 since 12 until 62: ok // not by its clock
        deadline: at 62
        62 poll: ok [METRICS_ONLY -> CLOSED, OVERRIDE_EXPIRED]
        won p3 as 3: ok
        allow: yes #2
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed
        ",
    );
}

#[test]
fn a_half_open_that_has_not_lasted_too_long_for_the_store_ends_in_a_while() {
    check_with_store(
        "success_threshold 2, permitted_number_of_calls_in_half_open_state 2, \
         max_wait_duration_in_half_open_state 8, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 1: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1 first 0: ok
        deadline: at 1 // the probe waits for a call so long
        allow: yes #1 PROBE
        deadline: at 8
        8 poll: ok [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT]
        lost p1 to HALF_OPEN epoch 1 since 0: ok
        deadline: at 8.5
        succeed #1: for the store
        ",
    );
}

/// The process was killed before the store had answered, and is started while the store is away.
#[test]
fn a_trip_of_an_earlier_life_denies_until_the_store_has_answered_it() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 resume p1: stands
        allow: no OPEN, retry in 20
        1000 poll: ok
        allow: no OPEN, retry in 0 // and never half-opens
        won p1 as 1: ok
        show: OPEN epoch 1, attempts 1, until 1030
        ",
    );
}

#[test]
fn a_trip_of_an_earlier_life_that_has_lost_is_over() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        resume p1: stands
        lost p1 to CLOSED epoch 0 revision 0: ok
        allow: yes #1
        ",
    );
}

/// It is in the journal as a change that the store has, should the store go back.
#[test]
fn a_change_that_an_earlier_life_had_the_answer_to_stands_until_a_newer_row_comes() {
    check_with_store(
        "",
        "
        0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        resume p1 answered: stands // the row is of a moment before
        allow: no FORCED_OPEN
        adopt CLOSED epoch 3: ok // reset through another replica
        allow: yes #1
        ",
    );
    check_with_store(
        "",
        "
        0 force open: ok [CLOSED -> FORCED_OPEN, OVERRIDE_SET]
        adopt CLOSED epoch 3: ok
        resume p1: stands
        resume p1 answered: is over
        allow: yes #1
        ",
    );
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        resume p1 answered: stands
        begun CLOSED epoch 0 timeline 2: ok // it holds in no new timeline
        allow: yes #1
        ",
    );
}

#[test]
fn a_trip_of_an_earlier_life_says_nothing_over_a_newer_row() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 30",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        adopt CLOSED epoch 2: ok
        resume p1: is over
        allow: yes #1
        ",
    );
}
