//! The outcomes of probes, and the transitions that they decide.

use std::time::Duration;

use breaker::{Key, Probe, ProbeCounts, ProbeOutcome, ProbeSettled, Reason, State, Time};
use breakerd::store::{
    Answer, ChangedRow, DecidedBy, DecidedIn, ProbeRequest, ProbeResponse, Proposal, Retention, RowCursor,
    UNUSED_ROWS_KEPT,
};

use super::bed::{
    LEASE, SharedBed, brief, claim, claimed, failed, of_epoch, settle, settled, succeeded, timeless,
    to_half_open, waited,
};
use super::on_every_shared_store;
use crate::store_contract::change::{id, key, proposed};
use crate::store_contract::history;

on_every_shared_store!(
    an_outcome_is_recorded_once,
    the_order_of_outcomes_is_kept,
    an_outcome_after_its_lease_is_late,
    a_report_that_waited_counts_as_of_when_it_was_made,
    an_ignored_outcome_frees_its_slot,
    outcomes_that_decide_nothing_bump_no_revision,
    the_last_success_closes_in_the_same_transaction,
    a_failure_opens_as_long_as_its_report_says,
    after_the_verdict_a_repeat_is_told_from_what_is_late,
    a_repeat_is_answered_with_what_it_decided_whatever_came_after_that,
    what_was_decided_in_a_timeline_before_is_told_as_that,
    a_mixed_batch_is_answered_in_its_order,
    a_row_names_the_outcome_that_decided_it,
    a_batch_of_verdicts_is_one_revision,
    slots_of_an_epoch_that_is_over_stay_ten_minutes,
    the_probes_of_a_deleted_breaker_go_with_it,
);

/// The transition that an outcome is answered to have decided.
fn decided(response: ProbeResponse) -> Option<Proposal> {
    match response {
        ProbeResponse::Settled { decided, .. } => decided.map(|decided| *decided),
        other => panic!("{other:?}"),
    }
}

const GOOD: ProbeOutcome = ProbeOutcome { failed: false, slow: false };

/// One breaker in half-open, with the probes of nonces from 1 on.
async fn half_open(bed: &SharedBed, permitted: u32, failures_to_open: u32) -> (Key, Vec<Probe>) {
    let a = key("a", "");
    bed.half_open([&a], permitted, failures_to_open).await;
    let nonces: Vec<_> = (1..=permitted.into()).collect();
    let probes = bed.probes(&a, &nonces).await;
    assert_eq!(probes.len(), permitted as usize);
    (a, probes)
}

async fn an_outcome_is_recorded_once(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 3, 3).await;
    let answer = bed.settle(failed(&a, probes[1])).await;
    assert_eq!(brief(&answer), (ProbeSettled::Recorded, 1, State::HalfOpen));
    assert_eq!((answer.counts.failures, answer.counts.slow), (1, 1));
    assert_eq!(answer.row.version.revision, 1);
    let again = bed.settle(succeeded(&a, probes[1])).await;
    assert_eq!(brief(&again), (ProbeSettled::Duplicate, 1, State::HalfOpen));
    assert_eq!(again.counts, answer.counts);
    // A completed slot is given to nobody, however long ago that was.
    bed.pass(LEASE).await;
    let given = bed.probes(&a, &[7, 8, 9]).await;
    assert_eq!(given, [Probe { slot: 0, nonce: 7 }, Probe { slot: 2, nonce: 8 }]);
}

async fn the_order_of_outcomes_is_kept(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 5, 3).await;
    // Failed, succeeded, failed: in another order than that of the slots, which would be two failures in a row.
    bed.settle(failed(&a, probes[3])).await;
    bed.settle(settle(&a, probes[0], Some(ProbeOutcome { failed: false, slow: true }))).await;
    bed.settle(failed(&a, probes[2])).await;
    let answer = bed.settle(failed(&a, probes[2])).await;
    let counts =
        ProbeCounts { completed: 3, failures: 2, slow: 3, consecutive_failures: 1, consecutive_successes: 0 };
    assert_eq!((answer.settled, answer.counts), (ProbeSettled::Duplicate, counts));
    let grant = bed.claim(&a, 1, &[]).await.0.unwrap();
    assert_eq!(grant.counts, counts, "who claims is told");
}

