//! What becomes of what was decided before the store went back.
//!
//! A timeline that is over decides nothing: a trip of it may have been healed since, and must not open the breaker again. So
//! it goes into the history as superseded. The exceptions are what no store has answered yet, and callers were told of:
//!
//! * FORCED_OPEN, whatever came since: an emergency stop is not lost to a failover.
//! * A trip, for what is left of its wait: if no transition of the new timeline came since, and the row knows nothing later of
//!   before than the CLOSED that the trip left. The row stands for that CLOSED from then on, so that whoever
//!   knows a later state of before, which a store had, still takes the row.
//!
//! Then each replica proposes the state that it was in, with the epoch that it had. Who knew the highest epoch knew most, and
//! any transition of the new timeline knows more than all of them.

use breaker::{Numbering, Reason, State, Time, Transition};

use super::decision::{EntryDecision, forgotten, lost, won, won_since};
use super::guard::is_act;
use super::locked_rows::BreakerState;
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

/// What was decided in a timeline that is over.
pub(super) fn rule_past<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    row: &BreakerState,
    now: Time,
) -> EntryDecision<'a> {
    let base_epoch = transition.base_epoch;
    let has_rest = transition.after.wait.is_some_and(|wait| proposal.age < wait);
    let opens = is_unanswered_trip(proposal, transition)
        && has_rest
        && is_behind(row, base_epoch)
        && holds(Rule::UnansweredTripOpens);
    if !opens {
        return lost(proposal, transition, &row.snapshot);
    }
    // When a state of before was taken up says nothing of when the trip was decided.
    let open = won_since(proposal, transition, &row.snapshot, now - proposal.age);
    EntryDecision { reconciled: Some(base_epoch), ..open }
}

fn is_unanswered_trip(proposal: &Proposal, transition: &Transition) -> bool {
    (transition.from, transition.after.state) == (State::Closed, State::Open)
        && !is_act(transition.reason)
        && !proposal.decided_in.is_repeat
        && proposal.decided_in.taken_up.is_none()
}

/// Whether nothing came in the new timeline, and the row is the CLOSED of this epoch of before, or knows less than that: it may be
/// open still, or again, where the store has lost that it was closed.
fn is_behind(row: &BreakerState, epoch: u64) -> bool {
    match (row.reconciled, row.snapshot.state) {
        (Some(highest), State::Closed) => highest <= epoch,
        (Some(highest), State::Open | State::HalfOpen) => highest < epoch,
        _ => false,
    }
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
    let takes = || EntryDecision { reconciled: Some(epoch), ..won(proposal, transition, current, now) };
    match row.reconciled {
        Some(highest) if epoch > highest => takes(),
        Some(highest) if epoch == highest && current.state == transition.after.state => forgotten(),
        Some(highest) if epoch < highest && !holds(Rule::HighestOldEpochStands) => takes(),
        None if !holds(Rule::ReconcileUntouched) => takes(),
        _ => lost(proposal, transition, current),
    }
}
