//! What a store is and where it is: its identity, its newest revision, its timeline, and whether it is still the history that
//! was seen before.
//!
//! A revision is only a number: a store that was restored from a backup gives the numbers of what it lost to other
//! changes. So each revision has a random nonce, and one that was seen with another nonce is of a history that is gone.

use async_trait::async_trait;

use super::StoreError;

/// Revisions whose nonces are kept, however old: who comes back after an outage can still find that the store went back.
pub(super) const NONCES_KEPT: u32 = 1_000;

/// The identity of a store, and its position in its own history.
#[async_trait]
pub trait TimelineStore: Send + Sync + 'static {
    /// What this store is, and the key that breakers and callers are named under; made on first use.
    async fn meta(&self) -> Result<Meta, StoreError>;

    /// The newest revision: the number of transactions that changed configuration or state.
    async fn revision(&self) -> Result<u64, StoreError>;

    /// The newest revision and the timeline, and the nonce that the store has for the revision `seen`.
    async fn position(&self, seen: u64) -> Result<Position, StoreError>;

    /// Gives the store another timeline, larger than `present` and `past`, in a transaction that bumps the revision; if
    /// it still has `present`, else another process was first, and nothing is written. `past` is the largest that was
    /// ever seen of it.
    async fn renew_timeline(&self, present: u32, past: u32) -> Result<(), StoreError>;
}

/// What a store is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// Random, made with the store.
    pub store_id: u64,
    /// Another and larger number after the store went back (a restored backup): what was decided before means nothing
    /// after.
    pub timeline: u32,
    /// What breakers and callers are named under in permits and in memory. Never changes. Secret. It is the first key of permits
    /// as well.
    pub id_key: [u8; 16],
}

/// A revision of one history.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChangeId {
    /// The revision; 0: nothing was changed yet.
    pub revision: u64,
    /// Random, drawn by the transaction that made the revision; 0 of revision 0.
    pub nonce: u64,
}

/// Where a store is, read at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Another number after each time that the store was found to have gone back, and a larger one.
    pub timeline: u32,
    /// The newest revision.
    pub newest: ChangeId,
    /// The nonce of the revision that was asked about; none: there is no such revision, or it is so old that its
    /// nonce was pruned.
    pub nonce: Option<u64>,
    /// Whether the database server is on the timeline of its own that was checked last. If not, it was promoted or restored
    /// since, and may lack what was committed. Always so where one process has the store for itself.
    pub is_checked: bool,
}

/// What was seen of a store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SeenPosition {
    /// Its timeline.
    pub timeline: u32,
    /// The newest change of it.
    pub change: ChangeId,
}

impl Position {
    /// Whether the store does not have the change `seen`, whose revision was asked about.
    pub fn lacks(&self, seen: ChangeId) -> bool {
        self.newest.revision < seen.revision || self.nonce.is_some_and(|nonce| nonce != seen.nonce)
    }

    /// Whether the store is in another history than `seen`, or before it, or may be: a backup was restored, or a standby was promoted. `seen` is the change
    /// whose revision was asked about.
    pub fn went_back_behind(&self, seen: ChangeId) -> bool {
        !self.is_checked || self.lacks(seen)
    }
}

/// A timeline after `past`: larger by a `step` that is drawn at random, so that two stores that are restored from the same
/// backup do not go on under the same one.
pub(super) fn timeline_after(past: u32, step: u16) -> u32 {
    // 2^32 in steps of 2^15 on average: for more restores than a store sees.
    past.saturating_add(1 + u32::from(step))
}
