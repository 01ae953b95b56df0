//! What a breaker does, told as stories. `story.rs` says how to read one.
//!
//! A remark `Row 12` names the row of the project's table of behaviours that a story tells; the system that
//! the behaviour was learned from stands behind it.

#![allow(clippy::unwrap_used, reason = "a test says what is wrong by panicking")]
#![allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the numbers of a story are small"
)]

mod alone;
mod another_timeline;
mod by_hand;
mod changing;
mod counting;
mod fleet;
mod half_open;
mod left_state;
mod numbered_by_the_store;
mod of_service;
mod permits;
mod probes_of_the_store;
mod remote;
mod reporters;
mod restarting;
mod retiring;
mod sharing;
mod shown;
mod staggered;
mod story;
mod thresholds;
mod waiting;
mod wall_clock;
mod windows;
