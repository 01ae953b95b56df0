//! Probes that replicas claim and give back.

use std::time::Duration;

use breaker::{PROBE_RETRY_AFTER_MAX, Probe, State};
use breakerd::store::{Change, Gap, GapCause, ProbeRequest, Proposal, RowCursor};

use super::bed::{LEASE, SharedBed, claim, claimed, to_half_open};
use super::on_every_shared_store;
use crate::store_contract::change::{NOON, key, own, proposed};

on_every_shared_store!(
    the_same_nonce_gets_the_same_slot_and_no_longer_lease,
    a_slot_is_free_again_after_its_lease,
    a_probe_that_timed_out_is_told_of_once,
    a_claim_beyond_the_slots_is_told_when_to_come_back,
    a_claim_of_several_gets_what_is_free,
    a_claim_of_another_epoch_gets_nothing_but_the_row,
    a_slot_that_was_given_back_is_free,
    claims_bump_no_revision,
    a_batch_is_over_many_breakers,
    the_first_probe_is_remembered_for_the_epoch,
);

fn probe(slot: u16, nonce: u64) -> Probe {
    Probe { slot, nonce }
}

async fn the_same_nonce_gets_the_same_slot_and_no_longer_lease(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 2, 1).await;
    // Numbers that a signed column does not hold, too.
    let nonce = u64::MAX - 7;
    assert_eq!(bed.probes(&a, &[nonce]).await, [probe(0, nonce)]);
    bed.pass(LEASE / 2).await;
    assert_eq!(bed.probes(&a, &[nonce]).await, [probe(0, nonce)]);
    assert_eq!(bed.probes(&a, &[8, 9]).await, [probe(1, 8)], "there are two");
    bed.pass(LEASE / 2).await;
    assert_eq!(
        bed.probes(&a, &[9]).await,
        [probe(0, 9)],
        "the first lease is over, however often it was asked for"
    );
    assert_eq!(bed.probes(&a, &[10]).await, [], "the second is not");
}

async fn a_slot_is_free_again_after_its_lease(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 1, 1).await;
    assert_eq!(bed.probes(&a, &[7]).await, [probe(0, 7)]);
    assert_eq!(bed.probes(&a, &[8]).await, []);
    bed.pass(LEASE).await;
    assert_eq!(bed.probes(&a, &[8]).await, [probe(0, 8)]);
    assert_eq!(bed.probes(&a, &[7]).await, [], "whose it was has to wait as others do");
}

async fn a_probe_that_timed_out_is_told_of_once(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 2, 1).await;
    let mut timed_out = Vec::new();
    for (nonces, later) in
        [(&[7, 8][..], LEASE), (&[9], Duration::ZERO), (&[9], Duration::ZERO), (&[10], LEASE)]
    {
        timed_out.push(bed.claim(&a, 1, nonces).await.0.unwrap().timed_out);
        bed.pass(later).await;
    }
    assert_eq!(
        timed_out,
        [0, 1, 0, 1],
        "with the claim that takes the slot, and not when that is sent again"
    );
    bed.release(&a, 1, &[9]).await;
    let grant = bed.claim(&a, 1, &[11]).await.0.unwrap();
    assert_eq!((grant.probes, grant.timed_out), (vec![probe(0, 11)], 0), "one that was given back did not");
}

async fn a_claim_beyond_the_slots_is_told_when_to_come_back(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 1, 1).await;
    bed.probes(&a, &[7]).await;
    let grant = bed.claim(&a, 1, &[8]).await.0.unwrap();
    assert_eq!((grant.epoch, grant.probes), (1, vec![]));
    assert_eq!(
        grant.retry_after,
        Some(PROBE_RETRY_AFTER_MAX),
        "a slot may be given back before its lease is over"
    );
}

async fn a_claim_of_several_gets_what_is_free(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 3, 1).await;
    let grant = bed.claim(&a, 1, &[1, 2]).await.0.unwrap();
    assert_eq!((grant.probes, grant.retry_after), (vec![probe(0, 1), probe(1, 2)], None));
    let grant = bed.claim(&a, 1, &[3, 4]).await.0.unwrap();
    assert_eq!(grant.probes, [probe(2, 3)]);
    assert!(grant.retry_after.is_some());
}

async fn a_claim_of_another_epoch_gets_nothing_but_the_row(bed: &mut SharedBed) {
    let (a, b, none) = (key("a", ""), key("b", ""), key("none", ""));
    bed.half_open([&a], 1, 1).await;
    bed.propose(proposed(1, &b, State::Closed, State::Open, 0)).await;
    for (key, epoch, state, revision) in [
        (&a, 0, State::HalfOpen, 1),
        (&a, 2, State::HalfOpen, 1),
        (&b, 1, State::Open, 2),
        (&none, 0, State::Closed, 0),
    ] {
        let (grant, row) = bed.claim(key, epoch, &[7]).await;
        assert_eq!(grant, None, "{key} at epoch {epoch}");
        assert_eq!((&row.key, row.row.snapshot.state, row.row.version.revision), (key, state, revision));
    }
    assert_eq!(bed.probes(&a, &[8]).await, [probe(0, 8)], "and holds none");
    // Nor does what was claimed in one epoch hold anything in the next half-open.
    bed.propose(proposed(2, &a, State::HalfOpen, State::Open, 1)).await;
    assert_eq!(bed.claim(&a, 1, &[8]).await.0, None);
    bed.propose(to_half_open(3, &a, State::Open, 2, (1, 1))).await;
    let grant = bed.claim(&a, 3, &[9]).await.0.unwrap();
    assert_eq!(grant.probes, [probe(0, 9)]);
}

