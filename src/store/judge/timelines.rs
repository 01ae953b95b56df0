//! What becomes of what was decided before the store went back.
//!
//! A timeline that is over decides nothing: a trip of it may have been healed since, and must not open the breaker again. So
//! it goes into the history as superseded. The exception is FORCED_OPEN that no store has
//! answered yet: an emergency stop is not lost to a failover.
//!
//! Then each replica proposes the state that it was in, with the epoch that it had. Who knew the highest epoch knew most, and
//! any transition of the new timeline knows more than all of them.

use breaker::{Numbering, Reason, State, Time, Transition};

use super::{BreakerState, EntryDecision, forgotten, lost, won};
use crate::protocol_rules::{Rule, holds};
use crate::store::{Change, Proposal};

/// Whether it was decided in another timeline than the present one.
pub(super) fn is_past(proposal: &Proposal, present: Option<u32>) -> bool {
    let decided_in = proposal.decided_in.timeline.zip(present);
    proposal.numbering == Numbering::Store
        && decided_in.is_some_and(|(decided_in, present)| decided_in != present)
        && !is_unanswered_stop(proposal)
        && holds(Rule::OldTimelineDecidesNothing)
}

fn is_unanswered_stop(proposal: &Proposal) -> bool {
    let Change::Transition(transition) = &proposal.change else { return false };
    transition.reason == Reason::OverrideSet
        && transition.after.state == State::ForcedOpen
        && !proposal.decided_in.is_repeat
}

/// The state of before, which had this epoch.
pub(super) fn take_up<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    row: &BreakerState,
    epoch: u64,
    now: Time,
) -> EntryDecision<'a> {
    let current = &row.snapshot;
    match row.reconciled {
        Some(highest) if epoch > highest => won(proposal, transition, current, now),
        Some(highest) if epoch == highest && current.state == transition.after.state => forgotten(),
        Some(highest) if epoch < highest && !holds(Rule::HighestOldEpochStands) => {
            won(proposal, transition, current, now)
        }
        None if !holds(Rule::ReconcileUntouched) => won(proposal, transition, current, now),
        _ => lost(proposal, transition, current),
    }
}
