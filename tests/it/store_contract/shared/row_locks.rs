//! Who waits for whose lock on Postgres, and when the clock is read.

use std::sync::Arc;

use breaker::State;
use breakerd::store::{ProbeRequest, StoreError, Target};
use sqlx::{Connection, PgConnection};
use tokio::task::JoinHandle;

use super::bed::{SharedBed, claim, claimed, succeeded};
use crate::store_contract::change::{key, proposed};
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
    for requests in [vec![claim(&a, 1, &[7])], vec![succeeded(&a, breaker::Probe { slot: 0, nonce: 7 })]] {
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
