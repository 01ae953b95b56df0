//! What every store promises: one body, every store.

mod bed;
pub(crate) mod change;
mod configuration;
mod damaged;
mod failing;
mod history;
mod memory;
mod permit_keys;
mod postgres;
mod proposals;
mod retention;
mod shared;
mod sqlite;
mod timeline;
mod together;
mod upgrade;
mod upgrade_names;

/// Runs each test on every store: SQLite, Postgres, and the one in memory.
macro_rules! on_every_store {
    ($($test:ident),+ $(,)?) => {
        crate::store_contract::on_each!(on_sqlite, crate::store_contract::bed::StoreBed::sqlite, $($test),+);
        crate::store_contract::on_each!(on_postgres, crate::store_contract::bed::StoreBed::postgres, $($test),+);
        crate::store_contract::on_each!(on_memory, crate::store_contract::bed::StoreBed::memory, $($test),+);
    };
}
pub(crate) use on_every_store;

/// Runs each test on every store that is a database.
macro_rules! on_every_database {
    ($($test:ident),+ $(,)?) => {
        crate::store_contract::on_each!(on_sqlite, crate::support::Bed::sqlite, $($test),+);
        crate::store_contract::on_each!(on_postgres, crate::support::Bed::postgres, $($test),+);
    };
}
pub(crate) use on_every_database;

/// Runs each test on the store that `$make` makes, in a module of its own.
macro_rules! on_each {
    ($module:ident, $make:path, $($test:ident),+) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let mut bed = $make().await;
                super::$test(&mut bed).await;
                bed.end().await;
            })+
        }
    };
}
pub(crate) use on_each;

/// The whole history, oldest first.
async fn history(store: &dyn breakerd::store::Store) -> Vec<breakerd::store::StoredTransition> {
    let query = breakerd::store::TransitionQuery {
        oldest_first: true,
        limit: 1_000_000,
        ..breakerd::store::TransitionQuery::default()
    };
    store.transitions(&query).await.unwrap()
}
