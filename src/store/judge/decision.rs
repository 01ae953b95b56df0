//! What becomes of one proposal: its answer, a row of the history, and the row of its breaker.

use std::time::Duration;

use breaker::{Snapshot, State, Time, Transition};

use super::locked_rows::{Receipt, RowRevision};
use crate::store::Proposal;

/// A row of the history on its way there.
#[derive(Debug)]
pub(in crate::store) struct Entry<'a> {
    pub(in crate::store) proposal: &'a Proposal,
    pub(in crate::store) from: State,
    pub(in crate::store) to: State,
    pub(in crate::store) epoch: Option<u64>,
    pub(in crate::store) base_epoch: u64,
    pub(in crate::store) occurred_at: Time,
    /// How long the state that was left had lasted; none: not known, or no state was left.
    pub(in crate::store) lasted: Option<Duration>,
    /// It lost: the epoch that stands instead.
    pub(in crate::store) superseded_by: Option<u64>,
    /// It is a part of an override of the whole service.
    pub(in crate::store) of_service: bool,
    /// When the override that it replaces would have ended by itself.
    pub(in crate::store) replaced_expires_at: Option<Time>,
}

/// What is decided of one proposal.
pub(super) struct EntryDecision<'a> {
    pub(super) receipt: Receipt,
    pub(super) entry: Option<Entry<'a>>,
    /// The breaker's row from now on, when it changed.
    pub(super) next: Option<Snapshot>,
    /// The epoch of an earlier timeline that the row stands for from now on, when it changed.
    pub(super) reconciled: Option<u64>,
}

/// It is the next epoch.
pub(super) fn won<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    current: &Snapshot,
    now: Time,
) -> EntryDecision<'a> {
    // OPEN waits from when it was decided, and not from when the store heard of it.
    let waited = if transition.after.state == State::Open { proposal.age } else { Duration::ZERO };
    won_since(proposal, transition, current, (now - waited).max(current.entered_at.min(now)))
}

/// It is the next epoch, entered at this time.
pub(super) fn won_since<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    current: &Snapshot,
    entered_at: Time,
) -> EntryDecision<'a> {
    let epoch = current.epoch + 1;
    let next = Snapshot { epoch, entered_at, ..transition.after.clone() };
    let entry = Entry {
        epoch: Some(epoch),
        from: current.state,
        base_epoch: current.epoch,
        // What was decided alone happened when it was decided, however late the store hears of it.
        occurred_at: if proposal.store_unavailable { transition.at } else { entered_at },
        ..entry(proposal, transition)
    };
    let receipt = Receipt::Won { epoch, revision: RowRevision::Here };
    EntryDecision { receipt, entry: Some(entry), next: Some(next), reconciled: None }
}

/// Neither a row of breaker nor one of the history.
pub(super) fn forgotten<'a>() -> EntryDecision<'a> {
    EntryDecision { receipt: Receipt::Lost, entry: None, next: None, reconciled: None }
}

pub(super) fn entry<'a>(proposal: &'a Proposal, transition: &Transition) -> Entry<'a> {
    Entry {
        proposal,
        from: transition.from,
        to: transition.to(),
        epoch: None,
        base_epoch: transition.base_epoch,
        occurred_at: transition.at,
        lasted: None,
        superseded_by: None,
        of_service: false,
        replaced_expires_at: None,
    }
}

/// A row of the history that changes no state.
pub(super) fn noted(
    proposal: &Proposal,
    states: (State, State),
    base_epoch: u64,
    occurred_at: Time,
) -> EntryDecision<'_> {
    let (from, to) = states;
    let entry = Entry {
        proposal,
        from,
        to,
        epoch: None,
        base_epoch,
        occurred_at,
        lasted: None,
        superseded_by: None,
        of_service: false,
        replaced_expires_at: None,
    };
    EntryDecision {
        receipt: Receipt::Won { epoch: base_epoch, revision: RowRevision::Here },
        entry: Some(entry),
        next: None,
        reconciled: None,
    }
}

/// A row of the history that says what did not come to stand.
pub(super) fn lost<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    current: &Snapshot,
) -> EntryDecision<'a> {
    let entry = Entry { superseded_by: Some(current.epoch), ..entry(proposal, transition) };
    EntryDecision { receipt: Receipt::Lost, entry: Some(entry), next: None, reconciled: None }
}
