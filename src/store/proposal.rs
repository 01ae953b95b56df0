//! Changes on their way into a store, and what the store made of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use breaker::{EnteredBy, Key, Numbering, Reason, Scope, Snapshot, State, Time, Transition};

/// The id of a change, made by the replica that made the change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransitionId {
    /// The name of the replica.
    pub replica: Arc<str>,
    /// Random for each life of its process.
    pub boot: u64,
    /// Counts up within that life.
    pub seq: u64,
}

impl fmt::Display for TransitionId {
    /// As clients are told it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}-{}", self.replica, self.boot, self.seq)
    }
}

/// What brought a breaker into its state, as its row names it, where no journal had it before the store did: the outcome of a probe, or
/// a replica that took up a state of before the store went back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecidedBy {
    /// What the transition is known by.
    pub id: TransitionId,
    /// The timeline of the store that it was decided in.
    pub timeline: u32,
}

/// One change on its way into the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Its id: a replay writes nothing twice.
    pub id: TransitionId,
    /// The breaker.
    pub key: Key,
    /// What changed.
    pub change: Change,
    /// Whether the store numbers it, or it comes numbered.
    pub numbering: Numbering,
    /// Decided while the store was away.
    pub store_unavailable: bool,
    /// When it was decided, by the monotonic clock of the life that decided it ([`TransitionId::boot`]); zero: not known.
    pub decided_at: Time,
    /// It brings an override of the whole service to this breaker: the revision that set that; 0: the service has none, and the
    /// breaker leaves it. None: it does not, or an earlier version wrote it down, which did not say.
    pub service_override: Option<u64>,
    /// How long ago that was when it was sent. With [`Numbering::Store`] OPEN has waited for so long already.
    pub age: Duration,
    /// In which of the store's timelines.
    pub decided_in: DecidedIn,
}

impl Proposal {
    /// What the store decided by itself in `timeline`, and no replica has proposed, as far as the row of the breaker says.
    pub(super) fn of_store(
        id: TransitionId,
        key: Key,
        after: Snapshot,
        entered_by: EnteredBy,
        timeline: u32,
    ) -> Self {
        let EnteredBy { from, reason, stats } = entered_by;
        let transition = Transition {
            from,
            reason,
            stats,
            base_epoch: after.epoch.saturating_sub(1),
            at: after.entered_at,
            lasted: None,
            rejected_calls: 0,
            outcome: None,
            attribution: None,
            after,
            shadow: false,
        };
        Self {
            id,
            key,
            change: Change::Transition(Box::new(transition)),
            numbering: Numbering::Store,
            store_unavailable: false,
            // No clock of this process was there.
            decided_at: Time::ZERO,
            service_override: None,
            age: Duration::ZERO,
            decided_in: DecidedIn::timeline(timeline),
        }
    }

    /// The same as the history has it, once the store has answered.
    #[must_use]
    pub fn answered(mut self, answer: &Answer) -> Self {
        if let (Change::Transition(transition), Answer::Won { epoch, .. }) = (&mut self.change, answer) {
            transition.base_epoch = epoch.saturating_sub(1);
        }
        self
    }

    /// What the row names that this brings about, if no journal has it before the store does: the outcome of a probe decided it
    /// there, or it takes up a state of before the store went back.
    pub(super) fn decided_by(&self) -> Option<DecidedBy> {
        let Change::Transition(transition) = &self.change else { return None };
        let is_of_store = self.numbering == Numbering::Store && !self.store_unavailable;
        let is_of_probe = transition.from == State::HalfOpen && is_of_probes(transition.reason);
        let is_first_told = is_of_probe || self.decided_in.taken_up.is_some();
        let timeline = self.decided_in.timeline.filter(|_| is_of_store && is_first_told)?;
        Some(DecidedBy { id: self.id.clone(), timeline })
    }
}

/// Whether outcomes of probes are the reason.
pub(crate) fn is_of_probes(reason: Reason) -> bool {
    matches!(reason, Reason::ProbesSucceeded | Reason::ProbesFailed | Reason::ProbesSlow)
}

