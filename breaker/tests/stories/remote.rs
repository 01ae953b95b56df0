//! What other replicas counted.

use std::time::Duration;

use breaker::{
    Breaker, CallCounts, CallerId, CallerSighting, Deltas, Identity, Numbering, Reason, Time, WallOffset,
};

use crate::story::check;
use crate::thresholds::thresholds;

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

#[test]
fn those_who_failed_elsewhere_are_reporters_though_nobody_failed_here() {
    check(
        "failure_threshold 3, minimum_reporters 2",
        "
        0 remote 2 failed by X: ok
        remote 1 failed by Y: ok [CLOSED -> OPEN, CONSECUTIVE_FAILURES]
        ",
    );
}

#[test]
fn calls_elsewhere_push_a_reporter_out_of_the_window() {
    check(
        "failure_count_threshold 1, sliding_window_size 3, minimum_reporters 2",
        "
        0 fail by X: recorded
        remote 1 succeeded x3: ok // X's has left
        fail by Y: recorded
        fail by X: recorded [CLOSED -> OPEN, FAILURE_COUNT]
        ",
    );
}

fn closed(settings: &str) -> Breaker {
    let (numbering, wall) = (Numbering::Own, WallOffset::ZERO);
    let identity =
        Identity { key_hash: 7, salt: 1, first_number: 0, numbering, stagger: Duration::ZERO, wall };
    Breaker::new(thresholds(settings), 0, identity, Time::ZERO)
}

#[test]
fn those_who_were_slow_elsewhere_are_reporters_of_the_slow_rate() {
    let slow = |callers: &[u64]| {
        let mut breaker = closed(
            "slow_call_duration_threshold 1, slow_call_rate_threshold 50, minimum_number_of_calls 2, \
             minimum_reporters 2",
        );
        let slow_callers = callers
            .iter()
            .map(|caller| CallerSighting { caller: CallerId(*caller), age: Duration::ZERO })
            .collect();
        let calls = CallCounts { slow_successes: 2, ..CallCounts::default() };
        let deltas = Deltas { calls, slow_callers, ..Deltas::default() };
        let transitions = breaker.record_remote(&deltas, Time::ZERO);
        transitions.first().map(|transition| (transition.reason, transition.stats.reporters))
    };
    assert_eq!(slow(&[1, 2]), Some((Reason::SlowCallRate, 2)));
    assert_eq!(slow(&[1]), None);
}

#[test]
fn successes_elsewhere_prolong_the_run_of_successes_and_a_failure_ends_it() {
    let mut breaker = closed("");
    let mut run_after = |calls: CallCounts| {
        breaker.record_remote(&Deltas { calls, ..Deltas::default() }, Time::ZERO);
        breaker.view(Time::ZERO).stats.consecutive_successes
    };
    assert_eq!(run_after(CallCounts { successes: 2, ..CallCounts::default() }), 2);
    assert_eq!(run_after(CallCounts { successes: 3, slow_successes: 1, ..CallCounts::default() }), 6);
    assert_eq!(run_after(CallCounts { successes: 9, failures: 1, ..CallCounts::default() }), 0);
    assert_eq!(run_after(CallCounts { successes: 1, ..CallCounts::default() }), 1);
    assert_eq!(run_after(CallCounts { successes: 9, slow_failures: 1, ..CallCounts::default() }), 0);
}
