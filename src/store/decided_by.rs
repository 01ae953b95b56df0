//! What the outcome of a probe decided in the store: the replica that sent the outcome may never hear of it, while others read the
//! row and tell their callers.
//!
//! The row says which outcome it was, so that each replica that reads it can keep the transition under the one id that the history
//! has it by.

use std::time::Duration;

use breaker::{EnteredBy, Key, Numbering, StoredRow, Time, Transition};

use super::{Change, DecidedBy, DecidedIn, Proposal};

/// The transition that brought this row into its state, as far as the row says: how long the state before had lasted, the calls that
/// were rejected in it, and whose outcome it was, it does not.
pub fn decided_by_outcome(
    key: &Key,
    row: &StoredRow,
    entered_by: EnteredBy,
    decided_by: &DecidedBy,
) -> Proposal {
    let after = row.snapshot.clone();
    let EnteredBy { from, reason, stats } = entered_by;
    let transition = Transition {
        from,
        reason,
        stats,
        base_epoch: after.epoch.saturating_sub(1),
        at: after.entered_at,
        lasted: None,
        rejected_calls: 0,
        outcome: None,
        attribution: None,
        after,
        shadow: false,
    };
    Proposal {
        id: decided_by.id.clone(),
        key: key.clone(),
        change: Change::Transition(Box::new(transition)),
        numbering: Numbering::Store,
        store_unavailable: false,
        // By the clock of another process.
        decided_at: Time::ZERO,
        service_override: None,
        age: Duration::ZERO,
        decided_in: DecidedIn::timeline(decided_by.timeline),
    }
}
