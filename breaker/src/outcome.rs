//! What callers ask and report, and what they are answered.

use std::time::Duration;

use crate::state::State;
use crate::words::words;

words! {
    /// How a call went.
    Outcome {
        /// It succeeded.
        Success = "SUCCESS",
        /// It failed.
        Failure = "FAILURE",
        /// It says nothing about the dependency (a cancelled call, a caller's own mistake).
        Ignored = "IGNORED",
    }
}

/// A caller's report of one call.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// How it went.
    pub outcome: Outcome,
    /// How long it took; a call without one is not slow.
    pub duration: Option<Duration>,
    /// The class of its error; empty: none. Only failures have one.
    pub error_class: &'a str,
    /// How long the dependency asked to be left alone. A failure's only: of a success it means nothing.
    pub retry_after: Option<Duration>,
    /// Who saw it; all anonymous callers are one.
    pub caller: CallerId,
    /// The name that the caller gave itself, for the history; empty: none. Nothing is judged by it.
    pub caller_name: &'a str,
}

impl Report<'_> {
    /// The time to be left alone that may lengthen a wait: a failure's, if it counted as one. A slow success may count as
    /// a failure, and it asked for nothing: the dependency answered.
    pub(crate) fn honored_retry_after(&self, failed: bool) -> Option<Duration> {
        self.retry_after.filter(|_| failed && self.outcome == Outcome::Failure)
    }

    /// An anonymous report without particulars.
    pub const fn plain(outcome: Outcome) -> Self {
        Self {
            outcome,
            duration: None,
            error_class: "",
            retry_after: None,
            caller: CallerId::ANONYMOUS,
            caller_name: "",
        }
    }
}

/// A caller, as a hash of who it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallerId(pub u64);

impl CallerId {
    /// Whoever says nothing.
    pub const ANONYMOUS: Self = Self(0);
}

words! {
    /// Why a call may go ahead or may not.
    Verdict {
        /// Closed: it may.
        Closed = "CLOSED",
        /// Half-open, and a probe was free: it may.
        Probe = "PROBE",
        /// Open: it may not.
        Open = "OPEN",
        /// Half-open, and every probe is out or done: it may not.
        HalfOpenExhausted = "HALF_OPEN_EXHAUSTED",
        /// An operator denies every call.
        ForcedOpen = "FORCED_OPEN",
        /// An operator lets every call pass.
        Disabled = "DISABLED",
        /// An operator lets every call pass and looks on.
        MetricsOnly = "METRICS_ONLY",
    }
}

impl Verdict {
    /// Whether the call may go ahead.
    pub const fn allows(self) -> bool {
        matches!(self, Self::Closed | Self::Probe | Self::Disabled | Self::MetricsOnly)
    }

    /// What a state answers when it has no probe to give.
    pub(crate) const fn without_probes(state: State) -> Self {
        match state {
            State::Closed => Self::Closed,
            State::Open => Self::Open,
            State::HalfOpen => Self::HalfOpenExhausted,
            State::ForcedOpen => Self::ForcedOpen,
            State::Disabled => Self::Disabled,
            State::MetricsOnly => Self::MetricsOnly,
        }
    }
}

/// The answer to one question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// May it go ahead, and why.
    pub verdict: Verdict,
    /// The state it was decided in.
    pub state: State,
    /// The epoch it was decided in.
    pub epoch: u64,
    /// What the call carries, when it may go ahead.
    pub pass: Option<Pass>,
    /// A probe's: how long it may be out.
    pub lease: Option<Duration>,
    /// Probes whose slot it took, as their outcomes did not come before their leases ended: 0 or 1. Where the store decides over
    /// probes, it is [`crate::ProbeGrant::timed_out`] that tells.
    pub timed_out_probes: u32,
    /// When it may not: how long to wait before asking again; none: nobody knows.
    pub retry_after: Option<Duration>,
    /// METRICS_ONLY let it pass, and but for that it would have been denied.
    pub would_deny: bool,
    /// It may not, and yet may within moments: the store is asked for a probe, or for half-open. Whoever can wait a little
    /// asks once more when the answer is here, with [`crate::Breaker::allow_again`]; whoever cannot counts as rejected with
    /// [`crate::Breaker::note_rejected`].
    pub waits: Option<Awaited>,
    /// 0: the store's own line of epochs. Otherwise the replica is alone, and decided by itself: the number of the state that
    /// it is in so, for the outcome of the call ([`crate::Breaker::record_on_branch`]).
    pub branch: u32,
}

/// The answer of the store that a call waits for. A call that looks again before it is here, and says so, wants no second probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Awaited {
    /// The epoch that the breaker is in.
    pub(crate) epoch: u64,
    /// Which answer about probes, of those in this half-open; none: the one about half-open itself.
    pub(crate) answer: Option<u32>,
}

/// What an allowed call carries: the part of a permit that the machine makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pass {
    /// The epoch it was given in.
    pub epoch: u64,
    /// Which of this breaker's passes it is; counts up by one within a life of the breaker.
    pub number: u64,
    /// The probe it is; none: an ordinary call.
    pub probe: Option<Probe>,
}

/// A probe's place in half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// The place, from 0, below P.
    pub slot: u16,
    /// What tells this holder of the place from the one before.
    pub nonce: u64,
}

/// What an outcome is reported under.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ticket {
    /// A pass that this life of the process gave: a repeat can be told.
    Own(Pass),
    /// A pass that another process, or an earlier life of this one, gave: a breaker cannot tell a repeat. Whoever has
    /// many breakers remembers such passes, and brings each once.
    Foreign(Pass),
    /// No pass; perhaps the epoch it was decided in.
    Bare {
        /// The epoch, if the caller knows.
        epoch: Option<u64>,
    },
}

impl Ticket {
    pub(crate) fn pass(self) -> Option<Pass> {
        match self {
            Self::Own(pass) | Self::Foreign(pass) => Some(pass),
            Self::Bare { .. } => None,
        }
    }
}

words! {
    /// What became of an outcome.
    Recorded {
        /// It counted (an ignored one: it was taken note of).
        Recorded = "RECORDED",
        /// It belongs to an earlier epoch, or its probe's lease is over; it changed nothing.
        Late = "LATE",
        /// It was reported before; it changed nothing now.
        Duplicate = "DUPLICATE",
        /// Nothing is recorded in this state; it changed nothing.
        NotCounted = "NOT_COUNTED",
    }
}

/// What became of a run of outcomes: how many of them were what [`Recorded`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RunRecorded {
    /// [`Recorded::Recorded`].
    pub recorded: u32,
    /// [`Recorded::Late`].
    pub late: u32,
    /// [`Recorded::NotCounted`].
    pub not_counted: u32,
    /// How many of the recorded ones METRICS_ONLY would have denied, had they been asked for: [`Decision::would_deny`].
    pub would_be_denied: u32,
}

impl RunRecorded {
    /// All of them.
    pub fn total(&self) -> u32 {
        self.recorded + self.late + self.not_counted
    }

    pub(crate) fn add(&mut self, recorded: Recorded, count: u32) {
        match recorded {
            Recorded::Recorded => self.recorded += count,
            Recorded::Late => self.late += count,
            // No outcome of a run has a pass, so none is a repeat.
            Recorded::NotCounted | Recorded::Duplicate => self.not_counted += count,
        }
    }
}
