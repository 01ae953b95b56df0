//! `kill -9` in the middle of the walk of a service's override: a real process, over many breakers.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use breaker::State;
use breakerd::store::{Target, open};
use breakerd_api::v1;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use tonic::transport::Channel;

use crate::crash::whole_history;
use crate::grpc_world::ask;
use crate::process::{Process, eventually};
use crate::support::{new_database, sql, text};

/// Several times as many as the journal takes transitions of before the walk waits.
const BREAKERS: usize = 5_000;
/// One failure opens, for longer than any test takes.
const FILE: &str = "[circuit_breaker]\nfailure_threshold = 1\ntimeout_seconds = 3600\n";
/// The least there may be: the walk keeps the pace of the store.
const FEW_PLACES: &str = "[journal]\nbytes_max = \"1MiB\"\n";

/// A store that takes about a millisecond for each row, so that the walk takes seconds.
fn slow(target: &Target) -> &'static str {
    match target {
        Target::Sqlite(_) => {
            "CREATE VIEW slow AS
                 WITH RECURSIVE steps (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM steps WHERE n < 3000)
                 SELECT n FROM steps;
             CREATE TRIGGER slow AFTER INSERT ON transition WHEN NEW.reason = 'OVERRIDE_SET'
             BEGIN SELECT count(*) FROM slow; END;"
        }
        Target::Postgres(_) => {
            "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql
                 AS 'BEGIN PERFORM pg_sleep(0.001); RETURN NULL; END';
             CREATE TRIGGER slow AFTER INSERT ON transition FOR EACH ROW
                 WHEN (NEW.reason = 'OVERRIDE_SET') EXECUTE FUNCTION slow();"
        }
    }
}

/// As before [`slow`].
fn fast(target: &Target) -> &'static str {
    match target {
        Target::Sqlite(_) => "DROP TRIGGER slow; DROP VIEW slow;",
        Target::Postgres(_) => "DROP TRIGGER slow ON transition; DROP FUNCTION slow();",
    }
}

/// How many breakers the store has in `state`.
async fn stored(target: &Target, state: State) -> usize {
    let query = format!("SELECT CAST(count(*) AS TEXT) FROM breaker WHERE state = '{state}'");
    text(target, &query).await.unwrap().parse().unwrap()
}

/// How many breakers of the service the process has in `state`.
async fn running(mut client: OperationsServiceClient<Channel>, state: v1::State) -> usize {
    let (mut count, mut page_token) = (0, String::new());
    loop {
        let request = v1::ListBreakersRequest {
            page_size: 1_000,
            page_token,
            service: "db".into(),
            states: vec![state as i32],
            ..v1::ListBreakersRequest::default()
        };
        let page = client.list_breakers(request).await.unwrap().into_inner();
        count += page.breakers.len();
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return count;
        }
    }
}

/// Opens every breaker, so that the store knows them all.
async fn open_all(process: &Process) {
    let mut client = process.breakers().await;
    for from in (0..BREAKERS).step_by(1_000) {
        let failure = |number: usize| v1::RecordOutcomeRequest {
            service: "db".into(),
            name: number.to_string(),
            outcome: v1::Outcome::Failure as i32,
            ..v1::RecordOutcomeRequest::default()
        };
        let requests = (from..from + 1_000).map(failure).collect();
        client
            .record_outcomes(v1::RecordOutcomesRequest { requests, ..v1::RecordOutcomesRequest::default() })
            .await
            .unwrap();
    }
}

async fn a_walk_that_is_killed_is_finished(folder: &Path, url: Option<&str>, target: Target) {
    fs::write(folder.join("breakerd.toml"), FILE).unwrap();
    let process = Process::ready(folder, url).await;
    open_all(&process).await;
    assert!(process.stop().await.success());
    assert_eq!(stored(&target, State::Open).await, BREAKERS);

    sql(&target, slow(&target)).await;
    fs::write(folder.join("breakerd.toml"), format!("{FILE}{FEW_PLACES}")).unwrap();
    let process = Process::ready(folder, url).await;
    let mut client = process.operations().await;
    let walk = tokio::spawn(async move {
        let request = v1::SetOverrideRequest {
            service: "db".into(),
            state: v1::State::ForcedOpen as i32,
            reason: "its disks are being changed".into(),
            service_wide: true,
            ..v1::SetOverrideRequest::default()
        };
        client.set_override(request).await
    });
    eventually("the walk is under way", async || stored(&target, State::ForcedOpen).await > 0).await;
    process.kill();
    walk.await.unwrap().unwrap_err();
    sql(&target, fast(&target)).await;
    let walked = stored(&target, State::ForcedOpen).await;
    assert!(walked < BREAKERS / 2, "it was killed in the middle, and not behind {walked}");

    let process = Process::ready(folder, url).await;
    let client = process.operations().await;
    eventually("every breaker is in the override", async || {
        running(client.clone(), v1::State::ForcedOpen).await == BREAKERS
    })
    .await;
    let born = process.breakers().await.allow_request(ask("db", "born")).await.unwrap().into_inner();
    assert_eq!(born.reason(), v1::AllowReason::ForcedOpen);
    assert!(process.stop().await.success());

    assert_eq!(stored(&target, State::ForcedOpen).await, BREAKERS);
    let store = open(&target).await.unwrap();
    let mut told: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for row in whole_history(&*store).await {
        told.entry(row.key.name().to_string()).or_default().push((row.epoch, row.from, row.to));
    }
    store.close().await;
    assert_eq!(told.len(), BREAKERS);
    for (name, rows) in told {
        let once = [(Some(1), State::Closed, State::Open), (Some(2), State::Open, State::ForcedOpen)];
        assert_eq!(rows, once, "{name}");
    }
}

#[tokio::test]
async fn a_walk_that_is_killed_is_finished_by_the_next_start_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let target = Target::Sqlite(folder.path().join("data/breakerd.db"));
    a_walk_that_is_killed_is_finished(folder.path(), None, target).await;
}

#[tokio::test]
async fn a_walk_that_is_killed_is_finished_by_the_next_start_on_postgres() {
    let folder = tempfile::tempdir().unwrap();
    let url = new_database().await;
    a_walk_that_is_killed_is_finished(folder.path(), Some(&url), Target::Postgres(url.clone())).await;
}
