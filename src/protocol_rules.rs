//! Rules of the replicas that a simulation can leave out, to see that it would notice: a check that cannot fail proves nothing.
//!
//! Outside of tests every rule holds, and the question costs nothing.

/// A rule that something fails without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(not(test), expect(dead_code, reason = "left out in tests only"))]
pub(crate) enum Rule {
    /// A transition wins only if the row still has the epoch and the state that its proposal names.
    EpochAndStateCompared,
    /// A proposal that the store knows is answered as it was the first time.
    KnownIdAnsweredAlike,
    /// A proposal that lost against another outcome goes into the history as superseded.
    SupersededKept,
    /// The store's clock says when the wait in OPEN is over.
    WaitByStoreClock,
    /// A trip is in the journal before a caller learns of it.
    JournalFirst,
    /// A row that is not newer than the one that was adopted is ignored.
    OldRowsIgnored,
    /// A breaker that is used again knows which row it had when it was retired: an older one is ignored.
    RetiredRowRemembered,
    /// The holder counts a lease from when it sent the claim, not from when it gave the probe to a call.
    LeaseFromSend,
    /// A slot whose lease is over is given to the next claim.
    LeasesEnd,
    /// The outcome of a probe counts only if the slot still has its nonce.
    OutcomeNonceChecked,
    /// The transition that an outcome decides is in the transaction that records it.
    OutcomeDecides,
    /// An outcome that is sent again is answered with the transition that it decided.
    RepeatTellsDecision,
    /// The outcome of a probe goes to the store even if its epoch, or its timeline, is not known here yet.
    LaterEpochToStore,
    /// Probes that no call took, and those that a claim that was given up may have got, go back to the store.
    ProbesReturned,
    /// A process that ends gives the probes back that it has.
    EndReturnsProbes,
    /// The tail polls, whether it is given a hint or not.
    PollIsTruth,
    /// An operator's act loses if another act came since the row that its replica knew.
    ResetGuarded,
    /// FORCED_OPEN wins whatever came since.
    ForcedOpenUnguarded,
    /// A replica takes no other act while the store has not answered its FORCED_OPEN.
    ActsInOrder,
    /// A change that brings the override of a service loses if the service has another one by then, or none.
    ServiceOverrideGuarded,
    /// The nonce of the newest revision that a replica knows is compared with the store's.
    NonceCompared,
    /// A server on another timeline of its own is a new timeline of the store, and nothing is decided on it before.
    NewServerNewTimeline,
    /// A new timeline is begun only by the first replica that noticed.
    TimelineCompared,
    /// In a new timeline, half-open breakers enter half-open again.
    HalfOpenEntersAgain,
    /// A breaker changes its timeline with the tail only: an answer of another one changes nothing.
    TimelineByTail,
    /// A half-open that entered again as a timeline began is on disk before a caller learns of it.
    EnteredAgainKept,
    /// What the outcome of a probe decided is on the disk of each replica before a caller learns of it there.
    DecidedRowsKept,
    /// An answer of another timeline settles no journal entry.
    OtherTimelineSettlesNothing,
    /// In a new timeline, replicas send again what callers were told of.
    OwnEntriesSentAgain,
    /// What was decided in an earlier timeline goes into the history only.
    OldTimelineDecidesNothing,
    /// A trip of an earlier timeline that no store had answered opens its breaker for the rest of its wait, if nothing came since.
    UnansweredTripOpens,
    /// In a new timeline, the state of before is taken up only while no transition has come.
    ReconcileUntouched,
    /// Of the states of before, the one with the highest epoch stands.
    HighestOldEpochStands,
    /// What a replica decided alone is over as soon as the store answers it.
    BranchEndsWithAnswer,
    /// An outcome of a call that a replica allowed alone counts nowhere else.
    BranchOutcomesStay,
    /// What a replica decided alone takes no row, but for a trip.
    BranchIsHistory,
}

/// Whether a rule holds.
#[cfg(not(test))]
pub(crate) const fn holds(_: Rule) -> bool {
    true
}

#[cfg(test)]
pub(crate) use self::tests::{holds, without};

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::Rule;

    impl Rule {
        /// Whether it is of replicas that decide alone.
        pub(crate) const fn is_of_branches(self) -> bool {
            matches!(self, Self::BranchEndsWithAnswer | Self::BranchOutcomesStay | Self::BranchIsHistory)
        }

        pub(crate) const ALL: [Self; 36] = [
            Self::EpochAndStateCompared,
            Self::KnownIdAnsweredAlike,
            Self::SupersededKept,
            Self::WaitByStoreClock,
            Self::JournalFirst,
            Self::OldRowsIgnored,
            Self::RetiredRowRemembered,
            Self::LeaseFromSend,
            Self::LeasesEnd,
            Self::OutcomeNonceChecked,
            Self::OutcomeDecides,
            Self::RepeatTellsDecision,
            Self::LaterEpochToStore,
            Self::ProbesReturned,
            Self::EndReturnsProbes,
            Self::PollIsTruth,
            Self::ResetGuarded,
            Self::ForcedOpenUnguarded,
            Self::ActsInOrder,
            Self::ServiceOverrideGuarded,
            Self::NonceCompared,
            Self::NewServerNewTimeline,
            Self::TimelineCompared,
            Self::HalfOpenEntersAgain,
            Self::TimelineByTail,
            Self::EnteredAgainKept,
            Self::DecidedRowsKept,
            Self::OtherTimelineSettlesNothing,
            Self::OwnEntriesSentAgain,
            Self::OldTimelineDecidesNothing,
            Self::UnansweredTripOpens,
            Self::ReconcileUntouched,
            Self::HighestOldEpochStands,
            Self::BranchEndsWithAnswer,
            Self::BranchOutcomesStay,
            Self::BranchIsHistory,
        ];
    }

    thread_local! {
        static LEFT_OUT: Cell<Option<Rule>> = const { Cell::new(None) };
    }

    /// Whether a rule holds on this thread.
    pub(crate) fn holds(rule: Rule) -> bool {
        LEFT_OUT.get() != Some(rule)
    }

    /// Runs something without a rule, on this thread.
    pub(crate) fn without<T>(rule: Option<Rule>, run: impl FnOnce() -> T) -> T {
        struct Restore;
        impl Drop for Restore {
            fn drop(&mut self) {
                LEFT_OUT.set(None);
            }
        }
        let _restore = Restore;
        LEFT_OUT.set(rule);
        run()
    }
}
