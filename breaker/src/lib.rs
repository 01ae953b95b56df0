//! The state machine of a circuit breaker, pure.
//!
//! No clock, no lock, no IO, no log: whoever calls passes the time in and is answered with values. A server
//! runs many of these ([`Breaker`] a key); a client that decides locally can run one.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use breaker::{Breaker, Identity, Numbering, Outcome, Report, State, Thresholds, Ticket, Time, WallOffset};
//!
//! let (numbering, stagger, wall) = (Numbering::Own, Duration::ZERO, WallOffset::ZERO);
//! let identity = Identity { key_hash: 1, salt: 2, first_number: 0, numbering, stagger, wall };
//! let mut now = Time::from_micros(1_000_000);
//! let mut breaker = Breaker::new(Arc::new(Thresholds::default()), 0, identity, now);
//!
//! // Five failures in a row open it.
//! for _ in 0..5 {
//!     let (decision, _) = breaker.allow(now);
//!     let pass = decision.pass.expect("closed lets calls pass");
//!     breaker.record(Ticket::Own(pass), &Report::plain(Outcome::Failure), now);
//! }
//! assert_eq!(breaker.state(), State::Open);
//! assert!(breaker.allow(now).0.pass.is_none());
//!
//! // A minute later the first call is a probe.
//! now = now + Duration::from_secs(60);
//! assert!(breaker.allow(now).0.pass.expect("a probe is free").probe.is_some());
//! ```

mod call_counts;
mod counts_interval;
mod dedup;
mod deltas;
mod field;
mod key;
mod layer;
mod machine;
mod merge;
mod outcome;
mod own_counts;
mod probes;
mod reporters;
mod shared_counts;
mod state;
mod tally;
mod thresholds;
mod time;
mod transition;
mod wait;
mod window;
mod words;

pub use call_counts::{AgedCalls, CallCounts};
pub use counts_interval::CountsInterval;
pub use deltas::{CallerSighting, Deltas, FailureRun};
pub use field::{Bound, CLASS_BYTES_MAX, CLASSES_MAX, Field, HumanDuration, Kind, OFF, Value, thousandths};
pub use key::{KEY_PART_BYTES_MAX, Key, KeyError, KeyProblem, check_service};
pub use layer::{Layer, Origin, Problem};
pub use machine::{
    ActiveOverride, Breaker, EarlierAnswer, Identity, Needed, Numbering, ProbeAnswer, ProbeClaim, ProbeGrant,
    ProbeReport, ProposalAnswer, ProposalId, RowVersion, StoredRow, View, WrongState,
};
pub use merge::{Merged, merge};
pub use outcome::{
    Awaited, CallerId, Decision, Outcome, Pass, Probe, Recorded, Report, RunRecorded, Ticket, Verdict,
};
pub use own_counts::PublishedCounts;
pub use probes::{
    GivenSlot, PROBE_RETRY_AFTER_MAX, ProbeCounts, ProbeOutcome, ProbeSettled, ProbeSlot, Probes,
};
pub use shared_counts::ReadCounts;
pub use state::{OverrideKind, Reason, Scope, State};
pub use thresholds::{AfterMaxWait, Judged, Thresholds, WaitInterval, WindowKind};
pub use time::{Time, WallOffset};
pub use transition::{
    Attribution, CausingOutcome, EnteredBy, HalfOpenTerms, Override, Snapshot, Stats, Transition,
};

/// Spreads the bits of a number (`SplitMix64`'s finaliser, Steele, Lea and Flood 2014). What it makes of a number never changes.
pub const fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::mix;

    /// Waits are drawn with it, by replicas of several versions: what it makes of a number may never change.
    #[test]
    fn bits_are_spread_as_splitmix64_spreads_them() {
        // The first numbers of SplitMix64 from the seed 0: it mixes multiples of the golden ratio.
        let golden = 0x9e37_79b9_7f4a_7c15_u64;
        let numbers = [1, 2, 3].map(|step| mix(golden.wrapping_mul(step)));
        assert_eq!(numbers, [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f]);
    }
}
