//! A database that is switched over, moved, or logged in to with another password, under a store that is open.

use std::fs;
use std::sync::Arc;

use breakerd::store::{Answer, Store, StoreError, Target, open, open_by_file};
use breakerd_api::v1::{Outcome, RecordOutcomeRequest, State};

use crate::cluster::{Server, either};
use crate::process::{Process, eventually, log_of, program};
use crate::store_contract::change::{key, trip};

async fn trip_one(store: &dyn Store, seq: u64) -> Result<u64, StoreError> {
    match &store.propose(&[trip(seq, &key("service", &format!("{seq}")))]).await?[..] {
        [Answer::Won { revision, .. }] => Ok(*revision),
        answers => panic!("{answers:?}"),
    }
}

/// Tries until it is written, as the journal does.
async fn trip_until_written(store: &Arc<dyn Store>, seq: u64) {
    eventually("it is written", || async { trip_one(&**store, seq).await.is_ok() }).await;
}

const CONNECTIONS: &str =
    "SELECT CAST(count(*) AS TEXT) FROM pg_stat_activity WHERE application_name = 'breakerd'";
const TRIPPED: &str = "SELECT CAST(count(*) AS TEXT) FROM breaker WHERE state = 'OPEN'";
const MAKE_READ_ONLY: [&str; 2] =
    ["ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()"];

