//! The task that reads the end of the history, and finds out when a store has gone back.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use breaker::Time;
use breakerd_common::clock::Clock;
use tokio_util::sync::CancellationToken;

use super::position::{PositionFile, SeenPosition};
use crate::control::Control;
use crate::feed::{Feeds, Looked};
use crate::journal::Journal;

/// How often the store is asked for history that others wrote.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what was seen of the store is written down, if it is more. A restart that finds the store to have gone back by
/// less than that does not notice; the tokens of watchers do.
const NOTE_EVERY: Duration = Duration::from_secs(1);

/// Reads the end of the history for those who follow it: as soon as this process has written to it, and each second
/// for what others wrote.
///
/// A store that has gone back has another timeline from then on. What it has is taken over: its configuration first, then
/// everybody who follows it is told.
pub async fn run_tail(
    feeds: Arc<Feeds>,
    control: Arc<Control>,
    journal: Arc<Journal>,
    clock: Arc<dyn Clock>,
    mut positions: PositionFile,
    stop: CancellationToken,
) -> Result<()> {
    let tail = &feeds.tail;
    let (mut reachable, mut note_at) = (true, Time::ZERO);
    loop {
        let Some(looked) = stop.run_until_cancelled(tail.look(clock.wall())).await else { break };
        match &looked {
            Ok(Looked::WentBack(position)) => {
                tracing::warn!(
                    revision = position.newest.revision,
                    seen = tail.anchor().revision,
                    timeline = position.timeline,
                    "the store was restored from a backup: watches resync, and permits issued before it end with this process"
                );
                if stop.run_until_cancelled(control.take_over()).await.is_none() {
                    break;
                }
                feeds.begin_anew(position, clock.now());
                note_at = Time::ZERO;
            }
            Err(error) if reachable => {
                tracing::warn!(
                    error = error as &dyn std::error::Error,
                    "cannot follow the history, retrying"
                );
            }
            Ok(Looked::Followed) | Err(_) => {}
        }
        reachable = looked.is_ok();
        if reachable && clock.now() >= note_at {
            positions = positions.noted(seen(&feeds)).await;
            note_at = clock.now() + NOTE_EVERY;
        }
        tokio::select! {
            () = stop.cancelled() => break,
            () = journal.written(), if reachable => {}
            () = clock.sleep_until(clock.now() + LOOK_EVERY) => {}
        }
    }
    positions.noted(seen(&feeds)).await;
    Ok(())
}

fn seen(feeds: &Feeds) -> Option<SeenPosition> {
    feeds.tail.seen().map(|(timeline, change)| SeenPosition { timeline, change })
}
