//! A database that a newer release has upgraded: what this one does with it.

use breakerd::store::{StoreError, open_shared};
use breakerd_api::v1::{SetOverrideRequest, State};
use tonic::Code;

use super::{Replica, history};
use crate::process::{ends, eventually, log_of, program};
use crate::support::{new_database, postgres};

async fn execute(url: &str, statements: &'static str) {
    sqlx::raw_sql(statements).execute(&mut postgres(url).await).await.unwrap();
}

/// As a migration of a newer release does that this one cannot live with.
const BREAKING: &str = "BEGIN;
    UPDATE meta SET compatible_from = 9999;
    UPDATE revision SET holder = NULL;
    COMMIT";

const UNKNOWN: &str = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
    VALUES (9999, 'from the future', true, ''::bytea, 0)";

/// One of the release before is killed during an upgrade, and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_migration_that_this_release_does_not_know_is_no_reason_to_stop() {
    let url = new_database().await;
    open_shared(&url).await.unwrap().store.close().await;
    execute(&url, UNKNOWN).await;
    let replica = Replica::start(&url, "one").await;
    replica.trip("alone").await;
    eventually("it writes", async || history(&url, "alone").await.len() == 1).await;
    assert!(replica.process.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_programs_migrations_are_a_reason_to_stop() {
    let url = new_database().await;
    execute(
        &url,
        "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
             installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
             execution_time bigint NOT NULL)",
    )
    .await;
    execute(&url, UNKNOWN).await;
    let Err(StoreError::Refused(why)) = open_shared(&url).await else { panic!("opened") };
    assert!(why.contains("if another program keeps its migrations there, use another database"), "{why}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_of_which_a_newer_release_takes_the_database_decides_on_and_writes_no_more() {
    let url = new_database().await;
    let replica = Replica::start(&url, "one").await;
    replica.trip("alone").await;
    eventually("it writes", async || history(&url, "alone").await.len() == 1).await;
    execute(&url, BREAKING).await;

    // At once: nobody has told it.
    replica.trip("between").await;
    let health = async || replica.process.page("/health").await;
    eventually("health says why", async || health().await.contains("store_needs_newer_release")).await;
    assert!(!health().await.contains("store_unreachable"), "it answers");
    let log = async || log_of(replica.folder.path());
    eventually("the log says what to do", async || log().await.contains("run the newer version")).await;
    let mut operations = replica.process.operations().await;
    let request = SetOverrideRequest {
        service: "alone".into(),
        name: "alone".into(),
        state: State::Disabled.into(),
        reason: "test".into(),
        ..Default::default()
    };
    let refused = operations.set_override(request).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(!replica.allow("alone").await.allowed, "it decides");
    assert!(replica.allow("never").await.allowed, "it decides");
    replica.trip("beyond").await;
    for service in ["between", "beyond"] {
        assert!(replica.shows(service, State::Open).await);
        assert!(history(&url, service).await.is_empty(), "written by a release that must not");
    }

    let folder = tempfile::tempdir().unwrap();
    let output = ends(program(folder.path(), Some(&url))).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("must know migration 9999"), "{said}");

    // What it could not write waits for the release that comes in its place.
    execute(&url, "UPDATE meta SET compatible_from = 0; UPDATE revision SET holder = 'shared'").await;
    for service in ["between", "beyond"] {
        eventually("it is written", async || history(&url, service).await.len() == 1).await;
    }
    eventually("all is well", async || health().await.contains("\"healthy\"")).await;
    assert!(replica.process.stop().await.success());
}
