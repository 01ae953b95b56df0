//! Reads of the history that take long hold up nobody who writes, and have bounds.

use std::fs;

use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{
    ListTransitionsRequest, Outcome, RecordOutcomeRequest, Thresholds, UpdateConfigRequest,
};
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::process::{Process, eventually};
use crate::support::{new_database, postgres, text};

/// What `grpc.history_reads_per_caller_max` is unless set.
const PER_CALLER: usize = 8;
/// A month of the history that no row is in: who reads the history waits for whoever has it locked, and who writes does not.
const GATE: &str = "gate";

fn failure(service: &str) -> RecordOutcomeRequest {
    RecordOutcomeRequest { service: service.into(), outcome: Outcome::Failure.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_of_the_history_hold_up_neither_the_journal_nor_a_change_nor_the_ping() {
    let url = new_database().await;
    let mut admin = postgres(&url).await;
    let run = async |admin: &mut sqlx::PgConnection, statement: String| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(admin).await.unwrap();
    };
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("breakerd.toml"), "[circuit_breaker]\nfailure_threshold = 1\n").unwrap();
    let process = Process::ready(folder.path(), Some(&url)).await;
    let mut breakers = process.breakers().await;
    breakers.record_outcome(failure("before")).await.unwrap();
    let target = breakerd::store::Target::Postgres(url.clone());
    let is_written = async |service: &str| {
        let query = format!("SELECT CAST(count(*) AS TEXT) FROM breaker WHERE service = '{service}'");
        text(&target, &query).await.as_deref() == Some("1")
    };
    eventually("it is written", || is_written("before")).await;

    for statement in [
        format!(
            "CREATE TABLE {GATE} PARTITION OF transition FOR VALUES FROM ('2020-01-01') TO ('2020-02-01')"
        ),
        "BEGIN".to_owned(),
        format!("LOCK TABLE {GATE} IN ACCESS EXCLUSIVE MODE"),
    ] {
        run(&mut admin, statement).await;
    }
    let mut readers = JoinSet::new();
    for _ in 0..2 * PER_CALLER {
        let mut operations = process.operations().await;
        readers.spawn(async move {
            let request = ListTransitionsRequest { service: "before".into(), ..Default::default() };
            operations.list_transitions(request).await
        });
    }
    for _ in 0..PER_CALLER {
        let refused = readers.join_next().await.unwrap().unwrap().unwrap_err();
        assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
        let info = refused.get_details_error_info().unwrap();
        assert_eq!(info.reason, "CALLER_HISTORY_READ_LIMIT_REACHED");
        assert!(refused.get_details_retry_info().unwrap().retry_delay.is_some());
    }
    // The others wait in the database, or for their turn; meanwhile:
    breakers.record_outcome(failure("meanwhile")).await.unwrap();
    eventually("the journal is written", || is_written("meanwhile")).await;
    let thresholds = Some(Thresholds { failure_threshold: Some(3), ..Default::default() });
    let update = UpdateConfigRequest { service: "db".into(), thresholds, ..Default::default() };
    ConfigServiceClient::new(process.channel().await).update_config(update).await.unwrap();
    assert!(process.page("/metrics").await.contains("breakerd_store_reachable 1"), "the ping goes through");
    assert!(readers.try_join_next().is_none(), "they wait still");

    run(&mut admin, "COMMIT".to_owned()).await;
    for _ in 0..PER_CALLER {
        let read = readers.join_next().await.unwrap().unwrap().unwrap().into_inner();
        assert_eq!(read.transitions.len(), 1);
    }
    assert!(process.stop().await.success());
}
