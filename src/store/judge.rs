//! Who wins: proposals against the rows that stand, pure.
//!
//! Every store does the same around it: lock the revision, read the rows of the breakers that a batch names, look up which of its
//! ids are known, let [`judge`] decide, and write down what it decided. So the rules stand once, and the
//! stores hold nothing but rows.
//!
//! * A known id gets its first verdict, and nothing is written for it.
//! * [`Numbering::Own`]: the change comes with its epoch, and wins when the row's is lower. The row may lag by
//!   more than one: the journal was full in between.
//! * [`Numbering::Store`]: the change wins when the row has the epoch and the state that it names, and gets
//!   the next epoch; times are the store's. OPEN waits from when it was decided, as its age says; one whose wait is over by
//!   now has lost. A wait that is not over by the store's clock is not over. An operator's act wins over all that happened by itself since, and loses if another act came between: the
//!   operator had not seen it. FORCED_OPEN always wins, as an emergency stop that is lost does more harm than one that has
//!   to be reset twice.
//! * What lost is kept in the history as superseded when it was decided alone, when it came with a number,
//!   or when what stands is not what it wanted to bring about. So is what came too early, or was refused, if it was sent before: a
//!   store that has gone back since may have taken it, and callers were told of it.
//! * What a replica decided alone, while no store answered it ([`Proposal::store_unavailable`]), is history: it stood on a branch
//!   of that replica only. The exception is OPEN whose wait is not over, which is taken as a trip, if the row still is CLOSED at the
//!   epoch that the branch began at.
//! * A breaker without a row is CLOSED at epoch 0, or at an epoch that a replica knows of a row that was let go of.
//! * What was decided in another timeline goes into the history and changes no row, but for what no store had answered and
//!   denies: [`timelines`].
//! * Shadows change no row: they always win, at the epoch that they were seen in. So does a gap in the history, unless
//!   it knows a state of a later epoch than the row's, which then takes the row. Where the epochs are numbered here, only a state
//!   that denies does, and FORCED_OPEN of an operator whatever came since.
//!
//! Here stands which rule a proposal falls under. Its parts: what is known before ([`locked_rows`]), what a proposal is compared
//! with ([`guard`]), what becomes of one ([`decision`], [`gap`], [`timelines`]), and what a batch comes to ([`judgement`]).

mod decision;
mod gap;
mod guard;
mod judgement;
mod locked_rows;
pub(super) mod probes;
mod service;
mod timelines;

use breaker::{Numbering, Reason, Snapshot, State, Time, Transition};

pub(super) use self::decision::Entry;
use self::decision::{EntryDecision, entry, forgotten, lost, noted, won};
use self::gap::{gap_in_history, gap_numbered_here, gap_ruling};
use self::guard::{Outcome, compare, is_act, is_of_service};
pub(super) use self::judgement::Judgement;
pub(super) use self::locked_rows::{BreakerState, LockedRows, Receipt, RowRevision};
pub(super) use self::service::{ServiceOverrides, named_services};
use super::{Change, Proposal};
use crate::protocol_rules::{Rule, holds};

/// Decides a batch in its order: a later change of the same breaker meets what an earlier one left.
pub(super) fn judge<'a>(proposals: &'a [Proposal], locked_rows: LockedRows<'a>, now: Time) -> Judgement<'a> {
    let LockedRows { timeline, mut present, mut known, services, let_go_epoch } = locked_rows;
    let mut judgement = Judgement::with_capacity(proposals.len());
    for proposal in proposals {
        let current =
            present.entry(&proposal.key).or_insert_with(|| without_row(proposal, timeline, let_go_epoch));
        let answered = known.get(&proposal.id).copied().filter(|_| holds(Rule::KnownIdAnsweredAlike));
        let receipt = answered.unwrap_or_else(|| {
            let set_by = current.snapshot.set_by.as_ref();
            let mut decision = rule(proposal, current, (timeline, &services), now);
            if let Some(entry) = &mut decision.entry {
                entry.of_service = is_of_service(proposal, set_by.map(|set_by| set_by.scope));
                entry.replaced_expires_at = set_by.and_then(|set_by| set_by.expires_at);
            }
            let receipt = decision.receipt;
            judgement.take(proposal, current, decision);
            known.insert(&proposal.id, receipt);
            receipt
        });
        judgement.answer(receipt, current);
    }
    judgement
}

