//! What one replica does is so on all.

use std::cell::RefCell;

use breakerd_api::v1::config_service_client::ConfigServiceClient;
use breakerd_api::v1::{
    GetConfigRequest, ListReplicasRequest, Outcome, ResetBreakerRequest, SetOverrideRequest, State,
    Thresholds, UpdateConfigRequest,
};

use bytes::Bytes;

use super::{Replica, all_show, history};
use crate::process::{eventually, log_of};
use crate::support::{new_database, postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_replicas_open_probe_and_close_as_one() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    open_probe_and_close(&url, replicas.each_ref(), "together").await;
    for replica in replicas {
        let log = log_of(replica.folder.path());
        assert!(replica.process.stop().await.success(), "{log}");
        assert!(!log.contains(" ERROR ") && !log.contains("superseded"), "{log}");
    }
}

/// Trips a breaker on the first, and closes it by probes at all of them.
pub(super) async fn open_probe_and_close(url: &str, replicas: [&Replica; 3], service: &str) {
    replicas[0].trip(service).await;
    all_show(replicas, service, State::Open).await;

    // Callers at all replicas at once, once the wait is over: each probe that is allowed is counted.
    let permits = RefCell::new(Vec::new());
    eventually("both probes are given", || async {
        let calls = replicas.iter().map(|replica| replica.allow(service));
        for answer in futures_util::future::join_all(calls).await {
            assert_ne!(answer.state(), State::Closed, "no probe has come back yet");
            if answer.allowed {
                permits.borrow_mut().push(answer.permit);
            }
        }
        permits.borrow().len() == 2
    })
    .await;
    for replica in replicas {
        assert!(!replica.allow(service).await.allowed, "the probes of all replicas are two");
    }
    // Each outcome goes to another replica than the one before.
    for (replica, permit) in replicas.iter().zip(permits.into_inner()) {
        let recorded = replica.record(service, permit, Outcome::Success).await;
        assert_eq!(recorded.result().as_str_name(), "RECORD_RESULT_RECORDED");
    }
    all_show(replicas, service, State::Closed).await;
    let states = ["OPEN", "HALF_OPEN", "CLOSED"].map(str::to_owned);
    let expected: Vec<_> = states.into_iter().zip(1..).collect();
    assert_eq!(history(url, service).await, expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_set_on_one_replica_is_in_force_on_all() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    set_on_one(replicas.each_ref(), "db").await;
}

/// Thresholds on the first, an override on the second, and a reset on the third.
pub(super) async fn set_on_one(replicas: [&Replica; 3], service: &str) {
    let configs = |replica: &Replica| ConfigServiceClient::connect(replica.process.grpc.clone());
    let thresholds = Thresholds { failure_threshold: Some(7), ..Default::default() };
    let update =
        UpdateConfigRequest { service: service.into(), thresholds: Some(thresholds), ..Default::default() };
    configs(replicas[0]).await.unwrap().update_config(update).await.unwrap();
    for replica in replicas {
        let configs = configs(replica).await.unwrap();
        eventually("the threshold is there", || async {
            let get = GetConfigRequest { service: service.into(), ..Default::default() };
            let config = configs.clone().get_config(get).await.unwrap().into_inner().config.unwrap();
            config.thresholds.unwrap().failure_threshold == Some(7)
        })
        .await;
    }

    let set = SetOverrideRequest {
        service: service.into(),
        name: service.into(),
        state: State::ForcedOpen.into(),
        reason: "an incident".into(),
        create: true,
        ..Default::default()
    };
    replicas[1].process.operations().await.set_override(set).await.unwrap();
    all_show(replicas, service, State::ForcedOpen).await;
    let reset = ResetBreakerRequest { service: service.into(), name: service.into(), ..Default::default() };
    replicas[2].process.operations().await.reset_breaker(reset).await.unwrap();
    all_show(replicas, service, State::Closed).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_replica_told_its_callers_is_in_the_history_after_it_returns() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    // Nobody reaches the store: what it tells its callers is in its journal alone.
    let name = url.rsplit_once('/').unwrap().1;
    let lock = format!("LOCK TABLE {name}.public.breaker IN ACCESS EXCLUSIVE MODE");
    let mut holder = postgres(&url).await;
    sqlx::raw_sql("BEGIN").execute(&mut holder).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(lock)).execute(&mut holder).await.unwrap();
    one.trip("told").await;
    let folder = one.folder;
    one.process.kill();
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    two.trip("beyond").await;
    assert!(history(&url, "told").await.is_empty());

    let one = Replica::in_folder(folder, &url, "one").await;
    assert_eq!(history(&url, "told").await.len(), 1, "before it serves");
    all_show(&[one, two, three], "beyond", State::Open).await;
}

/// Long enough for a replica that is behind to be noticed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_was_stopped_shows_what_the_others_did() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    three.process.signal("STOP");
    one.trip("alone").await;
    eventually("the other has read it", || two.shows("alone", State::Open)).await;
    three.process.signal("CONT");
    eventually("it shows it too", || three.shows("alone", State::Open)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_list_each_other_until_they_stop() {
    let url = new_database().await;
    let [one, two, three] = Replica::three(&url).await;
    let list = async |replica: &Replica| {
        let mut operations = replica.process.operations().await;
        operations.list_replicas(ListReplicasRequest {}).await.unwrap().into_inner()
    };
    eventually("each knows the others", async || list(&one).await.replicas.len() == 3).await;
    let listed = list(&two).await;
    let names: Vec<_> = listed.replicas.iter().map(|replica| &*replica.name).collect();
    assert_eq!((names, listed.shared, listed.alone), (vec!["one", "three", "two"], true, false));
    let responding: Vec<_> = listed.replicas.iter().filter(|replica| replica.responding).collect();
    assert!(matches!(responding[..], [replica] if replica.name == "two"), "{listed:?}");
    let counted = async || {
        let metrics = one.process.page("/metrics").await;
        metrics.contains("_breakerd_replica_live 3\n") && metrics.contains("_breakerd_replica_alone 0\n")
    };
    eventually("its metrics count them", counted).await;
    assert!(three.process.stop().await.success());
    assert_eq!(list(&one).await.replicas.len(), 2, "it has said that it goes");
    let page = one.process.page("/health/replicas").await;
    assert!(page.contains("\"shared\":true") && page.contains("\"name\":\"two\""), "{page}");
}

/// One failure at each of three replicas: the threshold of three is that of one breaker service.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failures_at_all_replicas_count_together() {
    let url = new_database().await;
    let replicas = Replica::three(&url).await;
    count_together(&url, replicas.each_ref(), "alone").await;
}

pub(super) async fn count_together(url: &str, replicas: [&Replica; 3], service: &str) {
    for replica in replicas {
        replica.record(service, Bytes::new(), Outcome::Failure).await;
    }
    all_show(replicas, service, State::Open).await;
    let stats = "SELECT consecutive_failures FROM transition WHERE service = $1 AND epoch = 1";
    let counted: Vec<i64> =
        sqlx::query_scalar(stats).bind(service).fetch_all(&mut postgres(url).await).await.unwrap();
    assert_eq!(counted, [3]);
}
