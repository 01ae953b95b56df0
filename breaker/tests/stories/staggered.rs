//! What time alone brings about is proposed by one of many replicas, and seldom by more.

use std::time::Duration;

use breaker::{
    Breaker, Identity, Numbering, Outcome, Reason, Report, Snapshot, State, Ticket, Time, WallOffset,
};

use crate::thresholds::thresholds;

const START: Time = Time::from_micros(1_000_000_000);
const STAGGER: Duration = Duration::from_millis(100);
const REPLICAS: u64 = 100;

/// A breaker of replicas that opened in this epoch, for ten seconds, in one of them.
fn open(epoch: u64, replica: u64) -> Breaker {
    let identity = Identity {
        key_hash: 7,
        salt: replica.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        first_number: 0,
        numbering: Numbering::Store,
        stagger: STAGGER,
        wall: WallOffset::ZERO,
    };
    let open = Snapshot {
        epoch,
        state: State::Open,
        open_count: 1,
        entered_at: START,
        wait: Some(Duration::from_secs(10)),
        ..Snapshot::pristine()
    };
    Breaker::restore(thresholds("timeout_seconds 10"), 0, identity, open, START)
}

/// When each replica would propose half-open.
fn proposed(epoch: u64) -> Vec<Time> {
    (0..REPLICAS).map(|replica| open(epoch, replica).next_deadline().unwrap()).collect()
}

#[test]
fn few_of_a_hundred_propose_before_they_can_have_heard_of_the_first() {
    let end = START + Duration::from_secs(10);
    let mut most = 0;
    for epoch in 1..=50 {
        let times = proposed(epoch);
        assert!(times.iter().all(|time| (end..end + STAGGER).contains(time)), "{times:?}");
        let first = times.iter().min().unwrap();
        let heard = *first + Duration::from_millis(3);
        most = most.max(times.iter().filter(|time| **time < heard).count());
    }
    assert!((2..=15).contains(&most), "{most} of {REPLICAS}");
}

#[test]
fn each_epoch_has_another_first() {
    let first = |epoch| {
        let times = proposed(epoch);
        (0..times.len()).min_by_key(|place| times[*place]).unwrap()
    };
    let firsts: std::collections::BTreeSet<_> = (1..=50).map(first).collect();
    assert!(firsts.len() > 25, "{firsts:?}");
}

/// A call does not bring it forward either: with many calls all replicas would propose at once again.
#[test]
fn a_call_is_denied_until_the_time_of_its_replica() {
    let mut breaker = open(1, 3);
    let due = breaker.next_deadline().unwrap();
    let (decision, transitions) = breaker.allow(due - Duration::from_micros(1));
    assert!(decision.pass.is_none() && transitions.is_empty() && decision.waits.is_none(), "{decision:?}");
    let (decision, transitions) = breaker.allow(due);
    assert!(decision.waits.is_some(), "{decision:?}");
    let [transition] = &transitions[..] else { panic!("{transitions:?}") };
    assert_eq!((transition.after.state, transition.reason), (State::HalfOpen, Reason::WaitElapsed));
    assert_eq!(transition.at, START + Duration::from_secs(10), "it says when the wait was over");
}

/// A trip is never held back.
#[test]
fn a_failure_opens_at_once() {
    let closed = Snapshot { epoch: 4, ..Snapshot::pristine() };
    let identity = Identity {
        key_hash: 7,
        salt: 1,
        first_number: 0,
        numbering: Numbering::Store,
        stagger: STAGGER,
        wall: WallOffset::ZERO,
    };
    let mut breaker = Breaker::restore(thresholds("failure_threshold 1"), 0, identity, closed, START);
    let report = Report::plain(Outcome::Failure);
    let (_, transitions) = breaker.record(Ticket::Bare { epoch: None }, &report, START);
    assert_eq!(transitions.len(), 1);
    assert_eq!(breaker.state(), State::Open);
}