async fn an_outcome_after_its_lease_is_late(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 1, 1).await;
    bed.pass(LEASE).await;
    let answer = bed.settle(succeeded(&a, probes[0])).await;
    assert_eq!(brief(&answer), (ProbeSettled::Late, 0, State::HalfOpen));
    // Of another's slot, also for a report that was made in time.
    assert_eq!(bed.probes(&a, &[9]).await, [Probe { slot: 0, nonce: 9 }]);
    let answer = bed.settle(waited(succeeded(&a, probes[0]), LEASE)).await;
    assert_eq!(brief(&answer), (ProbeSettled::Late, 0, State::HalfOpen));
    // And of a slot that was never given.
    let answer = bed.settle(succeeded(&a, Probe { slot: 400, nonce: 9 })).await;
    assert_eq!(brief(&answer), (ProbeSettled::Late, 0, State::HalfOpen));
}

async fn a_report_that_waited_counts_as_of_when_it_was_made(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 2, 1).await;
    bed.pass(LEASE + Duration::from_mins(2)).await;
    let age = Duration::from_mins(1);
    assert_eq!(bed.settle(waited(succeeded(&a, probes[0]), age)).await.settled, ProbeSettled::Late);
    let age = Duration::from_mins(3);
    assert_eq!(bed.settle(waited(succeeded(&a, probes[0]), age)).await.settled, ProbeSettled::Recorded);
}

async fn an_ignored_outcome_frees_its_slot(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 2, 1).await;
    let answer = bed.settle(settle(&a, probes[0], None)).await;
    assert_eq!(brief(&answer), (ProbeSettled::Recorded, 0, State::HalfOpen));
    assert_eq!(bed.probes(&a, &[9]).await, [Probe { slot: 0, nonce: 9 }]);
}

async fn outcomes_that_decide_nothing_bump_no_revision(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 2, 2).await;
    bed.settle(failed(&a, probes[0])).await;
    assert_eq!(bed.store.revision().await.unwrap(), 1);
    assert_eq!(history(&*bed.store).await.len(), 1);
}

async fn the_last_success_closes_in_the_same_transaction(bed: &mut SharedBed) {
    let b = key("b", "");
    bed.propose(proposed(51, &b, State::Closed, State::Open, 0)).await;
    bed.propose(to_half_open(52, &b, State::Open, 1, (2, 1))).await;
    let probes = bed.claim(&b, 2, &[1, 2]).await.0.unwrap().probes;
    bed.settle(of_epoch(succeeded(&b, probes[0]), 2)).await;
    let before = bed.store.revision().await.unwrap();
    let response = bed.ask(of_epoch(succeeded(&b, probes[1]), 2)).await;
    let ProbeResponse::Settled { answer, entered_by, .. } = response else { panic!("{response:?}") };
    assert_eq!(brief(&answer), (ProbeSettled::Recorded, 2, State::Closed));
    assert_eq!((answer.row.version.revision, answer.row.snapshot.epoch), (before + 1, 3));
    let entered_by = entered_by.unwrap();
    assert_eq!((entered_by.from, entered_by.reason), (State::HalfOpen, Reason::ProbesSucceeded));
    assert_eq!(entered_by.stats.calls, 2);

    let rows = history(&*bed.store).await;
    let row = rows.last().unwrap();
    assert_eq!((row.id.seq, &row.key, row.epoch, row.base_epoch), (2, &b, Some(3), 2));
    assert_eq!((row.from, row.to, row.cursor.revision), (State::HalfOpen, State::Closed, before + 1));
    assert_eq!((row.stats.calls, row.rejected_calls, row.config_revision), (2, 5, 9));
    assert_eq!(row.outcome.as_ref().unwrap().caller, "web-2");
    // Its id is known now.
    let again = bed.propose(proposed(2, &b, State::HalfOpen, State::Closed, 2)).await;
    assert_eq!(again.answer, Answer::Won { epoch: 3, revision: before + 1 });
    if let Some(database) = bed.database() {
        let episode = "SELECT revision || ' ' || service || ' ' || probes || ' ' || ended_by FROM episode";
        assert_eq!(database.text(episode).await, Some(format!("{} b 2 PROBES_SUCCEEDED", before + 1)));
    }
    let page = bed.rows_after(&RowCursor { revision: before, part: None }, 9).await;
    assert_eq!(page.rows.len(), 1, "who follows the store hears of it");
    assert_eq!(page.rows[0].key, b);
}

