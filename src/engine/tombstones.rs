//! What is kept of a breaker that was retired after it had changed its state: its epoch, so that when it is used again it goes
//! on from there. Its old permits are late then, and what it changes next is no older than what the store has. An answer of the
//! store that was on its way since before, as when another replica deleted the breaker, does not bring its old state back.

use std::time::Duration;

use breaker::{RowVersion, Snapshot, Time, WallOffset};

use super::permit::KeyId;
use super::shares::Owner;

/// 64 bytes, in place of the thousand of a breaker: hence whole seconds. They are of the monotonic clock, as all times in the
/// engine, so that those that are shown follow a wall clock that is set later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tombstone {
    pub(super) id: KeyId,
    pub(super) epoch: u64,
    /// Whom it still counts for.
    pub(super) owner: Owner,
    closed_at_s: u32,
    last_used_s: u32,
    /// Of the row that was taken last, if there are other replicas.
    pub(super) version: RowVersion,
}

impl Tombstone {
    /// Of a breaker that was closed at `closed_at`, and used at `last_used`.
    pub(super) fn new(
        id: KeyId,
        (epoch, version): (u64, RowVersion),
        owner: Owner,
        (closed_at, last_used): (Time, Time),
    ) -> Self {
        let (closed_at_s, last_used_s) = (seconds(closed_at), seconds(last_used));
        Self { id, epoch, owner, closed_at_s, last_used_s, version }
    }

    /// When the breaker was closed; up to a second too early.
    pub(super) fn closed_at(&self) -> Time {
        Time::ZERO + Duration::from_secs(self.closed_at_s.into())
    }

    /// No permit of it is younger; up to a second later than it was used.
    pub(super) fn last_used(&self) -> Time {
        Time::ZERO + Duration::from_secs(u64::from(self.last_used_s) + 1)
    }

    /// The breaker as it was when it was retired, closed, by the wall clock as it stands.
    pub(super) fn snapshot(&self, config_revision: u64, wall: WallOffset) -> Snapshot {
        let (epoch, entered_at) = (self.epoch, wall.to_wall(self.closed_at()));
        Snapshot { epoch, entered_at, config_revision, ..Snapshot::pristine() }
    }
}

/// Enough until the year 2106.
fn seconds(time: Time) -> u32 {
    u32::try_from(time.as_micros() / 1_000_000).unwrap_or(u32::MAX)
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    #[test]
    fn a_tombstone_takes_a_fifteenth_of_a_breaker() {
        assert_eq!(std::mem::size_of::<super::Tombstone>(), 64);
    }
}