async fn has_caught_up(primary: &Server, standby: &Server) {
    let at = primary.text("SELECT CAST(pg_current_wal_lsn() AS TEXT)").await.unwrap();
    let query = format!("SELECT CAST(pg_last_wal_replay_lsn() >= '{at}' AS TEXT)");
    eventually("the standby has all", || async { standby.text(&query).await.as_deref() == Some("true") })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_primary_that_turns_read_only_and_keeps_its_connections_is_left() {
    let old = Server::start();
    let new = old.standby();
    let store = open(&Target::Postgres(either(&old, &new))).await.unwrap();
    trip_one(&*store, 1).await.unwrap();
    has_caught_up(&old, &new).await;

    old.sql(&MAKE_READ_ONLY).await;
    let is_read_only = "SHOW default_transaction_read_only";
    eventually("the old primary is read-only", || async {
        old.text(is_read_only).await.as_deref() == Some("on")
    })
    .await;
    // Nobody takes writes: nothing is written, and it is said why. (The first to meet it may be a write that had begun.)
    let first = trip_one(&*store, 2).await.unwrap_err();
    assert!(first.is_transient(), "{first:?}");
    let error = trip_one(&*store, 2).await.unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(error.is_transient(), "{error:?}");
    assert!(error.to_string().contains("no database server accepts writes"), "{error}");
    assert!(
        cause.contains("default_transaction_read_only is on") && cause.contains("is a standby"),
        "{cause}"
    );

    new.promote();
    trip_until_written(&store, 2).await;
    store.ping().await.unwrap();
    assert_eq!(new.text(TRIPPED).await.as_deref(), Some("2"));
    assert_eq!(store.revision().await.unwrap(), 2, "reads follow the lock");
    eventually("the old primary is left", || async { old.text(CONNECTIONS).await.as_deref() == Some("0") })
        .await;
    let Err(error) = open(&Target::Postgres(new.url.clone())).await else { panic!("two on one database") };
    assert!(matches!(error, StoreError::LockedByAnother(_)), "the lock is held on the new primary: {error}");
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_writes_again_after_its_primary_crashed_and_the_standby_took_over() {
    let old = Server::start();
    let new = old.standby();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\nfailure_threshold = 1\n").unwrap();
    // The one that takes writes is found wherever it stands in the list.
    let process = Process::ready_alone(folder.path(), &either(&new, &old)).await;
    let mut breakers = process.breakers().await;
    let mut fail = async |service: &str| {
        let outcome = Outcome::Failure.into();
        let failure = RecordOutcomeRequest { service: service.into(), outcome, ..Default::default() };
        breakers.record_outcome(failure).await.unwrap().into_inner().state()
    };
    assert_eq!(fail("before").await, State::Open);
    let is_written =
        async |server: &Server, count: &str| server.text(TRIPPED).await.as_deref() == Some(count);
    eventually("it is written", || is_written(&old, "1")).await;
    has_caught_up(&old, &new).await;

    old.stop();
    assert_eq!(fail("between").await, State::Open);
    new.promote();
    assert_eq!(fail("after").await, State::Open);
    eventually("all of it is written", || is_written(&new, "3")).await;
    let log = log_of(folder.path());
    assert!(log.contains("took the lock on the database again"), "{log}");
    assert!(process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_that_lacked_the_newest_revisions_is_told_of_and_written_to() {
    let old = Server::start();
    let new = old.standby();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\nfailure_threshold = 1\n").unwrap();
    let process = Process::ready_alone(folder.path(), &either(&old, &new)).await;
    has_caught_up(&old, &new).await;
    new.sql(&["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"]).await;
    eventually("nothing is replicated", || async {
        new.text("SELECT CAST(count(*) AS TEXT) FROM pg_stat_wal_receiver").await.as_deref() == Some("0")
    })
    .await;
    let mut breakers = process.breakers().await;
    let mut fail = async |service: &str| {
        let outcome = Outcome::Failure.into();
        let failure = RecordOutcomeRequest { service: service.into(), outcome, ..Default::default() };
        breakers.record_outcome(failure).await.unwrap();
    };
    fail("lost").await;
    eventually("it is written", || async { old.text(TRIPPED).await.as_deref() == Some("1") }).await;
    old.stop();
    new.promote();
    fail("kept").await;
    let is_kept = "SELECT CAST(count(*) AS TEXT) FROM breaker WHERE service = 'kept'";
    eventually("it is written", || async { new.text(is_kept).await.as_deref() == Some("1") }).await;
    let log = log_of(folder.path());
    assert!(log.contains("promoted standby lacks the newest revisions"), "{log}");
    assert!(process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_leads_to_another_store_is_not_followed() {
    let (one, other) = (Server::start(), Server::start());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    fs::write(&file, &one.url).unwrap();
    let store = open_by_file(&file).await.unwrap();
    trip_one(&*store, 1).await.unwrap();
    open(&Target::Postgres(other.url.clone())).await.unwrap().close().await;

    fs::write(&file, &other.url).unwrap();
    let error = store.ping().await.unwrap_err();
    assert!(matches!(&error, StoreError::Refused(problem) if problem.contains("another store")), "{error}");
    assert!(trip_one(&*store, 2).await.is_err());
    fs::write(&file, &one.url).unwrap();
    trip_one(&*store, 2).await.unwrap();
    store.close().await;
}

/// A role that has to show a password, and owns the database.
async fn with_password(server: &Server) {
    let hba = server.folder().join("data/pg_hba.conf");
    let trusted = fs::read_to_string(&hba).unwrap();
    fs::write(&hba, format!("host all rotated 127.0.0.1/32 scram-sha-256\n{trusted}")).unwrap();
    server
        .sql(&[
            "CREATE ROLE rotated LOGIN PASSWORD 'one'",
            "ALTER DATABASE breakerd OWNER TO rotated",
            "ALTER SCHEMA public OWNER TO rotated",
            "SELECT pg_reload_conf()",
        ])
        .await;
}

async fn rotate(server: &Server) {
    server
        .sql(&[
            "ALTER ROLE rotated PASSWORD 'two'",
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'rotated'",
        ])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_password_is_taken_from_the_file_of_the_url_without_a_restart() {
    let server = Server::start();
    with_password(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("url");
    let url = |password: &str| server.url.replacen("breakerd@", &format!("rotated:{password}@"), 1) + "\n";
    fs::write(&file, url("wrong")).unwrap();
    let Err(error) = open_by_file(&file).await else { panic!("let in") };
    assert!(error.to_string().contains("store.url_file"), "{error}");
    fs::write(&file, url("one")).unwrap();
    let store = open_by_file(&file).await.unwrap();
    trip_one(&*store, 1).await.unwrap();

    rotate(&server).await;
    fs::write(&file, "not a URL, for a moment").unwrap();
    assert!(trip_one(&*store, 2).await.is_err(), "the old password is refused");
    fs::write(&file, url("two")).unwrap();
    store.ping().await.unwrap();
    trip_one(&*store, 2).await.unwrap();
    assert_eq!(store.revision().await.unwrap(), 2);
    store.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rotated_password_is_taken_from_the_password_file_without_a_restart() {
    let server = Server::start();
    with_password(&server).await;
    let folder = tempfile::tempdir().unwrap();
    let passfile = folder.path().join("passfile");
    let write = |password: &str| {
        fs::write(&passfile, format!("*:*:*:rotated:{password}\n")).unwrap();
        let private = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600);
        fs::set_permissions(&passfile, private).unwrap();
    };
    write("one");
    fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\nfailure_threshold = 1\n").unwrap();
    let url = server.url.replacen("breakerd@", "rotated@", 1);
    let mut command = program(folder.path(), Some(&url));
    command.env("PGPASSFILE", &passfile);
    let process = Process::run(command, folder.path());
    eventually("breakerd is ready", || process.page_is("/readyz", 200)).await;

    write("two");
    rotate(&server).await;
    let outcome = Outcome::Failure.into();
    let failure = RecordOutcomeRequest { service: "db".into(), outcome, ..Default::default() };
    process.breakers().await.record_outcome(failure).await.unwrap();
    eventually("it is written", || async { server.text(TRIPPED).await.as_deref() == Some("1") }).await;
    assert!(process.stop().await.success());
}
