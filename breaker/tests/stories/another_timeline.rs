//! The store went back, and has another timeline: a trip that it has not answered holds until it does.

use crate::story::check_with_store;

#[test]
fn an_unanswered_trip_denies_in_a_new_timeline_until_it_is_answered() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 begun CLOSED epoch 2 timeline 2: takes up CLOSED 4
        allow: no OPEN, retry in 50
        adopt CLOSED epoch 3: ok // what was taken up
        allow: no OPEN, retry in 50
        won p1 as 4 since 0: ok
        show: OPEN epoch 4, attempts 1, until 60
        ",
    );
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 begun CLOSED epoch 4 timeline 2: ok
        lost p1 to CLOSED epoch 5: ok // another knew more
        show: CLOSED epoch 5, in a row 0, in the window 0 of 0 failed
        allow: yes #1
        ",
    );
}

#[test]
fn an_unanswered_trip_holds_until_it_is_answered_whatever_the_row_does_by_itself() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 begun OPEN epoch 3 wait 30 timeline 2: takes up CLOSED 4
        adopt CLOSED epoch 4: ok
        allow: no OPEN, retry in 50
        adopt OPEN epoch 5 since 0 wait 60: ok // it has won, and the answer is late
        won p1 as 5 since 0 revision 4: ok
        show: OPEN epoch 5, attempts 1, until 60
        ",
    );
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        10 begun CLOSED epoch 4 timeline 2: ok
        adopt DISABLED epoch 5: ok // an operator
        allow: yes #1 DISABLED
        lost p1 to DISABLED epoch 5: ok
        allow: yes #2 DISABLED
        ",
    );
}

#[test]
fn an_answered_trip_is_left_to_the_store_in_a_new_timeline() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        won p1 as 1: ok
        10 begun CLOSED epoch 0 timeline 2: takes up OPEN 1
        allow: yes #1
        ",
    );
}

#[test]
fn a_trip_that_another_overtook_denies_in_a_new_timeline_until_it_is_answered() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 adopt OPEN epoch 5 wait 60: ok // of another
        10 begun CLOSED epoch 4 timeline 2: takes up OPEN 5
        allow: no OPEN, retry in 51
        adopt CLOSED epoch 5: ok // of one who knew more
        allow: no OPEN, retry in 51
        won p1 as 6 since 0: ok
        show: OPEN epoch 6, attempts 1, until 60
        ",
    );
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 adopt OPEN epoch 5 wait 60: ok
        10 begun CLOSED epoch 4 timeline 2: takes up OPEN 5
        20 begun CLOSED epoch 3 timeline 3: takes up CLOSED 4 // once more
        allow: no OPEN, retry in 41
        lost p1 to CLOSED epoch 5: ok
        allow: yes #1
        ",
    );
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 adopt OPEN epoch 5 wait 60: ok
        resume p1: is over // in the next life of the process
        10 begun CLOSED epoch 4 timeline 2: takes up OPEN 5
        allow: no OPEN, retry in 51
        lost p1 to CLOSED epoch 5: ok
        allow: yes #1
        ",
    );
}

#[test]
fn a_trip_that_another_overtook_is_over_with_its_answer_and_with_a_later_state() {
    for over in [
        "lost p1 to OPEN epoch 5 since 1 wait 60: ok",
        "dropped p1: ok",
        "adopt CLOSED epoch 6: ok\nadopt OPEN epoch 7 wait 60: ok", // an operator, and another trip
    ] {
        let knows = if over.contains("epoch 7") { 7 } else { 5 };
        check_with_store(
            "failure_threshold 1, timeout_seconds 60",
            &format!(
                "
                0 adopt CLOSED epoch 4 attempts 0: ok
                fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
                1 adopt OPEN epoch 5 wait 60: ok
                {over}
                10 begun CLOSED epoch 4 timeline 2: takes up OPEN {knows}
                allow: yes #1
                "
            ),
        );
    }
}

#[test]
fn a_trip_that_another_overtook_is_remembered_while_half_open_comes_too_early() {
    for refused in [
        "lost p2 to OPEN epoch 5 since 5 wait 60: ok",
        "adopt OPEN epoch 5 since 5 wait 60: ok\ndropped p2: ok",
    ] {
        check_with_store(
            "failure_threshold 1, timeout_seconds 60",
            &format!(
                "
                0 adopt CLOSED epoch 4 attempts 0: ok
                fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
                1 adopt OPEN epoch 5 wait 60: ok // of another
                61 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
                {refused}
                62 begun CLOSED epoch 4 timeline 2: takes up OPEN 5
                allow: no OPEN, retry in 3
                lost p1 to CLOSED epoch 5: ok
                allow: yes #1
                "
            ),
        );
    }
}

#[test]
fn a_trip_that_another_overtook_is_over_once_its_breaker_is_half_open() {
    for over in [
        "won p2 as 6: ok",
        "adopt HALF_OPEN epoch 6: ok", // of another
        "lost p1 to OPEN epoch 5 since 5 wait 60: ok\nlost p2 to OPEN epoch 5 since 5 wait 60: ok",
        "lost p2 to OPEN epoch 7 since 61 wait 60: ok", // it was half-open meanwhile
    ] {
        let knows = if over.contains("epoch 7") {
            7
        } else if over.contains("lost p1") {
            5
        } else {
            6
        };
        check_with_store(
            "failure_threshold 1, timeout_seconds 60",
            &format!(
                "
                0 adopt CLOSED epoch 4 attempts 0: ok
                fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
                1 adopt OPEN epoch 5 wait 60: ok
                61 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
                {over}
                62 begun CLOSED epoch 4 timeline 2: takes up OPEN {knows}
                allow: yes #1
                "
            ),
        );
    }
}

#[test]
fn a_trip_that_another_overtook_denies_although_the_wait_is_over_here() {
    check_with_store(
        "failure_threshold 1, timeout_seconds 60",
        "
        0 adopt CLOSED epoch 4 attempts 0: ok
        fail: recorded [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        1 adopt OPEN epoch 5 wait 60: ok
        61 poll: ok [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        62 begun CLOSED epoch 4 timeline 2: takes up OPEN 5 // before the store has said whether it is over
        allow: no OPEN, retry in 0
        lost p2 to CLOSED epoch 4: ok
        allow: no OPEN, retry in 0
        lost p1 to CLOSED epoch 5: ok
        allow: yes #1
        ",
    );
}
