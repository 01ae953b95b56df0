//! What must hold in every state, and what must stay possible.

use std::fmt;

/// A property of the protocol. All but the last are about a state or a step; the last is about what can still come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Property {
    /// Probes that callers hold within their lease, and completed ones, are at most P in an epoch.
    ProbesBounded,
    /// Every transition takes the epoch on by one, along an edge of the state machine.
    LegalEdges,
    /// OPEN ends only after its wait, by the store's clock.
    WaitRespected,
    /// No id is in the history twice.
    RecordedOnce,
    /// Every transition that a caller was told of is in the history, or still in a journal.
    NothingLost,
    /// A replica lets calls pass as CLOSED only in an epoch that the store had CLOSED.
    ClosedByStoreOnly,
    /// A replica never goes back to a state that it knew to be over.
    NeverBackward,
    /// A RESET never undoes a FORCED_OPEN that took effect after it was set, no FORCED_OPEN that a replica took alone is dropped for a RESET that was set before it, and a replica that took FORCED_OPEN alone rejects calls until it
    /// is confirmed.
    EmergencyStopStands,
    /// Acts of an operator through one replica come to stand in their order, unless it crashed between.
    OperatorOrder,
    /// What was decided in one lineage changes nothing in another.
    LineagesApart,
    /// A trip that no store had answered opens the breaker in the next lineage, if nothing is known there that came after it.
    UnansweredTripOpens,
    /// The lineage changes once when the store goes back.
    OneLineageForOneLoss,
    /// A claim has one slot.
    OneSlotPerClaim,
    /// With the faults over, all replicas can agree with the store, with the breaker CLOSED (or FORCED_OPEN by an operator).
    CanRecover,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ProbesBounded => "at most P probes in an epoch, unexpired and completed ones together",
            Self::LegalEdges => "epochs grow by one, along the edges of the state machine",
            Self::WaitRespected => "OPEN ends only after its wait",
            Self::RecordedOnce => "no id is in the history twice",
            Self::NothingLost => "no transition that a caller was told of is lost",
            Self::ClosedByStoreOnly => "calls pass as CLOSED only in an epoch that the store had CLOSED",
            Self::NeverBackward => "a replica never goes back to a state that is over",
            Self::EmergencyStopStands => "an emergency stop stands until a later RESET",
            Self::OperatorOrder => "acts through one replica stand in their order",
            Self::LineagesApart => "a lineage that is over decides nothing",
            Self::UnansweredTripOpens => "a trip that no store had answered outlives the lineage",
            Self::OneLineageForOneLoss => "the lineage changes once when the store goes back",
            Self::OneSlotPerClaim => "a claim has one slot",
            Self::CanRecover => "all replicas can agree, and CLOSED can be reached",
        })
    }
}
