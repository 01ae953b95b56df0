//! The keys that permits are sealed with. One seals, and all that are held are accepted: so a key can be changed while
//! permits under the one before are out.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};

/// The number of the first key of a store.
pub const FIRST_PERMIT_KEY: u32 = 1;
/// Keys that are held at one time: more than a store keeps.
const HELD_MAX: usize = 32;

/// A key of permits, as the store keeps it.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingKey {
    /// Names it in the permits that it seals.
    pub number: u32,
    /// Secret.
    pub secret: [u8; 16],
}

impl std::fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealingKey").field("number", &self.number).finish_non_exhaustive()
    }
}

/// A key that is ready for use.
#[derive(Clone, Copy)]
pub(super) struct HeldKey {
    pub(super) number: u32,
    pub(super) mac: SipHasher24,
}

impl HeldKey {
    fn new(key: &SealingKey) -> Self {
        let mac = derive(&key.secret, b"breakerd permit");
        Self { number: key.number, mac: SipHasher24::new_with_key(&mac) }
    }
}

/// A key for one purpose.
pub(super) fn derive(secret: &[u8; 16], purpose: &[u8]) -> [u8; 16] {
    let mut hasher = SipHasher24::new_with_key(secret);
    hasher.write(purpose);
    hasher.finish128().as_bytes()
}

/// The keys that are held.
#[derive(Clone)]
pub(super) struct KeyRing {
    pub(super) sealing: HeldKey,
    /// By number; never empty.
    held: Vec<HeldKey>,
    /// The newest key that the store had.
    newest: u32,
}

impl KeyRing {
    /// The first key of a store alone.
    pub(super) fn of_first(secret: &[u8; 16]) -> Self {
        let first = HeldKey::new(&SealingKey { number: FIRST_PERMIT_KEY, secret: *secret });
        Self { sealing: first, held: vec![first], newest: FIRST_PERMIT_KEY }
    }

    /// The ring that holds `keys`, which is all that the store has, and seals with the one of the number `sealing`; the same as
    /// before without any key, or without that one. Newer keys that are held stay: the store went back, and permits under them
    /// are out.
    pub(super) fn replaced(&self, keys: &[SealingKey], sealing: u32) -> Self {
        let Some(newest) = keys.iter().map(|key| key.number).max() else { return self.clone() };
        let mut held: Vec<_> = keys.iter().map(HeldKey::new).collect();
        held.extend(self.held.iter().filter(|key| key.number > newest));
        held.sort_unstable_by_key(|key| key.number);
        held.drain(..held.len().saturating_sub(HELD_MAX));
        match held.iter().find(|key| key.number == sealing).copied() {
            Some(sealing) => Self { sealing, held, newest },
            None => self.clone(),
        }
    }

    pub(super) fn key(&self, number: u32) -> Option<&HeldKey> {
        self.held.iter().find(|key| key.number == number)
    }

    /// Whether it is newer than any key that is held. An older one that is not held was removed.
    pub(super) fn is_ahead(&self, number: u32) -> bool {
        self.held.last().is_none_or(|newest| number > newest.number)
    }

    /// The newest key that the store had.
    pub(super) fn newest(&self) -> u32 {
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> SealingKey {
        SealingKey { number, secret: [u8::try_from(number).unwrap(); 16] }
    }

    fn numbers(ring: &KeyRing) -> Vec<u32> {
        ring.held.iter().map(|key| key.number).collect()
    }

    #[test]
    fn keys_that_the_store_has_no_more_go_unless_they_are_newer_than_all_that_it_has() {
        let mut ring = KeyRing::of_first(&[1; 16]);
        ring = ring.replaced(&[key(1), key(2)], 1);
        assert_eq!((numbers(&ring), ring.sealing.number, ring.newest()), (vec![1, 2], 1, 2));
        ring = ring.replaced(&[key(2), key(3)], 3);
        assert_eq!((numbers(&ring), ring.sealing.number), (vec![2, 3], 3));
        // A backup from before the last change.
        ring = ring.replaced(&[key(2)], 2);
        assert_eq!((numbers(&ring), ring.sealing.number, ring.newest()), (vec![2, 3], 2, 2));
        assert!(ring.is_ahead(4) && !ring.is_ahead(3) && !ring.is_ahead(1));
        ring = ring.replaced(&[], 9);
        assert_eq!(numbers(&ring), [2, 3]);
    }

    #[test]
    fn so_many_keys_are_held_and_no_more() {
        let mut ring = KeyRing::of_first(&[1; 16]);
        let keys: Vec<_> = (1..=50).map(key).collect();
        ring = ring.replaced(&keys, 50);
        assert_eq!(numbers(&ring), (19..=50).collect::<Vec<_>>());
    }
}
