//! A burst: many breakers open within moments, and the process is killed in the middle. Every breaker that a caller was
//! told is open is open after the restart.
//!
//! `BREAKERD_BURST_BATCHES` and `BREAKERD_BURST_BREAKERS` say how many batches of how many breakers (20 of 1,000; the
//! full size is 100 of 1,000), `BREAKERD_BURST_ROUNDS` how often (3), `BREAKERD_BURST_SEED` repeats a run.

use std::collections::BTreeSet;
use std::fs;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::{self, Outcome, RecordOutcomeRequest, RecordOutcomesRequest};
use tonic::Code;

use crate::process::{Process, log_of};
use crate::support::new_database;

/// One failure opens, for longer than the test takes; and room for all of them, of one service and one caller.
const CONFIG: &str = "[circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 3600\n";
/// Batches that are under way at once.
const CLIENTS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_and_kill_9_lose_no_state_that_a_caller_was_told_of_on_sqlite() {
    play(async || None).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_and_kill_9_lose_no_state_that_a_caller_was_told_of_on_postgres() {
    play(async || Some(new_database().await)).await;
}

/// Each round on a store of its own.
async fn play(database: impl AsyncFn() -> Option<String>) {
    let seed = number("BREAKERD_BURST_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let rounds = number("BREAKERD_BURST_ROUNDS").unwrap_or(3);
    let size = Size {
        batches: number("BREAKERD_BURST_BATCHES").unwrap_or(20),
        each: number("BREAKERD_BURST_BREAKERS").unwrap_or(1_000),
    };
    println!("BREAKERD_BURST_SEED={seed}");
    let mut dice = seed;
    let mut told = 0;
    for round in 0..rounds {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // By what was answered and not by time, so that a slow machine is killed as deep in the burst as a fast one.
        let kill = Kill {
            answered: usize::try_from((1 + (dice >> 33) % size.batches) * size.each).unwrap(),
            then: Duration::from_millis((dice >> 20) % 20),
        };
        let now = once(database().await.as_deref(), size, kill).await;
        println!("round {round}: {kill:?}, told of {now} that are open, 0 lost");
        told += now;
    }
    println!("{rounds} rounds, told of {told}, 0 lost");
}

#[derive(Clone, Copy)]
struct Size {
    batches: u64,
    each: u64,
}

/// When the process is killed: so long after so many were told open.
#[derive(Debug, Clone, Copy)]
struct Kill {
    answered: usize,
    then: Duration,
}

/// A burst, a kill, a restart. Answers how many breakers callers were told are open.
async fn once(url: Option<&str>, size: Size, kill: Kill) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let breakers_max = size.batches * size.each;
    let limits = ["breakers_max", "breakers_per_service_max", "breakers_per_caller_max"]
        .map(|limit| format!("{limit} = {breakers_max}\n"))
        .concat();
    fs::write(folder.join("breakerd.toml"), format!("{CONFIG}[limits]\n{limits}")).unwrap();
    let told: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let process = Process::ready(folder, url).await;
    let next = Arc::new(Mutex::new(0..size.batches));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(drive(process.grpc.clone(), size.each, Arc::clone(&next), Arc::clone(&told))))
        .collect();
    while told.lock().unwrap().len() < kill.answered {
        assert!(clients.iter().any(|client| !client.is_finished()), "{}", log_of(folder));
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(kill.then).await;
    process.kill();
    for client in clients {
        client.await.unwrap();
    }
    let process = Process::ready(folder, url).await;
    everything_told_is_open(&process, &told).await;
    // And once more, whatever of it the store has by now.
    assert!(process.stop().await.success(), "{}", log_of(folder));
    let process = Process::ready(folder, url).await;
    everything_told_is_open(&process, &told).await;
    process.kill();
    Arc::into_inner(told).unwrap().into_inner().unwrap().len()
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
        open.extend(page.breakers.into_iter().filter(is_open).map(|breaker| breaker.name));
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
        let failure = |index| RecordOutcomeRequest {
            service: "burst".into(),
            name: name(index),
            outcome: Outcome::Failure.into(),
            ..Default::default()
        };
        let request = RecordOutcomesRequest {
            requests: (0..each).map(failure).collect(),
            ..RecordOutcomesRequest::default()
        };
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
                told.insert(name(index));
            }
        }
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