async fn a_failure_opens_as_long_as_its_report_says(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 3, 1).await;
    let answer = bed.settle(failed(&a, probes[2])).await;
    assert_eq!(brief(&answer), (ProbeSettled::Recorded, 1, State::Open));
    let snapshot = &answer.row.snapshot;
    assert_eq!((snapshot.wait, snapshot.config_revision), (Some(Duration::from_secs(30)), 9));
    assert_eq!(snapshot.open_count, 4, "one more than half-open had");
    assert!(answer.row.age < Duration::from_mins(1));
    let row = history(&*bed.store).await.pop().unwrap();
    assert_eq!((row.reason, row.to, row.stats.failures), (Reason::ProbesFailed, State::Open, 1));
}

async fn after_the_verdict_a_repeat_is_told_from_what_is_late(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 3, 1).await;
    bed.settle(failed(&a, probes[0])).await;
    let open = bed.store.breakers(None, 1).await.unwrap().remove(0).snapshot;
    let repeat = bed.settle(failed(&a, probes[0])).await;
    assert_eq!(repeat.settled, ProbeSettled::Duplicate);
    assert_eq!(timeless(&repeat.row.snapshot), timeless(&open));
    // What was still out decides nothing any more; nor does a nonce that was never given.
    assert_eq!(bed.settle(succeeded(&a, probes[1])).await.settled, ProbeSettled::Late);
    assert_eq!(bed.settle(succeeded(&a, Probe { slot: 0, nonce: 9 })).await.settled, ProbeSettled::Late);
    assert_eq!(bed.claim(&a, 1, &[9]).await.0, None);
    assert_eq!(bed.store.revision().await.unwrap(), 2);
    assert_eq!(history(&*bed.store).await.len(), 2);
}

/// The answer may have been lost: who asks has to keep the transition, and knows it by this answer alone.
async fn a_repeat_is_answered_with_what_it_decided_whatever_came_after_that(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 3, 2).await;
    assert_eq!(decided(bed.ask(failed(&a, probes[0])).await), None);
    let opened = decided(bed.ask(failed(&a, probes[1])).await).expect("two failures open it");
    assert_eq!(decided(bed.ask(failed(&a, probes[1])).await).as_ref(), Some(&opened));
    bed.pass(Duration::from_secs(30)).await;
    bed.propose(to_half_open(90, &a, State::Open, 2, (1, 1))).await;
    let probe = bed.claim(&a, 3, &[7]).await.0.unwrap().probes[0];
    let closed = decided(bed.ask(of_epoch(succeeded(&a, probe), 3)).await).expect("one success closes it");

    let revision = bed.store.revision().await.unwrap();
    let by_another = match failed(&a, probes[1]) {
        ProbeRequest::Settle { key, report, age, .. } => {
            ProbeRequest::Settle { key, id: id(80), report, age }
        }
        other => panic!("{other:?}"),
    };
    let batch = [
        failed(&a, probes[1]),
        failed(&a, probes[0]),
        by_another,
        of_epoch(succeeded(&a, probe), 3),
        succeeded(&a, probes[2]),
    ];
    let responses = bed.store.ask_probes(&batch).await.unwrap();
    let settled_as: Vec<_> = responses.iter().map(|response| settled(response.clone()).settled).collect();
    let repeated = ProbeSettled::Duplicate;
    assert_eq!(settled_as, [repeated, repeated, repeated, repeated, ProbeSettled::Late]);
    let told: Vec<_> = responses.into_iter().map(decided).collect();
    assert_eq!(told, [Some(opened), None, None, Some(closed), None]);
    assert_eq!(bed.store.revision().await.unwrap(), revision, "nothing is written for it");
}

