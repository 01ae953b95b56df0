//! Permits: what an allowed call carries, and hands back with its outcome.

use std::hash::Hasher;
use std::time::Duration;

use breaker::{Pass, Time};
use siphasher::sip128::{Hasher128, SipHasher13};

/// How long a permit is good for: an outcome under an older one is late. Whatever is kept for the sake of permits has to be
/// kept for so long, and no longer.
pub const PERMIT_LIFE: Duration = Duration::from_hours(24);

/// The hash of a breaker's key under the store's secret: what a permit and the registry know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub u128);

impl KeyId {
    /// Any 64 bits of a hash are one.
    #[expect(clippy::cast_possible_truncation, reason = "that is what it is for")]
    pub(crate) const fn hash(self) -> u64 {
        self.0 as u64
    }
}

/// What a permit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The timeline of the store it was given under.
    pub timeline: u32,
    /// The breaker.
    pub key: KeyId,
    /// 0: the store's own line of epochs; else a replica's that decides alone.
    pub branch: u32,
    /// Whether the breaker was recording at all.
    pub kind: PermitKind,
    /// Epoch, number and probe.
    pub pass: Pass,
    /// Which life of which process gave it.
    pub issuer: u64,
    /// When.
    pub issued_at: Time,
    /// The revision of the thresholds in force.
    pub config_revision: u64,
}

impl Permit {
    /// Whether its life is over.
    pub(super) fn has_expired(&self, now: Time) -> bool {
        now.since(self.issued_at) >= PERMIT_LIFE
    }

    /// Names it among all permits of all issuers, so well as 64 bits can. The key's id is a keyed hash: nobody can choose
    /// permits whose hashes meet.
    pub(super) fn hash(&self) -> u64 {
        let secret = self.key.0.to_le_bytes();
        let mut hasher = SipHasher13::new_with_key(&secret);
        hasher.write(&self.issuer.to_le_bytes());
        hasher.write(&self.pass.number.to_le_bytes());
        hasher.finish128().h1
    }
}

/// What an outcome under a permit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PermitKind {
    /// The breaker.
    Tracked,
    /// Nothing: breakerd was disabled as a whole.
    Untracked,
}
