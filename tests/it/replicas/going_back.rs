//! A standby that was behind is promoted, under replicas that run.

use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::operations_service_client::OperationsServiceClient;
use breakerd_api::v1::{
    GetConfigRequest, Outcome, RecordResult, ResetBreakerRequest, State, Thresholds, UpdateConfigRequest,
};

use super::{Replica, all_show, history};
use crate::cluster::{Server, either};
use crate::process::eventually;
use crate::support::postgres;

/// A row of the history: what was entered, why, at which epoch, after which, and in which timeline it was decided.
async fn rows(url: &str, service: &str) -> Vec<(String, String, Option<i64>, i64, Option<i64>)> {
    let query = "SELECT to_state, reason, epoch, base_epoch, timeline FROM transition WHERE service = $1
                 ORDER BY revision, number";
    sqlx::query_as(query).bind(service).fetch_all(&mut postgres(url).await).await.unwrap()
}

async fn stops_following(standby: &Server) {
    standby.sql(&["ALTER SYSTEM SET primary_conninfo = ''", "SELECT pg_reload_conf()"]).await;
    eventually("nothing is replicated", || async {
        let receivers = "SELECT CAST(count(*) AS TEXT) FROM pg_stat_wal_receiver";
        standby.text(receivers).await.as_deref() == Some("0")
    })
    .await;
}

/// Takes a probe at each replica that gives one, reports that it succeeded, and answers whether that closed the breaker.
async fn probes_close(replicas: &[Replica], service: &str) -> bool {
    let mut is_closed = false;
    for replica in replicas {
        let answer = replica.allow(service).await;
        if answer.allowed && answer.state() == State::HalfOpen {
            let recorded = replica.record(service, answer.permit, Outcome::Success).await;
            is_closed |= recorded.state() == State::Closed;
        }
    }
    is_closed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_make_whole_what_a_promoted_standby_lacks() {
    let old = Server::start();
    let new = old.standby();
    let replicas = Replica::three(&either(&old, &new)).await;
    replicas[0].trip("alone").await;
    all_show(&replicas, "alone", State::Open).await;
    let is_there = "SELECT CAST(count(*) AS TEXT) FROM breaker";
    eventually("the standby has it", async || new.text(is_there).await.as_deref() == Some("1")).await;
    stops_following(&new).await;

    // What the standby will lack. The second opens, and is closed again: it must not open for having been told of.
    replicas[1].trip("between").await;
    all_show(&replicas, "between", State::Open).await;
    replicas[2].trip("db").await;
    eventually("probes close it", || probes_close(&replicas, "db")).await;
    all_show(&replicas, "db", State::Closed).await;
    let told = history(&old.url, "db").await;
    assert_eq!(told.len(), 3, "{told:?}");
    let permit = replicas[0].allow("db").await.permit;

    old.stop();
    new.promote();
    let timeline = async || new.text("SELECT CAST(timeline AS TEXT) FROM meta").await.unwrap_or_default();
    eventually("a replica begins another timeline", async || !["", "0"].contains(&timeline().await.as_str()))
        .await;
    let begun = timeline().await;
    eventually("a permit of before is late, without a restart", async || {
        let recorded = replicas[2].record("db", permit.clone(), Outcome::Failure).await;
        recorded.result() == RecordResult::Late
    })
    .await;
    for (service, state) in [("alone", State::Open), ("between", State::Open), ("db", State::Closed)] {
        all_show(&replicas, service, state).await;
    }
    let begun_in: i64 = begun.parse().unwrap();
    // The trip, from the journal of the replica that made it; and the state that each of them was in, once.
    let restart = |to: &str| (to.to_owned(), "RESTART".to_owned(), Some(1), 0, Some(begun_in));
    eventually("the history of one is whole", async || {
        let rows = rows(&new.url, "between").await;
        let trip = ("OPEN".to_owned(), "CONSECUTIVE_FAILURES".to_owned(), None, 0, Some(0));
        rows.contains(&trip) && rows.contains(&restart("OPEN"))
    })
    .await;
    eventually("the history of the other is whole", async || {
        let rows = rows(&new.url, "db").await;
        let has = |to: &str, base| {
            rows.iter().any(|row| (&*row.0, row.2, row.3, row.4) == (to, None, base, Some(0)))
        };
        has("OPEN", 0) && has("HALF_OPEN", 1) && has("CLOSED", 2) && rows.contains(&restart("CLOSED"))
    })
    .await;
    assert_eq!(timeline().await, begun, "one began it, and no more");
    // A breaker of the new timeline goes on as ever.
    replicas[1].trip("db").await;
    eventually("it opens again", async || history(&new.url, "db").await.len() == 2).await;
}

/// It was decided while the primary was gone, so that no store ever answered it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trip_that_no_store_had_answered_stays_open_on_the_promoted_standby() {
    let old = Server::start();
    let new = old.standby();
    let replicas = Replica::three(&either(&old, &new)).await;
    let tables = "SELECT CAST(count(*) AS TEXT) FROM service_config";
    eventually("the standby has the tables", async || new.text(tables).await.is_some()).await;
    stops_following(&new).await;
    // The standby lacks what the second trip was made on.
    replicas[0].trip("between").await;
    all_show(&replicas, "between", State::Open).await;
    let mut operations = OperationsServiceClient::connect(replicas[0].process.grpc.clone()).await.unwrap();
    let reset =
        ResetBreakerRequest { service: "between".into(), name: "between".into(), ..Default::default() };
    operations.reset_breaker(reset).await.unwrap();
    all_show(&replicas, "between", State::Closed).await;
    old.stop();
    let alone = &replicas[1];
    alone.trip("alone").await;
    alone.trip("between").await;
    new.promote();
    let won = async |service: &str| {
        let rows = rows(&new.url, service).await;
        rows.iter().any(|(to, reason, epoch, _, decided_in)| {
            (&**to, &**reason) == ("OPEN", "CONSECUTIVE_FAILURES")
                && epoch.is_some()
                && *decided_in == Some(0)
        })
    };
    let both = async || {
        for service in ["alone", "between"] {
            assert!(alone.shows(service, State::Open).await, "{service} is not closed in between");
        }
        let has_tables = new.text(tables).await.is_some();
        has_tables && won("alone").await && won("between").await
    };
    eventually("the new timeline has both", both).await;
    all_show(&replicas, "alone", State::Open).await;
    all_show(&replicas, "between", State::Open).await;
}

