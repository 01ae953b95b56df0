//! Who waits for whose lock on Postgres, and when the clock is read.

use std::sync::Arc;
use std::time::Duration;

use breaker::{Key, Probe, State};
use breakerd::store::{Answer, ProbeRequest, StoreError, Target, UNUSED_ROWS_KEPT};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use super::bed::{SharedBed, claim, claimed, succeeded};
use crate::store_contract::change::{key, proposed};
use crate::store_contract::configuration::{thresholds, try_write};
use crate::support::postgres;

/// A connection beside the store.
async fn beside(bed: &SharedBed) -> PgConnection {
    let Target::Postgres(url) = &bed.database().unwrap().target else { unreachable!() };
    postgres(url).await
}

async fn run(connection: &mut PgConnection, statement: &'static str) {
    sqlx::raw_sql(statement).execute(connection).await.unwrap();
}

fn ask(
    bed: &SharedBed,
    requests: Vec<ProbeRequest>,
) -> JoinHandle<Result<Vec<breakerd::store::ProbeResponse>, StoreError>> {
    let store = Arc::clone(&bed.store);
    tokio::spawn(async move { store.ask_probes(&requests).await })
}

/// Until a transaction of the store waits for a lock.
async fn until_it_waits(bed: &SharedBed) {
    let waits = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while bed.database().unwrap().text(waits).await.as_deref() == Some("0") {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn claims_do_not_wait_for_who_changes_other_breakers() {
    let bed = SharedBed::postgres().await;
    let (a, b) = (key("a", ""), key("b", ""));
    bed.half_open([&a, &b], 1, 1).await;
    let mut writer = beside(&bed).await;
    run(
        &mut writer,
        "BEGIN; SELECT FROM revision FOR UPDATE; UPDATE breaker SET epoch = 5 WHERE service = 'b'",
    )
    .await;
    let probes = bed.probes(&a, &[7]).await;
    // An outcome may decide a transition, and waits.
    let outcome = ask(&bed, vec![succeeded(&a, probes[0])]);
    until_it_waits(&bed).await;
    run(&mut writer, "ROLLBACK").await;
    outcome.await.unwrap().unwrap();
    writer.close().await.unwrap();
    bed.end().await;
}

/// Whoever waits for a row holds none of a later key: a claim of that one goes on.
async fn waits_in_the_order_of_keys(bed: &SharedBed, keys: &[Key], write: impl Future<Output = ()>) {
    let mut writer = beside(bed).await;
    run(&mut writer, "BEGIN; SELECT FROM breaker WHERE name = 'a' FOR UPDATE").await;
    let beside_it = async {
        until_it_waits(bed).await;
        for key in &keys[..2] {
            bed.claim(key, 1, &[7]).await;
        }
        run(&mut writer, "COMMIT").await;
    };
    tokio::join!(write, beside_it);
    writer.close().await.unwrap();
}

#[tokio::test]
async fn rows_are_locked_in_the_order_of_keys() {
    let bed = SharedBed::postgres().await;
    // On their pages they are in the opposite order.
    let keys: Vec<_> = ["c", "b", "a"].iter().map(|name| key("service", name)).collect();
    let proposals = |first_seq: u64, (from, to), base_epoch| -> Vec<_> {
        (first_seq..).zip(&keys).map(|(seq, key)| proposed(seq, key, from, to, base_epoch)).collect()
    };
    for proposal in proposals(1, (State::Closed, State::Open), 0) {
        bed.propose(proposal).await;
    }
    let claims: Vec<_> = keys.iter().map(|key| claim(key, 1, &[7])).collect();
    waits_in_the_order_of_keys(&bed, &keys, async { drop(bed.store.ask_probes(&claims).await.unwrap()) })
        .await;
    let outcomes: Vec<_> = keys.iter().map(|key| succeeded(key, Probe { slot: 0, nonce: 7 })).collect();
    waits_in_the_order_of_keys(&bed, &keys, async { drop(bed.store.ask_probes(&outcomes).await.unwrap()) })
        .await;
    waits_in_the_order_of_keys(&bed, &keys, async {
        try_write(&*bed.store, 0, thresholds("service", 3), &["service"], None).await.unwrap();
    })
    .await;
    let closing = proposals(4, (State::Open, State::Closed), 1);
    waits_in_the_order_of_keys(&bed, &keys, async {
        bed.store.propose_shared(&closing).await.unwrap();
    })
    .await;
    let closed: Vec<_> = keys.iter().map(|key| (key.clone(), 2)).collect();
    bed.pass(UNUSED_ROWS_KEPT).await;
    waits_in_the_order_of_keys(&bed, &keys, async { drop(bed.store.use_rows(&closed).await.unwrap()) }).await;
    bed.pass(UNUSED_ROWS_KEPT).await;
    waits_in_the_order_of_keys(&bed, &keys, async {
        assert_eq!(bed.store.delete_breakers(&closed).await.unwrap().len(), 3);
    })
    .await;
    bed.end().await;
}

#[tokio::test]
async fn a_claim_that_waited_sees_the_row_that_it_waited_for() {
    let bed = SharedBed::postgres().await;
    let a = key("a", "");
    bed.half_open([&a], 1, 1).await;
    let mut writer = beside(&bed).await;
    run(&mut writer, "BEGIN; UPDATE breaker SET epoch = 3").await;
    let claimed_late = ask(&bed, vec![claim(&a, 1, &[7]), claim(&a, 3, &[8])]);
    until_it_waits(&bed).await;
    run(&mut writer, "COMMIT").await;
    let responses = claimed_late.await.unwrap().unwrap();
    assert_eq!(claimed(responses[0].clone()).0, None);
    assert_eq!(claimed(responses[1].clone()).0.unwrap().probes.len(), 1);
    writer.close().await.unwrap();
    bed.end().await;
}

#[tokio::test]
async fn a_row_that_came_while_a_claim_waited_is_not_decided_by() {
    let bed = SharedBed::postgres().await;
    let (a, b) = (key("a", ""), key("b", ""));
    bed.half_open([&a], 1, 1).await;
    let mut writer = beside(&bed).await;
    run(&mut writer, "BEGIN; SELECT FROM breaker FOR UPDATE").await;
    let waiting = ask(&bed, vec![claim(&a, 1, &[7]), claim(&b, 1, &[8])]);
    until_it_waits(&bed).await;
    // Not locked by the claim, as it was not there. Another claim of it would not wait.
    bed.half_open([&b], 1, 1).await;
    run(&mut writer, "COMMIT").await;
    let responses = waiting.await.unwrap().unwrap();
    assert_eq!(claimed(responses[0].clone()).0.unwrap().probes.len(), 1);
    assert_eq!(claimed(responses[1].clone()).0, None);
    assert_eq!(bed.probes(&b, &[8]).await.len(), 1, "claimed again, it is given");
    writer.close().await.unwrap();
    bed.end().await;
}

#[tokio::test]
async fn the_clock_is_read_after_the_locks_were_waited_for() {
    let bed = SharedBed::postgres().await;
    let a = key("a", "");
    bed.half_open([&a], 1, 1).await;
    let mut writer = beside(&bed).await;
    // What is locked and not changed is not read anew by who waited for it.
    run(&mut writer, "BEGIN; SELECT FROM revision FOR UPDATE; SELECT FROM breaker FOR UPDATE").await;
    let claim = ask(&bed, vec![claim(&a, 1, &[7])]);
    let store = Arc::clone(&bed.store);
    let b = proposed(1, &key("b", ""), State::Closed, State::Open, 0);
    let proposal = tokio::spawn(async move { store.propose_shared(&[b]).await });
    let two = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock'";
    while bed.database().unwrap().text(two).await.as_deref() != Some("2") {
        tokio::task::yield_now().await;
    }
    run(&mut writer, "CREATE TABLE released AS SELECT clock_timestamp() AS at; COMMIT").await;
    claim.await.unwrap().unwrap();
    proposal.await.unwrap().unwrap();
    let after = "SELECT CAST((SELECT first_probe_at >= at FROM breaker WHERE service = 'a')
                         AND (SELECT entered_at >= at FROM breaker WHERE service = 'b') AS TEXT) FROM released";
    assert_eq!(bed.database().unwrap().text(after).await.as_deref(), Some("true"));
    writer.close().await.unwrap();
    bed.end().await;
}

#[tokio::test]
async fn who_was_overtaken_claims_and_proposes_nothing() {
    let bed = SharedBed::postgres().await;
    let a = key("a", "");
    bed.half_open([&a], 1, 1).await;
    bed.database().unwrap().sql("UPDATE revision SET holder = 'another'").await;
    // Who meets it cannot tell whether a newer release did it; who is asked next has looked.
    let error = bed.store.ask_probes(&[claim(&a, 1, &[7])]).await.unwrap_err();
    assert!(error.to_string().contains("the database was taken over"), "{error}");
    for requests in [vec![claim(&a, 1, &[7])], vec![succeeded(&a, Probe { slot: 0, nonce: 7 })]] {
        let error = bed.store.ask_probes(&requests).await.unwrap_err();
        assert!(matches!(error, StoreError::LockedByAnother(_)), "{error}");
    }
    let proposal = proposed(1, &a, State::HalfOpen, State::Open, 1);
    let error = bed.store.propose_shared(&[proposal]).await.unwrap_err();
    assert!(matches!(error, StoreError::LockedByAnother(_)), "{error}");
    let nothing = bed.database().unwrap().text("SELECT CAST(count(*) AS TEXT) FROM probe").await;
    assert_eq!(nothing.as_deref(), Some("0"));
    bed.end().await;
}

/// As a process is that was stopped: what it has begun goes on no more.
#[tokio::test]
async fn a_replica_that_is_stopped_holds_up_the_others_for_about_a_second() {
    let bed = SharedBed::postgres().await;
    let (a, b) = (key("a", ""), key("b", ""));
    let mut writer = beside(&bed).await;
    let trip = |seq, key: &Key| [proposed(seq, key, State::Closed, State::Open, 0)];
    let (of_a, store) = (trip(1, &a), Arc::clone(&bed.store));
    let mut stopped = std::pin::pin!(store.propose_shared(&of_a));
    // It is stopped while it waits for a lock, so it cannot have gone on to its end. Only its server goes on.
    run(&mut writer, "BEGIN; SELECT FROM revision FOR UPDATE").await;
    tokio::select! {
        biased;
        answered = stopped.as_mut() => panic!("it does not wait: {answered:?}"),
        () = until_it_waits(&bed) => {}
    }
    let let_go = "CREATE TABLE stopped AS SELECT pid FROM pg_stat_activity
                  WHERE datname = current_database() AND wait_event_type = 'Lock'; COMMIT";
    run(&mut writer, let_go).await;
    let works = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity JOIN stopped USING (pid)
                 WHERE state = 'active'";
    while bed.database().unwrap().text(works).await.as_deref() != Some("0") {
        tokio::task::yield_now().await;
    }
    let of_b = trip(2, &b);
    let answered = tokio::time::timeout(Duration::from_secs(3), bed.store.propose_shared(&of_b));
    let answered = answered.await.expect("it does not wait for long").unwrap();
    assert!(matches!(answered[0].answer, Answer::Won { epoch: 1, revision: 1 }), "{answered:?}");
    // Continued, it has lost its transaction, and says so: it sends the proposal again.
    assert!(stopped.await.is_err());
    writer.close().await.unwrap();
    bed.end().await;
}
