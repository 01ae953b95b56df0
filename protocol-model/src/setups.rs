//! The setups that are explored: whole with every rule, and for each rule one that shows what it is for.

use crate::property::Property;
use crate::rule::Rule;
use crate::setup::{Fault, Leases, Setup};

/// Two replicas, one probe, one failing call, nothing goes wrong.
const CALM: Setup = Setup {
    name: "calm",
    replicas: 2,
    probes: 1,
    successes: 1,
    failures: 1,
    acts: 0,
    faults: 0,
    kinds: &[],
    depth_max: u32::MAX,
    leases: Leases::End,
    without: None,
};

/// The setups that every test run explores, below a second each.
pub const SMALL: [Setup; 16] = [
    CALM,
    Setup { name: "calm, two trips", failures: 2, ..CALM },
    Setup { name: "calm, two probes", probes: 2, successes: 2, ..CALM },
    Setup { name: "calm, three replicas", replicas: 3, ..CALM },
    Setup { name: "no lease ends", probes: 2, successes: 2, leases: Leases::Last, ..CALM },
    Setup { name: "a loss", ..one(&[Fault::Loss]) },
    Setup { name: "a crash", ..one(&[Fault::Crash]) },
    Setup { name: "a repeat", ..one(&[Fault::Repeat]) },
    Setup { name: "a slow answer", ..one(&[Fault::Slow]) },
    Setup { name: "a slow answer, no lease ends", leases: Leases::Last, ..one(&[Fault::Slow]) },
    Setup { name: "a late caller", ..one(&[Fault::LateCaller]) },
    Setup { name: "a fast clock", ..one(&[Fault::FastClock]) },
    Setup { name: "a drained replica, no lease ends", leases: Leases::Last, ..one(&[Fault::Drained]) },
    Setup { name: "one act", acts: 1, ..CALM },
    Setup { name: "the store goes back, one replica", replicas: 1, ..one(BACK) },
    Setup { name: "a backup is restored, one replica", replicas: 1, ..one(&[Fault::Restored]) },
];

/// Every kind of fault.
const ANY: &[Fault] = &[
    Fault::Loss,
    Fault::Crash,
    Fault::Repeat,
    Fault::Slow,
    Fault::LateCaller,
    Fault::FastClock,
    Fault::Drained,
];

/// Those that take minutes and gigabytes, for `make model`.
pub const LARGE: [Setup; 9] = [
    Setup { name: "any fault", ..one(ANY) },
    Setup { name: "any fault, three replicas", replicas: 3, ..one(ANY) },
    Setup { name: "three acts, any fault, no trip", acts: 3, failures: 0, ..one(ANY) },
    Setup { name: "any two faults", faults: 2, ..one(ANY) },
    Setup { name: "any fault, two probes, one closes", probes: 2, ..one(ANY) },
    Setup { name: "any fault, two probes, both close", probes: 2, successes: 2, ..one(ANY) },
    Setup { name: "two acts", acts: 2, ..CALM },
    Setup { name: "the store goes back, up to 24 steps", depth_max: 24, ..one(BACK) },
    Setup {
        name: "the store goes back or a crash, up to 18 steps",
        depth_max: 18,
        faults: 2,
        ..one(BACK_OR_CRASH)
    },
];

