//! A gap in the history: what was lost with it may be anything, and only the state behind it is known.

use std::time::Duration;

use breaker::{Snapshot, State, Time};

use super::decision::{Entry, EntryDecision, noted};
use super::locked_rows::{Receipt, RowRevision};
use crate::store::proposal::is_emergency_stop;
use crate::store::{Gap, Proposal};

/// A gap in the history. What was lost with it is history only: the state behind it takes the row.
pub(super) fn gap_ruling<'a>(proposal: &'a Proposal, gap: &Gap, current: &Snapshot) -> EntryDecision<'a> {
    let unchanged = gap_in_history(proposal, gap, current);
    let Some(after) = gap.after.as_ref().filter(|after| after.epoch > current.epoch) else {
        return unchanged;
    };
    EntryDecision {
        receipt: Receipt::Won { epoch: after.epoch, revision: RowRevision::Here },
        entry: unchanged.entry.map(|entry| Entry { to: after.state, epoch: Some(after.epoch), ..entry }),
        next: Some(after.clone()),
        reconciled: None,
    }
}

/// As [`gap_ruling`], of a replica whose epochs are numbered here. What was lost with it may be anything, so only what denies takes
/// the row: FORCED_OPEN of an operator always, and OPEN if nothing came since and its wait is not over; OPEN that was decided alone
/// over CLOSED only, as without a gap.
pub(super) fn gap_numbered_here<'a>(
    proposal: &'a Proposal,
    gap: &Gap,
    current: &Snapshot,
    now: Time,
) -> EntryDecision<'a> {
    let unchanged = noted(proposal, (current.state, current.state), gap.base_epoch, gap.at);
    let Some(after) = &gap.after else { return unchanged };
    let is_stop = is_emergency_stop(after);
    let waited = if is_stop { Duration::ZERO } else { proposal.age };
    let opens = after.state == State::Open
        && after.epoch == current.epoch + 1
        && (current.state == State::Closed
            || current.state == State::HalfOpen && !proposal.store_unavailable)
        && after.wait.is_some_and(|wait| waited < wait);
    if !is_stop && !opens {
        return unchanged;
    }
    let epoch = current.epoch + 1;
    let entered_at = (now - waited).max(current.entered_at.min(now));
    EntryDecision {
        receipt: Receipt::Won { epoch, revision: RowRevision::Here },
        entry: unchanged.entry.map(|entry| Entry {
            to: after.state,
            epoch: Some(epoch),
            base_epoch: current.epoch,
            ..entry
        }),
        next: Some(Snapshot { epoch, entered_at, ..after.clone() }),
        reconciled: None,
    }
}

pub(super) fn gap_in_history<'a>(proposal: &'a Proposal, gap: &Gap, current: &Snapshot) -> EntryDecision<'a> {
    noted(proposal, (current.state, current.state), gap.base_epoch, gap.at)
}