async fn a_slot_that_was_given_back_is_free(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 2, 1).await;
    bed.probes(&a, &[1, 2]).await;
    // Not under a nonce that holds none, nor of another epoch.
    bed.release(&a, 1, &[9]).await;
    bed.release(&a, 2, &[1]).await;
    assert_eq!(bed.probes(&a, &[3]).await, []);
    bed.release(&a, 1, &[1]).await;
    assert_eq!(bed.probes(&a, &[2]).await, [probe(1, 2)], "the other is as it was");
    assert_eq!(bed.probes(&a, &[3]).await, [probe(0, 3)]);
    bed.release(&a, 1, &[2, 8, 3]).await;
    assert_eq!(bed.probes(&a, &[4, 5]).await, [probe(0, 4), probe(1, 5)]);
}

async fn claims_bump_no_revision(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.half_open([&a], 1, 1).await;
    let before = bed.rows_after(&RowCursor::default(), 9).await;
    let (_, row) = bed.claim(&a, 1, &[7]).await;
    assert_eq!(row.row.version.revision, 1);
    bed.release(&a, 1, &[7]).await;
    assert_eq!(bed.store.revision().await.unwrap(), 1);
    let after = bed.rows_after(&before.next, 9).await;
    assert_eq!((after.rows, after.is_last), (vec![], true));
    assert_eq!(after.position.newest, before.position.newest);
}

async fn a_batch_is_over_many_breakers(bed: &mut SharedBed) {
    let keys: Vec<_> = (0..300).map(|n| key("service", &format!("{n}"))).collect();
    bed.half_open(&keys, 1, 1).await;
    // In another order than that of their keys, and each twice.
    let claims: Vec<_> =
        (0_u64..).zip(0..600).map(|(nonce, n)| claim(&keys[(n * 7) % 300], 1, &[nonce])).collect();
    let responses = bed.store.ask_probes(&claims).await.unwrap();
    for ((nonce, request), response) in (0..).zip(&claims).zip(responses) {
        let (grant, row) = claimed(response);
        assert_eq!(row.key, *request.key());
        let wanted = if nonce < 300 { vec![probe(0, nonce)] } else { vec![] };
        assert_eq!(grant.unwrap().probes, wanted, "nonce {nonce}");
    }
    assert_eq!(bed.store.ask_probes(&[]).await.unwrap(), []);
}

async fn the_first_probe_is_remembered_for_the_epoch(bed: &mut SharedBed) {
    let a = key("a", "");
    bed.propose(proposed(1, &a, State::Closed, State::Open, 0)).await;
    bed.propose(to_half_open(2, &a, State::Open, 1, (9, 9))).await;
    let since = |grant: Option<breaker::ProbeGrant>| grant.unwrap().since_first_probe.unwrap();
    assert!(since(bed.claim(&a, 2, &[1]).await.0) < Duration::from_mins(1), "it is this one");
    bed.pass(Duration::from_hours(1)).await;
    let hour = Duration::from_hours(1)..Duration::from_hours(2);
    assert!(hour.contains(&since(bed.claim(&a, 2, &[2]).await.0)));
    // A row that is written again without another state: the outage that lasts has a gap now.
    let gap = Gap { lost_transitions: 2, at: NOON, base_epoch: 1, after: None, cause: GapCause::JournalFull };
    let gap = Proposal { change: Change::Gap(Box::new(gap)), ..own(3, &a, State::Closed, State::Open, 0) };
    let written = bed.propose(gap).await;
    assert_eq!((written.row.row.snapshot.epoch, written.row.row.version.revision), (2, 3));
    assert!(hour.contains(&since(bed.claim(&a, 2, &[3]).await.0)));
    // In the next half-open it is another.
    bed.propose(proposed(4, &a, State::HalfOpen, State::Open, 2)).await;
    bed.propose(to_half_open(5, &a, State::Open, 3, (1, 1))).await;
    let release = ProbeRequest::Release { key: a.clone(), epoch: 4, nonces: vec![3] };
    let claims = [claim(&a, 4, &[]), release, claim(&a, 4, &[4])];
    let responses = bed.store.ask_probes(&claims).await.unwrap();
    assert_eq!(claimed(responses[0].clone()).0.unwrap().since_first_probe, None);
    assert!(since(claimed(responses[2].clone()).0) < Duration::from_mins(1));
}
