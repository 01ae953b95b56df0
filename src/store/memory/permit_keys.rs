//! The keys of permits. No replica is known here: what one has read it has.

use breaker::Time;

use super::state::{PermitKeyEntry, State};
use crate::store::permit_key_store::{PERMIT_KEY_KEPT, PermitKey};

impl State {
    /// See [`crate::store::PermitKeyStore::permit_keys`].
    pub(super) fn permit_keys(&self, now: Time) -> Vec<PermitKey> {
        let key = |entry: &PermitKeyEntry| PermitKey {
            number: entry.number,
            secret: entry.secret,
            age: now.since(entry.created_at),
            sealing_for: entry.seals_since.map(|since| now.since(since)),
        };
        self.permit_keys.iter().map(key).collect()
    }

    /// See [`crate::store::PermitKeyStore::advance_permit_keys`].
    pub(super) fn advance_permit_keys(&mut self, held: u32, now: Time) {
        let keys = &mut self.permit_keys;
        if let Some(newest) = keys.last_mut().filter(|newest| newest.number == held) {
            newest.seals_since = newest.seals_since.or(Some(now));
        }
        let is_old = |entry: &PermitKeyEntry| {
            entry.seals_since.is_some_and(|since| now.since(since) > PERMIT_KEY_KEPT)
        };
        let first = keys.iter().rposition(is_old).unwrap_or(0);
        keys.drain(..first);
    }
}