/// What was set on the primary after the standby stopped is not there any more, and no replica goes on with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_configuration_is_that_of_the_promoted_standby() {
    let old = Server::start();
    let new = old.standby();
    let replicas = Replica::three(&either(&old, &new)).await;
    let tables = "SELECT CAST(count(*) AS TEXT) FROM service_config";
    eventually("the standby has the tables", async || new.text(tables).await.is_some()).await;
    eventually("the standby has the file", async || {
        new.text("SELECT CAST(count(*) AS TEXT) FROM file_config").await.as_deref() == Some("1")
    })
    .await;
    stops_following(&new).await;
    let threshold = async |replica: &Replica| {
        let mut configs = ConfigServiceClient::connect(replica.process.grpc.clone()).await.unwrap();
        let get = GetConfigRequest { service: "db".into(), ..Default::default() };
        let config = configs.get_config(get).await.unwrap().into_inner().config.unwrap();
        config.thresholds.unwrap().failure_threshold
    };
    let thresholds = Thresholds { failure_threshold: Some(9), ..Default::default() };
    let update =
        UpdateConfigRequest { service: "db".into(), thresholds: Some(thresholds), ..Default::default() };
    let mut configs = ConfigServiceClient::connect(replicas[0].process.grpc.clone()).await.unwrap();
    configs.update_config(update).await.unwrap();
    for replica in &replicas {
        eventually("it is in force", async || threshold(replica).await == Some(9)).await;
    }
    old.stop();
    new.promote();
    for replica in &replicas {
        eventually("it is not any more", async || threshold(replica).await == Some(3)).await;
    }
}
