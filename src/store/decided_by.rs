//! What is decided in the store, and is in no journal before that: the transition that the outcome of a probe brings about, and a state
//! of before the store went back, which a replica takes up. Who sent it may never hear of it, while others read the row and tell
//! their callers.
//!
//! The row says which it was, so that each replica that reads it can keep the transition under the one id that the history
//! has it by.

use breaker::{EnteredBy, Key, StoredRow};

use super::{DecidedBy, Proposal};

/// The transition that brought this row into its state, as far as the row says: how long the state before had lasted, the calls that
/// were rejected in it, and whose outcome it was, it does not.
pub fn decided_in_store(
    key: &Key,
    row: &StoredRow,
    entered_by: EnteredBy,
    decided_by: &DecidedBy,
) -> Proposal {
    let DecidedBy { id, timeline } = decided_by.clone();
    Proposal::of_store(id, key.clone(), row.snapshot.clone(), entered_by, timeline)
}
