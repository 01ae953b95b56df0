//! Which breaker is used when, where each is used for a while.

use std::time::Duration;

/// How long it goes on.
pub(super) const LASTS: Duration = Duration::from_mins(1);
/// How long each breaker is used in turn.
const TURN: Duration = Duration::from_secs(7);
/// Which of so many breakers is used at a time: now and then any, as `drawn` says.
pub(super) fn used_at(now_s: u64, drawn: u64, breakers: u64) -> u64 {
    let turn = if drawn.is_multiple_of(32) { drawn / 32 } else { now_s / TURN.as_secs() };
    turn % breakers
}
