//! Where there are several replicas, probes are the store's: claimed of it, kept for a call, and decided there.

use crate::story::check_with_store;

#[test]
fn a_claim_is_sent_again_until_it_is_answered_and_asks_for_no_more() {
    check_with_store(
        "permitted_number_of_calls_in_half_open_state 3, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        claim: nothing // no call wants one
        allow x2: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 2 probes
        1 allow x5: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 2 probes, again
        granted 2: ok
        claim: nothing // who still waits asks again
        allow: yes #1 PROBE, for 59
        allow: yes #2 PROBE, for 59
        allow x5: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 3 probes // no more than there can be
        granted 1 retry 0.5: ok
        allow: yes #3 PROBE
        allow: no HALF_OPEN_EXHAUSTED, retry in 0.5
        claim: nothing
        1.5 allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}

#[test]
fn a_lease_counts_from_when_the_claim_was_first_sent() {
    check_with_store(
        "half_open_permit_timeout 10, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        4 claim: 1 probes, again
        granted 1: ok
        allow: yes #1 PROBE, for 6
        show: HALF_OPEN epoch 2, 0 of 2 done, 1 out
        10 show: HALF_OPEN epoch 2, 0 of 2 done, 0 out
        ",
    );
}

#[test]
fn a_claim_that_is_answered_after_half_of_its_lease_is_no_use() {
    check_with_store(
        "half_open_permit_timeout 10, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        5 granted 1: ok
        returned: 1
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes // another
        10 claim: 1 probes // and another, as it was not answered
        granted 1: ok
        allow: yes #1 PROBE
        ",
    );
}

#[test]
fn a_probe_that_no_call_takes_goes_back_after_a_second() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        deadline: at 1
        0.9 returned: 0
        1 returned: 1
        returned: 0
        deadline: none
        ",
    );
    // Also of a half-open that is being left, which others may still be in.
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        force open: ok [HALF_OPEN -> FORCED_OPEN, OVERRIDE_SET]
        deadline: at 1
        1 poll: ok
        deadline: none
        returned: 1
        ",
    );
}

#[test]
fn a_probe_of_a_call_that_went_away_is_the_next_calls() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        allow: yes #1 PROBE
        release #1: ok
        allow: yes #2 PROBE
        show: HALF_OPEN epoch 2, 0 of 2 done, 1 out
        release #1: ok // it is the same probe, and it is out
        ",
    );
}

#[test]
fn what_half_open_lasts_counts_from_the_first_probe_of_any_replica() {
    check_with_store(
        "max_wait_duration_in_half_open_state 20, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        deadline: none
        10 allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 0 retry 0.5 first 5: ok
        deadline: at 25
        25 poll: ok [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT]
        ",
    );
}

#[test]
fn the_store_decides_what_an_outcome_of_a_probe_makes() {
    check_with_store(
        "success_threshold 2, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        allow: yes #1 PROBE
        succeed #1: for the store
        settled #1 recorded: ok
        show: HALF_OPEN epoch 2, 1 of 2 done, 0 out
        succeed #1: for the store // which knows that it is a repeat
        settled #1 duplicate then CLOSED epoch 3: ok // another replica's probe was the last
        show: CLOSED epoch 3, in a row 0, in the window 0 of 0 failed
        succeed #1: late
        ",
    );
}

#[test]
fn the_answer_to_a_claim_of_an_earlier_epoch_gives_nothing() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        adopt HALF_OPEN epoch 4: ok
        granted 1: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}

#[test]
fn a_restart_spends_no_epoch_and_no_probe() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        restart: ok
        poll: ok
        show: HALF_OPEN epoch 2, 0 of 2 done, 0 out
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}

