//! Where the engine's changes go.

use breaker::{Key, Numbering, ProposalId, Time, Transition};

/// Where changes go, in the order they happen to a breaker.
///
/// Called with the breaker locked: it must be quick, and must not call the engine.
pub trait TransitionSink: Send + Sync + 'static {
    /// Takes a change down for good.
    fn append(&self, event: Event<'_>) -> Appended;

    /// The store has numbered a transition that this replica proposed, or whose deciding outcome came through it: it stands, and
    /// no other replica says so. Called with no breaker locked.
    fn stands(&self, _standing: &Standing<'_>) {}

    /// A breaker is to be looked at again without a transition: the end of its wait moved, or it was born into an override
    /// of its service.
    fn moved(&self, _key: &Key) {}

    /// Every breaker is shown in another state from now on, or some that are not there any more. Called with no breaker
    /// locked.
    fn all_changed(&self) {}
}

/// Where a change was taken down, and as what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Appended {
    /// Its log sequence number, which counts up from 1; 0: nothing is kept that a store would still have to take.
    pub lsn: u64,
    /// What it is known by on its way to the store and back; none: it is on no such way.
    pub id: Option<ProposalId>,
}

impl From<u64> for Appended {
    fn from(lsn: u64) -> Self {
        Self { lsn, id: None }
    }
}

/// One change of one breaker.
#[derive(Debug, Clone, Copy)]
pub struct Event<'a> {
    /// The breaker.
    pub key: &'a Key,
    /// What changed.
    pub transition: &'a Transition,
    /// Where it comes from.
    pub origin: Origin,
    /// Who numbers its epoch.
    pub numbering: Numbering,
    /// It brings an override of the whole service: see [`crate::store::Proposal::service_override`].
    pub service_override: Option<u64>,
    /// The timeline of the store that its breaker is in; none: there are no other replicas.
    pub timeline: Option<u32>,
}

/// A transition that stands in the store.
#[derive(Debug, Clone, Copy)]
pub struct Standing<'a> {
    /// The breaker.
    pub key: &'a Key,
    /// The transition, as it was proposed or decided.
    pub transition: &'a Transition,
    /// The epoch that the store gave it.
    pub epoch: u64,
    /// When it happened, by the wall clock that the history has it by.
    pub at: Time,
    /// The name of the replica that proposed it, or that sent the outcome which decided it: this one, as it is or was called.
    pub replica: &'a str,
    /// What it is known by.
    pub id: ProposalId,
    /// It was decided while the store was away.
    pub store_unavailable: bool,
}

/// Where a change comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This replica made it.
    Own,
    /// Another replica made it, and this one took it over.
    Remote,
    /// This replica made it while the store was away.
    Alone,
}
