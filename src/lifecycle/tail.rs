//! The task that reads the end of the history, and detects a restored store.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use breaker::Time;
use breakerd_common::clock::Clock;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::position::PositionFile;
use crate::control::Control;
use crate::feed::{Feeds, Polled};
use crate::journal::Journal;
use crate::store::SeenPosition;

/// The interval of polling the store for history that other processes wrote.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The interval of writing the position of the store to disk, if it is newer. A restart that finds the store to have gone back by
/// less than that does not notice; the tokens of watchers do.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Reads the end of the history for those who follow it: as soon as this process has written to it, or `hint` says that
/// others have; and each second.
///
/// A restored store has another timeline from then on. Its content is reloaded: its configuration first, then
/// every watch resyncs.
pub async fn run_tail(
    feeds: Arc<Feeds>,
    control: Arc<Control>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    hint: Arc<Notify>,
    mut positions: PositionFile,
    stop: CancellationToken,
) -> Result<()> {
    let tail = &feeds.tail;
    let (mut reachable, mut write_position_at) = (true, Time::ZERO);
    loop {
        let Some(polled) = stop.run_until_cancelled(tail.poll_store(clock.wall())).await else { break };
        match &polled {
            Ok(Polled::Restored(position)) => {
                tracing::warn!(
                    revision = position.newest.revision,
                    seen = tail.anchor().revision,
                    timeline = position.timeline,
                    "the store was restored from a backup, or a standby was promoted: watches resync"
                );
                // Breakers first, then the configuration, then who watches them.
                let reload = async {
                    control.timeline_taken(position.timeline).await;
                    control.reload_restored().await;
                };
                if stop.run_until_cancelled(reload).await.is_none() {
                    break;
                }
                feeds.reset(position, clock.now());
                write_position_at = Time::ZERO;
            }
            Err(error) if reachable => {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "cannot follow the history, retrying"
                );
            }
            Ok(Polled::Continued) | Err(_) => {}
        }
        reachable = polled.is_ok();
        if reachable && clock.now() >= write_position_at {
            positions = positions.record(seen(&feeds)).await;
            write_position_at = clock.now() + NOTE_EVERY;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = journal.written(), if reachable => {}
            () = hint.notified(), if reachable => {}
            () = clock.sleep_until(clock.now() + POLL_INTERVAL) => {}
        }
    }
    positions.record(seen(&feeds)).await;
    Ok(())
}

fn seen(feeds: &Feeds) -> Option<SeenPosition> {
    feeds.tail.seen().map(|(timeline, change)| SeenPosition { timeline, change })
}
