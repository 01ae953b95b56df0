//! Follows the wall clock: it may be set while the process runs.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use crate::engine::Engine;

/// How often the two clocks are compared: for so long, times that are shown may be those of before.
const COMPARE_EVERY: Duration = Duration::from_secs(1);
/// Breakers whose deadline is reset in one step: below a millisecond, and each is locked by itself.
const REARM_CHUNK: usize = 1_000;

/// Tells the engine when the wall clock was set, so that what is shown, and when overrides end that were set until a time
/// of it, follows.
///
/// # Errors
/// When setting the deadlines panicked.
pub async fn run_wall_clock(
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<()> {
    loop {
        let now = clock.now();
        if let Some(step) = engine.note_wall_offset(clock.wall_offset(), now) {
            tracing::warn!(
                step_seconds = Duration::from_micros(step.unsigned_abs()).as_secs_f64(),
                direction = if step > 0 { "forward" } else { "back" },
                "wall clock was set; timestamps follow, waits and durations do not change"
            );
            match stop.run_until_cancelled(rearm(&engine)).await {
                Some(rearmed) => rearmed?,
                None => return Ok(()),
            }
        }
        if stop.run_until_cancelled(clock.sleep_until(now + COMPARE_EVERY)).await.is_none() {
            return Ok(());
        }
    }
}

/// Off the threads that decide, a part at a time.
async fn rearm(engine: &Arc<Engine>) -> Result<()> {
    let mut rearm = engine.rearm();
    loop {
        let engine = Arc::clone(engine);
        let part = tokio::task::spawn_blocking(move || {
            let more = engine.rearm_some(&mut rearm, REARM_CHUNK);
            (rearm, more)
        });
        match part.await.context("set deadlines by the wall clock")? {
            (rest, true) => rearm = rest,
            (_, false) => return Ok(()),
        }
    }
}