/// Woken by the answer to another breaker, or by one that gave it nothing to do with its probe.
#[test]
fn a_call_that_looks_again_before_the_answer_wants_no_second_probe() {
    check_with_store(
        "permitted_number_of_calls_in_half_open_state 5, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        allow again x3: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        allow again x3: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1 // the claim is for it
        granted 0: ok
        allow again: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes // another one, as that was no answer to it
        adopt HALF_OPEN epoch 4: ok
        allow again: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}

#[test]
fn a_call_that_waited_for_half_open_wants_its_probe_then() {
    check_with_store(
        "permitted_number_of_calls_in_half_open_state 5, timeout_seconds 30",
        "
        0 given open: ok
        30 allow: no OPEN, in a moment [OPEN -> HALF_OPEN, WAIT_ELAPSED]
        won p1 as 2: ok
        allow again x2: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}

/// The store may have given slots to it, and its answer was lost.
#[test]
fn a_claim_that_is_given_up_gives_its_slots_back() {
    check_with_store(
        "half_open_permit_timeout 10, permitted_number_of_calls_in_half_open_state 3, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow x2: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 2 probes
        4 claim: 2 probes, again
        returned: 0
        5 claim: 2 probes // others
        returned: 2
        returned: 0
        granted late 1: ok // it was not lost, but late
        returned: 1
        claim: 2 probes, again
        granted 2: ok
        allow: yes #1 PROBE
        ",
    );
}

#[test]
fn the_probes_of_a_half_open_that_was_left_in_vain_are_not_lost() {
    check_with_store(
        "max_wait_duration_in_half_open_state 20, permitted_number_of_calls_in_half_open_state 3, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow x2: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 2 probes
        granted 1 first 0: ok
        19.9 allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        20 poll: ok [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT]
        granted 1: ok // for the half-open that is being left
        returned: 1 // the first one, which no call took
        lost p1 to HALF_OPEN epoch 2 since 0: ok // by the store's clock it was too early
        allow: yes #1 PROBE, for 59.9
        returned: 0
        ",
    );
    check_with_store(
        "max_wait_duration_in_half_open_state 20, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1 first 0: ok
        20 poll: ok [HALF_OPEN -> OPEN, HALF_OPEN_TIMEOUT]
        lost p1 to HALF_OPEN epoch 4: ok // another one, in which nothing of that is left
        returned: 0
        ",
    );
}

/// Nothing else would ask for it again, and calls would wait for its answer for ever.
#[test]
fn a_claim_for_a_half_open_that_is_being_left_is_given_up_and_made_anew() {
    check_with_store(
        "permitted_number_of_calls_in_half_open_state 3, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow x2: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 2 probes
        force open: ok [HALF_OPEN -> FORCED_OPEN, OVERRIDE_SET]
        claim: nothing // it was not answered
        returned: 2
        lost p1 to HALF_OPEN epoch 2 since 0: ok
        claim: 2 probes // others
        granted 2: ok
        allow: yes #1 PROBE
        ",
    );
}

#[test]
fn a_probe_of_a_half_open_that_is_being_left_is_settled_and_released_as_ever() {
    check_with_store(
        "permitted_number_of_calls_in_half_open_state 3, success_threshold 2, timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow x2: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 2 probes
        granted 2: ok
        allow: yes #1 PROBE
        allow: yes #2 PROBE
        force open: ok [HALF_OPEN -> FORCED_OPEN, OVERRIDE_SET]
        succeed #1: for the store
        settled #1 recorded: ok
        release #2: ok
        lost p1 to HALF_OPEN epoch 2 since 0: ok
        show: HALF_OPEN epoch 2, 1 of 3 done, 0 out
        allow: yes #3 PROBE // that of the call that went away
        ",
    );
}

/// FORCED_OPEN holds over any row until it is answered. The probes are of the half-open before.
#[test]
fn probes_of_a_half_open_that_is_over_are_not_those_of_the_next_one() {
    check_with_store(
        "timeout_seconds 30",
        "
        0 adopt HALF_OPEN epoch 2: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        granted 1: ok
        force open: ok [HALF_OPEN -> FORCED_OPEN, OVERRIDE_SET]
        adopt HALF_OPEN epoch 4: ok
        lost p1 to HALF_OPEN epoch 4: ok
        allow: no HALF_OPEN_EXHAUSTED, in a moment, retry in 1
        claim: 1 probes
        ",
    );
}