async fn what_was_decided_in_a_timeline_before_is_told_as_that(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 1, 1).await;
    let opened = decided(bed.ask(failed(&a, probes[0])).await).unwrap();
    assert_eq!(opened.decided_in, DecidedIn::timeline(0));
    bed.change_server().await;
    bed.store.begin_timeline(0, 0).await.unwrap();
    let answer = bed.settle(failed(&a, probes[0])).await;
    assert_eq!(answer.settled, ProbeSettled::Duplicate);
    assert_ne!(answer.row.version.timeline, 0);
    assert_eq!(decided(bed.ask(failed(&a, probes[0])).await), Some(opened));
}

async fn a_mixed_batch_is_answered_in_its_order(bed: &mut SharedBed) {
    let (a, b) = (key("a", ""), key("b", ""));
    bed.half_open([&a, &b], 1, 1).await;
    let probe = |nonce| Probe { slot: 0, nonce };
    let release = |nonce| ProbeRequest::Release { key: b.clone(), epoch: 1, nonces: vec![nonce] };
    let batch = [
        claim(&b, 1, &[1]),
        claim(&a, 1, &[2]),
        release(1),
        claim(&b, 1, &[3]),
        succeeded(&a, probe(2)),
        claim(&a, 1, &[4]),
        settle(&b, probe(1), Some(GOOD)),
    ];
    let responses = bed.store.ask_probes(&batch).await.unwrap();
    let probes = |index: usize| claimed(responses[index].clone()).0.map(|grant| grant.probes);
    assert_eq!(probes(0), Some(vec![probe(1)]));
    assert_eq!(probes(1), Some(vec![probe(2)]));
    assert_eq!(probes(3), Some(vec![probe(3)]));
    assert_eq!(brief(&settled(responses[4].clone())), (ProbeSettled::Recorded, 1, State::Closed));
    assert_eq!(probes(5), None, "the half-open is over");
    assert_eq!(settled(responses[6].clone()).settled, ProbeSettled::Late);
    // All of it was written.
    assert_eq!(bed.probes(&b, &[9]).await, []);
    assert_eq!(bed.settle(succeeded(&a, probe(2))).await.settled, ProbeSettled::Duplicate);
}

/// Each replica that reads it keeps the transition under that id.
async fn a_row_names_the_outcome_that_decided_it(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 3, 2).await;
    let read = async |bed: &SharedBed| {
        let page = bed.rows_after(&RowCursor::default(), 9).await;
        let [row] = <[ChangedRow; 1]>::try_from(page.rows).unwrap();
        row.decided_by
    };
    let answered = |response| match response {
        ProbeResponse::Settled { decided_by, .. } => decided_by,
        other => panic!("{other:?}"),
    };
    assert_eq!(read(bed).await, None, "a replica has proposed the half-open");
    assert_eq!(answered(bed.ask(failed(&a, probes[0])).await), None);
    let response = bed.ask(failed(&a, probes[1])).await;
    let opened = decided(response.clone()).expect("two failures open it");
    let decided_by = Some(DecidedBy { id: opened.id, timeline: 0 });
    assert_eq!(answered(response), decided_by);
    // Whoever asks about the breaker, of whatever.
    assert_eq!(answered(bed.ask(failed(&a, probes[0])).await), decided_by);
    assert_eq!(answered(bed.ask(succeeded(&a, probes[2])).await), decided_by);
    assert_eq!(bed.claim(&a, 1, &[9]).await.1.decided_by, decided_by);
    assert_eq!(bed.store.use_rows(&[(a.clone(), 1)]).await.unwrap()[0].decided_by, decided_by);
    let again = bed.propose(proposed(91, &a, State::Closed, State::Open, 0)).await;
    assert_eq!((again.row.row.snapshot.epoch, again.row.decided_by), (2, decided_by.clone()));
    bed.change_server().await;
    bed.store.begin_timeline(0, 0).await.unwrap();
    assert_eq!(read(bed).await, decided_by, "it was decided in the timeline before");
    bed.pass(Duration::from_secs(30)).await;
    bed.propose(to_half_open(90, &a, State::Open, 2, (1, 1))).await;
    assert_eq!(read(bed).await, None);
}

