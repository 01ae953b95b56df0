//! A burst: many breakers open within moments, and the process is killed in the middle. Every breaker that a caller was
//! told is open is open after the restart.
//!
//! `BREAKERD_BURST_BATCHES` and `BREAKERD_BURST_BREAKERS` say how many batches of how many breakers (20 of 1,000; the
//! full size is 100 of 1,000), `BREAKERD_BURST_ROUNDS` how often (3), `BREAKERD_BURST_SEED` repeats a run.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use breaker::State;
use breakerd::proto::v1::breaker_service_client::BreakerServiceClient;
use breakerd::proto::v1::{self, Outcome, RecordOutcomeRequest, RecordOutcomesRequest};
use breakerd::store::{Store, Target, open};
use tonic::Code;

use crate::process::{Process, log_of};
use crate::support::new_database;

/// One failure opens, for longer than the test takes; and room for all of them, of one service and one caller.
const CONFIG: &str = "[circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 3600\n";
/// Batches that are under way at once.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_and_kill_9_lose_no_state_that_a_caller_was_told_of_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(folder.path().join("data/breakerd.db"));
    play(folder.path(), None, &target).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_and_kill_9_lose_no_state_that_a_caller_was_told_of_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    play(folder.path(), Some(&url), &Target::Postgres(url.clone())).await;
}

/// Each round in a service of its own, so that each has breakers that are new.
async fn play(folder: &Path, url: Option<&str>, target: &Target) {
    let seed = number("BREAKERD_BURST_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let rounds = number("BREAKERD_BURST_ROUNDS").unwrap_or(3);
    let batches = number("BREAKERD_BURST_BATCHES").unwrap_or(20);
    let each = number("BREAKERD_BURST_BREAKERS").unwrap_or(1_000);
    println!("BREAKERD_BURST_SEED={seed}");
    let breakers_max = (rounds + 1) * batches * each;
    fs::write(folder.join("breakerd.toml"), format!("{CONFIG}[limits]\nbreakers_max = {breakers_max}\n"))
        .unwrap();
    let told: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let mut dice = seed;
    for round in 0..rounds {
        let process = Process::ready(folder, url).await;
        everything_told_is_open(&process, &told).await;
        let before = told.lock().unwrap().len();
        let next = Arc::new(Mutex::new(0..batches));
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                tokio::spawn(drive(process.grpc.clone(), round, each, Arc::clone(&next), Arc::clone(&told)))
            })
            .collect();
        // Up to about the time that the burst takes, and now and then behind its end.
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        tokio::time::sleep(Duration::from_millis(50 + (dice >> 33) % (30 * batches))).await;
        process.kill();
        for client in clients {
            client.await.unwrap();
        }
        println!("round {round}: told of {} that are open", told.lock().unwrap().len() - before);
    }
    let process = Process::ready(folder, url).await;
    everything_told_is_open(&process, &told).await;
    assert!(!told.lock().unwrap().is_empty(), "the clients were never answered");
    assert!(process.stop().await.success(), "{}", log_of(folder));
    // And in the store, once the journal has been written out.
    let store = open(target).await.unwrap();
    let stored = open_in(&*store).await;
    store.close().await;
    let told = told.lock().unwrap();
    let lost: Vec<_> = told.difference(&stored).take(5).collect();
    assert!(lost.is_empty(), "not open in the store: {lost:?}");
}

/// After a restart every breaker that a caller was told is open is open.
async fn everything_told_is_open(process: &Process, told: &Mutex<BTreeSet<String>>) {
    let mut operations = process.operations().await;
    let mut open = BTreeSet::new();
    let mut page_token = String::new();
    loop {
        let request = v1::ListBreakersRequest { page_size: 1_000, page_token, ..Default::default() };
        let page = operations.list_breakers(request).await.unwrap().into_inner();
        let is_open = |breaker: &v1::Breaker| breaker.state() == v1::State::Open;
        open.extend(
            page.breakers
                .iter()
                .filter(|breaker| is_open(breaker))
                .map(|breaker| format!("{}/{}", breaker.service, breaker.name)),
        );
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    let told = told.lock().unwrap();
    let lost: Vec<_> = told.difference(&open).collect();
    assert!(lost.is_empty(), "{} of {} are closed again, such as {:?}", lost.len(), told.len(), lost[0]);
}

/// Reports a failure of each breaker of batch after batch, until there are no more or the process is gone.
async fn drive(
    address: String,
    round: u64,
    each: u64,
    next: Arc<Mutex<std::ops::Range<u64>>>,
    told: Arc<Mutex<BTreeSet<String>>>,
) {
    let Ok(client) = BreakerServiceClient::connect(address).await else { return };
    let mut client = client.max_decoding_message_size(64 << 20);
    loop {
        let batch = next.lock().unwrap().next();
        let Some(batch) = batch else { return };
        let name = |index: u64| format!("b{}", batch * each + index);
        let service = format!("burst-{round}");
        let failure = |index| RecordOutcomeRequest {
            service: service.clone(),
            name: name(index),
            outcome: Outcome::Failure.into(),
            ..Default::default()
        };
        let request = RecordOutcomesRequest { requests: (0..each).map(failure).collect() };
        let answer = match client.record_outcomes(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => {
                let gone = matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled);
                assert!(gone, "{status}");
                return;
            }
        };
        let mut told = told.lock().unwrap();
        for (index, result) in (0..each).zip(answer.results) {
            let Some(v1::record_outcomes_result::Result::Response(response)) = result.result else {
                continue;
            };
            if response.state() == v1::State::Open {
                told.insert(format!("{service}/{}", name(index)));
            }
        }
    }
}

async fn open_in(store: &dyn Store) -> BTreeSet<String> {
    let mut open = BTreeSet::new();
    let mut after = None;
    loop {
        let page = store.breakers(after.as_ref(), 10_000).await.unwrap();
        let Some(last) = page.last() else { return open };
        after = Some(last.key.clone());
        let opened = page.iter().filter(|breaker| breaker.snapshot.state == State::Open);
        open.extend(opened.map(|breaker| format!("{}/{}", breaker.key.service(), breaker.key.name())));
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
