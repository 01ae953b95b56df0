//! What the engine is told of a change that stands in the store.

use breaker::{Key, ProposalId, Snapshot, Transition};

use crate::engine::Standing;
use crate::store::TransitionId;

/// A transition that the store has under `id`, at `epoch`. `row` is how its breaker is there: it has the time of the transition by
/// the store's clock, unless another one has come since.
pub(super) fn standing<'a>(
    key: &'a Key,
    transition: &'a Transition,
    id: &'a TransitionId,
    epoch: u64,
    row: &Snapshot,
) -> Standing<'a> {
    Standing {
        key,
        transition,
        epoch,
        at: if row.epoch == epoch { row.entered_at } else { transition.at },
        replica: &id.replica,
        id: ProposalId { boot: id.boot, number: id.seq },
        store_unavailable: false,
    }
}
