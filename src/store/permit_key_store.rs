//! The keys that permits are sealed with.

use std::time::Duration;

use async_trait::async_trait;
use breaker::Attribution;

use super::StoreError;

/// Keys that are kept at one time, at the most: a key is added every now and then, and kept for a day.
pub const PERMIT_KEYS_MAX: usize = 16;
/// How long a key is kept after its successor began to seal: as long as a permit lives, and an hour for a replica that went on
/// sealing with it because it heard of the successor late.
pub const PERMIT_KEY_KEPT: Duration = Duration::from_hours(25);

/// The keys of permits. A new key seals only after every live replica has it.
#[async_trait]
pub trait PermitKeyStore: Send + Sync + 'static {
    /// All keys, by number. There is at least one, and one that seals.
    async fn permit_keys(&self) -> Result<Vec<PermitKey>, StoreError>;

    /// Adds a key, in a transaction that bumps the revision, with a row of the audit. While the newest key does not seal
    /// yet, none is added.
    async fn add_permit_key(&self, attribution: &Attribution) -> Result<PermitKeyAdded, StoreError>;

    /// Lets the newest key seal, if its number is `held` and no replica that wrote its row within 3 seconds lacks it;
    /// and deletes keys whose successor has sealed for [`PERMIT_KEY_KEPT`].
    async fn advance_permit_keys(&self, held: u32) -> Result<(), StoreError>;
}

/// A key of permits.
#[derive(Clone, PartialEq, Eq)]
pub struct PermitKey {
    /// Names it in the permits that it seals; the first is 1, and each later one is larger by one.
    pub number: u32,
    /// Secret.
    pub secret: [u8; 16],
    /// How old it is.
    pub age: Duration,
    /// For how long it has been allowed to seal, also if a newer key does so by now; none: not every replica has it yet.
    pub sealing_for: Option<Duration>,
}

impl std::fmt::Debug for PermitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { number, secret: _, age, sealing_for } = self;
        f.debug_struct("PermitKey")
            .field("number", number)
            .field("age", age)
            .field("sealing_for", sealing_for)
            .finish_non_exhaustive()
    }
}

/// What became of a key that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermitKeyAdded {
    /// It was.
    Added {
        /// Its number.
        number: u32,
    },
    /// There is one already that does not seal yet.
    Pending {
        /// The number of that one.
        number: u32,
    },
    /// There are [`PERMIT_KEYS_MAX`] keys.
    Full,
}
