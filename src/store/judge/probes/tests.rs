use std::time::Duration;

use breaker::{
    AfterMaxWait, CausingOutcome, HalfOpenTerms, Probe, ProbeClaim, ProbeCounts, ProbeOutcome, ProbeReport,
    Reason,
};

use super::*;
use crate::store::TransitionId;

fn at(seconds: u64) -> Time {
    Time::from_micros(1_000_000_000_000_000) + Duration::from_secs(seconds)
}

fn key() -> Key {
    Key::new("payments", "eu").unwrap()
}

fn half_open(permitted: u32, failures_to_open: u32) -> Snapshot {
    let terms = HalfOpenTerms {
        permitted,
        failures_to_open,
        slow_to_open: None,
        lease: Duration::from_secs(10),
        max_wait: None,
        after_max_wait: AfterMaxWait::Open,
    };
    Snapshot {
        epoch: 2,
        state: State::HalfOpen,
        open_count: 3,
        entered_at: at(0),
        half_open: Some(terms),
        ..Snapshot::pristine()
    }
}

fn claim(epoch: u64, nonces: &[u64]) -> ProbeRequest {
    let claim = ProbeClaim { epoch, nonces: nonces.to_vec(), sent_at: at(0) };
    ProbeRequest::Claim { key: key(), claim, timeline: 0 }
}

fn settle(slot: u16, nonce: u64, failed: bool) -> ProbeRequest {
    ProbeRequest::Settle {
        key: key(),
        id: TransitionId { replica: "here".into(), boot: 1, seq: nonce },
        report: ProbeReport {
            epoch: 2,
            probe: Probe { slot, nonce },
            outcome: Some(ProbeOutcome { failed, slow: false }),
            causing: CausingOutcome::default(),
            wait: Duration::from_secs(30),
            retry_after: None,
            config_revision: 7,
            rejected_calls: 5,
        },
        age: Duration::ZERO,
    }
}

/// One breaker's row and slots, asked one batch after the other.
struct World {
    key: Key,
    row: Snapshot,
    slots: ProbeRows,
}

impl World {
    fn new(row: Snapshot) -> Self {
        Self { key: key(), row, slots: ProbeRows::default() }
    }

    fn ask(&mut self, requests: &[ProbeRequest], now: Time) -> (Vec<ProbeVerdict>, Vec<Proposal>) {
        let rows = [(&self.key, self.row.clone())].into();
        let slots = [((&self.key, 2), self.slots.clone())].into();
        let judged = judge_probes(requests, LockedProbes { timeline: 0, rows, slots }, now);
        let changed = judged.changed.into_values().next();
        let (verdicts, decided) = (judged.verdicts, judged.decided);
        self.slots = changed.unwrap_or_else(|| self.slots.clone());
        (verdicts, decided)
    }

    fn claim(&mut self, nonces: &[u64], now: Time) -> (Vec<u16>, Option<Duration>) {
        let (verdicts, _) = self.ask(&[claim(2, nonces)], now);
        let [ProbeVerdict::Claimed(Some(grant))] = &verdicts[..] else { panic!("{verdicts:?}") };
        (grant.probes.iter().map(|probe| probe.slot).collect(), grant.retry_after)
    }

    fn settle(&mut self, request: ProbeRequest, now: Time) -> (ProbeSettled, Option<State>) {
        let (verdicts, decided) = self.ask(&[request], now);
        let [ProbeVerdict::Settled(settled, _)] = verdicts[..] else { panic!("{verdicts:?}") };
        let to = decided.first().map(|decided| match &decided.change {
            Change::Transition(transition) => transition.to(),
            Change::Gap(_) => panic!("{decided:?}"),
        });
        (settled, to)
    }
}

#[test]
fn a_claim_sent_again_gets_the_same_slots_and_no_longer_lease() {
    let mut world = World::new(half_open(2, 1));
    assert_eq!(world.claim(&[7], at(0)), (vec![0], None));
    assert_eq!(world.claim(&[7], at(9)), (vec![0], None));
    assert_eq!(world.claim(&[8, 9], at(9)), (vec![1], Some(Duration::from_secs(1))), "there are two");
    assert_eq!(world.claim(&[9], at(10)), (vec![0], None), "the first lease is over");
}

