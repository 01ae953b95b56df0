//! A pooler between breakerd and Postgres: it works, or is refused with what to set.

use breakerd::store::{StoreError, Target, TransitionQuery, open};
use sqlx::Executor as _;
use tokio::task::JoinSet;

use crate::cluster::Pooler;
use crate::store_contract::change::{key, trip};
use crate::support::{new_database, postgres};

async fn refusal(url: &str) -> String {
    let Err(error) = open(&Target::Postgres(url.to_owned())).await else { panic!("opened {url}") };
    assert!(matches!(error, StoreError::Refused(_)), "{error:?}");
    error.to_string()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_session_mode_works_as_it_is_shipped() {
    let url = new_database().await;
    let pooler = Pooler::start(&url, "session");
    let target = Target::Postgres(pooler.url.clone());
    for life in 1..=2 {
        let store = open(&target).await.unwrap();
        let Err(error) = open(&Target::Postgres(url.clone())).await else { panic!("two on one database") };
        assert!(matches!(error, StoreError::LockedByAnother(_)), "{error}");
        store.propose(&[trip(life, &key("service", &life.to_string()))]).await.unwrap();
        store.ping().await.unwrap();
        let query = TransitionQuery { limit: 10, ..TransitionQuery::default() };
        assert_eq!(store.transitions(&query).await.unwrap().len() as u64, life);
        store.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_transaction_mode_is_refused_with_what_to_set() {
    let url = new_database().await;
    let pooler = Pooler::start(&url, "transaction");
    let said = refusal(&pooler.url).await;
    assert!(said.contains("pool_mode = transaction") && said.contains("set pool_mode = session"), "{said}");
    // It left no lock behind on the pooler's connections.
    open(&Target::Postgres(url)).await.unwrap().close().await;
}

/// Where others take and give back sessions all the time, a connection often gets the one that it had before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_pooler_in_transaction_mode_is_not_taken_for_a_server() {
    let settings = ["ignore_startup_parameters = extra_float_digits"];
    let pooler = Pooler::with(&new_database().await, "transaction", &settings);
    let mut others = JoinSet::new();
    for _ in 0..3 {
        let mut other = postgres(&pooler.url).await;
        others.spawn(async move {
            loop {
                other.execute("SELECT pg_sleep(0.0005)").await.unwrap();
            }
        });
    }
    for _ in 0..300 {
        let said = refusal(&pooler.url).await;
        assert!(said.contains("pool_mode = transaction"), "{said}");
    }
    assert!(others.try_join_next().is_none(), "the others have gone on");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_in_statement_mode_is_refused_with_what_to_set() {
    let pooler = Pooler::start(&new_database().await, "statement");
    let said = refusal(&pooler.url).await;
    assert!(said.contains("statement") && said.contains("set pool_mode = session"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_that_a_pooler_does_not_pass_on_is_named() {
    let pooler = Pooler::start(&new_database().await, "session");
    let said = refusal(&format!("{}?options[search_path]=public", pooler.url)).await;
    assert!(said.contains("unsupported startup parameter: options"), "{said}");
    assert!(said.contains("ignore_startup_parameters"), "{said}");
}