/// The setup in which a rule is left out, and the property that does not hold then.
#[expect(clippy::match_same_arms, reason = "a table of the rules, in their order")]
pub fn left_out(rule: Rule) -> (Setup, Property) {
    let (setup, property) = match rule {
        Rule::EpochAndStateCompared => (Setup { failures: 2, ..CALM }, Property::LegalEdges),
        Rule::KnownIdAnsweredAlike => (one(&[Fault::Loss]), Property::RecordedOnce),
        Rule::JournalFirst => (one(&[Fault::Crash]), Property::NothingLost),
        Rule::AnswerEndsEntry => (Setup { failures: 2, ..one(&[Fault::Loss]) }, Property::NothingLost),
        Rule::SupersededKept => (Setup { acts: 1, ..CALM }, Property::NothingLost),
        Rule::OldRowsIgnored => (CALM, Property::NeverBackward),
        Rule::VerdictsById => (Setup { acts: 1, ..CALM }, Property::CanRecover),
        Rule::OverlayStaysOpen => (Setup { failures: 2, ..CALM }, Property::ProbesBounded),
        Rule::OverlayEndsWithEpoch => (Setup { failures: 2, ..CALM }, Property::CanRecover),
        Rule::WaitByStoreClock => (one(&[Fault::FastClock]), Property::WaitRespected),
        Rule::NonceKeepsSlot => {
            (Setup { probes: 2, successes: 2, ..one(&[Fault::Repeat]) }, Property::OneSlotPerClaim)
        }
        Rule::ClaimOutlivesRequest => (Setup { leases: Leases::Last, ..one(&[]) }, Property::CanRecover),
        Rule::UnwantedGrantReturned => {
            (Setup { leases: Leases::Last, ..one(&[Fault::Slow]) }, Property::CanRecover)
        }
        Rule::StockReturned => {
            (Setup { leases: Leases::Last, ..one(&[Fault::Drained]) }, Property::CanRecover)
        }
        Rule::LeaseFromSend => (CALM, Property::ProbesBounded),
        Rule::RepeatRenewsNothing => (one(&[Fault::Repeat]), Property::ProbesBounded),
        Rule::StockEndsBeforeLease => (CALM, Property::ProbesBounded),
        Rule::OldClaimGivenUp => (CALM, Property::ProbesBounded),
        Rule::LeasesEnd => (one(&[Fault::Crash]), Property::CanRecover),
        Rule::OutcomeNonceChecked => (one(&[Fault::LateCaller]), Property::ProbesBounded),
        Rule::OutcomeInOneTransaction => (Setup { probes: 2, successes: 2, ..CALM }, Property::CanRecover),
        Rule::ClaimsSurviveRestart => (one(&[Fault::Crash]), Property::ProbesBounded),
        Rule::ResetGuarded => (Setup { acts: 3, failures: 0, ..CALM }, Property::EmergencyStopStands),
        Rule::ResetAtStoreFirst => (Setup { acts: 1, ..CALM }, Property::ClosedByStoreOnly),
        Rule::ForcedOpenUnguarded => {
            (Setup { acts: 3, failures: 0, ..one(&[Fault::Slow]) }, Property::EmergencyStopStands)
        }
        Rule::ActsInOrder => (Setup { acts: 2, ..one(&[Fault::Slow]) }, Property::OperatorOrder),
        Rule::ForcedOpenHeld => {
            (Setup { acts: 3, failures: 0, ..one(&[Fault::Slow]) }, Property::EmergencyStopStands)
        }
        Rule::NonceCompared => (one(&[Fault::Restored]), Property::CanRecover),
        Rule::NewTimelineNewLineage => (one(BACK), Property::ProbesBounded),
        Rule::TimelineKeptInStore => (Setup { faults: 2, ..one(BACK_OR_CRASH) }, Property::ProbesBounded),
        Rule::LineageByTail => (one(BACK), Property::NeverBackward),
        Rule::OtherLineageSettlesNothing => (one(BACK), Property::NothingLost),
        Rule::OwnEntriesInserted => (one(BACK), Property::NothingLost),
        Rule::EveryVerdictKept => (Setup { acts: 1, ..one(BACK) }, Property::NothingLost),
        Rule::OldLineageDecidesNothing => (one(BACK), Property::LineagesApart),
        Rule::UnansweredTripOpens => (one(BACK), Property::UnansweredTripOpens),
        Rule::LineageCompared => (one(BACK), Property::OneLineageForOneLoss),
        Rule::LineageIsRandom => (Setup { faults: 2, ..one(BACK) }, Property::OneLineageForOneLoss),
        Rule::ReconcileUntouched => (Setup { failures: 2, ..one(BACK) }, Property::LegalEdges),
        Rule::HighestOldEpochStands => (one(BACK), Property::NeverBackward),
    };
    (setup.without(rule), property)
}

/// The store goes back once, or a replica crashes.
const BACK_OR_CRASH: &[Fault] = &[Fault::StoreBack, Fault::Crash];

/// The store goes back.
const BACK: &[Fault] = &[Fault::StoreBack];

const fn one(kinds: &'static [Fault]) -> Setup {
    Setup { faults: 1, kinds, ..CALM }
}