/// Where a change stands among the timelines of a store that went back. With [`Numbering::Own`] none of it matters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DecidedIn {
    /// The timeline that it was decided in; none: not known, and it counts as decided in the present one.
    pub timeline: Option<u32>,
    /// The store, as it was then, answered it before: callers may have been told of it, whatever it is.
    pub is_repeat: bool,
    /// It was sent before, and the answer is not known: the store, as it was then, may have taken it, and callers may have been
    /// told of that.
    pub was_sent: bool,
    /// It takes up the state that a replica was in before the store went back, which had this epoch then.
    pub taken_up: Option<u64>,
}

impl DecidedIn {
    /// The first time that it is sent, in this timeline.
    pub fn timeline(timeline: u32) -> Self {
        Self { timeline: Some(timeline), ..Self::default() }
    }

    /// Whether the store is known to have it: it was written down here as the store told of it, and has not gone back since, as far as
    /// is known in `timeline`, the present one.
    pub(crate) fn is_in_store(&self, timeline: u32) -> bool {
        self.is_repeat && !self.was_sent && self.timeline == Some(timeline)
    }

    /// Whether a store may have taken it before, so that callers may have been told of it, whatever it is.
    pub(super) fn may_be_told(&self) -> bool {
        self.is_repeat || self.was_sent
    }
}

/// What a row of the history says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A transition (or a shadow, which changes no state).
    Transition(Box<Transition>),
    /// Transitions of this breaker before this row are lost to the history.
    Gap(Box<Gap>),
}

impl Change {
    /// The epoch that it was made in.
    pub fn base_epoch(&self) -> u64 {
        match self {
            Self::Transition(transition) => transition.base_epoch,
            Self::Gap(gap) => gap.base_epoch,
        }
    }

    /// Whether another's change brought the very state about that this one wanted, at the epoch that it wanted it.
    pub fn is_brought_about_by(&self, present: &Snapshot) -> bool {
        matches!(self, Self::Transition(transition)
            if present.epoch == transition.base_epoch + 1 && present.state == transition.after.state)
    }
}

/// Whether an operator set FORCED_OPEN on the breaker itself. It is never lost, whatever else is.
pub(crate) fn is_emergency_stop(state: &Snapshot) -> bool {
    let by_operator = state.set_by.as_ref().is_some_and(|set_by| set_by.scope == Scope::Breaker);
    state.state == State::ForcedOpen && by_operator
}

/// Transitions of one breaker that the history will never have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// How many, at least 1.
    pub lost_transitions: u64,
    /// When the last of them happened.
    pub at: Time,
    /// The breaker's epoch before the gap, as far as known.
    pub base_epoch: u64,
    /// The state that the last of them entered. It takes the breaker's row if its epoch is higher than the row's, so
    /// that only history is lost and never state. None: not known (written by an earlier version), or all of them were
    /// shadows, which entered no state.
    pub after: Option<Snapshot>,
    /// Why they are lost.
    pub cause: GapCause,
}

/// Why transitions are lost to the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// The journal reached its bound on disk before the store took them.
    JournalFull,
    /// The journal's file could not be written, and its bound in memory was reached before the store took them.
    JournalUnwritable,
}

impl GapCause {
    /// Every cause.
    pub const ALL: [Self; 2] = [Self::JournalFull, Self::JournalUnwritable];

    /// As the journal has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::JournalFull => "JOURNAL_FULL",
            Self::JournalUnwritable => "JOURNAL_UNWRITABLE",
        }
    }

    /// The inverse of [`GapCause::as_str`].
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.as_str() == text)
    }

    /// For people: what stands in the history as the reason.
    pub fn text(self) -> &'static str {
        match self {
            Self::JournalFull => {
                "the journal reached journal.bytes_max before the store took these transitions"
            }
            Self::JournalUnwritable => {
                "the journal could not be written, and its limit in memory was reached before the store took these transitions"
            }
        }
    }
}

/// What the store made of a proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It stands, under this epoch and revision.
    Won {
        /// The epoch; of a shadow and of a gap that entered none, the one they were seen in.
        epoch: u64,
        /// The revision of the transaction.
        revision: u64,
    },
    /// It does not stand: the breaker's row was not as the proposal named it. (With [`Numbering::Own`]: the row
    /// has this epoch or a later one.) Kept in the history as superseded, unless what stands is what it would
    /// have brought about, or it came too early when it was sent first.
    Lost {
        /// The state that stands.
        present: Snapshot,
    },
}
