//! What a proposal is compared with, so that nothing is undone that its replica did not know of. For epochs that the store numbers.
//!
//! What happens by itself wins if the row has the epoch and the state that it names, and if its time has come by the store's
//! clock. An operator's act wins over it, and loses if another act came between. So is a part of what an operator did to a
//! whole service guarded as what happens by itself: each replica proposes it for each breaker, and once is enough.
//!
//! What a replica decided alone stood on a branch of its own, over the row that it names. Of that only OPEN can win, as a trip does.

use std::time::Duration;

use breaker::{Reason, Scope, Snapshot, State, Time, Transition};

use super::service::ServiceOverrides;
use crate::protocol_rules::{Rule, holds};
use crate::store::{Change, Proposal};

/// What of a row a proposal is compared with.
pub(super) struct Guarded<'a> {
    pub(super) snapshot: &'a Snapshot,
    /// The epoch of the last act of an operator.
    pub(super) act_epoch: u64,
    /// When the first probe of its half-open was given.
    pub(super) first_probe_at: Option<Time>,
    /// What services have.
    pub(super) services: &'a ServiceOverrides,
}

/// What comes of a proposal.
pub(super) enum Outcome {
    Won,
    /// The row is not as it was named, or another act came between.
    Superseded,
    /// The row is as it was named, but the service has not the override that is brought.
    Refused,
    /// It opens for a wait that is over by now.
    Over,
    /// Its time has not come.
    Early,
}

pub(super) fn compare(proposal: &Proposal, transition: &Transition, row: &Guarded<'_>, now: Time) -> Outcome {
    let set_by = row.snapshot.set_by.as_ref();
    let is_of_service = is_of_service(proposal, set_by.map(|set_by| set_by.scope));
    if is_act(transition.reason) && !is_of_service {
        return if act_wins(transition, row) { Outcome::Won } else { Outcome::Superseded };
    }
    let waits = transition.after.wait.filter(|_| transition.after.state == State::Open);
    if !stands_as_named(proposal, transition, row.snapshot) && holds(Rule::EpochAndStateCompared) {
        Outcome::Superseded
    } else if !brings_what_stands(proposal, transition, row, now) && holds(Rule::ServiceOverrideGuarded) {
        Outcome::Refused
    } else if waits.is_some_and(|wait| proposal.age > Duration::ZERO && proposal.age >= wait) {
        Outcome::Over
    } else if !has_come(transition, row, now) && holds(Rule::WaitByStoreClock) {
        Outcome::Early
    } else {
        Outcome::Won
    }
}

/// Whether a part of an override of the service brings what the service has by now: the one of the revision that it names, until
/// that ends by the store's clock; or none, if it clears it. A breaker that has an override of its own keeps that. What an
/// earlier version wrote down names no revision, and is compared by epoch and state alone.
fn brings_what_stands(proposal: &Proposal, transition: &Transition, row: &Guarded<'_>, now: Time) -> bool {
    let Some(revision) = proposal.service_override else { return true };
    let scope = row.snapshot.set_by.as_ref().map(|set_by| set_by.scope);
    let present = row.services.in_force(proposal.key.service(), now);
    match transition.reason {
        Reason::OverrideSet => scope != Some(Scope::Breaker) && present == Some(revision),
        Reason::OverrideCleared => scope == Some(Scope::Service) && present.is_none(),
        _ => true,
    }
}

fn act_wins(transition: &Transition, row: &Guarded<'_>) -> bool {
    match transition.reason {
        Reason::OverrideSet
            if transition.after.state == State::ForcedOpen && holds(Rule::ForcedOpenUnguarded) =>
        {
            true
        }
        // It ended by itself meanwhile.
        Reason::OverrideCleared if row.snapshot.set_by.is_none() => false,
        // The replica knew the row of this epoch, and so the acts up to it.
        _ => row.act_epoch <= transition.base_epoch || !holds(Rule::ResetGuarded),
    }
}

/// Whether what time alone brings about is due by the store's clock.
fn has_come(transition: &Transition, row: &Guarded<'_>, now: Time) -> bool {
    match transition.reason {
        Reason::WaitElapsed => row.snapshot.open_until().is_none_or(|open_until| now >= open_until),
        Reason::OverrideExpired => override_ends_at(row.snapshot).is_some_and(|end| now >= end),
        Reason::HalfOpenTimeout => {
            let max_wait = row.snapshot.half_open.and_then(|terms| terms.max_wait);
            let end = row.first_probe_at.zip(max_wait).map(|(first, max_wait)| first + max_wait);
            end.is_some_and(|end| now >= end)
        }
        // It lasted long enough for the replica, and so it has to here.
        Reason::Idle => transition.lasted.is_none_or(|lasted| now.since(row.snapshot.entered_at) >= lasted),
        _ => true,
    }
}

/// When the override in force ends by itself. One of a duration lasts so long from when the store heard of it, whatever the wall
/// clock of the replica said; one of the service was set there before the breaker was in it.
fn override_ends_at(row: &Snapshot) -> Option<Time> {
    let set_by = row.set_by.as_ref()?;
    match (set_by.scope, set_by.ttl) {
        (Scope::Breaker, Some(ttl)) => Some(row.entered_at + ttl),
        _ => set_by.expires_at,
    }
}

/// Whether an operator brings it about, over whatever happens by itself.
pub(super) fn is_act(reason: Reason) -> bool {
    matches!(reason, Reason::OverrideSet | Reason::OverrideCleared | Reason::Reset | Reason::Deleted)
}

fn stands_as_named(proposal: &Proposal, transition: &Transition, current: &Snapshot) -> bool {
    let stands = if proposal.store_unavailable && holds(Rule::BranchIsHistory) {
        transition.after.state == State::Open && current.state == State::Closed
    } else {
        current.state == transition.from
    };
    stands && current.epoch == transition.base_epoch
}

/// Whether a change is a part of one of the whole service. `current` is the scope of the override in force before it.
pub(super) fn is_of_service(proposal: &Proposal, current: Option<Scope>) -> bool {
    let Change::Transition(transition) = &proposal.change else { return false };
    if proposal.service_override.is_some() {
        return true;
    }
    match transition.reason {
        Reason::OverrideSet => {
            transition.after.set_by.as_ref().is_some_and(|set_by| set_by.scope == Scope::Service)
        }
        Reason::OverrideCleared => current == Some(Scope::Service),
        _ => false,
    }
}