#[test]
fn a_probe_that_timed_out_is_told_of_once_with_the_claim_that_takes_its_slot() {
    let mut world = World::new(half_open(2, 1));
    for (nonces, seconds, timed_out) in
        [(&[7, 8][..], 0, 0), (&[9], 9, 0), (&[9], 10, 1), (&[9], 11, 0), (&[10, 11, 12], 20, 2)]
    {
        let (verdicts, _) = world.ask(&[claim(2, nonces)], at(seconds));
        let [ProbeVerdict::Claimed(Some(grant))] = &verdicts[..] else { panic!("{verdicts:?}") };
        assert_eq!(grant.timed_out, timed_out, "{nonces:?} after {seconds} s");
    }
    // One that was given back did not.
    world.ask(&[ProbeRequest::Release { key: key(), epoch: 2, nonces: vec![10] }], at(40));
    let (verdicts, _) = world.ask(&[claim(2, &[13])], at(40));
    let [ProbeVerdict::Claimed(Some(grant))] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert_eq!((grant.probes.len(), grant.timed_out), (1, 0));
}

#[test]
fn what_is_given_back_is_free_for_another() {
    let mut world = World::new(half_open(1, 1));
    world.claim(&[7], at(0));
    let back = |nonce| ProbeRequest::Release { key: key(), epoch: 2, nonces: vec![nonce] };
    world.ask(&[back(8)], at(1));
    assert_eq!(world.claim(&[9], at(1)), (vec![], Some(Duration::from_secs(1))), "it was another's");
    world.ask(&[back(7)], at(1));
    assert_eq!(world.claim(&[9], at(1)), (vec![0], None));
}

#[test]
fn the_last_outcome_decides_whoever_brings_it() {
    let mut world = World::new(half_open(2, 1));
    world.claim(&[7], at(0));
    world.claim(&[8], at(0));
    assert_eq!(world.settle(settle(0, 7, false), at(1)), (ProbeSettled::Recorded, None));
    assert_eq!(world.settle(settle(0, 7, false), at(1)), (ProbeSettled::Duplicate, None));
    assert_eq!(world.settle(settle(1, 8, false), at(1)), (ProbeSettled::Recorded, Some(State::Closed)));
}

#[test]
fn two_outcomes_of_one_batch_decide_once() {
    let mut world = World::new(half_open(3, 1));
    world.claim(&[7, 8], at(0));
    let (verdicts, decided) = world.ask(&[settle(0, 7, true), settle(1, 8, true)], at(4));
    let [decided] = &decided[..] else { panic!("{decided:?}") };
    let Change::Transition(transition) = &decided.change else { panic!("{decided:?}") };
    assert_eq!((transition.from, transition.to()), (State::HalfOpen, State::Open));
    assert_eq!((transition.reason, transition.base_epoch), (Reason::ProbesFailed, 2));
    assert_eq!((transition.after.epoch, transition.after.open_count), (3, 4));
    assert_eq!(transition.after.wait, Some(Duration::from_secs(30)));
    assert_eq!((transition.lasted, transition.rejected_calls), (Some(Duration::from_secs(4)), 5));
    let counts = ProbeCounts { completed: 1, failures: 1, consecutive_failures: 1, ..ProbeCounts::default() };
    assert_eq!(verdicts[0], ProbeVerdict::Settled(ProbeSettled::Recorded, counts));
    assert_eq!(verdicts[1], ProbeVerdict::Settled(ProbeSettled::Late, ProbeCounts::default()));
}

#[test]
fn an_outcome_counts_if_the_probe_held_its_slot_when_it_was_reported_and_nobody_else_has_it() {
    let late = |age: u64| match settle(0, 7, false) {
        ProbeRequest::Settle { key, id, report, .. } => {
            ProbeRequest::Settle { key, id, report, age: Duration::from_secs(age) }
        }
        other => other,
    };
    for (age, reassigned, settled) in [
        (0, false, ProbeSettled::Late),
        (11, false, ProbeSettled::Recorded),
        (10, false, ProbeSettled::Late),
        (11, true, ProbeSettled::Late),
    ] {
        let mut world = World::new(half_open(2, 1));
        world.claim(&[7], at(0));
        if reassigned {
            world.claim(&[8], at(15));
        }
        assert_eq!(world.settle(late(age), at(20)).0, settled, "{age} seconds old, {reassigned}");
    }
}

#[test]
fn a_half_open_that_is_over_gives_nothing_and_knows_its_repeats() {
    let mut world = World::new(half_open(1, 1));
    world.claim(&[7], at(0));
    world.settle(settle(0, 7, false), at(1));
    world.row = Snapshot { epoch: 3, state: State::Closed, ..Snapshot::pristine() };
    let (verdicts, decided) = world.ask(&[claim(2, &[9]), settle(0, 7, false), settle(0, 8, false)], at(2));
    assert_eq!(verdicts[0], ProbeVerdict::Claimed(None));
    assert_eq!(verdicts[1], ProbeVerdict::Settled(ProbeSettled::Duplicate, ProbeCounts::default()));
    assert_eq!(verdicts[2], ProbeVerdict::Settled(ProbeSettled::Late, ProbeCounts::default()));
    assert!(decided.is_empty());
}
