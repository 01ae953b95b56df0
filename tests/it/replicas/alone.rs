//! Postgres is away, and the dependency well again: each replica lets calls pass by itself, until Postgres answers.

use breakerd_api::v1::{
    AllowReason, AllowRequestResponse, Outcome, RecordResult, ResetBreakerRequest, State,
};
use tonic::Code;

use super::{Replica, all_show, history};
use crate::cluster::Server;
use crate::process::eventually;
use crate::support::postgres;

/// What a replica decided alone, in its order: what was left and what was entered; none of it stands.
async fn decided_alone(url: &str, service: &str, replica: &str) -> Vec<(String, String)> {
    let query = "SELECT from_state, to_state FROM transition
        WHERE service = $1 AND replica = $2 AND store_unavailable AND epoch IS NULL AND superseded_by IS NOT NULL
        ORDER BY seq";
    sqlx::query_as(query).bind(service).bind(replica).fetch_all(&mut postgres(url).await).await.unwrap()
}

/// The next call that is let through.
async fn let_through(replica: &Replica, service: &str) -> AllowRequestResponse {
    let answer = std::cell::RefCell::new(None);
    eventually("a call is let through", async || {
        let allowed = replica.allow(service).await;
        let is_allowed = allowed.allowed;
        answer.replace(Some(allowed));
        is_allowed
    })
    .await;
    answer.take().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_pass_again_while_postgres_is_away_and_what_was_decided_alone_is_history() {
    let server = Server::start();
    let url = server.url.clone();
    let (one, two) = tokio::join!(Replica::start(&url, "one"), Replica::start(&url, "two"));
    one.trip("apart").await;
    all_show([&one, &two], "apart", State::Open).await;
    eventually("the history has it", async || history(&url, "apart").await.len() == 1).await;
    server.stop();
    // And one that Postgres never heard of.
    one.trip("db").await;

    // Each has its own probes, as many as there may be.
    let first = let_through(&one, "apart").await;
    assert!(first.decided_alone && first.reason() == AllowReason::Probe, "{first:?}");
    assert_eq!((first.state(), first.epoch), (State::HalfOpen, 1), "{first:?}");
    let second = one.allow("apart").await;
    assert!(second.allowed && second.decided_alone, "{second:?}");
    let third = one.allow("apart").await;
    assert!(!third.allowed && third.reason() == AllowReason::HalfOpenExhausted, "{third:?}");
    let others = let_through(&two, "apart").await;
    assert!(others.decided_alone && others.reason() == AllowReason::Probe, "{others:?}");

    // Outcomes count where they were allowed.
    let elsewhere = two.record("apart", first.permit.clone(), Outcome::Success).await;
    assert_eq!(elsewhere.result(), RecordResult::Late, "{elsewhere:?}");
    for permit in [&first.permit, &second.permit] {
        let recorded = one.record("apart", permit.clone(), Outcome::Success).await;
        assert_eq!(recorded.result(), RecordResult::Recorded, "{recorded:?}");
    }
    let passes = one.allow("apart").await;
    assert!(passes.decided_alone && passes.allowed, "{passes:?}");
    assert_eq!((passes.state(), passes.epoch), (State::Closed, 1), "{passes:?}");
    two.record("apart", others.permit.clone(), Outcome::Failure).await;
    assert_eq!(two.allow("apart").await.state(), State::Open, "it decides by itself");
    for _ in 0..2 {
        let probe = let_through(&one, "db").await;
        assert!(probe.decided_alone, "{probe:?}");
        one.record("db", probe.permit, Outcome::Success).await;
    }
    assert_eq!(one.allow("db").await.state(), State::Closed);
    let reset = ResetBreakerRequest { service: "apart".into(), name: "apart".into(), ..Default::default() };
    let refused = one.process.operations().await.reset_breaker(reset).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");

    server.start_again();
    eventually("it is not alone any more", async || !one.allow("apart").await.decided_alone).await;
    let late = one.record("apart", passes.permit, Outcome::Failure).await;
    assert_eq!(late.result(), RecordResult::Late, "{late:?}");
    // The breaker goes on from its row, and closes by the probes of all.
    eventually("it is closed by probes", async || {
        for replica in [&one, &two] {
            let allowed = replica.allow("apart").await;
            if allowed.allowed {
                assert!(
                    !allowed.decided_alone || replica.process.page("/metrics").await.contains("alone 1\n")
                );
                replica.record("apart", allowed.permit, Outcome::Success).await;
            }
        }
        one.shows("apart", State::Closed).await && two.shows("apart", State::Closed).await
    })
    .await;
    let states = ["OPEN", "HALF_OPEN", "CLOSED"];
    let expected: Vec<_> =
        states.into_iter().zip(1..).map(|(state, epoch)| (state.to_owned(), epoch)).collect();
    assert_eq!(history(&url, "apart").await, expected);
    let told = |states: &[(&str, &str)]| -> Vec<_> {
        states.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned())).collect()
    };
    let probed_and_closed = told(&[("OPEN", "HALF_OPEN"), ("HALF_OPEN", "CLOSED")]);
    // It may have been alone once more while Postgres was on its way up.
    eventually("the history has what one decided", async || {
        decided_alone(&url, "apart", "one").await.len() >= 2
    })
    .await;
    let of_one = decided_alone(&url, "apart", "one").await;
    assert!(of_one.starts_with(&probed_and_closed), "{of_one:?}");
    eventually("and two", async || {
        let of_two = decided_alone(&url, "apart", "two").await;
        of_two.starts_with(&told(&[("OPEN", "HALF_OPEN"), ("HALF_OPEN", "OPEN")]))
    })
    .await;
    // The trip that Postgres had not heard of was over before it did.
    eventually("the history has all of the other", async || {
        decided_alone(&url, "db", "one").await == probed_and_closed
    })
    .await;
    assert!(history(&url, "db").await.is_empty());
    all_show([&one, &two], "db", State::Closed).await;
    let twice = "SELECT count(*) FROM (SELECT 1 FROM transition GROUP BY replica, boot, seq HAVING count(*) > 1) AS of";
    let twice: i64 = sqlx::query_scalar(twice).fetch_one(&mut postgres(&url).await).await.unwrap();
    assert_eq!(twice, 0, "each is there once");
}

/// Where the setting says so, nothing is let through before Postgres answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_hold_an_open_breaker_stays_open_while_postgres_is_away() {
    let server = Server::start();
    let replica = Replica::holding(&server.url, "one").await;
    server.stop();
    replica.trip("db").await;
    let alone = async || replica.process.page("/metrics").await.contains("_breakerd_replica_alone 1\n");
    eventually("it is alone", alone).await;
    let answer = replica.allow("db").await;
    assert!(!answer.allowed && !answer.decided_alone && answer.state() == State::Open, "{answer:?}");
    server.start_again();
    eventually("its trip was over", async || replica.shows("db", State::Closed).await).await;
}
