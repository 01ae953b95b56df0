//! A replica that does not reach the store goes on alone, and the others without it.

use breakerd_api::v1::{ListReplicasRequest, ResetBreakerRequest, State};
use tonic::Code;

use super::{Replica, all_show, history};
use crate::cluster::{Server, either};
use crate::process::eventually;
use crate::severable_proxy::Road;
use crate::support::{new_database, postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_is_cut_off_decides_alone_and_agrees_again_afterwards() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let (cut_off, other) = (Replica::holding(&road.url, "one").await, Replica::start(&url, "two").await);
    road.cut();
    eventually("it says so", async || cut_off.process.page("/health").await.contains("store_unreachable"))
        .await;
    let mut operations = cut_off.process.operations().await;
    let listed = operations.list_replicas(ListReplicasRequest {}).await.unwrap().into_inner();
    assert!(listed.alone && listed.replicas.len() == 1, "{listed:?}");

    let alone = async || cut_off.process.page("/metrics").await.contains("_breakerd_replica_alone 1\n");
    eventually("its metrics say so too", alone).await;

    // It denies by itself, and the store hears of it later. What lets calls through waits for the store.
    cut_off.trip("alone").await;
    cut_off.trip("short").await;
    other.trip("beside").await;
    assert_eq!(cut_off.allow("beside").await.state(), State::Closed, "nobody has told it");
    let reset = ResetBreakerRequest { service: "alone".into(), name: "alone".into(), ..Default::default() };
    let refused = operations.reset_breaker(reset).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    // Longer than its wait.
    eventually("the other goes on to half-open", async || other.allow("beside").await.allowed).await;
    let answer = cut_off.allow("alone").await;
    assert!(!answer.allowed, "no probe without the store: {answer:?}");
    assert!(history(&url, "alone").await.is_empty());

    road.mend();
    let replicas = [cut_off, other];
    all_show(&replicas, "alone", State::Open).await;
    assert_eq!(history(&url, "alone").await, [("OPEN".to_owned(), 1)]);
    all_show(&replicas, "beside", State::HalfOpen).await;
    // Its wait was over before the store heard of it: it is history, and opens nothing any more.
    eventually("the history has it", async || superseded(&url, "short").await == 1).await;
    all_show(&replicas, "short", State::Closed).await;
}

/// How many transitions of a service did not come to stand, and are in the history all the same.
pub(super) async fn superseded(url: &str, service: &str) -> i64 {
    let count = "SELECT count(*) FROM transition WHERE service = $1 AND epoch IS NULL AND NOT shadow";
    sqlx::query_scalar(count).bind(service).fetch_one(&mut postgres(url).await).await.unwrap()
}

/// The first opens a breaker while it is cut off, the other closes another one meanwhile: what was agreed on stands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_others_agreed_on_meanwhile_stands_over_what_was_decided_alone() {
    let url = new_database().await;
    let road = Road::to(&url).await;
    let (cut_off, other) = (Replica::start(&road.url, "one").await, Replica::start(&url, "two").await);
    road.cut();
    eventually("it knows", async || cut_off.process.page("/health").await.contains("store_unreachable"))
        .await;
    other.trip("db").await;
    // The reset goes to the store first, and could overtake it.
    eventually("the store has it", async || history(&url, "db").await.len() == 1).await;
    let reset = ResetBreakerRequest { service: "db".into(), name: "db".into(), ..Default::default() };
    other.process.operations().await.reset_breaker(reset).await.unwrap();
    assert_eq!(other.allow("db").await.state(), State::Closed);
    cut_off.trip("db").await;
    road.mend();
    eventually("it takes over what stands", async || cut_off.shows("db", State::Closed).await).await;
    // Its callers were told.
    eventually("the history has it too", async || superseded(&url, "db").await == 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_move_together_to_a_promoted_standby() {
    let old = Server::start();
    let new = old.standby();
    let url = either(&old, &new);
    let replicas = Replica::three(&url).await;
    replicas[0].trip("alone").await;
    all_show(&replicas, "alone", State::Open).await;
    let is_there = "SELECT CAST(count(*) AS TEXT) FROM breaker";
    eventually("the standby has it", async || new.text(is_there).await.as_deref() == Some("1")).await;
    old.stop();
    eventually("they know", async || replicas[1].process.page("/health").await.contains("store_unreachable"))
        .await;
    // Nobody waits for the database to decide.
    assert_eq!(replicas[1].allow("alone").await.state(), State::Open);
    replicas[1].trip("between").await;
    new.promote();
    // A new timeline, where what was decided before changes nothing: no replica knew that the store has this.
    let trip =
        "SELECT CAST(count(*) AS TEXT) FROM transition WHERE service = 'between' AND to_state = 'OPEN'";
    eventually("the history has it", async || new.text(trip).await.as_deref() == Some("1")).await;
    let reset = ResetBreakerRequest { service: "alone".into(), name: "alone".into(), ..Default::default() };
    let mut operations = replicas[2].process.operations().await;
    eventually("an act is taken", async || operations.clone().reset_breaker(reset.clone()).await.is_ok())
        .await;
    operations = replicas[0].process.operations().await;
    all_show(&replicas, "alone", State::Closed).await;
    eventually("they know each other", async || {
        let listed = operations.clone().list_replicas(ListReplicasRequest {}).await.unwrap().into_inner();
        listed.replicas.iter().filter(|replica| replica.silent_for.unwrap_or_default().seconds < 3).count()
            == 3
    })
    .await;
}