/// What stands of a breaker without a row, as the replica knows it that proposes. Its row was let go of, perhaps, while this replica was cut
/// off: then it goes on from its epoch, so that its permits of before are late.
fn without_row(proposal: &Proposal, timeline: Option<u32>, let_go_epoch: u64) -> BreakerState {
    let base_epoch = proposal.change.base_epoch();
    let is_known = proposal.numbering == Numbering::Store
        && proposal.decided_in.taken_up.is_none()
        && !timelines::is_past(proposal, timeline)
        && base_epoch <= let_go_epoch;
    let epoch = if is_known { base_epoch } else { 0 };
    let pristine = BreakerState::pristine();
    BreakerState { snapshot: Snapshot { epoch, ..pristine.snapshot }, ..pristine }
}

/// What becomes of a proposal where this row stands.
fn rule<'a>(
    proposal: &'a Proposal,
    row: &BreakerState,
    (timeline, services): (Option<u32>, &ServiceOverrides),
    now: Time,
) -> EntryDecision<'a> {
    let current = &row.snapshot;
    let is_past = timelines::is_past(proposal, timeline);
    let transition = match &proposal.change {
        Change::Transition(transition) => transition,
        Change::Gap(gap) if is_past => return gap_in_history(proposal, gap, current),
        Change::Gap(gap) if proposal.numbering == Numbering::Store => {
            return gap_numbered_here(proposal, gap, current, now);
        }
        Change::Gap(gap) => return gap_ruling(proposal, gap, current),
    };
    if transition.shadow {
        let states = (transition.from, transition.to());
        return noted(proposal, states, transition.base_epoch, transition.at);
    }
    if is_past {
        return timelines::rule_past(proposal, transition, row, now);
    }
    if let Some(epoch) = proposal.decided_in.taken_up {
        return timelines::take_up(proposal, transition, row, epoch, now);
    }
    if proposal.numbering == Numbering::Store {
        return numbered_here(proposal, transition, row, services, now);
    }
    if current.epoch >= transition.after.epoch {
        return lost(proposal, transition, current);
    }
    EntryDecision {
        receipt: Receipt::Won { epoch: transition.after.epoch, revision: RowRevision::Here },
        entry: Some(Entry { epoch: Some(transition.after.epoch), ..entry(proposal, transition) }),
        next: Some(transition.after.clone()),
        reconciled: None,
    }
}

/// A transition that gets its epoch and its time here.
fn numbered_here<'a>(
    proposal: &'a Proposal,
    transition: &Transition,
    row: &BreakerState,
    services: &ServiceOverrides,
    now: Time,
) -> EntryDecision<'a> {
    let current = &row.snapshot;
    let may_be_told = proposal.decided_in.may_be_told();
    let is_kept = match compare(proposal, transition, &row.guarded(services), now) {
        Outcome::Won => return won(proposal, transition, current, now),
        // Callers were told of a state that denies, before the store has answered.
        Outcome::Refused => may_be_told || transition.after.state == State::ForcedOpen,
        // Calls were let through by nobody, and another replica says the same of the next row.
        Outcome::Superseded if proposal.service_override.is_some() => {
            (may_be_told || transition.after.state == State::ForcedOpen)
                && !proposal.change.is_brought_about_by(current)
        }
        // Somebody else may have brought about the same.
        Outcome::Superseded => !proposal.change.is_brought_about_by(current),
        // Nobody was told of it, and it is tried again; unless the store took it before, and has gone back since.
        Outcome::Early if !may_be_told => return forgotten(),
        Outcome::Over | Outcome::Early => true,
    };
    let scope = current.set_by.as_ref().map(|set_by| set_by.scope);
    // What an operator asked for of this breaker is kept, with who and why. Of an override of the service each replica tells
    // each breaker, and who cleared one is not known from here to have cleared that of the service.
    let is_own_act = is_act(transition.reason)
        && transition.reason != Reason::OverrideCleared
        && !is_of_service(proposal, scope);
    if (is_kept || proposal.store_unavailable || is_own_act) && holds(Rule::SupersededKept) {
        return lost(proposal, transition, current);
    }
    forgotten()
}

#[cfg(test)]
mod tests;
