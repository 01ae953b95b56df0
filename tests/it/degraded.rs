//! Health follows what the store takes: real processes, real databases that can be read and not written.

use std::path::Path;
use std::process::Command;

use breakerd::store::Target;
use breakerd_api::v1::{Outcome, RecordOutcomeRequest};
use serde_json::{Value, json};
use sqlx::{Connection, SqliteConnection};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::process::{Process, eventually, log_of};
use crate::support::{new_database, sql};

const TRANSITIONS: &str = "store_refuses_transitions";
const CHANGES: &str = "store_refuses_changes";

async fn health(process: &Process) -> Value {
    serde_json::from_str(&process.page("/health").await).unwrap()
}

/// What gRPC health says: of the process and of decisions, and of what writes.
async fn serves(process: &Process) -> [ServingStatus; 4] {
    let mut health = HealthClient::new(process.channel().await);
    let mut all = [ServingStatus::Unknown; 4];
    for (status, service) in all.iter_mut().zip(["", "BreakerService", "ConfigService", "OperationsService"])
    {
        let service = if service.is_empty() { String::new() } else { format!("breakerd.v1.{service}") };
        *status = health.check(HealthCheckRequest { service }).await.unwrap().into_inner().status();
    }
    all
}

/// A breaker of its own trips.
async fn trip(process: &Process, service: &str) {
    for _ in 0..5 {
        let failure = RecordOutcomeRequest {
            service: service.into(),
            outcome: Outcome::Failure.into(),
            ..Default::default()
        };
        process.breakers().await.record_outcome(failure).await.unwrap();
    }
}

/// Waits until health names this problem, in every way it has.
async fn has(process: &Process, problem: &str) {
    eventually(problem, async || {
        health(process).await["problems"].as_array().unwrap().contains(&json!(problem))
    })
    .await;
    assert_eq!(health(process).await["status"], "degraded");
    let (yes, no) = (ServingStatus::Serving, ServingStatus::NotServing);
    eventually("gRPC health follows", async || serves(process).await == [yes, yes, no, no]).await;
    assert!(process.page_is("/readyz", 200).await, "decisions are made from memory");
}

/// Waits until all is well, in every way that health says so.
async fn is_well(process: &Process) {
    eventually("health comes back", async || health(process).await["status"] == "healthy").await;
    assert_eq!(health(process).await["problems"], json!([]));
    let all = [ServingStatus::Serving; 4];
    eventually("gRPC health comes back", async || serves(process).await == all).await;
}

#[tokio::test]
async fn health_follows_an_sqlite_file_that_somebody_has_locked() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready(folder.path(), None).await;
    is_well(&process).await;
    let path = folder.path().join("data/breakerd.db").display().to_string();
    let mut person = SqliteConnection::connect(&path).await.unwrap();
    sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut person).await.unwrap();
    trip(&process, "db").await;
    has(&process, TRANSITIONS).await;
    // Nobody changes a threshold: the check finds out.
    has(&process, CHANGES).await;
    sqlx::raw_sql("ROLLBACK").execute(&mut person).await.unwrap();
    is_well(&process).await;
    let log = log_of(folder.path());
    assert!(
        log.contains("problem=\"store_refuses_transitions\"") && log.contains("problem resolved"),
        "{log}"
    );
    person.close().await.unwrap();
    assert!(process.stop().await.success());
}

/// No file may grow: what a full disk is to those who write.
#[tokio::test]
async fn health_follows_a_disk_that_is_full_and_has_room_again() {
    let folder = tempfile::tempdir().unwrap();
    let process = Process::ready_ignoring_file_size_signals(folder.path()).await;
    is_well(&process).await;
    limit_file_size(&process, "4096");
    trip(&process, "db").await;
    has(&process, TRANSITIONS).await;
    // Nobody changes a threshold: the check finds out.
    has(&process, CHANGES).await;
    limit_file_size(&process, "unlimited");
    is_well(&process).await;
    assert!(process.stop().await.success());
    let store = breakerd::store::open(&database(folder.path())).await.unwrap();
    assert!(!store.breakers(None, 10).await.unwrap().is_empty(), "what waited was written");
    store.close().await;
}

fn limit_file_size(process: &Process, bytes: &str) {
    let limited = Command::new("prlimit")
        .args([format!("--pid={}", process.id()), format!("--fsize={bytes}:unlimited")])
        .status()
        .unwrap();
    assert!(limited.success());
}

fn database(folder: &Path) -> Target {
    Target::Sqlite(folder.join("data/breakerd.db"))
}

#[tokio::test]
async fn health_follows_tables_that_are_gone_from_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    let target = Target::Postgres(url.clone());
    let process = Process::ready(folder.path(), Some(&url)).await;
    is_well(&process).await;
    sql(&target, "ALTER TABLE transition RENAME TO transition_away").await;
    trip(&process, "db").await;
    has(&process, TRANSITIONS).await;
    sql(&target, "ALTER TABLE transition_away RENAME TO transition").await;
    is_well(&process).await;
    // Nobody changes a threshold, and no outage ends: the check finds out.
    for table in ["audit", "episode", "open_time"] {
        sql(&target, &format!("ALTER TABLE {table} RENAME TO {table}_away")).await;
        has(&process, CHANGES).await;
        sql(&target, &format!("ALTER TABLE {table}_away RENAME TO {table}")).await;
        is_well(&process).await;
    }
    assert!(process.stop().await.success());
}

#[tokio::test]
async fn health_follows_a_database_that_can_only_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    let target = Target::Postgres(url.clone());
    let (_, name) = url.rsplit_once('/').unwrap();
    let process = Process::ready(folder.path(), Some(&url)).await;
    is_well(&process).await;
    let end = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE datname = '{name}' AND pid <> pg_backend_pid()"
    );
    sql(&target, &format!("ALTER DATABASE {name} SET default_transaction_read_only = on")).await;
    sql(&target, &end).await;
    trip(&process, "db").await;
    has(&process, TRANSITIONS).await;
    let reset = format!("ALTER DATABASE {name} RESET default_transaction_read_only");
    sql(&target, &format!("BEGIN READ WRITE; {reset}; COMMIT")).await;
    sql(&target, &end).await;
    is_well(&process).await;
    assert!(process.stop().await.success());
}
