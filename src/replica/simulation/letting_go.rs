//! Rows that go, while replicas use the breakers of others, are cut off and start anew.
//!
//! Everything is shorter than it is: breakers are idle after two seconds, and rows go six seconds after the last replica has said
//! that it uses them. Nothing else is left out: the store says which are used, and a replica that was cut off still has them.

use std::sync::Arc;
use std::time::Duration;

use breakerd_common::clock::Clock;

use crate::engine::Engine;
use crate::journal::Journal;
use crate::replica::RowUse;
use crate::store::SharedStore;

/// How long a breaker is there without being used.
pub(super) const IDLE: Duration = Duration::from_secs(2);
/// How long rows are kept that no replica uses: longer than calls take.
pub(super) const ROWS_KEPT: Duration = Duration::from_secs(6);
/// How long closed breakers have their history.
pub(super) const HISTORY_KEPT: Duration = Duration::from_secs(3);
/// Between two times that rows go, and that breakers are retired.
pub(super) const EVERY: Duration = Duration::from_millis(500);

/// Retires breakers, as a process does, and tells when it forgets some.
pub(super) async fn sweep(
    engine: Arc<Engine>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    forgot: impl Fn(&Engine),
) {
    loop {
        clock.sleep_until(clock.now() + EVERY).await;
        let now = clock.now();
        engine.sweep(journal.stored_up_to(), now);
        if engine.forget_retired(2 * HISTORY_KEPT, ROWS_KEPT, now) > 0 {
            forgot(&engine);
        }
    }
}

/// Says which breakers are used, often enough for rows that go so soon.
pub(super) async fn say_use(engine: Arc<Engine>, store: Arc<dyn SharedStore>, clock: Arc<dyn Clock>) {
    RowUse::new(engine, store, clock).each(EVERY).run(tokio_util::sync::CancellationToken::new()).await;
}
