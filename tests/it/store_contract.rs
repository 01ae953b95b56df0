//! What every store promises: one body, both stores.

pub(crate) mod change;
mod configuration;
mod failing;
mod history;
mod postgres;
mod proposals;
mod sqlite;
mod together;
mod upgrade;
mod upgrade_names;

use crate::support::Bed;

/// Runs each test on every store.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        mod on_sqlite {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let mut bed = crate::support::Bed::sqlite().await;
                super::$test(&mut bed).await;
                bed.end().await;
            })+
        }

        mod on_postgres {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let mut bed = crate::support::Bed::postgres().await;
                super::$test(&mut bed).await;
                bed.end().await;
            })+
        }
    };
}
pub(crate) use on_every_store;

/// The whole history, oldest first.
async fn history(bed: &Bed) -> Vec<breakerd::store::StoredTransition> {
    let query = breakerd::store::TransitionQuery {
        oldest_first: true,
        limit: 1_000_000,
        ..breakerd::store::TransitionQuery::default()
    };
    bed.store.transitions(&query).await.unwrap()
}
