//! What replicas and the store send each other.

use crate::store::{Seen, State};

/// Who made a proposal or a claim, and which of theirs it is. It is both the id of a transition and the nonce of a claim: the proposal of
/// a half-open state is a claim too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// The replica.
    pub replica: u8,
    /// Grows within the replica. Only the order matters, so that it is renumbered from 1 in every state.
    pub number: u8,
}

impl Id {
    /// The nonce of a slot whose claimant is known to nobody any more.
    pub const NOBODY: Self = Self { replica: u8::MAX, number: 0 };
}

/// The number of a state of the breaker.
pub type Epoch = u8;

/// What an operator does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Act {
    /// Holds the breaker open.
    ForcedOpen,
    /// Closes it, whatever it was.
    Reset,
}

/// What came after an act was set, and before it took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Overtaken {
    /// Nothing that matters.
    No,
    /// A FORCED_OPEN: somebody set a RESET.
    BySet,
    /// A RESET: a FORCED_OPEN took effect. A FORCED_OPEN: a RESET that was set after it through the same replica did.
    ByEffect,
}

/// What a replica asks of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// A proposal: CLOSED to OPEN.
    Trip,
    /// A proposal: OPEN to HALF_OPEN, with a claim of the first slot.
    HalfOpen,
    /// One slot.
    Claim,
    /// That slot back.
    Release,
    /// The outcome of the probe with this nonce.
    Outcome {
        /// Of the slot.
        nonce: Id,
        /// How the call went.
        success: bool,
    },
    /// After a change of lineage: the state that the replica was in before.
    Reconcile {
        /// That state.
        state: State,
        /// Its epoch in the old lineage.
        old_epoch: Epoch,
    },
    /// An operator's.
    Act {
        /// Which.
        act: Act,
        /// The epoch of the last operator act that the replica knew of.
        seen: Epoch,
        /// What came after it was set. Nobody knows this but the checker.
        overtaken: Overtaken,
    },
}

impl Ask {
    /// A number for its kind, below 8.
    pub fn kind(&self) -> u8 {
        match self {
            Self::Trip => 0,
            Self::HalfOpen => 1,
            Self::Claim => 2,
            Self::Release => 3,
            Self::Outcome { success: false, .. } => 4,
            Self::Outcome { success: true, .. } => 5,
            Self::Act { act: Act::ForcedOpen, .. } => 6,
            Self::Act { act: Act::Reset, .. } | Self::Reconcile { .. } => 7,
        }
    }
}

/// A request, as the replica keeps it until it is answered, and as it is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Request {
    /// Whose, and which.
    pub id: Id,
    /// The lineage that the replica was in.
    pub lineage: u8,
    /// The timeline that the replica knew of when it sent this.
    pub timeline: u8,
    /// The epoch that the replica was in.
    pub epoch: Epoch,
    /// What is asked.
    pub ask: Ask,
    /// Set when the store has begun to work on an outcome: the successes and failures that it saw. Only without
    /// [`OutcomeInOneTransaction`](crate::rule::Rule::OutcomeInOneTransaction).
    pub tally: Option<(u8, u8)>,
    /// Whether the replica counts the lease from a later sending. Only without
    /// [`RepeatRenewsNothing`](crate::rule::Rule::RepeatRenewsNothing).
    pub renewed: bool,
    /// Whether a store answered it before the store went back.
    pub answered: bool,
}

impl Request {
    /// Its id, and the nonce that it is about.
    pub fn each_id(&mut self, visit: &mut impl FnMut(&mut Id)) {
        visit(&mut self.id);
        if let Ask::Outcome { nonce, .. } = &mut self.ask {
            visit(nonce);
        }
    }
}

/// What the store says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// The proposal is the transition to the next epoch.
    Won,
    /// It is not.
    Lost,
    /// The wait in OPEN is not over.
    TooEarly,
    /// A slot.
    Granted,
    /// No slot.
    Refused,
    /// The outcome counts.
    Recorded,
    /// It did already.
    Duplicate,
    /// Its epoch or its lease is over.
    Late,
    /// Not looked at: the store is on a timeline that no replica has checked yet.
    UnknownTimeline,
}

/// An answer on its way to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Answer {
    /// What it answers.
    pub to: Request,
    /// The answer.
    pub verdict: Verdict,
    /// The row as it is after the request.
    pub row: Seen,
}
