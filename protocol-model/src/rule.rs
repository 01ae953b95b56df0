//! The rules of the protocol, each of which can be left out.

use std::fmt;

/// A rule of the protocol. A [`Setup`](crate::setup::Setup) can leave one out: then the checker has to find a violation, or the
/// rule (or the check) is for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// A transition wins only if the row still has the epoch and the state that its proposal names.
    ///
    /// Without it, two replicas that trip at the same moment open the breaker twice.
    EpochAndStateCompared,
    /// A proposal that the store knows is answered as it was the first time.
    ///
    /// Without it, a proposal whose answer was lost is compared with the row that it made itself, and loses.
    KnownIdAnsweredAlike,
    /// A trip is in the journal before a caller learns of it.
    ///
    /// Without it, a crash forgets a transition that a caller was told of.
    JournalFirst,
    /// A journal entry ends with WON or LOST, never with silence.
    ///
    /// Without it (entries of an epoch that is over are dropped), a transition that a caller was told of is not in the history.
    AnswerEndsEntry,
    /// A proposal that lost against another outcome goes into the history as superseded.
    ///
    /// Without it, a transition that a caller was told of is not in the history.
    SupersededKept,
    /// A row that is not newer than the one that was adopted is ignored.
    ///
    /// Without it, an answer that was delayed takes a replica back to a state that is over.
    OldRowsIgnored,
    /// WON and LOST are for the proposal with their id.
    ///
    /// Without it (the answer is for what was proposed from that epoch), the answer to a RESET confirms a trip.
    VerdictsById,
    /// An overlay never becomes half-open by itself.
    ///
    /// Without it, each replica that cannot reach the store lets probes of its own through.
    OverlayStaysOpen,
    /// An overlay ends when another epoch is adopted.
    ///
    /// Without it, a replica whose trip lost rejects calls for ever.
    OverlayEndsWithEpoch,
    /// The store's clock says when the wait in OPEN is over.
    ///
    /// Without it, a replica whose clock is fast lets probes through too early.
    WaitByStoreClock,
    /// A claim that is sent again gets the slot that its nonce has.
    ///
    /// Without it, one claim takes several slots, and all but one wait for their lease to end.
    NonceKeepsSlot,
    /// A claim belongs to the replica: the grant of a request that was canceled stays in stock for the next call.
    ///
    /// Without it, a canceled request leaves a slot to nobody.
    ClaimOutlivesRequest,
    /// A grant that the replica no longer waits for goes back at once.
    ///
    /// Without it, a claim that was given up and arrives late leaves a slot to nobody. *Found by this model.*
    UnwantedGrantReturned,
    /// Stock that nobody takes goes back.
    ///
    /// Without it, a replica that gets no more calls keeps a slot from the others.
    StockReturned,
    /// The holder counts a lease from when it sent the claim, not from the answer.
    ///
    /// Without it, the store gives the slot to another while the holder still believes in it.
    LeaseFromSend,
    /// A claim that is sent again renews nothing.
    ///
    /// Without it, as above: the holder counts from the second sending, the store from the first.
    RepeatRenewsNothing,
    /// Stock ends before its lease.
    ///
    /// Without it, a call takes a grant whose slot the store gave to another.
    StockEndsBeforeLease,
    /// A claim that waits for its answer too long is given up, and replaced by one with another nonce.
    ///
    /// Without it, a call gets a grant whose lease is over.
    OldClaimGivenUp,
    /// A slot whose lease is over is given to the next claim.
    ///
    /// Without it, the slots of a replica that crashed jam the breaker.
    LeasesEnd,
    /// The outcome of a probe counts only if the slot still has its nonce.
    ///
    /// Without it, an outcome after its lease counts for the probe of another.
    OutcomeNonceChecked,
    /// The outcome of a probe, and the transition that it decides, are one transaction that locks the row first.
    ///
    /// Without it, of two last successes at once neither sees the other, and the breaker stays half-open.
    OutcomeInOneTransaction,
    /// A restart loads the claims of a half-open breaker as they are.
    ///
    /// Without it, each crash hands out all probes anew.
    ClaimsSurviveRestart,
    /// RESET names the last operator act that it saw, and loses if another came between.
    ///
    /// Without it, a RESET that was under way for long undoes a FORCED_OPEN that was set after it.
    ResetGuarded,
    /// RESET is applied by the store first.
    ///
    /// Without it, a replica lets calls pass in an epoch in which no breaker was ever closed.
    ResetAtStoreFirst,
    /// FORCED_OPEN wins against every other state.
    ///
    /// Without it (it is guarded as RESET is), an emergency stop that a replica took alone is dropped, because the replica did not know
    /// of the acts before it. *Found by this model.*
    ForcedOpenUnguarded,
    /// A replica takes no RESET while its own FORCED_OPEN is not answered: UNAVAILABLE.
    ///
    /// Without it, the FORCED_OPEN, which wins against everything, undoes the RESET that was set after it. *Found by this model.*
    ActsInOrder,
    /// A FORCED_OPEN that a replica took alone holds there until the store has answered.
    ///
    /// Without it (it ends with the epoch, as other overlays do), a replica that catches up lets calls pass for a moment. *Found by
    /// this model.*
    ForcedOpenHeld,
    /// The nonce of the newest revision that a replica knows is compared with the store's.
    ///
    /// Without it, nobody notices that a backup was restored, and replicas wait for revisions that they know already.
    NonceCompared,
    /// A new timeline is a new lineage.
    ///
    /// Without it (only if the nonce that a replica knows is not there any more, otherwise half-open breakers enter half-open again), the
    /// first replica that looks may be one that knew less than was lost. *Found by this model.*
    NewTimelineNewLineage,
    /// The store keeps which timeline was checked last, and nothing is decided on another.
    ///
    /// Without it (each replica remembers the timeline), a replica that crashes takes the new timeline for the old one. *Found by this
    /// model.*
    TimelineKeptInStore,
    /// Only the tail takes a new lineage.
    ///
    /// Without it, an answer that was sent before the store went back takes a replica back to the old lineage. *Found by this model.*
    LineageByTail,
    /// An answer of another lineage settles no journal entry.
    ///
    /// Without it, a transition is taken for stored that only the store of before had. *Found by this model.*
    OtherLineageSettlesNothing,
    /// After a change of lineage, replicas insert what they had stored in the old one.
    ///
    /// Without it, transitions that callers were told of are not in the history any more.
    OwnEntriesInserted,
    /// What was answered stays on disk for as long, also if it has LOST.
    ///
    /// Without it (only what has WON stays), what the history had as superseded is lost when the store goes back. *Found by this model.*
    EveryVerdictKept,
    /// What was decided in an old lineage goes into the history only.
    ///
    /// Without it, a trip that was healed opens the breaker again.
    OldLineageDecidesNothing,
    /// A trip of an old lineage that no store had answered opens the breaker, if no transition of the new lineage has come, and the store
    /// knows no later state of before than the one that it left.
    ///
    /// Without it, a breaker that denied calls lets them pass because the store went back.
    UnansweredTripOpens,
    /// The lineage is changed by compare-and-swap.
    ///
    /// Without it, each replica that notices begins one.
    LineageCompared,
    /// A lineage is a random number.
    ///
    /// Without it (it counts), the store that went back twice has the same lineage for two histories.
    LineageIsRandom,
    /// After a change of lineage, the state of before is taken only while no transition of the new lineage has come.
    ///
    /// Without it, it undoes a trip of the new lineage. *Found by this model.*
    ReconcileUntouched,
    /// Of the states of before, the one with the highest epoch stands.
    ///
    /// Without it, a replica that was behind takes the breaker back.
    HighestOldEpochStands,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 40] = [
        Self::EpochAndStateCompared,
        Self::KnownIdAnsweredAlike,
        Self::JournalFirst,
        Self::AnswerEndsEntry,
        Self::SupersededKept,
        Self::OldRowsIgnored,
        Self::VerdictsById,
        Self::OverlayStaysOpen,
        Self::OverlayEndsWithEpoch,
        Self::WaitByStoreClock,
        Self::NonceKeepsSlot,
        Self::ClaimOutlivesRequest,
        Self::UnwantedGrantReturned,
        Self::StockReturned,
        Self::LeaseFromSend,
        Self::RepeatRenewsNothing,
        Self::StockEndsBeforeLease,
        Self::OldClaimGivenUp,
        Self::LeasesEnd,
        Self::OutcomeNonceChecked,
        Self::OutcomeInOneTransaction,
        Self::ClaimsSurviveRestart,
        Self::ResetGuarded,
        Self::ResetAtStoreFirst,
        Self::ForcedOpenUnguarded,
        Self::ActsInOrder,
        Self::ForcedOpenHeld,
        Self::NonceCompared,
        Self::NewTimelineNewLineage,
        Self::TimelineKeptInStore,
        Self::LineageByTail,
        Self::OtherLineageSettlesNothing,
        Self::OwnEntriesInserted,
        Self::EveryVerdictKept,
        Self::OldLineageDecidesNothing,
        Self::UnansweredTripOpens,
        Self::LineageCompared,
        Self::LineageIsRandom,
        Self::ReconcileUntouched,
        Self::HighestOldEpochStands,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
