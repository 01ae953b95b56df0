//! Nothing that a caller was told of is lost by `kill -9`: a real process, killed at random moments, many times.
//!
//! `BREAKERD_CRASH_ROUNDS` says how many times (12), `BREAKERD_CRASH_SEED` repeats a run.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use breaker::State;
use breakerd::store::{Store, StoredTransition, Target, TransitionQuery, open};
use breakerd_api::v1::breaker_service_client::BreakerServiceClient;
use breakerd_api::v1::{AllowReason, AllowRequestRequest, GetBreakerRequest, Outcome, RecordOutcomeRequest};
use tonic::Code;

use crate::process::Process;
use crate::support::new_database;

/// Two failures open, for 40 ms; two probes decide. Everything happens often.
const CONFIG: &str =
    "[circuit_breaker]\nfailure_threshold = 2\nsuccess_threshold = 2\ntimeout_seconds = 0.04\n";
const CLIENTS: u64 = 4;
const BREAKERS_EACH: u64 = 5;

/// What callers were told.
#[derive(Default)]
struct Told {
    /// The latest epoch, by breaker.
    epochs: BTreeMap<String, u64>,
    /// Probes given, by breaker and epoch.
    probes: HashMap<(String, u64), u32>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_transition_that_a_caller_was_told_of_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(folder.path().join("data/breakerd.db"));
    play(folder.path(), async || Process::ready(folder.path(), None).await, target, false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_transition_that_a_caller_was_told_of_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    let start = async || Process::ready_alone(folder.path(), &url).await;
    play(folder.path(), start, Target::Postgres(url.clone()), false).await;
}

/// The store numbers what it decides. What it heard of too late did not come to stand, and is in the history all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_loses_no_transition_that_a_caller_of_a_replica_was_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    let start = async || Process::ready(folder.path(), Some(&url)).await;
    play(folder.path(), start, Target::Postgres(url.clone()), true).await;
}

async fn play(folder: &std::path::Path, start: impl AsyncFn() -> Process, target: Target, is_replica: bool) {
    let seed = number("BREAKERD_CRASH_SEED").unwrap_or_else(|| RandomState::new().hash_one(0));
    let rounds = number("BREAKERD_CRASH_ROUNDS").unwrap_or(12);
    println!("BREAKERD_CRASH_SEED={seed}");
    let mut dice = Dice(seed);
    std::fs::write(folder.join("breakerd.toml"), CONFIG).unwrap();
    let told = Arc::new(Mutex::new(Told::default()));
    for _ in 0..rounds {
        let process = start().await;
        nothing_told_is_forgotten(&process, &told).await;
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                tokio::spawn(drive(process.grpc.clone(), client, Dice(dice.principals()), Arc::clone(&told)))
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(50 + dice.principals() % 400)).await;
        process.kill();
        for client in clients {
            client.await.unwrap();
        }
    }
    let process = start().await;
    nothing_told_is_forgotten(&process, &told).await;
    assert!(process.stop().await.success());

    let store = open(&target).await.unwrap();
    let history = whole_history(&*store).await;
    store.close().await;
    let told = told.lock().unwrap();
    assert!(!told.epochs.is_empty(), "the clients were never answered");
    for (name, epoch) in &told.epochs {
        let (rows, superseded): (Vec<_>, Vec<_>) =
            history.iter().filter(|row| **row.key.name() == **name).partition(|row| row.epoch.is_some());
        assert!(is_replica || superseded.is_empty(), "{name}: {superseded:?}");
        let epochs: Vec<_> = rows.iter().map(|row| row.epoch.unwrap()).collect();
        assert_eq!(epochs, (1..=rows.len() as u64).collect::<Vec<_>>(), "{name}: each change once, in order");
        assert!(rows.len() as u64 >= *epoch, "{name}: told of epoch {epoch}, kept {}", rows.len());
        let mut state = State::Closed;
        for row in rows {
            assert_eq!(row.from, state, "{name}: epoch {:?} begins where the one before ended", row.epoch);
            state = row.to;
        }
    }
    for ((name, epoch), probes) in &told.probes {
        assert!(*probes <= 2, "{name}: {probes} probes in epoch {epoch}");
    }
}

/// After a restart every breaker is where its callers last saw it, or further.
async fn nothing_told_is_forgotten(process: &Process, told: &Mutex<Told>) {
    let epochs = told.lock().unwrap().epochs.clone();
    let mut operations = process.operations().await;
    for (name, epoch) in epochs.into_iter().filter(|(_, epoch)| *epoch > 0) {
        let request = GetBreakerRequest { service: "db".into(), name: name.clone() };
        let breaker = operations.get_breaker(request).await.unwrap().into_inner().breaker.unwrap();
        assert!(breaker.epoch >= epoch, "{name}: told of epoch {epoch}, came back at {}", breaker.epoch);
    }
}

/// Asks and tells until the process is gone.
async fn drive(address: String, client: u64, mut dice: Dice, told: Arc<Mutex<Told>>) {
    let Ok(mut breakers) = BreakerServiceClient::connect(address).await else { return };
    loop {
        let name = format!("b-{client}-{}", dice.principals() % BREAKERS_EACH);
        let request = AllowRequestRequest { service: "db".into(), name: name.clone(), caller: String::new() };
        let answer = match breakers.allow_request(request).await {
            Ok(answer) => answer.into_inner(),
            Err(status) => return gone(&status),
        };
        {
            let mut told = told.lock().unwrap();
            let epoch = told.epochs.entry(name.clone()).or_default();
            assert!(answer.epoch >= *epoch, "{name} went back from epoch {epoch} to {}", answer.epoch);
            *epoch = answer.epoch;
            if answer.reason() == AllowReason::Probe {
                *told.probes.entry((name, answer.epoch)).or_default() += 1;
            }
        }
        if answer.allowed {
            let outcome =
                if dice.principals().is_multiple_of(2) { Outcome::Failure } else { Outcome::Success };
            let request =
                RecordOutcomeRequest { permit: answer.permit, outcome: outcome.into(), ..Default::default() };
            if let Err(status) = breakers.record_outcome(request).await {
                return gone(&status);
            }
        }
    }
}

/// The only error that a killed process may cause.
fn gone(status: &tonic::Status) {
    assert!(matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled), "{status}");
}

pub(crate) async fn whole_history(store: &dyn Store) -> Vec<StoredTransition> {
    let mut history: Vec<StoredTransition> = Vec::new();
    loop {
        let after = history.last().map(|row| row.cursor);
        let query = TransitionQuery { oldest_first: true, limit: 1_000, after, ..TransitionQuery::default() };
        let page = store.transitions(&query).await.unwrap();
        if page.is_empty() {
            return history;
        }
        history.extend(page);
    }
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Numbers at random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn principals(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}
