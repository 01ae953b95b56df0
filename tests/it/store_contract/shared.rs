//! What a store promises to several replicas: one body, every store that they can share.

mod bed;
mod claims;
mod counts;
mod outcomes;
mod parallel;
mod proposals;
mod round_trips;
mod row_locks;
mod row_use;
mod rows;
mod timelines;
mod unreadable;

/// Runs each test on every store that replicas can share: Postgres, and the one in memory.
macro_rules! on_every_shared_store {
    ($($test:ident),+ $(,)?) => {
        crate::store_contract::on_each!(
            on_postgres, crate::store_contract::shared::bed::SharedBed::postgres, $($test),+
        );
        crate::store_contract::on_each!(
            on_memory, crate::store_contract::shared::bed::SharedBed::memory, $($test),+
        );
    };
}
use on_every_shared_store;
