//! Two records of one breaker into one: a gap in the history, with the state behind it.

use breaker::{EnteredBy, Snapshot, Time};

use crate::store::{Change, Gap, GapCause, Proposal};

/// How many transitions a record stands for that the history will not have.
pub(super) fn lost(proposal: &Proposal) -> u64 {
    match &proposal.change {
        Change::Transition(_) => 0,
        Change::Gap(gap) => gap.missing,
    }
}

/// When it happened; of a gap, the last of it.
pub(super) fn happened_at(proposal: &Proposal) -> Time {
    match &proposal.change {
        Change::Transition(transition) => transition.at,
        Change::Gap(gap) => gap.at,
    }
}

/// The state that a record brings; none: it brings no state.
pub(super) fn state_after(proposal: &Proposal) -> Option<&Snapshot> {
    match &proposal.change {
        Change::Transition(transition) if transition.shadow => None,
        Change::Transition(transition) => Some(&transition.after),
        Change::Gap(gap) => gap.after.as_ref(),
    }
}

/// How the state that a record brings was entered; none: it brings none, or is a gap, behind which nobody knows.
pub(super) fn entered_by(proposal: &Proposal) -> Option<EnteredBy> {
    match &proposal.change {
        Change::Transition(transition) if !transition.shadow => Some(transition.entered_by()),
        Change::Transition(_) | Change::Gap(_) => None,
    }
}

/// One record in the place of two of the same breaker that no store has been sent yet. It keeps the id of the newer
/// one, so that it has one id through all attempts and restarts.
pub(super) fn merge(older: &Proposal, newer: Proposal, cause: GapCause) -> Proposal {
    let base_epoch = match &older.change {
        Change::Transition(transition) => transition.base_epoch,
        Change::Gap(gap) => gap.base_epoch,
    };
    let gap = Gap {
        missing: transitions(older) + transitions(&newer),
        at: happened_at(older).max(happened_at(&newer)),
        base_epoch,
        after: state_after(&newer).or_else(|| state_after(older)).cloned(),
        cause,
    };
    Proposal { alone: older.alone || newer.alone, change: Change::Gap(Box::new(gap)), ..newer }
}

/// How many transitions a record stands for.
fn transitions(proposal: &Proposal) -> u64 {
    match &proposal.change {
        Change::Transition(_) => 1,
        Change::Gap(gap) => gap.missing,
    }
}