async fn a_batch_of_verdicts_is_one_revision(bed: &mut SharedBed) {
    let keys: Vec<_> = (0..200).map(|n| key("service", &format!("{n}"))).collect();
    bed.half_open(&keys, 1, 1).await;
    let nonces: Vec<_> = (0..).zip(&keys).collect();
    let claims: Vec<_> = nonces.iter().map(|(nonce, key)| claim(key, 1, &[*nonce])).collect();
    bed.store.ask_probes(&claims).await.unwrap();
    let outcomes: Vec<_> = nonces
        .iter()
        .map(|(nonce, key)| {
            let probe = Probe { slot: 0, nonce: *nonce };
            if nonce % 2 == 0 { succeeded(key, probe) } else { failed(key, probe) }
        })
        .collect();
    for _ in 0..2 {
        let responses = bed.store.ask_probes(&outcomes).await.unwrap();
        for ((nonce, key), response) in nonces.iter().zip(responses) {
            let state = if nonce % 2 == 0 { State::Closed } else { State::Open };
            let decided = decided(response.clone()).expect("each time");
            assert_eq!((decided.id.seq, &decided.key), (*nonce, *key));
            let answer = settled(response);
            assert_eq!((answer.row.snapshot.state, answer.row.version.revision), (state, 2));
        }
    }
    assert_eq!(history(&*bed.store).await.len(), 400);
}

async fn slots_of_an_epoch_that_is_over_stay_ten_minutes(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 2, 1).await;
    let present = key("present", "");
    bed.half_open([&present], 2, 1).await;
    let held = bed.probes(&present, &[7]).await[0];
    bed.settle(succeeded(&present, held)).await;
    bed.settle(succeeded(&a, probes[0])).await;
    let retention = Retention { before: Time::ZERO, requests_before: Time::ZERO };
    // Counted from the last write to any of them.
    bed.pass(Duration::from_mins(6)).await;
    bed.settle(succeeded(&a, probes[1])).await;
    bed.pass(Duration::from_mins(6)).await;
    bed.store.prune(retention).await.unwrap();
    for probe in &probes {
        assert_eq!(bed.settle(succeeded(&a, *probe)).await.settled, ProbeSettled::Duplicate);
    }
    bed.pass(Duration::from_mins(6)).await;
    assert_eq!(bed.settle(succeeded(&a, probes[1])).await.settled, ProbeSettled::Duplicate, "not by itself");
    bed.store.prune(retention).await.unwrap();
    for probe in &probes {
        assert_eq!(bed.settle(succeeded(&a, *probe)).await.settled, ProbeSettled::Late);
    }
    assert_eq!(
        bed.settle(succeeded(&present, held)).await.settled,
        ProbeSettled::Duplicate,
        "this one lasts"
    );
}

async fn the_probes_of_a_deleted_breaker_go_with_it(bed: &mut SharedBed) {
    let (a, probes) = half_open(bed, 1, 1).await;
    bed.settle(succeeded(&a, probes[0])).await;
    bed.pass(UNUSED_ROWS_KEPT).await;
    let deleted = bed.store.delete_breakers(&[(a.clone(), 2)]).await.unwrap();
    assert_eq!(deleted.as_slice(), std::slice::from_ref(&a));
    // Another life of it, which comes to the same epoch.
    bed.propose(to_half_open(90, &a, State::Closed, 0, (1, 1))).await;
    assert_eq!(bed.settle(succeeded(&a, probes[0])).await.settled, ProbeSettled::Late);
    assert_eq!(bed.probes(&a, &[9]).await, [Probe { slot: 0, nonce: 9 }]);
}
