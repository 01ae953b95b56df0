//! Changes of many breakers in the background: waits and overrides that are over, service-wide overrides on their way
//! to the breakers.
//!
//! Each change is a record in the journal, and a hundred thousand of them may be due at one moment. So they are made in
//! steps: off the threads that decide, a bounded number in each, only while the journal has room, and with a pause after
//! each step as long as the step itself took, which leaves the callers' changes half of the journal's time. A breaker that
//! is called in the meantime changes at its own call; the pace is only for those that are not called.

use std::sync::Arc;

use breakerd_common::clock::Clock;
use tokio::task::JoinError;

use crate::journal::Journal;

/// The most changes in one step: some milliseconds.
const STEP_MAX: usize = 256;

/// Calls `step` with `work`, and how many changes it may make, until it answers that nothing is left. Answers `work`.
///
/// When this is dropped, a step under way is finished, and no other begun.
///
/// # Errors
/// When a step panicked.
pub async fn run<W: Send + 'static>(
    journal: &Journal,
    clock: &Arc<dyn Clock>,
    mut work: W,
    step: impl Fn(&mut W, usize) -> bool + Send + Sync + 'static,
) -> Result<W, JoinError> {
    // Half is free, half of that is left to the breakers that change by themselves meanwhile.
    let most = STEP_MAX.min(journal.half() / 2).max(1);
    let step = Arc::new(step);
    loop {
        journal.has_room().await;
        let begun_at = clock.now();
        let this_step = Arc::clone(&step);
        let stepped = tokio::task::spawn_blocking(move || {
            let more = this_step(&mut work, most);
            (work, more)
        });
        match stepped.await? {
            (rest, true) => work = rest,
            (rest, false) => return Ok(rest),
        }
        let now = clock.now();
        clock.sleep_until(now + now.since(begun_at)).await;
    }
}
